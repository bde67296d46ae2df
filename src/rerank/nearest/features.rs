//! Candidates of one mention come in, a feature matrix over them leaves.
//!
//! Three annotators wrote the training codes, with habits of their own. The features therefore keep each annotator's vote apart
//! and describe how far the votes agree; no feature names an annotator, so the model cannot learn whose habit to follow.

use crate::{
    data::{Candidate, Origin},
    icd::IcdCode,
};

/// Votes are kept apart for this many annotators; further ones share a place.
pub const ANNOTATORS: usize = 3;
/// Features of a candidate.
pub const FEATURES: usize = 50;
/// Copies of each feature in the linear score: always, only with an equal text among the rows, only with no similar one.
pub const GATES: usize = 3;
/// Weights of the linear score.
pub const INPUTS: usize = FEATURES * GATES;

/// Powers of the cosine with which rows vote.
const POWERS: [i32; 3] = [4, 10, 24];
/// Smallest share that the logarithm of a vote tells apart.
const SHARE_FLOOR: f32 = 1e-3;

/// What is known of a candidate's code before any text is read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CodePrior {
    /// How often each annotator gave the code.
    pub code: [u32; ANNOTATORS],
    /// How often any annotator gave a code of its group.
    pub group: u32,
}

/// What the rest of the document says about a candidate's code.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DocumentSupport {
    /// Whether the best code of another mention is the same.
    pub same_code: bool,
    /// Whether the best code of another mention is of the same group.
    pub same_group: bool,
    /// Share of the other mentions' best groups that are of the same chapter.
    pub same_chapter: f32,
}

/// Everything the features are made of; all slices run over the candidates.
pub struct Evidence<'a> {
    /// The candidates with their rows.
    pub candidates: &'a [Candidate],
    /// Priors of their codes.
    pub priors: &'a [CodePrior],
    /// The document's word on their codes.
    pub document: &'a [DocumentSupport],
    /// Logits of the classifier; `None` for a code it does not know.
    pub logits: &'a [Option<f32>],
}

/// Features of a mention's candidates and the gates that hold for all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureMatrix {
    /// Row-major `(candidates, FEATURES)`.
    pub values: Vec<f32>,
    /// How much each copy of the features counts, in `[0, 1]`.
    pub gates: [f32; GATES],
}

impl FeatureMatrix {
    /// Returns the inputs of the linear score of one candidate, `(INPUTS)`.
    pub fn inputs(&self, candidate: usize) -> impl Iterator<Item = f32> + '_ {
        let row = &self.values[candidate * FEATURES..(candidate + 1) * FEATURES];
        self.gates.iter().flat_map(move |gate| row.iter().map(move |value| value * gate))
    }
}

/// Makes the features of one mention's candidates.
pub fn extract(evidence: &Evidence<'_>) -> FeatureMatrix {
    let candidates = evidence.candidates;
    let groups = Groups::of(candidates);
    let rows = RowSummary::of(candidates);
    let mut matrix = Columns::new(candidates.len());
    vote_columns(candidates, &groups, &mut matrix);
    retrieval_columns(candidates, &groups, &mut matrix);
    row_columns(&rows, &groups, &mut matrix);
    prior_columns(evidence.priors, &mut matrix);
    for (at, candidate) in candidates.iter().enumerate() {
        matrix.put(at, shape(&candidate.code, evidence.priors[at]));
        let document = evidence.document[at];
        matrix.put(at, [flag(document.same_group), flag(document.same_code), document.same_chapter]);
    }
    classifier_columns(evidence.logits, &groups, &mut matrix);
    let nearest = rows.iter().map(RowSummary::nearest_mention).fold(0.0, f32::max);
    let equal = rows.iter().any(|row| row.equal.iter().any(|&count| count > 0.0));
    let far = ((0.8 - nearest) / 0.3).clamp(0.0, 1.0);
    FeatureMatrix { values: matrix.values, gates: [1.0, flag(equal), far] }
}

/// The matrix while it is filled: each candidate's row grows from left to right.
struct Columns {
    values: Vec<f32>,
    filled: Vec<usize>,
}

impl Columns {
    fn new(candidates: usize) -> Self {
        Self { values: vec![0.0; candidates * FEATURES], filled: vec![0; candidates] }
    }

