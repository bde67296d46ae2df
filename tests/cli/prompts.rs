//! `noso prompt`.

use std::{fs, path::Path};

use serde_json::Value;

use super::noso;

#[test]
fn the_list_of_prompts_says_what_each_is_for() {
    let run = noso(&["prompt", "list"], None);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let cells = |line: &str| line.split([' ', '│', '┆']).filter(|cell| !cell.is_empty()).map(str::to_owned).collect();
    let rows: Vec<Vec<String>> = run.stdout.lines().map(cells).collect();
    for row in [
        ["name", "version", "language", "task", "examples"],
        ["ner-ru", "1", "ru", "extract", "0"],
        ["select-few-shot-en", "2", "en", "select", "2"],
        ["descend-ru", "1", "ru", "descend", "0"],
    ] {
        assert!(rows.iter().any(|cells| *cells == row), "{row:?}\n{}", run.stdout);
    }
}

/// Writes a prompt file of one's own.
fn own_prompt(folder: &Path, task: &str, user: &str) -> String {
    let path = folder.join("own.toml");
    let file = format!(
        "name = 'own'\nversion = 3\nlanguage = 'en'\ntask = '{task}'\nsystem = \"Be brief.\\n\\nBe right.\"\nuser = '''\n{user}\n'''\n"
    );
    fs::write(&path, file).unwrap();
    path.display().to_string()
}

/// Renders a prompt and returns it without its fingerprint, which is checked.
fn rendered(args: &[&str]) -> String {
    let run = noso(&[&["prompt", "show"], args].concat(), None);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{}", run.stdout);
    let (fingerprint, messages) = run.stdout.split_once('\n').unwrap();
    assert_eq!(fingerprint, noso::prompt::Prompt::load(args[0]).unwrap().fingerprint());
    messages.to_owned()
}

#[test]
fn a_prompt_is_rendered_with_the_values_given() {
    let folder = tempfile::tempdir().unwrap();
    let own = own_prompt(folder.path(), "extract", "In «{{ text }}»?");
    let expected = "\nsystem\n  Be brief.\n\n  Be right.\n\nuser\n  In «Ушиб колена»?\n";
    assert_eq!(rendered(&[&own, "--text", "Ушиб колена"]), expected);

    let rows = "{{ mention }} in {{ document }}\n{% for c in candidates %}\n{{ c.number }}. {{ c.code }} {{ c.text }}\n{% endfor %}";
    let own = own_prompt(folder.path(), "select", rows);
    let asked =
        ["--mention", "ушиб", "--text", "Был ушиб", "--candidate", "S80.0=Ушиб колена", "--candidate", "S80=a=b"];
    let user = "user\n  ушиб in Был ушиб\n  1. S80.0 Ушиб колена\n  2. S80 a=b\n";
    assert!(rendered(&[&[own.as_str()], &asked[..]].concat()).ends_with(user));
    // A prompt whose answers are titles names candidates by them.
    let short = rendered(&["select-short-ru", "--mention", "ушиб", "--candidate", "S80.0=Ушиб колена"]);
    assert!(short.contains("- Ушиб колена"), "{short}");
}

#[test]
fn a_prompt_is_rendered_with_samples_where_nothing_is_given() {
    assert!(
        rendered(&["ner-ru"])
            .ends_with("\nuser\n  Осмотр: хр. гастрит вне обострения, плоскостопие 2 ст. с двух сторон.\n")
    );
    let select = rendered(&["select-guidelines-ru", "--mention", "хр. гастрит"]);
    assert!(select.contains("\n  1. K29.") && select.contains("\n  15. ") && !select.contains("\n  16. "), "{select}");
    assert!(rendered(&["reword-ru"]).contains("гастрит"));
    let descend = rendered(&["descend-ru"]);
    assert!(descend.contains("\n  1. A00-B99 ") && descend.contains("\n  22. "), "{descend}");
    // Every example is a question and an answer of its own.
    assert_eq!(rendered(&["select-few-shot-ru"]).matches("\nassistant\n").count(), 2);
}

#[test]
fn what_is_wrong_with_a_prompt_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let unknown = own_prompt(folder.path(), "extract", "{{ text }}\n{{ candidates }}");
    for (args, told) in [
        (vec!["show", &unknown], "own.toml`: line 8, `user`: expected a variable of: text; got `candidates`"),
        (vec!["show", "no-such"], "prompt `no-such`: expected a file, or a built-in one of: ner-ru, ner-en"),
        (vec!["show", "ner-ru", "--mention", "ушиб"], "--mention has no place in ner-ru: it asks to extract"),
        (vec!["show", "ner-ru", "--candidate", "S80=ушиб"], "--candidate has no place in ner-ru: it asks to extract"),
        (vec!["show", "select-ru", "--mention", ""], "the mention to look up is empty"),
        (
            vec!["try", "--ner-prompt", "ner-ru", "Ушиб колена"],
            "the shipped model answers no built-in prompts but its own",
        ),
        (vec!["try", "--model", "m", "--ner-prompt", &unknown, "Ушиб колена"], "got `candidates`"),
        (
            vec!["try", "--model", "m", "--select-prompt", "ner-ru", "Ушиб колена"],
            "asks to select; ner-ru asks to extract",
        ),
        (vec!["try", "--pipeline", "no-such", "Ушиб колена"], "expected a file, or a built-in one of: default, llm"),
    ] {
        let run = noso(&[&["prompt"], &args[..]].concat(), None);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{args:?}");
        assert!(run.stderr.contains(told), "{args:?}: {}", run.stderr);
        assert!(!run.stderr.contains("колена"), "{}", run.stderr);
    }
    for (candidate, told) in [("S80", "expected CODE=TEXT"), ("колено=ушиб", "not an ICD-10 code: `колено`")]
    {
        let run = noso(&["prompt", "show", "select-ru", "--candidate", candidate], None);
        assert!(run.code == Some(1) && run.stderr.contains(told), "{}", run.stderr);
    }
}

#[test]
#[cfg(not(feature = "llm"))]
fn a_build_without_language_models_says_so() {
    let run = noso(&["prompt", "try", "--model", "some-model", "--ner-prompt", "ner-en", "Ушиб колена"], None);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert!(
        run.stderr.contains("is not part of this build") && run.stderr.contains("--features llm"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_text_is_tried_out_without_a_language_model_too() {
    let run = noso(&["prompt", "try", "--pipeline", "default", "--format", "json", "Хронический гастрит"], None);
    let account: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(account["exchanges"], Value::Array(Vec::new()));
    assert_eq!(account["mentions"][0]["code"], account["codes"][0]);
    assert_eq!(account["mentions"][0]["candidates"][0]["number"], 1);
}
