//! Examples for the masked language model: texts come in, windows of tokens leave.

use crate::{
    error::{Error, Result},
    nn::tokenizer::Tokenizer,
};

/// Tokens of one or several texts, special tokens between and around.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Window {
    pub ids: Vec<u32>,
    /// Number of the word that each token belongs to; `None` for special tokens.
    pub words: Vec<Option<u32>>,
}

/// Cuts texts into windows of at most `length` tokens, special tokens included: a long text into several, between words where it can be;
/// short ones, if `pack`, share a window.
///
/// # Errors
/// - [`Error::Artifact`] if the tokenizer has no tokens for a text's start and end; those of the tokenizer.
pub(super) fn cut(tokenizer: &Tokenizer, texts: &[&str], length: usize, pack: bool) -> Result<Vec<Window>> {
    let missing = |token: &str| Error::Artifact {
        what: "tokenizer",
        name: "(of the encoder)".into(),
        reason: format!("it has no {token} token"),
    };
    let specials = tokenizer.specials();
    let cls = specials.cls.ok_or_else(|| missing("[CLS]"))?;
    let sep = specials.sep.ok_or_else(|| missing("[SEP]"))?;
    let mut windows: Vec<Window> = Vec::new();
    for tokens in tokenizer.encode_batch(texts, usize::MAX)? {
        let content: Vec<(u32, u32)> =
            tokens.ids.iter().zip(&tokens.words).filter_map(|(&id, word)| Some((id, (*word)?))).collect();
        for part in parts(&content, length - 2) {
            let window = match windows.last_mut() {
                Some(last) if pack && last.ids.len() + part.len() < length => last,
                _ => {
                    windows.push(Window { ids: vec![cls], words: vec![None] });
                    let last = windows.len() - 1;
                    &mut windows[last]
                }
            };
            let first = window.words.iter().flatten().max().map_or(0, |&word| word + 1);
            let start = part.first().map_or(0, |&(_, word)| word);
            window.ids.extend(part.iter().map(|&(id, _)| id));
            window.words.extend(part.iter().map(|&(_, word)| Some(first + word - start)));
            window.ids.push(sep);
            window.words.push(None);
        }
    }
    Ok(windows)
}

/// Divides a text's tokens into parts of at most `most`, between words where a word is not longer than that.
fn parts(content: &[(u32, u32)], most: usize) -> Vec<&[(u32, u32)]> {
    let (mut parts, mut rest) = (Vec::new(), content);
    while rest.len() > most {
        let word = rest[most].1;
        let start = rest[..most].iter().rposition(|&(_, other)| other != word).map_or(most, |last| last + 1);
        let (part, others) = rest.split_at(start);
        parts.push(part);
        rest = others;
    }
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::tokenizer::Casing;

    fn tokenizer() -> Tokenizer {
        let pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "а", "##б", "в"].map(str::to_owned);
        let casing = Casing { lowercase: true, strip_accents: Some(false), chinese: true };
        Tokenizer::from_pieces(&pieces, casing).unwrap()
    }

    #[test]
    fn short_texts_share_a_window_and_words_are_numbered_through() {
        let windows = cut(&tokenizer(), &["абб в", "аб", "в"], 8, true).unwrap();
        assert_eq!(windows.len(), 2);
        assert_eq!(windows[0].ids, [2, 5, 6, 6, 7, 3]);
        assert_eq!(windows[1].ids, [2, 5, 6, 3, 7, 3]);
        assert_eq!(windows[1].words, [None, Some(0), Some(0), None, Some(1), None]);
        assert_eq!(cut(&tokenizer(), &["в", "", "аб"], 8, false).unwrap().len(), 2);
    }

    #[test]
    fn long_texts_are_cut_between_words() {
        let windows = cut(&tokenizer(), &["аб аб аб абббббббб"], 5, true).unwrap();
        let lengths: Vec<usize> = windows.iter().map(|window| window.ids.len()).collect();
        // 3 tokens fit: one word of two each time; the word of nine is cut.
        assert_eq!(lengths, [4, 4, 4, 5, 5, 5]);
        assert!(windows.iter().all(|window| window.words[1] == Some(0)));
    }
}
