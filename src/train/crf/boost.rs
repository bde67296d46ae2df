//! Rows with a yes or no come in, gradient-boosted trees that give the probability of a yes leave.

use crate::ner::crf::{Node, Trees, answer};

/// How the trees grow. Defaults were chosen by cross-validation.
#[derive(Debug, Clone, PartialEq)]
pub struct BoostSettings {
    /// Number of trees.
    pub trees: usize,
    /// Leaves of a tree, at least 2.
    pub leaves: usize,
    /// Share of each tree's answer that is taken.
    pub rate: f64,
    /// Least rows in a leaf.
    pub least_rows: usize,
    /// Strength of the pull of leaves towards 0.
    pub l2: f64,
    /// Share of the rows that a tree sees.
    pub row_share: f64,
    /// Share of the columns that a tree sees.
    pub column_share: f64,
    /// Seed of the choice of rows and columns.
    pub seed: u64,
}

impl Default for BoostSettings {
    fn default() -> Self {
        Self { trees: 150, leaves: 15, rate: 0.05, least_rows: 40, l2: 5.0, row_share: 0.8, column_share: 0.7, seed: 1 }
    }
}

/// Most distinct steps of a column.
const BINS: usize = 128;

/// Least gain of a split.
const LEAST_GAIN: f64 = 1e-6;

/// Grows trees on rows of equal length. Equal input gives equal trees.
pub fn boost(rows: &[Vec<f32>], answers: &[bool], settings: &BoostSettings) -> Trees {
    let yes = answers.iter().filter(|&&answer| answer).count() as f64;
    let mean = ((yes + 0.5) / (answers.len() as f64 + 1.0)).clamp(1e-6, 1.0 - 1e-6);
    let start = (mean / (1.0 - mean)).ln() as f32;
    let binned = Binned::new(rows);
    let mut random = Random(settings.seed);
    let mut scores = vec![start; rows.len()];
    let mut trees = Vec::with_capacity(settings.trees);
    for _ in 0..settings.trees {
        let (slopes, bends): (Vec<f64>, Vec<f64>) = scores
            .iter()
            .zip(answers)
            .map(|(&score, &answer)| {
                let probability = 1.0 / (1.0 + f64::from(-score).exp());
                (probability - f64::from(u8::from(answer)), (probability * (1.0 - probability)).max(1e-9))
            })
            .unzip();
        let seen: Vec<u32> = (0..rows.len() as u32).filter(|_| random.share() < settings.row_share).collect();
        let columns: Vec<usize> = (0..binned.limits.len()).filter(|_| random.share() < settings.column_share).collect();
        let tree = Grower { binned: &binned, slopes: &slopes, bends: &bends, columns: &columns, settings }.grow(seen);
        for (score, row) in scores.iter_mut().zip(rows) {
            *score += answer(&tree, row);
        }
        trees.push(tree);
    }
    Trees { start, trees }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// Next number in `[0, 1)`.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Columns as numbers of steps: `bins[column][row]` counts the limits that are less than the value.
struct Binned {
    limits: Vec<Vec<f32>>,
    bins: Vec<Vec<u8>>,
}

impl Binned {
    fn new(rows: &[Vec<f32>]) -> Self {
        let columns = rows.first().map_or(0, Vec::len);
        let limits: Vec<Vec<f32>> = (0..columns).map(|column| column_limits(rows, column)).collect();
        let bin = |column: usize, row: &Vec<f32>| limits[column].partition_point(|&limit| limit < row[column]) as u8;
        let bins = (0..columns).map(|column| rows.iter().map(|row| bin(column, row)).collect()).collect();
        Self { limits, bins }
    }
}

/// Limits between steps, at most `BINS - 1`: halfway between neighbouring values.
fn column_limits(rows: &[Vec<f32>], column: usize) -> Vec<f32> {
    let mut values: Vec<f32> = rows.iter().map(|row| row[column]).collect();
    values.sort_unstable_by(f32::total_cmp);
    let mut distinct = values.clone();
    distinct.dedup();
    let halfway = |a: f32, b: f32| a + (b - a) / 2.0;
    if distinct.len() <= BINS {
        return distinct.windows(2).map(|two| halfway(two[0], two[1])).collect();
    }
    let mut limits: Vec<f32> = (1..BINS)
        .filter_map(|step| {
            let value = values[step * values.len() / BINS];
            let above = distinct.partition_point(|&other| other <= value);
            distinct.get(above).map(|&next| halfway(value, next))
        })
        .collect();
    limits.dedup();
    limits
}

struct Grower<'a> {
    binned: &'a Binned,
    slopes: &'a [f64],
    bends: &'a [f64],
    columns: &'a [usize],
    settings: &'a BoostSettings,
}

