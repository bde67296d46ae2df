//! Bands of numbers, such as of how often a code occurs: a number comes in, the place and name of its band leave.

use std::collections::BTreeMap;

/// Least number of entities of each band of frequencies; codes that do not occur stand before them.
pub(crate) const FREQUENCIES: [usize; 5] = [1, 2, 5, 10, 50];

/// Returns the band of how often a code was seen in training.
pub(in crate::experiment) fn of_code(trained: &BTreeMap<String, usize>, code: &str) -> (usize, String) {
    match trained.get(code) {
        None | Some(0) => (0, "0".to_owned()),
        Some(&count) => band(count, &FREQUENCIES),
    }
}

/// Returns the place and name of the band of numbers that a number is in; each begins with one of `least`, the last is open.
pub(crate) fn band(number: usize, least: &[usize]) -> (usize, String) {
    let place = least.partition_point(|&least| least <= number).max(1);
    let from = least[place - 1];
    let name = match least.get(place) {
        None => format!("{from} or more"),
        Some(&next) if next == from + 1 => from.to_string(),
        Some(&next) => format!("{from}–{}", next - 1),
    };
    (place, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_named() {
        let names: Vec<String> = [1, 2, 4, 5, 49, 50, 700].map(|number| band(number, &FREQUENCIES).1).to_vec();
        assert_eq!(names, ["1", "2–4", "2–4", "5–9", "10–49", "50 or more", "50 or more"]);
        let trained = BTreeMap::from([("I10".to_owned(), 3)]);
        assert_eq!(["I10", "J20"].map(|code| of_code(&trained, code).1), ["2–4", "0"]);
    }
}
