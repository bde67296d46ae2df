//! The loss curve as a picture.

use std::path::Path;

use plotters::prelude::*;

use super::History;
use crate::{
    artifact,
    error::{Error, Result},
};

const SIZE: (u32, u32) = (960, 480);
/// Points of a line; longer runs show means.
const POINTS: usize = 800;

/// Draws the losses, and where there are evaluations their scores on an axis of their own, into an SVG file.
///
/// # Errors
/// - [`Error::Write`] if the folder cannot be written.
pub(super) fn draw(history: &History, path: &Path) -> Result<()> {
    let losses = means(&history.steps.iter().map(|step| (step.step as f64, f64::from(step.loss))).collect::<Vec<_>>());
    let scores: Vec<(f64, f64)> = history
        .evaluations
        .iter()
        .map(|one| (one.step as f64, f64::from(one.score)))
        .filter(|(_, y)| y.is_finite())
        .collect();
    if losses.is_empty() {
        return Ok(());
    }
    let mut svg = String::new();
    picture(&losses, &scores, &mut svg).map_err(|e| Error::write(path, std::io::Error::other(e.to_string())))?;
    artifact::write_atomic(path, svg.as_bytes())
}

fn picture(
    losses: &[(f64, f64)],
    scores: &[(f64, f64)],
    svg: &mut String,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let last = losses.last().map_or(1.0, |point| point.0).max(2.0);
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .right_y_label_area_size(60)
        .build_cartesian_2d(1.0..last, range(losses))?
        .set_secondary_coord(1.0..last, range(scores));
    chart.configure_mesh().light_line_style(WHITE).x_desc("step").y_desc("training loss").draw()?;
    chart
        .draw_series(LineSeries::new(losses.iter().copied(), &BLUE))?
        .label("training loss")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], BLUE));
    if !scores.is_empty() {
        chart.configure_secondary_axes().y_desc("evaluation score").draw()?;
        chart
            .draw_secondary_series(LineSeries::new(scores.iter().copied(), &RED).point_size(3))?
            .label("evaluation score")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], RED));
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}

/// Returns from the least to the greatest value, with some air.
fn range(points: &[(f64, f64)]) -> std::ops::Range<f64> {
    let least = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let greatest = points.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    if least > greatest {
        return 0.0..1.0;
    }
    let air = ((greatest - least) * 0.05).max(1e-6);
    least - air..greatest + air
}

/// Brings a line down to [`POINTS`] points, each the mean of its neighbours.
fn means(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |part: &[(f64, f64)]| {
        let sum = part.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / part.len() as f64, sum.1 / part.len() as f64)
    };
    points.chunks(points.len().div_ceil(POINTS).max(1)).map(mean).collect()
}
