//! `noso index build`: catalogue, coded mentions and vocabularies in, an index folder out.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
    sync::Arc,
};

use anyhow::{Context, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use super::super::{DONE, annotated::load_annotated, encoder::EncoderArgs, load_catalog};
use crate::{
    artifact,
    catalog::{Catalog, ConceptMap, Umls},
    config::{Encoder, EncoderConfig},
    corpus::brat::{DIAGNOSIS_LABELS, load_concepts},
    data::{AnnotatedDocument, ConceptTerm, Origin},
    embed::{
        Embed,
        hybrid::HybridEncoder,
        ngram::{NgramEncoder, NgramSettings},
    },
    index::{
        BERT_FOLDER, ENCODER_FILE, EncoderRecord, Index, IndexFolder, IndexSettings, IndexSource, Metric, SourceKind,
        SourceRow, check_factory,
    },
    pipeline::{catalog_rows, catalog_source, load_bert, mention_rows, rows_source, vocabulary_rows},
    train::hybrid,
};

/// A BERT folder of at most so many bytes is copied into the index folder.
const COPIED_BYTES: u64 = 50_000_000;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples: titles and coded mentions with n-grams (the shipped index); titles with a BERT, as in the paper; both, the weight
chosen by cross-validation on the mentions

  noso index build --mentions ruccod/train --drop-mention-text --output indexes/default
  noso index build --encoder models/bergamot --preset bergamot --factory Flat \\
      --output indexes/titles
  noso index build --mentions ruccod/train --encoder models/bergamot --weight auto \\
      --output indexes/hybrid")]
pub(super) struct BuildArgs {
    /// Catalogue whose titles and synonyms go in [default: the shipped one]
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Leave the catalogue's titles out; it still maps concepts by name
    #[arg(long)]
    no_titles: bool,
    /// Annotated brat folder whose coded mentions go in (may be given several times)
    #[arg(long, value_name = "DIR")]
    mentions: Vec<PathBuf>,
    /// Brat folder linked to UMLS (RuCCoN, NEREL-BIO) whose terms go in, as far as their concepts have codes (may be given
    /// several times)
    #[arg(long, value_name = "DIR")]
    vocabulary: Vec<PathBuf>,
    /// Entity types of the vocabulary [default: those that name diagnoses in RuCCoN and NEREL-BIO]
    #[arg(long, value_name = "TYPE")]
    vocabulary_type: Vec<String>,
    /// MRCONSO.RRF of UMLS: gives concepts their codes (licensed to you by the NLM; not part of noso)
    #[arg(long, value_name = "FILE")]
    umls: Option<PathBuf>,
    /// Also put the Russian names in UMLS of the concepts that have codes in
    #[arg(long, requires = "umls")]
    umls_names: bool,
    /// How a concept gets its code [default: umls where --umls is given]
    #[arg(long, value_enum)]
    map: Option<MapArg>,
    /// `ngram` (trained on these texts), a file of n-grams, or the folder or hub id of a BERT or XLM-RoBERTa
    #[arg(long, value_name = "NAME|FILE|DIR", default_value = "ngram")]
    encoder: String,
    /// Join the BERT with n-grams trained on these texts: its share, between 0 and 1, or `auto`, by cross-validation on the
    /// mentions
    #[arg(long, value_name = "W|auto")]
    weight: Option<Weight>,
    /// Annotated brat folder on which `--weight auto` chooses instead: for a BERT that was trained on the mentions
    #[arg(long, value_name = "DIR", requires = "weight")]
    tune: Option<PathBuf>,
    /// Dimensions of the vectors of trained n-grams, a multiple of 64
    #[arg(long, value_name = "N", default_value_t = 384)]
    dim: u16,
    /// FAISS factory string: Flat, SQ8, HNSW16, HNSW8,SQ8, IVF256,Flat, ...
    #[arg(long, default_value = "HNSW8,SQ8")]
    factory: String,
    /// How near two vectors are
    #[arg(long, value_enum, default_value_t = MetricArg::Ip)]
    metric: MetricArg,
    /// HNSW: candidates that a search keeps in view
    #[arg(long, value_name = "N", default_value_t = 160, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    ef_search: u32,
    /// IVF: clusters that a search looks through
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    nprobe: u32,
    /// Threads that build; with more than one a graph is built sooner, but never twice the same
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Keep no mention's or vocabulary's text, only its hash: for an index that leaves the house
    #[arg(long)]
    drop_mention_text: bool,
    /// Records that one annotator coded, counted by numeric id
    #[arg(long, value_name = "N", default_value_t = 1000)]
    annotator_block: u32,
    /// Folder to write; an index that is there is replaced
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    bert: EncoderArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum MapArg {
    /// By the ICD-10 names of UMLS that share the concept
    Umls,
    /// By equal names: a term that is a title, synonym or coded mention gives its concept that code
    ByName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MetricArg {
    /// Inner product, the cosine for unit vectors
    Ip,
    /// Squared Euclidean distance, shown as 1 - d²/2, the cosine for unit vectors
    L2,
}

impl BuildArgs {
    fn metric(&self) -> Metric {
        match self.metric {
            MetricArg::Ip => Metric::Ip,
            MetricArg::L2 => Metric::L2,
        }
    }
}

/// Share of the BERT in a hybrid.
#[derive(Debug, Clone, Copy)]
enum Weight {
    Auto,
    Given(f32),
}

impl FromStr for Weight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let given = text.parse().ok().filter(|weight| (0.001..=0.999).contains(weight));
        match given {
            _ if text == "auto" => Ok(Self::Auto),
            Some(weight) => Ok(Self::Given(weight)),
            None => Err("expected `auto` or a number from 0.001 to 0.999".into()),
        }
    }
}

/// What goes into the index, and what it was read from.
struct Contents {
    catalog: Arc<Catalog>,
    documents: Vec<AnnotatedDocument>,
    rows: Vec<SourceRow>,
    sources: Vec<IndexSource>,
}

pub(super) fn run(args: &BuildArgs) -> anyhow::Result<ExitCode> {
    // What could stop the run anyway is found before anything is encoded.
    let folder = IndexFolder::stage(&args.output)?;
    let contents = read(args)?;
    let made = make_encoder(args, &contents)?;
    if made.copied.is_none() && folder.replaces(Path::new(&args.encoder)) {
        bail!("the encoder {} lies in the folder to write; choose another --output", args.encoder);
    }
    let settings = IndexSettings {
        factory: args.factory.clone(),
        metric: args.metric(),
        ef_search: args.ef_search,
        nprobe: args.nprobe,
        threads: args.threads,
        keep_mention_text: !args.drop_mention_text,
        encoder: made.record.clone(),
        sources: contents.sources,
    };
    let bar = progress_bar("{bar:30} {human_pos}/{human_len} texts encoded, {per_sec}, {eta} left");
    let mut watch = |done: usize, all: usize| move_bar(&bar, done, all);
    let index = Index::build_watched(&contents.rows, made.encoder.as_ref(), settings, &mut watch)?;
    bar.finish_and_clear();
    write_encoder(&made, folder.path())?;
    index.save(folder.path())?;
    folder.commit()?;
    let (entries, rows) = (index.manifest().entries, index.manifest().rows);
    eprintln!("{}: {entries} texts, {rows} (text, code, origin) rows", args.output.display());
    Ok(DONE)
}

fn progress_bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

fn move_bar(bar: &ProgressBar, done: usize, all: usize) {
    bar.set_length(all as u64);
    bar.set_position(done as u64);
}

fn read(args: &BuildArgs) -> anyhow::Result<Contents> {
    let catalog = Arc::new(load_catalog(args.catalog.as_deref())?);
    let titles = catalog_rows(&catalog);
    let (mut documents, mut mentions) = (Vec::new(), Vec::new());
    let mut sources = Vec::new();
    if !args.no_titles {
        sources.push(catalog_source(&catalog, args.catalog.as_deref())?);
    }
    for folder in &args.mentions {
        let some = load_annotated(folder)?;
        let rows = mention_rows(&some, args.annotator_block);
        sources.push(rows_source(SourceKind::Mentions, folder, &rows));
        mentions.extend(rows);
        documents.extend(some);
    }
    let wordings = titles.iter().chain(&mentions);
    let mut terms = read_vocabulary(args, wordings, &mut sources)?;
    let mut rows = if args.no_titles { Vec::new() } else { titles };
    rows.append(&mut mentions);
    rows.append(&mut terms);
    Ok(Contents { catalog, documents, rows, sources })
}

/// Reads the terms of other corpora and of UMLS, and gives them codes.
fn read_vocabulary<'a>(
    args: &BuildArgs,
    wordings: impl Iterator<Item = &'a SourceRow>,
    sources: &mut Vec<IndexSource>,
) -> anyhow::Result<Vec<SourceRow>> {
    let mut vocabularies: Vec<(&Path, Vec<ConceptTerm>)> = Vec::new();
    for folder in &args.vocabulary {
        let (terms, report) = match &args.vocabulary_type[..] {
            [] => load_concepts(folder, &DIAGNOSIS_LABELS)?,
            types => load_concepts(folder, types)?,
        };
        eprintln!("{}: {report}", folder.display());
        vocabularies.push((folder, terms));
    }
    let map = match (args.map, &args.umls) {
        (None, None) if args.vocabulary.is_empty() => return Ok(Vec::new()),
        (None | Some(MapArg::Umls), None) => bail!(
            "terms of UMLS concepts have no ICD codes of their own: give --umls MRCONSO.RRF, or --map by-name for a weaker map"
        ),
        (Some(MapArg::ByName), _) => {
            let terms = vocabularies.iter().flat_map(|(_, terms)| terms.clone()).collect::<Vec<_>>();
            ConceptMap::by_name(&terms, wordings.map(|row| (row.text.as_str(), &row.code)))
        }
        (None | Some(MapArg::Umls), Some(path)) => {
            let umls = Umls::load(path)?;
            eprintln!("{}: {}; {} concepts have codes", path.display(), umls.report, umls.map.len());
            if args.umls_names {
                vocabularies.push((path, umls.russian));
            }
            umls.map
        }
    };
    let mut all = Vec::new();
    for (path, terms) in vocabularies {
        let coverage = map.coverage(&terms);
        eprintln!(
            "{}: {} of {} concepts have codes, {} of {} terms go in",
            path.display(),
            coverage.mapped_concepts,
            coverage.concepts,
            coverage.mapped_terms,
            coverage.terms
        );
        let rows = vocabulary_rows(&terms, &map);
        sources.push(rows_source(SourceKind::Vocabulary, path, &rows));
        all.extend(rows);
    }
    Ok(all)
}

