//! Appointments in any order come in, each patient's leave together. Memory holds a small part of them: the rest waits on the disk.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

use super::Appointment;
use crate::error::{Error, Result};

/// Parts that patients are spread over. One a thread is in memory at a time.
const PARTS: usize = 256;
/// How the folder's name begins.
const PREFIX: &str = ".groups-";

/// Appointments on the disk, in parts that each hold all of a patient's.
pub struct Groups {
    folder: TempDir,
}

impl Groups {
    /// Spreads appointments over the parts, which lie in a folder of their own within `scratch` as long as this lives. `scratch` is one
    /// run's alone: what one left there that was killed is taken away, for it holds what patients said.
    ///
    /// # Errors
    /// - [`Error::Write`] if the disk takes no more.
    pub fn spread(appointments: impl Iterator<Item = Appointment>, scratch: &Path) -> Result<Self> {
        let make = || {
            for left in fs::read_dir(scratch)?.collect::<std::io::Result<Vec<_>>>()? {
                if left.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                    fs::remove_dir_all(left.path())?;
                }
            }
            tempfile::Builder::new().prefix(PREFIX).tempdir_in(scratch)
        };
        let groups = Self { folder: make().map_err(|e| Error::write(scratch, e))? };
        let create = |part| {
            let path = groups.path(part);
            File::create(&path).map(BufWriter::new).map_err(|e| Error::write(path, e))
        };
        let mut files = (0..PARTS).map(create).collect::<Result<Vec<_>>>()?;
        for appointment in appointments {
            let part = xxh3_64(appointment.patient.as_bytes()) as usize % PARTS;
            let bytes = postcard::to_stdvec(&appointment).map_err(std::io::Error::other);
            let write = |bytes: Vec<u8>| {
                files[part].write_all(&(bytes.len() as u64).to_le_bytes())?;
                files[part].write_all(&bytes)
            };
            bytes.and_then(write).map_err(|e| Error::write(groups.path(part), e))?;
        }
        for (part, mut file) in files.into_iter().enumerate() {
            file.flush().map_err(|e| Error::write(groups.path(part), e))?;
        }
        Ok(groups)
    }

    /// Returns the numbers of the parts.
    pub fn parts(&self) -> std::ops::Range<usize> {
        0..PARTS
    }

    /// Reads a part: by patient, in the order of their names, each one's appointments in the order in which they came.
    ///
    /// # Errors
    /// - [`Error::Read`].
    pub fn read(&self, part: usize) -> Result<Vec<Vec<Appointment>>> {
        let path = self.path(part);
        let mut file = BufReader::new(File::open(&path).map_err(|e| Error::read(&path, e))?);
        let left = file.get_ref().metadata().map_err(|e| Error::read(&path, e))?.len();
        let mut left = left as usize;
        let mut patients: BTreeMap<String, Vec<Appointment>> = BTreeMap::new();
        while left > 0 {
            let appointment = next(&mut file, &mut left).map_err(|e| Error::read(&path, e))?;
            patients.entry(appointment.patient.clone()).or_default().push(appointment);
        }
        Ok(patients.into_values().collect())
    }

    fn path(&self, part: usize) -> PathBuf {
        self.folder.path().join(part.to_string())
    }
}

fn next(file: &mut impl Read, left: &mut usize) -> std::io::Result<Appointment> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length) as usize;
    let mut bytes = vec![0; length.min(*left)];
    file.read_exact(&mut bytes)?;
    *left = left.saturating_sub(8 + length);
    postcard::from_bytes(&bytes).map_err(std::io::Error::other)
}
