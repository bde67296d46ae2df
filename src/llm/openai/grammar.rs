//! A constraint comes in; a grammar in a language that servers read leaves.
//!
//! GBNF is llama.cpp's language; XGrammar, which vLLM and SGLang use by default, reads the same. Lark is llguidance's, which
//! mistral.rs uses.
//!
//! # Source
//! - GBNF: <https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md>
//! - Lark with `%regex`: <https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md>

use std::fmt::Write;

/// Most words of a document that a grammar is made for: it has a rule a word, and servers follow all places of a word at once.
const MOST_WORDS: usize = 2000;

/// Writes a grammar of exactly these labels, in GBNF.
pub(super) fn gbnf_choice(labels: &[String]) -> String {
    let literals: Vec<String> = labels.iter().map(|label| gbnf_literal(label)).collect();
    format!("root ::= {}\n", literals.join(" | "))
}

/// Writes a grammar of a list of pieces of `source`, in GBNF. `None` if the source has no word or too many.
///
/// A piece starts with a word and ends with one, or with the one sign after it (`ст.`, `Hp+`). A quotation mark that would end an
/// item is never within a piece. A rule a word (`w7` is "word 7, alone or with what follows") keeps the grammar linear in the text.
pub(super) fn gbnf_verbatim(source: &str, max_items: usize) -> Option<String> {
    let words = words(source);
    if words.is_empty() || words.len() > MOST_WORDS {
        return None;
    }
    let more = if max_items > 1 { format!(" (\", \" item){{0,{}}}", max_items - 1) } else { String::new() };
    let mut grammar = format!("root ::= \"[\" (item{more})? \"]\"\nitem ::= \"'\" (");
    for at in 0..words.len() {
        // Writing to a string cannot fail.
        let _ = write!(grammar, "{}w{at}", if at == 0 { "" } else { " | " });
    }
    grammar += ") \"'\"\n";
    for (at, (word, gap)) in words.iter().enumerate() {
        let mut ways = Vec::new();
        if at + 1 < words.len() && may_be_within(gap) {
            ways.push(format!("{} w{}", gbnf_literal(gap), at + 1));
        }
        if let Some(sign) = gap.chars().next().filter(|sign| !sign.is_whitespace() && *sign != '\'') {
            ways.push(gbnf_literal(sign.encode_utf8(&mut [0; 4])));
        }
        let _ = match ways.is_empty() {
            true => writeln!(grammar, "w{at} ::= {}", gbnf_literal(word)),
            false => writeln!(grammar, "w{at} ::= {} ({})?", gbnf_literal(word), ways.join(" | ")),
        };
    }
    Some(grammar)
}

/// Writes a grammar of exactly these labels, in Lark.
pub(super) fn lark_choice(labels: &[String]) -> String {
    let literals: Vec<String> = labels.iter().map(|label| json(label)).collect();
    format!("start: {}\n", literals.join(" | "))
}

/// Writes a grammar of a list of pieces of `source`, in Lark. `None` if the source has no word or too many.
pub(super) fn lark_verbatim(source: &str, max_items: usize) -> Option<String> {
    let count = words(source).len();
    let more = if max_items > 1 { format!(" (\", \" item){{0,{}}}", max_items - 1) } else { String::new() };
    let has_letter = r"/(?s:.*[\p{L}\p{N}](.*\S)?)/";
    (1..=MOST_WORDS).contains(&count).then(|| {
        format!(
            "start: \"[\" (item{more})? \"]\"\nitem: \"'\" PIECE \"'\"\nPIECE: %regex {{ \"substring_words\": {} }} & {has_letter}\n",
            json(source)
        )
    })
}

/// Cuts a text into words, each with what stands between it and the next one. What stands before the first one is left out.
fn words(source: &str) -> Vec<(&str, &str)> {
    // A combining accent belongs to its letter.
    let is_in_word = |c: char| c.is_alphanumeric() || ('\u{300}'..='\u{36f}').contains(&c);
    let mut words = Vec::new();
    let mut rest = source.trim_start_matches(|c| !is_in_word(c));
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|c| !is_in_word(c)).unwrap_or(rest.len()));
        let (gap, next) = after.split_at(after.find(is_in_word).unwrap_or(after.len()));
        words.push((word, gap));
        rest = next;
    }
    words
}

/// Tells whether a piece may go on over this gap: a quotation mark only as an apostrophe, alone between letters.
fn may_be_within(gap: &str) -> bool {
    gap == "'" || !gap.contains('\'')
}

fn gbnf_literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for c in text.chars() {
        match c {
            '"' => literal += "\\\"",
            '\\' => literal += "\\\\",
            '\n' => literal += "\\n",
            '\r' => literal += "\\r",
            '\t' => literal += "\\t",
            c if c.is_control() => {
                let _ = write!(literal, "\\u{:04x}", u32::from(c));
            }
            c => literal.push(c),
        }
    }
    literal.push('"');
    literal
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_a_word() {
        let expected = concat!(
            "root ::= \"[\" (item (\", \" item){0,7})? \"]\"\n",
            "item ::= \"'\" (w0 | w1 | w2 | w3) \"'\"\n",
            "w0 ::= \"Грипп\" (\". \" w1 | \".\")?\n",
            "w1 ::= \"Д\" (\"'\" w2)?\n",
            "w2 ::= \"Артаньян\" (\"\\\"\")?\n",
            "w3 ::= \"Hp\" (\"+\")?\n",
        );
        assert_eq!(gbnf_verbatim("(Грипп. Д'Артаньян\"' Hp+", 8).unwrap(), expected);
    }

    #[test]
    fn a_text_without_words_or_with_too_many_has_no_grammar() {
        assert_eq!(gbnf_verbatim(" .,\n", 8), None);
        assert_eq!(lark_verbatim("", 8), None);
        assert_eq!(gbnf_verbatim(&"а ".repeat(MOST_WORDS + 1), 8), None);
        assert!(gbnf_verbatim(&"а ".repeat(MOST_WORDS), 1).unwrap().starts_with("root ::= \"[\" (item)? \"]\"\n"));
    }

    #[test]
    fn labels_are_quoted() {
        let labels = ["1".to_owned(), "a\"b\\".to_owned()];
        assert_eq!(gbnf_choice(&labels), "root ::= \"1\" | \"a\\\"b\\\\\"\n");
        assert_eq!(lark_choice(&labels), "start: \"1\" | \"a\\\"b\\\\\"\n");
    }
}