/// The encoder, and what of it goes into the index folder.
struct Made {
    encoder: Arc<dyn Embed>,
    record: EncoderRecord,
    ngram: Option<Arc<NgramEncoder>>,
    copied: Option<PathBuf>,
}

fn make_encoder(args: &BuildArgs, contents: &Contents) -> anyhow::Result<Made> {
    let path = Path::new(&args.encoder);
    let train = || {
        let settings = NgramSettings { dim: args.dim, ..NgramSettings::default() };
        NgramEncoder::train(contents.rows.iter().map(|row| row.text.as_str()), settings)
    };
    if args.encoder == "ngram" || path.is_file() {
        if args.weight.is_some() || args.bert.is_given() {
            bail!("--weight and the options under `Encoder` are for a BERT: give its folder or hub id with --encoder");
        }
        let ngram = Arc::new(if path.is_file() { NgramEncoder::load(path)? } else { train()? });
        check_factory(&args.factory, args.metric(), ngram.dim(), contents.rows.len())?;
        let record = EncoderRecord { kind: Encoder::Ngram, ..EncoderRecord::default() };
        return Ok(Made { encoder: ngram.clone(), record, ngram: Some(ngram), copied: None });
    }
    let small = path.is_dir() && encoder_bytes(path)? <= COPIED_BYTES;
    let (bert, mut record) = load_bert(&encoder_config(args)?)?;
    if small {
        record.model = None;
    } else if path.is_dir() {
        record.model = path.canonicalize().ok().map(|path| path.display().to_string());
    }
    let copied = small.then(|| path.to_owned());
    let texts = contents.rows.len();
    let Some(weight) = args.weight else {
        check_factory(&args.factory, args.metric(), bert.dim(), texts)?;
        return Ok(Made { encoder: bert, record, ngram: None, copied });
    };
    let ngram = Arc::new(train()?);
    check_factory(&args.factory, args.metric(), bert.dim() + ngram.dim(), texts)?;
    let weight = match weight {
        Weight::Given(weight) => weight,
        Weight::Auto => choose_weight(args, contents, [bert.clone(), ngram.clone()])?,
    };
    let encoder = Arc::new(HybridEncoder::new(bert, ngram.clone(), weight)?);
    record = EncoderRecord { kind: Encoder::Hybrid, weight: Some(weight), ..record };
    Ok(Made { encoder, record, ngram: Some(ngram), copied })
}

