//! Noso's own decoder, token by token, says what mistral.rs says, within the same constraints.

use std::{path::Path, sync::Arc};

use candle_core::Device;
use noso::{
    config::LlmConfig,
    data::{Message, Role},
    llm::{Answer, Constraint, Generate, Request, chat::Chat, mistralrs::MistralRs, own::Own},
    nn::decoder::LanguageModel,
};

use super::tiny::{Form, write_model};

fn ask(engine: &dyn Generate, content: &str, constraint: Constraint) -> Answer {
    let messages = vec![Message { role: Role::User, content: content.into() }];
    engine.generate(&[Request { messages, max_tokens: 60, temperature: 0.0, seed: 0, constraint }]).remove(0).unwrap()
}

#[test]
fn answers_are_those_of_mistral_rs() {
    let text = "ИБС, ПИКС (2019). ГБ 3 ст.";
    for family in ["llama", "mistral", "phi3", "qwen2", "qwen3"] {
        let folder = tempfile::tempdir().unwrap();
        write_model(family, Form::Transformers5, folder.path());
        let model = LanguageModel::load(folder.path(), &Device::Cpu, true).unwrap();
        let own = Own::new(&model.decoder, Arc::new(Chat::load(folder.path()).unwrap())).unwrap();
        let peer = MistralRs::load(&settings(folder.path()), None).unwrap();
        for constraint in [Constraint::Free, Constraint::Verbatim { source: text.into(), max_items: 3 }] {
            let [ours, theirs] = [&own as &dyn Generate, &peer].map(|engine| ask(engine, text, constraint.clone()));
            // mistral.rs stops where Phi-3's angles change, and trims what it says.
            let (said, peer_said) = (ours.text.trim(), theirs.text.trim());
            assert!(
                !peer_said.is_empty() && said.starts_with(peer_said),
                "{family}, {constraint:?}: {said} {peer_said}"
            );
            assert!(
                family == "phi3" || said == peer_said && ours.finish == theirs.finish,
                "{family}: {said} {peer_said}"
            );
            let difference =
                ours.tokens.iter().zip(&theirs.tokens).map(|(a, b)| (a.log_probability - b.log_probability).abs());
            assert!(difference.fold(0.0, f32::max) < 1e-3, "{family}, {constraint:?}");
        }
        assert_same_shares(family, &own, &peer);
    }
}

fn assert_same_shares(family: &str, own: &Own, peer: &MistralRs) {
    let numbers: Vec<String> = (0..=15).map(|number| number.to_string()).collect();
    let titles = ["Отит", "Отит острый", "Гастрит", "0"].map(str::to_owned).to_vec();
    for labels in [numbers, titles] {
        let shares = |engine| ask(engine, "ГБ 3 ст.", Constraint::Choice { labels: labels.clone() }).choice.unwrap();
        for (ours, theirs) in shares(own as &dyn Generate).into_iter().zip(shares(peer)) {
            assert!((ours - theirs).abs() < 1e-4, "{family}, {labels:?}: {ours} {theirs}");
        }
    }
}

#[test]
fn labels_begin_as_answers_do_where_a_tokenizer_puts_a_blank_after_control_tokens() {
    let folder = tempfile::tempdir().unwrap();
    write_model("llama", Form::Transformers5, folder.path());
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    tokenizer["normalizer"] = serde_json::json!({ "type": "Prepend", "prepend": " " });
    std::fs::remove_file(&path).unwrap(); // it may be a link
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    // The model's turn begins right behind a control token, as in Phi-3.
    let path = folder.path().join("chat_template.jinja");
    let template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
    std::fs::write(&path, template).unwrap();

    let chat = Arc::new(Chat::load(folder.path()).unwrap());
    let messages = [Message { role: Role::User, content: "ГБ".into() }];
    for label in ["1", "12", "Отит"] {
        let taught = chat.answered(&messages, label).unwrap();
        let taught = &taught.ids[taught.answer..];
        let start = chat.answer_start(label).unwrap();
        assert!(taught.starts_with(&start) && taught.len() == start.len() + 1, "{label}: {taught:?} {start:?}");
        assert_eq!(chat.tokenizer().decode(&start, true).unwrap(), format!(" {label}"));
    }
    let model = LanguageModel::load(folder.path(), &Device::Cpu, true).unwrap();
    let own = Own::new(&model.decoder, chat).unwrap();
    assert_same_shares("a blank", &own, &MistralRs::load(&settings(folder.path()), None).unwrap());
}

fn settings(folder: &Path) -> LlmConfig {
    LlmConfig { model: Some(folder.display().to_string()), device: noso::config::Device::Cpu, ..LlmConfig::default() }
}
