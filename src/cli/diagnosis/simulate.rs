//! `noso diagnosis simulate`.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde_json::json;

use crate::{
    artifact::write_atomic,
    cli::DONE,
    diagnosis::{
        simulate::{Faults, SimulateSettings, Simulated, Simulator, disease},
        table::{TableFormat, Writer},
    },
    error::Error,
};

/// Patients made at a time.
const CHUNK: u64 = 2048;

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
    /// Patients; about one in ten never comes
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
    let settings = args.settings();
    let simulator = Simulator::new(diseases, settings.clone())?;
    let path = |name: &str| args.output.join(name);
    let table = path(&format!("appointments.{}", args.format.ending()));
    if args.output.read_dir().is_ok_and(|mut files| files.next().is_some()) {
        let there = std::io::Error::from(std::io::ErrorKind::DirectoryNotEmpty);
        return Err(Error::write(&args.output, there).into());
    }
    fs::create_dir_all(&args.output).map_err(|e| Error::write(&args.output, e))?;
    let truth_path = path("truth.jsonl");
    let mut truth = BufWriter::new(File::create(&truth_path).map_err(|e| Error::write(&truth_path, e))?);
    let mut writer = Writer::create(&table)?;
    let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} patients, {per_sec}, {eta} left");
    let bar = ProgressBar::new(args.patients);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut appointments = 0;
    for first in (0..args.patients).step_by(CHUNK as usize) {
        let numbers = first..(first + CHUNK).min(args.patients);
        let made: Vec<Vec<Simulated>> = numbers.into_par_iter().map(|number| simulator.patient(number)).collect();
        for Simulated { appointment, truth: codes } in made.iter().flatten() {
            writer.write(appointment)?;
            let line = json!({ "id": appointment.id, "codes": codes });
            writeln!(truth, "{line}").map_err(|e| Error::write(&truth_path, e))?;
            appointments += 1;
        }
        bar.inc(made.len() as u64);
    }
    bar.finish_and_clear();
    writer.finish()?;
    truth.flush().map_err(|e| Error::write(&truth_path, e))?;
    let record = json!({
        "noso": env!("CARGO_PKG_VERSION"), "commit": env!("NOSO_COMMIT"), "patients": args.patients, "appointments": appointments,
        "diseases": args.diseases, "settings": settings,
    });
    write_atomic(&path("simulation.json"), format!("{record:#}\n").as_bytes())?;
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
