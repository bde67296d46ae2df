//! `noso diagnosis build`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::bail;
use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    artifact::{self, sha256_of_file, write_atomic},
    cli::{
        DONE, FINISHED_WITH_FAILURES,
        llm::LlmArgs,
        manifest::machine,
        pipeline::PipelineArgs,
        show,
        table::{SHOWN, readable, tell_faults},
    },
    diagnosis::{
        Faults, Linking, Split,
        dataset::Dataset,
        group::Groups,
        labels::Codes,
        link_all,
        statistics::{Gatherer, Statistics},
        table::{Appointments, Columns},
    },
    error::{Error, Result, check_setting},
    pipeline::Pipeline,
};

/// Name of the record of what was built.
const MANIFEST: &str = "manifest.json";

/// Turn a table of appointments into histories, labelled by doctors and by the coder
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A table has a row for each appointment and the columns patient, date, complaints, tests, conclusion, codes, and where there
are any id, age, sex. --column gives them other names; a text may lie in several. Rows may stand in any order.

DIR then holds histories.jsonl (a patient a line, appointments by time, doctors' codes), linked.jsonl (the codes that the
coder finds in each conclusion) and manifest.json (settings, counts, statistics in the rows of the paper's Table 2).

Examples

  noso diagnosis build --table simulated/appointments.jsonl --output study
  noso diagnosis build --table visits.parquet --column patient=card --column date=visit_date \\
      --column complaints=complaints,anamnesis --output study")]
pub struct Args {
    /// Table of appointments: .parquet, .csv, .tsv or .jsonl
    #[arg(long, value_name = "FILE")]
    table: PathBuf,
    /// Name of a field's column, such as `tests=examination` (may be given several times)
    #[arg(long, value_name = "FIELD=COLUMN")]
    column: Vec<String>,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Share of patients to choose checkpoints and thresholds on
    #[arg(long, value_name = "X", default_value_t = 0.1)]
    validation: f64,
    /// Share of patients to measure on
    #[arg(long, value_name = "X", default_value_t = 0.1)]
    test: f64,
    /// Seed of the split
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Go on with an earlier run of the same command that was cut off
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    llm: LlmArgs,
}

/// What a dataset is made from; another one is not gone on with.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Origin {
    /// SHA-256 of the table.
    table: String,
    columns: Value,
    split: Split,
    pipeline: Value,
    /// Stage and hash of its model.
    models: Value,
}

/// The record of what was built.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    noso: String,
    commit: String,
    machine: String,
    origin: Origin,
    /// What was met in the table.
    histories: Option<Faults>,
    /// Conclusions that could not be coded.
    uncoded: u64,
    statistics: Option<Value>,
}

/// Statistics of both label sets, restricted to the codes that both have.
#[derive(Debug, Serialize)]
struct Both {
    original: Statistics,
    linked: Statistics,
    /// Codes of each set that the other lacks.
    original_alone: usize,
    linked_alone: usize,
}

/// Builds.
///
/// # Errors
/// If the table, the pipeline or the folder cannot be used. Rows and conclusions that fail are reported, and the run goes on.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let share = |key, value: f64| check_setting((0.0..1.0).contains(&value), key, "from 0 to 1", value);
    share("validation", args.validation)?;
    share("test", args.test)?;
    share("validation + test", args.validation + args.test)?;
    let columns = Columns::renamed(&args.column)?;
    let appointments = Appointments::open(&args.table, &columns)?;
    let config = args.pipeline.config(&args.llm, [])?;
    let pipeline = Pipeline::load(&config)?;
    let origin = Origin {
        table: sha256_of_file(&args.table)?,
        columns: serde_json::to_value(&columns)?,
        split: Split { validation: args.validation, test: args.test, seed: args.seed },
        pipeline: serde_json::to_value(&config)?,
        models: serde_json::to_value(pipeline.fingerprints())?,
    };
    let mut manifest = Manifest::open(&args.output, origin, args.resume)?;
    let _held = artifact::hold(&args.output)?;
    let dataset = Dataset::new(&args.output);
    if !dataset.has_histories() || manifest.histories.is_none() {
        let started = Instant::now();
        let mut rejected = 0;
        let rows = readable(appointments, &mut rejected);
        let groups = Groups::spread(rows, &args.output)?;
        let mut faults = dataset.write_histories(&groups, &manifest.origin.split, pipeline.retriever().catalog())?;
        faults.rejected = rejected;
        tell(&faults, started);
        faults.check(&args.table)?;
        manifest.histories = Some(faults);
        manifest.write(&args.output)?;
    }
    let faults = manifest.histories.unwrap_or_default();
    code_all(&dataset, &pipeline, &faults)?;
    manifest.uncoded = dataset.count_linked()?.failed;
    let both = statistics(&dataset)?;
    manifest.statistics = Some(serde_json::to_value(&both)?);
    manifest.write(&args.output)?;
    show(table(&both))?;
    let failed = faults.rejected > 0 || manifest.uncoded > 0;
    Ok(if failed { ExitCode::from(FINISHED_WITH_FAILURES) } else { DONE })
}

