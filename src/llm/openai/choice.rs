//! Log-probabilities of an answer's tokens come in; the distribution over the labels it could have been leaves.

/// Reads how probable each label was, from the likeliest tokens at each position of an answer.
///
/// `positions[i]` holds tokens with natural log-probabilities: first the one that was generated, then the likeliest others, each
/// once. Blanks before the answer are passed over. The rule, from the first position on:
///
/// 1. A token speaks for the labels that go on with it, or that end before it (`1` ends before a stop token, which has no text,
///    and before `.`, not before `0`). Other tokens are left out, and the rest is scaled to sum to 1.
/// 2. Where it speaks for one label, this gets its whole probability.
/// 3. Where it speaks for several (`1` for `1`, `10`, `12`) and was generated, the next position splits its probability among
///    them by the same rules. Where no position follows, or none of its tokens fits, it stays with the answer given.
/// 4. Where it speaks for several and was not generated, no position shows how it would have gone on: the label that it completes
///    gets its probability; if there is none, they share it evenly.
///
/// Returns one probability a label, summing to 1; a label that none of the shown tokens begins gets 0. `None` if there are no
/// positions, the answer is no label, or no token fits.
pub fn choice_distribution(labels: &[String], positions: &[Vec<(String, f32)>], answer: &str) -> Option<Vec<f32>> {
    let said = labels.iter().position(|label| label == answer.trim());
    let answer = said.or_else(|| labels.iter().position(|label| rest_after(label, answer.trim()) == Some("")))?;
    let is_blank = |position: &&Vec<(String, f32)>| position.first().is_some_and(|(token, _)| token.trim().is_empty());
    let blanks = positions.iter().take_while(is_blank).count();
    let open: Vec<Open> = labels.iter().map(String::as_str).enumerate().collect();
    let mut tally = Tally { answer, masses: vec![0.0; labels.len()] };
    let fits = tally.split(&open, positions.get(blanks..)?, true, 1.0);
    fits.then(|| tally.masses.iter().map(|mass| *mass as f32).collect())
}

/// A label's number, and what is still to come of it.
type Open<'a> = (usize, &'a str);

/// What each label has got so far.
struct Tally {
    /// The label that the model answered with.
    answer: usize,
    masses: Vec<f64>,
}

impl Tally {
    /// Adds `mass` to the labels of `open`, as the positions split it. Returns whether a token of the first position fits.
    fn split<'a>(&mut self, open: &[Open<'a>], positions: &[Vec<(String, f32)>], is_start: bool, mass: f64) -> bool {
        let Some((here, later)) = positions.split_first() else { return false };
        let fitting: Vec<(bool, Vec<Open<'a>>, f64)> = here
            .iter()
            .enumerate()
            .map(|(at, (token, log_probability))| {
                let token = if is_start { token.trim_start() } else { token };
                let goes_on = |(label, rest): &Open<'a>| Some((*label, rest_after(rest, token)?));
                let says_nothing = is_start && token.is_empty();
                let mut labels: Vec<Open<'a>> =
                    if says_nothing { Vec::new() } else { open.iter().filter_map(goes_on).collect() };
                // A blank ends a label only where no longer one goes on with it.
                let longer =
                    |(label, rest): &Open| open.iter().any(|(of, before)| of == label && rest.len() < before.len());
                if labels.iter().any(|open| longer(open) && !token.is_empty()) {
                    labels.retain(longer);
                }
                (at == 0, labels, f64::from(*log_probability))
            })
            .filter(|(_, labels, log_probability)| !labels.is_empty() && log_probability.is_finite())
            .collect();
        let highest = fitting.iter().map(|(_, _, log_probability)| *log_probability).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = fitting.iter().map(|(_, _, log_probability)| (log_probability - highest).exp()).sum();
        for (generated, labels, log_probability) in &fitting {
            let share = mass * (log_probability - highest).exp() / sum;
            let complete = labels.iter().find(|(_, rest)| rest.is_empty());
            match (labels.as_slice(), complete) {
                ([(only, _)], _) => self.masses[*only] += share,
                _ if *generated => {
                    if !self.split(labels, later, false, share) {
                        self.masses[self.answer] += share;
                    }
                }
                (_, Some((complete, _))) => self.masses[*complete] += share,
                _ => labels.iter().for_each(|(label, _)| self.masses[*label] += share / labels.len() as f64),
            }
        }
        !fitting.is_empty()
    }
}

