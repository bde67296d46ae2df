//! What a run tells while it goes on.

use super::{
    history::{EvaluationRecord, StepRecord},
    memory::Memory,
};

/// Sees a run's progress, and may stop it. Every function does nothing unless written otherwise.
pub trait Watch {
    /// Is told what the run is estimated to need, before it is refused if that is too much.
    fn memory(&mut self, memory: &Memory) {
        let _ = memory;
    }

    /// Is told once how many steps the run has, and how many are done already.
    fn begin(&mut self, steps: usize, done: usize) {
        let _ = (steps, done);
    }

    /// Is told of each step.
    fn step(&mut self, step: &StepRecord) {
        let _ = step;
    }

    /// Is told of each evaluation, and whether it is the best so far.
    fn evaluation(&mut self, evaluation: &EvaluationRecord, best: bool) {
        let _ = (evaluation, best);
    }

    /// Tells whether the run should write a checkpoint and stop after this step.
    fn stop(&self) -> bool {
        false
    }
}

/// Watches nothing.
impl Watch for () {}
