//! An HTTP request comes in; JSON leaves, or a [`Failure`] that says what to do next.
//!
//! async-openai logs and repeats replies that it cannot read, and those may quote a patient's text. So this module reads them
//! first: async-openai sees nothing but well-formed JSON of successful requests.

use std::time::Duration;

use async_openai::{Client, config::Config, error::OpenAIError, middleware::HttpRequestFactory};
use reqwest::{
    Response, StatusCode,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER},
};
use secrecy::SecretString;
use serde_json::Value;

/// Most bytes of a reply that are read.
const REPLY_LIMIT_BYTES: usize = 16 << 20;

/// Why a request brought no answer. Never holds text of a patient.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Failure {
    /// What it means for the request and the server.
    pub kind: FailureKind,
    /// What happened, for people.
    pub reason: String,
    /// Status of the reply, where there was one that told of failure.
    pub status: Option<u16>,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The same request would fail again.
    Refused,
    /// The server lives; the request may do better later.
    Busy,
    /// The server is not there, or the one behind it is not.
    Away,
    /// No answer came in time.
    TimedOut,
}

impl Failure {
    /// Makes a failure that no further try would mend.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self { kind: FailureKind::Refused, reason: reason.into(), status: None, retry_after: None }
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        // The error's own text holds the address, and its sources may hold more.
        let (kind, reason) = if error.is_builder() {
            (FailureKind::Refused, "the request could not be made")
        } else if error.is_connect() {
            (FailureKind::Away, "no connection")
        } else if error.is_timeout() {
            (FailureKind::TimedOut, "no answer in time")
        } else {
            (FailureKind::Away, "the connection broke")
        };
        Self { kind, reason: reason.into(), status: None, retry_after: None }
    }
}

impl From<OpenAIError> for Failure {
    fn from(error: OpenAIError) -> Self {
        match error {
            OpenAIError::Boxed(inner) => inner
                .downcast::<Failure>()
                .map_or_else(|_| Self::refused("the request could not be sent"), |failure| *failure),
            _ => Self::refused("the request could not be sent"),
        }
    }
}

/// Address and key of a server, as async-openai wants them. Its own configuration would send keys and organisations that it
/// finds in the environment.
pub(super) struct Endpoint {
    base: String,
    headers: HeaderMap,
    /// Asked for by the trait; the key is in the headers.
    no_key: SecretString,
}

impl Config for Endpoint {
    fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn query(&self) -> Vec<(&str, &str)> {
        Vec::new()
    }

    fn api_base(&self) -> &str {
        &self.base
    }

    fn api_key(&self) -> &SecretString {
        &self.no_key
    }
}

/// Makes a client whose every request goes through [`exchange`].
pub(super) fn client(http: reqwest::Client, base: &str, key: Option<&HeaderValue>) -> Client<Endpoint> {
    let headers = key.map(|key| (AUTHORIZATION, key.clone())).into_iter().collect();
    let endpoint = Endpoint { base: base.to_owned(), headers, no_key: SecretString::default() };
    Client::build(http.clone(), endpoint).with_http_service(tower::service_fn(move |request: HttpRequestFactory| {
        let http = http.clone();
        async move {
            let (headers, body) = exchange(&http, request.build().await?)
                .await
                .map_err(|failure| OpenAIError::Boxed(Box::new(failure)))?;
            let mut response = http::Response::new(body);
            *response.headers_mut() = headers;
            Ok::<_, OpenAIError>(Response::from(response))
        }
    }))
}

/// Sends a request once. Returns headers and body of a successful reply; the body is JSON.
pub(super) async fn exchange(
    http: &reqwest::Client,
    request: reqwest::Request,
) -> Result<(HeaderMap, Vec<u8>), Failure> {
    let response = http.execute(request).await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = read(response).await?;
    if !status.is_success() {
        return Err(status_failure(status, &headers, &body));
    }
    // Read as a `Value`, as async-openai will: what passes here passes there.
    if serde_json::from_slice::<Value>(&body).is_err() {
        return Err(Failure::refused("malformed reply: not JSON"));
    }
    Ok((headers, body))
}

async fn read(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > REPLY_LIMIT_BYTES {
            return Err(Failure::refused(format!("malformed reply: longer than {REPLY_LIMIT_BYTES} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn status_failure(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let kind = match status.as_u16() {
        502..=504 => FailureKind::Away,
        408 | 429 | 500.. => FailureKind::Busy,
        _ => FailureKind::Refused,
    };
    let mut reason = match status.as_u16() {
        300..=399 => format!("status {} (redirects are not followed)", status.as_u16()),
        code => format!("status {code}"),
    };
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    for name in ["type", "code"] {
        let value = body.pointer(&format!("/error/{name}")).or_else(|| body.get(name));
        if let Some(value) = value.and_then(Value::as_str).filter(|value| is_identifier(value)) {
            reason += &format!(", {name} {value}");
        }
    }
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Failure { kind, reason, status: Some(status.as_u16()), retry_after: seconds.map(Duration::from_secs) }
}

/// Tells whether a text is a name out of a program, which cannot be a patient's: `invalid_request_error`.
fn is_identifier(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}