impl Manifest {
    /// Begins the record, or takes that of the run that goes on.
    fn open(folder: &Path, origin: Origin, resume: bool) -> anyhow::Result<Self> {
        let path = folder.join(MANIFEST);
        let is_empty = folder.read_dir().map_or(true, |mut files| files.next().is_none());
        let goes_on = resume && path.exists();
        if !is_empty && !goes_on {
            let kind =
                if path.exists() { std::io::ErrorKind::AlreadyExists } else { std::io::ErrorKind::DirectoryNotEmpty };
            return Err(Error::write(folder, kind.into()).into());
        }
        if !is_empty {
            let text = fs::read(&path).map_err(|e| Error::read(&path, e))?;
            let before: Self = match serde_json::from_slice(&text) {
                Ok(before) => before,
                Err(_) => bail!("{}: expected what `noso diagnosis build` wrote", path.display()),
            };
            if before.origin != origin {
                let expected = format!("the table, columns, split and pipeline as in {}", path.display());
                let got = "others; choose another --output, or give the options of that run";
                return Err(Error::Setting { key: "resume".into(), expected, got: got.into() }.into());
            }
            return Ok(before);
        }
        fs::create_dir_all(folder).map_err(|e| Error::write(folder, e))?;
        let manifest = Self {
            noso: env!("CARGO_PKG_VERSION").into(),
            commit: env!("NOSO_COMMIT").into(),
            machine: machine(),
            origin,
            histories: None,
            uncoded: 0,
            statistics: None,
        };
        manifest.write(folder)?;
        Ok(manifest)
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        write_atomic(&folder.join(MANIFEST), &text)
    }
}

/// Says what was met in the table, each kind of fault that there was.
fn tell(faults: &Faults, started: Instant) {
    let Faults { patients, appointments, .. } = *faults;
    let seconds = started.elapsed().as_secs_f64();
    let rate = appointments as f64 / seconds.max(1e-9);
    eprintln!("{appointments} appointments of {patients} patients; {seconds:.2} s, {rate:.0} appointments/s");
    tell_faults(faults);
}

/// Codes all conclusions that are not coded yet.
fn code_all(dataset: &Dataset, pipeline: &Pipeline, faults: &Faults) -> Result<()> {
    let style =
        ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} conclusions coded, {per_sec}, {eta} left");
    let bar = ProgressBar::new(faults.appointments);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let (started, mut uncoded) = (Instant::now(), 0);
    let done = link_all(dataset, pipeline, &mut |told| {
        match told {
            Linking::Coded(count) => bar.inc(count as u64),
            Linking::Failed(id, error) => {
                uncoded += 1;
                if uncoded <= SHOWN {
                    bar.suspend(|| eprintln!("warning: appointment {id}: {error}"));
                }
            }
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    let (coded, seconds) = (faults.appointments - done, started.elapsed().as_secs_f64());
    let before = if done > 0 { format!(", {done} coded before") } else { String::new() };
    let uncoded_too = if uncoded > 0 { format!(", {uncoded} failed") } else { String::new() };
    eprintln!(
        "{coded} conclusions coded{uncoded_too}{before}; {seconds:.2} s, {:.0} a second",
        coded as f64 / seconds.max(1e-9)
    );
    Ok(())
}

/// Gathers the statistics of both label sets, restricted to the codes that both have.
fn statistics(dataset: &Dataset) -> Result<Both> {
    let codes = Codes::gather(dataset)?;
    let (mut of_doctors, mut of_coder) = (Gatherer::default(), Gatherer::default());
    for labelled in dataset.labelled()? {
        let (history, linked) = labelled?;
        let [typed, found] = codes.label_sets(&history, &linked);
        of_doctors.add(&history, &typed);
        of_coder.add(&history, &found);
    }
    Ok(Both {
        original: of_doctors.statistics(),
        linked: of_coder.statistics(),
        original_alone: codes.alone[0],
        linked_alone: codes.alone[1],
    })
}

/// Says one of the statistics.
type Said<'a> = &'a dyn Fn(&Statistics) -> String;

fn table(both: &Both) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(["", "original", "linked"]);
    let quartiles = |[low, middle, high]: [f64; 3]| format!("{low:.0}, {middle:.0}, {high:.0}");
    let rows: [(&str, Said<'_>); 8] = [
        ("records", &|of| of.records.to_string()),
        ("patients", &|of| of.patients.to_string()),
        ("codes", &|of| of.codes.to_string()),
        ("codes a patient", &|of| format!("{:.1} ± {:.1}", of.codes_a_patient[0], of.codes_a_patient[1])),
        ("earlier records, quartiles", &|of| quartiles(of.earlier)),
        ("words a record, quartiles", &|of| quartiles(of.words)),
        ("age, quartiles", &|of| quartiles(of.age)),
        ("men", &|of| format!("{:.0} %", of.male * 100.0)),
    ];
    for (name, value) in rows {
        table.add_row([name.to_owned(), value(&both.original), value(&both.linked)]);
    }
    table.add_row([
        "codes of this set alone, left out".to_owned(),
        both.original_alone.to_string(),
        both.linked_alone.to_string(),
    ]);
    table
}
