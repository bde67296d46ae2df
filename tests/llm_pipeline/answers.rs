//! Bad answers are data: what can be read is read, the rest stands in the trace.

use noso::data::{AnswerFault as Fault, DecidedBy};

use super::*;

const NOTE: &str = "Диагноз: отит справа; «малый» гастрит слева.";

#[test]
fn every_fault_of_a_list_arrives_in_the_trace() {
    let select = says("0");
    for (answer, fault, found) in [
        ("Вот список: ['отит справа']", Fault::Prose, 1),
        ("- отит справа\n- гастрит", Fault::OtherForm, 2),
        (r#"["отит справа", ""малый" гастрит"]"#, Fault::InnerQuote, 2),
        ("['отит справо']", Fault::Misquoted, 1),
        ("['отит', 'отит']", Fault::Repeated, 1),
        ("['отит', '']", Fault::EmptyItem, 1),
        ("['отит', 'гастрит', 'Диагноз']", Fault::TooMany, 2),
        ("['инфаркт']", Fault::NotFound, 0),
        ("Извините, я не могу ответить.", Fault::Refusal, 0),
        ("", Fault::Empty, 0),
        ("…", Fault::Unreadable, 0),
    ] {
        let coded = code(&pipeline("llm", &["ner.llm.max_items=2"], &says(answer), &select), NOTE);
        assert!(faults(&coded).contains(&fault), "{answer}: {:?}", coded.trace.faults);
        assert_eq!(coded.codings.len(), found, "{answer}: {:?}", coded.codings);
        assert_eq!(coded.trace.exchanges[0].answer, answer);
    }
    let extract = script(|request| cut_off(request, "['отит справа', 'гастр"));
    let coded = code(&pipeline("llm", &[], &extract, &select), NOTE);
    assert_eq!((faults(&coded), coded.codings.len()), (vec![Fault::CutOff], 1));
}

/// Answers to the selection prompt that name no candidate.
const UNUSABLE: [(&str, Fault); 5] = [
    ("99", Fault::OutOfRange),
    ("-1", Fault::OutOfRange),
    ("К сожалению, не могу выбрать.", Fault::Refusal),
    ("", Fault::Empty),
    ("Скорее всего, отит", Fault::Unreadable),
];

#[test]
fn an_unusable_choice_is_rejected_or_the_first_is_taken() {
    for decoding in ["free", "choice"] {
        for (answer, fault) in UNUSABLE {
            let select = says(answer);
            let settings = [&*format!("rerank.llm.decoding={decoding}"), "rerank.llm.on_bad_answer=reject"];
            let rejected = code(&pipeline("llm", &settings, &says("['отит справа']"), &select), NOTE);
            assert_eq!((codes(&rejected), faults(&rejected)), (vec![None], vec![fault]), "{answer}");
            assert_eq!(rejected.codings[0].decided_by, DecidedBy::Abstained);
            assert_eq!(rejected.trace.exchanges[1].outcome, "not usable");

            let settings = [settings[0], "rerank.llm.on_bad_answer=first"];
            let first = code(&pipeline("llm", &settings, &says("['отит справа']"), &select), NOTE);
            let coding = &first.codings[0];
            assert_eq!(coding.decided_by, DecidedBy::First, "{answer}");
            assert_eq!(*coding.candidates[0].text, offered(&select.requests()[0])[0]);
            assert_eq!(coding.code.as_ref(), Some(&coding.candidates[0].code));
            assert_eq!((coding.confidence, faults(&first)), (0.0, vec![fault]), "a bad answer is counted all the same");
        }
    }
}

#[test]
fn a_choice_among_other_words_is_read() {
    let settings = ["rerank.llm.decoding=free"];
    for (answer, number, fault) in [
        ("2", 2, None),
        ("Номер: 2", 2, Some(Fault::Prose)),
        ("Лучше всего подходит вариант 2, отит.", 2, Some(Fault::Prose)),
        ("Ни один не подходит.", 0, Some(Fault::OtherForm)),
    ] {
        let select = says(answer);
        let coded = code(&pipeline("llm", &settings, &says("['отит справа']"), &select), NOTE);
        assert_eq!(faults(&coded), fault.into_iter().collect::<Vec<_>>(), "{answer}");
        assert_eq!(coded.codings[0].code.is_some(), number > 0);
        if number > 0 {
            assert_eq!(*coded.codings[0].candidates[0].text, offered(&select.requests()[0])[number - 1]);
        }
    }
}