fn encoder_config(args: &BuildArgs) -> anyhow::Result<EncoderConfig> {
    let config = args.bert.over(Some(&args.encoder));
    // A weighted sum of cosines needs cosines.
    Ok(EncoderConfig { normalise: args.weight.map(|_| true).or(config.normalise), ..config })
}

fn choose_weight(args: &BuildArgs, contents: &Contents, encoders: [Arc<dyn Embed>; 2]) -> anyhow::Result<f32> {
    let folds = match &args.tune {
        None => {
            let is_mention = |row: &&SourceRow| matches!(row.origin, Origin::Mention { .. });
            let others: Vec<SourceRow> = contents.rows.iter().filter(|row| !is_mention(row)).cloned().collect();
            hybrid::folds(&contents.documents, &others, args.annotator_block)?
        }
        Some(folder) => {
            let asked = mention_rows(&load_annotated(folder)?, args.annotator_block);
            vec![hybrid::Fold { known: contents.rows.clone(), asked }]
        }
    };
    let bar = progress_bar("{bar:30} {percent} % of the weights tried, {eta} left");
    let measured = hybrid::weights(&folds, &contents.catalog, encoders, &mut |done, all| move_bar(&bar, done, all))?;
    bar.finish_and_clear();
    eprintln!("share of the BERT: acc@1, @5, @15 of mentions held out");
    for (weight, reached) in &measured {
        let at = reached.strict;
        eprintln!("  {weight:.1}: {:.4} {:.4} {:.4}", at.at_1, at.at_5, at.at_15);
    }
    hybrid::best(&measured).context("no weight was measured")
}

