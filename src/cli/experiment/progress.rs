//! Shows how far a run is.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{cli::stop::on_ctrl_c, experiment::run::RunWatch};

/// A bar for each cell; Ctrl-C stops after the documents in work.
pub(super) struct Progress {
    bar: ProgressBar,
    cells: usize,
    begun: usize,
    stop: Arc<AtomicBool>,
}

impl Progress {
    /// Makes one for so many cells.
    pub fn new(cells: usize) -> anyhow::Result<Self> {
        Ok(Self { bar: ProgressBar::hidden(), cells, begun: 0, stop: on_ctrl_c("the documents in work")? })
    }

    /// Goes on to another experiment of so many cells.
    pub fn next(&mut self, cells: usize) {
        (self.cells, self.begun) = (cells, 0);
    }
}

impl RunWatch for Progress {
    fn cell(&mut self, name: &str, documents: Option<usize>) {
        self.bar.finish_and_clear();
        self.begun += 1;
        let Some(documents) = documents else { return };
        let style = ProgressStyle::with_template("{prefix} {bar:24} {percent} %, {eta} left  {msg}");
        self.bar = ProgressBar::new(documents as u64)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_prefix(format!("cell {} of {}", self.begun, self.cells))
            .with_message(name.to_owned());
    }

    fn documents(&mut self, count: usize) {
        self.bar.inc(count as u64);
    }

    fn warn(&mut self, message: &str) {
        self.bar.suspend(|| eprintln!("warning: {message}"));
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
