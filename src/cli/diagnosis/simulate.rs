//! `noso diagnosis simulate`.

use std::{path::PathBuf, process::ExitCode};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    cli::DONE,
    diagnosis::{
        simulate::{Faults, SimulateSettings, Simulator, disease, folder},
        table::TableFormat,
    },
};

/// Make up a table of appointments, with the codes that were true beside it
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Writes DIR/appointments.jsonl (or .csv, .parquet), the true codes in DIR/truth.jsonl, and the settings in
DIR/simulation.json. The same seed gives the same patients, however many there are.

Examples

  noso diagnosis simulate --patients 2000 --output simulated
  noso diagnosis simulate --patients 2000 --omission 0 --habit 0 --unspecified 0 \\
      --sibling 0 --output faultless")]
pub struct Args {
    /// Patients; a few never come
    #[arg(long, value_name = "N", default_value_t = 1000)]
    patients: u64,
    /// New folder to write
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Format of the table
    #[arg(long, value_enum, default_value_t = TableFormat::Jsonl)]
    format: TableFormat,
    /// Seed
    #[arg(long, value_name = "N", default_value_t = SimulateSettings::default().seed)]
    seed: u64,
    /// Years
    #[arg(long, value_name = "N", default_value_t = SimulateSettings::default().years)]
    years: u32,
    /// Appointments a year for each chronic disease
    #[arg(long, value_name = "X", default_value_t = SimulateSettings::default().visits)]
    visits: f64,
    /// Share of long words with a typing error
    #[arg(long, value_name = "X", default_value_t = SimulateSettings::default().typos)]
    typos: f64,
    /// Share of very long words that are cut to a stump
    #[arg(long, value_name = "X", default_value_t = SimulateSettings::default().stumps)]
    stumps: f64,
    /// Doctors: chance that a diagnosis beside the first gets no code
    #[arg(long, value_name = "X", default_value_t = Faults::default().omission)]
    omission: f64,
    /// Doctors: chance that one always types the same wrong code for a disease
    #[arg(long, value_name = "X", default_value_t = Faults::default().habit)]
    habit: f64,
    /// Doctors: chance that the unspecified code is typed
    #[arg(long, value_name = "X", default_value_t = Faults::default().unspecified)]
    unspecified: f64,
    /// Doctors: chance that a code is typed that the disease is taken for
    #[arg(long, value_name = "X", default_value_t = Faults::default().sibling)]
    sibling: f64,
    /// Doctors: chance that a code is written in another notation
    #[arg(long, value_name = "X", default_value_t = Faults::default().notation)]
    notation: f64,
    /// Disease model of your own, a TOML file in the form of the shipped one
    #[arg(long, value_name = "FILE")]
    diseases: Option<PathBuf>,
}

/// Simulates and writes.
///
/// # Errors
/// If a setting is out of its range, the disease model is none, or the folder cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let diseases = args.diseases.as_deref().map_or_else(disease::shipped, disease::load)?;
    let simulator = Simulator::new(diseases, args.settings())?;
    let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} patients, {per_sec}, {eta} left");
    let bar = ProgressBar::new(args.patients);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let appointments =
        folder::write(&simulator, args.patients, &args.output, args.format, &mut |patients| bar.inc(patients))?;
    bar.finish_and_clear();
    let table = folder::table_path(&args.output, args.format);
    eprintln!("{}: {appointments} appointments of {} patients", table.display(), args.patients);
    Ok(DONE)
}

impl Args {
    fn settings(&self) -> SimulateSettings {
        SimulateSettings {
            seed: self.seed,
            years: self.years,
            visits: self.visits,
            typos: self.typos,
            stumps: self.stumps,
            faults: Faults {
                omission: self.omission,
                habit: self.habit,
                unspecified: self.unspecified,
                sibling: self.sibling,
                notation: self.notation,
            },
            ..SimulateSettings::default()
        }
    }
}