/// A leaf that may be split.
struct Leaf {
    node: usize,
    rows: Vec<u32>,
    split: Option<Split>,
}

#[derive(Clone, Copy)]
struct Split {
    gain: f64,
    column: usize,
    bin: u8,
}

impl Grower<'_> {
    /// Splits the leaf that gains the most until there are enough leaves.
    fn grow(&self, rows: Vec<u32>) -> Vec<Node> {
        let mut tree = vec![self.leaf(&rows)];
        let mut leaves = vec![Leaf { node: 0, split: self.best_split(&rows), rows }];
        while leaves.len() < self.settings.leaves {
            let gain = |leaf: &Leaf| leaf.split.map_or(0.0, |split| split.gain);
            let Some(best) = (0..leaves.len()).max_by(|&a, &b| gain(&leaves[a]).total_cmp(&gain(&leaves[b]))) else {
                break;
            };
            let Some(split) = leaves[best].split else { break };
            let parent = leaves.swap_remove(best);
            let bins = &self.binned.bins[split.column];
            let (left, right): (Vec<u32>, Vec<u32>) =
                parent.rows.iter().partition(|&&row| bins[row as usize] <= split.bin);
            tree[parent.node] = Node::Split {
                feature: split.column as u16,
                limit: self.binned.limits[split.column][usize::from(split.bin)],
                left: tree.len() as u16,
                right: tree.len() as u16 + 1,
            };
            for rows in [left, right] {
                leaves.push(Leaf { node: tree.len(), split: self.best_split(&rows), rows: Vec::new() });
                tree.push(self.leaf(&rows));
                if let Some(leaf) = leaves.last_mut() {
                    leaf.rows = rows;
                }
            }
        }
        tree
    }

    fn leaf(&self, rows: &[u32]) -> Node {
        let slope: f64 = rows.iter().map(|&row| self.slopes[row as usize]).sum();
        let bend: f64 = rows.iter().map(|&row| self.bends[row as usize]).sum();
        Node::Leaf((-slope / (bend + self.settings.l2) * self.settings.rate) as f32)
    }

    /// Second-order gain, as in XGBoost: <https://arxiv.org/abs/1603.02754>, equation 7.
    fn best_split(&self, rows: &[u32]) -> Option<Split> {
        if rows.len() < 2 * self.settings.least_rows {
            return None;
        }
        let score = |slope: f64, bend: f64| slope * slope / (bend + self.settings.l2);
        let mut best: Option<Split> = None;
        for &column in self.columns {
            let mut steps = [(0.0f64, 0.0f64, 0usize); BINS];
            let bins = &self.binned.bins[column];
            for &row in rows {
                let (at, row) = (usize::from(bins[row as usize]), row as usize);
                let step = &mut steps[at];
                *step = (step.0 + self.slopes[row], step.1 + self.bends[row], step.2 + 1);
            }
            let (slope, bend) = steps.iter().fold((0.0, 0.0), |sum, step| (sum.0 + step.0, sum.1 + step.1));
            let mut left = (0.0, 0.0, 0);
            for (bin, step) in steps.iter().enumerate().take(self.binned.limits[column].len()) {
                left = (left.0 + step.0, left.1 + step.1, left.2 + step.2);
                if left.2 < self.settings.least_rows || rows.len() - left.2 < self.settings.least_rows {
                    continue;
                }
                let gain = score(left.0, left.1) + score(slope - left.0, bend - left.1) - score(slope, bend);
                if gain > best.map_or(LEAST_GAIN, |split| split.gain) {
                    best = Some(Split { gain, column, bin: bin as u8 });
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learns_what_no_single_column_tells_and_gives_equal_trees_again() {
        let rows: Vec<Vec<f32>> =
            (0..800).map(|at| vec![(at % 2) as f32, (at / 2 % 2) as f32, (at % 7) as f32]).collect();
        let answers: Vec<bool> = rows.iter().map(|row| (row[0] > 0.5) != (row[1] > 0.5) || row[2] > 5.5).collect();
        let settings = BoostSettings { column_share: 1.0, rate: 0.3, trees: 60, ..BoostSettings::default() };
        let trees = boost(&rows, &answers, &settings);
        assert!(trees.is_sound());
        assert_eq!(trees, boost(&rows, &answers, &settings));
        let right =
            rows.iter().zip(&answers).filter(|(row, answer)| (trees.probability(row) > 0.5) == **answer).count();
        assert!(right > 780, "{right} of 800");
    }

    #[test]
    fn few_rows_give_the_mean() {
        let trees = boost(&[vec![1.0], vec![2.0]], &[true, false], &BoostSettings::default());
        assert!((trees.probability(&[1.0]) - 0.5).abs() < 0.01);
        assert_eq!(boost(&[], &[], &BoostSettings::default()).trees.len(), 150);
    }
}
