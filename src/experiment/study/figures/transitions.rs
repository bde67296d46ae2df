//! Figure 7: what the coder found where doctors typed a code that it did not find.

use std::collections::HashMap;

use plotters::prelude::*;

use super::{
    super::{
        outcome::{CodeOutcome, Transition},
        written::{grouped, signed},
    },
    Canvas, Drawn, FAINT, GRID, INK, LETTER, bold, color_of, ending, legend, letters, shortened, svg, text_width,
};
use crate::{error::Result, icd::IcdCode};

/// Typed codes shown.
const SOURCES: usize = 6;
/// Found codes shown of each.
const TARGETS: usize = 5;
/// Height of a found code.
const ROW: i32 = 40;
/// Least height of a typed code.
const BLOCK: i32 = 104;
/// Height between typed codes.
const GAP: i32 = 22;
/// Height above the first.
const TOP: i32 = 74;
/// Width of the box of a typed code.
const BOX: i32 = 270;
/// Where found codes begin.
const FOUND: i32 = 410;
/// Where the zero line of the changes stands.
const ZERO: i32 = 846;
/// Greatest width of a band.
const BAND: f64 = 36.0;
/// Greatest length of a bar of change.
const BAR: f64 = 44.0;

/// Titles and changes of codes.
type Codes<'a> = HashMap<&'a IcdCode, &'a CodeOutcome>;

/// Returns the codes with most records, and of each the codes most often found instead; of equal ones the lesser code
/// first.
fn most(transitions: &[Transition]) -> Vec<Transition> {
    let mut most: Vec<Transition> = transitions.iter().filter(|one| one.records > 0).cloned().collect();
    most.sort_by(|a, b| b.records.cmp(&a.records).then_with(|| a.from.cmp(&b.from)));
    most.truncate(SOURCES);
    for transition in &mut most {
        transition.to.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        transition.to.truncate(TARGETS);
    }
    most
}

/// Draws where the records of the codes with most of them went; `None` without any.
pub(in super::super) fn transitions(transitions: &[Transition], codes: &[CodeOutcome]) -> Result<Option<String>> {
    let most = most(transitions);
    if most.is_empty() {
        return Ok(None);
    }
    let codes: Codes<'_> = codes.iter().map(|code| (&code.code, code)).collect();
    let height = TOP + most.iter().map(|one| height(one) + GAP).sum::<i32>();
    svg("Codes found instead of typed ones", height as u32, |canvas| draw(canvas, &most, &codes)).map(Some)
}

fn height(transition: &Transition) -> i32 {
    (transition.to.len() as i32 * ROW).max(BLOCK)
}

fn draw(canvas: &Canvas<'_>, transitions: &[Transition], codes: &Codes<'_>) -> Drawn {
    legend::legend(canvas, (0, 18), &legend::GAINS)?;
    let heading = |text: &str, x| Text::new(text.to_owned(), (x, 54), letters(14.0, FAINT));
    canvas.draw(&heading("typed by doctors, not found by the coder", 0))?;
    canvas.draw(&heading("found by the coder in these records, not typed", FOUND))?;
    canvas.draw(&Text::new("change of F1", (958, 54), ending(letters(14.0, FAINT))))?;
    let gains = transitions.iter().flat_map(|one| &one.to).filter_map(|(code, _)| gain(codes, code));
    let greatest = gains.map(f64::abs).fold(0.05, f64::max);
    let mut top = TOP;
    for transition in transitions {
        source(canvas, transition, codes, top)?;
        for (row, (code, records)) in transition.to.iter().enumerate() {
            let y = row_middle(transition, top, row);
            let share = *records as f64 / transition.records as f64;
            band(canvas, (BOX, start(transition, top, row)), (FOUND - 10, y), share, color_of(gain(codes, code)))?;
            target(canvas, codes, code, y, &format!("{} records, {:.0} %", grouped(*records), 100.0 * share))?;
            change(canvas, gain(codes, code), greatest, y)?;
        }
        if transition.to.is_empty() {
            canvas.draw(&Text::new("no other code", (FOUND, top + height(transition) / 2), letters(15.0, FAINT)))?;
        }
        top += height(transition) + GAP;
    }
    Ok(())
}

fn gain(codes: &Codes<'_>, code: &IcdCode) -> Option<f64> {
    codes.get(code).and_then(|code| code.gain())
}

fn row_middle(transition: &Transition, top: i32, row: usize) -> i32 {
    top + height(transition) / 2 + (2 * row as i32 + 1 - transition.to.len() as i32) * ROW / 2
}

/// Returns where a band leaves the box: nearer to its middle than where it ends.
fn start(transition: &Transition, top: i32, row: usize) -> i32 {
    let middle = top + height(transition) / 2;
    middle + (row_middle(transition, top, row) - middle) * 3 / 4
}

/// Draws the box of a typed code.
fn source(canvas: &Canvas<'_>, transition: &Transition, codes: &Codes<'_>, top: i32) -> Drawn {
    let bottom = top + height(transition);
    canvas.draw(&Rectangle::new([(0, top), (BOX, bottom)], RGBColor(243, 243, 240).filled()))?;
    let title = codes.get(&transition.from).map_or("", |code| &code.title);
    let lines = wrapped(title, 28, 2);
    let mut y = (top + bottom) / 2 - 10 * (lines.len() as i32 + 1);
    canvas.draw(&Text::new(transition.from.to_string(), (14, y), bold(letters(19.0, INK))))?;
    for line in lines {
        y += 21;
        canvas.draw(&Text::new(line, (14, y), letters(14.0, INK)))?;
    }
    let records = format!("{} training records", grouped(transition.records));
    canvas.draw(&Text::new(records, (14, y + 22), letters(14.0, FAINT)))?;
    Ok(())
}

