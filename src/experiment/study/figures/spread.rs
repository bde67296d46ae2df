//! Figure 5: how F1 of single codes spreads, among frequent and among rare codes.

use plotters::prelude::*;

use super::{
    super::{outcome::CodeOutcome, written::decimal},
    Canvas, Drawn, FAINT, INK, LINKED, ORIGINAL,
    axis::{self, Chart, Scale},
    bold, centred, ending, legend,
    legend::Mark,
    letters, shortened, svg,
};
use crate::{error::Result, eval::bootstrap::percentile};

const HEIGHT: u32 = 500;
/// Share of the codes in each group.
const SHARE: f64 = 0.1;
/// Least codes of a group, where there are so many.
const LEAST: usize = 3;
/// Least test records of a rare code.
pub(in super::super) const CASES: u64 = 15;
/// Most codes whose two dots are joined and whose names are written.
const JOINED: usize = 12;

/// The codes that the figure shows.
///
/// # Source
/// The paper, Fig. 5: the tenth of the codes that is most frequent, and the tenth that is least frequent among those
/// with at least 15 test records. Frequency is the number of training records with the code in both label sets
/// together.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Groups<'a> {
    /// Of the most frequent codes those with test records, most frequent first.
    pub frequent: Vec<&'a CodeOutcome>,
    /// Most frequent codes without a test record, which have no F1.
    pub untested: usize,
    /// The least frequent codes, least frequent first.
    pub rare: Vec<&'a CodeOutcome>,
    /// Codes with enough test records, of which `rare` is a tenth.
    pub with_cases: usize,
}

impl<'a> Groups<'a> {
    /// Groups the codes of a study.
    pub(in super::super) fn of(codes: &'a [CodeOutcome]) -> Self {
        let mut all: Vec<&CodeOutcome> = codes.iter().collect();
        let trained = |code: &CodeOutcome| code.trained.iter().sum::<u64>();
        all.sort_by(|a, b| trained(b).cmp(&trained(a)).then_with(|| a.code.cmp(&b.code)));
        let most: Vec<&CodeOutcome> = all.iter().take(tenth(all.len())).copied().collect();
        let frequent: Vec<&CodeOutcome> = most.iter().filter(|code| code.scores().is_some()).copied().collect();
        let often = |code: &&&CodeOutcome| code.tested >= CASES && code.scores().is_some();
        let cases: Vec<&CodeOutcome> = all.iter().rev().filter(often).copied().collect();
        let rare = cases.iter().take(tenth(cases.len())).copied().collect();
        Self { untested: most.len() - frequent.len(), frequent, rare, with_cases: cases.len() }
    }
}

/// Returns how many codes a tenth is.
fn tenth(codes: usize) -> usize {
    ((codes as f64 * SHARE).ceil() as usize).max(LEAST).min(codes)
}

/// Draws the groups that have codes; `None` where none has.
pub(in super::super) fn spread(groups: &Groups<'_>) -> Result<Option<String>> {
    let named = [("most frequent codes", &groups.frequent), ("least frequent codes", &groups.rare)];
    let present: Vec<_> = named.into_iter().filter(|(_, codes)| !codes.is_empty()).collect();
    match present.is_empty() {
        true => Ok(None),
        false => svg("Spread of F1 over codes", HEIGHT, |canvas| draw(canvas, &present)).map(Some),
    }
}

fn draw(canvas: &Canvas<'_>, groups: &[(&str, &Vec<&CodeOutcome>)]) -> Drawn {
    legend::legend(canvas, (70, 18), &legend::SETS)?;
    let scores = Scale::around(&[0.0, 0.2, 0.4, 0.6, 0.8, 1.0], 0.03, |score| decimal(score, 1));
    let x = Scale { range: 0.0..groups.len() as f64, marks: Vec::new() };
    let mut chart = axis::chart(canvas, (x, ""), (scores, "F1 of a code on the manual test set"))?;
    for (number, (name, codes)) in groups.iter().enumerate() {
        let middle = number as f64 + 0.5;
        let (x, y) = chart.plotting_area().map_coordinate(&(middle, -0.03));
        canvas.draw(&Text::new(*name, (x, y + 20), bold(centred(letters(16.0, INK)))))?;
        canvas.draw(&Text::new(which(codes), (x, y + 42), centred(letters(13.0, FAINT))))?;
        group(canvas, &mut chart, middle, codes)?;
    }
    Ok(())
}

