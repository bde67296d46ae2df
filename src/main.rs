//! Parse, run, exit code.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use noso::cli::{self, Cli};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Keeps the large buffers of tensors for the next ones, where the system's allocator hands them back and has every page made anew.
#[cfg(feature = "neural")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tells the allocator never to hand freed pages back, which spares a third of the processor time of training a small encoder.
/// The environment's MIMALLOC_PURGE_DELAY goes before.
#[cfg(feature = "neural")]
fn keep_pages() {
    /// `mi_option_purge_delay` of mimalloc.h in milliseconds, -1 for never; the crate has no name for it.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: sets a number of the allocator's; there is one thread so far.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, -1) }
}

/// Tells where a panic happened but not what it says: a slice out of bounds quotes the text it was cut from, which may be a patient's.
/// With RUST_BACKTRACE set, the person asks for all of it.
fn hide_panic_messages() {
    if std::env::var_os("RUST_BACKTRACE").is_none_or(|value| value == "0") {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
            eprintln!("internal error{place}: please report it (RUST_BACKTRACE=1 shows more, perhaps words of a text)");
        }));
    }
}

fn main() -> ExitCode {
    hide_panic_messages();
    #[cfg(feature = "neural")]
    keep_pages();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::builder()
                .with_default_directive(LevelFilter::WARN.into())
                .with_env_var("NOSO_LOG")
                .from_env_lossy(),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .init();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            let asked_for_help = !usage.use_stderr();
            let _ = usage.print();
            return if asked_for_help { ExitCode::SUCCESS } else { ExitCode::from(cli::CANNOT_START) };
        }
    };
    match cli::run(&cli) {
        Ok(code) => code,
        Err(error) => cli::report(&error),
    }
}
