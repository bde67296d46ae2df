//! Small regression trees, added up: a row of inputs comes in, the log-odds that its candidate is right leave.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Trees of a model.
const TREES: usize = 80;
/// Leaves of a tree.
const LEAVES: usize = 8;
/// How much of each tree counts.
const SHRINKAGE: f64 = 0.1;
/// Rows that a leaf holds at least.
const LEAF_ROWS: usize = 40;
/// Added to the curvature of a leaf, so that few rows do not move it far.
const RIDGE: f64 = 1.0;
/// Values of an input told apart while learning.
const BINS: usize = 64;
/// Rows and inputs, in 256ths, that one tree sees.
const ROW_SHARE: u64 = 180;
const INPUT_SHARE: u64 = 128;

/// Gradient-boosted trees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trees {
    inputs: usize,
    trees: Vec<Tree>,
}

/// A tree: inner nodes, and the values of its leaves.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Tree {
    nodes: Vec<Node>,
    leaves: Vec<f32>,
}

/// Rows whose input is at most the threshold go to the first child, the others to the second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Node {
    input: u16,
    threshold: f32,
    children: [Child; 2],
}

/// Where a row goes next; children come after their parents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Child {
    Node(u16),
    Leaf(u16),
}

impl Trees {
    /// Learns from rows, row-major `(rows, inputs)`, which of them are right. Equal inputs give equal trees.
    ///
    /// # Source
    /// Gradient boosting with second-order leaf values, grown leaf by leaf over histograms: Ke et al. 2017 (LightGBM),
    /// <https://proceedings.neurips.cc/paper/2017/hash/6449f44a102fde848669bdd9eb6b76fa-Abstract.html>.
    pub fn train(inputs: usize, rows: &[f32], right: &[bool]) -> Self {
        let data = Binned::new(inputs, rows);
        let share = right.iter().filter(|&&right| right).count() as f64 / right.len().max(1) as f64;
        let share = share.clamp(1e-6, 1.0 - 1e-6);
        let mut scores = vec![(share / (1.0 - share)).ln(); right.len()];
        let mut random = 1u64;
        let mut trees = Vec::with_capacity(TREES);
        for _ in 0..TREES {
            let slope = |(score, &right): (&f64, &bool)| {
                let probability = 1.0 / (1.0 + (-score).exp());
                (f64::from(u8::from(right)) - probability, probability * (1.0 - probability))
            };
            let slopes: Vec<(f64, f64)> = scores.iter().zip(right).map(slope).collect();
            let seen: Vec<u32> = (0..right.len() as u32).filter(|_| chance(&mut random, ROW_SHARE)).collect();
            let used: Vec<usize> = (0..inputs).filter(|_| chance(&mut random, INPUT_SHARE)).collect();
            let tree = grow(&data, &slopes, seen, &used);
            for (score, row) in scores.iter_mut().zip(rows.chunks_exact(inputs)) {
                *score += f64::from(tree.value(row));
            }
            trees.push(tree);
        }
        Self { inputs, trees }
    }

    /// Checks that trees just read fit rows of `inputs` numbers and that every path in them ends.
    ///
    /// # Errors
    /// - [`Error::Dimension`] if they are for other rows, or a child is missing.
    pub fn checked(self, inputs: usize) -> Result<Self> {
        if self.inputs != inputs {
            return Err(Error::Dimension { expected: inputs, got: self.inputs });
        }
        for tree in &self.trees {
            let ends = |(place, node): (usize, &Node)| {
                usize::from(node.input) < inputs
                    && node.children.iter().all(|child| match *child {
                        Child::Node(next) => usize::from(next) > place && usize::from(next) < tree.nodes.len(),
                        Child::Leaf(leaf) => usize::from(leaf) < tree.leaves.len(),
                    })
            };
            if tree.leaves.is_empty() || !tree.nodes.iter().enumerate().all(ends) {
                return Err(Error::Dimension { expected: tree.nodes.len() + 1, got: tree.leaves.len() });
            }
        }
        Ok(self)
    }

    /// Adds up the trees' values for one row of inputs.
    pub fn score(&self, row: &[f32]) -> f32 {
        self.trees.iter().map(|tree| tree.value(row)).sum()
    }
}

impl Tree {
    fn value(&self, row: &[f32]) -> f32 {
        let mut at = if self.nodes.is_empty() { Child::Leaf(0) } else { Child::Node(0) };
        loop {
            match at {
                Child::Leaf(leaf) => return self.leaves[usize::from(leaf)],
                Child::Node(place) => {
                    let node = &self.nodes[usize::from(place)];
                    at = node.children[usize::from(row[usize::from(node.input)] > node.threshold)];
                }
            }
        }
    }
}

/// Inputs cut into bins of about equally many rows.
struct Binned {
    /// Highest value of each bin but the last, by input.
    edges: Vec<Vec<f32>>,
    /// `(inputs, rows)`.
    bins: Vec<Vec<u8>>,
}

impl Binned {
    fn new(inputs: usize, rows: &[f32]) -> Self {
        let column = |input: usize| rows.iter().skip(input).step_by(inputs).copied().collect::<Vec<f32>>();
        let mut binned = Self { edges: Vec::with_capacity(inputs), bins: Vec::with_capacity(inputs) };
        for values in (0..inputs).map(column) {
            let mut sorted = values.clone();
            sorted.sort_unstable_by(f32::total_cmp);
            let mut edges: Vec<f32> =
                (1..BINS).filter_map(|bin| sorted.get(bin * sorted.len() / BINS)).copied().collect();
            edges.dedup();
            let bin = |value: &f32| edges.partition_point(|edge| edge < value) as u8;
            binned.bins.push(values.iter().map(bin).collect());
            binned.edges.push(edges);
        }
        binned
    }
}

