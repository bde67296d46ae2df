//! Lists written as JSON: arrays of strings, objects that hold them, objects one after the other.

use serde_json::Value;

use super::list::Found;

/// Reads the JSON that starts at byte `at`: an array, an object, or a run of objects (a list that was cut off, or one a line).
/// `None` if it is broken, or holds something but no string.
pub(super) fn read(answer: &str, at: usize) -> Option<Found> {
    let (value, mut end) = value(answer, at)?;
    let mut found = Found { closed: true, ..Found::default() };
    strings(&value, &mut found.items);
    found.other_form = !matches!(&value, Value::Array(items) if items.iter().all(Value::is_string));
    while value.is_object() {
        let rest = answer[end..].trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        if !rest.starts_with('{') {
            break;
        }
        let next = answer.len() - rest.len();
        let Some((another, another_end)) = self::value(answer, next) else {
            (found.closed, found.unfinished, end) = (false, Some(String::new()), answer.len());
            break;
        };
        strings(&another, &mut found.items);
        end = another_end;
    }
    // The bracket of a list of objects whose end is missing belongs to it.
    found.place = at..end;
    (!found.items.is_empty() || is_empty(&value)).then_some(found)
}

fn value(answer: &str, at: usize) -> Option<(Value, usize)> {
    let mut values = serde_json::Deserializer::from_str(&answer[at..]).into_iter::<Value>();
    let value = values.next()?.ok()?;
    Some((value, at + values.byte_offset()))
}

/// Collects the strings that are items.
fn strings(value: &Value, items: &mut Vec<String>) {
    match value {
        Value::String(words) => items.push(words.clone()),
        Value::Array(values) => values.iter().for_each(|value| strings(value, items)),
        Value::Object(fields) => {
            let mut nested = fields.values().filter(|value| value.is_array() || value.is_object()).peekable();
            let numbered = fields.keys().all(|key| key.ends_with(|c: char| c.is_ascii_digit()));
            if nested.peek().is_some() {
                nested.for_each(|value| strings(value, items));
            } else {
                let most = if numbered { fields.len() } else { 1 };
                let words = fields.values().filter_map(Value::as_str).take(most);
                items.extend(words.map(str::to_owned));
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}