/// Breaks a text into at most so many lines, the last one shortened.
fn wrapped(text: &str, characters: usize, lines: usize) -> Vec<String> {
    let mut wrapped: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match wrapped.last_mut() {
            Some(line) if wrapped_len(line, word) <= characters => *line = format!("{line} {word}"),
            _ => wrapped.push(word.to_owned()),
        }
    }
    if wrapped.len() > lines {
        let rest = wrapped.split_off(lines.saturating_sub(1)).join(" ");
        wrapped.push(rest);
    }
    wrapped.iter().map(|line| shortened(line, characters)).collect()
}

fn wrapped_len(line: &str, word: &str) -> usize {
    line.chars().count() + 1 + word.chars().count()
}

/// Draws a band that is the wider the greater the share, level at both ends.
fn band(canvas: &Canvas<'_>, from: (i32, i32), to: (i32, i32), share: f64, color: RGBColor) -> Drawn {
    let width = ((share.min(1.0) * BAND).round() as i32).max(2);
    let (across, down) = (to.0 - from.0, to.1 - from.1);
    // Places are whole numbers: a point a unit of height, not of width, keeps a flat curve smooth.
    let edge = |step: i32, aside: i32| {
        let way = match down {
            0 => f64::from(step),
            _ => (1.0 - 2.0 * f64::from(step) / f64::from(down.abs())).acos() / std::f64::consts::PI,
        };
        (from.0 + (f64::from(across) * way).round() as i32, from.1 + step * down.signum() + aside)
    };
    let steps = || 0..=down.abs().max(1);
    let upper = steps().map(|step| edge(step, -width / 2));
    let outline = upper.chain(steps().rev().map(|step| edge(step, width - width / 2)));
    canvas.draw(&Polygon::new(outline.collect::<Vec<_>>(), color.mix(0.6).filled()))?;
    Ok(())
}

/// Writes a found code with its title, and what it is found in below.
fn target(canvas: &Canvas<'_>, codes: &Codes<'_>, code: &IcdCode, y: i32, records: &str) -> Drawn {
    let title = codes.get(code).map_or("", |code| &code.title);
    let x = FOUND + text_width(code.as_str(), 17.0) + 10;
    let letters_left = f64::from(ZERO - BAR as i32 - 10 - x) / (14.0 * LETTER);
    canvas.draw(&Text::new(code.to_string(), (FOUND, y - 8), bold(letters(16.0, INK))))?;
    canvas.draw(&Text::new(shortened(title, letters_left.max(4.0) as usize), (x, y - 8), letters(14.0, INK)))?;
    canvas.draw(&Text::new(records.to_owned(), (FOUND, y + 11), letters(13.0, FAINT)))?;
    Ok(())
}

/// Draws the change of a code's F1 as a bar from the zero line, with its number.
fn change(canvas: &Canvas<'_>, gain: Option<f64>, greatest: f64, y: i32) -> Drawn {
    canvas.draw(&PathElement::new([(ZERO, y - ROW / 2), (ZERO, y + ROW / 2)], GRID.stroke_width(2)))?;
    let Some(gain) = gain else {
        canvas.draw(&Text::new("not in the test", (958, y), ending(letters(13.0, FAINT))))?;
        return Ok(());
    };
    let end = ZERO + (gain / greatest * BAR).round() as i32;
    let color = color_of(Some(gain));
    canvas.draw(&Rectangle::new([(ZERO.min(end), y - 8), (ZERO.max(end), y + 8)], color.filled()))?;
    canvas.draw(&Text::new(signed(gain, 2), (958, y), bold(ending(letters(15.0, INK)))))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transition(from: &str, records: u64, to: &[(&str, u64)]) -> Transition {
        let to = to.iter().map(|(code, records)| (code.parse().unwrap(), *records)).collect();
        Transition { from: from.parse().unwrap(), records, to }
    }

    #[test]
    fn codes_with_most_records_come_first_and_so_do_those_found_most() {
        let mut all: Vec<_> = (0..8).map(|n| transition(&format!("A0{n}"), n, &[])).collect();
        all[7].to = transition("A07", 0, &[("B01", 2), ("B03", 5), ("B02", 5), ("B04", 1), ("B05", 3), ("B06", 4)]).to;
        let most = most(&all);
        let sources: Vec<_> = most.iter().map(|one| one.from.as_str()).collect();
        assert_eq!(sources, ["A07", "A06", "A05", "A04", "A03", "A02"]);
        let targets: Vec<_> = most[0].to.iter().map(|(code, _)| code.as_str()).collect();
        assert_eq!(targets, ["B02", "B03", "B06", "B05", "B01"]);
        assert_eq!(transitions(&all[..1], &[]).unwrap(), None);
        assert!(transitions(&all, &[]).unwrap().unwrap().contains("no other code"));
    }

    #[test]
    fn titles_break_between_words() {
        assert_eq!(wrapped("один два три четыре пять", 8, 2), ["один два", "три чет…"]);
        assert!(wrapped("", 8, 2).is_empty());
    }
}
