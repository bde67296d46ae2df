//! Cuts long texts into overlapping windows: a number of word pieces comes in, windows leave, of which each piece is kept once.

use std::ops::Range;

/// A window over a text's word pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Pieces that the model sees together.
    pub pieces: Range<usize>,
    /// Pieces that are decided here, because no other window gives them more context on their poorer side. The kept pieces of all windows
    /// are the whole text, each once.
    pub kept: Range<usize>,
}

/// Lays windows of at most `size` pieces over `count` pieces, neighbours sharing `size / 4` or, at the end, more.
pub fn windows(count: usize, size: usize) -> Vec<Window> {
    let size = size.max(1);
    if count <= size {
        return vec![Window { pieces: 0..count, kept: 0..count }];
    }
    let stride = (size - size / 4).max(1);
    // The last window ends with the text, so that it is as long as the others.
    let starts: Vec<usize> = (0..count - size).step_by(stride).chain([count - size]).collect();
    let mut kept_until = 0;
    let window = |(number, &start): (usize, &usize)| {
        let end = start + size;
        let until = starts.get(number + 1).map_or(count, |next| (next + end).div_ceil(2));
        let kept = kept_until..until;
        kept_until = until;
        Window { pieces: start..end, kept }
    };
    starts.iter().enumerate().map(window).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_text_is_one_window() {
        assert_eq!(windows(8, 8), [Window { pieces: 0..8, kept: 0..8 }]);
        assert_eq!(windows(0, 8), [Window { pieces: 0..0, kept: 0..0 }]);
    }

    #[test]
    fn an_overlap_is_divided_in_its_middle() {
        let expected = [(0..8, 0..7), (6..14, 7..13), (11..19, 13..19)];
        assert_eq!(windows(19, 8), expected.map(|(pieces, kept)| Window { pieces, kept }));
    }

    proptest! {
        #[test]
        fn each_piece_is_kept_once_where_it_has_most_context(count in 0usize..300, size in 1usize..40) {
            let windows = windows(count, size);
            let kept: Vec<usize> = windows.iter().flat_map(|window| window.kept.clone()).collect();
            prop_assert_eq!(kept, (0..count).collect::<Vec<_>>());
            let context = |window: &Window, piece: usize| {
                let before = if window.pieces.start == 0 { count } else { piece - window.pieces.start };
                let after = if window.pieces.end == count { count } else { window.pieces.end - 1 - piece };
                before.min(after)
            };
            for window in &windows {
                prop_assert!(window.pieces.len() <= size);
                for piece in window.kept.clone() {
                    prop_assert!(window.pieces.contains(&piece));
                    let others = windows.iter().filter(|other| other.pieces.contains(&piece));
                    let best = others.map(|other| context(other, piece)).max().unwrap();
                    prop_assert!(context(window, piece) + 1 >= best, "{} {:?}", piece, window);
                }
            }
        }
    }
}
