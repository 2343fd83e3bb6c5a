//! Counts what the current thread allocates, so that a test can bound it, and what the allocator recycles.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::Command;

use candle_core::{Device, Tensor};
use sd_rbee::allocator::Recycling;
use sd_rbee::models::Conditioning;
use sd_rbee::pipeline::{Engine, Pipeline, Reading};

use crate::common::{noise, pollen};

/// Counts what is asked for, also where it was kept.
struct Counting;

static RECYCLING: Recycling<System> = Recycling::new(System);

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that is ending has no counters any more.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: everything is left to the other allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { RECYCLING.alloc(layout) }
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { RECYCLING.dealloc(data, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { RECYCLING.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, data: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { RECYCLING.realloc(data, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most bytes beyond those of the start that this thread held while `work` ran, and its result.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    ((PEAK.get() - before).max(0) as usize, result)
}

#[test]
fn the_peak_is_counted() {
    let (peak, _) = peak_of(|| drop(vec![0u8; 1 << 20]));
    assert!(((1 << 20)..(1 << 20) + 4096).contains(&peak), "{peak}");
}

/// Alone in a process, as every test takes blocks from the same allocator.
#[test]
fn a_second_step_makes_no_new_large_block() {
    const ALONE: &str = "SD_RBEE_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "allocations::a_second_step_makes_no_new_large_block";
        let mut child = Command::new(std::env::current_exe().expect("this binary"));
        let output = child.args(["--exact", name]).env(ALONE, "1").output().expect("the test runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    for dtype in ["f32", "bf16"] {
        // One thread, whose scratch has its size after the first step.
        let pipeline = Pipeline::load(&pollen(), "cpu", dtype, Engine::Native, Some(1)).expect("pollen");
        let sample = Tensor::from_vec(noise(8 * 96 * 96, 1), (1, 8, 96, 96), &Device::Cpu).expect("a tensor");
        let conditions =
            Conditioning::of_text(pipeline.encode_prompt("a robot", Reading::default()).expect("embeddings"));
        let step = |timestep| {
            let before = RECYCLING.statistics().fresh;
            pipeline.predict(&sample, timestep, &conditions).expect("a prediction");
            RECYCLING.statistics().fresh - before
        };
        step(999.0);
        assert_eq!([step(500.0), step(1.0)], [0, 0], "{dtype}");
        let held = RECYCLING.statistics();
        assert!(held.fresh > 0 && held.used + held.kept <= 2 * held.peak, "{held:?}");
    }
}
