//! `noso stages`: measures each stage of a pipeline on annotated texts: where codes are lost, and what confidence is worth.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use super::{
    DONE, Format,
    annotated::{gold_mentions, load_annotated},
    llm::LlmArgs,
};
use crate::{
    config::{PipelineConfig, RerankEngine},
    data::{AnnotatedDocument, Candidate, Coded, Coding, DecidedBy, Document, Mention, Span},
    eval::{
        bootstrap::Bootstrap,
        calibration::{Binning, area_under_risk_coverage, expected_calibration_error, risk_coverage},
        linking::{LinkingAccuracy, linking_accuracy},
        loss::{CodedMention, Losses},
        metrics::{Annotation, DocumentCounts, Matching, Metrics},
        report::Report as Scores,
        selection::{Asked, Selection},
    },
    icd::IcdCode,
    pipeline::{Pipeline, aggregate},
};

/// Bins of the expected calibration error.
const BINS: usize = 10;
/// Draws of the interval of what a choice adds.
const RESAMPLES: usize = 10_000;
/// Coverages at which the risk is shown.
const COVERAGES: [f64; 5] = [0.1, 0.25, 0.5, 0.75, 1.0];

/// Measure each stage of a pipeline on annotated texts
///
/// Gold spans are repaired as for training. Linking is measured on gold mentions, the rest on the pipeline's own.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example

  noso stages --gold dev/ --format json")]
pub struct Args {
    /// Annotated brat folder
    #[arg(long, value_name = "DIR")]
    gold: PathBuf,
    /// Built-in pipeline or pipeline file
    #[arg(long, value_name = "NAME|FILE", default_value = "default")]
    pipeline: String,
    /// Change a key of the pipeline (may be given several times)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How to print the figures
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Stop after this many documents
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    llm: LlmArgs,
}

/// Everything the command says.
#[derive(Serialize)]
struct Report {
    documents: usize,
    linking_retrieved: LinkingAccuracy,
    linking_reranked: LinkingAccuracy,
    /// What a language model's choice adds, on gold mentions whose words the index lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    selection: Option<Selection>,
    /// Confidence of the first code of gold mentions.
    confidence_of_links: Confidence,
    /// Confidence of the first group of gold mentions.
    confidence_of_groups: Confidence,
    /// Confidence of the pipeline's distinct codes of a document.
    confidence_of_codes: Confidence,
    strict: Scores,
    relaxed: Scores,
    losses: Losses,
}

/// What a confidence is worth.
#[derive(Serialize)]
struct Confidence {
    codings: usize,
    expected_calibration_error: f64,
    area_under_risk_coverage: f64,
    /// Pairs of coverage and share of wrong codes among the surest.
    risk_at_coverage: Vec<(f64, f64)>,
}

impl Confidence {
    fn of(pairs: &[(f64, bool)]) -> Self {
        let curve = risk_coverage(pairs);
        let risk = |coverage: f64| {
            let point = curve.iter().find(|point| point.coverage >= coverage - 1e-9);
            (coverage, point.map_or(0.0, |point| point.risk))
        };
        Self {
            codings: pairs.len(),
            expected_calibration_error: expected_calibration_error(pairs, Binning::EqualWidth(BINS)),
            area_under_risk_coverage: area_under_risk_coverage(&curve),
            risk_at_coverage: COVERAGES.map(risk).to_vec(),
        }
    }
}

/// Runs the pipeline over the folder, twice: on gold mentions and on its own.
///
/// # Errors
/// If the folder or a model cannot be loaded, or a stage fails.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let set = [args.llm.settings(), args.set.clone()].concat();
    let config = PipelineConfig::load(&args.pipeline, &set)?;
    let pipeline = Pipeline::load(&config)?;
    let mut gold = load_annotated(&args.gold)?;
    gold.truncate(args.limit.unwrap_or(usize::MAX));
    let offered = (config.rerank.engine == RerankEngine::Llm).then_some(config.rerank.candidates);
    let report = measure(&pipeline, &gold, offered)?;
    match args.format {
        Format::Json => super::show(serde_json::to_string_pretty(&report)?)?,
        Format::Table => print(&report)?,
    }
    Ok(DONE)
}

