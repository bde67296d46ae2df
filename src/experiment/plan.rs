//! What a run would do: its cells come in, the questions that would be asked and the time they would take leave. Nothing is asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Instant,
};

use super::{cache::Key, calls::ModelPool, cells::Cell, run::Run};
use crate::{
    data::Document,
    error::Result,
    pipeline::{Models, Pipeline},
};

/// Documents that are coded to learn how long a pipeline without a language model takes.
const TIMED_DOCUMENTS: usize = 32;

/// What a run would do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Each cell, and what would become of it.
    pub cells: Vec<(String, Planned)>,
    /// Questions that would be asked, each once.
    pub questions: usize,
    /// Further ones, about: choices among candidates for mentions that are not known before the documents were asked about; as many as
    /// there are gold entities.
    pub more_questions: usize,
    /// Seconds in all, as far as known.
    pub seconds: f64,
    /// Whether a model would be asked whose speed is not known yet.
    pub is_speed_unknown: bool,
}

/// What would become of a cell.
#[derive(Debug)]
pub enum Planned {
    /// Its results are there.
    Done,
    /// It would be computed, with so many questions that no cell before it asks.
    Computed {
        /// Known for sure.
        questions: usize,
        /// About, beside them.
        more: usize,
    },
    /// It cannot be run.
    Failed(String),
}

impl Plan {
    /// Looks through the cells of a run into `folder`.
    ///
    /// # Errors
    /// - [`crate::Error::Cache`] if the cache cannot be read.
    pub fn of(run: &Run<'_>, folder: &Path) -> Result<Self> {
        let mut plan = Self::default();
        let mut missing: BTreeMap<String, BTreeSet<Key>> = BTreeMap::new();
        let mut pool = ModelPool::new(run.cache.clone(), u64::MAX, true);
        let documents_sha256 = run.gold.sha256();
        for cell in run.cells {
            let planned = match run.is_done(cell, folder, &documents_sha256) {
                Ok(true) => Planned::Done,
                Ok(false) => match plan.cell(run, cell, &mut pool, &mut missing) {
                    Ok(planned) => planned,
                    Err(error) => Planned::Failed(error.to_string()),
                },
                Err(error) => Planned::Failed(error.to_string()),
            };
            plan.cells.push((cell.name.clone(), planned));
        }
        for (kind, keys) in &missing {
            match run.cache.seconds_each(kind)? {
                Some(seconds) => plan.seconds += seconds * keys.len() as f64,
                None => plan.is_speed_unknown = true,
            }
        }
        plan.is_speed_unknown |= plan.more_questions > 0;
        plan.questions = missing.values().map(BTreeSet::len).sum();
        Ok(plan)
    }

    fn cell(
        &mut self,
        run: &Run<'_>,
        cell: &Cell,
        pool: &mut ModelPool,
        missing: &mut BTreeMap<String, BTreeSet<Key>>,
    ) -> Result<Planned> {
        let models = Models::made_by(&cell.config, |settings, adapter| pool.get(settings, adapter))?;
        let pipeline = Pipeline::with_models(&cell.config, &models)?;
        let documents: Vec<Document> = run.gold.documents.iter().map(|document| document.document()).collect();
        if !pipeline.asks() {
            let some = &documents[..documents.len().min(TIMED_DOCUMENTS)];
            let started = Instant::now();
            pipeline.code(some);
            self.seconds += started.elapsed().as_secs_f64() * documents.len() as f64 / some.len() as f64;
            return Ok(Planned::Computed { questions: 0, more: 0 });
        }
        let recognised = run.settings.corpus.mentions.of(&run.gold.documents, &pipeline);
        let unasked = run.gold.documents.iter().zip(&recognised).filter(|(_, outcome)| outcome.is_err());
        let more = match models.select {
            Some(_) => unasked.map(|(document, _)| document.gold.len()).sum(),
            None => 0,
        };
        pipeline.link(&documents, recognised);
        let mut questions = 0;
        for (kind, keys) in pool.take_counts().missing {
            let known = missing.entry(kind).or_default();
            let before = known.len();
            known.extend(keys);
            questions += known.len() - before;
        }
        self.more_questions += more;
        Ok(Planned::Computed { questions, more })
    }
}
