//! The engine in this process gives the tokens of transformers and PEFT, one by one, for every architecture it admits.

use std::path::{Path, PathBuf};

use noso::{
    config::{Device, Dtype, LlmConfig},
    llm::{Constraint, Finish, Generate, Request, merge::merged, mistralrs::MistralRs},
};

use super::tiny::{Expected, Form, Weights, expected, write_adapter, write_model};

const FAMILIES: [&str; 5] = ["llama", "mistral", "phi3", "qwen2", "qwen3"];

fn load(model: &Path, weights: Option<&Path>) -> MistralRs {
    let config = LlmConfig {
        model: Some(model.display().to_string()),
        device: Device::Cpu,
        dtype: Dtype::F32,
        ..LlmConfig::default()
    };
    MistralRs::load(&config, weights).unwrap()
}

fn assert_answers(engine: &MistralRs, expected: &Expected, weights: &Weights) {
    for (name, case) in &weights.cases {
        let answer = engine.continue_tokens(&expected.prompts[name], case.answer.len()).unwrap();
        assert_eq!(answer, case.answer, "{}, {name} prompt", weights.seed);
    }
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
            assert_answers(&load(folder.path(), None), &expected, &expected.families[family].model);
        }
    }
}

#[test]
fn merged_adapters_answer_as_peft() {
    let expected = expected();
    for family in FAMILIES {
        let model = Model::new(family);
        for (adapter, weights) in &expected.families[family].adapters {
            assert_answers(&load(&model.bare(), Some(&model.with(adapter))), &expected, weights);
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
        let request = Request {
            messages: expected.chat.clone(),
            max_tokens: chat.answer.len(),
            temperature: 0.0,
            constraint: Constraint::Free,
        };
        let answer = engine.generate(&[request]).remove(0).unwrap();
        assert_eq!((answer.prompt_tokens, answer.answer_tokens), (chat.prompt.len(), chat.answer.len()), "{family}");
        assert_eq!(answer.finish, Finish::Length, "{family}");
    }
}
