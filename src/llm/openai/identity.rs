//! Addresses come in; what each server says of itself, and the model that all of them serve, leave.
//!
//! # Source
//! The owners that servers list: `vllm`, `sglang` and `llamacpp` in their model cards, `local` in mistralrs-server-core, `library`
//! (the default namespace) in Ollama.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, SERVER};
use serde_json::Value;

use super::{
    Structured, failed_to_load,
    transport::{self, Failure, FailureKind},
};
use crate::error::Result;

/// What a server says of itself.
pub(super) struct Identity {
    /// Names of its models, the one to take first.
    pub models: Vec<String>,
    /// What kind of server it is, such as `vllm`; `unknown` if it does not tell.
    pub kind: String,
}

/// Asks a server for its models. With `wanted` named, a server without a list is taken to have that one.
pub(super) async fn identify(
    http: &reqwest::Client,
    base: &str,
    key: Option<&HeaderValue>,
    wanted: Option<&str>,
) -> std::result::Result<Identity, Failure> {
    let mut request = http.get(format!("{base}/models")).timeout(Duration::from_secs(10));
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, key.clone());
    }
    let (headers, body) = match (transport::exchange(http, request.build()?).await, wanted) {
        // Some servers have no list of models; they may do without if the model is named.
        (Err(Failure { status: Some(404), .. }), Some(model)) => {
            return Ok(Identity { models: vec![model.to_owned()], kind: "unknown".into() });
        }
        (reply, _) => reply?,
    };
    let list: Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Identity::read(&headers, &list))
}

impl Identity {
    fn read(headers: &HeaderMap, list: &Value) -> Self {
        let entries = list.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let text = |entry: &Value, name| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut models: Vec<String> =
            entries.iter().map(|entry| text(entry, "id")).filter(|id| !id.is_empty()).collect();
        let owner = entries.first().map(|entry| text(entry, "owned_by")).unwrap_or_default();
        let server = headers.get(SERVER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = match owner.as_str() {
            "vllm" | "sglang" | "llamacpp" => owner,
            // mistralrs-server puts an alias before the model itself.
            "local" if models.first().is_some_and(|id| id == "default") => {
                models.rotate_left(1);
                "mistralrs".into()
            }
            // Ollama gives the namespace of the model.
            "library" => "ollama".into(),
            _ if server.starts_with("llama.cpp") => "llamacpp".into(),
            _ => "unknown".into(),
        };
        Self { models, kind }
    }
}

/// Finds the model that all servers serve. Warns of servers that are down, unless all are.
pub(super) fn agree(
    found: &[std::result::Result<Identity, Failure>],
    bases: &[&str],
    wanted: Option<&str>,
) -> Result<String> {
    let mut model = wanted.map(str::to_owned);
    for (identity, base) in found.iter().zip(bases) {
        let Ok(identity) = identity else { continue };
        match &model {
            None => model = identity.models.first().cloned(),
            Some(model) if wanted.is_none() && !identity.models.contains(model) => {
                let reason = format!("it does not serve `{model}`, as an earlier server does");
                return Err(failed_to_load(*base, reason, "name the model that all of them serve (`model`)"));
            }
            Some(_) => {}
        }
    }
    for (identity, base) in found.iter().zip(bases) {
        match identity {
            Err(failure) if failure.kind == FailureKind::Refused => {
                let hint = "look at its answer to GET /models; a key is sent if `api_key_env` names its variable";
                return Err(failed_to_load(*base, failure.to_string(), hint));
            }
            Err(failure) if found.iter().any(std::result::Result::is_ok) => {
                tracing::warn!("{base} is left out for a minute: {failure}");
            }
            Err(failure) => {
                return Err(failed_to_load(
                    *base,
                    failure.to_string(),
                    "start the server, or wait until it has loaded its model",
                ));
            }
            Ok(_) => {}
        }
    }
    model.ok_or_else(|| {
        failed_to_load(
            bases.first().copied().unwrap_or_default(),
            "it lists no model".into(),
            "name the model (`model`)",
        )
    })
}

impl Structured {
    /// Returns how a server of this kind takes constraints.
    pub(super) fn of(kind: &str) -> Self {
        match kind {
            "vllm" => Self::Vllm,
            "sglang" => Self::Sglang,
            "llamacpp" => Self::LlamaCpp,
            "mistralrs" => Self::Mistralrs,
            "ollama" => Self::Openai,
            _ => {
                tracing::warn!(
                    "the server does not say what it is: its answers are free, not held to text or list; name it with `llm.structured`"
                );
                Self::None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn servers_are_known_by_what_they_list() {
        let of = |list: Value, server: &'static str| {
            let headers = HeaderMap::from_iter([(SERVER, HeaderValue::from_static(server))]);
            let identity = Identity::read(&headers, &list);
            (
                identity.kind.clone(),
                identity.models.first().cloned().unwrap_or_default(),
                Structured::of(&identity.kind),
            )
        };
        let one = |id: &str, owner: &str| json!({"data": [{"id": id, "owned_by": owner}]});
        let expect = |kind: &str, model: &str, structured| (kind.to_owned(), model.to_owned(), structured);
        assert_eq!(of(one("m", "vllm"), "uvicorn"), expect("vllm", "m", Structured::Vllm));
        assert_eq!(of(one("m", "sglang"), "uvicorn"), expect("sglang", "m", Structured::Sglang));
        assert_eq!(of(one("m", "llamacpp"), ""), expect("llamacpp", "m", Structured::LlamaCpp));
        assert_eq!(of(one("m", "me"), "llama.cpp"), expect("llamacpp", "m", Structured::LlamaCpp));
        assert_eq!(of(one("m", "library"), ""), expect("ollama", "m", Structured::Openai));
        let mistral = json!({"data": [{"id": "default", "owned_by": "local"}, {"id": "m", "owned_by": "local"}]});
        assert_eq!(of(mistral, ""), expect("mistralrs", "m", Structured::Mistralrs));
        assert_eq!(of(one("m", "me"), "uvicorn"), expect("unknown", "m", Structured::None));
        assert_eq!(of(json!({"data": "odd"}), ""), expect("unknown", "", Structured::None));
    }
}
