//! The learning rate's course over a run.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Course of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Stays at its height.
    Constant,
    /// Falls in a straight line to 0.
    Linear,
    /// Falls along half a cosine wave to 0.
    Cosine,
}

/// Length of the warm-up, in which the learning rate rises in a straight line from 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarmUp {
    /// Share of all steps, `0..=1`, rounded up.
    Share(f64),
    /// Number of steps.
    Steps(usize),
}

impl WarmUp {
    /// Returns the number of warm-up steps of a run of `steps`; one step at least comes after them, or nothing would be learnt.
    pub fn steps(self, steps: usize) -> usize {
        match self {
            Self::Share(share) => (steps as f64 * share).ceil() as usize,
            Self::Steps(warm_up) => warm_up,
        }
        .min(steps.saturating_sub(1))
    }
}

impl Schedule {
    /// Returns by what the highest learning rate is multiplied in step `step`, counted from 0, of `steps`: the first step of a warm-up has 0.
    ///
    /// # Source
    /// `get_constant_schedule_with_warmup`, `get_linear_…` and `get_cosine_…` of Hugging Face transformers 5.
    pub fn factor(self, step: usize, warm_up: usize, steps: usize) -> f64 {
        if step < warm_up {
            return step as f64 / warm_up as f64;
        }
        let passed = (step - warm_up) as f64 / steps.saturating_sub(warm_up).max(1) as f64;
        match self {
            Self::Constant => 1.0,
            Self::Linear => (1.0 - passed).max(0.0),
            Self::Cosine => (0.5 * (1.0 + (std::f64::consts::PI * passed).cos())).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10 steps, 2 of them warm-up.
    fn course(schedule: Schedule) -> Vec<f64> {
        (0..=10).map(|step| schedule.factor(step, WarmUp::Share(0.15).steps(10), 10)).collect()
    }

    #[test]
    fn rises_from_zero_then_falls_to_zero() {
        let linear = course(Schedule::Linear);
        assert_eq!(linear, [0.0, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0]);
        // (1 + cos(π k / 8)) / 2 for k = 0, 2, 4, 6, 8
        let cosine = course(Schedule::Cosine);
        for (step, expected) in [(1, 0.5), (2, 1.0), (4, 0.853_553_39), (6, 0.5), (8, 0.146_446_61), (10, 0.0)] {
            assert!((cosine[step] - expected).abs() < 1e-8, "step {step}: {}", cosine[step]);
        }
        assert_eq!(course(Schedule::Constant)[1..4], [0.5, 1.0, 1.0]);
    }

    #[test]
    fn without_warm_up_the_first_step_has_the_full_rate() {
        assert_eq!(Schedule::Linear.factor(0, 0, 4), 1.0);
        assert_eq!(Schedule::Linear.factor(0, 0, 0), 1.0);
        assert_eq!(Schedule::Linear.factor(5, 9, 4), 5.0 / 9.0);
    }
}
