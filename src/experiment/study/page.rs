//! The page of a study: an outcome comes in, one HTML file that needs nothing else leaves.

use serde::Serialize;

use super::{
    figures::{self, CASES, Groups},
    grid::Grid,
    measured::{EVEN_THRESHOLD, LIKELY},
    outcome::{Better, CodeOutcome, Measure, Outcome, Reliability, Table2},
    run::WATCHED_RECORDS,
    written::{decimal, grouped, signed},
};
use crate::{diagnosis::statistics::Statistics, error::Result, eval::calibration::Bin, experiment::html::html};

/// Codes in the open part of the table; further ones are folded.
const OPEN: usize = 80;

/// Lays out the page of a study: its finding, measures, figures, statistics and codes.
///
/// The page is HTML with its style and figures inside; it runs no script and loads nothing.
///
/// # Errors
/// - [`Error::Page`](crate::error::Error::Page) if a figure or the page cannot be drawn; says which.
pub fn page(outcome: &Outcome) -> Result<String> {
    let view = View {
        outcome,
        finding: Finding::of(&outcome.measures),
        tested: if outcome.is_simulated {
            "made-up records, whose codes are known"
        } else {
            "records that were coded by hand"
        },
        scale: scale(&outcome.measures),
        figures: drawn(outcome)?,
        statistics: rows(&outcome.statistics),
        codes: listed(&outcome.codes),
        grids: Grid::all(outcome),
        open: OPEN,
    };
    html(include_str!("page.html"), &view)
}

/// What the template is given.
#[derive(Serialize)]
struct View<'a> {
    outcome: &'a Outcome,
    finding: Finding,
    /// Whose codes are right.
    tested: &'static str,
    /// Least and greatest end of the intervals, 0 included.
    scale: [f64; 2],
    figures: Vec<Figure>,
    statistics: Vec<Row>,
    codes: Vec<Listed<'a>>,
    grids: Vec<Grid>,
    open: usize,
}

/// What the study says, in a sentence or two.
#[derive(Debug, Serialize)]
struct Finding {
    better: Better,
    sentence: String,
}

impl Finding {
    /// Words the first measure: a label set is better where the interval of the difference leaves out 0. What the same measure is at an
    /// even threshold stands beside, for labels that omit codes lower all probabilities, and chosen thresholds make up for it.
    fn of(measures: &[Measure]) -> Self {
        let Some(measure) = measures.first() else {
            return Self { better: Better::Neither, sentence: "Nothing was measured.".into() };
        };
        let [lower, upper] = measure.interval;
        let (better, words) = match (lower > 0.0, upper < 0.0) {
            (true, _) => {
                (Better::Linked, "Trained on the codes that the coder found, the model predicts diagnoses better")
            }
            (_, true) => {
                (Better::Original, "Trained on the codes that doctors typed, the model predicts diagnoses better")
            }
            _ => (Better::Neither, "Between both sets of labels there is no difference that chance could not explain"),
        };
        let figures = |measure: &Measure| {
            let Measure { original, linked, difference, interval: [lower, upper], .. } = *measure;
            format!(
                "{} with linked labels against {} with original ones, a difference of {} (95 % interval {} to {})",
                decimal(linked, 3),
                decimal(original, 3),
                signed(difference, 3),
                signed(lower, 3),
                signed(upper, 3),
            )
        };
        let mut sentence = format!("{words}: {} {}.", measure.name, figures(measure));
        if let Some(even) = measures.iter().find(|measure| measure.name == EVEN_THRESHOLD) {
            sentence +=
                &format!(" Where just those codes are given that are likelier than not, it is {}.", figures(even));
        }
        Self { better, sentence }
    }
}

/// Returns the least and the greatest end of all intervals, 0 and some air included.
fn scale(measures: &[Measure]) -> [f64; 2] {
    let ends = measures.iter().flat_map(|measure| [measure.interval[0], measure.interval[1], measure.difference]);
    let finite = ends.filter(|end| end.is_finite());
    let (low, high) = finite.fold((0.0, 0.0), |(low, high): (f64, f64), end| (low.min(end), high.max(end)));
    let air = ((high - low) * 0.06).max(1e-6);
    [low - air, high + air]
}

/// A figure of the page.
#[derive(Serialize)]
struct Figure {
    /// Number in the paper, if it has one.
    number: Option<u8>,
    title: &'static str,
    /// The picture; without one, `caption` says why.
    svg: Option<String>,
    caption: String,
}

/// Draws every figure.
fn drawn(outcome: &Outcome) -> Result<Vec<Figure>> {
    let groups = Groups::of(&outcome.codes);
    let figure = |number: Option<u8>, title, svg: Option<String>, caption: &str, without: &str| Figure {
        number,
        title,
        caption: if svg.is_some() { caption } else { without }.to_owned(),
        svg,
    };
    Ok(vec![
        figure(
            Some(4),
            "In the course of training",
            figures::course(&outcome.courses)?,
            &course(),
            "No evaluation was made in the course of training.",
        ),
        Figure { svg: figures::spread(&groups)?, ..spread_without_picture(&groups) },
        figure(
            Some(6),
            "More training records, better predictions?",
            figures::change(&outcome.codes)?,
            CHANGE,
            "No code has a record in the manual test set.",
        ),
        figure(
            Some(7),
            "What the coder found instead",
            figures::transitions(&outcome.transitions, &outcome.codes)?,
            TRANSITIONS,
            "The coder found every code that doctors typed.",
        ),
        figure(
            None,
            "Can the probabilities be trusted?",
            figures::reliability(&outcome.reliability)?,
            &trusted(&outcome.reliability),
            "No model gives enough probabilities to say.",
        ),
    ])
}

