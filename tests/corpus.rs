//! Corpora in and out.

use std::{fs, path::PathBuf};

use noso::corpus::{
    Fault,
    brat::{self, AnnotatedReader},
};

/// The public corpora beside the checkout; a test that needs them does nothing without.
fn shared(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    path.exists().then_some(path)
}

#[test]
fn ruccod_training_folder_loads_completely() {
    let Some(folder) = shared("data/ruccod/train") else { return };
    let (documents, report) = brat::load(&folder).unwrap();
    println!("{report}");
    assert_eq!(documents.len(), 3000);
    assert_eq!(documents[2999].document.id, "2999");
}
