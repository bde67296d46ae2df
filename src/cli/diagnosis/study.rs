//! `noso diagnosis study`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    cli::{DONE, FINISHED_WITH_FAILURES, manifest::machine, show, table::SHOWN, train::fit::Bar},
    experiment::study::{Outcome, PAGE_FILE, StudySettings, StudyWatch, run as study},
    nn::fit::{EvaluationRecord, Memory, StepRecord, Watch},
};

/// Train one model on doctors' codes and one on the coder's, and compare them on manual ones
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Writes DIR/index.html, a page with all figures, DIR/outcome.json with their numbers, and both models, for `noso diagnose`.
A run that was cut off goes on if it is started again. A config for a hospital's own records:

  [records]
  table = \"visits.parquet\"
  columns = [\"patient=card\", \"complaints=complaints,anamnesis\"]
  manual = \"manual.jsonl\"   # {\"id\": …, \"patient\": …, \"codes\": […]} an appointment: measured on, not learnt from

  [model]
  encoder = \"rubert-base\"   # a BERT or Longformer; without it [model.new] has sizes

  [training]
  max_tokens = 4096

Example, on simulated records

  noso diagnosis study --config experiments/diagnosis.toml --output study")]
pub struct Args {
    /// Settings of the study
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Folder to write; one with an unfinished study of the same settings is gone on with
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

/// Carries out the study.
///
/// # Errors
/// If settings, records or encoder cannot be used, or the folder cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = StudySettings::load(&args.config)?;
    let mut progress = Progress { fit: Bar::new()?, stage: ProgressBar::hidden(), warnings: 0 };
    let outcome = study(&settings, &args.output, &machine(), &mut progress)?;
    progress.stage.finish_and_clear();
    if progress.warnings > SHOWN {
        eprintln!("warnings: {} more", progress.warnings - SHOWN);
    }
    show(table(&outcome))?;
    eprintln!("{}: written, after {:.0} s", args.output.join(PAGE_FILE).display(), outcome.seconds);
    Ok(if outcome.failures > 0 { ExitCode::from(FINISHED_WITH_FAILURES) } else { DONE })
}

fn table(outcome: &Outcome) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(["", "original", "linked", "difference", "95 % interval"]);
    for measure in &outcome.measures {
        let [lower, upper] = measure.interval;
        table.add_row([
            measure.name.clone(),
            format!("{:.3}", measure.original),
            format!("{:.3}", measure.linked),
            format!("{:+.3}", measure.difference),
            format!("{lower:+.3} to {upper:+.3}"),
        ]);
    }
    table
}

/// Shows a study on stderr: a bar for each stage, the training loop's own for trainings.
struct Progress {
    fit: Bar,
    stage: ProgressBar,
    warnings: u64,
}

impl StudyWatch for Progress {
    fn stage(&mut self, said: &str, total: Option<u64>) {
        self.stage.finish_and_clear();
        eprintln!("{said}");
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), "{bar:30} {human_pos}/{human_len}, {per_sec}, {eta} left"),
            None => (ProgressBar::new_spinner(), "{spinner} {human_pos}, {elapsed}"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.stage = bar.with_style(style);
        self.stage.enable_steady_tick(Duration::from_millis(200));
    }

    fn advance(&mut self, count: u64) {
        self.stage.inc(count);
    }

    fn warn(&mut self, warning: String) {
        self.warnings += 1;
        if self.warnings <= SHOWN {
            self.stage.suspend(|| eprintln!("warning: {warning}"));
        }
    }
}

impl Watch for Progress {
    fn memory(&mut self, memory: &Memory) {
        self.fit.memory(memory);
    }

    fn begin(&mut self, steps: usize, done: usize) {
        self.stage.finish_and_clear();
        self.fit.begin(steps, done);
    }

    fn step(&mut self, step: &StepRecord) {
        self.fit.step(step);
    }

    fn evaluation(&mut self, evaluation: &EvaluationRecord, best: bool) {
        self.fit.evaluation(evaluation, best);
    }

    fn stop(&self) -> bool {
        self.fit.stop()
    }
}
