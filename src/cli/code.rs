//! `noso code`: texts in, codes out.

use std::{
    io::{IsTerminal, stderr, stdin},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    DONE, FINISHED_WITH_FAILURES,
    llm::LlmArgs,
    manifest::{Manifest, Summary},
    pipeline::PipelineArgs,
    stop::on_ctrl_c,
};
use crate::{
    config::PipelineConfig,
    corpus::{self, Documents, InputFormat, OutputFormat, ReadOptions, Source, WriteOptions, Writer},
    data::{Coded, Document},
    error::{Error, Result},
    pipeline::{Pipeline, lookup},
};

/// Bytes of text after which a batch is closed, so that huge documents do not pile up.
const BATCH_BYTES: usize = 16 << 20;
/// Documents in a row that may be lost with their engine before the run stops: the rest is better left for `--resume`.
const LOST_IN_A_ROW: u64 = 8;
/// Failures told one by one; the rest is counted.
const SHOWN_FAILURES: u64 = 10;

/// Code texts: find the diagnoses in them and give each an ICD-10 code
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples

  noso code 'ИБС. Стенокардия напряжения. СД 2 типа'
  noso code --input notes/ --output coded.jsonl --output-format jsonl \\
      --min-confidence 0.5 --back-off
  noso code --input notes/ --output coded/ --output-format brat \\
      --pipeline llm --model Qwen2.5-7B-Instruct
  noso code --input notes.csv --text-column diagnosis --output coded/ \\
      --output-format brat --resume")]
pub struct Args {
    /// Texts to code, each a document
    text: Vec<String>,
    /// File or folder to read, or `-` for standard input
    #[arg(long, value_name = "PATH", conflicts_with = "text")]
    input: Option<PathBuf>,
    /// Format of the input
    #[arg(long, value_enum, default_value_t)]
    input_format: InputFormat,
    /// Column of a CSV input that holds the text
    #[arg(long, value_name = "COLUMN", default_value = "text")]
    text_column: String,
    /// Column of a CSV input that holds the id [default: `id`, or the record's number]
    #[arg(long, value_name = "COLUMN")]
    id_column: Option<String>,
    /// File to write, or folder for brat [default: standard output]
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Format of the output
    #[arg(long, value_enum, default_value_t)]
    output_format: OutputFormat,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Stop after this many documents
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Candidates for each mention [default: 15]
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Give no code that is less sure than this, 0 to 1
    #[arg(long, value_name = "X")]
    min_confidence: Option<f32>,
    /// Give the three-character group where it is sure enough and the code is not
    #[arg(long)]
    back_off: bool,
    /// Show each mention's candidates, their scores and what speaks for them; in jsonl also every question to a language model
    #[arg(long)]
    explain: bool,
    /// Continue an earlier run of the same command that was cut off
    #[arg(long, requires = "output")]
    resume: bool,
    /// Threads, 1 to 256 [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    #[command(flatten)]
    llm: LlmArgs,
}

/// Codes everything the arguments name.
///
/// # Errors
/// If the run cannot start: no input, unknown setting, damaged model. A document that fails is reported and the run goes on.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads.into())
            .build_global()
            .context("cannot start that many threads")?;
    }
    let config = args.config()?;
    let options = ReadOptions {
        format: args.input_format,
        text_column: args.text_column.clone(),
        id_column: args.id_column.clone(),
    };
    let mut documents = Documents::open(args.source()?, &options)?;
    if let Some(path) = &args.pipeline.catalog {
        super::load_catalog(Some(path))?;
    }
    let pipeline = Arc::new(Pipeline::load(&config)?);
    if let Some(output) = args.output.as_deref().filter(|_| args.resume) {
        Manifest::check(output, &config, &pipeline)?;
    }
    let mut writer = args.writer(&pipeline)?;
    if let Some(output) = &args.output {
        // Also a run that is killed leaves word of what it was.
        Manifest::new("code", &config, &pipeline, &Summary::default(), documents.report()).write(output)?;
    }
    let progress = progress(args.expected_documents(&pipeline, &options));
    let summary = Run::new(args.limit, progress)?.code(&mut documents, &pipeline, writer.as_mut())?;
    if !summary.interrupted {
        writer.finish()?;
    }
    summary.print(documents.report());
    if summary.interrupted && args.output.is_some() {
        eprintln!("stopped before the end; run the same command with --resume to go on");
    }
    if let Some(output) = &args.output {
        Manifest::new("code", &config, &pipeline, &summary, documents.report()).write(output)?;
    }
    let failed = summary.failed > 0 || summary.interrupted;
    Ok(if failed { ExitCode::from(FINISHED_WITH_FAILURES) } else { DONE })
}

impl Args {
    fn config(&self) -> Result<PipelineConfig> {
        let top_k = self.top_k.map(|k| format!("rerank.candidates={k}"));
        let min_confidence = self.min_confidence.map(|limit| format!("decision.min_confidence={limit:?}"));
        let back_off = self.back_off.then(|| "decision.back_off=true".to_owned());
        self.pipeline.config(&self.llm, [top_k, min_confidence, back_off].into_iter().flatten())
    }

