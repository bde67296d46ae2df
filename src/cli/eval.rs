//! `noso eval`: two brat folders in, figures out.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use super::{DONE, Format};
use crate::{
    corpus::{
        Fault,
        brat::{RawCorpus, read_raw, read_repaired},
    },
    eval::{
        bootstrap::Bootstrap,
        metrics::{Annotation, Comparison, Matching, Metrics, compare},
        report::Report,
    },
};

/// Compare predicted annotation with gold annotation
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Both folders hold brat files (ID.ann; no ID.txt is needed). Offsets and codes are compared exactly as written; entities
without a code are left out on both sides. Every gold document counts: one that was not predicted counts as missed.

Example: code a folder of notes, then score the result against its annotation

  noso code --input notes/ --output predicted/ --output-format brat
  noso eval --gold notes/ --predicted predicted/ --bootstrap 10000")]
pub struct Args {
    /// Folder with the right annotation
    #[arg(long, value_name = "DIR")]
    gold: PathBuf,
    /// Folder with the annotation to score
    #[arg(long, value_name = "DIR")]
    predicted: PathBuf,
    /// Put the gold annotation right first, as for training: spans are found again by their quoted text (needs ID.txt beside ID.ann)
    #[arg(long)]
    repair_gold: bool,
    /// Compare only the first three characters of codes
    #[arg(long)]
    relaxed: bool,
    /// Add 95 % intervals from N resamples of the documents (100 to 100000; 10000 is usual)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=100_000))]
    bootstrap: Option<u32>,
    /// How to print the figures
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Prints the figures to stdout, and to stderr what was left out or stands on one side only.
///
/// # Errors
/// If a folder cannot be read or holds no `.ann` file.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let gold = if args.repair_gold { read_repaired(&args.gold)? } else { read_raw(&args.gold)? };
    let predicted = read_raw(&args.predicted)?;
    match args.repair_gold {
        true => eprintln!("{}: {}", args.gold.display(), gold.report),
        false => warn_of_faults("gold", &gold),
    }
    warn_of_faults("predicted", &predicted);
    let matching = if args.relaxed { Matching::Relaxed } else { Matching::Strict };
    let (gold, predicted) = (annotations(&gold), annotations(&predicted));
    let comparison = compare(&gold, &predicted, matching);
    warn_of_one_sided(&comparison);
    let metrics = Metrics::of(&comparison.documents);
    let intervals =
        args.bootstrap.and_then(|resamples| Bootstrap::new(resamples as usize).intervals(&comparison.documents));
    let report = Report::new(&metrics, intervals.as_ref(), matching);
    match args.format {
        Format::Table => super::show(&report)?,
        Format::Json => super::show(serde_json::to_string(&report)?)?,
    }
    Ok(DONE)
}

fn annotations(corpus: &RawCorpus) -> BTreeMap<String, Vec<Annotation<'_>>> {
    corpus
        .documents
        .iter()
        .map(|(id, entities)| {
            let entities = entities.iter().map(|(start, end, code)| Annotation { start: *start, end: *end, code });
            (id.clone(), entities.collect())
        })
        .collect()
}

/// The reader's own wording is for repaired corpora; here nothing is repaired.
fn warn_of_faults(side: &str, corpus: &RawCorpus) {
    for (fault, words) in [
        (Fault::NoCode, "entities without a code, left out"),
        (Fault::EmptySpan, "entities with offset -1, left out"),
        (Fault::MalformedLine, "lines that are no annotation, left out"),
        (Fault::NoteWithoutEntity, "notes for an entity that does not exist, left out"),
        (Fault::SeveralCodes, "entities with several codes, the last one compared"),
        (Fault::DuplicateEntityId, "entities whose id occurs again, the last one compared"),
        (Fault::Discontinuous, "entities of several pieces, compared from the first to the last character"),
    ] {
        let count = corpus.report.count(fault);
        if count > 0 {
            eprintln!("warning: {side}: {words}: {count}");
        }
    }
}

fn warn_of_one_sided(comparison: &Comparison<'_>) {
    for (ids, words) in [
        (&comparison.only_gold, "in gold only, scored as if nothing was predicted"),
        (&comparison.only_predicted, "in predicted only, not scored"),
    ] {
        if !ids.is_empty() {
            eprintln!("warning: documents {words}: {} ({})", ids.len(), named(ids));
        }
    }
}

/// Names up to five documents.
fn named(ids: &[&str]) -> String {
    const SHOWN: usize = 5;
    let shown = ids.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if ids.len() > SHOWN { format!("{shown}, …") } else { shown }
}
