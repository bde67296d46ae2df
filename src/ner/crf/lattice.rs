//! Node scores of a text's tokens come in; the probability of every span of tokens leaves (forward–backward).

/// Labels of a token, in the order in which scores are stored.
pub const LABELS: [&str; 3] = ["B", "I", "O"];
/// Begins a mention.
pub const BEGIN: usize = 0;
/// Goes on with a mention.
pub const INSIDE: usize = 1;
/// Belongs to no mention.
pub const OUTSIDE: usize = 2;

/// Longest mention, in tokens.
pub const MAX_SPAN_TOKENS: usize = 14;

/// Scores of the three labels.
pub type Scores = [f64; 3];

/// A span of tokens, both ends included, and how probable it is as a mention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpanProbability {
    /// First token.
    pub first: usize,
    /// Last token.
    pub last: usize,
    /// Probability in `[0, 1]`.
    pub probability: f64,
}

/// Returns every span of at least `min_probability`, by first token, then by last.
///
/// `nodes` are the scores of the tokens, `transitions[from][to]` those of neighbouring labels. The text stands between
/// two tokens that are outside; nothing goes on that has not begun.
///
/// # Source
/// Forward–backward with scaling: Rabiner 1989, section V.A; spans as in Sarawagi and Cohen 2004.
pub fn span_probabilities(nodes: &[Scores], transitions: &[Scores; 3], min_probability: f64) -> Vec<SpanProbability> {
    let lattice = Lattice::new(nodes, transitions);
    let mut spans = Vec::new();
    for first in 0..nodes.len() {
        let mut open = lattice.forward[first][BEGIN];
        if open * lattice.backward[first][BEGIN] < min_probability {
            continue;
        }
        for last in first..nodes.len().min(first + MAX_SPAN_TOKENS) {
            let label = if last == first { BEGIN } else { INSIDE };
            if last > first {
                let from = if last == first + 1 { BEGIN } else { INSIDE };
                open *= lattice.moves[from][INSIDE] * lattice.weights[last][INSIDE] / lattice.scales[last];
            }
            let probability = open * lattice.ends_after(last, label);
            if probability >= min_probability {
                spans.push(SpanProbability { first, last, probability: probability.min(1.0) });
            }
            if open < min_probability * 1e-3 {
                break;
            }
        }
    }
    spans
}

/// Exponentiated scores, forward and backward sums; `forward[t][y] * backward[t][y]` is the probability of label `y`.
struct Lattice {
    weights: Vec<Scores>,
    moves: [Scores; 3],
    forward: Vec<Scores>,
    backward: Vec<Scores>,
    scales: Vec<f64>,
}

impl Lattice {
    fn new(nodes: &[Scores], transitions: &[Scores; 3]) -> Self {
        let mut moves = transitions.map(|row| row.map(f64::exp));
        moves[OUTSIDE][INSIDE] = 0.0;
        let weights: Vec<Scores> = nodes
            .iter()
            .map(|scores| {
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                scores.map(|score| (score - most).exp())
            })
            .collect();
        let mut lattice = Self {
            forward: Vec::with_capacity(nodes.len()),
            backward: vec![[0.0; 3]; nodes.len()],
            scales: Vec::with_capacity(nodes.len()),
            weights,
            moves,
        };
        lattice.run_forward();
        lattice.run_backward();
        lattice
    }

    fn run_forward(&mut self) {
        let mut before = [0.0, 0.0, 1.0];
        for weights in &self.weights {
            let mut now = [0.0; 3];
            for (to, value) in now.iter_mut().enumerate() {
                *value = weights[to] * (0..3).map(|from| before[from] * self.moves[from][to]).sum::<f64>();
            }
            let scale = now.iter().sum::<f64>();
            before = now.map(|value| value / scale);
            self.forward.push(before);
            self.scales.push(scale);
        }
    }

    fn run_backward(&mut self) {
        let Some(last) = self.backward.len().checked_sub(1) else { return };
        let total: f64 = (0..3).map(|from| self.forward[last][from] * self.moves[from][OUTSIDE]).sum();
        self.backward[last] = [0, 1, 2].map(|from| self.moves[from][OUTSIDE] / total);
        for at in (0..last).rev() {
            let next: Scores =
                [0, 1, 2].map(|to| self.weights[at + 1][to] * self.backward[at + 1][to] / self.scales[at + 1]);
            self.backward[at] = [0, 1, 2].map(|from| (0..3).map(|to| self.moves[from][to] * next[to]).sum());
        }
    }

    /// Share of `forward[at][label]` on which the next token does not go on with the mention.
    fn ends_after(&self, at: usize, label: usize) -> f64 {
        match self.backward.get(at + 1) {
            None => self.backward[at][label],
            Some(next) => [BEGIN, OUTSIDE]
                .iter()
                .map(|&to| self.moves[label][to] * self.weights[at + 1][to] * next[to] / self.scales[at + 1])
                .sum(),
        }
    }
}

