//! `noso corpus audit`: an annotated corpus in, what its labels are worth out.

use std::{path::PathBuf, process::ExitCode};

use crate::{
    artifact::write_atomic,
    cli::{DONE, Format, annotated::load_annotated, load_catalog, show},
    corpus::brat::written_codes,
    data::AnnotatedDocument,
    error::check_setting,
    eval::{consistency::Contradiction, leakage::LEAST},
    experiment::{
        audit::{Against, Audit, RARE, Written, frequency},
        bands::{FREQUENCIES, band},
    },
    icd::IcdCode,
};
use comfy_table::{CellAlignment, Table, presets::NOTHING};

/// Say what the labels of an annotated corpus are worth: contradictions, leaks, what the catalogue lacks
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Reads a brat folder, put right as for training. Words are compared after normalisation (case, punctuation, ё, blanks make no difference).

Said are: the rows of the paper's Table 1; how many codes are rare; codes that the catalogue cannot express; words that are coded in several
ways, and between which bounds lies what that leaves to reach for a system that knows words alone; with --against, records that stand in the other corpora, too, or nearly, and how many
mentions and codes were seen there.

Example: what a development split shares with the records that are trained on

  noso corpus audit dev/ --against train/")]
pub struct Args {
    /// Folder with the annotation
    folder: PathBuf,
    /// Folders of other parts, such as those that are trained on
    #[arg(long, value_name = "DIR")]
    against: Vec<PathBuf>,
    /// Records are nearly the same that share so much of their letters, 0.1 to 1
    #[arg(long, value_name = "X", default_value_t = 0.8)]
    similarity: f64,
    /// Draw how often codes occur, as in the paper's Fig. 3
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Contradictions, near records and unknown codes that are shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    shown: usize,
    /// Catalogue that codes are looked up in [default: the shipped one]
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Prints what it finds to stdout.
///
/// # Errors
/// If a folder cannot be read or holds no annotation.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    check_setting((LEAST..=1.0).contains(&args.similarity), "similarity", "from 0.1 to 1", args.similarity)?;
    let corpus = load_annotated(&args.folder)?;
    let others: Vec<AnnotatedDocument> =
        args.against.iter().map(|folder| load_annotated(folder)).collect::<anyhow::Result<Vec<_>>>()?.concat();
    let catalog = load_catalog(args.catalog.as_deref())?;
    let written = Written::of(&written_codes(&args.folder)?);
    let mut audit = Audit::of(&corpus, written, &catalog);
    audit.against = (!args.against.is_empty()).then(|| Against::of(&corpus, &others, args.similarity));
    if let Some(path) = &args.plot {
        write_atomic(path, frequency(&audit.frequencies)?.as_bytes())?;
    }
    match args.format {
        Format::Json => show(serde_json::to_string(&audit)?)?,
        Format::Table => print(&audit, args.shown)?,
    }
    Ok(DONE)
}

fn print(audit: &Audit, shown: usize) -> anyhow::Result<()> {
    let whole = |number: usize| number.to_string();
    let mut rows = vec![
        ("records".to_owned(), whole(audit.records)),
        ("codes written, as in the paper’s Table 1".into(), whole(audit.written.notes)),
        ("… different ones".into(), whole(audit.written.codes)),
        (format!("… of these in fewer than {RARE} records"), whole(audit.written.rare_codes)),
        ("entities, once put right".into(), whole(audit.entities)),
        ("… with a code".into(), whole(audit.coded)),
        ("codes".into(), whole(audit.codes)),
        (format!("… of fewer than {RARE} entities"), whole(audit.rare_codes)),
        ("different codes a record".into(), format!("{:.2}", audit.codes_a_record)),
        ("entities whose code the catalogue lacks".into(), whole(audit.not_in_catalogue.iter().map(|one| one.1).sum())),
    ];
    for (place, name) in FREQUENCIES.map(|least| band(least, &FREQUENCIES)) {
        let of_band = || audit.frequencies.iter().filter(|&&count| band(count, &FREQUENCIES).0 == place);
        let said = format!("{}, {}", of_band().count(), of_band().sum::<usize>());
        let name = if name == "1" { "1 entity" } else { &name };
        rows.push((format!("codes of {name}, and their entities"), said));
    }
    let both = |[codes, groups]: [f64; 2]| format!("{codes:.3}, {groups:.3}");
    let of = &audit.consistency;
    let [codes, groups] = of.contradictory;
    rows.extend([
        ("different words of mentions".into(), whole(of.texts)),
        ("… with several codes, with several groups".into(), format!("{codes}, {groups}")),
        ("mentions whose words occur again".into(), whole(of.repeated)),
        ("… agree with another of the same words: codes, groups".into(), both(of.agreement)),
        ("… are coded as most others of the same words: codes, groups".into(), both(of.majority_of_others)),
        ("… as most of the same words, themselves included".into(), both(of.majority)),
    ]);
    if let Some(against) = &audit.against {
        let share = |part: usize, all: usize| format!("{part} ({:.1} %)", 100.0 * part as f64 / all.max(1) as f64);
        rows.extend([
            ("records of the other corpora".into(), whole(against.records)),
            ("records that stand there, too".into(), share(against.same, audit.records)),
            ("… or nearly".into(), share(against.near, audit.records)),
            ("mentions whose words are marked there".into(), share(against.seen_mentions, audit.coded)),
            ("mentions whose code is given there".into(), share(against.seen_codes, audit.coded)),
        ]);
    }
    let mut table = Table::new();
    table.load_preset(NOTHING).add_rows(rows.into_iter().map(|(name, value)| [name, value]));
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    show(table)?;
    if shown > 0 { examples(audit, shown) } else { Ok(()) }
}

/// Shows some of what was found.
fn examples(audit: &Audit, shown: usize) -> anyhow::Result<()> {
    let listed = |codes: &[(IcdCode, usize)]| {
        codes.iter().map(|(code, count)| format!("{code} × {count}")).collect::<Vec<_>>().join(", ")
    };
    let heading = |is_any: bool, said: &str| if is_any { show(format!("\n{said}")) } else { Ok(()) };
    let unknown = &audit.not_in_catalogue[..shown.min(audit.not_in_catalogue.len())];
    heading(!unknown.is_empty(), &format!("not in the catalogue: {}", listed(unknown)))?;
    heading(!audit.contradictions.is_empty(), "contradictory, most mentions first:")?;
    for Contradiction { text, codes } in audit.contradictions.iter().take(shown) {
        show(format!("  {text}: {}", listed(codes)))?;
    }
    let pairs = audit.against.as_ref().map_or(&[][..], |against| &against.pairs);
    heading(!pairs.is_empty(), "nearly the same records, here and there:")?;
    for (here, there, similarity) in pairs.iter().take(shown) {
        show(format!("  {here}, {there}: {similarity:.2}"))?;
    }
    Ok(())
}
