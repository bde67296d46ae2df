//! What a study is of: its settings and the hashes of all that it reads. A folder belongs to one study, and to one run at a time.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
};

use serde::de::DeserializeOwned;

use super::settings::{RecordsSettings, StudySettings};
use crate::{
    artifact::{self, write_atomic},
    catalog::Catalog,
    diagnosis::{
        manual::Manual,
        table::{Appointments, Columns},
    },
    error::{Error, Result},
    nn::pretrained::Pretrained,
};

const SETTINGS_FILE: &str = "study.toml";
const SOURCES_FILE: &str = "sources.json";
const ORIGIN_FILE: &str = "origin.json";
/// Folder of histories and the coder's codes.
pub(super) const DATA: &str = "data";

/// Hashes by name: SHA-256 of files, fingerprints of what is loaded.
pub(super) type Sources = BTreeMap<String, String>;

/// Sees that what a study reads can be read, and hashes it. `encoder` is the one that the settings name.
///
/// # Errors
/// Those of table, manual codes and disease model.
pub(super) fn gather(settings: &StudySettings, catalog: &Catalog, encoder: Option<&Pretrained>) -> Result<Sources> {
    let mut sources = Sources::from([("catalogue".into(), catalog.fingerprint())]);
    let hash = artifact::sha256_of_file;
    if let Some(RecordsSettings { table, columns, manual }) = &settings.records {
        drop(Appointments::open(table, &Columns::renamed(columns)?)?);
        Manual::load(manual, catalog)?;
        sources.extend([("table".into(), hash(table)?), ("manual codes".into(), hash(manual)?)]);
    }
    if let Some(diseases) = settings.simulate.as_ref().and_then(|simulate| simulate.diseases.as_ref()) {
        sources.insert("disease model".into(), hash(diseases)?);
    }
    if let Some(encoder) = encoder {
        sources.insert("encoder".into(), encoder.fingerprint()?);
    }
    Ok(sources)
}

/// Sees that what a folder holds of histories and codes, if it does, was made of the same records by the same coder, and keeps what that was:
/// another study of these records may begin with a copy of the folder.
///
/// # Errors
/// - [`Error::Setting`] if it was made otherwise; [`Error::Write`].
pub(super) fn claim_data(settings: &StudySettings, sources: &Sources, folder: &Path) -> Result<()> {
    let StudySettings { records, simulate, split, coder, .. } = settings;
    let origin = serde_json::json!({
        "table": sources.get("table"),
        "catalogue": sources.get("catalogue"),
        "columns": records.as_ref().map(|records| &records.columns),
        "simulate": simulate,
        "split": [split.validation.to_string(), split.test.to_string(), split.seed.to_string()],
        "coder": coder,
    });
    let path = folder.join(ORIGIN_FILE);
    match stored::<serde_json::Value>(&path) {
        Some(before) if before != origin => {
            let expected = format!("the records, split, catalogue and coder that {} tells of", path.display());
            let got = "others; choose another --output, or take the folder away".into();
            Err(Error::Setting { key: "output".into(), expected, got })
        }
        Some(_) => Ok(()),
        None => {
            fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))?;
            write_atomic(&path, &serde_json::to_vec_pretty(&origin).unwrap_or_default())
        }
    }
}

/// Tells whether a file may lie in a folder that is no study's yet: copied data, or what a run left that did not get far.
fn is_of_any(name: &std::ffi::OsStr) -> bool {
    name == DATA || name == SOURCES_FILE || name.as_encoded_bytes().starts_with(artifact::STAGED.as_bytes())
}

/// Reads what an earlier run kept, if it did.
pub(super) fn stored<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Makes the folder this study's, or sees that it is; it is held as long as the value lives. What is only measured or shown otherwise does
/// not make another study.
///
/// # Errors
/// - [`Error::Write`] if the folder cannot be written, holds anything else, or another run is at it; [`Error::Setting`] if it holds another
///   study.
pub(super) fn claim(settings: &StudySettings, sources: &Sources, folder: &Path) -> Result<File> {
    let (path, sources_path) = (folder.join(SETTINGS_FILE), folder.join(SOURCES_FILE));
    let text = toml::to_string(settings).map_err(|e| Error::write(&path, std::io::Error::other(e)))?;
    let is_ours = |before: &str| {
        stored::<Sources>(&sources_path).as_ref() == Some(sources)
            && toml::from_str(before).is_ok_and(|before: StudySettings| before.essence() == settings.essence())
    };
    match fs::read_to_string(&path) {
        Ok(before) if is_ours(&before) => {}
        Ok(_) => {
            let got = format!(
                "others; choose another --output (a copy of {}/ in it spares the coding, if table, split and coder are the same), or take the folder away",
                folder.join(DATA).display()
            );
            let expected = format!("settings, table, manual codes and encoder of the study in {}", folder.display());
            return Err(Error::Setting { key: "output".into(), expected, got });
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::read(&path, error)),
        Err(_) if folder.read_dir().is_ok_and(|files| files.flatten().any(|file| !is_of_any(&file.file_name()))) => {
            return Err(Error::write(folder, std::io::ErrorKind::DirectoryNotEmpty.into()));
        }
        Err(_) => fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))?,
    }
    let held = artifact::hold(folder)?;
    write_atomic(&sources_path, &serde_json::to_vec_pretty(sources).unwrap_or_default())?;
    write_atomic(&path, text.as_bytes())?;
    Ok(held)
}