/// A leaf that may still be split.
struct Open {
    rows: Vec<u32>,
    /// Node and side that lead here; none for the root.
    parent: Option<(usize, usize)>,
    best: Option<Split>,
    sums: (f64, f64),
}

/// The best way to cut a leaf in two.
#[derive(Clone, Copy)]
struct Split {
    gain: f64,
    input: usize,
    bin: u8,
}

/// Grows one tree: the leaf whose split gains most is split first.
fn grow(data: &Binned, slopes: &[(f64, f64)], rows: Vec<u32>, used: &[usize]) -> Tree {
    let open = |rows: Vec<u32>, parent: Option<(usize, usize)>| {
        let add = |sums: (f64, f64), row: &u32| {
            let (gradient, curvature) = slopes[*row as usize];
            (sums.0 + gradient, sums.1 + curvature)
        };
        let sums = rows.iter().fold((0.0, 0.0), add);
        let best = best_split(data, slopes, &rows, sums, used);
        Open { rows, parent, best, sums }
    };
    let mut tree = Tree::default();
    let mut leaves = vec![open(rows, None)];
    while leaves.len() < LEAVES {
        let gain = |leaf: &Open| leaf.best.map_or(0.0, |split| split.gain);
        let Some(widest) = (0..leaves.len()).max_by(|&a, &b| gain(&leaves[a]).total_cmp(&gain(&leaves[b]))) else {
            break;
        };
        let Some(split) = leaves[widest].best else { break };
        let leaf = leaves.swap_remove(widest);
        let node = tree.nodes.len();
        let threshold = data.edges[split.input][usize::from(split.bin)];
        tree.nodes.push(Node { input: split.input as u16, threshold, children: [Child::Leaf(0); 2] });
        if let Some((parent, side)) = leaf.parent {
            tree.nodes[parent].children[side] = Child::Node(node as u16);
        }
        let bins = &data.bins[split.input];
        let (below, above) = leaf.rows.iter().partition(|&&row| bins[row as usize] <= split.bin);
        leaves.push(open(below, Some((node, 0))));
        leaves.push(open(above, Some((node, 1))));
    }
    for leaf in leaves {
        if let Some((parent, side)) = leaf.parent {
            tree.nodes[parent].children[side] = Child::Leaf(tree.leaves.len() as u16);
        }
        tree.leaves.push((SHRINKAGE * leaf.sums.0 / (leaf.sums.1 + RIDGE)) as f32);
    }
    tree
}

/// Finds the split of a leaf that lowers the loss most, or none.
fn best_split(data: &Binned, slopes: &[(f64, f64)], rows: &[u32], sums: (f64, f64), used: &[usize]) -> Option<Split> {
    let worth = |gradient: f64, curvature: f64| gradient * gradient / (curvature + RIDGE);
    let mut best: Option<Split> = None;
    for &input in used {
        let mut histogram = [(0.0f64, 0.0f64, 0usize); BINS];
        for &row in rows {
            let (gradient, curvature) = slopes[row as usize];
            let bin = &mut histogram[usize::from(data.bins[input][row as usize])];
            *bin = (bin.0 + gradient, bin.1 + curvature, bin.2 + 1);
        }
        let mut below = (0.0, 0.0, 0);
        for (bin, part) in histogram.iter().enumerate().take(data.edges[input].len()) {
            below = (below.0 + part.0, below.1 + part.1, below.2 + part.2);
            if below.2 < LEAF_ROWS || rows.len() - below.2 < LEAF_ROWS {
                continue;
            }
            let gain = worth(below.0, below.1) + worth(sums.0 - below.0, sums.1 - below.1) - worth(sums.0, sums.1);
            if gain > best.map_or(1e-6, |best| best.gain) {
                best = Some(Split { gain, input, bin: bin as u8 });
            }
        }
    }
    best
}

/// Is true `share` times in 256.
fn chance(random: &mut u64, share: u64) -> bool {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 56 < share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learns_what_no_linear_score_can() {
        let rows: Vec<f32> = (0..4000).flat_map(|at| [(at % 2) as f32, (at / 2 % 2) as f32, (at % 7) as f32]).collect();
        let right: Vec<bool> = rows.chunks_exact(3).map(|row| row[0] != row[1]).collect();
        let trees = Trees::train(3, &rows, &right);
        for (row, &right) in rows.chunks_exact(3).zip(&right) {
            assert_eq!(trees.score(row) > trees.score(&[0.0, 0.0, row[2]]) + 0.5, right, "{row:?}");
        }
        assert_eq!(trees, Trees::train(3, &rows, &right));
        assert!(trees.clone().checked(3).is_ok() && trees.checked(2).is_err());
    }

    #[test]
    fn a_tree_that_leads_nowhere_is_refused() {
        let node = Node { input: 0, threshold: 0.0, children: [Child::Node(0), Child::Leaf(0)] };
        let endless = Trees { inputs: 1, trees: vec![Tree { nodes: vec![node], leaves: vec![0.0] }] };
        assert!(endless.checked(1).is_err());
    }
}
