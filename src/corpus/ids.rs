//! Ids of documents: their order, and which of them were seen.

use std::{cmp::Ordering, collections::HashSet};

use xxhash_rust::xxh3::xxh3_64;

/// Compares two ids as people do: runs of digits by their value (`9` before `10`), all else character by character.
pub(super) fn natural_order(left: &str, right: &str) -> Ordering {
    let (mut a, mut b) = (left, right);
    while let (Some(x), Some(y)) = (a.chars().next(), b.chars().next()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (digits_a, digits_b) = (take_digits(&mut a), take_digits(&mut b));
            digits_a.len().cmp(&digits_b.len()).then_with(|| digits_a.cmp(digits_b))
        } else {
            a = &a[x.len_utf8()..];
            b = &b[y.len_utf8()..];
            x.cmp(&y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len()).then_with(|| left.cmp(right))
}

/// Cuts the leading digits off `text` and returns them without leading zeros.
fn take_digits<'t>(text: &mut &'t str) -> &'t str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    digits.trim_start_matches('0')
}

/// A set of ids that takes no memory for ids that count up by one, and nine bytes or so for any other.
#[derive(Debug, Default)]
pub(crate) struct IdSet {
    /// Numbers from `first` up to and without `end`.
    first: u64,
    end: u64,
    hashes: HashSet<u64>,
}

impl IdSet {
    /// Adds an id; `false` if it was there.
    pub(crate) fn insert(&mut self, id: &str) -> bool {
        let Some(number) = plain_number(id) else { return self.hashes.insert(xxh3_64(id.as_bytes())) };
        if self.contains(id) {
            return false;
        }
        if self.first == self.end {
            (self.first, self.end) = (number, number + 1);
        } else if number == self.end {
            self.end += 1;
        } else {
            self.hashes.insert(xxh3_64(id.as_bytes()));
        }
        true
    }

    /// Tells whether an id was added.
    pub(crate) fn contains(&self, id: &str) -> bool {
        plain_number(id).is_some_and(|number| (self.first..self.end).contains(&number))
            || self.hashes.contains(&xxh3_64(id.as_bytes()))
    }
}

/// The value of an id that is a number written in the one usual way.
fn plain_number(id: &str) -> Option<u64> {
    let usual = id.len() < 19 && id.bytes().all(|byte| byte.is_ascii_digit()) && (id == "0" || !id.starts_with('0'));
    usual.then(|| id.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_sort_by_value() {
        let mut ids = ["10", "9", "note-2", "note-10", "02", "2", "a", "note-1b", "Ё"];
        ids.sort_by(|a, b| natural_order(a, b));
        assert_eq!(ids, ["02", "2", "9", "10", "a", "note-1b", "note-2", "note-10", "Ё"]);
    }

    #[test]
    fn counting_up_takes_no_memory() {
        let mut set = IdSet::default();
        assert!((5..10_000).all(|number: u32| set.insert(&number.to_string())));
        assert!(set.hashes.is_empty());
        assert!(!set.insert("77") && set.insert("3") && !set.insert("3") && set.insert("077"));
    }

    proptest! {
        #[test]
        fn set_agrees_with_a_plain_one(ids in proptest::collection::vec("[0-3]{0,3}|a", 0..40)) {
            let (mut set, mut plain) = (IdSet::default(), HashSet::new());
            for id in ids {
                prop_assert_eq!(set.insert(&id), plain.insert(id.clone()), "{}", id);
                prop_assert!(set.contains(&id));
            }
        }

        #[test]
        fn order_is_total(a in "[a0-2]{0,5}", b in "[a0-2]{0,5}", c in "[a0-2]{0,5}") {
            prop_assert_eq!(natural_order(&a, &b), natural_order(&b, &a).reverse());
            prop_assert_eq!(natural_order(&a, &b) == Ordering::Equal, a == b);
            if natural_order(&a, &b).is_le() && natural_order(&b, &c).is_le() {
                prop_assert!(natural_order(&a, &c).is_le());
            }
        }
    }
}
