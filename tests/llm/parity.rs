//! The engine in this process gives the tokens of transformers and PEFT, one by one, for every architecture it admits.

use std::path::{Path, PathBuf};

use noso::{
    config::{Device, Dtype, LlmConfig},
    data::{Message, Role},
    llm::{Constraint, Finish, Generate, Request, mistralrs::MistralRs},
};

use super::tiny::{Expected, Form, Weights, expected, write_adapter, write_model};

const FAMILIES: [&str; 5] = ["llama", "mistral", "phi3", "qwen2", "qwen3"];
/// Where the tiny Phi-3 changes its rotary factors. transformers starts its cache anew there, mistral.rs does not, so the engine
/// lets no answer cross it.
const PHI3_CHANGE_TOKENS: usize = 64;

fn load(model: &Path, weights: Option<&Path>) -> MistralRs {
    let config = LlmConfig {
        model: Some(model.display().to_string()),
        device: Device::Cpu,
        dtype: Dtype::F32,
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
    Request { messages: messages.to_vec(), max_tokens, temperature: 0.0, constraint: Constraint::Free }
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

#[test]
fn an_answer_ends_where_phi_3_would_change_its_rotary_factors() {
    let engine = load(&Model::new("phi3").bare(), None);
    let chat = [Message { role: Role::User, content: "Хр. гастрит".into() }];
    let answer = engine.generate(&[request(&chat, 100)]).remove(0).unwrap();
    assert_eq!(answer.finish, Finish::Length);
    assert_eq!(answer.prompt_tokens + answer.answer_tokens, PHI3_CHANGE_TOKENS);
}
