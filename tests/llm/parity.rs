//! The engine in this process gives the tokens of transformers and PEFT, one by one, for every architecture it admits.

use std::path::{Path, PathBuf};

use noso::{
    config::{Device, Dtype, LlmConfig},
    data::{Message, Role},
    llm::{Constraint, Finish, Generate, Request, merge::merged, mistralrs::MistralRs},
};

use super::tiny::{Expected, Form, Weights, expected, write_adapter, write_model};

const FAMILIES: [&str; 5] = ["llama", "mistral", "phi3", "qwen2", "qwen3"];
/// Where the tiny Phi-3 changes its rotary factors. transformers starts its cache anew there, mistral.rs does not, so the engine
/// lets no answer cross it.
const PHI3_CHANGE_TOKENS: usize = 64;

pub fn load(model: &Path, weights: Option<&Path>) -> MistralRs {
    load_for(1, model, weights)
}

fn load_for(max_in_flight: usize, model: &Path, weights: Option<&Path>) -> MistralRs {
    let config = LlmConfig {
        model: Some(model.display().to_string()),
        device: Device::Cpu,
        dtype: Dtype::F32,
        max_in_flight: Some(max_in_flight),
        ..LlmConfig::default()
    };
    MistralRs::load(&config, weights).unwrap()
}

fn assert_answers(engine: &MistralRs, family: &str, expected: &Expected, weights: &Weights) {
    for (name, case) in &weights.cases {
        let prompt = &expected.prompts[name];
        let comparable = match family {
            "phi3" if prompt.len() < PHI3_CHANGE_TOKENS => PHI3_CHANGE_TOKENS - prompt.len(),
            _ => usize::MAX,
        };
        let answer = &case.answer[..case.answer.len().min(comparable)];
        assert_eq!(engine.continue_tokens(prompt, answer.len()).unwrap(), answer, "{}, {name} prompt", weights.seed);
    }
}

fn request(messages: &[Message], max_tokens: usize) -> Request {
    Request { messages: messages.to_vec(), max_tokens, temperature: 0.0, seed: 0, constraint: Constraint::Free }
}

/// A model folder with its adapters merged beside it.
struct Model {
    folder: tempfile::TempDir,
    family: &'static str,
}

impl Model {
    fn new(family: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_model(family, Form::Transformers5, &folder.path().join("model"));
        Self { folder, family }
    }

    fn bare(&self) -> PathBuf {
        self.folder.path().join("model")
    }

    fn with(&self, adapter: &str) -> PathBuf {
        let path = self.folder.path().join(adapter);
        write_adapter(self.family, adapter, &path);
        merged(&self.bare(), &path, &self.folder.path().join("merged")).unwrap()
    }
}

#[test]
fn every_architecture_answers_as_transformers_whichever_release_wrote_it() {
    let expected = expected();
    assert!(expected.families.keys().eq(&FAMILIES));
    for family in FAMILIES {
        for form in [Form::Transformers4, Form::Transformers5] {
            let folder = tempfile::tempdir().unwrap();
            write_model(family, form, folder.path());
            assert_answers(&load(folder.path(), None), family, &expected, &expected.families[family].model);
        }
    }
}

#[test]
fn merged_adapters_answer_as_peft() {
    let expected = expected();
    for family in FAMILIES {
        let model = Model::new(family);
        for (adapter, weights) in &expected.families[family].adapters {
            assert_answers(&load(&model.bare(), Some(&model.with(adapter))), family, &expected, weights);
        }
    }
}

#[test]
fn two_adapters_in_one_run_answer_as_each_alone() {
    let (expected, model) = (expected(), Model::new("llama"));
    let adapters = &expected.families["llama"].adapters;
    let (ner, rerank) = (model.with("ner"), model.with("rerank"));
    let ner = load(&model.bare(), Some(&ner));
    let rerank = load(&model.bare(), Some(&rerank));
    for name in expected.prompts.keys() {
        for (engine, adapter) in [(&ner, "ner"), (&rerank, "rerank"), (&ner, "ner")] {
            let answer = engine.continue_tokens(&expected.prompts[name], 32).unwrap();
            assert_eq!(answer, adapters[adapter].cases[name].answer, "{adapter}, {name} prompt");
        }
    }
    assert_ne!(ner.fingerprint(), rerank.fingerprint());
}

#[test]
fn chats_are_put_to_the_model_as_transformers_puts_them() {
    let expected = expected();
    for family in FAMILIES {
        let (model, chat) = (Model::new(family), &expected.families[family].chat);
        let engine = load(&model.bare(), None);
        assert_eq!(engine.chat_tokens(&expected.chat).unwrap(), chat.prompt, "{family}");
        assert_eq!(engine.continue_tokens(&chat.prompt, chat.answer.len()).unwrap(), chat.answer, "{family}");
        let answer = engine.generate(&[request(&expected.chat, chat.answer.len())]).remove(0).unwrap();
        assert_eq!((answer.prompt_tokens, answer.answer_tokens), (chat.prompt.len(), chat.answer.len()), "{family}");
        assert_eq!(answer.finish, Finish::Length, "{family}");
    }
}

/// mistral.rs 0.8.1 mixes up chats of equal length that it continues together on the CPU.
#[test]
fn requests_side_by_side_are_answered_as_one_after_another() {
    let model = Model::new("llama");
    let chat = |content: &str| [Message { role: Role::User, content: content.into() }];
    let requests: Vec<_> = (1..=8).map(|stage| request(&chat(&format!("ХПН {stage} ст.")), 12)).collect();
    let answers = |in_flight| {
        let answers = load_for(in_flight, &model.bare(), None).generate(&requests);
        answers.into_iter().map(|answer| answer.unwrap().text).collect::<Vec<_>>()
    };
    assert_eq!(answers(4), answers(1));
}

#[test]
fn an_answer_ends_where_phi_3_would_change_its_rotary_factors() {
    let engine = load(&Model::new("phi3").bare(), None);
    let chat = [Message { role: Role::User, content: "Хр. гастрит".into() }];
    let answer = engine.generate(&[request(&chat, 100)]).remove(0).unwrap();
    assert_eq!(answer.finish, Finish::Length);
    assert_eq!(answer.prompt_tokens + answer.answer_tokens, PHI3_CHANGE_TOKENS);
}
