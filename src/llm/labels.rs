//! Labels as token sequences come in; the model's distribution over them leaves.
//!
//! Labels share beginnings ("1" begins "10"), and a tokenizer may write one as several tokens, so the labels form a trie of
//! tokens. At each node with more than one way on, the probability of each way is read from the model: of its token, or, where
//! a label ends, of anything that is no way on (the stop token, a full stop, a line break). A label's probability is the
//! product along its path. The likeliest path is walked first, then those to nodes that enough probability leads to: the answers
//! 1 to 15 take one forward pass, or two where 1 is likely and the tokenizer has no token for each number.

use std::collections::BTreeMap;

/// A node of the trie: the tokens so far.
#[derive(Debug, Default)]
struct Node {
    children: BTreeMap<u32, usize>,
    /// Label that ends here.
    label: Option<usize>,
    /// Whether there is anything to choose here or below.
    open: bool,
}

/// Nodes below which less probability lies are not asked about: each of their ways gets the same share.
const LEAST: f64 = 0.01;

/// Labels by their tokens.
#[derive(Debug)]
pub struct LabelTrie {
    nodes: Vec<Node>,
    labels: usize,
}

impl LabelTrie {
    /// Builds the trie of `sequences`, one a label. `None` if one is empty or two are equal: then the tokenizer cannot tell the
    /// labels apart.
    pub fn new(sequences: &[Vec<u32>]) -> Option<Self> {
        let mut nodes = vec![Node::default()];
        for (label, sequence) in sequences.iter().enumerate() {
            let mut at = 0;
            for &token in sequence {
                let next = nodes.len();
                at = *nodes[at].children.entry(token).or_insert(next);
                if at == next {
                    nodes.push(Node::default());
                }
            }
            if sequence.is_empty() || nodes[at].label.replace(label).is_some() {
                return None;
            }
        }
        let mut trie = Self { nodes, labels: sequences.len() };
        // A child has a higher number than its parent.
        for node in (0..trie.nodes.len()).rev() {
            let below = trie.nodes[node].children.values().any(|&child| trie.nodes[child].open);
            trie.nodes[node].open = below || trie.branches(node);
        }
        Some(trie)
    }

    /// Returns the node that `path` leads to.
    pub fn node(&self, path: &[u32]) -> Option<usize> {
        path.iter().try_fold(0, |node, token| self.nodes[node].children.get(token).copied())
    }

    /// Tells whether there is more than one way on.
    pub fn branches(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        node.children.len() + usize::from(node.label.is_some()) > 1
    }

    /// Returns the most tokens that a path from the root to a node with something to choose has.
    pub fn depth(&self) -> usize {
        let mut deepest = 0;
        let mut open = vec![(0, 0)];
        while let Some((node, depth)) = open.pop() {
            deepest = deepest.max(depth);
            let children = self.nodes[node].children.values().filter(|&&child| self.nodes[child].open);
            open.extend(children.map(|&child| (child, depth + 1)));
        }
        deepest
    }

    /// Returns the path to the node that is to be read next, or `None` if enough is known.
    pub fn next(&self, read: &Read) -> Option<Vec<u32>> {
        let mut likeliest: Option<(f64, Vec<u32>)> = None;
        let mut open = vec![(0, 1.0, Vec::new())];
        while let Some((node, mass, path)) = open.pop() {
            if self.branches(node) && !read.contains_key(&node) {
                if likeliest.as_ref().is_none_or(|(most, _)| mass > *most) {
                    likeliest = Some((mass, path));
                }
                continue;
            }
            for (way, share) in self.ways(node, read) {
                if let Way::On(token, child) = way
                    && self.nodes[child].open
                {
                    open.push((child, mass * share, [path.as_slice(), &[token]].concat()));
                }
            }
        }
        likeliest.filter(|(mass, _)| *mass >= LEAST).map(|(_, path)| path)
    }

    /// Returns the likeliest token on from a node that was read, or has one way on; `None` where nothing is left to choose on that way.
    pub fn onward(&self, node: usize, read: &Read) -> Option<(u32, usize)> {
        match self.ways(node, read).into_iter().max_by(|a, b| a.1.total_cmp(&b.1)) {
            Some((Way::On(token, child), _)) if self.nodes[child].open => Some((token, child)),
            _ => None,
        }
    }

    /// Reads the shares of the ways on from node `node` out of a row of log-probabilities.
    pub fn shares(&self, node: usize, row: &[f32]) -> Shares {
        let of = |token: u32| row.get(token as usize).map_or(0.0, |log| f64::from(*log).exp());
        let mut ways: Vec<(Way, f64)> =
            self.nodes[node].children.iter().map(|(&token, &child)| (Way::On(token, child), of(token))).collect();
        if self.nodes[node].label.is_some() {
            let on: f64 = ways.iter().map(|(_, share)| share).sum();
            ways.push((Way::End, (1.0 - on).max(0.0)));
        }
        let total: f64 = ways.iter().map(|(_, share)| share).sum();
        let even = 1.0 / ways.len().max(1) as f64;
        ways.into_iter().map(|(way, share)| (way, if total > 0.0 { share / total } else { even })).collect()
    }

