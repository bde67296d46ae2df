//! The re-ranker that changes nothing: candidates come in, the first one's code leaves, as in the paper's BERT pipeline.

use super::{Linking, Rerank};
use crate::{
    data::{Candidate, Coded, Coding, DecidedBy, Mention, Trace},
    error::Result,
    icd::IcdCode,
};

/// Power of the cosine in a row's vote: near rows speak much louder than far ones.
const VOTE_POWER: f32 = 8.0;

/// The `first` engine.
///
/// Its confidence is the share of the mention's nearest rows, weighted by `similarity ^ 8`, that stand behind the code, times the
/// similarity of the nearest of them: high where rows agree and one of them is near. It orders codings, and nobody has calibrated it.
pub struct First {
    candidates: usize,
}

impl First {
    /// Makes the engine, which keeps the first `candidates` of a mention.
    pub fn new(candidates: usize) -> Self {
        Self { candidates }
    }

    fn decide(&self, mention: Mention, mut candidates: Vec<Candidate>) -> Coding {
        let votes: Vec<f32> = candidates.iter().map(votes).collect();
        let first = candidates.first().map(|first| (first.code.clone(), first));
        let (mut confidence, mut group_confidence, mut nearest) = (0.0, 0.0, 0.0);
        if let Some((code, first)) = &first {
            let share = |right: &dyn Fn(&IcdCode) -> bool| {
                let ours = candidates.iter().zip(&votes).filter(|(candidate, _)| right(&candidate.code));
                let all: f32 = votes.iter().sum();
                if all > 0.0 { ours.map(|(_, votes)| votes).sum::<f32>() / all } else { 0.0 }
            };
            nearest = first.support.iter().map(|row| row.similarity).fold(0.0, f32::max).min(1.0);
            confidence = share(&|other| other == code);
            group_confidence = share(&|other| other.group() == code.group());
        }
        let code = first.map(|(code, _)| code);
        let decided_by = if code.is_some() { DecidedBy::FirstCandidate } else { DecidedBy::Abstained };
        candidates.truncate(self.candidates);
        let (confidence, group_confidence) = (confidence * nearest, group_confidence * nearest);
        Coding { span: Some(mention.span), mention, code, confidence, group_confidence, candidates, decided_by }
    }
}

/// Sums the votes of the rows behind a candidate.
fn votes(candidate: &Candidate) -> f32 {
    candidate.support.iter().map(|row| row.similarity.clamp(0.0, 1.0).powf(VOTE_POWER) * row.count as f32).sum()
}

impl Rerank for First {
    fn fingerprint(&self) -> String {
        "first".into()
    }

    fn rerank(&self, linkings: Vec<Linking<'_>>) -> Vec<Result<Coded>> {
        let rerank = |Linking { mentions, candidates, .. }: Linking<'_>| {
            let codings = mentions.into_iter().zip(candidates).map(|(mention, list)| self.decide(mention, list));
            Ok(Coded { codings: codings.collect(), trace: Trace::default() })
        };
        linkings.into_iter().map(rerank).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Document, Match, Origin, Span, Support};

    fn candidate(code: &str, rows: &[(f32, u32)]) -> Candidate {
        let row =
            |&(similarity, count): &(f32, u32)| Support { similarity, origin: Origin::Title, count, exact: false };
        let support = rows.iter().map(row).collect();
        Candidate { code: code.parse().unwrap(), title: code.into(), text: code.into(), score: 0.0, support }
    }

    fn decide(candidates: Vec<Candidate>) -> Coding {
        let document = Document { id: "1".into(), text: "хр. гастрит".into() };
        let span = Span::new(&document.text, 0, document.text.len()).unwrap();
        let mention = Mention { span, text: document.text.clone(), matched: Match::Exact, probability: 1.0 };
        let linking = Linking { document: &document, mentions: vec![mention], candidates: vec![candidates] };
        First::new(2).rerank(vec![linking]).remove(0).unwrap().codings.remove(0)
    }

    #[test]
    fn the_first_candidate_is_the_code_and_agreement_is_confidence() {
        let other = || candidate("I10", &[(0.5, 1)]);
        let coding = decide(vec![candidate("K29.5", &[(1.0, 1), (0.5, 1)]), candidate("K29.7", &[(1.0, 1)]), other()]);
        assert_eq!(coding.code, Some("K29.5".parse().unwrap()));
        assert_eq!((coding.candidates.len(), coding.decided_by), (2, DecidedBy::FirstCandidate));
        // Votes: 1 + 1/256, 1, 1/256.
        let all = 2.0 + 2.0 / 256.0;
        assert!((coding.confidence - (1.0 + 1.0 / 256.0) / all).abs() < 1e-6, "{}", coding.confidence);
        assert!((coding.group_confidence - (2.0 + 1.0 / 256.0) / all).abs() < 1e-6);
        let far = decide(vec![candidate("K29.5", &[(0.3, 1)])]);
        assert!((far.confidence - 0.3).abs() < 1e-6); // alone, but far
    }

    #[test]
    fn without_candidates_or_likeness_nothing_is_claimed() {
        let none = decide(Vec::new());
        assert_eq!((none.code, none.confidence, none.decided_by), (None, 0.0, DecidedBy::Abstained));
        assert_eq!(decide(vec![candidate("K29.5", &[(-0.2, 3)])]).confidence, 0.0);
    }
}