    /// Counts the documents where a person waits long enough to want to know how long; `None` if they cannot be counted.
    fn expected_documents(&self, pipeline: &Pipeline, options: &ReadOptions) -> Option<u64> {
        if !pipeline.asks() || !stderr().is_terminal() {
            return None;
        }
        let source = match self.source().ok()? {
            Source::Stdin => return None,
            source => source,
        };
        let count = Documents::open(source, options).ok()?.count() as u64;
        Some(self.limit.map_or(count, |limit| count.min(limit as u64)))
    }

    fn source(&self) -> anyhow::Result<Source> {
        match &self.input {
            _ if !self.text.is_empty() => Ok(Source::Texts(self.text.clone())),
            Some(path) if path == Path::new("-") => Ok(Source::Stdin),
            Some(path) => Ok(Source::Path(path.clone())),
            None if stdin().is_terminal() => {
                bail!("nothing to code: give a text, `--input PATH`, or text on standard input")
            }
            None => Ok(Source::Stdin),
        }
    }

    fn writer(&self, pipeline: &Arc<Pipeline>) -> Result<Box<dyn Writer>> {
        let options = WriteOptions {
            format: self.output_format,
            explain: self.explain,
            resume: self.resume,
            lookup: lookup(pipeline),
        };
        corpus::create(self.output.as_deref(), options)
    }
}

/// One run over a corpus, batch by batch.
struct Run {
    left: usize,
    summary: Summary,
    started: Instant,
    progress: ProgressBar,
    /// Set by Ctrl-C.
    stop: Arc<AtomicBool>,
    /// Documents in a row that were lost with their engine.
    lost: u64,
}

impl Run {
    fn new(limit: Option<usize>, progress: ProgressBar) -> anyhow::Result<Self> {
        let stop = on_ctrl_c("the documents in work")?;
        let left = limit.unwrap_or(usize::MAX);
        Ok(Self { left, summary: Summary::default(), started: Instant::now(), progress, stop, lost: 0 })
    }

    fn code(mut self, documents: &mut Documents, pipeline: &Pipeline, writer: &mut dyn Writer) -> Result<Summary> {
        loop {
            let batch = self.batch(documents, pipeline.batch_documents(), writer);
            if batch.is_empty() {
                break;
            }
            if self.stop.load(Ordering::Relaxed) {
                self.summary.interrupted = true;
                break;
            }
            for (document, outcome) in batch.iter().zip(pipeline.code(&batch)) {
                match outcome {
                    Ok(coded) => match writer.write(document, &coded) {
                        Ok(()) => {
                            self.lost = 0;
                            self.summary.add(&coded);
                        }
                        Err(error) if concerns_one_document(&error) => self.failed(&error.to_string()),
                        Err(error) => return Err(error),
                    },
                    Err(error) => {
                        self.lost = if is_engine_lost(&error) { self.lost + 1 } else { 0 };
                        let hint = error.hint().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
                        self.failed(&format!("document {}: {error}{hint}", document.id));
                    }
                }
            }
            self.progress.inc(batch.len() as u64);
            if self.lost >= LOST_IN_A_ROW {
                eprintln!("error: the language model is gone: {} documents in a row got no answer", self.lost);
                self.summary.interrupted = true;
                break;
            }
        }
        self.progress.finish_and_clear();
        self.summary.seconds = self.started.elapsed().as_secs_f64();
        Ok(self.summary)
    }

    /// Reads the next documents that are not written yet; empty at the end.
    fn batch(&mut self, documents: &mut Documents, most: usize, writer: &dyn Writer) -> Vec<Document> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < most && bytes < BATCH_BYTES && self.left > 0 {
            match documents.next() {
                None => break,
                Some(Err(error)) => self.failed(&error.to_string()),
                Some(Ok(document)) => {
                    self.left -= 1;
                    if writer.is_done(&document.id) {
                        self.summary.resumed += 1;
                    } else {
                        bytes += document.text.len();
                        batch.push(document);
                    }
                }
            }
        }
        batch
    }

    fn failed(&mut self, message: &str) {
        self.summary.failed += 1;
        if self.summary.failed <= SHOWN_FAILURES {
            self.progress.suspend(|| eprintln!("warning: {message}"));
        }
    }
}

/// Shows how far a run is: with the time left where the number of documents is known.
fn progress(documents: Option<u64>) -> ProgressBar {
    let (bar, template) = match documents {
        Some(count) => (ProgressBar::new(count), "{bar:30} {human_pos}/{human_len} documents, {per_sec}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {human_pos} documents, {per_sec}, {elapsed}"),
    };
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

fn is_engine_lost(error: &Error) -> bool {
    matches!(error, Error::Generation { engine_lost: true, .. })
}

/// Tells a document whose id makes no file name from a disk that takes nothing more.
fn concerns_one_document(error: &Error) -> bool {
    matches!(error, Error::Write { source, .. } if source.kind() == std::io::ErrorKind::InvalidFilename)
}

impl Summary {
    fn add(&mut self, Coded { codings, trace }: &Coded) {
        self.documents += 1;
        self.asked.add(trace);
        self.mentions += codings.len() as u64;
        self.coded += codings.iter().filter(|coding| coding.code.is_some()).count() as u64;
    }
}