    /// Multiplies the shares along each label's path.
    pub fn distribution(&self, read: &Read) -> Vec<f32> {
        let mut shares = vec![0.0; self.labels];
        let mut open = vec![(0, 1.0)];
        while let Some((node, mass)) = open.pop() {
            for (way, share) in self.ways(node, read) {
                match way {
                    Way::On(_, child) => open.push((child, mass * share)),
                    Way::End => shares[self.nodes[node].label.unwrap_or(0)] += mass * share,
                }
            }
        }
        shares.into_iter().map(|share: f64| share as f32).collect()
    }

    /// Returns the ways on from a node with the shares that were read, else with even ones.
    fn ways(&self, node: usize, read: &Read) -> Shares {
        read.get(&node).cloned().unwrap_or_else(|| {
            let Node { children, label, .. } = &self.nodes[node];
            let on = children.iter().map(|(&token, &child)| Way::On(token, child));
            let all: Vec<Way> = on.chain(label.map(|_| Way::End)).collect();
            let even = 1.0 / all.len().max(1) as f64;
            all.into_iter().map(|way| (way, even)).collect()
        })
    }
}

/// A way on from a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Way {
    /// By a token to another node.
    On(u32, usize),
    /// A label ends.
    End,
}

/// Ways on from a node, and the probability of each.
pub type Shares = Vec<(Way, f64)>;

/// What was read, by the node.
pub type Read = BTreeMap<usize, Shares>;

/// Returns the natural logarithm of the softmax of `logits`.
pub fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    let total = most + sum.ln() as f32;
    logits.iter().map(|logit| logit - total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens: a digit is its own value.
    fn digits(labels: &[&str]) -> LabelTrie {
        let tokens = |label: &&str| label.bytes().map(|byte| u32::from(byte - b'0')).collect();
        LabelTrie::new(&labels.iter().map(tokens).collect::<Vec<_>>()).unwrap()
    }

    fn log<const N: usize>(shares: [f64; N]) -> [f32; N] {
        shares.map(|share| share.ln() as f32)
    }

    #[test]
    fn one_begins_ten() {
        let trie = digits(&["1", "2", "10", "12"]);
        // Root: 1 has 0.6, 2 has 0.2, the rest goes elsewhere. After 1: 0 has 0.25, 2 has 0.15, 0.6 end the answer.
        let mut read = Read::new();
        assert_eq!(trie.next(&read), Some(vec![]));
        read.insert(0, trie.shares(0, &log([0.1, 0.6, 0.2, 0.1])));
        assert_eq!((trie.next(&read), trie.onward(0, &read)), (Some(vec![1]), Some((1, 1))));
        read.insert(1, trie.shares(1, &log([0.25, 0.3, 0.15, 0.3])));
        assert_eq!((trie.next(&read), trie.onward(1, &read)), (None, None));
        // 1: 0.75 · 0.6; 2: 0.25; 10: 0.75 · 0.25; 12: 0.75 · 0.15
        for (share, expected) in trie.distribution(&read).iter().zip([0.45, 0.25, 0.1875, 0.1125]) {
            assert!((share - expected).abs() < 1e-6, "{read:?}");
        }
    }

    #[test]
    fn unlikely_branches_are_not_walked_and_share_evenly() {
        let trie = digits(&["0", "134", "135", "2"]);
        let read = Read::from([(0, trie.shares(0, &log([0.6, 0.004, 0.396])))]);
        assert_eq!((trie.next(&read), trie.onward(0, &read)), (None, None));
        for (share, expected) in trie.distribution(&read).iter().zip([0.6, 0.002, 0.002, 0.396]) {
            assert!((share - expected).abs() < 1e-6, "{read:?}");
        }
        // Where more leads to, the way to the node below is walked, past the one that has one way on only.
        let read = Read::from([(0, trie.shares(0, &log([0.3, 0.5, 0.2])))]);
        assert_eq!((trie.next(&read), trie.onward(0, &read)), (Some(vec![1, 3]), Some((1, 2))));
        assert_eq!(trie.depth(), 2);
    }

    #[test]
    fn one_label_needs_no_reading_and_equal_ones_are_refused() {
        assert_eq!(digits(&["7"]).next(&Read::new()), None);
        assert_eq!(digits(&["7"]).distribution(&Read::new()), [1.0]);
        assert!(LabelTrie::new(&[vec![1], vec![1]]).is_none() && LabelTrie::new(&[vec![]]).is_none());
    }

    #[test]
    fn a_model_that_gives_no_label_any_share_is_told_nothing_about_them() {
        let trie = digits(&["1", "2"]);
        let read = Read::from([(0, trie.shares(0, &[0.0, f32::NEG_INFINITY, f32::NEG_INFINITY]))]);
        assert_eq!(trie.distribution(&read), [0.5, 0.5]);
    }
}
