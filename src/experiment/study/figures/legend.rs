//! The legend, the same in all figures: squares are original labels, circles linked ones.

use plotters::prelude::*;

use super::{Canvas, Drawn, INK, LINKED, NEITHER, ORIGINAL, letters, text_width};

/// A shape and its colour.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mark {
    Square(RGBColor),
    Circle(RGBColor),
}

impl Mark {
    /// Returns the mark of a label set: 0 original, 1 linked.
    pub(super) fn of_set(set: usize) -> Self {
        if set == 0 { Self::Square(ORIGINAL) } else { Self::Circle(LINKED) }
    }

    /// Draws the mark with its middle at a place of the canvas.
    pub(super) fn draw(self, canvas: &Canvas<'_>, (x, y): (i32, i32), opacity: f64) -> Drawn {
        match self {
            Self::Square(color) => {
                canvas.draw(&Rectangle::new([(x - 4, y - 4), (x + 4, y + 4)], color.mix(opacity).filled()))?;
            }
            Self::Circle(color) => canvas.draw(&Circle::new((x, y), 5, color.mix(opacity).filled()))?,
        }
        Ok(())
    }
}

/// The two label sets.
pub(super) const SETS: [(&str, Mark); 2] = [
    ("original: codes that doctors typed", Mark::Square(ORIGINAL)),
    ("linked: codes that the coder found", Mark::Circle(LINKED)),
];

/// What colours say of a code.
pub(super) const GAINS: [(&str, Mark); 3] = [
    ("F1 higher with linked labels", Mark::Circle(LINKED)),
    ("F1 higher with original labels", Mark::Circle(ORIGINAL)),
    ("no change", Mark::Circle(NEITHER)),
];

/// Draws a legend in one line, from a place of the canvas to the right.
pub(super) fn legend(canvas: &Canvas<'_>, (x, y): (i32, i32), entries: &[(&str, Mark)]) -> Drawn {
    let mut x = x;
    for (text, mark) in entries {
        mark.draw(canvas, (x + 5, y), 1.0)?;
        canvas.draw(&Text::new(*text, (x + 16, y), letters(15.0, INK)))?;
        x += 16 + text_width(text, 15.0) + 8;
    }
    Ok(())
}
