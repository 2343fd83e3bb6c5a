//! What a configuration may choose from.

use std::str::FromStr;

use crate::error::{Error, Result};

/// What the network's output stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredictionType {
    /// The noise.
    Epsilon,
    /// The clean sample.
    Sample,
    /// The velocity of Salimans and Ho (2022), section 2.4: `alpha * noise - sigma * sample`.
    VPrediction,
}

impl PredictionType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Epsilon, Self::Sample, Self::VPrediction];

    /// diffusers' name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::Sample => "sample",
            Self::VPrediction => "v_prediction",
        }
    }
}

impl FromStr for PredictionType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| Error::invalid("prediction_type", name, Self::ALL.map(Self::name).join(", ")))
    }
}

/// The sigma after the last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinalSigmasType {
    /// Zero.
    Zero,
    /// That of training timestep 0; unipc with Karras, exponential or beta sigmas: the last step's once more.
    SigmaMin,
}

/// How euler finds sigmas between the training timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterpolationType {
    /// Linear in the timestep.
    Linear,
    /// Evenly spaced logarithms, whatever the timesteps.
    LogLinear,
}

/// What euler feeds to the network as its timestep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestepType {
    /// The training timestep.
    Discrete,
    /// With v-prediction a quarter of the logarithm of sigma.
    Continuous,
}

/// The update of dpm++ and of unipc. Each class writes names of its own and reads the other's as its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SolverType {
    /// dpm++: the midpoint method, its default.
    Midpoint,
    /// dpm++: Heun's method.
    Heun,
    /// unipc: `B(h) = h`.
    Bh1,
    /// unipc: `B(h) = exp(h) - 1`, its default.
    Bh2,
}

/// The noise that ddpm adds: section 3.2 of Ho et al. (2020).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VarianceType {
    /// The posterior's variance, right for data of one point.
    FixedSmall,
    /// The step's beta, right for data of unit variance.
    FixedLarge,
}

/// Which of the two algorithms of dpm++ a configuration was written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlgorithmType {
    /// `dpmsolver++`.
    Ode,
    /// `sde-dpmsolver++`.
    Sde,
}
