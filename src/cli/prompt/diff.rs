//! `noso prompt diff`.

use std::{cmp::Ordering, path::PathBuf, process::ExitCode};

use crate::{
    cli::{DONE, show, warn},
    data::Exchange,
    experiment::{
        compare::{Change, Keep, Place, Side, Sides, changes},
        written::table,
    },
};

/// Show which documents are coded otherwise by two cells of a run, better or worse, side by side
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Cells are given by their names, or by words that only one name has. A document is better where the F1 of its codes is higher, or, where that is
the same (such as 0), fewer codes are missed or extra; where the codes are as good, the same of its spans with codes. Documents whose F1 changed most come first.

Example: a prompt of one's own against the built-in one, in the run of an experiment with both

  noso prompt diff runs/prompts prompt=select-ru prompt=mine --answers")]
pub(super) struct Args {
    /// Folder of a run
    run: PathBuf,
    /// Cell that is the baseline
    a: String,
    /// Cell that is held against it
    b: String,
    /// Documents shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    shown: usize,
    /// Show also the raw answers that differ
    #[arg(long)]
    answers: bool,
}

/// Prints counts and documents to stdout.
///
/// # Errors
/// If the run cannot be read, or a name is that of no cell, or of several.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut sides = Sides::load(&[&args.run], Keep::All)?;
    sides.keep_two([&args.a, &args.b])?;
    warn(&sides.warnings);
    let changes = changes(&sides);
    let count = |verdict: Ordering| changes.iter().filter(|change| change.verdict() == verdict).count();
    let (better, worse) = (count(Ordering::Greater), count(Ordering::Less));
    let [a, b, ..] = &sides.sides[..] else { return Ok(DONE) };
    show(format!("A: {}\nB: {}", a.name, b.name))?;
    let (all, same) = (sides.gold.documents.len(), changes.len() - better - worse);
    show(format!(
        "{} of {all} documents coded otherwise: {better} better with B, {worse} worse, {same} neither",
        changes.len()
    ))?;
    for change in changes.iter().take(args.shown) {
        show_document(&sides, change)?;
        if args.answers {
            show_answers(a, b, change.document)?;
        }
    }
    if changes.len() > args.shown {
        show(format!("\n{} more: --shown N", changes.len() - args.shown))?;
    }
    Ok(DONE)
}

fn show_document(sides: &Sides, change: &Change) -> crate::Result<()> {
    let document = &sides.gold.documents[change.document];
    let word = match change.verdict() {
        Ordering::Greater => "better",
        Ordering::Less => "worse",
        Ordering::Equal => "neither better nor worse",
    };
    let by = format!("F1 {:+.3}, errors {:+}", change.gain, -change.fewer_errors);
    show(format!("\ndocument {}: {word} ({by})\n{}", document.id, document.text.trim()))?;
    let row = |place: &Place| {
        let marked = |code: &Option<String>| match code {
            None => "–".to_owned(),
            Some(code) if code.is_empty() => "no code".to_owned(),
            Some(code) if place.gold.contains(code) => format!("{code} ✓"),
            Some(code) => code.clone(),
        };
        let [a, b] = &place.codes;
        let gold = if place.gold.is_empty() { "–".to_owned() } else { place.gold.join(", ") };
        vec![place.words.clone(), gold, marked(a), marked(b)]
    };
    show(table(&["words", "gold", "A", "B"], change.places.iter().map(row)))
}

/// Shows the questions that both asked of a document and that were answered otherwise.
fn show_answers(a: &Side, b: &Side, document: usize) -> crate::Result<()> {
    let asked = |side: &'_ Side| {
        side.predictions[document].clone().map(|prediction| prediction.trace.exchanges).unwrap_or_default()
    };
    let (before, after) = (asked(a), asked(b));
    let same_question = |one: &Exchange, other: &Exchange| (one.step, one.mention) == (other.step, other.mention);
    for one in &before {
        let Some(other) = after.iter().find(|other| same_question(one, other)) else { continue };
        if one.answer != other.answer {
            let step = format!("{:?}", one.step).to_lowercase();
            show(format!("  {step}\n    A: {}\n    B: {}", one.answer, other.answer))?;
        }
    }
    Ok(())
}