/// Returns what is to come of `label` after `token`: empty where the label is complete, even if the token goes on with something
/// that cannot be part of a label; `None` if they differ.
fn rest_after<'a>(label: &'a str, token: &str) -> Option<&'a str> {
    if !token.is_empty()
        && let Some(rest) = label.strip_prefix(token)
    {
        return Some(rest);
    }
    let further = token.strip_prefix(label)?;
    (!further.starts_with(char::is_alphanumeric)).then_some("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distribution(labels: &[&str], positions: &[&[(&str, f32)]], answer: &str) -> Option<Vec<f32>> {
        let labels: Vec<String> = labels.iter().map(|label| label.to_string()).collect();
        let positions: Vec<Vec<(String, f32)>> = positions
            .iter()
            .map(|tokens| tokens.iter().map(|(token, p)| (token.to_string(), p.ln())).collect())
            .collect();
        choice_distribution(&labels, &positions, answer)
    }

    fn assert_close(got: Option<Vec<f32>>, expected: &[f32]) {
        let got = got.expect("a distribution");
        assert!((got.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{got:?}");
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} is not {expected:?}");
    }

    #[test]
    fn one_token_a_label() {
        let got = distribution(&["0", "1", "2"], &[&[("2", 0.6), ("1", 0.2), ("Я", 0.15), ("0", 0.05)]], "2");
        assert_close(got, &[0.05 / 0.85, 0.2 / 0.85, 0.6 / 0.85]);
    }

    #[test]
    fn labels_that_share_a_token_are_split_along_the_path() {
        // P(1…) = 0.8, and after it: `0` 0.5, `2` 0.3, the end 0.1 (no text) + 0.1 (a full stop).
        let path: [&[(&str, f32)]; 2] = [&[("1", 0.8), ("2", 0.2)], &[("0", 0.5), ("2", 0.3), ("", 0.1), (".", 0.1)]];
        assert_close(distribution(&["1", "2", "10", "12"], &path, "10"), &[0.16, 0.2, 0.4, 0.24]);
    }

    #[test]
    fn a_title_that_begins_another_ends_only_where_that_does_not_go_on() {
        let titles = ["0", "Гастрит", "Гастрит и дуоденит", "Отит"];
        let start: &[(&str, f32)] = &[("Гастрит", 0.9), ("Отит", 0.1)];
        let path = [start, &[(" и", 0.6), ("", 0.4)], &[(" дуоденит", 1.0)]];
        assert_close(distribution(&titles, &path, "Гастрит и дуоденит"), &[0.0, 0.36, 0.54, 0.1]);
        assert_close(distribution(&titles, &[start, &[("", 0.4), (" и", 0.6)]], "Гастрит"), &[0.0, 0.36, 0.54, 0.1]);
    }

    #[test]
    fn whole_numbers_as_tokens_need_no_next_position() {
        // `1` may still go on, but the stop token after it is all but certain.
        let path: [&[(&str, f32)]; 2] = [&[("1", 0.5), ("10", 0.3), ("2", 0.2)], &[("</s>", 1.0)]];
        assert_close(distribution(&["1", "2", "10"], &path, "1"), &[0.5, 0.2, 0.3]);
    }

    #[test]
    fn without_a_next_position_the_answer_keeps_the_mass() {
        assert_close(distribution(&["1", "2", "10"], &[&[("1", 0.9), ("2", 0.1)]], "1"), &[0.9, 0.1, 0.0]);
        assert_close(
            distribution(&["1", "2", "10"], &[&[("1", 0.9), ("2", 0.1)], &[("Я", 1.0)]], "10"),
            &[0.0, 0.1, 0.9],
        );
    }

    #[test]
    fn off_the_path_the_complete_label_wins_or_all_share() {
        assert_close(distribution(&["1", "2", "10"], &[&[("2", 0.9), ("1", 0.1)]], "2"), &[0.1, 0.9, 0.0]);
        assert_close(distribution(&["2", "10", "12"], &[&[("2", 0.9), ("1", 0.1)]], "2"), &[0.9, 0.05, 0.05]);
    }

    #[test]
    fn blanks_and_quotes_around_tokens_do_no_harm() {
        let path: [&[(&str, f32)]; 2] = [&[(" ", 1.0)], &[(" 2", 0.5), ("2", 0.25), ("1\n", 0.25)]];
        assert_close(distribution(&["1", "2"], &path, " 2."), &[0.25, 0.75]);
    }

    #[test]
    fn nothing_to_read_is_none() {
        let empty: &[(&str, f32)] = &[];
        assert_eq!(distribution(&["1", "2"], &[], "1"), None);
        assert_eq!(distribution(&["1", "2"], &[empty], "1"), None);
        assert_eq!(distribution(&["1", "2"], &[&[("Ответ", 1.0)]], "Ответ: 1"), None);
        assert_eq!(distribution(&["1", "2"], &[&[("Я", 1.0)]], "1"), None);
        assert_eq!(distribution(&["1", "2"], &[&[("1", 0.0)]], "1"), None); // minus infinity
        assert_eq!(distribution(&[], &[&[("1", 1.0)]], "1"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_input_sums_to_one(
            labels in proptest::collection::vec("[0-2]{1,3}", 0..6),
            positions in proptest::collection::vec(proptest::collection::vec(("[ 0-2.]{0,3}", -50f32..=0.0), 0..5), 0..4),
            answer in "[0-2]{0,3}",
        ) {
            if let Some(masses) = choice_distribution(&labels, &positions, &answer) {
                assert_eq!(masses.len(), labels.len());
                assert!((masses.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{masses:?}");
                assert!(masses.iter().all(|mass| (0.0..=1.0001).contains(mass)));
            }
        }
    }
}
