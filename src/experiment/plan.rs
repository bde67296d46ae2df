//! What a run would do: its cells come in, the questions that would be asked and the time they would take leave.
//!
//! Asked are only a few questions of each kind that was never asked, to learn how long they take; their answers are kept for the run.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Instant,
};

use super::{
    cache::Key, calls::ModelPool, cells::Cell, folder::RunManifest, gold::GoldDocument, identity::Identity, run::Run,
    settings::Mentions, stages::Stages,
};
use crate::{
    data::Document,
    error::Result,
    ner::Recognised,
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
    /// Further ones: choices among candidates for mentions that are not known before the documents were asked about. From as many as there
    /// would be for those of the annotation, to as many as if the index knew none of these word by word.
    pub more_questions: [usize; 2],
    /// Seconds in all, as far as known, from and to.
    pub seconds: [f64; 2],
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
        /// About, beside them, from and to.
        more: [usize; 2],
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
        let mut asked = AskedFor::default();
        let mut pool = ModelPool::new(run.cache.clone(), run.settings.memory_bytes(), true);
        let documents_sha256 = run.gold.sha256();
        let before = RunManifest::load(folder).ok();
        for cell in run.cells {
            let planned = run.identity(cell, &documents_sha256).and_then(|identity| {
                match run.is_done(cell, &identity, folder, before.as_ref()) {
                    true => Ok(Planned::Done),
                    false => plan.cell(run, cell, &identity, &mut pool, &mut asked),
                }
            });
            let planned = planned.unwrap_or_else(|error| Planned::Failed(error.to_string()));
            plan.cells.push((cell.name.clone(), planned));
        }
        let count = |questions: &Questions| questions.values().map(BTreeSet::len).sum();
        plan.questions = count(&asked.sure);
        for (at, likely) in asked.likely.iter().enumerate() {
            plan.more_questions[at] = count(likely);
            for (kind, keys) in asked.sure.iter().chain(likely) {
                match run.cache.seconds_each(kind)? {
                    Some(each) => plan.seconds[at] += each * keys.len() as f64,
                    None => plan.is_speed_unknown = true,
                }
            }
        }
        plan.more_questions[1] = plan.more_questions[1].max(plan.more_questions[0]);
        plan.seconds[1] = plan.seconds[1].max(plan.seconds[0]);
        Ok(plan)
    }

    fn cell(
        &mut self,
        run: &Run<'_>,
        cell: &Cell,
        identity: &Identity,
        pool: &mut ModelPool,
        asked: &mut AskedFor,
    ) -> Result<Planned> {
        let models = Models::made_by(&cell.config, |settings, adapter| pool.get(settings, adapter))?;
        let pipeline = Pipeline::with_models(&cell.config, &models)?;
        let documents: Vec<Document> = run.gold.documents.iter().map(GoldDocument::document).collect();
        if !pipeline.asks() {
            let some = &documents[..documents.len().min(TIMED_DOCUMENTS)];
            let started = Instant::now();
            pipeline.code(some);
            let seconds = started.elapsed().as_secs_f64() * documents.len() as f64 / some.len() as f64;
            self.seconds.iter_mut().for_each(|sum| *sum += seconds);
            return Ok(Planned::Computed { questions: 0, more: [0; 2] });
        }
        let stages = Stages::new(&cell.config, identity, &pipeline, &run.cache);
        pool.make_room_for(&models.extract);
        let recognised = stages.recognise(run.settings.corpus.mentions, &run.gold.documents);
        let unasked: Vec<GoldDocument> = run
            .gold
            .documents
            .iter()
            .zip(&recognised)
            .filter(|(_, found)| found.is_err())
            .map(|(one, _)| one.clone())
            .collect();
        pool.make_room_for(&models.select);
        stages.link(&documents, recognised);
        let questions = add(&mut asked.sure, pool.take_counts().missing);
        // What would be asked about the mentions of the others.
        let documents: Vec<Document> = unasked.iter().map(GoldDocument::document).collect();
        let mut more = [0; 2];
        for (likely, (more, alter)) in asked.likely.iter_mut().zip(more.iter_mut().zip([as_annotated, as_unknown])) {
            let recognised = stages.recognise(Mentions::Gold, &unasked);
            stages.link(&documents, recognised.into_iter().map(|found| found.map(alter)).collect());
            *more = add(likely, pool.take_counts().missing);
        }
        // Without their last letters, different mentions may be one.
        more[1] = more[1].max(more[0]);
        Ok(Planned::Computed { questions, more })
    }
}

/// Questions by kind, each once.
type Questions = BTreeMap<String, BTreeSet<Key>>;

/// Questions of all cells so far.
#[derive(Default)]
struct AskedFor {
    sure: Questions,
    /// The fewest and the most that may follow.
    likely: [Questions; 2],
}

fn as_annotated(recognised: Recognised) -> Recognised {
    recognised
}

/// Takes the last letter off each mention: near enough to be found, and no one's word.
fn as_unknown(mut recognised: Recognised) -> Recognised {
    for mention in &mut recognised.mentions {
        mention.text.pop();
    }
    recognised
}

/// Adds questions; returns how many of them are new.
fn add(to: &mut Questions, questions: Questions) -> usize {
    let mut new = 0;
    for (kind, keys) in questions {
        let known = to.entry(kind).or_default();
        let before = known.len();
        known.extend(keys);
        new += known.len() - before;
    }
    new
}