/// Says which codes a group holds.
fn which(codes: &[&CodeOutcome]) -> String {
    let names: Vec<&str> = codes.iter().map(|code| code.code.as_str()).collect();
    match codes.len() {
        1 => names[0].to_owned(),
        few @ ..=JOINED => shortened(&format!("{few} codes: {}", names.join(", ")), 54),
        many => format!("{many} codes"),
    }
}

/// Draws both boxes of a group, its dots and the lines that join the dots of a code.
fn group(canvas: &Canvas<'_>, chart: &mut Chart<'_, '_>, middle: f64, codes: &[&CodeOutcome]) -> Drawn {
    let scores: Vec<[f64; 2]> = codes.iter().filter_map(|code| code.scores()).collect();
    for (set, color) in [ORIGINAL, LINKED].into_iter().enumerate() {
        let side = [-1.0, 1.0][set];
        let mut sorted: Vec<f64> = scores.iter().map(|scores| scores[set]).collect();
        sorted.sort_by(f64::total_cmp);
        let [low, median, high] = [0.25, 0.5, 0.75].map(|share| percentile(&sorted, share));
        let (left, right) = (middle + side * 0.2 - 0.09, middle + side * 0.2 + 0.09);
        let corners = [(left, low), (right, high)];
        chart.draw_series([Rectangle::new(corners, color.mix(0.16).filled())])?;
        chart.draw_series([Rectangle::new(corners, color.stroke_width(1))])?;
        chart.draw_series([PathElement::new([(left, median), (right, median)], color.stroke_width(4))])?;
        let edge = if set == 0 { left } else { right };
        let (x, y) = chart.plotting_area().map_coordinate(&(edge, median));
        let style = bold(letters(16.0, color));
        let style = if set == 0 { ending(style) } else { style };
        canvas.draw(&Text::new(format!("{median:.2}"), (x + 8 * side as i32, y), style))?;
    }
    let place = |at: usize, set: usize| (middle + [-0.2, 0.2][set] + aside(at, scores.len()), scores[at][set]);
    if scores.len() <= JOINED {
        let line = |at| PathElement::new([place(at, 0), place(at, 1)], FAINT.mix(0.45).stroke_width(1));
        chart.draw_series((0..scores.len()).map(line))?;
    }
    for (at, set) in (0..scores.len()).flat_map(|at| [(at, 0), (at, 1)]) {
        Mark::of_set(set).draw(canvas, chart.plotting_area().map_coordinate(&place(at, set)), 0.75)?;
    }
    Ok(())
}

/// Moves a dot aside, so that dots of equal F1 are told apart.
fn aside(at: usize, dots: usize) -> f64 {
    let columns = if dots > JOINED { 13 } else { 7 };
    // Neighbours in frequency are put far from each other.
    ((at * 3 % columns) as f64 - (columns - 1) as f64 / 2.0) * 0.15 / columns as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str, trained: [u64; 2], tested: u64) -> CodeOutcome {
        CodeOutcome { code: text.parse().unwrap(), title: String::new(), trained, tested, f1: [0.1, 0.2] }
    }

    fn names(codes: &[&CodeOutcome]) -> Vec<String> {
        codes.iter().map(|code| code.code.to_string()).collect()
    }

    #[test]
    fn groups_are_a_tenth_and_at_least_three() {
        // 40 codes, I00 most frequent; every second has 20 test records, the others 1.
        let codes: Vec<_> =
            (0..40).map(|n| code(&format!("I{n:02}"), [500 - n, 500 - n], if n % 2 == 0 { 20 } else { 1 })).collect();
        let groups = Groups::of(&codes);
        assert_eq!(names(&groups.frequent), ["I00", "I01", "I02", "I03"]);
        // A tenth of 20 would be 2.
        assert_eq!((names(&groups.rare), groups.with_cases), (["I38", "I36", "I34"].map(String::from).to_vec(), 20));
        assert!(spread(&groups).unwrap().unwrap().contains("least frequent codes"));
    }

    #[test]
    fn codes_without_test_records_are_counted_and_left_out() {
        let codes = [code("A00", [9, 0], 0), code("A01", [0, 8], 14), code("A02", [1, 6], 3)];
        let groups = Groups::of(&codes);
        assert_eq!((names(&groups.frequent), groups.untested), (vec!["A01".to_owned(), "A02".to_owned()], 1));
        assert_eq!((groups.rare.len(), groups.with_cases), (0, 0));
        assert!(!spread(&groups).unwrap().unwrap().contains("least frequent"));
        assert_eq!(spread(&Groups::of(&codes[..1])).unwrap(), None);
    }
}
