//! The built-in pipelines that do as the paper's authors did.

use std::sync::Arc as Shared;

use noso::{
    config::{CandidateUnit, ExtractDecoding, OnBadAnswer, ReportedSpan, SelectDecoding},
    corpus::{OutputFormat, WriteOptions, create},
    data::DecidedBy,
};

use super::*;

#[test]
fn the_pipelines_are_set_as_the_paper_says() {
    let (zero_shot, tuned) = (config("paper-zero-shot", &[]), config("paper-tuned", &[]));
    for config in [&zero_shot, &tuned] {
        assert_eq!((config.ner.llm.decoding, config.ner.llm.max_edits), (ExtractDecoding::Free, Some(2)));
        assert_eq!((config.ner.llm.temperature, config.rerank.llm.temperature), (0.0, 0.0));
        assert_eq!((config.retrieval.unit, config.retrieval.neighbours), (CandidateUnit::Entry, 15));
        assert_eq!((config.rerank.candidates, config.rerank.llm.decoding), (15, SelectDecoding::Free));
        assert!(config.rerank.llm.direct_match && config.second_look.rounds == 1);
        assert_eq!((config.extract_prompt().as_str(), config.select_prompt().as_str()), ("ner-ru", "select-ru"));
    }
    let of = |config: &PipelineConfig| (config.rerank.llm.span, config.rerank.llm.on_bad_answer);
    assert_eq!(of(&zero_shot), (ReportedSpan::ChosenEntry, OnBadAnswer::First));
    assert_eq!(of(&tuned), (ReportedSpan::Mention, OnBadAnswer::Reject));
    assert_eq!(zero_shot.retrieval.abbreviations, None);
    assert_eq!(tuned.retrieval.abbreviations, Some("shipped".into()));
}

#[test]
fn zero_shot_reports_the_place_of_the_chosen_entry() {
    let text = "Ранее ДУОДЕНИТ. Ныне дуоденит хрон. справа";
    let extract = says("['дуоденит хрон. справа']");
    let select = script(|request| said(request, &number_of(request, |line| line == "Дуоденит")));
    let coded = code(&pipeline("paper-zero-shot", &[], &extract, &select), text);
    let coding = &coded.codings[0];
    assert_eq!(codes(&coded), [Some("K29.8".into())], "{:?}", offered(&select.requests()[0]));
    assert_eq!(coding.mention.text, "дуоденит хрон. справа");
    let span = coding.span.unwrap();
    assert_eq!((span.start_byte(), span.slice(text)), (text.find("ДУОДЕНИТ").unwrap(), "ДУОДЕНИТ"));

    let tuned = code(&pipeline("paper-tuned", &[], &extract, &select), text);
    assert_eq!(tuned.codings[0].span, Some(tuned.codings[0].mention.span));
}

#[test]
fn an_entry_that_stands_nowhere_is_annotated_at_0_0() {
    let text = "Дуоденит хрон. справа";
    let select = script(|request| said(request, &number_of(request, |line| line == "Гастродуоденит неуточненный")));
    let coded = code(&pipeline("paper-zero-shot", &[], &says("['Дуоденит хрон. справа']"), &select), text);
    assert_eq!((codes(&coded), coded.codings[0].span), (vec![Some("K29.9".into())], None));
    let folder = tempfile::tempdir().unwrap();
    let lookup = Shared::new(|_: &noso::icd::IcdCode| None);
    let options = WriteOptions { format: OutputFormat::Brat, explain: false, resume: false, lookup };
    let mut writer = create(Some(folder.path()), options).unwrap();
    writer.write(&document(text), &coded).unwrap();
    writer.finish().unwrap();
    let annotation = std::fs::read_to_string(folder.path().join("1.ann")).unwrap();
    assert!(annotation.starts_with("T1\ticd_code 0 0\t\n"), "{annotation}");
    assert!(annotation.trim_end().ends_with("K29.9"), "{annotation}");
}

#[test]
fn an_answer_that_cannot_be_read_is_the_first_candidate_or_none() {
    let (extract, select) = (says("['дуоденит хрон. справа']"), says("не знаю"));
    let text = "Ныне дуоденит хрон. справа";
    let zero_shot = code(&pipeline("paper-zero-shot", &[], &extract, &select), text);
    assert_eq!(*zero_shot.codings[0].candidates[0].text, offered(&select.requests()[0])[0]);
    assert_eq!(zero_shot.codings[0].decided_by, DecidedBy::First);
    let tuned = code(&pipeline("paper-tuned", &[], &extract, &select), text);
    assert_eq!(codes(&tuned), [None]);
}

#[test]
fn no_line_of_the_list_is_shown_twice() {
    let select = says("1");
    code(&pipeline("paper-zero-shot", &[], &says("['дуоденит хрон. справа']"), &select), "дуоденит хрон. справа");
    let lines = offered(&select.requests()[0]);
    let distinct: std::collections::BTreeSet<&String> = lines.iter().collect();
    assert!(lines.len() > 3 && distinct.len() == lines.len(), "{lines:?}");
}
