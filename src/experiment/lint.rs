//! What is likely to go wrong with a prompt: a prompt comes in, findings with their lines leave. Nothing is asked.

use std::fmt;

use crate::{
    config::SHIPPED_PROMPTS,
    error::Result,
    llm::{
        Finish,
        answer::{parse_choice, parse_list},
    },
    prompt::{Language, NamedBy, Prompt, Task},
};

/// Share of letters of the other script from which a prompt counts as mixed.
const MIXED: f64 = 0.15;
/// Most items of an example's answer.
const ITEMS: usize = 64;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worth knowing.
    Note,
    /// Likely to cost answers.
    Warning,
    /// The prompt cannot do its task.
    Wrong,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        })
    }
}

/// Something about a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// Line of the file that it is about, from 1.
    pub line: usize,
    /// What it is.
    pub message: String,
}

/// Looks a prompt over. What keeps it from being loaded (an unknown variable, a broken template) is an error of loading it.
///
/// # Errors
/// Those of rendering it.
pub fn lint(prompt: &Prompt) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let rendered = prompt.render(&prompt.task().sample(), &[])?;
    let said: String = rendered.iter().map(|message| message.content.to_lowercase() + "\n").collect();
    unused_variables(prompt, &mut findings);
    answer_format(prompt, &said, &mut findings);
    languages(prompt, &mut findings);
    examples(prompt, &mut findings);
    white_space(prompt, &mut findings);
    let is_same = |name: &&str| Prompt::load(name).is_ok_and(|built_in| built_in.source() == prompt.source());
    if SHIPPED_PROMPTS.iter().any(is_same) {
        for finding in findings.iter_mut().filter(|finding| finding.level == Level::Warning) {
            finding.level = Level::Note;
            finding.message += "; the model that ships was taught it so, others need to be told";
        }
    }
    findings.sort_by_key(|finding| (finding.line, std::cmp::Reverse(finding.level)));
    Ok(findings)
}

/// Variables without which the question cannot be answered, and those that may be left out.
fn unused_variables(prompt: &Prompt, findings: &mut Vec<Finding>) {
    let needed: &[&str] = match prompt.task() {
        Task::Extract => &["text"],
        Task::Select => &["mention", "candidates"],
        Task::Reword => &["mention"],
        Task::Descend => &["mention", "branches"],
    };
    let uses = |name: &str| prompt.templates().iter().any(|(_, template)| has_word(&split(template).1, name));
    for name in prompt.task().variables() {
        let line = line_of(prompt, "user =");
        if uses(name) {
            continue;
        }
        findings.push(match needed.contains(name) {
            true => Finding {
                level: Level::Wrong,
                line,
                message: format!("`{name}` is never shown: the model cannot know it"),
            },
            false if *name == "none_allowed" && prompt.none_allowed() => {
                let message = "0 may be answered, and the prompt does not say so (`none_allowed` is not used)".into();
                Finding { level: Level::Warning, line: line_of(prompt, "none_allowed"), message }
            }
            false => Finding { level: Level::Note, line, message: format!("`{name}` is not used") },
        });
    }
}

/// Tells whether the words say how to answer.
fn answer_format(prompt: &Prompt, said: &str, findings: &mut Vec<Finding>) {
    let says = |any: &[&str]| any.iter().any(|words| said.contains(words));
    let (is_said, what) = match prompt.task() {
        Task::Extract | Task::Reword => {
            (said.contains('[') && said.contains(']'), "a list in brackets, such as ['…', '…']")
        }
        Task::Select if prompt.named_by() == NamedBy::Title => {
            (says(&["назван", "диагноз:", "диагнозов списка", "title", "diagnosis:"]), "one of the titles")
        }
        Task::Select | Task::Descend => (says(&["номер", "числ", "цифр", "number", "digit"]), "a number"),
    };
    if !is_said {
        let line = line_of(prompt, if has_system(prompt) { "system =" } else { "user =" });
        let message =
            format!("the form of the answer is not stated: {what} is read; other forms are repaired where they can be");
        findings.push(Finding { level: Level::Warning, line, message });
    }
}

/// Looks for letters of the other language, and for words that mix both.
fn languages(prompt: &Prompt, findings: &mut Vec<Finding>) {
    let (mut latin, mut cyrillic) = (0usize, 0usize);
    for (key, template) in prompt.templates() {
        let (words, _) = split(template);
        latin += words.chars().filter(char::is_ascii_alphabetic).count();
        cyrillic += words.chars().filter(|letter| is_cyrillic(*letter)).count();
        for word in words.split(|c: char| !c.is_alphabetic()) {
            let mixes = word.chars().any(is_cyrillic) && word.chars().any(|letter| letter.is_ascii_alphabetic());
            if mixes {
                let line = line_in(prompt, word).unwrap_or_else(|| line_of(prompt, &format!("{key} =")));
                let message = format!("`{word}` mixes Latin and Cyrillic letters");
                findings.push(Finding { level: Level::Warning, line, message });
            }
        }
    }
    let (other, all) = match prompt.language() {
        Language::Ru => (latin, latin + cyrillic),
        Language::En => (cyrillic, latin + cyrillic),
    };
    let share = other as f64 / all.max(1) as f64;
    if share > MIXED {
        let message = format!("{:.0} % of the letters are of another language than `language` says", 100.0 * share);
        findings.push(Finding { level: Level::Warning, line: line_of(prompt, "language"), message });
    }
}

