//! Spans that the CRF proposes come in, one row of numbers a span leaves, from which trees judge whether it is a mention.

use super::{
    lattice::{MAX_SPAN_TOKENS, SpanProbability},
    statistics::{PhraseCounts, Statistics, WordCounts, phrase_keys},
    tokens::{Token, Writing},
};

/// Numbers in a row.
pub const COLUMNS: usize = 68;

/// Strength of the prior in a smoothed share: as many imagined cases.
const PRIOR_CASES: f32 = 2.0;

/// What stands for a share that no training text tells anything about.
const UNKNOWN: f32 = -1.0;

/// A text, the spans proposed in it, and what is known of its words.
pub struct Judged<'a> {
    /// Tokens of the text.
    pub tokens: &'a [Token],
    /// Spans as `span_probabilities` gives them.
    pub spans: &'a [SpanProbability],
    statistics: &'a Statistics,
    words: Vec<[WordCounts; 3]>,
    phrases: Vec<Vec<[PhraseCounts; 2]>>,
    edges: [Token; 2],
}

fn share(part: u16, all: u16, prior: f32) -> f32 {
    (f32::from(part) + PRIOR_CASES * prior) / (f32::from(all) + PRIOR_CASES)
}

fn known_share(counts: PhraseCounts) -> f32 {
    if counts.all == 0 { UNKNOWN } else { share(counts.mentions, counts.all, 0.4) }
}

impl<'a> Judged<'a> {
    /// Looks up every word and phrase of the text once.
    pub fn new(tokens: &'a [Token], spans: &'a [SpanProbability], statistics: &'a Statistics) -> Self {
        let phrases_at = |first| phrase_keys(tokens, first).map(|keys| keys.map(|k| statistics.phrase(k))).collect();
        Self {
            tokens,
            spans,
            statistics,
            words: tokens.iter().map(|token| statistics.word(token)).collect(),
            phrases: (0..tokens.len()).map(phrases_at).collect(),
            edges: [Token::edge(Writing::START), Token::edge(Writing::END)],
        }
    }

    /// Writes the row of span `at` (a position in `spans`) to `row`, `COLUMNS` numbers.
    pub fn row(&self, at: usize, row: &mut Vec<f32>) {
        row.clear();
        let span = self.spans[at];
        self.push_rivals(at, row);
        self.push_phrases(span.first, span.last, row);
        self.push_words(span.first, span.last, row);
        self.push_pairs(span.first, span.last, row);
        self.push_look(span.first, span.last, row);
        debug_assert_eq!(row.len(), COLUMNS);
    }

    /// The CRF's probability, and those of the spans that share tokens with this one.
    fn push_rivals(&self, at: usize, row: &mut Vec<f32>) {
        let own = self.spans[at];
        let (mut same_first, mut same_last, mut sum, mut most, mut within, mut around) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        let after = self.spans[at + 1..].iter().take_while(|other| other.first <= own.last);
        let before = self.spans[..at].iter().rev().take_while(|other| other.first + MAX_SPAN_TOKENS > own.first);
        for other in before.chain(after).filter(|other| other.last >= own.first) {
            let greater = |best: &mut f64| *best = best.max(other.probability);
            sum += other.probability;
            greater(&mut most);
            if other.first == own.first {
                greater(&mut same_first);
            }
            if other.last == own.last {
                greater(&mut same_last);
            }
            if other.first >= own.first && other.last <= own.last {
                greater(&mut within);
            }
            if other.first <= own.first && other.last >= own.last {
                greater(&mut around);
            }
        }
        let probability = own.probability.clamp(0.001, 0.999);
        let log_odds = (probability / (1.0 - probability)).ln();
        row.extend([log_odds, same_first, same_last, sum, most, within, around].map(|number| number as f32));
    }

    fn phrase(&self, first: usize, last: usize) -> [PhraseCounts; 2] {
        self.phrases.get(first).and_then(|from| from.get(last.wrapping_sub(first))).copied().unwrap_or_default()
    }

    /// How often the same words were a mention, and the same words with one less or one more at either end.
    fn push_phrases(&self, first: usize, last: usize, row: &mut Vec<f32>) {
        for counts in self.phrase(first, last) {
            row.extend([f32::from(counts.mentions), f32::from(counts.all), known_share(counts)]);
        }
        let by_stems = |first: usize, last: usize| known_share(self.phrase(first, last)[1]);
        row.push(if first < last { by_stems(first + 1, last) } else { -2.0 });
        row.push(if first < last { by_stems(first, last - 1) } else { -2.0 });
        row.push(first.checked_sub(1).map_or(-2.0, |before| by_stems(before, last)));
        row.push(if last + 1 < self.tokens.len() { by_stems(first, last + 1) } else { -2.0 });
    }

