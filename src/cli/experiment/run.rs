//! `noso experiment run`.

use std::{
    collections::BTreeSet,
    io::{IsTerminal, Write, stdin},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::bail;

use super::progress::Progress;
use crate::{
    cli::{DONE, FINISHED_WITH_FAILURES, manifest::machine, show, warn},
    experiment::{
        cache::Cache,
        cells::{Cell, cells, count},
        compare::warning_of_choosing,
        gold::Gold,
        leaderboard::leaderboard,
        plan::{Plan, Planned},
        run::{Run, RunOutcome},
        settings::ExperimentSettings,
    },
};

/// Cells that are run without asking first.
const UNASKED_CELLS: usize = 500;

/// Run every cell of a grid; what was done before is not done again
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
An experiment is a file such as this one:

  pipeline = \"llm\"                     # built-in or a file; default: default
  set = [\"rerank.candidates=10\"]       # keys changed in every cell

  [corpus]
  gold = \"annotated/\"                  # brat folder; paths are looked for beside the file first
  split = { modulo = 6, remainder = 4 } # only documents whose number leaves this remainder; the rest counts as trained on
  limit = 200
  role = \"tune\"                        # tune: to choose on; dev: to report on, which is counted

  [axes]                               # keys of the pipeline; every combination is a cell, the first is the baseline
  rerank.llm.prompt = [\"select-short-ru\", \"mine.toml\"]
  retrieval.neighbours = [32, 96]

  [[rows]]                             # or pipelines that differ in several keys; the axes are run for each
  name = \"mine\"
  set = [\"llm.model=models/mine\"]

Answers of language models are kept by the content of the question, so that a changed prompt asks only what it changes, and a run that is
killed goes on where it was: start it again. Texts and answers lie in the run's folder and in the cache; keep both where patients' texts may
lie.

A dry run says what would be asked and how long it would take. Of each kind of question that was never asked it asks four, to learn that; their
answers are kept. Where a BERT recognises or encodes, that is done and kept; pipelines that ask nothing are timed by 32 documents.

Example

  noso experiment run prompts.toml --output runs/prompts")]
pub struct Args {
    /// Experiments
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Folder for the results; of several experiments each has one in it [default: runs/NAME]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Annotated folder in place of the one in the file
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// All documents of the corpus, whatever split the file names
    #[arg(long)]
    whole: bool,
    /// Only the first documents
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Folder of answers that are known [default: `experiments` in NOSO_HOME, else noso/experiments in the user's cache]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Ask the small model that ships in place of every language model: shows that an experiment runs, not what its models can do
    #[arg(long)]
    stand_in: bool,
    /// Say what would be computed, with how many questions, in what time; compute no cell
    #[arg(long)]
    dry_run: bool,
    /// Run a huge grid without asking
    #[arg(long)]
    yes: bool,
}

/// Runs the experiments, or says what they would do.
///
/// # Errors
/// If an experiment cannot be read, or its folder or the cache not be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let experiments: Vec<(ExperimentSettings, PathBuf)> =
        args.files.iter().map(|file| Ok((args.settings(file)?, args.folder(file)))).collect::<crate::Result<_>>()?;
    let folders: BTreeSet<&PathBuf> = experiments.iter().map(|(_, folder)| folder).collect();
    if folders.len() < experiments.len() {
        bail!("two experiments have one name, and would be written to one folder: run them with an --output each");
    }
    if args.dry_run {
        crate::hub::stay_offline();
    }
    let all: usize = experiments.iter().map(|(settings, _)| count(settings)).sum();
    if all > UNASKED_CELLS && !args.yes && !args.dry_run && !is_confirmed(all)? {
        bail!("nothing was run: {all} cells (give --yes to run them, --dry-run to see what they would cost)");
    }
    let cache = Arc::new(Cache::open(&args.cache.clone().unwrap_or_else(default_cache))?);
    let mut progress = Progress::new(0)?;
    let mut is_whole = true;
    for (settings, folder) in &experiments {
        let mut cells = cells(settings)?;
        if args.stand_in {
            cells.iter_mut().for_each(Cell::stand_in);
        }
        let (gold, report) = Gold::of(&settings.corpus)?;
        eprintln!("{}: {report}", settings.corpus.gold.display());
        progress.next(cells.len());
        let (machine, cache) = (machine(), cache.clone());
        let run = Run { settings, cells: &cells, gold: &gold, cache, machine: &machine, stand_in: args.stand_in };
        if args.dry_run {
            is_whole &= plan(&Plan::of(&run, folder)?)?;
            continue;
        }
        let outcome = run.into_folder(folder, &mut progress)?;
        show(leaderboard(folder)?)?;
        tell(&outcome, folder);
        warn(outcome.scored_on_dev.and_then(warning_of_choosing).as_slice());
        is_whole &= outcome.failed == 0 && outcome.failed_documents == 0 && !outcome.interrupted;
        if outcome.interrupted {
            break;
        }
    }
    Ok(if is_whole { DONE } else { ExitCode::from(FINISHED_WITH_FAILURES) })
}

impl Args {
    fn settings(&self, file: &Path) -> crate::Result<ExperimentSettings> {
        let mut settings = ExperimentSettings::load(file)?;
        if let Some(corpus) = &self.corpus {
            settings.corpus.gold.clone_from(corpus);
        }
        if self.whole {
            settings.corpus.split = None;
        }
        settings.corpus.limit = self.limit.or(settings.corpus.limit);
        settings.check()?;
        Ok(settings)
    }

    fn folder(&self, file: &Path) -> PathBuf {
        let name = file.file_stem().unwrap_or_default();
        match &self.output {
            Some(folder) if self.files.len() == 1 => folder.clone(),
            Some(folder) => folder.join(name),
            None => Path::new("runs").join(name),
        }
    }
}

/// Asks a person whether so many cells are meant; without one they are not.
fn is_confirmed(cells: usize) -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("{cells} cells. Run them all? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn default_cache() -> PathBuf {
    crate::hub::cache_folder().join("experiments")
}

/// Prints what would be done; tells whether every cell could be run.
fn plan(plan: &Plan) -> crate::Result<bool> {
    let mut is_whole = true;
    for (name, planned) in &plan.cells {
        match planned {
            Planned::Done => show(format!("{name}: done"))?,
            Planned::Computed { questions: 0, more: [_, 0] } => show(format!("{name}: computed, nothing asked"))?,
            Planned::Computed { questions, more: [_, 0] } => show(format!("{name}: computed, {questions} questions"))?,
            Planned::Computed { questions, more: [least, most] } => {
                let follow = format!("about {least} to {most} that follow from the answers");
                show(format!("{name}: computed, {questions} questions and {follow}"))?;
            }
            Planned::Failed(reason) => {
                is_whole = false;
                show(format!("{name}: cannot be run: {reason}"))?;
            }
        }
    }
    let Plan { questions, more_questions: [least, most], seconds: [from, to], is_speed_unknown, .. } = plan;
    let time = match is_speed_unknown {
        true => format!("at least {from:.0} s: not all kinds of these questions were timed before"),
        false if to - from < 1.0 => format!("about {to:.0} s, by earlier questions"),
        false => format!("about {from:.0} to {to:.0} s, by earlier questions"),
    };
    let more = if *most > 0 { format!(", and about {least} to {most} more") } else { String::new() };
    show(format!("in all {questions} questions{more}; {time}"))?;
    Ok(is_whole)
}

/// Says on stderr what a run did.
fn tell(outcome: &RunOutcome, folder: &Path) {
    let RunOutcome { computed, kept, failed, failed_documents, asked, reused, interrupted, unlisted, .. } = outcome;
    let mut line = format!("{computed} cells computed, {kept} there before");
    if *failed > 0 {
        line += &format!(", {failed} could not be run");
    }
    if *failed_documents > 0 {
        line += &format!(", {failed_documents} documents failed");
    }
    eprintln!("{line}; {asked} questions asked, {reused} known");
    if *interrupted {
        eprintln!("stopped before the end; run the same command to go on");
    }
    if *unlisted > 0 {
        let cells = folder.join("cells");
        eprintln!(
            "{unlisted} earlier cells, such as other wordings of a prompt, are kept in {} and can be named to `compare` and `report`",
            cells.display()
        );
    }
    eprintln!("{}: results", folder.display());
}
