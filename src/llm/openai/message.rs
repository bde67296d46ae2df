//! A request becomes the JSON that a server takes, and the JSON of its reply becomes an answer.
//!
//! # Source
//! Fields beyond OpenAI's, as the servers document them:
//! - vLLM: <https://docs.vllm.ai/en/latest/features/structured_outputs/>; unknown fields are ignored, so both generations are sent.
//! - SGLang: <https://docs.sglang.io/advanced_features/structured_outputs.html>
//! - llama.cpp: <https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md>
//! - mistral.rs: type `Grammar` of mistralrs-server-core, `{"type": "lark", "value": …}`.

use serde_json::{Map, Value, json};

use super::{Structured, choice_distribution, grammar, transport::Failure};
use crate::llm::{Answer, Constraint, Finish, Request, Token};

/// Likeliest tokens asked for at each position of a choice; OpenAI and vLLM give no more.
const TOP_TOKENS: usize = 20;
/// Name of the one field of an answer in [`Structured::Openai`], whose schemas must be objects.
const FIELD: &str = "answer";
/// Least limit of tokens for an answer in JSON: what is around the label takes its part.
const LEAST_JSON_TOKENS: usize = 64;

/// Writes a request for `model`.
pub(super) fn body(request: &Request, model: &str, structured: Structured) -> Value {
    let is_choice = matches!(request.constraint, Constraint::Choice { .. });
    let least = if is_choice && structured == Structured::Openai { LEAST_JSON_TOKENS } else { 0 };
    let mut body = json!({
        "model": model,
        "messages": request.messages,
        "max_tokens": request.max_tokens.max(least),
        "temperature": request.temperature,
        "seed": request.seed,
        "stream": false,
    });
    let mut more = constraint(&request.constraint, structured);
    // mistral.rs 0.8 gives decimal logarithms of raw logits when it decodes greedily: nothing to learn from.
    if structured != Structured::Mistralrs {
        more.insert("logprobs".into(), true.into());
        more.insert("top_logprobs".into(), if is_choice { TOP_TOKENS } else { 1 }.into());
    }
    if let Some(body) = body.as_object_mut() {
        body.extend(more);
    }
    body
}

/// Returns the fields that confine the answer; none where the server has no way to.
fn constraint(constraint: &Constraint, structured: Structured) -> Map<String, Value> {
    let fields = match (constraint, structured) {
        (Constraint::Free, _) | (_, Structured::Auto | Structured::None) => None,
        (Constraint::Verbatim { .. }, Structured::Openai) => None,
        (Constraint::Verbatim { source, max_items }, Structured::Mistralrs) => {
            grammar::lark_verbatim(source, *max_items).map(|lark| json!({"grammar": {"type": "lark", "value": lark}}))
        }
        (Constraint::Verbatim { source, max_items }, _) => {
            grammar::gbnf_verbatim(source, *max_items).map(|gbnf| gbnf_field(gbnf, structured))
        }
        (Constraint::Choice { labels }, Structured::Vllm) => {
            Some(json!({"structured_outputs": {"choice": labels}, "guided_choice": labels}))
        }
        (Constraint::Choice { labels }, Structured::Mistralrs) => {
            Some(json!({"grammar": {"type": "lark", "value": grammar::lark_choice(labels)}}))
        }
        (Constraint::Choice { labels }, Structured::Openai) => Some(json!({"response_format": choice_schema(labels)})),
        (Constraint::Choice { labels }, _) => Some(gbnf_field(grammar::gbnf_choice(labels), structured)),
    };
    match fields {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn gbnf_field(grammar: String, structured: Structured) -> Value {
    match structured {
        Structured::Vllm => json!({"structured_outputs": {"grammar": grammar}, "guided_grammar": grammar}),
        Structured::Sglang => json!({"ebnf": grammar}),
        _ => json!({"grammar": grammar}),
    }
}

fn choice_schema(labels: &[String]) -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "choice", "strict": true, "schema": {
        "type": "object",
        "properties": {FIELD: {"type": "string", "enum": labels}},
        "required": [FIELD],
        "additionalProperties": false,
    }}})
}