/// Reads the examples' answers as a model's would be.
fn examples(prompt: &Prompt, findings: &mut Vec<Finding>) {
    for (number, example) in (1..).zip(prompt.examples()) {
        let faults = match prompt.task() {
            Task::Extract | Task::Reword => parse_list(&example.answer, Finish::Stop, ITEMS).faults,
            Task::Select if prompt.named_by() == NamedBy::Title => continue,
            Task::Select | Task::Descend => {
                let offered = example.variables.values().filter_map(|value| value.as_array()).map(Vec::len).max();
                parse_choice(&example.answer, offered.unwrap_or(0), prompt.none_allowed()).faults
            }
        };
        if let Some(fault) = faults.first() {
            let line = line_in(prompt, &example.answer).unwrap_or_else(|| line_of(prompt, "[[examples]]"));
            let message = format!("the answer of example {number} is itself not well formed: {}", fault.fault.label());
            findings.push(Finding { level: Level::Warning, line, message });
        }
    }
}

/// A model that is shown blanks or empty lines where it is to speak goes on with them.
fn white_space(prompt: &Prompt, findings: &mut Vec<Finding>) {
    for (number, line) in (1..).zip(prompt.source().lines()) {
        if line.ends_with([' ', '\t']) {
            findings.push(Finding {
                level: Level::Note,
                line: number,
                message: "blanks at the end of the line".into(),
            });
        }
    }
}

fn has_system(prompt: &Prompt) -> bool {
    prompt.templates().iter().any(|(key, template)| *key == "system" && !template.is_empty())
}

/// Returns the line of the first piece of the file, the first line if it is not there.
fn line_of(prompt: &Prompt, piece: &str) -> usize {
    line_in(prompt, piece).unwrap_or(1)
}

fn line_in(prompt: &Prompt, piece: &str) -> Option<usize> {
    prompt.source().lines().position(|line| line.contains(piece)).map(|line| line + 1)
}

fn has_word(template: &str, name: &str) -> bool {
    template.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
}

fn is_cyrillic(letter: char) -> bool {
    ('\u{400}'..='\u{4ff}').contains(&letter)
}

/// Parts a template: its words, and the tags that it is filled and steered with.
fn split(template: &str) -> (String, String) {
    let (mut words, mut tags) = (String::new(), String::new());
    let mut rest = template;
    while let Some(start) = ["{{", "{%", "{#"].iter().filter_map(|open| rest.find(open)).min() {
        words.push_str(&rest[..start]);
        let end = ["}}", "%}", "#}"].iter().filter_map(|close| rest[start..].find(close)).min();
        let end = end.map_or(rest.len(), |end| start + end + 2);
        tags.push_str(&rest[start..end]);
        rest = &rest[end..];
    }
    (words + rest, tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::built_in_prompts;

    fn found(source: &str) -> Vec<(Level, usize, String)> {
        let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        std::fs::write(file.path(), source).unwrap();
        let prompt = Prompt::load(&file.path().display().to_string()).unwrap();
        lint(&prompt).unwrap().into_iter().map(|finding| (finding.level, finding.line, finding.message)).collect()
    }

    #[test]
    fn built_in_prompts_are_without_fault() {
        for name in built_in_prompts() {
            let findings = lint(&Prompt::load(name).unwrap()).unwrap();
            assert!(findings.iter().all(|one| one.level == Level::Note), "{name}: {findings:?}");
        }
    }

    #[test]
    fn a_prompt_that_hides_its_question_or_its_answer_is_told() {
        let found = found(
            "name = \"x\"\nversion = 1\nlanguage = \"ru\"\ntask = \"select\"\nnone_allowed = true\nuser = \"\"\"\nВыберите для {{ mention }} \
             лучшее, please take care of wеrds.\n\"\"\"\n",
        );
        let has = |level, line, words: &str| {
            assert!(
                found.iter().any(|one| one.0 == level && one.1 == line && one.2.contains(words)),
                "{words}: {found:?}"
            );
        };
        has(Level::Wrong, 6, "`candidates` is never shown");
        has(Level::Warning, 5, "0 may be answered");
        has(Level::Warning, 6, "the form of the answer is not stated: a number");
        has(Level::Warning, 7, "`wеrds` mixes");
        has(Level::Warning, 3, "of another language");
    }

    #[test]
    fn a_variable_that_only_the_words_name_is_not_shown() {
        let found = found(
            "name = \"x\"\nversion = 1\nlanguage = \"en\"\ntask = \"extract\"\nuser = \"List the diagnoses of the text as ['a']\"\n",
        );
        assert!(found.iter().any(|one| one.0 == Level::Wrong && one.2.contains("`text` is never shown")), "{found:?}");
    }

    #[test]
    fn an_example_that_answers_in_another_form_is_told() {
        let found = found(
            "name = \"x\"\nversion = 1\nlanguage = \"ru\"\ntask = \"extract\"\nuser = \"Диагнозы списком ['…']: {{ text }}\"\n[[examples]]\n\
             answer = \"Вот диагнозы: ['грипп']\"\n[examples.variables]\ntext = \"грипп\"\n",
        );
        assert!(found.iter().any(|one| one.1 == 7 && one.2.contains("example 1")), "{found:?}");
    }

    #[test]
    fn tags_are_no_words() {
        let (words, tags) = split("а {{ mention }} б {% if x %}в{% endif %}");
        assert_eq!((words.as_str(), tags.as_str()), ("а  б в", "{{ mention }}{% if x %}{% endif %}"));
        assert_eq!(split("а {{ broken"), ("а ".to_owned(), "{{ broken".to_owned()));
    }
}
