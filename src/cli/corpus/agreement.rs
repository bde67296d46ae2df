//! `noso corpus agreement`: annotators' folders in, how far they agree out.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use comfy_table::Table;
use serde_json::json;

use crate::{
    cli::{DONE, FINISHED_WITH_FAILURES, Format, load_catalog, show},
    corpus::{
        self, Entry, OutputFormat, WriteOptions,
        brat::{self, read_raw},
    },
    data::{AnnotatedDocument, Coded, Coding, DecidedBy, Document, Entity, Match, Mention},
    error::{Error, Result, check_setting},
    eval::{
        agreement::{Agreement, Given, merge},
        metrics::Matching,
    },
    experiment::written,
};

/// What an annotator marked, by record: first character, one past the last, and the code.
type Marked = BTreeMap<String, Vec<(i64, i64, String)>>;

/// Records that are named where an annotator lacks some.
const NAMED: usize = 5;

/// Measure how far annotators of the same records agree, and merge what most of them say
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Each folder holds one annotator's brat files (ID.ann; no ID.txt is needed but to merge), the same records under the same names. A record
that an annotator lacks counts among the others. Codes are compared whole and cut to three characters; other ways to write a code
(Cyrillic letters, commas, blanks) are no disagreement.

Accepted are codes that at least two annotators gave a record: their share of all codes of the record is what the paper calls
inter-annotator agreement. The coefficients (Cohen, Fleiss, Krippendorff) are over all decisions, record by code.

--merge writes a brat folder of the accepted codes alone, each at the places where the first annotator who gave it marked it.

Example

  noso corpus agreement first/ second/ third/ --merge agreed/")]
pub struct Args {
    /// Folders, one an annotator
    #[arg(required = true, num_args = 2.., value_name = "DIR")]
    annotators: Vec<PathBuf>,
    /// Write what at least two annotators say
    #[arg(long, value_name = "DIR")]
    merge: Option<PathBuf>,
    /// How to print the figures
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Prints the figures to stdout, and to stderr which records an annotator lacks and which codes are none.
///
/// # Errors
/// If a folder is named twice, cannot be read or holds no `.ann` file, or no record is in two of them.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let corpora = args.annotators.iter().map(|folder| Ok(read_raw(folder)?.documents)).collect::<Result<Vec<_>>>()?;
    let texts = args.merge.as_ref().map(|_| args.annotators.iter().map(|folder| annotated(folder)).collect());
    let texts: Option<Vec<_>> = texts.transpose()?;
    let folders: BTreeSet<_> = args.annotators.iter().map(|folder| folder.canonicalize().ok()).collect();
    check_setting(folders.len() == args.annotators.len(), "annotators", "a folder of its own for each", "one twice")?;
    tell_unknown(&args.annotators, &corpora);
    let ids: BTreeSet<&String> = corpora.iter().flat_map(BTreeMap::keys).collect();
    let mut is_whole = true;
    for (folder, corpus) in args.annotators.iter().zip(&corpora) {
        is_whole &= tell_lacking(folder, ids.iter().filter(|id| !corpus.contains_key(**id)));
    }
    let found = [Matching::Strict, Matching::Relaxed].map(|matching| {
        let given = |corpus: &Marked, id: &String| -> Given<String> {
            Some(corpus.get(id)?.iter().map(|(.., code)| matching.key(&canonical(code)).to_owned()).collect())
        };
        let record = |id: &&String| corpora.iter().map(|corpus| given(corpus, id)).collect::<Vec<_>>();
        Agreement::of(&ids.iter().map(record).collect::<Vec<_>>())
    });
    let [Some(strict), Some(relaxed)] = found else {
        let got = "no record that two of them have".into();
        return Err(Error::Setting { key: "annotators".into(), expected: "the same records".into(), got }.into());
    };
    match args.format {
        Format::Table => show(table(&strict, &relaxed, &args.annotators))?,
        Format::Json => show(json!({ "codes": strict, "groups": relaxed }))?,
    }
    if let (Some(folder), Some(texts)) = (&args.merge, &texts) {
        is_whole &= write_merged(&corpora, texts, folder)?;
    }
    Ok(if is_whole { DONE } else { ExitCode::from(FINISHED_WITH_FAILURES) })
}

/// Counts the codes of each annotator that are none: they are compared as they are written, and not merged.
fn tell_unknown(annotators: &[PathBuf], corpora: &[Marked]) {
    for (folder, corpus) in annotators.iter().zip(corpora) {
        let unknown = corpus.values().flatten().filter(|(.., code)| brat::parse_code(code).is_none()).count();
        if unknown > 0 {
            eprintln!("warning: {}: {unknown} codes are no codes of ICD-10: compared as written", folder.display());
        }
    }
}

/// Writes a code as the classification does, if it is one.
fn canonical(code: &str) -> String {
    brat::parse_code(code).map_or_else(|| code.to_owned(), |(code, _)| code.to_string())
}

