//! What all figures are drawn with: a canvas that becomes SVG, letters, axes. Text stays text; a picture takes the width it is given.

pub(in crate::experiment) mod axis;

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::error::{Error, Result};

pub(in crate::experiment) const INK: RGBColor = RGBColor(34, 34, 34);
pub(in crate::experiment) const FAINT: RGBColor = RGBColor(95, 95, 95);
pub(in crate::experiment) const GRID: RGBColor = RGBColor(226, 226, 226);
/// Width of every figure in units of its own; letters have 14 to 18 of them.
pub(in crate::experiment) const WIDTH: u32 = 960;

pub(in crate::experiment) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// What drawing returns; the errors of the drawing library have no common type.
pub(in crate::experiment) type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// Draws a picture that is `height` units high and is described by `name` to those who cannot see it.
pub(in crate::experiment) fn svg(name: &str, height: u32, draw: impl FnOnce(&Canvas<'_>) -> Drawn) -> Result<String> {
    let mut svg = String::new();
    let canvas = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
    let drawn = draw(&canvas).and_then(|()| Ok(canvas.present()?));
    drawn.map_err(|error| Error::Page { reason: format!("{name}: {error}") })?;
    drop(canvas);
    let fixed = format!("width=\"{WIDTH}\" height=\"{height}\" ");
    Ok(svg.replacen(&fixed, &format!("role=\"img\" aria-label=\"{name}\" "), 1))
}

/// Returns the style of letters of a height (in units, as drawn) and a colour, left of and above which nothing stands.
pub(in crate::experiment) fn letters(size: f64, color: RGBColor) -> TextStyle<'static> {
    // The SVG backend writes sizes divided by 1.24.
    let style = TextStyle::from(("sans-serif", size * 1.24).into_font()).pos(Pos::new(HPos::Left, VPos::Center));
    TextStyle { color: color.to_backend_color(), ..style }
}

/// Sets letters in bold.
pub(in crate::experiment) fn bold(style: TextStyle<'static>) -> TextStyle<'static> {
    TextStyle { font: style.font.style(FontStyle::Bold), ..style }
}

/// Sets letters so that the point where they are drawn is their middle.
pub(in crate::experiment) fn centred(style: TextStyle<'static>) -> TextStyle<'static> {
    style.pos(Pos::new(HPos::Center, VPos::Center))
}

/// Sets letters so that they end at the point where they are drawn.
pub(in crate::experiment) fn ending(style: TextStyle<'static>) -> TextStyle<'static> {
    style.pos(Pos::new(HPos::Right, VPos::Center))
}

/// Width of a letter as a part of its height, of a font with wide letters.
pub(in crate::experiment) const LETTER: f64 = 0.62;

/// Returns about how wide a text is, in units.
pub(in crate::experiment) fn text_width(text: &str, size: f64) -> i32 {
    (text.chars().count() as f64 * size * LETTER).ceil() as i32
}

/// Shortens a text to at most so many characters, at the end of a word where there is one.
pub(in crate::experiment) fn shortened(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    let cut: String = text.chars().take(characters.saturating_sub(1)).collect();
    let whole = cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words);
    let kept = if whole.chars().count() * 2 > characters { whole } else { &cut };
    format!("{}…", kept.trim_end_matches(|c: char| !c.is_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_titles_end_with_a_whole_word() {
        assert_eq!(shortened("Астма", 12), "Астма");
        assert_eq!(shortened("Астма неуточненная", 9), "Астма…");
        assert_eq!(shortened("Астма неуточненная", 12), "Астма неуто…");
        assert_eq!(shortened("Гипертензивная болезнь, без (застойной) недостаточности", 25), "Гипертензивная болезнь…");
        assert_eq!(shortened("Электрокардиографический", 8), "Электро…");
    }

    #[test]
    fn a_picture_has_no_width_of_its_own() {
        let picture = svg("a name", 100, |canvas| Ok(canvas.fill(&WHITE)?)).unwrap();
        assert!(picture.starts_with("<svg role=\"img\" aria-label=\"a name\" viewBox=\"0 0 960 100\""), "{picture}");
    }
}