/// Measures every stage; `offered` is the number of candidates that a language model chooses among, if one does.
fn measure(pipeline: &Pipeline, gold: &[AnnotatedDocument], offered: Option<usize>) -> anyhow::Result<Report> {
    let documents: Vec<Document> = gold.iter().map(|annotated| annotated.document.clone()).collect();
    let (mentions, codes): (Vec<Vec<Mention>>, Vec<Vec<&IcdCode>>) = gold.iter().map(gold_mentions).unzip();
    let codes = codes.concat();
    let flat: Vec<Mention> = mentions.iter().flatten().cloned().collect();
    let retrieved = pipeline.retriever().retrieve(&flat)?;
    let by_document =
        codings(&documents, pipeline.link(&documents, mentions.into_iter().map(|of| Ok(of.into())).collect()))?;
    let selection = offered.and_then(|offered| selection(&by_document, &retrieved, &codes, offered));
    let linked = by_document.concat();
    let coded = codings(&documents, pipeline.code(&documents))?;

    let link = |right: fn(&IcdCode, &IcdCode) -> bool, confidence: fn(&Coding) -> f32| {
        let pairs = linked.iter().zip(&codes).filter_map(|(coding, gold)| {
            let code = coding.candidates.first().map(|first| &first.code)?;
            Some((f64::from(confidence(coding)), right(code, gold)))
        });
        Confidence::of(&pairs.collect::<Vec<_>>())
    };
    Ok(Report {
        documents: gold.len(),
        linking_retrieved: accuracy(&codes, retrieved.iter().map(Vec::as_slice)),
        linking_reranked: accuracy(&codes, linked.iter().map(|coding| coding.candidates.as_slice())),
        selection,
        confidence_of_links: link(|a, b| a == b, |coding| coding.confidence),
        confidence_of_groups: link(|a, b| a.group() == b.group(), |coding| coding.group_confidence),
        confidence_of_codes: Confidence::of(&code_confidences(gold, &coded)),
        strict: scores(gold, &coded, Matching::Strict),
        relaxed: scores(gold, &coded, Matching::Relaxed),
        losses: losses(pipeline, gold, &coded),
    })
}

/// Compares the choices among `offered` candidates with the order in which they were `retrieved`, mention by mention.
fn selection(
    linked: &[Vec<Coding>],
    retrieved: &[Vec<Candidate>],
    gold: &[&IcdCode],
    offered: usize,
) -> Option<Selection> {
    let mut mentions = retrieved.iter().zip(gold);
    let mut asked = |coding: &Coding| {
        let (candidates, gold) = mentions.next()?;
        let candidates = &candidates[..offered.min(candidates.len())];
        let right = candidates.iter().filter(|candidate| candidate.code == **gold).count();
        (coding.decided_by != DecidedBy::Direct && !candidates.is_empty()).then(|| Asked {
            chosen_right: coding.code.as_ref() == Some(gold),
            first_right: candidates[0].code == **gold,
            chance: right as f64 / candidates.len() as f64,
        })
    };
    let documents: Vec<Vec<Asked>> =
        linked.iter().map(|codings| codings.iter().filter_map(&mut asked).collect()).collect();
    Selection::of(&documents, Bootstrap::new(RESAMPLES))
}

/// A figure over fewer documents than were given would be another figure, so one that fails ends the command.
fn codings(documents: &[Document], outcomes: Vec<crate::Result<Coded>>) -> anyhow::Result<Vec<Vec<Coding>>> {
    let named = |(document, outcome): (&Document, crate::Result<Coded>)| {
        let failed = |error: crate::Error| {
            let told = format!("document {}: {error}", document.id);
            anyhow::Error::new(error).context(told)
        };
        Ok(outcome.map_err(failed)?.codings)
    };
    documents.iter().zip(outcomes).map(named).collect()
}

fn accuracy<'a>(gold: &[&IcdCode], candidates: impl Iterator<Item = &'a [Candidate]>) -> LinkingAccuracy {
    let ranked: Vec<Vec<IcdCode>> =
        candidates.map(|candidates| candidates.iter().map(|candidate| candidate.code.clone()).collect()).collect();
    linking_accuracy(gold.iter().copied().zip(ranked.iter().map(Vec::as_slice)))
}

