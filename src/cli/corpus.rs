//! Loading annotated corpora for the commands that train or measure, with their faults told to the user.

use std::path::Path;

use crate::{corpus::brat, data::AnnotatedDocument};

/// Loads an annotated brat folder and prints on stderr how much was read and repaired.
pub(super) fn load_annotated(folder: &Path) -> anyhow::Result<Vec<AnnotatedDocument>> {
    let (documents, report) = brat::load(folder)?;
    eprintln!("{}: {report}", folder.display());
    Ok(documents)
}
