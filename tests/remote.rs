//! Language models on servers: stand-ins on loopback, and one real server if `NOSO_TEST_SERVER` holds its address.

mod real;

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use noso::{
    Error, Result,
    data::{Message, Role},
    llm::{
        Answer, Constraint, Finish, Generate, Request,
        openai::{Server, ServerSettings, Structured},
    },
};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, Respond, ResponseTemplate,
    matchers::{header, method, path},
};

/// Words that must never leave a request: not in an error, not in a log.
const SECRET: &str = "Иванов болен гриппом";

fn settings(urls: &[String]) -> ServerSettings {
    ServerSettings {
        urls: urls.to_vec(),
        model: None,
        api_key_env: None,
        allow_remote: false,
        max_in_flight: 4,
        timeout_s: 20,
        retries: 2,
        structured: Structured::None,
    }
}

fn ask(text: &str, constraint: Constraint) -> Request {
    let messages = vec![Message { role: Role::User, content: text.into() }];
    Request { messages, max_tokens: 16, temperature: 0.0, seed: 0, constraint }
}

fn free() -> Request {
    ask(SECRET, Constraint::Free)
}

fn reply(text: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3},
    }))
}

/// Repeats the question.
struct Echo;

impl Respond for Echo {
    fn respond(&self, request: &wiremock::Request) -> ResponseTemplate {
        let body: Value = request.body_json().unwrap();
        // A model takes its time.
        reply(body.pointer("/messages/0/content").unwrap().as_str().unwrap()).set_delay(Duration::from_millis(50))
    }
}

async fn models_only(owner: &str) -> MockServer {
    let server = MockServer::start().await;
    let models = json!({"data": [{"id": "tiny", "owned_by": owner}, {"id": "other"}]});
    Mock::given(method("GET"))
        .and(path("/v1/models"))
        .respond_with(ResponseTemplate::new(200).set_body_json(models))
        .mount(&server)
        .await;
    server
}

async fn chat(server: &MockServer, response: impl Respond + 'static) {
    Mock::given(method("POST")).and(path("/v1/chat/completions")).respond_with(response).mount(server).await;
}

/// A server that gives `first` once, then the word "да".
async fn server_that_starts_with(first: ResponseTemplate) -> MockServer {
    let server = models_only("").await;
    let once = Mock::given(method("POST")).respond_with(first).up_to_n_times(1).with_priority(1);
    once.mount(&server).await;
    chat(&server, reply("да")).await;
    server
}

async fn asked(server: &MockServer) -> Vec<Value> {
    let requests = server.received_requests().await.unwrap();
    requests
        .iter()
        .filter(|request| request.method.as_str() == "POST")
        .map(|request| request.body_json().unwrap())
        .collect()
}

fn one(server: &Server, request: Request) -> Result<Answer> {
    server.generate(&[request]).pop().unwrap()
}

fn one_of(server: &MockServer, request: Request) -> Result<Answer> {
    one(&Server::connect(&settings(&[server.uri()])).unwrap(), request)
}

/// The error's texts, after a look that they hold nothing of the patient's.
fn told(error: &Error) -> String {
    let text = format!("{error} {error:?} {}", error.hint().unwrap_or_default());
    assert!(!SECRET.split(' ').any(|word| text.contains(word)), "{text}");
    text
}

fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Generation { engine_lost: true, .. })
}

