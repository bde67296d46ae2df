//! Gradient-boosted regression trees: a row of numbers comes in, a probability leaves.

use serde::{Deserialize, Serialize};

/// A step of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Node {
    /// Goes left where the feature is at most the limit, right otherwise. Children stand later in the tree.
    Split {
        /// Column of the row.
        feature: u16,
        /// Greatest value that goes left.
        limit: f32,
        /// Node for values up to the limit.
        left: u16,
        /// Node for values past it.
        right: u16,
    },
    /// Ends with this addition to the log-odds.
    Leaf(f32),
}

/// A sum of trees over a first guess.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trees {
    /// Log-odds before the first tree.
    pub start: f32,
    /// Trees, each with its root first.
    pub trees: Vec<Vec<Node>>,
}

impl Trees {
    /// Returns the log-odds of a row; a missing column counts as 0.
    pub fn log_odds(&self, row: &[f32]) -> f32 {
        self.start + self.trees.iter().map(|tree| answer(tree, row)).sum::<f32>()
    }

    /// Returns the probability of a row, in `(0, 1)`.
    pub fn probability(&self, row: &[f32]) -> f32 {
        1.0 / (1.0 + (-self.log_odds(row)).exp())
    }

    /// Tells whether every child exists and stands after its parent, so that each walk ends in a leaf.
    pub fn is_sound(&self) -> bool {
        self.trees.iter().all(|tree| {
            !tree.is_empty()
                && tree.iter().enumerate().all(|(at, node)| match *node {
                    Node::Leaf(_) => true,
                    Node::Split { left, right, .. } => {
                        [left, right].iter().all(|&child| usize::from(child) > at && usize::from(child) < tree.len())
                    }
                })
        })
    }
}

/// Walks one tree down to its leaf.
pub fn answer(tree: &[Node], row: &[f32]) -> f32 {
    let mut at = 0;
    while let Some(node) = tree.get(at) {
        match *node {
            Node::Leaf(value) => return value,
            Node::Split { feature, limit, left, right } => {
                let value = row.get(usize::from(feature)).copied().unwrap_or_default();
                at = usize::from(if value <= limit { left } else { right });
            }
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_to_the_leaf_and_notices_loops() {
        let split = |left, right| Node::Split { feature: 1, limit: 0.5, left, right };
        let trees = Trees { start: 0.5, trees: vec![vec![split(1, 2), Node::Leaf(-1.0), Node::Leaf(2.0)]] };
        assert!(trees.is_sound());
        assert_eq!((trees.log_odds(&[0.0, 0.5]), trees.log_odds(&[0.0, 0.6])), (-0.5, 2.5));
        assert!(!Trees { start: 0.0, trees: vec![vec![split(0, 1), Node::Leaf(0.0)]] }.is_sound());
        assert!(!Trees { start: 0.0, trees: vec![vec![split(1, 2), Node::Leaf(0.0)]] }.is_sound());
    }
}