    fn put<const N: usize>(&mut self, candidate: usize, values: [f32; N]) {
        let start = candidate * FEATURES + self.filled[candidate];
        self.values[start..start + N].copy_from_slice(&values);
        self.filled[candidate] += N;
    }
}

/// Which candidates share a three-character group.
struct Groups {
    group: Vec<usize>,
    count: usize,
}

impl Groups {
    fn of(candidates: &[Candidate]) -> Self {
        let mut names: Vec<&str> = candidates.iter().map(|candidate| candidate.code.group()).collect();
        names.sort_unstable();
        names.dedup();
        let place = |candidate: &Candidate| names.binary_search(&candidate.code.group()).unwrap_or(0);
        Self { group: candidates.iter().map(place).collect(), count: names.len() }
    }

    /// Gives each candidate the value folded over its group.
    fn fold(&self, values: impl Iterator<Item = f32>, combine: impl Fn(f32, f32) -> f32) -> Vec<f32> {
        let mut folded = vec![0.0; self.count];
        self.group.iter().zip(values).for_each(|(&group, value)| folded[group] = combine(folded[group], value));
        self.group.iter().map(|&group| folded[group]).collect()
    }

    fn sum(&self, values: impl Iterator<Item = f32>) -> Vec<f32> {
        self.fold(values, |a, b| a + b)
    }

    fn max(&self, values: impl Iterator<Item = f32>) -> Vec<f32> {
        self.fold(values, f32::max)
    }
}

/// Adds what the annotators' nearest rows vote for, at three powers of the cosine.
fn vote_columns(candidates: &[Candidate], groups: &Groups, matrix: &mut Columns) {
    for power in POWERS {
        let votes: Vec<[f32; ANNOTATORS]> = candidates.iter().map(|candidate| vote(candidate, power)).collect();
        let mut totals = [0.0; ANNOTATORS];
        votes.iter().for_each(|vote| totals.iter_mut().zip(vote).for_each(|(total, vote)| *total += vote));
        let total: f32 = totals.iter().sum();
        let smoothing = 0.05 * (total / ANNOTATORS as f32 + 1e-6);
        let share = |vote: &[f32; ANNOTATORS]| -> [f32; ANNOTATORS] {
            std::array::from_fn(|annotator| vote[annotator] / (totals[annotator] + smoothing))
        };
        let shares: Vec<[f32; ANNOTATORS]> = votes.iter().map(share).collect();
        let group_shares = groups.sum(shares.iter().map(mean));
        for (at, (vote, share)) in votes.iter().zip(&shares).enumerate() {
            let pooled = vote.iter().sum::<f32>() / (total + 1e-9);
            let (mean, group) = (mean(share), group_shares[at]);
            matrix.put(at, [pooled, mean, group].map(|share| (share + SHARE_FLOOR).ln()));
            if power != POWERS[0] {
                let geometric = share.iter().map(|share| (share + 0.01).ln()).sum::<f32>() / ANNOTATORS as f32;
                matrix.put(at, [geometric, ((mean + 0.02) / (group + 0.06)).ln()]);
            }
            if power == POWERS[1] {
                matrix.put(at, agreement(*share));
            }
        }
    }
}

/// Adds the vote of mentions and wordings together, by which retrieval ordered the candidates.
fn retrieval_columns(candidates: &[Candidate], groups: &Groups, matrix: &mut Columns) {
    let total: f32 = candidates.iter().map(|candidate| candidate.score).sum::<f32>() + 1e-9;
    let of_group = groups.sum(candidates.iter().map(|candidate| candidate.score / total));
    for (at, candidate) in candidates.iter().enumerate() {
        let (share, group) = (candidate.score / total, of_group[at]);
        let within = ((share + 0.02) / (group + 0.06)).ln();
        matrix.put(at, [(share + SHARE_FLOOR).ln(), (group + SHARE_FLOOR).ln(), within]);
    }
}

/// Sums each annotator's rows for a candidate.
fn vote(candidate: &Candidate, power: i32) -> [f32; ANNOTATORS] {
    let mut votes = [0.0; ANNOTATORS];
    for support in &candidate.support {
        if let Origin::Mention { annotator } = support.origin {
            let weight = support.similarity.max(0.0).powi(power);
            votes[usize::from(annotator) % ANNOTATORS] += weight * support.count as f32;
        }
    }
    votes
}

