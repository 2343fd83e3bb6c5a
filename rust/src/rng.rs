//! torch's CPU generator, bit for bit: `torch.randn(n, generator=torch.Generator().manual_seed(seed))`.
//!
//! Sources, all in the headers that PyTorch ships: `ATen/core/MT19937RNGEngine.h` (the engine and its seeding),
//! `ATen/core/DistributionsHelper.h` and `ATen/core/TransformationHelper.h` (uniforms, the f64 Box-Muller),
//! `ATen/native/cpu/DistributionTemplates.h` (`normal_fill`), `ATen/native/cpu/avx_mathfun.h` (log and sincos).
//! The bits are those of PyTorch's x86-64 builds, whose compiler contracted the products and sums of
//! `avx_mathfun.h` into fused multiply-adds; every contraction is spelled out here as `mul_add`, so that each
//! machine computes the same numbers.

use std::f32::consts::TAU;

/// Draws of this many values and more go through the vectorised Box-Muller.
const BLOCK: usize = 16;
/// Radii, and angles, in a block.
const LANES: usize = BLOCK / 2;

type Lanes = [f32; LANES];

/// One stream of random numbers; equal to a `torch.Generator` on the CPU after `manual_seed`.
#[derive(Clone)]
pub struct TorchGenerator {
    engine: Mt19937,
    /// The second value of the last f64 Box-Muller pair. Draws of 16 and more leave it alone.
    next_normal: Option<f64>,
}

impl TorchGenerator {
    /// The generator after `manual_seed(seed)`. As in torch, only the low 32 bits of `seed` matter.
    pub fn new(seed: u64) -> Self {
        Self { engine: Mt19937::new(seed as u32), next_normal: None }
    }

    /// `n` standard normal values: `torch.randn(n, generator=self)`, and the next call continues the stream.
    pub fn randn(&mut self, n: usize) -> Vec<f32> {
        if n < BLOCK {
            return (0..n).map(|_| self.normal() as f32).collect();
        }
        let mut values: Vec<f32> = (0..n).map(|_| self.engine.uniform()).collect();
        box_muller(&mut values[..n - n % BLOCK]);
        if !n.is_multiple_of(BLOCK) {
            // torch draws the last 16 anew, overwriting values that are already normal.
            let last = &mut values[n - BLOCK..];
            last.fill_with(|| self.engine.uniform());
            box_muller(last);
        }
        values
    }

    /// `at::normal_distribution<double>`.
    fn normal(&mut self) -> f64 {
        let sample = self.next_normal.take().unwrap_or_else(|| {
            let angle = self.engine.uniform_f64();
            let radius = (-2.0 * libm::log1p(-self.engine.uniform_f64())).sqrt();
            let (sin, cos) = libm::sincos(std::f64::consts::TAU * angle);
            self.next_normal = Some(radius * sin);
            radius * cos
        });
        // torch's `value * std + mean`, which makes -0.0 positive.
        sample + 0.0
    }
}

/// The Mersenne twister of Matsumoto and Nishimura (2002), 32-bit.
#[derive(Clone)]
struct Mt19937 {
    state: [u32; Self::N],
    next: usize,
}

impl Mt19937 {
    const N: usize = 624;
    const M: usize = 397;

    fn new(seed: u32) -> Self {
        let mut state = [seed; Self::N];
        for j in 1..Self::N {
            let previous = state[j - 1];
            state[j] = 1_812_433_253_u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(j as u32);
        }
        Self { state, next: Self::N }
    }

    fn twist(u: u32, v: u32) -> u32 {
        let mixed = (u & 0x8000_0000) | (v & 0x7fff_ffff);
        (mixed >> 1) ^ (0x9908_b0df & (v & 1).wrapping_neg())
    }

    fn refill(&mut self) {
        let state = &mut self.state;
        for j in 0..Self::N - Self::M {
            state[j] = state[j + Self::M] ^ Self::twist(state[j], state[j + 1]);
        }
        for j in Self::N - Self::M..Self::N - 1 {
            state[j] = state[j + Self::M - Self::N] ^ Self::twist(state[j], state[j + 1]);
        }
        state[Self::N - 1] = state[Self::M - 1] ^ Self::twist(state[Self::N - 1], state[0]);
        self.next = 0;
    }

