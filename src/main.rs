//! Parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use noso::cli::{self, Cli};

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("NOSO_LOG"))
        .with_writer(std::io::stderr)
        .init();
    match cli::run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => cli::report(&error),
    }
}
