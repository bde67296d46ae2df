//! The grid of an experiment: settings come in, the pipelines to run leave, each with a name that says how it differs.

use super::settings::{ExperimentSettings, PIPELINE, RowSettings};
use crate::{
    config::{LlmConfig, PipelineConfig},
    error::{Error, Result},
};

/// One combination of a row and a value of each axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Its row and values, as people tell it from the others.
    pub name: String,
    /// Name of its row, if it is of one.
    pub row: Option<String>,
    /// Row of a table of published figures that it repeats.
    pub paper: Option<String>,
    /// What a user must have for it.
    pub needs: Option<String>,
    /// Each axis's key and the value it has here, as shown.
    pub values: Vec<(String, String)>,
    /// The pipeline.
    pub config: PipelineConfig,
}

impl Cell {
    /// Has the model that ships asked in place of another, with the prompts that it was taught: what an experiment does can be tried where
    /// its models are not.
    pub fn stand_in(&mut self) {
        let PipelineConfig { ner, rerank, llm, second_look, .. } = &mut self.config;
        let LlmConfig { context_tokens, timeout_s, .. } = *llm;
        *llm = LlmConfig { context_tokens, timeout_s, ..LlmConfig::default() };
        (ner.llm.prompt, ner.llm.shots, rerank.llm.prompt, rerank.llm.shots) = (None, 0, None, 0);
        second_look.rounds = 1;
    }
}

/// Returns how many cells an experiment has.
pub fn count(settings: &ExperimentSettings) -> usize {
    let values = settings.axes.values().map(|values| values.as_array().map_or(1, Vec::len));
    values.fold(settings.rows.len().max(1), usize::saturating_mul)
}

/// Lists the cells, row by row, the last axis changing fastest. The first is what others are compared with.
///
/// # Errors
/// - [`Error::Setting`] for a key or value that no pipeline has; names it and the nearest.
pub fn cells(settings: &ExperimentSettings) -> Result<Vec<Cell>> {
    let rows: Vec<Option<&RowSettings>> = match settings.rows.is_empty() {
        true => vec![None],
        false => settings.rows.iter().map(Some).collect(),
    };
    let mut combinations: Vec<Vec<(&String, &toml::Value)>> = vec![Vec::new()];
    for (key, values) in &settings.axes {
        let values = values.as_array().into_iter().flatten();
        let with = |value| combinations.iter().map(move |so_far| [so_far.as_slice(), &[(key, value)]].concat());
        let longer: Vec<Vec<Vec<_>>> = values.map(|value| with(value).collect()).collect();
        combinations = (0..combinations.len()).flat_map(|at| longer.iter().map(move |of| of[at].clone())).collect();
    }
    let of_row = |row| combinations.iter().map(move |values| cell(settings, row, values));
    rows.into_iter().flat_map(of_row).collect()
}

fn cell(settings: &ExperimentSettings, row: Option<&RowSettings>, values: &[(&String, &toml::Value)]) -> Result<Cell> {
    let mut pipeline = row.and_then(|row| row.pipeline.clone()).unwrap_or_else(|| settings.pipeline.clone());
    let mut set = settings.set.clone();
    set.extend(row.into_iter().flat_map(|row| row.set.clone()));
    for (key, value) in values {
        match (key.as_str(), value.as_str()) {
            (PIPELINE, Some(name)) => pipeline = name.to_owned(),
            (PIPELINE, None) => return Err(wrong(key, "names of pipelines", &value.to_string())),
            _ => set.push(format!("{key}={value}")),
        }
    }
    let shown = values
        .iter()
        .map(|(key, value)| (short(key, &settings.axes).to_owned(), told(value, &settings.axes[key.as_str()])));
    let shown: Vec<(String, String)> = shown.collect();
    let parts = row.map(|row| row.name.clone()).into_iter();
    let name = parts.chain(shown.iter().map(|(key, value)| format!("{key}={value}"))).collect::<Vec<_>>().join(", ");
    Ok(Cell {
        name: if name.is_empty() { pipeline.clone() } else { name },
        row: row.map(|row| row.name.clone()),
        paper: row.and_then(|row| row.paper.clone()),
        needs: row.and_then(|row| row.needs.clone()),
        values: shown,
        config: load(&pipeline, &set)?,
    })
}

/// Loads a pipeline; what is wrong with it is told with the assignment that brought it in.
fn load(pipeline: &str, set: &[String]) -> Result<PipelineConfig> {
    PipelineConfig::load(pipeline, set).map_err(|error| {
        let told = error.to_string();
        let fails_so = |count: &usize| {
            let loaded = PipelineConfig::load(pipeline, &set[..*count]);
            loaded.is_err_and(|error| error.to_string() == told)
        };
        match (error, (0..=set.len()).find(fails_so)) {
            (Error::Setting { expected, got, .. }, Some(count @ 1..)) => {
                Error::Setting { key: set[count - 1].clone(), expected, got }
            }
            (error, _) => error,
        }
    })
}

