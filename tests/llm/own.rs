//! Noso's own decoder, token by token, says what mistral.rs says, within the same constraints.

use std::sync::Arc;

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
    engine.generate(&[Request { messages, max_tokens: 60, temperature: 0.0, constraint }]).remove(0).unwrap()
}

#[test]
fn answers_are_those_of_mistral_rs() {
    let text = "ИБС, ПИКС (2019). ГБ 3 ст.";
    for family in ["llama", "mistral", "phi3", "qwen2", "qwen3"] {
        let folder = tempfile::tempdir().unwrap();
        write_model(family, Form::Transformers5, folder.path());
        let model = LanguageModel::load(folder.path(), &Device::Cpu, true).unwrap();
        let own = Own::new(&model.decoder, Arc::new(Chat::load(folder.path()).unwrap())).unwrap();
        let settings = LlmConfig {
            model: Some(folder.path().display().to_string()),
            device: noso::config::Device::Cpu,
            ..LlmConfig::default()
        };
        let peer = MistralRs::load(&settings, None).unwrap();
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
        let labels: Vec<String> = (0..=15).map(|number| number.to_string()).collect();
        let shares = |engine| ask(engine, text, Constraint::Choice { labels: labels.clone() }).choice.unwrap();
        for (ours, theirs) in shares(&own as &dyn Generate).into_iter().zip(shares(&peer)) {
            assert!((ours - theirs).abs() < 1e-4, "{family}: {ours} {theirs}");
        }
    }
}
