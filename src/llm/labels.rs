//! Labels as token sequences come in; the model's distribution over them leaves.
//!
//! Labels share beginnings ("1" begins "10"), and a tokenizer may write one as several tokens, so the labels form a trie of
//! tokens. At each node with more than one way on, the probability of each way is read from the model: of its token, or, where
//! a label ends, of anything that is no way on (the stop token, a full stop, a line break). A label's probability is the
//! product along its path. Each branching node costs a forward pass: the answers 1 to 9 one,
//! 1 to 15 two, or one where the tokenizer has a token for each number.

use std::collections::BTreeMap;

/// A node of the trie: the tokens so far.
#[derive(Debug, Default)]
struct Node {
    children: BTreeMap<u32, usize>,
    /// Label that ends here.
    label: Option<usize>,
}

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
        Some(Self { nodes, labels: sequences.len() })
    }

    /// Returns the node that `path` leads to.
    pub fn node(&self, path: &[u32]) -> Option<usize> {
        path.iter().try_fold(0, |node, token| self.nodes[node].children.get(token).copied())
    }

    pub fn branches(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        node.children.len() + usize::from(node.label.is_some()) > 1
    }

    /// Lists token paths from the root that together pass every branching node.
    pub fn walks(&self) -> Vec<Vec<u32>> {
        let mut walks = Vec::new();
        self.walk(0, &mut Vec::new(), &mut walks);
        if walks.is_empty() {
            walks.push(Vec::new());
        }
        walks
    }

    /// Adds the walks below `node`; tells whether any branching node lies at or below it.
    fn walk(&self, node: usize, path: &mut Vec<u32>, walks: &mut Vec<Vec<u32>>) -> bool {
        let mut deeper = false;
        for (&token, &child) in &self.nodes[node].children {
            path.push(token);
            deeper |= self.walk(child, path, walks);
            path.pop();
        }
        let branching = self.branches(node);
        if branching && !deeper {
            walks.push(path.clone());
        }
        branching || deeper
    }

    /// Reads the shares of the ways on from node `node` out of a row of log-probabilities.
    pub fn shares(&self, node: usize, row: &[f32]) -> Shares {
        let of = |token: u32| row.get(token as usize).map_or(0.0, |log| f64::from(*log).exp());
        let mut ways: Vec<(Way, f64)> =
            self.nodes[node].children.iter().map(|(&token, &child)| (Way::On(child), of(token))).collect();
        if self.nodes[node].label.is_some() {
            let on: f64 = ways.iter().map(|(_, share)| share).sum();
            ways.push((Way::End, (1.0 - on).max(0.0)));
        }
        let total: f64 = ways.iter().map(|(_, share)| share).sum();
        let even = 1.0 / ways.len().max(1) as f64;
        ways.into_iter().map(|(way, share)| (way, if total > 0.0 { share / total } else { even })).collect()
    }

    /// Multiplies the shares along each label's path; a node that was not read has one way on only.
    pub fn distribution(&self, read: &BTreeMap<usize, Shares>) -> Vec<f32> {
        let mut shares = vec![0.0; self.labels];
        let mut open = vec![(0, 1.0)];
        while let Some((node, mass)) = open.pop() {
            let all = self.nodes[node].children.values().map(|&child| Way::On(child));
            let only: Shares = all.chain(self.nodes[node].label.map(|_| Way::End)).map(|way| (way, 1.0)).collect();
            for &(way, share) in read.get(&node).unwrap_or(&only) {
                match way {
                    Way::On(child) => open.push((child, mass * share)),
                    Way::End => shares[self.nodes[node].label.unwrap_or(0)] += mass * share,
                }
            }
        }
        shares.into_iter().map(|share: f64| share as f32).collect()
    }
}

/// A way on from a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Way {
    /// To another node.
    On(usize),
    /// A label ends.
    End,
}

/// Ways on from a node, and the probability of each.
pub type Shares = Vec<(Way, f64)>;

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

    #[test]
    fn one_begins_ten() {
        let trie = digits(&["1", "2", "10", "12"]);
        assert_eq!(trie.walks(), [vec![1]]);
        let log = |shares: [f64; 4]| shares.map(|share| share.ln() as f32);
        // Root: 1 has 0.6, 2 has 0.2, the rest goes elsewhere. After 1: 0 has 0.25, 2 has 0.15, 0.6 end the answer.
        let read = BTreeMap::from([
            (0, trie.shares(0, &log([0.1, 0.6, 0.2, 0.1]))),
            (1, trie.shares(1, &log([0.25, 0.3, 0.15, 0.3]))),
        ]);
        let shares = trie.distribution(&read);
        // 1: 0.75 · 0.6; 2: 0.25; 10: 0.75 · 0.25; 12: 0.75 · 0.15
        for (share, expected) in shares.iter().zip([0.45, 0.25, 0.1875, 0.1125]) {
            assert!((share - expected).abs() < 1e-6, "{shares:?}");
        }
    }

    #[test]
    fn every_branching_node_is_walked_and_unread_single_ways_count_in_full() {
        let trie = digits(&["0", "1", "13", "14", "2", "25", "3"]);
        assert_eq!(trie.walks(), [vec![1], vec![2]]);
        assert_eq!(digits(&["7"]).walks(), [Vec::<u32>::new()]);
        assert_eq!(digits(&["7"]).distribution(&BTreeMap::new()), [1.0]);
        assert_eq!(digits(&["12", "13"]).walks(), [vec![1]]);
        assert!(LabelTrie::new(&[vec![1], vec![1]]).is_none() && LabelTrie::new(&[vec![]]).is_none());
    }

    #[test]
    fn a_model_that_gives_no_label_any_share_is_told_nothing_about_them() {
        let trie = digits(&["1", "2"]);
        let read = BTreeMap::from([(0, trie.shares(0, &[0.0, f32::NEG_INFINITY, f32::NEG_INFINITY]))]);
        assert_eq!(trie.distribution(&read), [0.5, 0.5]);
    }
}
