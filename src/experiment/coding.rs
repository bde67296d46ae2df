//! The documents of a cell on their way through its pipeline: predictions, failures and seconds leave.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Instant};

use serde::Serialize;

use super::{
    calls::{Calls, ModelPool},
    folder::BRAT,
    gold::GoldDocument,
    run::{Run, RunWatch},
    scored::PREDICTIONS,
    stages::Stages,
};
use crate::{
    corpus::{self, OutputFormat, WriteOptions, Writer},
    data::{Coded, Document},
    error::{Error, Result},
    pipeline::{Models, Pipeline, lookup},
};

/// Documents that go through a stage before the next one has its turn, so that two models need not be loaded at a time.
const SHARD_DOCUMENTS: usize = 4096;
/// Documents in a row that may be lost with their engine before a cell is given up.
const LOST_IN_A_ROW: usize = 8;

/// Seconds and calls of a cell: what differs when the same is run again.
#[derive(Serialize)]
pub(super) struct Timings {
    pub recognition_s: f64,
    pub linking_s: f64,
    pub documents_per_s: f64,
    pub threads: usize,
    #[serde(flatten)]
    pub calls: Calls,
}

/// The documents of a cell on their way through its pipeline.
pub(super) struct Coding<'a> {
    pipeline: &'a Pipeline,
    writers: Vec<Box<dyn Writer>>,
    pub failures: BTreeMap<usize, (String, String)>,
    lost: usize,
    written: usize,
    seconds: [f64; 2],
}

impl<'a> Coding<'a> {
    pub fn new(pipeline: &'a Arc<Pipeline>, folder: &Path) -> Result<Self> {
        let open = |(format, name)| {
            let options = WriteOptions { format, explain: true, resume: false, lookup: lookup(pipeline) };
            corpus::create(Some(&folder.join(name)), options)
        };
        let writers = [(OutputFormat::Jsonl, PREDICTIONS), (OutputFormat::Brat, BRAT)].into_iter().map(open);
        let writers = writers.collect::<Result<_>>()?;
        Ok(Self { pipeline, writers, failures: BTreeMap::new(), lost: 0, written: 0, seconds: [0.0; 2] })
    }

    /// Takes the documents through the pipeline, one half after the other, shard by shard.
    pub fn run(
        &mut self,
        run: &Run<'_>,
        stages: &Stages<'_>,
        models: &Models,
        pool: &ModelPool,
        watch: &mut dyn RunWatch,
    ) -> Result<()> {
        let (gold, mentions) = (run.gold, run.settings.corpus.mentions);
        let batch = self.pipeline.batch_documents();
        for shard in gold.documents.chunks(SHARD_DOCUMENTS) {
            let mut recognised = Vec::with_capacity(shard.len());
            pool.make_room_for(&models.extract);
            for some in shard.chunks(batch) {
                let started = Instant::now();
                recognised.extend(stages.recognise(mentions, some));
                self.seconds[0] += started.elapsed().as_secs_f64();
                go_on(watch, some.len())?;
            }
            pool.make_room_for(&models.select);
            let mut recognised = recognised.into_iter();
            for some in shard.chunks(batch) {
                let started = Instant::now();
                let documents: Vec<Document> = some.iter().map(GoldDocument::document).collect();
                let coded = stages.link(&documents, recognised.by_ref().take(some.len()).collect());
                self.seconds[1] += started.elapsed().as_secs_f64();
                documents.iter().zip(coded).try_for_each(|(document, outcome)| self.write(document, outcome))?;
                go_on(watch, some.len())?;
            }
        }
        Ok(())
    }

    fn write(&mut self, document: &Document, outcome: Result<Coded>) -> Result<()> {
        match outcome {
            Ok(coded) => {
                self.lost = 0;
                self.writers.iter_mut().try_for_each(|writer| writer.write(document, &coded))?;
            }
            Err(error) => {
                self.lost =
                    if matches!(error, Error::Generation { engine_lost: true, .. }) { self.lost + 1 } else { 0 };
                if self.lost >= LOST_IN_A_ROW {
                    return Err(error);
                }
                self.failures.insert(self.written, (document.id.clone(), error.to_string()));
            }
        }
        self.written += 1;
        Ok(())
    }

    pub fn timings(&self) -> Timings {
        let [recognition_s, linking_s] = self.seconds;
        let documents_per_s = self.written as f64 / (recognition_s + linking_s).max(1e-9);
        let threads = rayon::current_num_threads();
        Timings { recognition_s, linking_s, documents_per_s, threads, calls: Calls::default() }
    }

    /// Completes the files; returns which documents failed, and why.
    pub fn finish(self) -> Result<Vec<(String, String)>> {
        self.writers.into_iter().try_for_each(Writer::finish)?;
        Ok(self.failures.into_values().collect())
    }
}

fn go_on(watch: &mut dyn RunWatch, documents: usize) -> Result<()> {
    watch.documents(documents);
    if watch.is_stopped() { Err(Error::Interrupted { what: "a cell was run" }) } else { Ok(()) }
}
