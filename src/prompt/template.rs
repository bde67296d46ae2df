//! Strict templates: source and values come in, text leaves.

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value};

use super::wrong;
use crate::error::{Error, Result, line_at};

/// Checks the syntax of a template, which begins on a line of its file, and that it uses none but the `known` variables.
pub(super) fn check(origin: &str, key: &str, source: &str, known: &[&str], first_line: usize) -> Result<()> {
    let place = |line: usize| format!("line {}, `{key}`", first_line + line - 1);
    let environment = environment();
    let template = environment.template_from_named_str(key, source).map_err(|e| {
        let detail = e.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        wrong(origin, format!("{}: {}{detail}", place(e.line().unwrap_or(1)), e.kind()))
    })?;
    let globals: Vec<&str> = environment.globals().map(|(name, _)| name).collect();
    let mut unknown: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    unknown.retain(|name| !known.contains(&name.as_str()) && !globals.contains(&name.as_str()));
    unknown.sort_unstable();
    let Some(name) = unknown.first() else { return Ok(()) };
    let line = line_at(source, use_of(source, name).unwrap_or(0));
    Err(wrong(origin, format!("{}: expected a variable of: {}; got `{name}`", place(line), known.join(", "))))
}

/// Fills a template. Errors name the undefined expression and its line, never a value.
pub(super) fn fill(origin: &str, key: &str, source: &str, values: &Map<String, Value>) -> Result<String> {
    let environment = environment();
    let filled = environment.template_from_named_str(key, source).and_then(|template| template.render(values));
    filled.map_err(|e| told(origin, key, source, &e))
}

fn told(origin: &str, key: &str, source: &str, error: &minijinja::Error) -> Error {
    let place = format!("`{key}`, line {} of the template", error.line().unwrap_or(1));
    let expression = error.range().and_then(|range| source.get(range)).unwrap_or_default().trim();
    let reason = match error.kind() {
        ErrorKind::UndefinedError => format!("{place}: `{expression}` is undefined"),
        // The detail of other errors may hold values, that is, words of a patient.
        kind => format!("{place}: {kind} in `{expression}`"),
    };
    wrong(origin, reason)
}

/// Returns the first byte of the tag that uses a name; words outside of tags may be the same.
fn use_of(source: &str, name: &str) -> Option<usize> {
    let is_used = |tag: &str| tag.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
    let tags = source.match_indices("{{").chain(source.match_indices("{%"));
    let uses = tags.filter(|(at, _)| {
        let end = ["}}", "%}"].iter().filter_map(|close| source[*at..].find(close)).min();
        is_used(&source[*at..end.map_or(source.len(), |end| at + end)])
    });
    uses.map(|(at, _)| at).min()
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // A prompt is no HTML: the words of a text stay as they are.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    // For the place of an error. Errors are told without the values that they then carry.
    environment.set_debug(true);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment
}