/// Orders the annotators' shares, lowest first, and adds the probability that at least two of them choose the code.
fn agreement(share: [f32; ANNOTATORS]) -> [f32; ANNOTATORS + 1] {
    let mut sorted = share;
    sorted.sort_unstable_by(f32::total_cmp);
    let [a, b, c] = sorted;
    [a, b, c, a * b + a * c + b * c - 2.0 * a * b * c]
}

fn mean(share: &[f32; ANNOTATORS]) -> f32 {
    share.iter().sum::<f32>() / ANNOTATORS as f32
}

/// The nearest and the equal rows of a candidate.
struct RowSummary {
    /// Greatest cosine of each annotator's rows.
    mention: [f32; ANNOTATORS],
    /// Rows of each annotator with the same text.
    equal: [f32; ANNOTATORS],
    title: f32,
    synonym: f32,
}

impl RowSummary {
    fn of(candidates: &[Candidate]) -> Vec<Self> {
        let one = |candidate: &Candidate| {
            let mut row = Self { mention: [0.0; ANNOTATORS], equal: [0.0; ANNOTATORS], title: 0.0, synonym: 0.0 };
            for support in &candidate.support {
                match support.origin {
                    Origin::Title => row.title = row.title.max(support.similarity),
                    Origin::Synonym | Origin::Vocabulary => row.synonym = row.synonym.max(support.similarity),
                    Origin::Mention { annotator } => {
                        let annotator = usize::from(annotator) % ANNOTATORS;
                        row.mention[annotator] = row.mention[annotator].max(support.similarity);
                        row.equal[annotator] += if support.exact { support.count as f32 } else { 0.0 };
                    }
                }
            }
            row
        };
        candidates.iter().map(one).collect()
    }

    fn nearest_mention(&self) -> f32 {
        self.mention.into_iter().fold(0.0, f32::max)
    }

    fn wording(&self) -> f32 {
        self.title.max(self.synonym)
    }
}

/// Adds how near the nearest mentions, titles and synonyms are, and who gave the same text which code.
fn row_columns(rows: &[RowSummary], groups: &Groups, matrix: &mut Columns) {
    let nearest: Vec<f32> = rows.iter().map(RowSummary::nearest_mention).collect();
    let best = nearest.iter().copied().fold(0.0, f32::max);
    let nearest_of_group = groups.max(nearest.iter().copied());
    let mut equal = [0.0f32; ANNOTATORS];
    rows.iter().for_each(|row| equal.iter_mut().zip(row.equal).for_each(|(total, count)| *total += count));
    let known = equal.iter().filter(|&&count| count > 0.0).count().max(1) as f32;
    let wording: Vec<f32> = rows.iter().map(RowSummary::wording).collect();
    let best_wording = wording.iter().copied().fold(0.0, f32::max);
    let wording_total: f32 = wording.iter().map(|similarity| similarity.powi(8)).sum();
    let wording_of_group = groups.max(wording.iter().copied());
    for (at, row) in rows.iter().enumerate() {
        matrix.put(at, [nearest[at], nearest[at] - best, mean(&row.mention), nearest_of_group[at]]);
        let share: f32 = row.equal.iter().zip(equal).map(|(count, total)| count / (total + 0.5)).sum();
        let annotators = row.equal.iter().filter(|&&count| count > 0.0).count() as f32 / ANNOTATORS as f32;
        matrix.put(at, [share / known, row.equal.iter().sum::<f32>().ln_1p(), annotators]);
        let wording_share = wording[at].powi(8) / (wording_total + 1e-9);
        matrix.put(at, [row.title, wording[at], wording[at] - best_wording, (wording_share + SHARE_FLOOR).ln()]);
        matrix.put(at, [wording_of_group[at], wording[at] - wording_of_group[at]]);
    }
}

