//! Fig. 3 of the paper: how often codes occur, most frequent first.

use plotters::prelude::*;

use crate::{
    error::Result,
    experiment::{
        figures::{
            Canvas, Drawn, FAINT, INK,
            axis::{self, Scale},
            letters, svg,
        },
        written::grouped,
    },
};

const HEIGHT: u32 = 460;
const COLOR: RGBColor = RGBColor(0, 90, 156);

/// Draws how many entities each code has, by its rank, both axes tenfold from mark to mark; `frequencies` are in descending order.
///
/// # Errors
/// - [`Error::Page`](crate::error::Error::Page) if it cannot be drawn.
///
/// # Source
/// The paper, Fig. 3.
pub fn frequency(frequencies: &[usize]) -> Result<String> {
    svg("Entities of each code", HEIGHT, |canvas| draw(canvas, frequencies))
}

fn draw(canvas: &Canvas<'_>, frequencies: &[usize]) -> Drawn {
    let most = frequencies.first().copied().unwrap_or(1);
    let rare = frequencies.iter().filter(|&&count| count < super::RARE).count();
    let said = format!("{} codes, {} of them of fewer than {} entities", frequencies.len(), rare, super::RARE);
    canvas.draw(&Text::new(said, (70, 18), letters(15.0, INK)))?;
    let mut chart = axis::chart(
        canvas,
        (powers(frequencies.len()), "codes, most frequent first"),
        (powers(most), "entities of the code"),
    )?;
    let least = (super::RARE as f64).log10();
    chart.draw_series([PathElement::new([(0.0, least), ((frequencies.len().max(1) as f64).log10(), least)], FAINT)])?;
    let points = (1..).zip(frequencies).map(|(rank, &count)| (f64::from(rank).log10(), (count.max(1) as f64).log10()));
    chart.draw_series([PathElement::new(points.collect::<Vec<_>>(), COLOR.stroke_width(3))])?;
    Ok(())
}

/// Returns an axis of powers of ten that reaches as far as `most`.
fn powers(most: usize) -> Scale {
    let end = (most.max(10) as f64).log10();
    let marks = (0..=end as u32).map(|power| (f64::from(power), grouped(10_u64.pow(power))));
    Scale { range: 0.0..end * 1.02, marks: marks.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_tells_how_many_codes_are_rare() {
        let picture = frequency(&[120, 30, 4, 1, 1]).unwrap();
        assert!(picture.contains("5 codes, 3 of them of fewer than 5 entities"), "{picture}");
        assert!(
            picture.contains("codes, most frequent first") && picture.lines().any(|line| line == "100"),
            "{picture}"
        );
        assert!(frequency(&[]).unwrap().contains("0 codes"));
    }
}
