//! Label sets: a dataset comes in, the codes that doctors and the coder share leave.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{History, Linked, dataset::Dataset};
use crate::{data::CodeSet, error::Result, icd::IcdCode};

/// Whose codes they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LabelSet {
    /// Those that doctors typed.
    Original,
    /// Those that the coder found in the conclusions.
    Linked,
    /// Those that people vouch for: measured on, not learnt, but in a study's sweep.
    #[value(skip)]
    Manual,
}

impl LabelSet {
    /// Those that are learnt, in the order in which they are kept side by side.
    pub const LEARNT: [Self; 2] = [Self::Original, Self::Linked];
}

/// The codes that both label sets have; the others teach nothing that could be compared.
///
/// # Source
/// The paper, Sec. 5: codes are restricted to those in both sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    /// Shared codes.
    pub shared: CodeSet,
    /// Codes of each set that the other lacks.
    pub alone: [usize; 2],
}

impl Codes {
    /// Gathers the codes of both sets.
    ///
    /// # Errors
    /// Those of [`Dataset::labelled`].
    pub fn gather(dataset: &Dataset) -> Result<Self> {
        let (mut original, mut linked) = (BTreeSet::<IcdCode>::new(), BTreeSet::<IcdCode>::new());
        for labelled in dataset.labelled()? {
            let (history, found) = labelled?;
            original.extend(history.visits.into_iter().flat_map(|visit| visit.codes));
            linked.extend(found.codes.into_iter().flatten().flatten());
        }
        let shared: CodeSet = original.intersection(&linked).cloned().collect();
        let alone = [original.len() - shared.len(), linked.len() - shared.len()];
        Ok(Self { shared, alone })
    }

    /// Returns the shared codes of each appointment: doctors' and the coder's.
    pub fn label_sets(&self, history: &History, linked: &Linked) -> [Vec<CodeSet>; 2] {
        let typed = history.visits.iter().map(|visit| self.keep(&visit.codes));
        let found = linked.codes.iter().map(|codes| self.keep(codes.iter().flatten()));
        [typed.collect(), found.collect()]
    }

    fn keep<'a>(&self, codes: impl IntoIterator<Item = &'a IcdCode>) -> CodeSet {
        codes.into_iter().filter(|code| self.shared.contains(code)).cloned().collect()
    }
}