/// Chooses spans that do not overlap and whose probabilities, each less `threshold`, add up to the most.
///
/// With a threshold of half the F1 that can be reached this maximises expected F1. `spans` are ordered by first token;
/// returns positions in `spans`, in text order. Equal sums keep the spans that end earlier.
///
/// # Source
/// Threshold F*/2: Lipton, Elkan and Naryanaswamy 2014, <https://arxiv.org/abs/1402.1892>.
pub fn choose(spans: &[SpanProbability], tokens: usize, threshold: f64) -> Vec<usize> {
    let mut by_last: Vec<usize> = (0..spans.len()).filter(|&at| spans[at].probability > threshold).collect();
    by_last.sort_by_key(|&at| spans[at].last);
    let mut best = vec![0.0; tokens + 1];
    let mut taken: Vec<Option<usize>> = vec![None; tokens + 1];
    let mut waiting = by_last.into_iter().peekable();
    for end in 0..tokens {
        best[end + 1] = best[end];
        while let Some(at) = waiting.next_if(|&at| spans[at].last == end) {
            let gain = best[spans[at].first] + spans[at].probability - threshold;
            if gain > best[end + 1] {
                (best[end + 1], taken[end + 1]) = (gain, Some(at));
            }
        }
    }
    let (mut end, mut chosen) = (tokens, Vec::new());
    while end > 0 {
        match taken[end] {
            None => end -= 1,
            Some(at) => {
                chosen.push(at);
                end = spans[at].first;
            }
        }
    }
    chosen.reverse();
    chosen
}

/// Returns the most probable labels without any rule on what may follow what, as `crfs` does.
#[cfg(test)]
pub fn best_labels(nodes: &[Scores], transitions: &[Scores; 3]) -> Vec<usize> {
    let Some((first, rest)) = nodes.split_first() else { return Vec::new() };
    let mut best = *first;
    let mut from_label: Vec<[usize; 3]> = Vec::new();
    for node in rest {
        let from = [0, 1, 2].map(|to| {
            let total = |from: usize| best[from] + transitions[from][to];
            [0, 1, 2].into_iter().max_by(|&a, &b| total(a).total_cmp(&total(b))).unwrap_or_default()
        });
        best = [0, 1, 2].map(|to| best[from[to]] + transitions[from[to]][to] + node[to]);
        from_label.push(from);
    }
    let last = [0, 1, 2].into_iter().max_by(|&a, &b| best[a].total_cmp(&best[b])).unwrap_or_default();
    let mut labels = vec![last];
    for from in from_label.iter().rev() {
        labels.push(from[labels[labels.len() - 1]]);
    }
    labels.reverse();
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVES: [Scores; 3] = [[0.1, 1.2, -0.3], [-0.5, 0.7, 0.4], [0.6, 0.0, 0.9]];

    /// All label sequences that may be, with their scores: the sums by which forward–backward is checked.
    fn sequences(nodes: &[Scores]) -> Vec<(Vec<usize>, f64)> {
        let mut all: Vec<(Vec<usize>, f64)> = vec![(vec![OUTSIDE], 0.0)];
        for node in nodes {
            let mut longer = Vec::new();
            for (labels, score) in &all {
                for to in 0..3 {
                    let from = labels[labels.len() - 1];
                    if (from, to) != (OUTSIDE, INSIDE) {
                        longer.push(([&labels[..], &[to]].concat(), score + MOVES[from][to] + node[to]));
                    }
                }
            }
            all = longer;
        }
        for (labels, score) in &mut all {
            *score += MOVES[labels[labels.len() - 1]][OUTSIDE];
            labels.remove(0);
        }
        all
    }

    #[test]
    fn probabilities_equal_the_sum_over_all_label_sequences() {
        let nodes = [[0.3, -1.0, 0.2], [0.9, 1.1, -0.4], [-2.0, 0.8, 0.1], [1.5, -0.2, 0.0], [0.0, 0.6, 0.7]];
        let all = sequences(&nodes);
        let total: f64 = all.iter().map(|(_, score)| score.exp()).sum();
        let spans = span_probabilities(&nodes, &MOVES, 0.0);
        assert_eq!(spans.len(), 15);
        for span in spans {
            let is_span = |labels: &[usize]| {
                labels[span.first] == BEGIN
                    && labels[span.first + 1..=span.last].iter().all(|&label| label == INSIDE)
                    && labels.get(span.last + 1) != Some(&INSIDE)
            };
            let sum: f64 = all.iter().filter(|(labels, _)| is_span(labels)).map(|(_, score)| score.exp()).sum();
            assert!((span.probability - sum / total).abs() < 1e-12, "{span:?} {}", sum / total);
        }
    }

    #[test]
    fn chooses_the_best_sum_without_overlap() {
        let span = |first, last, probability| SpanProbability { first, last, probability };
        let spans = [span(0, 1, 0.6), span(0, 3, 0.7), span(2, 3, 0.6), span(5, 5, 0.2)];
        assert_eq!(choose(&spans, 6, 0.3), [0, 2]); // 0.3 + 0.3 beats 0.4; 0.2 is below the threshold
        assert_eq!(choose(&[], 0, 0.3), Vec::<usize>::new());
    }
}
