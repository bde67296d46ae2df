//! Rows of a table of appointments, the same for every command that reads one.

use indicatif::{ProgressBar, ProgressStyle};

use crate::diagnosis::{Appointment, Faults, table::Appointments};

/// Faults told one by one; the rest is counted.
pub(super) const SHOWN: u64 = 10;

/// Returns the rows that can be read; tells of the others and counts them.
pub(super) fn readable(appointments: Appointments, rejected: &mut u64) -> impl Iterator<Item = Appointment> {
    let bar = spinner("appointments read");
    appointments.filter_map(move |row| {
        bar.inc(1);
        row.inspect_err(|error| {
            *rejected += 1;
            if *rejected <= SHOWN {
                bar.suspend(|| eprintln!("warning: {error}"));
            }
        })
        .ok()
    })
}

/// Says what was met in a table, each kind of fault that there was.
pub(super) fn tell_faults(faults: &Faults) {
    for (count, what) in faults.told() {
        eprintln!("  {count:>8} {what}");
    }
}

fn spinner(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template(&format!("{{spinner}} {{human_pos}} {what}, {{per_sec}}, {{elapsed}}"));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
