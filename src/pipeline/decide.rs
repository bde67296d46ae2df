//! The last step for a mention: give the code, give its group, or give none.

use crate::{
    config::DecisionConfig,
    data::{Coding, DecidedBy},
    icd::IcdCode,
};

/// Applies the confidence limit: below it the code is withheld, or replaced by its group where the group reaches it.
pub(super) fn decide(coding: &mut Coding, settings: DecisionConfig) {
    let Some(code) = &coding.code else { return };
    if coding.confidence >= settings.min_confidence {
        return;
    }
    let group = code.group().parse::<IcdCode>().ok().filter(|_| settings.back_off);
    match group.filter(|_| coding.group_confidence >= settings.min_confidence) {
        Some(group) => {
            coding.code = Some(group);
            coding.confidence = coding.group_confidence;
            coding.decided_by = DecidedBy::BackOff;
        }
        None => {
            coding.code = None;
            coding.decided_by = DecidedBy::Abstained;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Match, Mention, Span};

    fn coding(confidence: f32, group_confidence: f32) -> Coding {
        let mention = Mention {
            span: Span::new("грипп", 0, 10).unwrap(),
            text: "грипп".into(),
            matched: Match::Exact,
            probability: 1.0,
        };
        let code = Some("J11.1".parse().unwrap());
        let decided_by = DecidedBy::Nearest;
        let span = Some(mention.span);
        Coding { mention, span, code, confidence, group_confidence, candidates: Vec::new(), decided_by }
    }

    fn outcome(confidence: f32, group: f32, min_confidence: f32, back_off: bool) -> (Option<String>, DecidedBy) {
        let mut coding = coding(confidence, group);
        decide(&mut coding, DecisionConfig { min_confidence, back_off });
        (coding.code.map(String::from), coding.decided_by)
    }

    #[test]
    fn gives_the_code_the_group_or_nothing() {
        assert_eq!(outcome(0.6, 0.9, 0.5, true), (Some("J11.1".into()), DecidedBy::Nearest));
        assert_eq!(outcome(0.4, 0.9, 0.5, true), (Some("J11".into()), DecidedBy::BackOff));
        assert_eq!(outcome(0.4, 0.9, 0.5, false), (None, DecidedBy::Abstained));
        assert_eq!(outcome(0.4, 0.45, 0.5, true), (None, DecidedBy::Abstained));
    }
}
