//! Turns of a chat, made fit for a model's template.

use crate::data::{Message, Role};

/// Puts the words of a system turn before those of the first user turn, for a template that takes no system turn.
pub(super) fn without_system(messages: &[Message]) -> Vec<Message> {
    let (system, mut rest): (Vec<Message>, Vec<Message>) =
        messages.iter().cloned().partition(|message| message.role == Role::System);
    if let Some(first) = rest.first_mut() {
        let words = system.into_iter().map(|message| message.content).chain([std::mem::take(&mut first.content)]);
        first.content = words.collect::<Vec<_>>().join("\n\n");
    }
    rest
}

/// Breaks control tokens that a text spells out (`<|eot_id|>`), so that no note can end its turn and begin another's.
pub(super) fn without_controls(controls: &[String], mut content: String) -> String {
    for control in controls.iter().filter(|control| !control.trim().is_empty()) {
        if content.contains(control.as_str()) {
            let mut broken = control.clone();
            broken.insert(broken.chars().next().map_or(0, char::len_utf8), '\u{200b}');
            content = content.replace(control.as_str(), &broken);
        }
    }
    content
}

/// Finds the tokens that, by their names, end a text or a turn.
pub(super) fn end_tokens(tokenizer: &tokenizers::Tokenizer) -> Vec<u32> {
    const NAMES: [&str; 7] =
        ["</s>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|im_end|>", "<|end|>", "<eos>"];
    let mut ends: Vec<u32> = NAMES.iter().filter_map(|name| tokenizer.token_to_id(name)).collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// Lists the spellings of control tokens.
pub(super) fn control_tokens(tokenizer: &tokenizers::Tokenizer) -> Vec<String> {
    let added = tokenizer.get_added_tokens_decoder();
    let mut controls: Vec<String> =
        added.into_values().filter(|token| token.special).map(|token| token.content).collect();
    controls.sort();
    controls
}