/// Returns the end of a key, as far as no other of the keys ends so.
fn short<'k>(key: &'k str, axes: &toml::Table) -> &'k str {
    let mut ends = key.match_indices('.').rev().map(|(at, _)| &key[at + 1..]).chain([key]);
    let is_one = |end: &&str| {
        let ends_so = |other: &&String| other.as_str() == *end || other.ends_with(&format!(".{end}"));
        axes.keys().filter(ends_so).count() == 1
    };
    ends.find(is_one).unwrap_or(key)
}

/// Writes a value without quotes, a path by its name where no other value of its axis has the same.
fn told(value: &toml::Value, axis: &toml::Value) -> String {
    let name = name_of(value);
    let values = axis.as_array().into_iter().flatten();
    match values.filter(|other| name_of(other) == name).count() {
        ..=1 => name,
        _ => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    }
}

fn name_of(value: &toml::Value) -> String {
    let Some(text) = value.as_str() else { return value.to_string() };
    let path = std::path::Path::new(text);
    let ending = path.extension().and_then(|ending| ending.to_str());
    let name = if matches!(ending, Some("toml" | "gguf")) { path.file_stem() } else { path.file_name() };
    match name.filter(|_| path.is_absolute()) {
        Some(name) => name.to_string_lossy().into(),
        None => text.to_owned(),
    }
}

fn wrong(key: &str, expected: &str, got: &str) -> Error {
    Error::Setting { key: format!("axes.{key}"), expected: expected.into(), got: got.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> ExperimentSettings {
        toml::from_str(&format!("corpus.gold = 'notes'\n{text}")).unwrap()
    }

    #[test]
    fn all_combinations_are_listed_with_the_last_axis_fastest() {
        let settings = settings(
            "pipeline = 'llm'\nset = ['llm.model=m', 'rerank.candidates=7']\n[axes]\n'rerank.llm.prompt' = ['select-short-ru', '/a/mine.toml']\n\
             'ner.llm.prompt' = ['ner-short-ru']\n'retrieval.neighbours' = [8, 16]",
        );
        let cells = cells(&settings).unwrap();
        assert_eq!((count(&settings), cells.len()), (4, 4));
        let names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
        assert_eq!(names[0], "rerank.llm.prompt=select-short-ru, ner.llm.prompt=ner-short-ru, neighbours=8");
        assert!(names[1].ends_with("neighbours=16") && names[2].starts_with("rerank.llm.prompt=mine,"), "{names:?}");
        assert_eq!((cells[1].config.retrieval.neighbours, cells[1].config.rerank.candidates), (16, 7));
    }

    #[test]
    fn rows_stand_apart_and_a_pipeline_may_be_an_axis() {
        let text = "[axes]\npipeline = ['default', 'llm']\n[[rows]]\nname = 'A'\n[[rows]]\nname = 'B'\nset = ['rerank.candidates=3']";
        let cells = cells(&settings(text)).unwrap();
        let names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
        assert_eq!(names, ["A, pipeline=default", "A, pipeline=llm", "B, pipeline=default", "B, pipeline=llm"]);
        assert_eq!(cells[3].config.rerank.candidates, 3);
        assert_eq!(super::cells(&settings("")).unwrap()[0].name, "default");
    }

    #[test]
    fn a_wrong_value_is_told_with_its_key() {
        let text = "set = ['ner.engine=crf']\n[axes]\n'rerank.candidates' = [5, 'x']\n'retrieval.neighbours' = [8]";
        let error = cells(&settings(text)).unwrap_err().to_string();
        assert!(error.contains("`rerank.candidates=\"x\"`") && error.contains("a whole number"), "{error}");
        let error = cells(&settings("set = ['llm.dtype=f33']")).unwrap_err().to_string();
        assert!(error.contains("nearest is `f32`"), "{error}");
    }

    #[test]
    fn files_of_one_name_are_told_by_their_paths() {
        let text = "pipeline = 'llm'\nset = ['llm.model=m']\n[axes]\n'ner.llm.prompt' = ['/a/p.toml', '/b/p.toml', '/b/q.toml']";
        let names: Vec<String> = cells(&settings(text)).unwrap().into_iter().map(|cell| cell.name).collect();
        assert_eq!(names, ["prompt=/a/p.toml", "prompt=/b/p.toml", "prompt=q"]);
        let text = "pipeline = 'llm'\n[axes]\n'llm.model' = ['/models/Qwen2.5-7B', '/models/Qwen2.7-7B']";
        let names: Vec<String> = cells(&settings(text)).unwrap().into_iter().map(|cell| cell.name).collect();
        assert_eq!(names, ["model=Qwen2.5-7B", "model=Qwen2.7-7B"]);
    }

    #[test]
    fn a_key_that_no_pipeline_has_is_named_with_the_nearest() {
        let told = cells(&settings("[axes]\n'rerank.llm.promt' = ['a']")).unwrap_err().to_string();
        assert!(told.contains("`promt`, nearest is `prompt`"), "{told}");
        let told = cells(&settings("set = ['reranc.candidates=3']")).unwrap_err().to_string();
        assert!(told.contains("`reranc`, nearest is `rerank`"), "{told}");
        assert!(cells(&settings("[axes]\npipeline = [3]")).is_err());
    }
}
