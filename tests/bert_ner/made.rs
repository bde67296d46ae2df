//! Notes and an encoder that the tests make up.

use candle_core::Device;
use noso::{
    data::{AnnotatedDocument, Document, Entity, Span},
    nn::{
        Parameters,
        bert::BertConfig,
        pretrained::Pretrained,
        tokenizer::{Casing, Tokenizer},
    },
};

/// Invented notes; mentions stand in brackets and may nest.
pub const NOTES: [&str; 6] = [
    "[Хронический гастрит], обострение. Жалоб нет.",
    "Осмотр: [острый отит] слева; [ринит].",
    "[Язва желудка, осложнённая [кровотечением]] от осени. Без жалоб",
    "Здоров",
    "[Мигрень]. Рекомендован осмотр. [[Гастрит] и [дуоденит]], обострение",
    "Жалоб нет, осмотр через год: [хронический бронхит].",
];

/// Takes the brackets out of a note.
pub fn annotated(number: usize, note: &str) -> AnnotatedDocument {
    let (mut text, mut open, mut places) = (String::new(), Vec::new(), Vec::new());
    for c in note.chars() {
        match c {
            '[' => open.push(text.len()),
            ']' => places.push((open.pop().unwrap(), text.len())),
            c => text.push(c),
        }
    }
    let entity = |(start, end)| Entity { span: Span::new(&text, start, end).unwrap(), code: "K29.5".parse().ok() };
    let entities = places.into_iter().map(entity).collect();
    AnnotatedDocument { document: Document { id: number.to_string(), text }, entities }
}

/// An encoder of random weights whose word pieces are three letters long at most.
pub fn encoder(max_tokens: usize) -> Pretrained {
    let mut pieces: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned).to_vec();
    let text = NOTES.concat().to_lowercase() + ". , ; : диагноз болезнь травма состояние пациента";
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let letters: Vec<char> = word.chars().collect();
        for (at, part) in letters.chunks(3).enumerate() {
            pieces.push(format!("{}{}", if at == 0 { "" } else { "##" }, part.iter().collect::<String>()));
        }
    }
    pieces.extend(text.chars().filter(char::is_ascii_punctuation).map(String::from));
    let mut seen = std::collections::HashSet::new();
    pieces.retain(|piece| seen.insert(piece.clone()));
    let casing = Casing { strip_accents: Some(false), ..Casing::default() };
    let tokenizer = Tokenizer::from_pieces(&pieces, casing).unwrap();
    let config: BertConfig = serde_json::from_value(serde_json::json!({
        "model_type": "bert", "vocab_size": pieces.len(), "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 96, "max_position_embeddings": max_tokens,
        "type_vocab_size": 2, "initializer_range": 0.1, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0
    }))
    .unwrap();
    Pretrained::new("(made)", config, Parameters::new(&Device::Cpu, 3), tokenizer.into()).unwrap()
}
