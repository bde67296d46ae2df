//! What choosing among candidates adds to the order in which retrieval ranks them.

use std::fmt;

use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

use super::bootstrap::{Bootstrap, Difference, Interval};

/// A mention for which a code was chosen among candidates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Asked {
    /// Whether the code chosen is the gold one.
    pub chosen_right: bool,
    /// Whether the code of the candidate ranked first is.
    pub first_right: bool,
    /// Share of the candidates whose code is: what a blind choice comes to.
    pub chance: f64,
}

/// Shares of mentions with the right code, `0..=1`, and how sure their differences are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Selection {
    /// Mentions asked about.
    pub mentions: usize,
    /// Right code among the candidates: no choice does better.
    pub offered: f64,
    /// Right code chosen.
    pub chosen: f64,
    /// Right code ranked first: what always answering 1 comes to.
    pub first: f64,
    /// Right code by a blind choice.
    pub chance: f64,
    /// `chosen` less `first`, with its 95 % interval over documents.
    pub over_first: Difference,
    /// `chosen` less `chance`, with its 95 % interval over documents.
    pub over_chance: Difference,
}

impl Selection {
    /// Sums over documents, each with the mentions asked about; `None` if there are none.
    pub fn of(documents: &[Vec<Asked>], bootstrap: Bootstrap) -> Option<Self> {
        let sums: Vec<[f64; 5]> = documents.iter().map(|asked| sum(asked)).collect();
        let shares = |draw: &[usize]| -> [f64; 4] {
            let total = |figure: usize| draw.iter().map(|&document| sums[document][figure]).sum::<f64>();
            let mentions = total(0).max(1.0);
            std::array::from_fn(|figure| total(figure + 1) / mentions)
        };
        let differences = |draw: &[usize]| {
            let [_, chosen, first, chance] = shares(draw);
            [chosen - first, chosen - chance]
        };
        let all: Vec<usize> = (0..documents.len()).collect();
        let mentions = documents.iter().map(Vec::len).sum();
        let [over_first, over_chance]: [Interval; 2] = bootstrap.percentiles(documents.len(), differences)?;
        let [offered, chosen, first, chance] = shares(&all);
        (mentions > 0).then_some(Self {
            mentions,
            offered,
            chosen,
            first,
            chance,
            over_first: Difference { value: chosen - first, interval: over_first },
            over_chance: Difference { value: chosen - chance, interval: over_chance },
        })
    }
}

/// Counts mentions, those with the right code offered, chosen and first, and the sum of chances.
fn sum(asked: &[Asked]) -> [f64; 5] {
    let count = |holds: fn(&Asked) -> bool| asked.iter().filter(|one| holds(one)).count() as f64;
    [
        asked.len() as f64,
        count(|one| one.chance > 0.0),
        count(|one| one.chosen_right),
        count(|one| one.first_right),
        asked.iter().map(|one| one.chance).sum(),
    ]
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(UTF8_HORIZONTAL_ONLY).set_header([
            "right code",
            "share",
            "chosen, less this",
            "95 % interval",
        ]);
        let less = |difference: &Difference| {
            let Difference { value, interval } = difference;
            [format!("{value:+.4}"), format!("{:+.4} to {:+.4}", interval.lower, interval.upper)]
        };
        let mut row = |name: &str, share: f64, [value, interval]: [String; 2]| {
            table.add_row([name.to_owned(), format!("{share:.4}"), value, interval]);
        };
        let nothing = || [String::new(), String::new()];
        row("chosen", self.chosen, nothing());
        row("ranked first", self.first, less(&self.over_first));
        row("by chance", self.chance, less(&self.over_chance));
        row("offered", self.offered, nothing());
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_differences_are_over_mentions_and_intervals_over_documents() {
        let asked = |chosen_right, first_right, chance| Asked { chosen_right, first_right, chance };
        let documents = vec![
            vec![asked(true, false, 0.25), asked(true, true, 0.25)],
            vec![asked(false, false, 0.0), asked(true, false, 0.5)],
            Vec::new(),
        ];
        let told = Selection::of(&documents, Bootstrap::new(1000)).unwrap();
        assert_eq!((told.mentions, told.offered, told.chosen, told.first, told.chance), (4, 0.75, 0.75, 0.25, 0.25));
        assert_eq!(told.over_first.value, 0.5);
        let Interval { lower, upper } = told.over_first.interval;
        assert!(lower <= 0.5 && 0.5 <= upper && lower < upper, "{lower} {upper}");
        assert!(Selection::of(&[Vec::new()], Bootstrap::new(10)).is_none());
        assert!(Selection::of(&[], Bootstrap::new(10)).is_none());
    }
}
