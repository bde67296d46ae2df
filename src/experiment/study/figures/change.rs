//! Figure 6: by how much F1 of each code changes, against the change of its number of training records.

use plotters::prelude::*;

use super::{
    super::{outcome::CodeOutcome, written::signed},
    Canvas, Drawn, FAINT, INK,
    axis::{self, Scale, SymmetricLog, ticks},
    color_of,
    labels::{self, Named},
    legend, letters, svg,
};
use crate::error::Result;

const HEIGHT: u32 = 560;
/// Codes above which circles are smaller.
const CROWD: usize = 200;
/// Codes named.
const NAMED: usize = 16;

/// A code in the picture.
#[derive(Debug, Clone, Copy)]
struct Point<'a> {
    code: &'a CodeOutcome,
    /// Change of the training records on the axis, and of F1.
    at: (f64, f64),
}

/// Draws a circle a code with test records; `None` where there is none.
pub(in super::super) fn change(codes: &[CodeOutcome]) -> Result<Option<String>> {
    let axis = SymmetricLog::new(codes.iter().filter(|code| code.gain().is_some()).map(CodeOutcome::more_trained));
    let at = |code: &CodeOutcome| code.gain().map(|gain| (axis.place(code.more_trained()), gain));
    let points: Vec<Point<'_>> = codes.iter().filter_map(|code| Some(Point { code, at: at(code)? })).collect();
    match points.is_empty() {
        true => Ok(None),
        false => svg("Change of F1 against change of training records", HEIGHT, |canvas| draw(canvas, &points, axis))
            .map(Some),
    }
}

fn draw(canvas: &Canvas<'_>, points: &[Point<'_>], axis: SymmetricLog) -> Drawn {
    let gains = points.iter().map(|point| point.at.1);
    let (low, high) = gains.fold((0.0, 0.0), |(low, high): (f64, f64), gain| (low.min(gain), high.max(gain)));
    legend::legend(canvas, (70, 18), &legend::GAINS)?;
    let x = axis.scale(points.iter().map(|point| point.at.0));
    let y = Scale::around(&ticks(low, high, 6.0), 0.02, |gain| signed(gain, 2));
    let [(left, right), (low, high)] = [&x, &y].map(|scale| (scale.range.start, scale.range.end));
    let name = "training records with the code, linked minus original (symmetric-logarithmic)";
    let mut chart = axis::chart(canvas, (x, name), (y, "F1, linked minus original"))?;
    let zero = [[(left, 0.0), (right, 0.0)], [(0.0, low), (0.0, high)]];
    chart.draw_series(zero.map(|line| PathElement::new(line, FAINT.stroke_width(2))))?;
    let area = chart.plotting_area();
    let (across, down) = area.get_pixel_range();
    let named = named(points, |at| area.map_coordinate(&at));
    for (point, circle) in &named {
        let style = color_of(point.code.gain());
        canvas.draw(&Circle::new(circle.at, circle.radius, style.mix(0.55).filled()))?;
        canvas.draw(&Circle::new(circle.at, circle.radius, style.stroke_width(1)))?;
    }
    let circles: Vec<Named> = named.into_iter().map(|(_, circle)| circle).collect();
    let within = [across.start, down.start, across.end, down.end];
    for (circle, place) in circles.iter().zip(labels::place(&circles, NAMED, within)) {
        let Some(place) = place else { continue };
        canvas.draw(&Text::new(circle.name.clone(), place, letters(labels::SIZE, INK)))?;
    }
    Ok(())
}

/// Returns the codes as circles, those farthest from both zero lines first. A circle's area grows with its test
/// records.
fn named<'a>(points: &[Point<'a>], place: impl Fn((f64, f64)) -> (i32, i32)) -> Vec<(Point<'a>, Named)> {
    let most = |of: fn(&Point<'_>) -> f64| points.iter().map(of).fold(1e-9, f64::max);
    let (widest, highest) = (most(|point| point.at.0.abs()), most(|point| point.at.1.abs()));
    let tested = most(|point| point.code.tested as f64);
    let far = |point: &Point<'_>| (point.at.0 / widest).powi(2) + (point.at.1 / highest).powi(2);
    let mut points = points.to_vec();
    points.sort_by(|a, b| far(b).total_cmp(&far(a)).then_with(|| a.code.code.cmp(&b.code.code)));
    let least = if points.len() > CROWD { 2.0 } else { 4.0 };
    let circle = |point: Point<'a>| {
        let radius = least + 9.0 * (point.code.tested as f64 / tested).sqrt();
        (point, Named { at: place(point.at), radius: radius as i32, name: point.code.code.to_string() })
    };
    points.into_iter().map(circle).collect()
}
