//! The figures of a page: a line a cell.

use plotters::prelude::*;

use super::Told;
use crate::{
    error::Result,
    eval::calibration::{Binning, reliability, risk_coverage},
    experiment::{
        figures::{
            Canvas, Drawn, FAINT,
            axis::{self, Scale, ticks},
            svg,
        },
        report::seen::RANKS,
        written::decimal,
    },
};

const HEIGHT: u32 = 440;
/// Colours of lines, told apart also by their lightness; as in `page.css`.
pub(super) const COLORS: [RGBColor; 6] = [
    RGBColor(34, 34, 34),
    RGBColor(0, 90, 156),
    RGBColor(208, 124, 0),
    RGBColor(0, 140, 110),
    RGBColor(190, 70, 140),
    RGBColor(120, 170, 220),
];
/// Lengths of their dashes and of the gaps between these, in pixels: of lines that lie on each other each is seen. The first has no gaps.
const DASHES: [(u32, u32); 6] = [(0, 0), (16, 8), (11, 9), (8, 8), (5, 8), (2, 6)];
/// Bins of the reliability diagram; one of fewer codes says nothing.
const BINS: usize = 10;
const LEAST: usize = 10;
/// Points that a curve is drawn with.
const POINTS: usize = 300;

/// A figure with its caption.
#[derive(Debug, serde::Serialize)]
pub(super) struct Figure {
    pub title: &'static str,
    pub svg: String,
    pub caption: &'static str,
}

/// A line of a figure.
type Line = Vec<(f64, f64)>;

/// Draws all figures for which there is something to draw.
///
/// # Errors
/// - [`crate::error::Error::Page`] if one cannot be drawn.
pub(super) fn figures(cells: &[&Told]) -> Result<Vec<Figure>> {
    let share = |tick: f64| decimal(tick, 1);
    let tenths = || Scale::around(&ticks(0.0, 1.0, 5.0), 0.0, share);
    let risks: Vec<Line> = cells.iter().map(|cell| thinned(risk(cell))).collect();
    let bins: Vec<Line> = cells.iter().map(|cell| bins(cell)).collect();
    let ranks: Vec<Line> = cells.iter().map(|cell| ranks(cell)).collect();
    let highest = risks.iter().flatten().map(|point| point.1).fold(0.1, f64::max);
    let risk_axis = Scale::around(&ticks(0.0, highest, 5.0), 0.0, |tick| decimal(tick, 2));
    let rank_axis = Scale::around(&[1.0, 3.0, 5.0, 10.0, 15.0], 0.0, |tick| decimal(tick, 0));
    let mut figures = vec![
        Figure {
            title: "Risk and coverage",
            svg: lines(
                "Risk and coverage",
                (tenths(), "share of codes that are given, surest first"),
                (risk_axis, "share of them that are wrong"),
                &risks,
                false,
            )?,
            caption: "Distinct codes of all documents, by confidence. Where a line lies low at the left, the surest codes can be trusted.",
        },
        Figure {
            title: "Reliability",
            svg: lines(
                "Reliability",
                (tenths(), "confidence"),
                (tenths(), "share of these codes that are right"),
                &bins,
                true,
            )?,
            caption: "Ten bins of confidence; on the thin line, codes are right as often as they say. Bins of fewer than ten codes are left out.",
        },
        Figure {
            title: "Accuracy at k",
            svg: lines(
                "Accuracy at k",
                (rank_axis, "first k candidates"),
                (tenths(), "share with the gold code among them"),
                &ranks,
                false,
            )?,
            caption: "Gold entities whose place was found exactly: how often their code is among the first k candidates, in the order after re-ranking.",
        },
    ];
    let names: Vec<&String> = cells.iter().flat_map(|cell| &cell.seen.bands).map(|(_, (name, _))| name).collect();
    if !names.is_empty() {
        figures.push(frequency(cells)?);
    }
    Ok(figures)
}

/// Draws F1 by how often codes were seen in training.
fn frequency(cells: &[&Told]) -> Result<Figure> {
    let bands: std::collections::BTreeMap<usize, &str> =
        cells.iter().flat_map(|cell| &cell.seen.bands).map(|(place, (name, _))| (*place, name.as_str())).collect();
    let line =
        |cell: &&Told| cell.seen.bands.iter().map(|(place, (_, counts))| (*place as f64, counts.score().f1)).collect();
    let drawn: Vec<Line> = cells.iter().map(line).collect();
    let places: Vec<f64> = bands.keys().map(|&place| place as f64).collect();
    let name = |place: f64| bands.get(&(place as usize)).map_or_else(String::new, |name| (*name).to_owned());
    let axis = Scale::around(&places, 0.3, name);
    let tenths = Scale::around(&ticks(0.0, 1.0, 5.0), 0.0, |tick| decimal(tick, 1));
    Ok(Figure {
        title: "Frequency and F1",
        svg: lines(
            "Frequency and F1",
            (axis, "entities of the code in training"),
            (tenths, "F1 of code assignment"),
            &drawn,
            false,
        )?,
        caption: "Codes in groups by how often they occur in the documents that were trained on.",
    })
}

fn risk(cell: &Told) -> Line {
    risk_coverage(&cell.scored.confidences).into_iter().map(|point| (point.coverage, point.risk)).collect()
}

fn bins(cell: &Told) -> Line {
    let bins = reliability(&cell.scored.confidences, Binning::EqualWidth(BINS));
    bins.iter().filter(|bin| bin.count >= LEAST).map(|bin| (bin.confidence, bin.accuracy)).collect()
}

fn ranks(cell: &Told) -> Line {
    let share = |hits: usize| hits as f64 / cell.seen.found.max(1) as f64;
    (1..=RANKS).zip(cell.seen.hits).map(|(rank, hits)| (rank as f64, share(hits))).collect()
}

/// Takes evenly spread points of a long line, its last one included.
fn thinned(line: Line) -> Line {
    let step = line.len().div_ceil(POINTS).max(1);
    let last = line.last().copied();
    let mut kept: Line = line.into_iter().step_by(step).collect();
    kept.extend(last.filter(|last| kept.last() != Some(last)));
    kept
}

fn lines(name: &str, x: (Scale, &str), y: (Scale, &str), lines: &[Line], diagonal: bool) -> Result<String> {
    svg(name, HEIGHT, |canvas| draw(canvas, x, y, lines, diagonal))
}

fn draw(canvas: &Canvas<'_>, x: (Scale, &str), y: (Scale, &str), lines: &[Line], diagonal: bool) -> Drawn {
    let mut chart = axis::chart(canvas, x, y)?;
    if diagonal {
        chart.draw_series([PathElement::new([(0.0, 0.0), (1.0, 1.0)], FAINT.stroke_width(1))])?;
    }
    for (line, (color, (dash, gap))) in lines.iter().zip(COLORS.into_iter().zip(DASHES)) {
        let style = color.stroke_width(3);
        match gap {
            0 => drop(chart.draw_series([PathElement::new(line.clone(), style)])?),
            _ => drop(chart.draw_series(DashedLineSeries::new(line.clone(), dash, gap, style))?),
        }
        if line.len() < POINTS / 10 {
            chart.draw_series(line.iter().map(|&point| Circle::new(point, 4, color.filled())))?;
        }
    }
    Ok(())
}
