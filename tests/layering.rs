//! Holds the `use crate::` lines of `src/` against the one table of which module may import which.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Modules from left to right; a module imports only from columns to its left, never from a neighbour in its own.
const COLUMNS: [&[&str]; 15] = [
    &["error"],
    &["icd", "text", "artifact", "hub", "shard"],
    &["data"],
    &["eval", "config", "catalog", "corpus", "prompt", "nn"],
    &["llm", "embed"],
    &["index"],
    &["ner", "retrieval", "rerank"],
    &["pipeline"],
    &["diagnosis"],
    &["train"],
    &["experiment"],
    &["serve"],
    &["cli"],
    &["main"],
    &["lib"],
];

fn column(module: &str) -> usize {
    COLUMNS
        .iter()
        .position(|modules| modules.contains(&module))
        .unwrap_or_else(|| panic!("module `{module}` stands in no column of tests/layering.rs"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Top-level modules named after `crate::` in `source`, whether as `crate::a::b` or within `crate::{a::b, c}`.
fn imported(source: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    let code: String =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).map(|l| l.to_owned() + "\n").collect();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => modules.extend(group_heads(group)),
            None => modules.extend(head(rest)),
        }
    }
    modules
}

fn head(path: &str) -> Option<String> {
    let name: String = path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    name.starts_with(|c: char| c.is_lowercase()).then_some(name)
}

fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut heads) = (1, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {}
            _ => continue,
        }
        if depth <= 1 && (c == ',' || depth == 0) {
            heads.extend(head(&group[start..at]));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

#[test]
fn imports_point_left_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 10, "found only {} files under src/", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if module == "lib" || module == "main" {
            continue;
        }
        let own = column(&module);
        for used in imported(&std::fs::read_to_string(&file).unwrap()) {
            if used != module && used != "Result" && column(&used) >= own {
                wrong.push(format!("{} imports `{used}`", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that do not point left:\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let source = "use crate::{\n    data::{Span, Mention},\n    error::Result,\n    icd::IcdCode,\n};\nuse crate::text;\n// use crate::cli;\nlet x = crate::index::FORMAT;";
    let seen: Vec<String> = imported(source).into_iter().collect();
    assert_eq!(seen, ["data", "error", "icd", "index", "text"]);
}