/// Reads what an annotator marked with its texts.
fn annotated(folder: &Path) -> Result<BTreeMap<String, AnnotatedDocument>> {
    let (documents, report) = brat::load(folder)?;
    eprintln!("{}: {report}", folder.display());
    Ok(documents.into_iter().map(|one| (one.document.id.clone(), one)).collect())
}

/// Names records that an annotator lacks; tells whether there is none.
fn tell_lacking<'a>(folder: &Path, lacking: impl Iterator<Item = &'a &'a String>) -> bool {
    let lacking: Vec<&str> = lacking.map(|id| id.as_str()).collect();
    if !lacking.is_empty() {
        let named = lacking[..lacking.len().min(NAMED)].join(", ");
        let more = if lacking.len() > NAMED { ", …" } else { "" };
        eprintln!(
            "warning: {}: {} records lack, compared among the others: {named}{more}",
            folder.display(),
            lacking.len()
        );
    }
    lacking.is_empty()
}

fn table(strict: &Agreement, relaxed: &Agreement, annotators: &[PathBuf]) -> Table {
    let mut rows = Vec::new();
    let share = |value: f64| format!("{value:.4}");
    let coefficient = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), share);
    let mut row = |name: String, of: &dyn Fn(&Agreement) -> String| {
        rows.push(vec![name, of(strict), of(relaxed)]);
    };
    row("records of two annotators or more".into(), &|of| of.records.to_string());
    row("… without any code".into(), &|of| of.without_codes.to_string());
    row("distinct codes".into(), &|of| of.codes.to_string());
    let of_codes = |of: &Agreement, value: f64| coefficient((of.codes > 0).then_some(value));
    row("accepted ÷ all codes, mean over records".into(), &|of| of_codes(of, of.mean));
    row("… pooled".into(), &|of| of_codes(of, of.pooled));
    for (at, &(a, b, _)) in strict.cohen.iter().enumerate() {
        let name = format!("Cohen’s κ, {} and {}", annotators[a].display(), annotators[b].display());
        row(name, &|of| coefficient(of.cohen[at].2));
    }
    row("Fleiss’ κ".into(), &|of| coefficient(of.fleiss));
    row("Krippendorff’s α".into(), &|of| coefficient(of.krippendorff));
    written::table(&["", "codes", "groups"], rows)
}

/// Writes a brat folder of the codes that at least two annotators gave; tells whether it holds every record of two or more. `texts` are those
/// of `marked` that have a text.
fn write_merged(
    marked: &[Marked],
    texts: &[BTreeMap<String, AnnotatedDocument>],
    folder: &Path,
) -> anyhow::Result<bool> {
    let catalog = Arc::new(load_catalog(None)?);
    let lookup =
        Arc::new(move |code: &crate::icd::IcdCode| Some(Entry { row: catalog.row(code)?, title: catalog.title(code) }));
    let options = WriteOptions { format: OutputFormat::Brat, explain: false, resume: false, lookup };
    let mut writer = corpus::create(Some(folder), options)?;
    let ids: BTreeSet<&String> = marked.iter().flat_map(BTreeMap::keys).collect();
    let (mut alone, mut is_whole) = (0, true);
    for id in ids {
        let votes = marked.iter().filter(|corpus| corpus.contains_key(id)).count();
        // What one annotator alone has, no two can agree on.
        if votes < 2 {
            alone += 1;
            continue;
        }
        let of_record: Vec<&AnnotatedDocument> = texts.iter().filter_map(|corpus| corpus.get(id)).collect();
        let is_one_text = of_record.windows(2).all(|two| two[0].document.text == two[1].document.text);
        let Some(first) = of_record.first().filter(|_| is_one_text && of_record.len() == votes) else {
            let why = if is_one_text { "a text is missing" } else { "annotators have different texts" };
            eprintln!("warning: record {id}: {why}, left out");
            is_whole = false;
            continue;
        };
        let entities: Vec<&[Entity]> = of_record.iter().map(|one| one.entities.as_slice()).collect();
        let codings = merge(&entities).into_iter().map(|entity| coding(&first.document, entity)).collect();
        writer.write(&first.document, &Coded { codings, ..Coded::default() })?;
    }
    writer.finish()?;
    if alone > 0 {
        eprintln!("warning: {}: {alone} records of one annotator alone, left out", folder.display());
    }
    Ok(is_whole)
}

/// Makes of an annotator's entity what a pipeline would have found.
fn coding(document: &Document, entity: &Entity) -> Coding {
    let text = entity.span.slice(&document.text).to_owned();
    Coding {
        mention: Mention { span: entity.span, text, matched: Match::Exact, probability: 1.0 },
        span: Some(entity.span),
        code: entity.code.clone(),
        confidence: 1.0,
        group_confidence: 1.0,
        candidates: Vec::new(),
        decided_by: DecidedBy::Written,
    }
}
