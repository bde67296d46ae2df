//! Stories of the language model's pipeline, told with a model that says what a test wrote down.

mod answers;
mod injection;
mod mixtures;
mod paper;
mod robustness;
mod second_look;
mod stages;

use std::sync::Arc;

use noso::{
    Result,
    config::PipelineConfig,
    data::{AnswerFault, Coded, Document, Role, Step},
    llm::{
        Answer, Constraint, Finish, Generate, Request,
        scripted::{Scripted, said},
    },
    pipeline::{Models, Pipeline},
};

fn script(respond: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Arc<Scripted> {
    Arc::new(Scripted::new(move |request| Ok(respond(request))))
}

/// Says the same whatever it is asked.
fn says(text: &str) -> Arc<Scripted> {
    let text = text.to_owned();
    script(move |request| said(request, &text))
}

fn config(name: &str, settings: &[&str]) -> PipelineConfig {
    let settings: Vec<String> = ["llm.model=x"].iter().chain(settings).map(|text| text.to_string()).collect();
    PipelineConfig::load(name, &settings).unwrap()
}

/// A pipeline whose extraction is answered by one model, and whatever else is asked by another.
fn pipeline(name: &str, settings: &[&str], extract: &Arc<Scripted>, select: &Arc<Scripted>) -> Pipeline {
    let shared = |model: &Arc<Scripted>| Some(model.clone() as Arc<dyn Generate>);
    let models = Models { extract: shared(extract), select: shared(select) };
    Pipeline::with_models(&config(name, settings), &models).unwrap()
}

fn document(text: &str) -> Document {
    Document { id: "1".into(), text: text.into() }
}

fn outcome(pipeline: &Pipeline, text: &str) -> Result<Coded> {
    pipeline.code(&[document(text)]).remove(0)
}

/// Codes a text, and holds every span against it.
fn code(pipeline: &Pipeline, text: &str) -> Coded {
    let coded = outcome(pipeline, text).unwrap();
    for coding in &coded.codings {
        assert_eq!(coding.mention.span.slice(text), coding.mention.text);
        assert!((0.0..=1.0).contains(&coding.confidence) && coding.group_confidence >= coding.confidence);
    }
    coded
}

fn codes(coded: &Coded) -> Vec<Option<String>> {
    coded.codings.iter().map(|coding| coding.code.as_ref().map(ToString::to_string)).collect()
}

fn faults(coded: &Coded) -> Vec<AnswerFault> {
    coded.trace.faults.iter().map(|faulty| faulty.fault).collect()
}

fn steps(coded: &Coded) -> Vec<Step> {
    coded.trace.exchanges.iter().map(|exchange| exchange.step).collect()
}

/// The question itself: what the user says last.
fn question(request: &Request) -> &str {
    let last = request.messages.last().unwrap();
    assert_eq!(last.role, Role::User);
    &last.content
}

/// What a request asks for, told by what it says of its task.
fn step(request: &Request) -> Step {
    let task = &request.messages[0].content;
    match () {
        () if task.contains("другими словами") => Step::Reword,
        () if task.contains("от общего к частному") => Step::Descend,
        () if task.contains("только номером") => Step::Select,
        () => Step::Extract,
    }
}

/// The numbered lines of a question.
fn offered(request: &Request) -> Vec<String> {
    let numbered = |line: &str| {
        let (number, words) = line.split_once(". ")?;
        number.parse::<usize>().ok().map(|_| words.to_owned())
    };
    question(request).lines().filter_map(numbered).collect()
}

/// The number of the line that satisfies `wanted`, or 0.
fn number_of(request: &Request, wanted: impl Fn(&str) -> bool) -> String {
    offered(request).iter().position(|line| wanted(line)).map_or(0, |place| place + 1).to_string()
}

/// Says `label`, with this probability; the other labels share the rest.
fn surely(request: &Request, label: &str, probability: f32) -> Answer {
    let Constraint::Choice { labels } = &request.constraint else { panic!("no choice was asked for") };
    let rest = (1.0 - probability) / (labels.len() - 1) as f32;
    let share = |other: &String| if other == label { probability } else { rest };
    Answer { choice: Some(labels.iter().map(share).collect()), ..said(request, label) }
}

fn cut_off(request: &Request, text: &str) -> Answer {
    Answer { finish: Finish::Length, ..said(request, text) }
}