/// An address where nothing listens.
fn dead() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_asked_and_its_answer_read() {
    let server = models_only("").await;
    chat(&server, Echo).await;
    let engine = Server::connect(&settings(&[server.uri()])).unwrap();
    let answer = one(&engine, free()).unwrap();
    assert_eq!((answer.text.as_str(), answer.finish), (SECRET, Finish::Stop));
    assert_eq!((answer.prompt_tokens, answer.answer_tokens, answer.choice), (5, 3, None));
    let sent = &asked(&server).await[0];
    assert_eq!(sent["model"], "tiny");
    assert_eq!(sent["messages"], json!([{"role": "user", "content": SECRET}]));
    assert_eq!((&sent["max_tokens"], &sent["temperature"], &sent["seed"]), (&json!(16), &json!(0.0), &json!(0)));
    assert_eq!(engine.fingerprint(), "server:unknown:tiny:none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_is_asked_again() {
    for status in [408, 429, 500, 503] {
        let server = server_that_starts_with(ResponseTemplate::new(status).set_body_string(SECRET)).await;
        assert_eq!(one_of(&server, free()).unwrap().text, "да", "{status}");
        assert_eq!(asked(&server).await.len(), 2, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_waited_for() {
    let server = server_that_starts_with(ResponseTemplate::new(429).insert_header("retry-after", "2")).await;
    let start = Instant::now();
    one_of(&server, free()).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_will_not_get_better_is_not_tried_again() {
    for status in [400, 401, 404, 422] {
        let body = json!({"error": {"message": SECRET, "type": "bad_request", "code": SECRET}});
        let server = server_that_starts_with(ResponseTemplate::new(status).set_body_json(body)).await;
        let text = told(&one_of(&server, free()).unwrap_err());
        assert!(text.contains(&format!("status {status}, type bad_request")), "{text}");
        assert_eq!(asked(&server).await.len(), 1, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_end() {
    let server = models_only("").await;
    chat(&server, ResponseTemplate::new(500).set_body_string(SECRET)).await;
    let error = one_of(&server, free()).unwrap_err();
    assert!(told(&error).contains("status 500") && !is_lost(&error), "{error}");
    assert_eq!(asked(&server).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_loses_its_request_to_another() {
    let slow = models_only("").await;
    chat(&slow, reply("нет").set_delay(Duration::from_secs(30))).await;
    let alone = ServerSettings { timeout_s: 1, ..settings(&[slow.uri()]) };
    let start = Instant::now();
    let error = one(&Server::connect(&alone).unwrap(), free()).unwrap_err();
    assert!(told(&error).contains("no answer in time") && start.elapsed() < Duration::from_secs(10));

    let quick = models_only("").await;
    chat(&quick, reply("да")).await;
    let both = ServerSettings { timeout_s: 1, ..settings(&[slow.uri(), quick.uri()]) };
    let engine = Server::connect(&both).unwrap();
    for answer in engine.generate(&[free(), free()]) {
        assert_eq!(answer.unwrap().text, "да");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_shares_the_work_and_keeps_the_order() {
    let (first, second) = (models_only("").await, models_only("").await);
    for server in [&first, &second] {
        chat(server, Echo).await;
    }
    let engine = Server::connect(&settings(&[first.uri(), second.uri(), dead()])).unwrap();
    let requests: Vec<Request> = (0..40).map(|at| ask(&at.to_string(), Constraint::Free)).collect();
    let texts: Vec<String> = engine.generate(&requests).into_iter().map(|answer| answer.unwrap().text).collect();
    assert_eq!(texts, (0..40).map(|at| at.to_string()).collect::<Vec<_>>());
    for server in [&first, &second] {
        assert!(asked(server).await.len() >= 8, "{}", asked(server).await.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_dies_leaves_its_requests_to_the_others() {
    let (dying, living) = (models_only("").await, models_only("").await);
    chat(&living, Echo).await;
    let engine = Server::connect(&settings(&[dying.uri(), living.uri()])).unwrap();
    chat(&dying, ResponseTemplate::new(502)).await;
    let requests: Vec<Request> = (0..20).map(|at| ask(&at.to_string(), Constraint::Free)).collect();
    for (at, answer) in engine.generate(&requests).into_iter().enumerate() {
        assert_eq!(answer.unwrap().text, at.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_dead_the_engine_is_lost() {
    let server = models_only("").await;
    let engine = Server::connect(&ServerSettings { retries: 1, ..settings(&[server.uri()]) }).unwrap();
    chat(&server, ResponseTemplate::new(503)).await;
    for answer in engine.generate(&[free(), free(), free()]) {
        let error = answer.unwrap_err();
        told(&error);
        assert!(is_lost(&error), "{error}");
    }
    let start = Instant::now();
    assert!(is_lost(&one(&engine, free()).unwrap_err()));
    assert!(start.elapsed() < Duration::from_millis(200), "a dead server is not asked");
}

#[test]
fn a_server_that_is_not_there_is_told_at_once() {
    let error = Server::connect(&settings(&[dead()])).unwrap_err();
    assert!(matches!(error, Error::ModelLoad { .. }) && error.to_string().contains("no connection"), "{error}");
}

#[test]
fn texts_stay_on_this_machine_unless_allowed() {
    let error = Server::connect(&settings(&["http://192.0.2.1:8000".into()])).unwrap_err();
    assert!(error.hint().unwrap().contains("--allow-remote"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed() {
    let elsewhere = models_only("").await;
    chat(&elsewhere, Echo).await;
    let target = format!("{}/v1/chat/completions", elsewhere.uri());
    let server = server_that_starts_with(ResponseTemplate::new(307).insert_header("location", target.as_str())).await;
    let text = told(&one_of(&server, free()).unwrap_err());
    assert!(text.contains("307"), "{text}");
    assert!(asked(&elsewhere).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_replies_fail_alone_and_are_not_repeated() {
    let odd = [
        ResponseTemplate::new(200).set_body_string(SECRET),
        ResponseTemplate::new(200).set_body_string(""),
        ResponseTemplate::new(200).set_body_string(format!("{}{}", "[".repeat(5000), "]".repeat(5000))),
        ResponseTemplate::new(200).set_body_bytes([0xff, 0xfe, 0x00]),
        ResponseTemplate::new(200).set_body_json(json!({"choices": [], "note": SECRET})),
        ResponseTemplate::new(200).set_body_json(json!({"choices": [{"message": {"content": {"text": SECRET}}}]})),
    ];
    for response in odd {
        let server = server_that_starts_with(response).await;
        let engine = Server::connect(&settings(&[server.uri()])).unwrap();
        assert!(told(&one(&engine, free()).unwrap_err()).contains("malformed reply"));
        assert_eq!(one(&engine, free()).unwrap().text, "да");
    }
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_key_is_sent_and_told_to_nobody() {
    // A variable that is always set, as tests must not set any; its value stands for the key.
    let key = std::env::var("PATH").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(async {
        let server = MockServer::start().await;
        let bearer = format!("Bearer {key}");
        let models = json!({"data": [{"id": "tiny"}]});
        let list = Mock::given(method("GET")).and(header("authorization", bearer.as_str()));
        list.respond_with(ResponseTemplate::new(200).set_body_json(models)).mount(&server).await;
        let talk = Mock::given(method("POST")).and(header("authorization", bearer.as_str()));
        talk.respond_with(ResponseTemplate::new(400).set_body_string(key.clone())).mount(&server).await;
        server
    });
    let with_key = ServerSettings { api_key_env: Some("PATH".into()), ..settings(&[server.uri()]) };
    let engine = Server::connect(&with_key).unwrap();
    let error = one(&engine, free()).unwrap_err();
    let shown = format!("{with_key:?} {engine:?} {} {}", engine.fingerprint(), told(&error));
    assert!(shown.contains("status 400") && !shown.contains(&key), "{shown}");
    assert!(!engine.fingerprint().contains("127.0.0.1"));

    let error = Server::connect(&settings(&[server.uri()])).unwrap_err(); // the server turns it down: status 404
    assert!(error.hint().unwrap().contains("api_key_env"), "{error:?}");
    // The key given in place of the variable's name.
    let mistaken = ServerSettings { api_key_env: Some("geheim-123".into()), ..settings(&[server.uri()]) };
    let shown = format!("{mistaken:?} {}", told(&Server::connect(&mistaken).unwrap_err()));
    assert!(!shown.contains("geheim"), "{shown}");
}

#[test]
fn nothing_of_a_text_is_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    // The engine works on threads of its own, so the log is taken from all threads; other tests may write to it too.
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        eprintln!("skipped: the log belongs to another test");
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for status in [200, 400, 500] {
        let server = runtime.block_on(server_that_starts_with(ResponseTemplate::new(status).set_body_string(SECRET)));
        let _ = one_of(&server, free());
    }
    let lines = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    let word = SECRET.split(' ').next().unwrap();
    // wiremock logs what it receives; async-openai and we must not.
    let guilty = lines.lines().find(|line| line.contains(word) && !line.contains("wiremock"));
    assert_eq!(guilty, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_carries_its_distribution() {
    let server = models_only("vllm").await;
    let token = |text: &str, p: f64| json!({"token": text, "logprob": p.ln()});
    let first = json!({"token": "1", "logprob": 0.6f64.ln(), "top_logprobs": [token("1", 0.6), token("2", 0.3), token("Я", 0.1)]});
    let second = json!({"token": "0", "logprob": 0.5f64.ln(), "top_logprobs": [token("0", 0.5), token("", 0.5)]});
    let body = json!({"choices": [{"message": {"content": "10"}, "logprobs": {"content": [first, second]}}]});
    chat(&server, ResponseTemplate::new(200).set_body_json(body)).await;
    let engine =
        Server::connect(&ServerSettings { structured: Structured::Auto, ..settings(&[server.uri()]) }).unwrap();
    let labels: Vec<String> = ["0", "1", "2", "10"].map(String::from).to_vec();
    let answer = one(&engine, ask("?", Constraint::Choice { labels: labels.clone() })).unwrap();
    let expected = [0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0];
    let got = answer.choice.clone().unwrap();
    assert!(got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-4), "{got:?}");
    assert!((answer.probability().unwrap() - 0.3).abs() < 1e-5);
    let sent = &asked(&server).await[0];
    assert_eq!((&sent["structured_outputs"]["choice"], &sent["top_logprobs"]), (&json!(labels), &json!(20)));
    assert_eq!(engine.fingerprint(), "server:vllm:tiny:vllm");
}

/// Answers HTTP and remembers the most requests that it ever worked on at a time.
fn counting_server(most: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let now = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, now, most) = (stream.unwrap(), now.clone(), most.clone());
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                let mut buffer = [0; 4096];
                // The question is the last thing in the body, which ends with this.
                while !seen.ends_with(b"}") && !seen.starts_with(b"GET") {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => return,
                        Ok(count) => seen.extend_from_slice(&buffer[..count]),
                    }
                }
                let body = if seen.starts_with(b"GET") {
                    r#"{"data": [{"id": "tiny"}]}"#
                } else {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(40));
                    now.fetch_sub(1, Ordering::SeqCst);
                    r#"{"choices": [{"message": {"content": "да"}}]}"#
                };
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ";
                let _ = write!(stream, "{head}{}\r\n\r\n{body}", body.len());
            });
        }
    });
    url
}

#[test]
fn the_limit_of_requests_in_flight_holds_for_each_server() {
    let most = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let urls: Vec<String> = most.iter().map(|most| counting_server(most.clone())).collect();
    let engine = Server::connect(&ServerSettings { max_in_flight: 3, ..settings(&urls) }).unwrap();
    let requests: Vec<Request> = (0..15).map(|_| free()).collect();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                engine.generate(&requests).into_iter().for_each(|answer| assert_eq!(answer.unwrap().text, "да"))
            });
        }
    });
    for most in most {
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_must_agree_on_the_model() {
    let (first, second) = (models_only("").await, MockServer::start().await);
    let list = json!({"data": [{"id": "something-else"}]});
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(200).set_body_json(list)).mount(&second).await;
    let both = settings(&[first.uri(), second.uri()]);
    let error = Server::connect(&both).unwrap_err();
    assert!(error.to_string().contains("does not serve `tiny`"), "{error}");
    let named = Server::connect(&ServerSettings { model: Some("mine".into()), ..both }).unwrap();
    assert_eq!(named.fingerprint(), "server:unknown:mine:none");
}