/// Puts what encodes into the index folder.
fn write_encoder(made: &Made, index: &Path) -> crate::Result<()> {
    if let Some(encoder) = &made.ngram {
        artifact::write_atomic(&index.join(ENCODER_FILE), &encoder.to_bytes()?)?;
    }
    for path in made.copied.iter().map(|folder| encoder_files(folder)).collect::<crate::Result<Vec<_>>>()?.concat() {
        let bytes = std::fs::read(&path).map_err(|e| crate::Error::read(&path, e))?;
        artifact::write_atomic(&index.join(BERT_FOLDER).join(path.file_name().unwrap_or_default()), &bytes)?;
    }
    Ok(())
}

/// Lists the files in a folder that make the encoder, not those of the run that trained it.
fn encoder_files(folder: &Path) -> crate::Result<Vec<PathBuf>> {
    let makes_it = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let weights = name.starts_with("model") && name.ends_with(".safetensors") || name == "pytorch_model.bin";
        path.is_file() && (weights || name.ends_with(".json") || name == "vocab.txt" || name == "noso.toml")
    };
    let entries = std::fs::read_dir(folder).map_err(|e| crate::Error::read(folder, e))?;
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    Ok(paths.map_err(|e| crate::Error::read(folder, e))?.into_iter().filter(makes_it).collect())
}

fn encoder_bytes(folder: &Path) -> crate::Result<u64> {
    let size =
        |path: PathBuf| std::fs::metadata(&path).map(|data| data.len()).map_err(|e| crate::Error::read(&path, e));
    encoder_files(folder)?.into_iter().map(size).sum()
}
