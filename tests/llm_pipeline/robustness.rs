//! Whatever the text, whatever the answer: a result, and spans that slice the text.

use std::sync::{LazyLock, Mutex};

use proptest::prelude::*;

use super::*;

#[test]
fn a_text_without_words_is_not_asked_about() {
    let (extract, select) = (says("['грипп']"), says("1"));
    let pipeline = pipeline("llm", &[], &extract, &select);
    for text in ["", " \n\t ", "…!?", "🤒🤒"] {
        assert_eq!(code(&pipeline, text), Coded::default());
    }
    assert!(extract.requests().is_empty());
}

#[test]
fn characters_of_every_kind_are_sliced_whole() {
    let text = "🤒 Гаи\u{306}морит 👩‍⚕️; е\u{308}ж, ИНФЕКЦИЯ\u{200b}\u{a0}кожи — İstanbul ß";
    let answer = "['Гаи\u{306}морит', 'е\u{308}ж', 'ИНФЕКЦИЯ\u{200b} кожи', '👩‍⚕️', 'İstanbul']";
    for name in ["llm", "paper-zero-shot"] {
        let coded = code(&pipeline(name, &[], &says(answer), &says("1")), text);
        assert!(coded.codings.len() >= 4, "{:?}", coded.trace.faults);
    }
}

#[test]
fn a_hundred_kilobytes_are_coded() {
    let text = "Осмотр без особенностей; гастрит хр. слабый. ".repeat(1300);
    assert!(text.len() > 100_000);
    let extract = says("['гастрит хр. слабый', 'гастрит хр. слабый', 'осмотр без особенностей', 'гастрит хрон слабы']");
    let coded = code(&pipeline("llm", &[], &extract, &says("1")), &text);
    assert!(coded.codings.len() >= 3, "{:?}", coded.trace.faults);
}

/// What the models of [`PIPELINES`] say next.
static ANSWERS: Mutex<[String; 2]> = Mutex::new([String::new(), String::new()]);

static PIPELINES: LazyLock<[Pipeline; 2]> = LazyLock::new(|| {
    let model = |place: usize| {
        script(move |request| {
            let answer = ANSWERS.lock().unwrap()[place].clone();
            match answer.len() % 3 {
                0 => cut_off(request, &answer),
                _ => said(request, &answer),
            }
        })
    };
    let second = ["second_look.rounds=3"];
    [pipeline("llm", &second, &model(0), &model(1)), pipeline("paper-zero-shot", &second, &model(0), &model(1))]
});

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("гастрит".to_owned()),
        Just("ГБ 2 ст".to_owned()),
        Just("['".to_owned()),
        Just("', '".to_owned()),
        Just("']".to_owned()),
        Just("\n1. ".to_owned()),
        Just("0".to_owned()),
        Just("7".to_owned()),
        Just("🤒е\u{308}".to_owned()),
        Just("{\"a\": \"б".to_owned()),
        Just("</think>".to_owned()),
        ".{0,12}",
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_model_says_a_document_is_coded(text in pieces(), list in pieces(), choice in pieces()) {
        *ANSWERS.lock().unwrap() = [list, choice];
        for pipeline in &*PIPELINES {
            let coded = code(pipeline, &text);
            for coding in &coded.codings {
                let offered = coding.candidates.iter().any(|candidate| Some(&candidate.code) == coding.code.as_ref());
                prop_assert!(coding.code.is_none() || offered);
                prop_assert!(coding.span.is_none_or(|span| !span.slice(&text).is_empty()));
            }
        }
    }
}