const CHANGE: &str = "Each circle is a code, larger with more test records: above the zero line F1 is higher with linked \
                      labels, right of it the coder found the code in more training records than doctors typed it in \
                      (each mark of the horizontal axis stands for ten times as many records as the one before).";
const TRANSITIONS: &str = "Left, codes that doctors typed and the coder did not find in the record; bands lead to what it \
                           found there and the doctor had not typed, wider with a greater share of these records (one \
                           record may lead to several codes or to none); right, how F1 of the code found changed.";

/// Explains the figure of the course of training.
fn course() -> String {
    format!(
        "Each mark is an evaluation on the manual test set (on {WATCHED_RECORDS} of its records, where it has more): the \
         higher line belongs to the better labels, and where a line levels off, longer training gives no more."
    )
}

/// Explains the reliability figure.
fn trusted(found: &Reliability) -> String {
    let error = |bins: &[Bin], error: f64| if bins.iter().all(|bin| bin.count == 0) { f64::NAN } else { error };
    let [original, linked] = [error(&found.original, found.errors[0]), error(&found.linked, found.errors[1])];
    let [original, linked] = [original, linked].map(|error| decimal(error, 3));
    format!(
        "Each mark holds the probabilities of a tenth of the axis, from {LIKELY} on, of at least 20 codes in all runs \
         together: on the thin line as many of the codes are right as the model says, above it more. The mean distance \
         from it is {original} with original labels and {linked} with linked ones (expected calibration error). \
         Probabilities were fitted to the labels that a model learnt: where these omit codes, they are too low."
    )
}

fn spread_without_picture(groups: &Groups<'_>) -> Figure {
    let codes = |number: usize| if number == 1 { "1 code".to_owned() } else { format!("{number} codes") };
    let mut caption =
        "Each mark is a code (where they are few, a thin line joins both marks of one); a box holds the middle \
                       half of the codes, the thick line in it is their median."
            .to_owned();
    if groups.frequent.is_empty() && groups.rare.is_empty() {
        caption = "None of these codes has a record in the manual test set.".to_owned();
    }
    caption += &format!(" Most frequent: {}, the tenth with most training records", codes(groups.frequent.len()));
    caption += &match groups.untested {
        0 => ".".to_owned(),
        untested => format!(" (without {} that no test record has).", codes(untested)),
    };
    caption += &match groups.with_cases {
        0 => format!(" No code has {CASES} or more test records, so there are no least frequent codes to show."),
        cases => format!(
            " Least frequent: {} of the {} with at least {CASES} test records.",
            groups.rare.len(),
            codes(cases)
        ),
    };
    Figure { number: Some(5), title: "Frequent and rare codes", svg: None, caption }
}

/// A row of Table 2: original, linked, manual.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    cells: [String; 3],
}

/// Lays out Table 2.
fn rows(table: &Table2) -> Vec<Row> {
    type Cell = fn(&Statistics) -> String;
    let rows: [(&'static str, Cell); 8] = [
        ("records", |of| grouped(of.records as u64)),
        ("patients", |of| grouped(of.patients as u64)),
        ("codes", |of| grouped(of.codes as u64)),
        ("codes a patient, mean ± standard deviation", |of| {
            of.codes_a_patient.map(|value| decimal(value, 1)).join(" ± ")
        }),
        ("earlier appointments, quartiles", |of| quartiles(of.earlier)),
        ("words of an appointment, quartiles", |of| quartiles(of.words)),
        ("age in years, quartiles", |of| quartiles(of.age)),
        ("men", |of| format!("{} %", decimal(100.0 * of.male, 0))),
    ];
    let sets = [&table.original, &table.linked, &table.manual];
    rows.map(|(name, cell)| Row { name, cells: sets.map(cell) }).into()
}

/// Writes quartiles.
fn quartiles(quartiles: [f64; 3]) -> String {
    quartiles.map(|value| decimal(value, 0)).join(" · ")
}

/// A code in the table.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    code: &'a CodeOutcome,
    scores: Option<[f64; 2]>,
    gain: Option<f64>,
    better: Better,
}

/// Lists codes, those with most test records first, then those with most training records.
fn listed(codes: &[CodeOutcome]) -> Vec<Listed<'_>> {
    let one = |code| {
        let gain = CodeOutcome::gain(code);
        Listed { code, scores: code.scores(), gain, better: Better::of(gain) }
    };
    let mut listed: Vec<_> = codes.iter().map(one).collect();
    let key = |one: &Listed<'_>| (one.code.tested, one.code.trained.iter().sum::<u64>());
    listed.sort_by(|a, b| key(b).cmp(&key(a)).then_with(|| a.code.code.cmp(&b.code.code)));
    listed
}

#[cfg(test)]
mod tests;
