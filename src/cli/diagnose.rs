//! `noso diagnose`: histories in, likely diagnoses out.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    DONE, FINISHED_WITH_FAILURES, load_catalog, manifest,
    table::{readable, tell_faults},
};
use crate::{
    artifact::sha256_of_file,
    catalog::Catalog,
    config::Device,
    corpus::{Done, IdSet, Sink},
    diagnosis::{
        Chart, Faults, History, Split,
        evidence::Evidence,
        group::Groups,
        model::{DiagnosisModel, score},
        table::{Appointments, Columns},
    },
    embed::bert::device,
    error::{Error, Result, check_setting},
    icd::IcdCode,
};

/// Most words and appointments that are named for a code.
const NAMED: usize = 8;
/// Appointments predicted together.
const CHUNK: usize = 256;

/// Predict the codes of appointments from what came before them
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Reads a table of appointments as `noso diagnosis build` does; where conclusion and codes of an appointment are there already, they are cut out
of its complaints and tests, and count as past for later ones alone.
Writes a JSON object a line: patient, id, codes by probability, and with --explain what weighed most for those that are chosen.
Patients come in an order of their own (by a hash of their names), the appointments of each by time.

Examples

  noso diagnose --model predictor --table visits.csv
  noso diagnose --model predictor --table visits.parquet --all --explain --output predicted.jsonl")]
pub struct Args {
    /// Folder that `noso train diagnosis` wrote
    #[arg(long, value_name = "DIR|ID")]
    model: String,
    /// Table of appointments: .parquet, .csv, .tsv or .jsonl
    #[arg(long, value_name = "FILE")]
    table: PathBuf,
    /// Name of a field's column, such as `tests=examination` (may be given several times)
    #[arg(long, value_name = "FIELD=COLUMN")]
    column: Vec<String>,
    /// Predict every appointment, not only each patient's last (those of one time are all the last)
    #[arg(long)]
    all: bool,
    /// Codes that are told in any case, chosen or not
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    /// Say which appointments and words weighed most for each code that is chosen
    #[arg(long)]
    explain: bool,
    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Go on with an output that was cut off, of the same table, model and options: appointments in it are not predicted again
    #[arg(long, requires = "output")]
    resume: bool,
    /// Catalogue that titles are taken from [default: the shipped one]
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Tokens computed at a time on a core; on a GPU 16384 or more pay
    #[arg(long, value_name = "N", default_value_t = 2048)]
    batch_tokens: usize,
    /// Where it runs
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    device: Device,
}

/// What is said of an appointment.
#[derive(Serialize)]
struct Prediction<'a> {
    patient: &'a str,
    id: &'a str,
    /// Appointments before it.
    earlier: usize,
    /// Tokens that were read, and that did not fit.
    tokens: usize,
    cut: usize,
    codes: Vec<Predicted<'a>>,
}

/// What is said of a code.
#[derive(Serialize)]
struct Predicted<'a> {
    code: &'a IcdCode,
    title: String,
    /// Calibrated on the patients that the model was validated on.
    probability: f32,
    /// Whether the probability reaches the code's threshold.
    chosen: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
}

/// Predicts.
///
/// # Errors
/// If model, table or output cannot be used. Rows that cannot be read are reported, and the run goes on.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let columns = Columns::renamed(&args.column)?;
    let appointments = Appointments::open(&args.table, &columns)?;
    let model = DiagnosisModel::load(&args.model, &device(args.device)?)?;
    let catalog = load_catalog(args.catalog.as_deref())?;
    // Only an output has a manifest: without one nothing need be hashed.
    let origin = if args.output.is_some() { args.origin(&columns, &model, &catalog)? } else { Value::Null };
    if let Some(output) = args.output.as_deref().filter(|_| args.resume) {
        manifest::check_same(output, &origin)?;
    }
    let (mut output, Done { ids: done, .. }) = Sink::open(args.output.as_deref(), args.resume.then_some(scan))?;
    let place = args.output.as_deref().filter(|_| output.is_file());
    let kept = |more: Value| place.map_or(Ok(()), |place| manifest::write(place, &manifest::with(&origin, more)));
    // Also a run that is killed leaves word of what it was; before, the output is held.
    kept(json!({}))?;
    let (mut rejected, mut faults) = (0, Faults::default());
    let scratch = tempfile::tempdir().map_err(|e| Error::write(std::env::temp_dir(), e))?;
    let groups = Groups::spread(readable(appointments, &mut rejected), scratch.path())?;
    let run = Run { args, model: &model, catalog: &catalog, done };
    let (started, bar) = (Instant::now(), bar());
    let mut count = 0;
    for part in groups.parts() {
        let (mut waiting, mut wanted) = (Vec::new(), 0);
        for patient in groups.read(part)? {
            // No part of theirs counts here.
            let (history, met) = History::new(patient, &Split { validation: 0.0, test: 0.0, seed: 0 }, &catalog);
            faults += met;
            wanted += run.wanted(&history).count();
            waiting.push(history);
            if wanted >= CHUNK {
                count += run.predict(&std::mem::take(&mut waiting), &mut output)?;
                wanted = 0;
                bar.set_position(count as u64);
            }
        }
        count += run.predict(&waiting, &mut output)?;
        bar.set_position(count as u64);
    }
    faults.rejected = rejected;
    faults.check(&args.table)?;
    output.finish()?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    kept(json!({ "predicted": count, "faults": faults, "seconds": seconds }))?;
    eprintln!("{count} appointments predicted; {seconds:.2} s, {:.1} a second", count as f64 / seconds.max(1e-9));
    // An appointment that is to be predicted has neither yet.
    tell_faults(&Faults { without_codes: 0, without_conclusion: 0, ..faults });
    Ok(if rejected > 0 { ExitCode::from(FINISHED_WITH_FAILURES) } else { DONE })
}

