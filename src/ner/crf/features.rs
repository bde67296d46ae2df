//! Tokens come in, the keys of each token's features leave: 32-bit hashes, no strings.

use super::tokens::{Token, Writing, hash, mix};

/// Key of the one feature of a boundary between documents.
pub const BOUNDARY: u32 = 1;

/// Where a token stands in its line and sentence.
#[derive(Debug, Clone, Copy)]
struct Position {
    in_line: u64,
    in_sentence: u64,
    in_brackets: bool,
    last_sign: u32,
}

fn positions(tokens: &[Token]) -> Vec<Position> {
    let mut now = Position { in_line: 0, in_sentence: 0, in_brackets: false, last_sign: Writing::START.number() };
    tokens
        .iter()
        .map(|token| {
            let here = now;
            let writing = token.writing;
            now.in_line = (now.in_line + 1).min(4);
            now.in_sentence = (now.in_sentence + 1).min(4);
            if writing == Writing::NEWLINE {
                now.in_line = 0;
            }
            if writing == Writing::NEWLINE || ".;!?".chars().any(|c| writing.is(c)) {
                now.in_sentence = 0;
            }
            now.in_brackets = writing.is('(') || (now.in_brackets && !writing.is(')'));
            if !writing.is_word() {
                now.last_sign = writing.number();
            }
            here
        })
        .collect()
}

/// Features of one text's tokens.
pub struct Features<'a> {
    tokens: &'a [Token],
    positions: Vec<Position>,
    edges: [Token; 2],
}

impl<'a> Features<'a> {
    /// Looks over the tokens once.
    pub fn new(tokens: &'a [Token]) -> Self {
        let edges = [Token::edge(Writing::START), Token::edge(Writing::END)];
        Self { tokens, positions: positions(tokens), edges }
    }

    fn at(&self, index: usize, offset: isize) -> &Token {
        match index.checked_add_signed(offset) {
            None => &self.edges[0],
            Some(at) => self.tokens.get(at).unwrap_or(&self.edges[1]),
        }
    }

    /// Calls `emit` with the key of each feature of token `index`.
    pub fn visit(&self, index: usize, emit: &mut impl FnMut(u32)) {
        let mut out = Emitter { template: 1, emit };
        let near = [-2, -1, 0, 1, 2].map(|offset| self.at(index, offset));
        emit_words(&mut out, &near);
        emit_parts(&mut out, &near);
        emit_mixtures(&mut out, &near);
        let place = self.positions[index];
        let gap_after = if index + 1 < self.tokens.len() { near[3].blanks_before.into() } else { 9 };
        out.one(u64::from(near[2].blanks_before));
        out.one(gap_after);
        out.one(place.in_line);
        out.one(place.in_sentence);
        out.one(place.in_brackets.into());
        out.one(place.last_sign.into());
        out.one(u64::from(near[2].length.min(6)));
    }
}

/// Gives each template its own number, so that equal words in different places are different features.
struct Emitter<'f, F> {
    template: u64,
    emit: &'f mut F,
}

impl<F: FnMut(u32)> Emitter<'_, F> {
    fn skip(&mut self) {
        self.template += 1;
    }

    fn one(&mut self, part: u64) {
        let key = mix(mix(self.template.wrapping_mul(0x9e37_79b9_7f4a_7c15), part), 0) >> 32;
        // The low keys are kept for special features.
        (self.emit)((key as u32).max(16));
        self.template += 1;
    }

    fn all(&mut self, parts: &[u64]) {
        self.one(hash(parts));
    }
}

fn writing(token: &Token) -> u64 {
    token.writing.number().into()
}

/// Words and ways of writing in a window of five, alone and in pairs and triples.
fn emit_words<F: FnMut(u32)>(out: &mut Emitter<'_, F>, near: &[&Token; 5]) {
    out.one(0);
    for token in near {
        out.one(token.word);
        out.one(writing(token));
    }
    let [w0, w1, w2, w3, w4] = near.map(|token| token.word);
    for parts in [[w1, w2], [w2, w3], [w1, w3], [w0, w1], [w3, w4]] {
        out.all(&parts);
    }
    for parts in [[w1, w2, w3], [w0, w1, w2], [w2, w3, w4]] {
        out.all(&parts);
    }
    let [k0, k1, k2, k3, k4] = near.map(writing);
    for parts in [[k1, k2, k3], [k0, k1, k2], [k2, k3, k4]] {
        out.all(&parts);
    }
}

/// Beginnings and endings of the word and its neighbours, and the word's shape.
fn emit_parts<F: FnMut(u32)>(out: &mut Emitter<'_, F>, near: &[&Token; 5]) {
    let word = near[2];
    let long = word.length > 3 && word.writing.is_word() && word.writing != Writing::DIGITS;
    for (length, prefix) in (3..).zip(word.prefixes) {
        if long && word.length > length { out.one(prefix) } else { out.skip() }
    }
    for (length, suffix) in (2..).zip(word.suffixes) {
        if long && word.length > length { out.one(suffix) } else { out.skip() }
    }
    for (at, close) in [(1, true), (3, true), (0, false), (4, false)] {
        let token = near[at];
        let parts = [token.prefixes[1], token.suffixes[1], token.suffixes[0]];
        for part in if close { &parts[..] } else { &parts[2..] } {
            if token.length > 3 { out.one(*part) } else { out.skip() }
        }
    }
    out.one(word.shape);
    for at in [0, 1, 3, 4] {
        out.one(near[at].stem());
    }
    out.all(&[near[1].stem(), word.stem()]);
    out.all(&[word.stem(), near[3].stem()]);
}

/// The word with what is written around it, and endings with endings: agreement shows where a phrase goes on.
fn emit_mixtures<F: FnMut(u32)>(out: &mut Emitter<'_, F>, near: &[&Token; 5]) {
    let [_, before, word, after, second] = near;
    out.all(&[word.word, writing(after)]);
    out.all(&[writing(before), word.word]);
    out.all(&[word.word, writing(after), writing(second)]);
    out.all(&[writing(before), after.word]);
    let endings = near.map(|token| token.suffixes[0]);
    out.all(&[endings[2], after.word]);
    out.all(&[before.word, endings[2]]);
    out.all(&[endings[1], endings[2]]);
    out.all(&[endings[2], endings[3]]);
    out.all(&[endings[1], endings[2], endings[3]]);
}

#[cfg(test)]
mod tests {
    use super::{super::tokens::tokenise, *};

    fn keys(text: &str, index: usize) -> Vec<u32> {
        let tokens = tokenise(text, 0);
        let mut keys = Vec::new();
        Features::new(&tokens).visit(index, &mut |key| keys.push(key));
        keys
    }

    #[test]
    fn the_same_surroundings_give_the_same_features_anywhere() {
        let here = keys("Отит. Хронический гастрит, обострение", 3);
        let there = keys("Ринит. Хронический гастрит, обострение", 3);
        assert_eq!(here.len(), there.len());
        let same = here.iter().zip(&there).filter(|(a, b)| a == b).count();
        assert_eq!(same, here.len(), "only the third word to the left differs, which no feature sees");
        assert!(here.iter().all(|&key| key != BOUNDARY));
    }

    #[test]
    fn no_two_templates_share_keys() {
        let mut keys = keys("а а а а а", 2);
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