/// Reads a reply. Missing counts, log-probabilities and a null text are tolerated, and so is whatever is beyond the form.
///
/// # Errors
/// - [`Failure`] if there is no choice with a message, or its text is no string. What stands there is not repeated.
pub(super) fn answer(reply: &Value, request: &Request, structured: Structured) -> Result<Answer, Failure> {
    let malformed = |what: &str| Failure::refused(format!("malformed reply: {what}"));
    let choice = reply.pointer("/choices/0").ok_or_else(|| malformed("no choices"))?;
    let message = choice.get("message").and_then(Value::as_object).ok_or_else(|| malformed("no message"))?;
    let text = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        // The model said nothing, or nothing outside its reasoning: an empty answer, which the stages count as such.
        Some(Value::Null) | None => String::new(),
        Some(_) => return Err(malformed("the content is no text")),
    };
    let positions = if structured == Structured::Mistralrs { Vec::new() } else { positions(choice) };
    let tokens = positions.iter().filter_map(|likeliest| likeliest.first());
    let tokens: Vec<Token> =
        tokens.map(|(text, log_probability)| Token { text: text.clone(), log_probability: *log_probability }).collect();
    let count = |name| reply.pointer(name).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
    let mut answer = Answer {
        finish: if choice.get("finish_reason") == Some(&json!("length")) { Finish::Length } else { Finish::Stop },
        choice: None,
        prompt_tokens: count("/usage/prompt_tokens").unwrap_or(0),
        answer_tokens: count("/usage/completion_tokens").unwrap_or(tokens.len()),
        tokens,
        text,
    };
    if let Constraint::Choice { labels } = &request.constraint {
        let mut from = Some(0);
        if structured == Structured::Openai
            && let Some(value) = unwrapped(&answer.text)
        {
            from = position_of(&value, &answer.tokens);
            answer.text = value;
        }
        answer.choice = from.and_then(|from| choice_distribution(labels, positions.get(from..)?, &answer.text));
    }
    Ok(answer)
}

/// Reads the likeliest tokens at each position, first the generated one. Empty if the server gives none, or nonsense.
fn positions(choice: &Value) -> Vec<Vec<(String, f32)>> {
    let read = |entry: &Value| {
        let log_probability = entry.get("logprob")?.as_f64().filter(|value| *value < 1e-3)? as f32;
        Some((entry.get("token")?.as_str()?.to_owned(), log_probability.min(0.0)))
    };
    let position = |entry: &Value| {
        let generated = read(entry)?;
        let others = entry.get("top_logprobs").and_then(Value::as_array).into_iter().flatten().filter_map(read);
        let others: Vec<_> = others.filter(|other| *other != generated).collect();
        Some(std::iter::once(generated).chain(others).collect())
    };
    let entries = choice.pointer("/logprobs/content").and_then(Value::as_array);
    entries.and_then(|entries| entries.iter().map(position).collect::<Option<_>>()).unwrap_or_default()
}

/// Takes the label out of `{"answer": "…"}`.
fn unwrapped(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    value.get(FIELD)?.as_str().map(str::to_owned)
}

