//! How numbers are written in figures and tables, and tables on the terminal.

use comfy_table::{CellAlignment, Table, TableComponent, presets::UTF8_HORIZONTAL_ONLY};

/// Writes a number in groups of three digits.
pub(in crate::experiment) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a number with so many digits after the point, a dash where it is none.
pub(in crate::experiment) fn decimal(number: f64, digits: usize) -> String {
    if number.is_finite() { signed(number, digits).replace('+', "") } else { "–".to_owned() }
}

/// Writes a difference with its sign, a dash where it is no number.
pub(in crate::experiment) fn signed(difference: f64, digits: usize) -> String {
    if !difference.is_finite() {
        return "–".to_owned();
    }
    let text = format!("{:.digits$}", difference.abs());
    // What rounds to zero has no sign.
    let sign = if text.bytes().all(|byte| matches!(byte, b'0' | b'.')) { "" } else { sign(difference) };
    format!("{sign}{text}")
}

/// Returns the sign of a difference other than 0.
pub(in crate::experiment) fn sign(difference: f64) -> &'static str {
    if difference < 0.0 { "−" } else { "+" }
}

/// Makes a table for the terminal: a line under the header, none between rows, all columns but the first to the right.
pub(crate) fn table<S: ToString>(header: &[S], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(header.iter().map(ToString::to_string)).add_rows(rows);
    for line in [
        TableComponent::HorizontalLines,
        TableComponent::MiddleIntersections,
        TableComponent::LeftBorderIntersections,
        TableComponent::RightBorderIntersections,
    ] {
        table.remove_style(line);
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// Writes a duration in its two greatest units.
pub(in crate::experiment) fn duration(seconds: f64) -> String {
    match seconds.max(0.0).round() as u64 {
        whole @ 0..60 => format!("{whole} s"),
        whole @ 60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        whole => format!("{} h {} min", grouped(whole / 3600), whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_written() {
        assert_eq!([0, 999, 1000, 865_539, 1_234_567].map(grouped), ["0", "999", "1,000", "865,539", "1,234,567"]);
        assert_eq!([0.283, -0.1, 0.001, -0.001].map(|one| signed(one, 2)), ["+0.28", "−0.10", "0.00", "0.00"]);
        assert_eq!([0.5, -1.0, f64::NAN].map(|one| decimal(one, 1)), ["0.5", "−1.0", "–"]);
        assert_eq!([7.4, 61.0, 11_520.0].map(duration), ["7 s", "1 min 1 s", "3 h 12 min"]);
    }
}
