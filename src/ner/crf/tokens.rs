//! Text comes in, tokens leave: each with its place and the hashes of its parts that features are made of.

/// Bytes of text that are tokenised and labelled at once: bounds memory, far above any ordinary document.
const WINDOW_BYTES: usize = 16 * 1024;

/// How a token is written. A sign stands for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writing(u32);

impl Writing {
    /// Lower-case letters.
    pub const LOWER: Self = Self(1);
    /// A capital, then lower-case letters; or a single capital.
    pub const TITLE: Self = Self(2);
    /// Several capitals.
    pub const UPPER: Self = Self(3);
    /// Latin letters.
    pub const LATIN: Self = Self(4);
    /// Digits.
    pub const DIGITS: Self = Self(5);
    /// A line break.
    pub const NEWLINE: Self = Self(6);
    /// Before the first token.
    pub const START: Self = Self(7);
    /// After the last token.
    pub const END: Self = Self(8);

    /// A character that is neither letter nor digit.
    pub fn sign(c: char) -> Self {
        Self(u32::from(c))
    }

    /// Returns a number that differs between ways of writing.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Tells whether the token consists of letters or digits.
    pub fn is_word(self) -> bool {
        (1..=5).contains(&self.0)
    }

    /// Tells whether the token is this sign.
    pub fn is(self, c: char) -> bool {
        self.0 == u32::from(c)
    }

    /// Tells whether no mention begins or ends with such a token.
    pub fn never_at_edge(self) -> bool {
        self == Self::NEWLINE || ".,;:?!".chars().any(|c| self.is(c))
    }
}

/// A word, number, sign or line break of a text. Hashes are of the lower-case form, ё as е, digits as zeros.
#[derive(Debug, Clone)]
pub struct Token {
    /// First byte in the text.
    pub start_byte: usize,
    /// One past the last byte.
    pub end_byte: usize,
    /// How it is written.
    pub writing: Writing,
    /// Hash of the whole form.
    pub word: u64,
    /// Hashes of the first 3, 4, 5, 6 characters; of the whole form where that is no longer.
    pub prefixes: [u64; 4],
    /// Hashes of the last 2, 3, 4 characters; of the whole form where that is no longer.
    pub suffixes: [u64; 3],
    /// Hash of the sequence of capitals, small letters and digits.
    pub shape: u64,
    /// Number of characters, at most 255.
    pub length: u8,
    /// Characters between the token before and this one, at most 2.
    pub blanks_before: u8,
}

impl Token {
    /// The token that stands before the first (`START`) or after the last (`END`) one.
    pub fn edge(writing: Writing) -> Self {
        let word = hash(&[u64::from(writing.number())]);
        Self {
            start_byte: 0,
            end_byte: 0,
            writing,
            word,
            prefixes: [word; 4],
            suffixes: [word; 3],
            shape: word,
            length: 1,
            blanks_before: 0,
        }
    }

    /// Returns the hash of the first five characters, which serves as the word's stem.
    pub fn stem(&self) -> u64 {
        self.prefixes[2]
    }
}

/// Hashes a sequence of numbers to 64 bits (the mixer of SplitMix64 after each).
pub fn hash(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |state, &part| mix(state, part))
}

/// Adds one number to a hash.
#[inline]
pub fn mix(state: u64, part: u64) -> u64 {
    let mut mixed = (state ^ part).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^= mixed >> 31;
    mixed.wrapping_add(0x94d0_49bb_1331_11eb).wrapping_mul(0x94d0_49bb_1331_11eb)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Blank,
    Newline,
    Capital,
    Small,
    Latin,
    Letter,
    Digit,
    Sign,
}

fn class(c: char) -> Class {
    match c {
        '\n' => Class::Newline,
        'А'..='Я' | 'Ё' => Class::Capital,
        // Combining marks stay with the letter they follow.
        'а'..='я' | 'ё' | '\u{300}'..='\u{36f}' => Class::Small,
        'a'..='z' | 'A'..='Z' => Class::Latin,
        c if c.is_whitespace() => Class::Blank,
        c if c.is_alphabetic() => Class::Letter,
        c if c.is_numeric() => Class::Digit,
        _ => Class::Sign,
    }
}

/// Whether a character of class `next` goes on with a token whose last character is of class `last`.
fn continues(last: Class, next: Class, last_char: char, next_char: char) -> bool {
    match (last, next) {
        (Class::Capital, Class::Capital | Class::Small) | (Class::Small, Class::Small) => true,
        (Class::Latin, Class::Latin) => last_char.is_uppercase() || next_char.is_lowercase(),
        (Class::Letter, Class::Letter) | (Class::Digit, Class::Digit) => true,
        _ => false,
    }
}

/// Cuts a text into windows that are labelled one by one: at a line break or blank where there is one, the whole text
/// in one piece unless it is very long. Returns the byte ranges in order; together they cover the text.
pub fn windows(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    while text.len() - start > WINDOW_BYTES {
        let limit = (start + 1..=start + WINDOW_BYTES).rev().find(|&at| text.is_char_boundary(at));
        let limit = limit.unwrap_or(text.len());
        let piece = &text[start..limit];
        let inner = |at: &usize| *at > 0;
        let cut = piece.rfind('\n').filter(inner).or_else(|| piece.rfind(char::is_whitespace).filter(inner));
        let end = cut.map_or(limit, |at| start + at);
        ranges.push(start..end);
        start = end;
    }
    ranges.push(start..text.len());
    ranges
}

