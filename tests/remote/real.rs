//! A server that no one here wrote: `scripts/with_server.sh` starts llama.cpp's with a tiny random model.

use std::collections::HashSet;

use noso::{
    config::{Device, LlmConfig},
    llm::{
        Answer, Constraint, Finish, Generate, Request,
        mistralrs::MistralRs,
        openai::{Server, ServerSettings, Structured},
    },
};

use super::{SECRET, ask, settings, told};

fn real_server(structured: Structured) -> Option<Server> {
    let Ok(url) = std::env::var("NOSO_TEST_SERVER") else {
        eprintln!("skipped: NOSO_TEST_SERVER is not set (scripts/with_server.sh starts a server)");
        return None;
    };
    Some(Server::connect(&ServerSettings { structured, ..settings(&[url]) }).unwrap())
}

#[test]
fn a_real_server_answers() {
    let Some(engine) = real_server(Structured::Auto) else { return };
    assert_eq!(engine.fingerprint(), "server:llamacpp:tiny:llama-cpp");
    let requests: Vec<Request> = (0..12).map(|at| ask(&format!("Вопрос {at}"), Constraint::Free)).collect();
    let answers: Vec<Answer> = engine.generate(&requests).into_iter().map(Result::unwrap).collect();
    for answer in &answers {
        assert!(answer.prompt_tokens > 10 && (1..=16).contains(&answer.answer_tokens), "{answer:?}");
        assert_eq!(answer.finish == Finish::Length, answer.answer_tokens == 16, "{answer:?}");
        assert!(answer.probability().is_some_and(|p| p > 0.0 && p < 1.0), "{answer:?}");
    }
    let again: Vec<String> = engine.generate(&requests).into_iter().map(|answer| answer.unwrap().text).collect();
    assert_eq!(again, answers.iter().map(|answer| answer.text.clone()).collect::<Vec<_>>());
}

#[test]
fn a_real_server_keeps_to_the_labels() {
    let labels: Vec<String> = (0..=15).map(|number| number.to_string()).collect();
    for structured in [Structured::LlamaCpp, Structured::Openai] {
        let Some(engine) = real_server(structured) else { return };
        let questions =
            (0..8).map(|at| ask(&format!("Выбери, {at}: {SECRET}"), Constraint::Choice { labels: labels.clone() }));
        let answers = engine.generate(&questions.collect::<Vec<_>>());
        let mut read = 0;
        for answer in answers.into_iter().map(Result::unwrap) {
            // The schema allows blanks without end, which a model without sense may like.
            let is_cut = structured == Structured::Openai && answer.finish == Finish::Length;
            assert!(labels.contains(&answer.text) || is_cut, "{structured:?}: {answer:?}");
            if let Some(choice) = &answer.choice {
                read += 1;
                assert!((choice.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{choice:?}");
            }
        }
        assert!(read > 0, "{structured:?}: no distribution at all");
    }
}

#[test]
fn a_real_server_says_only_words_of_the_document() {
    let Some(engine) = real_server(Structured::Auto) else { return };
    let source = "ИБС. Стенокардия \"напряжения\".\nГБ 3 ст, риск ССО 4 (Hp+), болезнь Д'Аламбера";
    let constraint = Constraint::Verbatim { source: source.into(), max_items: 3 };
    let questions: Vec<Request> = (0..6)
        .map(|at| Request { max_tokens: 600, ..ask(&format!("Найди диагнозы, {at}"), constraint.clone()) })
        .collect();
    let mut said = HashSet::new();
    for answer in engine.generate(&questions).into_iter().map(Result::unwrap) {
        assert_eq!(answer.finish, Finish::Stop, "{answer:?}");
        let list = answer.text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).expect(&answer.text);
        for item in list.split("', '").map(|item| item.trim_matches('\'')).filter(|item| !item.is_empty()) {
            assert!(source.contains(item) && item.contains(char::is_alphanumeric), "{item:?} of {:?}", answer.text);
            said.insert(item.to_owned());
        }
    }
    assert!(!said.is_empty());
}

#[test]
fn a_real_servers_refusal_is_an_error_of_the_request() {
    let Some(engine) = real_server(Structured::Auto) else { return };
    let long = SECRET.repeat(2000);
    let answers = engine.generate(&[ask(&long, Constraint::Free), ask("Вопрос", Constraint::Free)]);
    assert!(told(answers[0].as_ref().unwrap_err()).contains("status 400"));
    assert!(answers[1].is_ok());
}

#[test]
fn a_gguf_file_answers_in_this_process() {
    let Ok(model) = std::env::var("NOSO_TEST_GGUF") else { return };
    let config = LlmConfig { model: Some(model), device: Device::Cpu, ..LlmConfig::default() };
    let engine = MistralRs::load(&config, None).unwrap();
    let answer = || engine.generate(&[ask("Хронический гастрит, ремиссия", Constraint::Free)]).remove(0).unwrap();
    assert!(answer().prompt_tokens > 10 && answer().answer_tokens > 0);
    assert_eq!(answer(), answer());
    let labels: Vec<String> = (0..=15).map(|number| number.to_string()).collect();
    let choice = engine.generate(&[ask("Выбери", Constraint::Choice { labels })]).remove(0).unwrap().choice.unwrap();
    assert!((choice.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{choice:?}");
}
