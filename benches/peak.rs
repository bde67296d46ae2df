//! How much memory a process took.

use anyhow::{Context, Result};

/// Returns the most memory that the process ever held.
pub fn peak_mib() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? / 1024)
}