/// Pairs the highest confidence of each distinct predicted code of a document with whether the document has it.
fn code_confidences(gold: &[AnnotatedDocument], coded: &[Vec<Coding>]) -> Vec<(f64, bool)> {
    let mut pairs = Vec::new();
    for (gold, codings) in gold.iter().zip(coded) {
        let wanted: BTreeSet<&IcdCode> = gold.entities.iter().filter_map(|entity| entity.code.as_ref()).collect();
        for code in aggregate(codings) {
            let same = codings.iter().filter(|coding| coding.code.as_ref() == Some(&code));
            let sure = same.map(|coding| coding.confidence).fold(0.0, f32::max);
            pairs.push((f64::from(sure), wanted.contains(&code)));
        }
    }
    pairs
}

fn scores(gold: &[AnnotatedDocument], coded: &[Vec<Coding>], matching: Matching) -> Scores {
    let counts: Vec<DocumentCounts> = gold
        .iter()
        .zip(coded)
        .map(|(gold, codings)| {
            let gold = gold.entities.iter().filter_map(|entity| Some((entity.span, entity.code.as_ref()?)));
            let predicted = codings.iter().filter_map(|coding| Some((coding.span?, coding.code.as_ref()?)));
            let annotation = |(span, code): (Span, &'_ IcdCode)| (span, code.as_str().to_owned());
            let (gold, predicted): (Vec<_>, Vec<_>) =
                (gold.map(annotation).collect(), predicted.map(annotation).collect());
            DocumentCounts::of(&annotations(&gold), &annotations(&predicted), matching)
        })
        .collect();
    Scores::new(&Metrics::of(&counts), None, matching)
}

fn annotations(coded: &[(Span, String)]) -> Vec<Annotation<'_>> {
    coded
        .iter()
        .map(|(span, code)| Annotation { start: span.start_byte() as i64, end: span.end_byte() as i64, code })
        .collect()
}

fn losses(pipeline: &Pipeline, gold: &[AnnotatedDocument], coded: &[Vec<Coding>]) -> Losses {
    let known = pipeline.retriever().known_codes();
    let mut losses = Losses::default();
    for (gold, codings) in gold.iter().zip(coded) {
        let entities: Vec<_> =
            gold.entities.iter().filter_map(|entity| Some((entity.span, entity.code.as_ref()?))).collect();
        let mentions: Vec<CodedMention<'_>> = codings.iter().map(CodedMention::from).collect();
        losses.add(&entities, &mentions, |code| known.contains(code));
    }
    losses
}

fn print(report: &Report) -> crate::Result<()> {
    super::show(format_args!(
        "{} documents, end to end, strict
{}
",
        report.documents, report.strict
    ))?;
    super::show(format_args!(
        "relaxed
{}
",
        report.relaxed
    ))?;
    super::show(format_args!("Gold mentions, as retrieved\n{}\n", report.linking_retrieved))?;
    super::show(format_args!("Gold mentions, re-ranked\n{}\n", report.linking_reranked))?;
    if let Some(selection) = &report.selection {
        let mentions = selection.mentions;
        super::show(format_args!(
            "Choice among candidates, {mentions} gold mentions without a direct match\n{selection}\n"
        ))?;
    }
    super::show(format_args!("What became of the gold codes\n{}\n", report.losses))?;
    let mut sure = table(&["confidence of", "codings", "ECE", "AURC", "risk at 10 %", "25 %", "50 %", "75 %", "100 %"]);
    let rows = [
        ("code, gold mentions", &report.confidence_of_links),
        ("group, gold mentions", &report.confidence_of_groups),
        ("code, own mentions", &report.confidence_of_codes),
    ];
    for (name, confidence) in rows {
        let mut row = vec![
            name.to_owned(),
            confidence.codings.to_string(),
            format!("{:.4}", confidence.expected_calibration_error),
            format!("{:.4}", confidence.area_under_risk_coverage),
        ];
        row.extend(confidence.risk_at_coverage.iter().map(|(_, risk)| format!("{risk:.3}")));
        sure.add_row(row);
    }
    super::show(format_args!(
        "Confidence: expected calibration error, area under the risk–coverage curve, share of wrong codes among the surest\n{sure}"
    ))
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(header);
    table
}
