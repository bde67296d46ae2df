//! A model's answer to a question of selection comes in, what it chose leaves.

use super::question::{Answers, Question};
use crate::{
    data::{Candidate, Exchange, FaultyAnswer, Step},
    llm::Asked,
};

/// What the model chose.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Place of the candidate, or `None` if none fits or the answer could not be used.
    pub chosen: Option<usize>,
    /// Whether a bad answer stands behind the choice.
    pub bad_answer: bool,
    /// Probability of the choice, in `[0, 1]`; 0 where the model does not tell.
    pub confidence: f32,
    /// Probability of each candidate, where the model tells.
    pub shares: Option<Vec<f32>>,
    /// Question and answer.
    pub exchange: Exchange,
    /// What was wrong with the answer.
    pub faults: Vec<FaultyAnswer>,
}

impl Selection {
    /// Reads an answer. Retrieval's scores weigh in by `prior`, `0..=1`, where the model tells its distribution.
    pub(super) fn read(answers: &Answers, question: &Question<'_>, asked: Asked, prior: f64) -> Self {
        let (label, faults) = answers.read(&asked.answer.text);
        let told = asked.answer.choice.as_deref().filter(|told| told.len() == answers.labels.len());
        let shares = told.map(|told| {
            let mut shares = vec![0.0; question.candidates.len()];
            let places = answers.places.iter().zip(told);
            places.for_each(|(place, share)| place.iter().for_each(|&place| shares[place] = *share));
            weighed(shares, question.candidates, prior)
        });
        let mut chosen = label.and_then(|label| answers.places[label]);
        if let Some(shares) = shares.as_deref().filter(|_| prior > 0.0) {
            let none = 1.0 - shares.iter().sum::<f32>();
            let best = (0..shares.len()).max_by(|&a, &b| shares[a].total_cmp(&shares[b]).then(b.cmp(&a)));
            chosen = best.filter(|&best| shares[best] >= none);
        }
        let outcome = match (label, chosen) {
            (None, _) => "not usable".to_owned(),
            (_, None) => "none of these".to_owned(),
            (_, Some(place)) => question.candidates[place].code.to_string(),
        };
        let confidence = match (label, &shares, chosen) {
            (None, ..) => None,
            (_, Some(shares), Some(place)) => shares.get(place).copied(),
            (_, Some(shares), None) => Some(1.0 - shares.iter().sum::<f32>()),
            (_, None, _) => asked.answer.probability(),
        };
        Self {
            chosen,
            bad_answer: label.is_none(),
            confidence: confidence.unwrap_or(0.0),
            shares,
            exchange: asked.note(Step::Select, Some(question.span), outcome, confidence),
            faults,
        }
    }
}

/// Multiplies a model's distribution over candidates with that of retrieval's scores, each to the power of its weight. The probability that
/// any of them fits stays the model's.
fn weighed(mut shares: Vec<f32>, candidates: &[Candidate], prior: f64) -> Vec<f32> {
    let of_scores: f64 = candidates.iter().map(|candidate| f64::from(candidate.score.max(0.0))).sum();
    if prior == 0.0 || of_scores <= 0.0 {
        return shares;
    }
    let before: f64 = shares.iter().map(|share| f64::from(*share)).sum();
    let both = shares.iter().zip(candidates).map(|(share, candidate)| {
        let score = f64::from(candidate.score.max(0.0)) / of_scores;
        f64::from(*share).powf(1.0 - prior) * score.powf(prior)
    });
    let both: Vec<f64> = both.collect();
    let after: f64 = both.iter().sum();
    if after > 0.0 {
        shares.iter_mut().zip(both).for_each(|(share, both)| *share = (both / after * before) as f32);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retrieval_s_scores_weigh_in_as_far_as_they_may() {
        let candidates = [("S60.8", 9.0), ("S60.0", 1.0)].map(|(code, score)| Candidate {
            code: code.parse().unwrap(),
            title: "Ушиб".into(),
            text: "Ушиб".into(),
            score,
            support: Vec::new(),
        });
        let weighed = |prior| weighed(vec![0.2, 0.6], &candidates, prior);
        assert_eq!(weighed(0.0), [0.2, 0.6]);
        // √(0.2 · 0.9) to √(0.6 · 0.1), of the 0.8 that the model gives to both.
        let [first, second] = weighed(0.5)[..] else { panic!() };
        assert!((first + second - 0.8).abs() < 1e-6 && (first / second - 3f32.sqrt()).abs() < 1e-4, "{first} {second}");
        assert!((weighed(1.0)[0] - 0.72).abs() < 1e-6);
    }
}
