//! What a run was: settings, models, machine and counts, written beside its output and summed up on stderr.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    artifact,
    config::PipelineConfig,
    corpus::RepairReport,
    data::TraceCounts,
    error::{Error, Result},
    pipeline::Pipeline,
};

/// Counts of a coding run.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Summary {
    /// Documents coded and written in this run.
    pub documents: u64,
    /// Documents that an earlier run had written.
    pub resumed: u64,
    /// Documents or records that could not be read or coded.
    pub failed: u64,
    /// Mentions found.
    pub mentions: u64,
    /// Mentions that were given a code or group.
    pub coded: u64,
    /// Questions to language models, and what was wrong with the answers.
    #[serde(skip_serializing_if = "TraceCounts::is_nothing")]
    pub asked: TraceCounts,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
    /// Wall-clock seconds of reading, coding and writing.
    pub seconds: f64,
}

impl Summary {
    /// Prints one line of counts on stderr, and what was repaired or rejected below it.
    pub fn print(&self, report: &RepairReport) {
        let Self { documents, mentions, coded, seconds, .. } = self;
        let rate = *documents as f64 / seconds.max(1e-9);
        let mut line = format!("{documents} documents, {mentions} mentions, {coded} coded");
        if mentions > coded {
            line += &format!(", {} without a code", mentions - coded);
        }
        if self.resumed > 0 {
            line += &format!(", {} done before", self.resumed);
        }
        if self.failed > 0 {
            line += &format!(", {} failed", self.failed);
        }
        let digits = if rate < 10.0 { 2 } else { 0 };
        eprintln!("{line}; {seconds:.2} s, {rate:.digits$} documents/s");
        print_counts(&self.asked, *seconds);
        if report.occurred().next().is_some() {
            eprintln!("input: {report}");
        }
    }
}

/// Says on stderr what language models were asked, and what was wrong with their answers.
fn print_counts(counts: &TraceCounts, seconds: f64) {
    let TraceCounts { questions, prompt_tokens, answer_tokens, faults } = counts;
    if counts.is_nothing() {
        return;
    }
    let rate = (prompt_tokens + answer_tokens) as f64 / seconds.max(1e-9);
    eprintln!(
        "model: {questions} questions, {prompt_tokens} prompt and {answer_tokens} answer tokens, {rate:.1} tokens/s"
    );
    for (fault, count) in faults {
        let outcome = if fault.is_repaired() { "repaired" } else { "rejected" };
        eprintln!("{count:>8}  {outcome}  {}", fault.label());
    }
}

/// Returns system and processor architecture.
pub(super) fn machine() -> String {
    format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Everything that could change a run's result.
#[derive(Debug, Serialize)]
pub(super) struct Manifest<'a> {
    command: &'static str,
    noso: &'static str,
    commit: &'static str,
    machine: String,
    threads: usize,
    pipeline: &'a PipelineConfig,
    /// Stage and hash of its model.
    models: Vec<(&'static str, String)>,
    summary: &'a Summary,
    input: &'a RepairReport,
}

impl<'a> Manifest<'a> {
    /// Gathers what is known of a finished run.
    pub fn new(
        command: &'static str,
        config: &'a PipelineConfig,
        pipeline: &Pipeline,
        summary: &'a Summary,
        input: &'a RepairReport,
    ) -> Self {
        Self {
            command,
            noso: env!("CARGO_PKG_VERSION"),
            commit: env!("NOSO_COMMIT"),
            machine: machine(),
            threads: rayon::current_num_threads(),
            pipeline: config,
            models: pipeline.fingerprints(),
            summary,
            input,
        }
    }

    /// Refuses to continue a run whose pipeline or models were others; a run without a manifest is continued.
    ///
    /// # Errors
    /// - [`Error::Setting`] that names what differs.
    pub fn check(output: &Path, config: &PipelineConfig, pipeline: &Pipeline) -> Result<()> {
        check_same(output, &json!({ "pipeline": config, "models": pipeline.fingerprints() }))
    }

    /// Writes `manifest.json` into an output folder, or `FILE.manifest.json` beside an output file.
    ///
    /// # Errors
    /// - [`crate::Error::Write`] if that fails.
    pub fn write(&self, output: &Path) -> Result<()> {
        write(output, self)
    }
}

/// Refuses to continue a run in whose manifest a key stands otherwise than in the object `now`; a run without a manifest is continued.
///
/// # Errors
/// - [`Error::Setting`] that names what differs.
pub(super) fn check_same(output: &Path, now: &Value) -> Result<()> {
    let Ok(bytes) = std::fs::read(path(output)) else { return Ok(()) };
    let Ok(before) = serde_json::from_slice::<Value>(&bytes) else { return Ok(()) };
    let mut keys = now.as_object().into_iter().flatten();
    match keys.find(|(key, now)| before.get(key).is_some_and(|before| before != *now)) {
        None => Ok(()),
        Some((key, _)) => Err(Error::Setting {
            key: "resume".into(),
            expected: format!("the same {key} as in {}", path(output).display()),
            got: "another; choose another --output, or give the options of that run".into(),
        }),
    }
}

/// Returns what a run is made from with the program, the machine and whatever `more` is known of it; all are objects.
#[cfg(feature = "neural")]
pub(super) fn with(origin: &Value, more: Value) -> Value {
    let (noso, commit) = (env!("CARGO_PKG_VERSION"), env!("NOSO_COMMIT"));
    let all = [json!({ "noso": noso, "commit": commit, "machine": machine() }), origin.clone(), more];
    Value::Object(
        all.iter().filter_map(Value::as_object).flatten().map(|(key, value)| (key.clone(), value.clone())).collect(),
    )
}

/// Writes a manifest: `manifest.json` in an output folder, or `FILE.manifest.json` beside an output file.
///
/// # Errors
/// - [`crate::Error::Write`] if that fails.
pub(super) fn write(output: &Path, manifest: &impl Serialize) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(manifest).unwrap_or_default();
    json.push(b'\n');
    artifact::write_atomic(&path(output), &json)
}

fn path(output: &Path) -> PathBuf {
    match output.is_dir() {
        true => output.join("manifest.json"),
        false => PathBuf::from(format!("{}.manifest.json", output.display())),
    }
}
