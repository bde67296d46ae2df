//! The folder of a study: histories and label sets, a patient a line.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    group::Groups,
    history::{Faults, History, Split},
    link::Linked,
};
use crate::{
    catalog::Catalog,
    error::{Error, Result},
};

/// Histories, by patient.
const HISTORIES: &str = "histories.jsonl";
/// Codes that the coder found, in the same order.
const LINKED: &str = "linked.jsonl";

/// How far the coding of conclusions is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coded {
    /// Patients whose conclusions are coded.
    pub patients: u64,
    /// Conclusions of theirs that could not be.
    pub failed: u64,
}

/// A folder of histories, with or without their linked codes.
#[derive(Debug, Clone)]
pub struct Dataset {
    folder: PathBuf,
}

impl Dataset {
    /// Names the dataset of a folder, which need not be there yet.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Tells whether its histories are written.
    pub fn has_histories(&self) -> bool {
        self.histories_path().exists()
    }

    /// Writes the histories, part by part on all cores. Where a file of them is, it is whole.
    ///
    /// # Errors
    /// - [`Error::Read`] or [`Error::Write`].
    pub fn write_histories(&self, groups: &Groups, split: &Split, catalog: &Catalog) -> Result<Faults> {
        let path = self.histories_path();
        let partial = path.with_extension("partial");
        let unwritten = |e| Error::write(&partial, e);
        let mut file = BufWriter::new(File::create(&partial).map_err(unwritten)?);
        let mut faults = Faults::default();
        let parts: Vec<usize> = groups.parts().collect();
        for some in parts.chunks(rayon::current_num_threads()) {
            let written: Vec<(Vec<u8>, Faults)> =
                some.par_iter().map(|&part| lines_of(groups.read(part)?, split, catalog)).collect::<Result<_>>()?;
            for (lines, met) in written {
                file.write_all(&lines).map_err(unwritten)?;
                faults += met;
            }
        }
        file.into_inner().map_err(|e| unwritten(e.into_error()))?.sync_all().map_err(unwritten)?;
        fs::rename(&partial, &path).map_err(|e| Error::write(&path, e))?;
        Ok(faults)
    }

    /// Reads the histories.
    ///
    /// # Errors
    /// - [`Error::Read`] if there are none.
    pub fn histories(&self) -> Result<Lines<History>> {
        Lines::open(&self.histories_path())
    }

    /// Reads the linked codes.
    ///
    /// # Errors
    /// - [`Error::Read`] if there are none.
    pub fn linked(&self) -> Result<Lines<Linked>> {
        Lines::open(&self.linked_path())
    }

    /// Tells whether the coder's codes are there, of some patients at least.
    pub fn has_linked(&self) -> bool {
        self.linked_path().exists()
    }

    /// Counts the patients whose conclusions are coded, and the conclusions of theirs that could not be.
    ///
    /// # Errors
    /// - [`Error::Read`].
    pub fn count_linked(&self) -> Result<Coded> {
        let mut coded = Coded::default();
        if !self.has_linked() {
            return Ok(coded);
        }
        for line in self.linked()? {
            match line {
                Ok(linked) => {
                    coded.patients += 1;
                    coded.failed += linked.codes.iter().filter(|codes| codes.is_none()).count() as u64;
                }
                // A line that broke off is the last, and not counted.
                Err(Error::Parse { .. }) => break,
                Err(other) => return Err(other),
            }
        }
        Ok(coded)
    }

    /// Goes through histories and their linked codes side by side.
    ///
    /// # Errors
    /// - [`Error::Read`]; [`Error::Parse`] if the linked codes belong to other histories or end before them.
    pub fn labelled(&self) -> Result<impl Iterator<Item = Result<(History, Linked)>> + use<>> {
        let (path, mut linked) = (self.linked_path(), self.linked()?);
        Ok(self.histories()?.zip(1..).map(move |(history, line)| {
            let history = history?;
            match linked.next().transpose()? {
                Some(linked) if linked.patient == history.patient && linked.codes.len() == history.visits.len() => {
                    Ok((history, linked))
                }
                other => Err(Error::Parse {
                    what: "linked codes",
                    path: path.clone(),
                    line,
                    expected: format!("those of the patient in line {line} of {HISTORIES}"),
                    got: if other.is_some() { "those of another" } else { "the end" }.into(),
                }),
            }
        }))
    }

    /// Opens the file of linked codes to go on with it; returns how many patients are in it. A line that broke off is taken away.
    ///
    /// # Errors
    /// - [`Error::Write`].
    pub fn go_on_linking(&self) -> Result<(LinkedWriter, usize)> {
        let path = self.linked_path();
        let unwritten = |e| Error::write(&path, e);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(unwritten)?;
        let (mut done, mut end, mut line) = (0, 0, Vec::new());
        let mut reader = BufReader::new(&file);
        loop {
            line.clear();
            let bytes = reader.read_until(b'\n', &mut line).map_err(unwritten)?;
            if !line.ends_with(b"\n") {
                break;
            }
            (done, end) = (done + 1, end + bytes as u64);
        }
        file.set_len(end).and_then(|()| file.seek(SeekFrom::End(0))).map_err(unwritten)?;
        Ok((LinkedWriter { file: BufWriter::new(file), path }, done))
    }

    fn linked_path(&self) -> PathBuf {
        self.folder.join(LINKED)
    }

    fn histories_path(&self) -> PathBuf {
        self.folder.join(HISTORIES)
    }
}

fn lines_of(patients: Vec<Vec<super::Appointment>>, split: &Split, catalog: &Catalog) -> Result<(Vec<u8>, Faults)> {
    let (mut lines, mut faults) = (Vec::new(), Faults::default());
    for appointments in patients {
        let (history, met) = History::new(appointments, split, catalog);
        push(&mut lines, &history);
        faults += met;
    }
    Ok((lines, faults))
}

/// Adds a value's line.
fn push(lines: &mut Vec<u8>, value: &impl Serialize) {
    // Neither the values nor memory can fail to be written.
    let _ = serde_json::to_writer(&mut *lines, value);
    lines.push(b'\n');
}

/// Writes linked codes.
pub struct LinkedWriter {
    file: BufWriter<File>,
    path: PathBuf,
}

impl LinkedWriter {
    /// Writes some patients' codes: a run that is killed later leaves them whole.
    ///
    /// # Errors
    /// - [`Error::Write`].
    pub fn write(&mut self, linked: &[Linked]) -> Result<()> {
        let mut lines = Vec::new();
        linked.iter().for_each(|one| push(&mut lines, one));
        self.file.write_all(&lines).and_then(|()| self.file.flush()).map_err(|e| Error::write(&self.path, e))
    }
}

/// Reads a file's lines as values.
pub struct Lines<T> {
    file: BufReader<File>,
    path: PathBuf,
    number: usize,
    of: PhantomData<T>,
}

impl<T> Lines<T> {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::read(path, e))?;
        Ok(Self { file: BufReader::new(file), path: path.to_owned(), number: 0, of: PhantomData })
    }
}

impl<T: DeserializeOwned> Iterator for Lines<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        self.number += 1;
        match self.file.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_slice(&line).map_err(|_| Error::Parse {
                what: "dataset",
                path: self.path.clone(),
                line: self.number,
                expected: "a line that `noso diagnosis build` wrote".into(),
                got: "something else".into(),
            })),
            Err(error) => Some(Err(Error::read(&self.path, error))),
        }
    }
}