/// Splits a piece of a text into tokens. `offset` is added to every place.
pub fn tokenise(piece: &str, offset: usize) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(piece.len() / 10 + 4);
    let mut normal = Vec::new();
    let mut characters = piece.char_indices().peekable();
    let mut blanks = 0u8;
    while let Some((start, first)) = characters.next() {
        let kind = class(first);
        if kind == Class::Blank {
            blanks = (blanks + 1).min(2);
            continue;
        }
        let (mut last_class, mut last_char) = (kind, first);
        let (mut end, mut shape) = (start + first.len_utf8(), Shape::default());
        normal.clear();
        normal.extend(first.to_lowercase().map(fold));
        shape.push(first);
        let mut capitals = u32::from(first.is_uppercase());
        let mut small = u32::from(first.is_lowercase());
        while let Some(&(at, next)) = characters.peek() {
            let next_class = class(next);
            if !continues(last_class, next_class, last_char, next) {
                break;
            }
            characters.next();
            normal.extend(next.to_lowercase().map(fold));
            shape.push(next);
            capitals += u32::from(next.is_uppercase());
            small += u32::from(next.is_lowercase());
            (last_class, last_char, end) = (next_class, next, at + next.len_utf8());
        }
        let writing = writing(kind, first, capitals, small);
        if writing == Writing::DIGITS {
            let zeros = normal.len().min(4);
            normal.clear();
            normal.resize(zeros, '0');
        }
        tokens.push(token(&normal, writing, shape.hash, offset + start..offset + end, blanks));
        blanks = 0;
    }
    tokens
}

/// How a token is written that starts with `first`, of class `kind`, and has so many capitals and small letters.
fn writing(kind: Class, first: char, capitals: u32, small: u32) -> Writing {
    match kind {
        Class::Newline => Writing::NEWLINE,
        Class::Digit => Writing::DIGITS,
        Class::Latin => Writing::LATIN,
        Class::Sign | Class::Blank => Writing::sign(first),
        _ if capitals > 1 && small == 0 => Writing::UPPER,
        _ if first.is_uppercase() => Writing::TITLE,
        _ => Writing::LOWER,
    }
}

fn fold(c: char) -> char {
    if c == 'ё' { 'е' } else { c }
}

fn token(normal: &[char], writing: Writing, shape: u64, place: std::ops::Range<usize>, blanks_before: u8) -> Token {
    let of = |part: &[char]| part.iter().fold(part.len() as u64, |state, &c| mix(state, u64::from(c)));
    let count = normal.len();
    Token {
        start_byte: place.start,
        end_byte: place.end,
        writing,
        word: of(normal),
        prefixes: [3, 4, 5, 6].map(|length| of(&normal[..count.min(length)])),
        suffixes: [2, 3, 4].map(|length: usize| of(&normal[count.saturating_sub(length)..])),
        shape,
        length: u8::try_from(count).unwrap_or(u8::MAX),
        blanks_before,
    }
}

/// Hash of a token's first six shape marks, runs cut to two.
#[derive(Default)]
struct Shape {
    hash: u64,
    marks: u32,
    last: [u8; 2],
}

impl Shape {
    fn push(&mut self, c: char) {
        let mark = match c {
            c if c.is_uppercase() => 1,
            c if c.is_alphabetic() => 2,
            c if c.is_numeric() => 3,
            _ => 4,
        };
        if self.marks < 6 && self.last != [mark; 2] {
            self.hash = mix(self.hash, u64::from(mark));
            self.marks += 1;
            self.last = [self.last[1], mark];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        tokenise(text, 0).iter().map(|token| &text[token.start_byte..token.end_byte]).collect()
    }

    #[test]
    fn cuts_where_mentions_begin_and_end() {
        assert_eq!(words("ХСН 2ст.Отит"), ["ХСН", "2", "ст", ".", "Отит"]);
        assert_eq!(words("с-м\r\nHp+ АртритКолена"), ["с", "-", "м", "\n", "Hp", "+", "Артрит", "Колена"]);
        assert_eq!(words("и\u{306}од\0🫀"), ["и\u{306}од", "\0", "🫀"]);
        assert_eq!(words(" \t"), Vec::<&str>::new());
    }

    #[test]
    fn case_and_yo_make_no_difference_to_the_word() {
        let tokens = tokenise("Отёк отек ОТЕК", 0);
        assert!(tokens.iter().all(|token| token.word == tokens[0].word));
        assert_eq!(
            tokens.iter().map(|t| t.writing).collect::<Vec<_>>(),
            [Writing::TITLE, Writing::LOWER, Writing::UPPER]
        );
    }

    #[test]
    fn windows_cover_long_texts_and_keep_short_ones_whole() {
        assert_eq!(windows("Отит. Ринит."), vec![0..21; 1]);
        assert_eq!(windows(""), vec![0..0; 1]);
        for text in ["я".repeat(40_000), "диагноз отит\n".repeat(5_000), format!("отит\n{}", "ринит ".repeat(9_000))]
        {
            let ranges = windows(&text);
            assert!(ranges.iter().all(|range| range.len() <= WINDOW_BYTES));
            assert_eq!(ranges.iter().map(|range| &text[range.clone()]).collect::<String>(), text);
        }
    }
}