/// Finds the token that begins `value` within its quotation marks; the tokens may hold more than the text, as llama.cpp's fences
/// around JSON. `None` if a token spans the mark.
fn position_of(value: &str, tokens: &[Token]) -> Option<usize> {
    let said: String = tokens.iter().map(|token| token.text.as_str()).collect();
    let start = said.rfind(&format!("\"{value}\""))? + 1;
    let mut at = 0;
    tokens.iter().position(|token| {
        let begins = at == start;
        at += token.text.len();
        begins
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Message, Role};

    fn request(constraint: Constraint) -> Request {
        let messages = vec![Message { role: Role::User, content: "Вопрос".into() }];
        Request { messages, max_tokens: 7, temperature: 0.0, seed: 0, constraint }
    }

    fn choice() -> Request {
        request(Constraint::Choice { labels: vec!["1".into(), "2".into()] })
    }

    #[test]
    fn every_kind_of_server_gets_its_own_fields() {
        let verbatim = request(Constraint::Verbatim { source: "Грипп".into(), max_items: 1 });
        let gbnf = "root ::= \"[\" (item)? \"]\"\nitem ::= \"'\" (w0) \"'\"\nw0 ::= \"Грипп\"\n";
        let choices = "root ::= \"1\" | \"2\"\n";
        for (structured, pointer, expected) in [
            (Structured::Vllm, "/structured_outputs/choice", json!(["1", "2"])),
            (Structured::Vllm, "/guided_choice", json!(["1", "2"])),
            (Structured::Sglang, "/ebnf", json!(choices)),
            (Structured::LlamaCpp, "/grammar", json!(choices)),
            (Structured::Mistralrs, "/grammar", json!({"type": "lark", "value": "start: \"1\" | \"2\"\n"})),
            (Structured::Openai, "/response_format/json_schema/schema/properties/answer/enum", json!(["1", "2"])),
        ] {
            assert_eq!(body(&choice(), "m", structured).pointer(pointer), Some(&expected), "{structured:?}");
        }
        for (structured, pointer) in [
            (Structured::Vllm, "/structured_outputs/grammar"),
            (Structured::Vllm, "/guided_grammar"),
            (Structured::Sglang, "/ebnf"),
            (Structured::LlamaCpp, "/grammar"),
        ] {
            assert_eq!(body(&verbatim, "m", structured).pointer(pointer), Some(&json!(gbnf)), "{structured:?}");
        }
        let plain = body(&request(Constraint::Free), "m", Structured::None).as_object().unwrap().len();
        for free in [Structured::Openai, Structured::None, Structured::Auto] {
            assert_eq!(body(&verbatim, "m", free).as_object().unwrap().len(), plain, "{free:?}");
        }
    }

    #[test]
    fn a_label_is_taken_out_of_json_with_its_distribution() {
        let entry = |token: &str, p: f64, others: &[(&str, f64)]| {
            let others: Vec<Value> =
                others.iter().map(|(token, p)| json!({"token": token, "logprob": p.ln()})).collect();
            json!({"token": token, "logprob": p.ln(), "top_logprobs": others})
        };
        let content = [
            entry("```json\n", 1.0, &[]),
            entry("{\"answer\"", 1.0, &[]),
            entry(": \"", 1.0, &[]),
            entry("2", 0.75, &[("2", 0.75), ("1", 0.25)]),
            entry("\"}", 1.0, &[]),
        ];
        let reply =
            json!({"choices": [{"message": {"content": "{\"answer\": \"2\"}"}, "logprobs": {"content": content}}]});
        let answer = answer(&reply, &choice(), Structured::Openai).unwrap();
        assert_eq!(answer.text, "2");
        let [one, two] = answer.choice.unwrap()[..] else { panic!() };
        assert!((one - 0.25).abs() < 1e-5 && (two - 0.75).abs() < 1e-5);
        assert_eq!(answer.tokens.len(), 5);
    }

    #[test]
    fn odd_replies_are_errors_or_tolerated() {
        for reply in [
            json!(null),
            json!([]),
            json!({}),
            json!({"choices": []}),
            json!({"choices": "ИБС"}),
            json!({"choices": [{"text": "ИБС"}]}),
            json!({"choices": [{"message": "ИБС"}]}),
            json!({"choices": [{"message": {"content": ["ИБС"]}}]}),
        ] {
            let failure = answer(&reply, &choice(), Structured::None).unwrap_err();
            assert!(failure.reason.starts_with("malformed reply") && !failure.reason.contains("ИБС"), "{failure}");
        }
        for (reply, text) in [
            (
                json!({"choices": [{"message": {"content": null, "reasoning": "…"}, "finish_reason": 3}], "usage": null}),
                "",
            ),
            (json!({"choices": [{"message": {"content": "1"}, "logprobs": {"content": [{"token": "1"}]}}]}), "1"),
            (
                json!({"choices": [{"message": {"content": "1"}, "logprobs": {"content": [{"token": 1, "logprob": "x"}]}}]}),
                "1",
            ),
            (
                json!({"choices": [{"message": {"content": "1"}, "logprobs": {"content": [{"token": "1", "logprob": 2.5}]}}]}),
                "1",
            ),
            (
                json!({"choices": [{"message": {"content": "1"}}], "usage": {"prompt_tokens": -1, "completion_tokens": "x"}}),
                "1",
            ),
        ] {
            let answer = answer(&reply, &choice(), Structured::None).unwrap();
            assert_eq!(
                (answer.text.as_str(), answer.tokens.len(), answer.choice, answer.prompt_tokens),
                (text, 0, None, 0)
            );
        }
    }
}