    #[inline]
    fn random(&mut self) -> u32 {
        if self.next == Self::N {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// 24 random bits, in 0..1.
    #[inline]
    fn uniform(&mut self) -> f32 {
        (self.random() & 0x00ff_ffff) as f32 * (1.0 / 16_777_216.0)
    }

    /// 53 random bits, in 0..1; the first number drawn is the high half.
    fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.random());
        let bits = (high << 32) | u64::from(self.random());
        (bits & ((1 << 53) - 1)) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }
}

/// Uniforms to normals in place, by blocks of [`BLOCK`]: [`LANES`] radii, then as many angles.
fn box_muller(values: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has just been seen to have both features.
        unsafe { box_muller_avx2(values) };
        return;
    }
    box_muller_blocks(values);
}

/// [`box_muller_blocks`] where `mul_add` is one instruction and a block two registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn box_muller_avx2(values: &mut [f32]) {
    box_muller_blocks(values);
}

/// `at::native::templates::cpu::NormalFill16` with mean 0 and standard deviation 1.
#[inline(always)]
fn box_muller_blocks(values: &mut [f32]) {
    for block in values.as_chunks_mut::<BLOCK>().0 {
        let mut radius: Lanes = [0.0; LANES];
        let mut sin: Lanes = [0.0; LANES];
        let mut cos: Lanes = [0.0; LANES];
        for i in 0..LANES {
            radius[i] = (-2.0 * log(1.0 - block[i])).sqrt();
            (sin[i], cos[i]) = sin_cos(TAU * block[i + LANES]);
        }
        for i in 0..LANES {
            // The sum is torch's fused `value * std + mean`, which makes -0.0 positive.
            block[i] = radius[i] * cos[i] + 0.0;
            block[i + LANES] = radius[i] * sin[i] + 0.0;
        }
    }
}

/// `log256_ps` for one normal, positive number.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "the constants as the header writes them")]
fn log(x: f32) -> f32 {
    let bits = x.to_bits();
    let fraction = f32::from_bits((bits & 0x807f_ffff) | 0x3f00_0000);
    let exponent = ((bits >> 23) as i32 - 0x7f) as f32 + 1.0;
    let small = fraction < std::f32::consts::FRAC_1_SQRT_2;
    let e = exponent - if small { 1.0 } else { 0.0 };
    let x = (fraction - 1.0) + if small { fraction } else { 0.0 };
    let z = x * x;
    let mut y = 7.037_683_629_2e-2_f32;
    y = y.mul_add(x, -1.151_461_031_0e-1);
    y = y.mul_add(x, 1.167_699_874_0e-1);
    y = y.mul_add(x, -1.242_014_084_6e-1);
    y = y.mul_add(x, 1.424_932_278_7e-1);
    y = y.mul_add(x, -1.666_805_766_5e-1);
    y = y.mul_add(x, 2.000_071_476_5e-1);
    y = y.mul_add(x, -2.499_999_399_3e-1);
    y = y.mul_add(x, 3.333_333_117_4e-1);
    y *= x;
    y = y.mul_add(z, e * -2.121_944_4e-4);
    y = z.mul_add(-0.5, y);
    e.mul_add(0.693_359_375, x + y)
}

/// `sincos256_ps` for one number that is not negative.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "the constants as the header writes them")]
fn sin_cos(x: f32) -> (f32, f32) {
    let octant = ((x * 1.273_239_544_735_16) as i32 + 1) & !1;
    let y = octant as f32;
    let x = y.mul_add(-0.785_156_25, x);
    let x = y.mul_add(-2.418_756_484_985_351_562_5e-4, x);
    let x = y.mul_add(-3.774_894_977_445_941_08e-8, x);
    let z = x * x;
    let mut cos = 2.443_315_711_809_948e-5_f32;
    cos = cos.mul_add(z, -1.388_731_625_493_765e-3);
    cos = cos.mul_add(z, 4.166_664_568_298_827e-2);
    cos *= z;
    cos = cos.mul_add(z, -(z * 0.5));
    cos += 1.0;
    let mut sin = -1.951_529_589_1e-4_f32;
    sin = sin.mul_add(z, 8.332_160_873_6e-3);
    sin = sin.mul_add(z, -1.666_665_461_1e-1);
    sin *= z;
    sin = sin.mul_add(x, x);
    let (sin, cos) = if octant & 2 == 0 { (sin, cos) } else { (cos, sin) };
    let sin_sign = ((octant & 4) << 29) as u32;
    let cos_sign = ((!(octant - 2) & 4) << 29) as u32;
    (f32::from_bits(sin.to_bits() ^ sin_sign), f32::from_bits(cos.to_bits() ^ cos_sign))
}
