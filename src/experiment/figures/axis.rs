//! Axes: where marks stand and how their numbers are written, and the frame of a chart with two of them.

use std::ops::Range;

use plotters::{
    coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter},
    prelude::*,
};

use super::{Canvas, FAINT, GRID, INK, letters};
use crate::experiment::written::{grouped, sign};

/// An axis.
pub(in crate::experiment) struct Scale {
    /// Numbers at its ends.
    pub range: Range<f64>,
    /// Where its marks stand, and what is written at them.
    pub marks: Vec<(f64, String)>,
}

impl Scale {
    /// Makes an axis that reaches `air` beyond its first and last mark.
    pub(in crate::experiment) fn around(ticks: &[f64], air: f64, write: impl Fn(f64) -> String) -> Self {
        let end = |tick: Option<&f64>| tick.copied().unwrap_or_default();
        Self {
            range: end(ticks.first()) - air..end(ticks.last()) + air,
            marks: ticks.iter().map(|&tick| (tick, write(tick))).collect(),
        }
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        first + (f64::from(last - first) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.marks.iter().map(|mark| mark.0).collect(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        self.marks.iter().find(|mark| mark.0 == *value).map_or_else(String::new, |mark| mark.1.clone())
    }
}

impl From<Scale> for Range<f64> {
    fn from(scale: Scale) -> Self {
        scale.range
    }
}

/// A chart with two axes.
pub(in crate::experiment) type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Scale, Scale>>;

/// Draws the frame of a chart below the legend: axes with names, and a line at each mark.
pub(in crate::experiment) fn chart<'a, 'b>(
    canvas: &'a Canvas<'b>,
    (x, x_name): (Scale, &str),
    (y, y_name): (Scale, &str),
) -> std::result::Result<Chart<'a, 'b>, Box<dyn std::error::Error>> {
    let mut chart = ChartBuilder::on(canvas)
        .margin_top(42)
        .margin_right(64)
        .x_label_area_size(58)
        .y_label_area_size(70)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .axis_style(FAINT)
        .label_style(letters(14.0, INK))
        .axis_desc_style(letters(15.0, INK))
        .x_desc(x_name)
        .y_desc(y_name)
        .draw()?;
    Ok(chart)
}

/// Least length of an axis.
const LEAST: f64 = 0.1;

/// Returns round numbers from 0 or below `from` to `to` or above it, about `count` steps of 1, 2 or 5 times a power of
/// ten.
pub(in crate::experiment) fn ticks(from: f64, to: f64, count: f64) -> Vec<f64> {
    let from = from.min(0.0);
    let to = to.max(from + LEAST);
    let raw = (to - from) / count;
    let power = 10_f64.powf(raw.log10().floor());
    let step = power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|one| one * power >= raw * 0.999).unwrap_or(10.0);
    let [first, last] = [(from / step + 1e-9).floor(), (to / step - 1e-9).ceil()];
    (first as i64..=last as i64).map(|number| number as f64 * step).collect()
}

/// An axis for counts of either sign: even near 0, tenfold from mark to mark farther away.
#[derive(Debug, Clone, Copy)]
pub(in crate::experiment) struct SymmetricLog {
    /// Counts up to about this one are near 0.
    unit: f64,
    greatest: f64,
}

impl SymmetricLog {
    /// Makes an axis on which counts of the greatest size stand three to four marks from 0.
    pub(in crate::experiment) fn new(counts: impl Iterator<Item = i64>) -> Self {
        let greatest = counts.map(i64::unsigned_abs).max().unwrap_or(0).max(1) as f64;
        Self { unit: 10_f64.powf((greatest.log10().floor() - 3.0).max(0.0)), greatest }
    }

    /// Returns where a count stands: sign · lg(1 + |count| / unit).
    pub(in crate::experiment) fn place(self, count: i64) -> f64 {
        (count.unsigned_abs() as f64 / self.unit).ln_1p() / std::f64::consts::LN_10 * count.signum() as f64
    }

    /// Makes the axis from the least of `places` to the greatest, with marks at 0 and at powers of ten.
    pub(in crate::experiment) fn scale(self, places: impl Iterator<Item = f64>) -> Scale {
        const AIR: f64 = 0.25;
        let mut counts = vec![0];
        let mut power = self.unit as i64 * 10;
        while power as f64 <= self.greatest {
            counts.extend([-power, power]);
            power *= 10;
        }
        counts.sort_unstable();
        let (low, high) = places.fold((-0.5, 0.5), |(low, high): (f64, f64), one| (low.min(one), high.max(one)));
        let range = low - AIR..high + AIR;
        let mark = |count: i64| (self.place(count), if count == 0 { "0".into() } else { Self::label(count) });
        let marks = counts.into_iter().map(mark).filter(|(place, _)| range.contains(place)).collect();
        Scale { range, marks }
    }

    fn label(count: i64) -> String {
        format!("{}{}", sign(count as f64), grouped(count.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_hold_all_values() {
        // 0.47 / 5 = 0.094, so steps of 0.1.
        let tenths: Vec<i64> = ticks(0.03, 0.47, 5.0).iter().map(|tick| (tick * 10.0).round() as i64).collect();
        assert_eq!(tenths, [0, 1, 2, 3, 4, 5]);
        assert_eq!(ticks(-30.0, 60.0, 5.0), [-40.0, -20.0, 0.0, 20.0, 40.0, 60.0]);
        assert_eq!(ticks(0.0, 1000.0, 5.0).last(), Some(&1000.0));
        assert!(ticks(0.0, 0.0, 5.0).len() > 1);
    }

    #[test]
    fn counts_of_either_sign_stand_tenfold_apart() {
        // 20,000 has four digits after the first, so counts to 10 are near 0: lg(1 + 90 / 10) = 1, lg(1 + 9,990 / 10) =
        // 3.
        let axis = SymmetricLog::new([-20_000, 90].into_iter());
        let places = [0, 90, -9990].map(|count| axis.place(count));
        assert!(places.iter().zip([0.0, 1.0, -3.0]).all(|(place, right)| (place - right).abs() < 1e-12), "{places:?}");
        let scale = axis.scale([-20_000, 90].into_iter().map(|count| axis.place(count)));
        let marks: Vec<_> = scale.marks.iter().map(|mark| mark.1.as_str()).collect();
        assert_eq!(marks, ["−10,000", "−1,000", "−100", "0", "+100"]);
        assert_eq!(SymmetricLog::new([].into_iter()).scale([].into_iter()).marks.len(), 1);
    }
}
