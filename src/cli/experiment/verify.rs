//! `noso experiment verify`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;

use crate::{
    cli::{DONE, FINISHED_WITH_FAILURES, show},
    experiment::verify::{Verdict, verify},
};

/// Check that results are what they say: count again, code a sample again
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Of every cell: the hashes in its manifest are held against its files, its figures are counted again from its predictions, and some of its
documents are coded again, with every question asked anew. Exit code 2 if anything differs.

On the CPU the same questions get the same answers. Where an engine works on several at a time (servers, GPUs), some answers may flip: their
number is told.

Example

  noso experiment verify runs/prompts --sample 20")]
pub struct Args {
    /// Runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Documents of each cell that are coded again; 0: none
    #[arg(long, value_name = "N", default_value_t = 10)]
    sample: usize,
}

/// Prints what differs to stdout.
///
/// # Errors
/// If a folder is no run.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut is_good = true;
    for run in &args.runs {
        let verdicts = verify(run, args.sample, |cell| eprintln!("checking {cell}"))?;
        for verdict in &verdicts {
            is_good &= verdict.is_good();
            tell(verdict)?;
        }
        if verdicts.iter().all(|verdict| verdict.not_run.is_some()) {
            bail!("{}: no cell was run to its end", run.display());
        }
    }
    Ok(if is_good { DONE } else { ExitCode::from(FINISHED_WITH_FAILURES) })
}

fn tell(verdict: &Verdict) -> crate::Result<()> {
    let Verdict { name, not_run, problems, notes, replayed, changed_documents, asked, flipped_answers } = verdict;
    if let Some(why) = not_run {
        return show(format!("{name}: not run: {why}"));
    }
    let word = if verdict.is_good() { "good" } else { "differs" };
    let questions = if *asked > 0 { format!(", {flipped_answers} of {asked} answers flipped") } else { String::new() };
    show(format!("{name}: {word}; {changed_documents} of {replayed} documents coded otherwise{questions}"))?;
    problems.iter().try_for_each(|problem| show(format!("  {problem}")))?;
    notes.iter().try_for_each(|note| show(format!("  note: {note}")))
}
