//! Writers of tables: appointments come in, a file in the form that [`super::Appointments`] reads leaves.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

#[cfg(feature = "parquet")]
use super::parquet::ParquetWriter;
use super::{FIELDS, TableFormat};
use crate::{
    diagnosis::appointment::{Appointment, Sex},
    error::{Error, Result},
};

/// Writes a table.
pub struct Writer {
    form: Form,
    path: PathBuf,
}

enum Form {
    Jsonl(BufWriter<File>),
    Csv(Box<csv::Writer<BufWriter<File>>>),
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetWriter>),
}

impl Writer {
    /// Creates a file, of the format that its name says.
    ///
    /// # Errors
    /// - [`Error::Write`]; [`Error::NotBuilt`] for Parquet in a build without.
    pub fn create(path: &Path) -> Result<Self> {
        let format = TableFormat::of(path)?;
        if cfg!(not(feature = "parquet")) && format == TableFormat::Parquet {
            return Err(Error::NotBuilt { engine: "writing Parquet", feature: "parquet" });
        }
        let file = File::create(path).map_err(|e| Error::write(path, e))?;
        let form = match format {
            TableFormat::Jsonl => Form::Jsonl(BufWriter::new(file)),
            #[cfg(feature = "parquet")]
            TableFormat::Parquet => Form::Parquet(Box::new(ParquetWriter::new(file, path)?)),
            _ => {
                let mut writer = csv::Writer::from_writer(BufWriter::new(file));
                writer.write_record(FIELDS.map(|(_, name, _)| name)).map_err(|e| Error::write(path, e.into()))?;
                Form::Csv(Box::new(writer))
            }
        };
        Ok(Self { form, path: path.to_owned() })
    }

    /// Writes a row.
    ///
    /// # Errors
    /// - [`Error::Write`].
    pub fn write(&mut self, appointment: &Appointment) -> Result<()> {
        let written: std::io::Result<()> = match &mut self.form {
            Form::Jsonl(file) => {
                let Appointment { id, patient, time, age, sex, complaints, tests, conclusion, codes, .. } = appointment;
                let row = serde_json::json!({
                    "id": id, "patient": patient, "date": said_time(time), "age": age, "sex": sex,
                    "complaints": complaints, "tests": tests, "conclusion": conclusion, "codes": codes,
                });
                writeln!(file, "{row}")
            }
            Form::Csv(writer) => {
                let Appointment { id, patient, time, age, sex, complaints, tests, conclusion, codes, .. } = appointment;
                let (time, codes) = (said_time(time), codes.join("; "));
                let age = age.map(|age| age.to_string()).unwrap_or_default();
                let row = [id, patient, &time, &age, said_sex(*sex), complaints, tests, conclusion, &codes];
                writer.write_record(row).map_err(Into::into)
            }
            #[cfg(feature = "parquet")]
            Form::Parquet(writer) => return writer.write(appointment),
        };
        written.map_err(|e| Error::write(&self.path, e))
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// - [`Error::Write`].
    pub fn finish(self) -> Result<()> {
        let finished = match self.form {
            Form::Jsonl(mut file) => file.flush(),
            Form::Csv(mut writer) => writer.flush(),
            #[cfg(feature = "parquet")]
            Form::Parquet(writer) => return writer.finish(),
        };
        finished.map_err(|e| Error::write(&self.path, e))
    }
}

fn said_time(time: &chrono::NaiveDateTime) -> String {
    time.format("%Y-%m-%dT%H:%M:%S").to_string()
}

pub(super) fn said_sex(sex: Option<Sex>) -> &'static str {
    match sex {
        Some(Sex::Female) => "female",
        Some(Sex::Male) => "male",
        None => "",
    }
}
