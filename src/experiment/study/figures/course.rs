//! Figure 4: weighted F1 on the manual test set by training step.

use plotters::prelude::*;

use super::{
    super::{
        outcome::Courses,
        written::{decimal, grouped},
    },
    Canvas, Drawn, LINKED, ORIGINAL,
    axis::{self, Scale, ticks},
    bold, legend,
    legend::Mark,
    letters, svg,
};
use crate::error::Result;

const HEIGHT: u32 = 460;
/// Least distance between the numbers at the ends of both lines.
const LINE_HEIGHT: i32 = 19;

/// Draws both courses; `None` without an evaluation.
pub(in super::super) fn course(courses: &Courses) -> Result<Option<String>> {
    let lines = [&courses.original, &courses.linked].map(|course| {
        let finite = course.iter().filter(|point| point.iter().all(|number| number.is_finite()));
        finite.map(|&[step, score]| (step, score)).collect::<Vec<_>>()
    });
    if lines.iter().all(Vec::is_empty) {
        return Ok(None);
    }
    svg("Weighted F1 by training step", HEIGHT, |canvas| draw(canvas, &lines)).map(Some)
}

fn draw(canvas: &Canvas<'_>, lines: &[Vec<(f64, f64)>; 2]) -> Drawn {
    let points = || lines.iter().flatten();
    let steps = ticks(0.0, points().map(|point| point.0).fold(0.0, f64::max), 6.0);
    let scores = ticks(0.0, points().map(|point| point.1).fold(0.1, f64::max), 5.0);
    legend::legend(canvas, (70, 18), &legend::SETS)?;
    let mut chart = axis::chart(
        canvas,
        (Scale::around(&steps, 0.0, |step| grouped(step as u64)), "training step"),
        (Scale::around(&scores, 0.0, |score| decimal(score, 2)), "weighted F1 on the manual test set"),
    )?;
    for (points, color) in lines.iter().zip([ORIGINAL, LINKED]) {
        chart.draw_series([PathElement::new(points.clone(), color.stroke_width(3))])?;
    }
    let place = |point: &(f64, f64)| chart.plotting_area().map_coordinate(point);
    for (set, points) in lines.iter().enumerate() {
        for point in points {
            Mark::of_set(set).draw(canvas, place(point), 1.0)?;
        }
    }
    let ends = [0, 1].map(|set: usize| lines[set].last().map(|last| (place(last), last.1)));
    for ((end, y), color) in ends.iter().zip(apart(ends.map(|end| end.map(|((_, y), _)| y)))).zip([ORIGINAL, LINKED]) {
        let (Some(((x, _), score)), Some(y)) = (end, y) else { continue };
        canvas.draw(&Text::new(format!("{score:.3}"), (x + 12, y), bold(letters(16.0, color))))?;
    }
    Ok(())
}

/// Moves two heights apart where they are too near for a line of letters at each.
fn apart(heights: [Option<i32>; 2]) -> [Option<i32>; 2] {
    let [Some(first), Some(second)] = heights else { return heights };
    let lacking = LINE_HEIGHT - (first - second).abs();
    if lacking <= 0 {
        return heights;
    }
    let (up, down) = (lacking / 2, lacking - lacking / 2);
    if first < second { [Some(first - up), Some(second + down)] } else { [Some(first + down), Some(second - up)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_at_the_ends_do_not_overlap() {
        assert_eq!(apart([Some(100), Some(50)]), [Some(100), Some(50)]);
        // 10 apart, 19 needed: 4 up, 5 down.
        assert_eq!(apart([Some(100), Some(110)]), [Some(96), Some(115)]);
        assert_eq!(apart([Some(100), Some(100)]), [Some(110), Some(91)]);
        assert_eq!(apart([None, Some(7)]), [None, Some(7)]);
    }

    #[test]
    fn nothing_to_draw_gives_no_picture() {
        assert_eq!(course(&Courses::default()).unwrap(), None);
        let nothing = Courses { original: vec![[10.0, f64::NAN]], linked: vec![] };
        assert_eq!(course(&nothing).unwrap(), None);
    }
}
