//! Figures of a study: values come in, SVG leaves.

mod change;
mod course;
mod labels;
mod legend;
mod reliability;
mod spread;
mod transitions;

use plotters::prelude::*;

pub(super) use change::change;
pub(super) use course::course;
pub(super) use reliability::reliability;
pub(super) use spread::{CASES, Groups, spread};
pub(super) use transitions::transitions;

use super::outcome::Better;
use crate::experiment::figures::{
    Canvas, Drawn, FAINT, GRID, INK, LETTER, axis, bold, centred, ending, letters, shortened, svg, text_width,
};

/// Colour of original labels, and of codes that are better off with them. It and blue are told apart by all kinds of
/// colour vision, and by their lightness in a black-and-white print.
const ORIGINAL: RGBColor = RGBColor(208, 124, 0);
/// Colour of linked labels, and of codes that are better off with them.
const LINKED: RGBColor = RGBColor(0, 90, 156);
/// Colour of what is neither.
const NEITHER: RGBColor = RGBColor(150, 150, 150);
/// Returns the colour of the label set that a difference of F1 speaks for.
fn color_of(gain: Option<f64>) -> RGBColor {
    match Better::of(gain) {
        Better::Linked => LINKED,
        Better::Original => ORIGINAL,
        Better::Neither => NEITHER,
    }
}
