//! Each shape, read back as JSON: one file for each subject, over what all of them share.

use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::{Arrival, CHAT_COMPLETIONS, COUNT_TOKENS, MESSAGES, MODELS, Received, State, respond};
use crate::config::{Config, Dialect, Distribution};
use crate::script::{Content, Script, Truth};

mod anthropic;
mod billing;
mod cache;
mod checks;
mod conversations;
mod cost;
mod faults;
mod mistral;
mod openai;
mod openrouter;
mod output;
mod profiles;
mod requests;
mod tools;
mod vllm;

const DIALECTS: [Dialect; 4] = [
    Dialect::OpenAi,
    Dialect::Mistral,
    Dialect::Vllm,
    Dialect::OpenRouter,
];

const NONCE: &str = "0123456789abcdef0123456789abcdef";
const MODEL: &str = "magistral-small-latest";

/// 40 ms to the first token event, 10 ms between two.
fn config() -> Config {
    let mut config = Config::default();
    config.behaviour.timing.ttft_ms = Distribution::Fixed(40.0);
    config.behaviour.timing.gap_ms = Distribution::Fixed(10.0);
    config
}

fn of_dialect(dialect: Dialect) -> Config {
    let mut config = config();
    config.behaviour.dialect = dialect;
    config
}

fn mistral() -> Config {
    of_dialect(Dialect::Mistral)
}

fn ask(path: &str, body: &Value, config: &Config) -> Script {
    ask_with(path, body.to_string().as_bytes(), &HeaderMap::new(), config)
}

fn ask_with(path: &str, body: &[u8], headers: &HeaderMap, config: &Config) -> Script {
    let received = Received {
        method: &Method::POST,
        path,
        headers,
        body,
        arrival: Arrival {
            seq: 7,
            unix_us: 1_700_000_000_000_000,
            at: Duration::ZERO,
        },
    };
    respond(&received, config, &State::default())
}

/// A request for both endpoints, with `more` on top.
fn prompt(more: &Value) -> Value {
    let mut body = json!({
        "model": MODEL,
        "max_tokens": 3,
        "messages": [{"role": "user", "content": format!("{NONCE} hello")}],
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

fn openai_tools() -> Value {
    json!([
        {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}},
        {"type": "function", "function": {"name": "now"}},
    ])
}

fn anthropic_tools() -> Value {
    json!([
        {"name": "weather", "description": "d", "input_schema": {
            "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
        {"name": "now", "input_schema": {}},
    ])
}

/// The time of each frame in milliseconds, what it is for the journal, and its data; comments are left out.
fn chunks(script: &Script) -> Vec<(u128, Content, Value)> {
    script
        .frames
        .iter()
        .filter(|(_, bytes)| !bytes.starts_with(b":"))
        .map(|(frame, bytes)| {
            let text = std::str::from_utf8(bytes).expect("UTF-8");
            let data = text.strip_prefix("data: ").expect("a data line");
            let data = data.strip_suffix("\n\n").expect("a blank line");
            assert!(!data.contains('\n'));
            let data = if data == "[DONE]" {
                json!("[DONE]")
            } else {
                serde_json::from_str(data).expect("JSON")
            };
            (frame.at.as_millis(), frame.content, data)
        })
        .collect()
}

fn events(script: &Script) -> Vec<(u128, Content, String, Value)> {
    script
        .frames
        .iter()
        .map(|(frame, bytes)| {
            let text = std::str::from_utf8(bytes).expect("UTF-8");
            let rest = text.strip_prefix("event: ").expect("an event line");
            let (name, data) = rest.split_once("\ndata: ").expect("a data line");
            let data: Value = serde_json::from_str(data.trim_end()).expect("JSON");
            assert_eq!(data["type"], name);
            assert!(text.ends_with("}\n\n"));
            (frame.at.as_millis(), frame.content, name.to_owned(), data)
        })
        .collect()
}

fn whole_body(script: &Script) -> Value {
    assert_eq!(script.frames.len(), 1);
    assert_eq!(script.headers["content-type"], "application/json");
    assert_eq!(
        script.headers["content-length"],
        script.frames.bytes().len().to_string().as_str()
    );
    serde_json::from_slice(script.frames.bytes()).expect("JSON")
}

fn truth(script: &Script) -> &Truth {
    script.truth.as_ref().expect("a completion has a truth")
}

fn names(events: &[(u128, Content, String, Value)]) -> Vec<&str> {
    events.iter().map(|event| event.2.as_str()).collect()
}
