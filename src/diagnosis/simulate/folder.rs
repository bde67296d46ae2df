//! A simulation on the disk: a simulator comes in, a table of appointments and the codes that were true leave.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde_json::json;

use super::{Simulated, Simulator};
use crate::{
    artifact::write_atomic,
    diagnosis::table::{TableFormat, Writer},
    error::{Error, Result},
};

/// Patients made at a time.
const CHUNK: u64 = 2048;
/// Name of the file of codes that were true, in the form of [`Manual`](crate::diagnosis::manual::Manual).
pub const TRUTH_FILE: &str = "truth.jsonl";
/// Name of the record of what was simulated, written last.
pub const RECORD_FILE: &str = "simulation.json";

/// Returns where the table of a simulation lies.
pub fn table_path(folder: &Path, format: TableFormat) -> PathBuf {
    folder.join(format!("appointments.{}", format.ending()))
}

/// Simulates patients into a new folder; `made` hears how many more there are. Returns the number of appointments.
///
/// # Errors
/// - [`Error::Write`] if the folder cannot be written, or holds anything.
pub fn write(
    simulator: &Simulator,
    patients: u64,
    folder: &Path,
    format: TableFormat,
    made: &mut dyn FnMut(u64),
) -> Result<u64> {
    if folder.read_dir().is_ok_and(|mut files| files.next().is_some()) {
        return Err(Error::write(folder, std::io::ErrorKind::DirectoryNotEmpty.into()));
    }
    fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))?;
    let truth_path = folder.join(TRUTH_FILE);
    let unwritten = |e| Error::write(&truth_path, e);
    let mut truth = BufWriter::new(File::create(&truth_path).map_err(unwritten)?);
    let mut table = Writer::create(&table_path(folder, format))?;
    let mut appointments = 0;
    for first in (0..patients).step_by(CHUNK as usize) {
        let numbers = first..(first + CHUNK).min(patients);
        let all: Vec<Vec<Simulated>> = numbers.into_par_iter().map(|number| simulator.patient(number)).collect();
        for Simulated { appointment, truth: codes } in all.iter().flatten() {
            table.write(appointment)?;
            writeln!(truth, "{}", json!({ "id": appointment.id, "codes": codes })).map_err(unwritten)?;
            appointments += 1;
        }
        made(all.len() as u64);
    }
    table.finish()?;
    truth.flush().map_err(unwritten)?;
    let record = json!({
        "noso": env!("CARGO_PKG_VERSION"), "commit": env!("NOSO_COMMIT"), "patients": patients, "appointments": appointments,
        "settings": simulator.settings,
    });
    write_atomic(&folder.join(RECORD_FILE), format!("{record:#}\n").as_bytes())?;
    Ok(appointments)
}
