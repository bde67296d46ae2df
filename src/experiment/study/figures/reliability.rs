//! How far probabilities can be trusted: the share of right codes among those that a model holds so and so likely.

use plotters::prelude::*;

use super::{
    super::{outcome::Reliability, written::decimal},
    Canvas, Drawn, FAINT, LINKED, ORIGINAL,
    axis::{self, Scale, ticks},
    legend,
    legend::Mark,
    svg,
};
use crate::{error::Result, eval::calibration::Bin};

const HEIGHT: u32 = 460;
/// A bin of fewer codes says nothing.
const LEAST: usize = 20;

/// Draws both models' bins; `None` where none has enough codes.
pub(in super::super) fn reliability(found: &Reliability) -> Result<Option<String>> {
    let lines = [&found.original, &found.linked].map(|bins| {
        let told = bins.iter().filter(|bin: &&Bin| bin.count >= LEAST);
        told.map(|bin| (bin.confidence, bin.accuracy)).collect::<Vec<_>>()
    });
    if lines.iter().all(Vec::is_empty) {
        return Ok(None);
    }
    svg("Share of right codes by probability", HEIGHT, |canvas| draw(canvas, &lines)).map(Some)
}

fn draw(canvas: &Canvas<'_>, lines: &[Vec<(f64, f64)>; 2]) -> Drawn {
    let tenths = ticks(0.0, 1.0, 5.0);
    legend::legend(canvas, (70, 18), &legend::SETS)?;
    let mut chart = axis::chart(
        canvas,
        (Scale::around(&tenths, 0.0, |share| decimal(share, 1)), "probability that the model gives"),
        (Scale::around(&tenths, 0.0, |share| decimal(share, 1)), "share of these codes that are right"),
    )?;
    chart.draw_series([PathElement::new([(0.0, 0.0), (1.0, 1.0)], FAINT.stroke_width(2))])?;
    for (points, color) in lines.iter().zip([ORIGINAL, LINKED]) {
        chart.draw_series([PathElement::new(points.clone(), color.stroke_width(3))])?;
    }
    for (set, points) in lines.iter().enumerate() {
        for point in points {
            Mark::of_set(set).draw(canvas, chart.plotting_area().map_coordinate(point), 1.0)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_of_few_codes_are_not_drawn() {
        let bin = |count| Bin { lowest: 0.5, highest: 0.6, count, confidence: 0.55, accuracy: 0.7 };
        let of = |count| Reliability { original: vec![], linked: vec![bin(count)], errors: [0.0, 0.15] };
        assert_eq!(reliability(&of(LEAST - 1)).unwrap(), None);
        assert!(reliability(&of(LEAST)).unwrap().unwrap().contains("share of these codes"));
    }
}
