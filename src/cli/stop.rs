//! Ctrl-C and SIGTERM: the first asks a run to stop where it can be gone on with, the second stops it at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::Context;

/// Exit code of a run that was stopped at once, as shells have it.
const KILLED: i32 = 130;

/// Listens from now on, once a process; the flag is set when the run is to stop after `what`.
///
/// # Errors
/// If the system refuses.
pub(super) fn on_ctrl_c(what: &'static str) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    let on_signal = move || {
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(KILLED);
        }
        eprintln!("stopping after {what}; once more to stop at once");
    };
    ctrlc::set_handler(on_signal).context("cannot watch for Ctrl-C")?;
    Ok(stop)
}