impl Args {
    /// Returns what predictions are made from and how: others are not gone on with.
    fn origin(&self, columns: &Columns, model: &DiagnosisModel, catalog: &Catalog) -> Result<Value> {
        let real = |path: &Path| path.canonicalize().ok();
        let is_apart = self.output.as_deref().and_then(real).is_none_or(|output| Some(output) != real(&self.table));
        check_setting(is_apart, "output", "another file than the table", self.table.display())?;
        Ok(json!({
            "table": sha256_of_file(&self.table)?,
            "columns": columns,
            "model": model.fingerprint()?,
            "catalogue": catalog.fingerprint(),
            "all": self.all,
            "top": self.top,
            "explain": self.explain,
        }))
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {human_pos} appointments predicted, {per_sec}, {elapsed}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// Reads an output that was cut off up to its first line that is not whole.
fn scan(mut file: BufReader<File>) -> std::io::Result<Done> {
    #[derive(Deserialize)]
    struct Said {
        patient: String,
        id: String,
    }
    let (mut done, mut line) = (Done::default(), Vec::new());
    loop {
        line.clear();
        file.read_until(b'\n', &mut line)?;
        let whole = line.ends_with(b"\n").then(|| serde_json::from_slice::<Said>(&line).ok()).flatten();
        let Some(Said { patient, id }) = whole else { return Ok(done) };
        done.ids.insert(&name(&patient, &id));
        done.length += line.len() as u64;
    }
}

/// Names an appointment among all.
fn name(patient: &str, id: &str) -> String {
    format!("{patient}\u{1f}{id}")
}

struct Run<'a> {
    args: &'a Args,
    model: &'a DiagnosisModel,
    catalog: &'a Catalog,
    /// Appointments that the output holds already.
    done: IdSet,
}

impl Run<'_> {
    /// Returns the places of a history's appointments that are still to be predicted.
    fn wanted(&self, history: &History) -> impl Iterator<Item = usize> {
        let first = if self.args.all { 0 } else { history.earlier(history.visits.len().saturating_sub(1)) };
        let is_new = |at: &usize| !self.done.contains(&name(&history.patient, &history.visits[*at].id));
        (first..history.visits.len()).filter(is_new)
    }

    /// Predicts the wanted appointments of some histories and writes a line for each; returns how many there were.
    fn predict(&self, histories: &[History], output: &mut Sink) -> Result<usize> {
        let reader = self.model.reader();
        let charts = histories.iter().map(|history| reader.chart(history)).collect::<Result<Vec<Chart>>>()?;
        let mut wanted: Vec<(usize, usize)> = Vec::new();
        for (number, history) in histories.iter().enumerate() {
            wanted.extend(self.wanted(history).map(|at| (number, at)));
        }
        let tokens = |number: usize| reader.length(&charts[wanted[number].0], wanted[number].1);
        let sequence = |number: usize| reader.sequence(&charts[wanted[number].0], wanted[number].1);
        let logits = score(self.model.classifier(), wanted.len(), tokens, sequence, self.args.batch_tokens)?;
        for (number, (&(of, at), logits)) in wanted.iter().zip(&logits).enumerate() {
            let history = &histories[of];
            let prediction = Prediction {
                patient: &history.patient,
                id: &history.visits[at].id,
                earlier: history.earlier(at),
                tokens: tokens(number),
                cut: sequence(number)?.cut,
                codes: self.codes(history, at, logits)?,
            };
            let mut line =
                serde_json::to_vec(&prediction).map_err(|e| Error::write(&history.visits[at].id, e.into()))?;
            line.push(b'\n');
            output.append(&line)?;
        }
        Ok(wanted.len())
    }

    fn codes(&self, history: &History, at: usize, logits: &[f32]) -> Result<Vec<Predicted<'_>>> {
        let decision = &self.model.settings.decision;
        let probabilities = decision.probabilities(logits);
        let chosen = decision.choose(&probabilities);
        let mut order: Vec<u32> = (0..probabilities.len() as u32).collect();
        let is_chosen = |class: u32| chosen.binary_search(&class).is_ok();
        let probability = |class: u32| probabilities[class as usize];
        order.sort_by(|&a, &b| probability(b).total_cmp(&probability(a)).then(a.cmp(&b)));
        let told: Vec<u32> = order
            .into_iter()
            .enumerate()
            .filter(|&(rank, class)| rank < self.args.top || is_chosen(class))
            .map(|(_, class)| class)
            .collect();
        let mut evidence = match self.args.explain {
            true => self.model.weigh(history, at, &chosen)?,
            false => Vec::new(),
        };
        let predicted = |class: u32| {
            let code = &self.model.codes[class as usize];
            let weights = chosen.binary_search(&class).ok().and_then(|place| evidence.get_mut(place));
            let settings = &self.model.settings.input;
            Predicted {
                code,
                title: self.catalog.title(code).to_string(),
                probability: probability(class),
                chosen: is_chosen(class),
                evidence: weights.map(|weights| Evidence::gather(history, settings, &std::mem::take(weights), NAMED)),
            }
        };
        Ok(told.into_iter().map(predicted).collect())
    }
}