/// Adds how common the code is, on its own and within its group.
fn prior_columns(priors: &[CodePrior], matrix: &mut Columns) {
    for (at, prior) in priors.iter().enumerate() {
        let code = prior.code.iter().sum::<u32>() as f32;
        let group = prior.group as f32;
        let annotators = prior.code.iter().filter(|&&count| count > 0).count() as f32 / ANNOTATORS as f32;
        let within = ((code + 0.3) / (group + 1.0)).ln();
        matrix.put(at, [(code + 0.5).ln(), annotators, within, (group + 0.5).ln(), flag(code == 0.0)]);
    }
}

/// Tells the forms that annotators treat alike: unspecified, other, first subdivision, undivided, divided category.
fn shape(code: &IcdCode, prior: CodePrior) -> [f32; 5] {
    let subdivision = code.as_str().strip_prefix(code.group()).unwrap_or_default();
    let is = |ending: &str| flag(subdivision == ending);
    let divided = is("") > 0.0 && prior.group > prior.code.iter().sum();
    [is(".9"), is(".8"), is(".0"), is(""), flag(divided)]
}

/// Adds the classifier's distribution over the candidates it knows, and over their groups.
fn classifier_columns(logits: &[Option<f32>], groups: &Groups, matrix: &mut Columns) {
    let highest = logits.iter().flatten().copied().fold(f32::NEG_INFINITY, f32::max);
    let odds: Vec<f32> = logits.iter().map(|logit| logit.map_or(0.0, |logit| (logit - highest).exp())).collect();
    let total = odds.iter().sum::<f32>() + 1e-9;
    let of_group = groups.sum(odds.iter().map(|odds| odds / total));
    for (at, odds) in odds.iter().enumerate() {
        let share = odds / total;
        matrix.put(at, [share, (share + 0.003).ln(), (of_group[at] + 0.003).ln(), flag(logits[at].is_some())]);
    }
}

fn flag(value: bool) -> f32 {
    if value { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Support;

    fn candidate(code: &str, rows: &[(u8, f32)]) -> Candidate {
        let support = |&(annotator, similarity)| Support {
            similarity,
            origin: Origin::Mention { annotator },
            count: 1,
            exact: similarity == 1.0,
        };
        let support = rows.iter().map(support).collect();
        Candidate { code: code.parse().unwrap(), title: "".into(), text: "".into(), score: 0.0, support }
    }

    fn features(candidates: &[Candidate]) -> FeatureMatrix {
        let count = candidates.len();
        extract(&Evidence {
            candidates,
            priors: &vec![CodePrior::default(); count],
            document: &vec![DocumentSupport::default(); count],
            logits: &vec![None; count],
        })
    }

    #[test]
    fn it_makes_no_difference_which_annotator_is_which() {
        let list = |a: u8, b: u8, c: u8| {
            [candidate("J00", &[(a, 1.0), (b, 0.9)]), candidate("J06.9", &[(c, 1.0)]), candidate("J04", &[(a, 0.4)])]
        };
        let (one, other) = (features(&list(0, 1, 2)), features(&list(2, 0, 1)));
        assert_eq!(one.gates, other.gates);
        for (a, b) in one.values.iter().zip(&other.values) {
            assert!((a - b).abs() < 1e-5);
        }
    }

    #[test]
    fn every_column_is_filled_and_finite() {
        let mut matrix = Columns::new(1);
        let list = [candidate("J00", &[(0, 0.7)])];
        vote_columns(&list, &Groups::of(&list), &mut matrix);
        retrieval_columns(&list, &Groups::of(&list), &mut matrix);
        row_columns(&RowSummary::of(&list), &Groups::of(&list), &mut matrix);
        prior_columns(&[CodePrior::default()], &mut matrix);
        classifier_columns(&[Some(1.0)], &Groups::of(&list), &mut matrix);
        assert_eq!(matrix.filled, [FEATURES - 8]); // the code's shape has five columns, the document three
        assert!(features(&list).values.iter().all(|value| value.is_finite()));
        assert!(features(&[]).values.is_empty());
    }

    #[test]
    fn gates_tell_equal_near_and_unknown_texts_apart() {
        let gates = |similarity| features(&[candidate("J00", &[(0, similarity)])]).gates;
        assert_eq!(gates(1.0), [1.0, 1.0, 0.0]);
        assert_eq!(gates(0.8), [1.0, 0.0, 0.0]);
        assert_eq!(gates(0.3), [1.0, 0.0, 1.0]);
    }
}
