//! The prompts of `prompts/`, compiled in.

/// Lists prompts by name with the text of their files.
macro_rules! prompts {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../prompts/", $name, ".toml")))),+]
    };
}

const BUILT_IN: [(&str, &str); 18] = prompts![
    "ner-ru",
    "ner-en",
    "ner-few-shot-ru",
    "ner-few-shot-en",
    "ner-guidelines-ru",
    "ner-guidelines-en",
    "select-ru",
    "select-en",
    "select-few-shot-ru",
    "select-few-shot-en",
    "select-guidelines-ru",
    "select-guidelines-en",
    "reword-ru",
    "reword-en",
    "descend-ru",
    "descend-en",
    "ner-short-ru",
    "select-short-ru",
];

/// Returns the names of the built-in prompts.
pub fn built_in_prompts() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// Returns the file of a built-in prompt.
pub(super) fn source(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, source)| *source)
}
