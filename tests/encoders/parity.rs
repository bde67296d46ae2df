//! Token ids, places and vectors as transformers computes them, in padded batches there and without padding here.

use std::{collections::BTreeMap, path::Path};

use candle_core::Device;
use noso::{
    config::{EncoderConfig, Pooling, Preset},
    embed::{Embed, EncoderSettings, bert::BertEncoder},
    nn::{pretrained::Pretrained, tokenizer::Tokenizer},
};
use serde::Deserialize;

use super::{config, copy, encoder, fixture};

#[derive(Deserialize)]
struct Expected {
    text: String,
    ids: Vec<u32>,
    spans: Option<Vec<Option<(usize, usize)>>>,
    cls: Vec<f32>,
    mean: Vec<f32>,
    pooler: Option<Vec<f32>>,
}

fn expected() -> BTreeMap<String, Vec<Expected>> {
    serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap()
}

fn assert_alike(what: &str, got: &[f32], expected: &[f32]) {
    let difference = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    let cosine = dot(got, expected) / (dot(got, got) * dot(expected, expected)).sqrt();
    assert!(difference <= 1e-4 && cosine >= 0.99999, "{what}: difference {difference}, cosine {cosine}");
}

#[test]
fn tokens_are_those_of_transformers_and_lie_where_they_stand() {
    for (name, rows) in expected() {
        let model = Pretrained::load(fixture(&name).to_str().unwrap(), &Device::Cpu).unwrap();
        for row in rows {
            let tokens = model.tokenizer.encode(&row.text, model.config.max_tokens()).unwrap();
            assert_eq!(tokens.ids, row.ids, "{name}: {}", row.text);
            for (at, span) in row.spans.into_iter().flatten().enumerate() {
                let (start, end) = span.unwrap_or_default();
                let got = &tokens.spans[at];
                assert!(row.text.get(got.clone()).is_some(), "{name}: {got:?} cuts a character of {}", row.text);
                let same = (got.start, got.end) == (start, end) || span.is_none() && got.is_empty();
                assert!(same, "{name}: {} token {at}: {got:?}, expected {span:?}", row.text);
            }
        }
    }
}

#[test]
fn vectors_are_those_of_transformers() {
    for (name, rows) in expected() {
        let poolings = [Pooling::Cls, Pooling::Mean, Pooling::Pooler];
        for pooling in &poolings[..if rows[0].pooler.is_some() { 3 } else { 2 }] {
            let limit = rows.iter().map(|row| row.ids.len()).max();
            let settings =
                EncoderConfig { normalise: Some(false), max_tokens: limit, ..config(&fixture(&name), *pooling) };
            let encoder = encoder(&settings);
            let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
            let vectors = encoder.embed(&texts).unwrap();
            for (row, got) in rows.iter().zip(vectors.chunks_exact(encoder.dim())) {
                let expected = match pooling {
                    Pooling::Cls => &row.cls,
                    Pooling::Mean => &row.mean,
                    Pooling::Pooler => row.pooler.as_ref().unwrap(),
                };
                let start: String = row.text.chars().take(20).collect();
                assert_alike(&format!("{name}, {pooling:?}, {start}"), got, expected);
            }
            assert_eq!(encoder.cut_texts(), 1);
        }
    }
}

#[test]
fn a_batch_equals_single_texts_in_the_order_given() {
    let rows = &expected()["cased"];
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).chain(["", " \n", "отит"]).collect();
    for batch_tokens in [1, 64, 100_000] {
        let encoder = encoder(&EncoderConfig { batch_tokens, ..config(&fixture("cased"), Pooling::Mean) });
        let together = encoder.embed(&texts).unwrap();
        for (text, row) in texts.iter().zip(together.chunks_exact(encoder.dim())) {
            let single = encoder.embed(&[text]).unwrap();
            let difference = single.iter().zip(row).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(difference <= 1e-6, "{batch_tokens}: {difference}");
            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            let expected = if text.trim().is_empty() { 0.0 } else { 1.0 };
            assert!((norm - expected).abs() < 1e-5, "{text}: {norm}");
        }
    }
}

#[test]
fn accents_follow_small_letters_unless_told_otherwise() {
    let folder = copy("uncased");
    let ids = |said: &str| {
        std::fs::write(folder.path().join("tokenizer_config.json"), said).unwrap();
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        ["йод ёлка", "иод елка", "Йод Ёлка"].map(|text| tokenizer.encode(text, 32).unwrap().ids)
    };
    let [marked, plain, large] = ids("{}");
    assert!(marked == plain && marked == large);
    let [marked, plain, large] = ids(r#"{"do_lower_case": true, "strip_accents": false}"#);
    assert!(marked != plain && marked == large);
    let [marked, plain, large] = ids(r#"{"do_lower_case": false}"#);
    assert!(marked != plain && large != plain);
}

#[test]
fn a_saved_model_is_the_same_model() {
    for name in ["cased", "uncased", "xlmr"] {
        let mut model = Pretrained::load(fixture(name).to_str().unwrap(), &Device::Cpu).unwrap();
        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path()).unwrap();
        let settings = EncoderSettings { pooling: Pooling::Mean, normalise: false, lowercase: true, max_tokens: 40 };
        settings.save(folder.path()).unwrap();
        let before = BertEncoder::over(&mut model, settings, 512).unwrap();
        let after = encoder(&EncoderConfig::of(folder.path().to_str().unwrap()));
        assert_eq!(after.settings(), settings);
        assert_eq!(after.fingerprint(), before.fingerprint(), "{name}");
        assert_eq!(after.embed(&["Острый отит"]).unwrap(), before.embed(&["Острый отит"]).unwrap());
    }
}

#[test]
fn settings_come_from_the_nearest_source() {
    let cased = fixture("cased");
    let said = |config: &EncoderConfig| encoder(config).settings();
    let folder = EncoderConfig::of(cased.to_str().unwrap());
    let expected = EncoderSettings { pooling: Pooling::Mean, normalise: true, lowercase: false, max_tokens: 128 };
    assert_eq!(said(&folder), expected, "sentence-transformers");
    let preset = EncoderConfig { preset: Some(Preset::Sapbert), ..folder.clone() };
    assert_eq!(said(&preset).pooling, Pooling::Cls);
    assert_eq!((said(&preset).max_tokens, said(&preset).lowercase), (25, true));
    let own = EncoderConfig { pooling: Some(Pooling::Mean), max_tokens: Some(9), ..preset };
    assert_eq!((said(&own).pooling, said(&own).max_tokens), (Pooling::Mean, 9));
}

#[test]
fn a_fingerprint_tells_models_and_settings_apart() {
    let of = |name: &str, change: &dyn Fn(&mut EncoderConfig)| {
        let mut config = config(&fixture(name), Pooling::Cls);
        change(&mut config);
        encoder(&config).fingerprint().to_owned()
    };
    let base = of("cased", &|_| {});
    assert_eq!(base, of("cased", &|config| config.batch_tokens = 7));
    assert_ne!(base, of("uncased", &|_| {}));
    assert_ne!(base, of("cased", &|config| config.pooling = Some(Pooling::Mean)));
    assert_ne!(base, of("cased", &|config| config.lowercase = Some(true)));
}

#[test]
fn heads_are_kept_and_counted() {
    let model = Pretrained::load(fixture("uncased").to_str().unwrap(), &Device::Cpu).unwrap();
    let unused = model.parameters.unused();
    assert_eq!(unused, ["classifier.bias", "classifier.weight"]);
    assert!(Path::new(&model.name).ends_with("uncased"));
}
