//! Where a pipeline's settings come from: a built-in name or a file and single keys come in, checked settings leave.

use std::path::Path;

use super::{PipelineConfig, setting};
use crate::error::{Error, Result, nearest_name};

/// Built-in pipelines: name and TOML.
const BUILT_IN: [(&str, &str); 5] = [
    ("default", include_str!("../../pipelines/default.toml")),
    ("llm", include_str!("../../pipelines/llm.toml")),
    ("bert", include_str!("../../pipelines/bert.toml")),
    ("paper-zero-shot", include_str!("../../pipelines/paper-zero-shot.toml")),
    ("paper-tuned", include_str!("../../pipelines/paper-tuned.toml")),
];

/// Returns the names of the built-in pipelines.
pub fn built_in_pipelines() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

impl PipelineConfig {
    /// Reads a built-in pipeline by name or a pipeline file by path, then applies `overrides` such as
    /// `retrieval.neighbours=32` in order.
    ///
    /// # Errors
    /// - [`Error::Read`] if there is neither such a pipeline nor such a file; [`Error::Setting`] for an unknown key, a
    ///   wrong type or a value outside its range.
    pub fn load(name_or_path: &str, overrides: &[String]) -> Result<Self> {
        let text = match BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            Some((_, text)) => (*text).to_owned(),
            None if !Path::new(name_or_path).exists() => {
                let built_in = built_in_pipelines().collect::<Vec<_>>().join(", ");
                return Err(setting("pipeline", &format!("a file, or a built-in one of: {built_in}"), name_or_path));
            }
            None => std::fs::read_to_string(name_or_path).map_err(|e| Error::read(Path::new(name_or_path), e))?,
        };
        let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
            Error::Parse {
                what: "pipeline",
                path: name_or_path.into(),
                line,
                expected: "TOML".into(),
                got: e.message().to_owned(),
            }
        })?;
        for assignment in overrides {
            apply(&mut table, assignment)?;
        }
        let config: Self = table.try_into().map_err(|e: toml::de::Error| {
            let expected = match e.message().starts_with("unknown field") {
                true => "keys that pipelines/default.toml and llm.toml list",
                false => "a value as its key takes it",
            };
            let got = match e.message().split_once(", expected ") {
                Some((got, expected)) if got.starts_with("invalid ") => {
                    format!("{got}, expected {}", in_words(expected))
                }
                _ => nearest_name(e.message()),
            };
            setting(&format!("pipeline {name_or_path}"), expected, &got)
        })?;
        config.check()?;
        Ok(config)
    }
}

/// Puts Rust's names of numbers into words.
fn in_words(message: &str) -> String {
    let replaced = |message: String, names: &[&str], words: &str| {
        names.iter().fold(message, |message, name| message.replace(name, words))
    };
    let message = replaced(message.to_owned(), &["usize", "u64", "u32"], "a whole number");
    replaced(message, &["f32", "f64"], "a number")
}

/// Sets one key of a pipeline: `SECTION.KEY=VALUE` (the section may have parts, as in `ner.llm.prompt`), where a value that is no TOML is taken as a string.
fn apply(table: &mut toml::Table, assignment: &str) -> Result<()> {
    let wrong = || setting(assignment, "SECTION.KEY=VALUE", assignment);
    let (key, value) = assignment.split_once('=').ok_or_else(wrong)?;
    let (section, key) = key.trim().rsplit_once('.').ok_or_else(wrong)?;
    let value = value.trim();
    let parsed = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut one| one.remove("v"));
    let mut place = table;
    for part in section.split('.') {
        let inner = place.entry(part).or_insert_with(|| toml::Table::new().into());
        place = inner.as_table_mut().ok_or_else(wrong)?;
    }
    place.insert(key.to_owned(), parsed.unwrap_or_else(|| value.to_owned().into()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DecisionConfig, LlmConfig, NerConfig, RerankConfig, RetrievalConfig, SecondLookConfig};

    fn load(overrides: &[&str]) -> Result<PipelineConfig> {
        PipelineConfig::load("default", &overrides.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_file_says_what_the_defaults_are() {
        let defaults = PipelineConfig {
            ner: NerConfig::default(),
            retrieval: RetrievalConfig::default(),
            rerank: RerankConfig::default(),
            decision: DecisionConfig::default(),
            llm: LlmConfig::default(),
            second_look: SecondLookConfig::default(),
        };
        assert_eq!(load(&[]).unwrap(), defaults);
    }

    #[test]
    fn overrides_change_a_key_and_wrong_ones_are_named() {
        let config = load(&["retrieval.neighbours=32", "ner.model=my model.bin"]).unwrap();
        assert_eq!(config.retrieval.neighbours, 32);
        assert_eq!(config.ner.model, Some("my model.bin".into()));
        for wrong in [
            "retrieval.neighbors=3",
            "neighbours=3",
            "retrieval.vote_power=0",
            "decision.min_confidence=2",
            "ner.engine=lstm",
        ] {
            assert!(load(&[wrong]).is_err(), "{wrong}");
        }
        let told = load(&["retrieval.neighbors=3"]).unwrap_err().to_string();
        assert!(told.contains("neighbors"), "{told}");
    }
}
