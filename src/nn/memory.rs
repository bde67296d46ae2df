//! What memory there is, before much of it is asked for.

use sysinfo::System;

use crate::error::{Error, Result};

/// What a process needs beside what is estimated: its threads' buffers, and what the allocator keeps.
const RESERVE: f64 = 150.0 * 1048576.0;

/// Holds an estimate, in bytes, against what is free.
///
/// # Errors
/// - [`Error::Memory`] if it would not fit.
pub fn check(what: &'static str, lower: &'static str, needed: f64) -> Result<()> {
    let needed = needed + RESERVE;
    match available() {
        Some(available) if needed > available as f64 => {
            Err(Error::Memory { what, lower, needed_mib: (needed / 1048576.0) as u64, available_mib: available >> 20 })
        }
        _ => Ok(()),
    }
}

/// Returns how many bytes the system can give, or the control group that a container keeps the process in, or its limit; `None` where the
/// system does not say.
pub fn available() -> Option<u64> {
    let mut system = System::new();
    system.refresh_memory();
    let free = system.available_memory();
    let of_group = system.cgroup_limits().map(|group| group.total_memory.saturating_sub(group.rss));
    Some([of_group, of_limit()].into_iter().flatten().fold(free, u64::min)).filter(|&free| free > 0)
}

/// Returns how many bytes of memory the process takes, where the system says it.
#[cfg(target_os = "linux")]
pub fn resident() -> Option<u64> {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(not(target_os = "linux"))]
pub fn resident() -> Option<u64> {
    None
}

/// Returns what the process's limit of addresses (`ulimit -v`) leaves; `None` where there is none.
#[cfg(target_os = "linux")]
fn of_limit() -> Option<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current?;
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').next()?.parse().ok()?;
    Some(limit.saturating_sub(pages * rustix::param::page_size() as u64))
}

#[cfg(not(target_os = "linux"))]
fn of_limit() -> Option<u64> {
    None
}
