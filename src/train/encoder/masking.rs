//! Which tokens of a window are hidden, and behind what.

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use serde::Serialize;

use super::windows::Window;
use crate::nn::tokenizer::Specials;

/// What is masked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MaskSettings {
    /// Share of the tokens that are to be guessed, between 0 and 1. Default 0.15.
    pub share: f64,
    /// Whether all pieces of a word are guessed together. Default true.
    pub whole_words: bool,
}

impl Default for MaskSettings {
    fn default() -> Self {
        Self { share: 0.15, whole_words: true }
    }
}

/// Token ids that masking needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids {
    pub mask: u32,
    /// Ids from this on are ordinary tokens.
    pub first: u32,
    /// One past the last ordinary token.
    pub end: u32,
}

impl Ids {
    /// Finds the ordinary tokens of a vocabulary: behind the special (and unused) ones, which come first; RoBERTa's mask comes last.
    pub fn of(mask: u32, specials: Specials, size: u32) -> Self {
        let is_last = mask + 1 == size;
        let others = [specials.cls, specials.sep, specials.pad, specials.unk].into_iter().flatten();
        let first = others.chain((!is_last).then_some(mask)).max().map_or(0, |id| id + 1);
        Self { mask, first, end: if is_last { mask } else { size } }
    }
}

/// Hides tokens of a window. Returns what the model sees, and the places that it has to guess, in order.
///
/// Of the tokens to guess 80 % become `[MASK]`, 10 % any token, 10 % stay.
///
/// # Source
/// Devlin et al. 2018, section 3.1: <https://arxiv.org/abs/1810.04805>; a new choice each epoch as in Liu et al. 2019: <https://arxiv.org/abs/1907.11692>.
pub(super) fn hide(window: &Window, settings: MaskSettings, ids: Ids, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut units: Vec<Vec<u32>> = Vec::new();
    let mut last = None;
    for (place, word) in window.words.iter().enumerate().filter_map(|(place, word)| Some((place as u32, (*word)?))) {
        match units.last_mut() {
            Some(unit) if settings.whole_words && last == Some(word) => unit.push(place),
            _ => units.push(vec![place]),
        }
        last = Some(word);
    }
    let tokens: usize = units.iter().map(Vec::len).sum();
    let wanted = ((tokens as f64 * settings.share).round() as usize).max(1);
    units.shuffle(&mut rng);
    let mut places: Vec<u32> = Vec::with_capacity(wanted);
    for unit in units {
        // The first is taken in any case: a window of one long word would have nothing to guess.
        if places.is_empty() || places.len() + unit.len() <= wanted {
            places.extend(unit);
        }
    }
    places.sort_unstable();
    let mut seen = window.ids.clone();
    for &place in &places {
        let draw = rng.random::<f64>();
        if draw < 0.8 {
            seen[place as usize] = ids.mask;
        } else if draw < 0.9 {
            seen[place as usize] = rng.random_range(ids.first..ids.end.max(ids.first + 1));
        }
    }
    (seen, places)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: Ids = Ids { mask: 4, first: 5, end: 100 };

    fn window() -> Window {
        let mut window = Window { ids: vec![2], words: vec![None] };
        for word in 0..400 {
            for _ in 0..1 + word % 3 {
                window.ids.push(5 + word % 90);
                window.words.push(Some(word));
            }
        }
        window.ids.push(3);
        window.words.push(None);
        window
    }

    #[test]
    fn hides_whole_words_in_the_shares_of_bert() {
        let window = window();
        let (seen, places) = hide(&window, MaskSettings::default(), IDS, 1);
        let tokens = window.ids.len() - 2;
        assert!((places.len() as f64 / tokens as f64 - 0.15).abs() < 0.01, "{} of {tokens}", places.len());
        for &place in &places {
            let word = window.words[place as usize];
            assert!(word.is_some(), "a special token is hidden");
            let whole = (0..window.ids.len() as u32).filter(|&p| window.words[p as usize] == word);
            assert!(whole.into_iter().all(|p| places.contains(&p)), "word {word:?} is hidden in part");
        }
        let masked = places.iter().filter(|&&place| seen[place as usize] == IDS.mask).count();
        assert!((masked as f64 / places.len() as f64 - 0.8).abs() < 0.1, "{masked} of {}", places.len());
        let untouched = (0..window.ids.len()).filter(|&place| !places.contains(&(place as u32)));
        assert!(untouched.into_iter().all(|place| seen[place] == window.ids[place]));
    }

    #[test]
    fn ordinary_tokens_lie_behind_the_special_ones() {
        let specials = |cls, pad, sep, unk| Specials {
            cls: Some(cls),
            pad: Some(pad),
            sep: Some(sep),
            unk: Some(unk),
            mask: None,
        };
        let bounds = |ids: Ids| (ids.first, ids.end);
        assert_eq!(bounds(Ids::of(103, specials(101, 0, 102, 100), 30_522)), (104, 30_522));
        assert_eq!(bounds(Ids::of(50_264, specials(0, 1, 2, 3), 50_265)), (4, 50_264));
    }

    #[test]
    fn a_seed_decides_all_and_one_word_is_enough() {
        let window = window();
        let one = |seed| hide(&window, MaskSettings { whole_words: false, ..MaskSettings::default() }, IDS, seed);
        assert_eq!(one(1), one(1));
        assert_ne!(one(1), one(2));
        let short = Window { ids: vec![2, 7, 8, 3], words: vec![None, Some(0), Some(0), None] };
        assert_eq!(hide(&short, MaskSettings::default(), IDS, 1).1, [1, 2]);
    }
}