    fn counts(&self, at: Option<usize>) -> [WordCounts; 3] {
        at.and_then(|at| self.words.get(at)).copied().unwrap_or_default()
    }

    /// How often the first word begins, the last one ends, and the neighbours belong to, mentions.
    fn push_words(&self, first: usize, last: usize, row: &mut Vec<f32>) {
        let (before, after) = (self.counts(first.checked_sub(1)), self.counts(Some(last + 1)));
        let (head, tail) = (self.words[first], self.words[last]);
        row.push(share(head[0].begins, head[0].all, 0.2));
        row.push(share(tail[0].ends, tail[0].all, 0.2));
        row.push(share(before[0].inside, before[0].all, 0.3));
        row.push(share(after[0].inside, after[0].all, 0.3));
        row.push(share(before[0].ends, before[0].all, 0.2));
        row.push(share(after[0].begins, after[0].all, 0.2));
        row.extend(before.map(|counts| share(counts.leads_in, counts.before, 0.3)));
        row.push(f32::from(before[0].before));
        row.extend(after.map(|counts| share(counts.goes_on, counts.after, 0.3)));
        row.push(f32::from(after[0].after));
        let several = first < last;
        row.extend(head.map(|counts| if several { share(counts.leads_in, counts.before, 0.6) } else { 2.0 }));
        row.extend(tail.map(|counts| if several { share(counts.goes_on, counts.after, 0.6) } else { 2.0 }));
    }

    fn at(&self, index: Option<usize>, edge: usize) -> &Token {
        index.and_then(|index| self.tokens.get(index)).unwrap_or(&self.edges[edge])
    }

    /// What training texts have between the words at both ends, and the weakest joint within the span.
    fn push_pairs(&self, first: usize, last: usize, row: &mut Vec<f32>) {
        let left = self.statistics.pair(self.at(first.checked_sub(1), 0), &self.tokens[first]);
        let right = self.statistics.pair(&self.tokens[last], self.at(Some(last + 1), 1));
        row.extend([share(left.begins, left.all, 0.2), share(left.joined, left.all, 0.2)]);
        row.extend([share(right.ends, right.all, 0.2), share(right.joined, right.all, 0.2)]);
        row.extend([f32::from(left.all), f32::from(right.all)]);
        let joints = self.tokens[first..=last].windows(2).map(|two| {
            let pair = self.statistics.pair(&two[0], &two[1]);
            share(pair.joined, pair.all, 0.4)
        });
        row.push(joints.fold(2.0, f32::min));
    }

    /// Length, signs, ways of writing in and around the span, and its place in the text.
    fn push_look(&self, first: usize, last: usize, row: &mut Vec<f32>) {
        let inside = &self.tokens[first..=last];
        let count = |test: &dyn Fn(&Token) -> bool| inside.iter().filter(|token| test(token)).count() as f32;
        let sign = |c: char| move |token: &Token| token.writing.is(c);
        row.push(inside.len() as f32);
        row.push((self.tokens[last].end_byte - self.tokens[first].start_byte).min(1000) as f32);
        row.extend(['.', ',', '-', '/'].map(|c| count(&sign(c))));
        row.push(count(&sign('(')) - count(&sign(')')));
        row.push(count(&|token| token.writing == Writing::NEWLINE));
        row.push(count(&|token| token.writing == Writing::DIGITS));
        row.push(count(&|token| token.writing == Writing::UPPER));
        row.push(count(&|token| token.writing.is_word() && token.length == 1));
        row.extend([self.tokens[first].length, self.tokens[last].length].map(f32::from));
        let look = |index: Option<usize>, edge: usize| look(self.at(index, edge).writing);
        row.extend([first.checked_sub(2), first.checked_sub(1), Some(first)].map(|index| look(index, 0)));
        row.extend([last, last + 1, last + 2].map(|index| look(Some(index), 1)));
        row.extend([first, self.tokens.len() - last, self.tokens.len()].map(|number| number.min(200) as f32));
        row.push(f32::from(self.tokens[first].blanks_before));
        row.push(f32::from(self.at(Some(last + 1), 1).blanks_before));
    }
}

/// Numbers ways of writing so that alike ones are neighbours.
fn look(writing: Writing) -> f32 {
    const SIGNS: [char; 9] = ['-', '/', '(', ')', ':', ',', ';', '?', '.'];
    let plain = [Writing::LOWER, Writing::TITLE, Writing::UPPER, Writing::LATIN, Writing::DIGITS];
    if let Some(at) = plain.iter().position(|&one| one == writing) {
        return at as f32;
    }
    match SIGNS.iter().position(|&c| writing.is(c)) {
        Some(at) => 6.0 + at as f32,
        None if writing == Writing::NEWLINE => 15.0,
        None if writing == Writing::START || writing == Writing::END => 16.0,
        None => 5.0,
    }
}
