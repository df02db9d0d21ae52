//! The prompt cache, in both accountings.

use http::StatusCode;

use super::*;

/// A model whose cache keeps whole hundreds of tokens, from 200 on, for a minute.
fn caching() -> Config {
    let mut config = config();
    config.behaviour.cache = crate::config::Cache {
        enabled: true,
        min_tokens: 200,
        block_tokens: 100,
        ttl_s: 60.0,
    };
    config.behaviour.timing.prefill_us_per_token = 1_000.0;
    config
}

/// So many words of a token each, which differ from those of another `name`.
fn words(name: &str, count: usize) -> String {
    let words: Vec<String> = (0..count).map(|i| format!("{name}{i:03} ")).collect();
    words.concat()
}

struct Sender {
    config: Config,
    state: State,
}

impl Sender {
    fn new() -> Self {
        Self {
            config: caching(),
            state: State::default(),
        }
    }

    /// What the request at `at_s` used: input, read, written, written for an hour; and when its first token came.
    fn send(&self, path: &str, body: &Value, at_s: u64) -> ([u64; 4], u128) {
        let body = body.to_string();
        let received = Received {
            method: &Method::POST,
            path,
            headers: &HeaderMap::new(),
            body: body.as_bytes(),
            arrival: Arrival {
                at: Duration::from_secs(at_s),
                ..Arrival::default()
            },
        };
        let script = respond(&received, &self.config, &self.state);
        assert_eq!(script.status, StatusCode::OK, "{:?}", script.frames);
        let usage = truth(&script).usage;
        let (first, _) = script.frames.iter().next().expect("a frame");
        let counts = [
            usage.input,
            usage.cache_read,
            usage.cache_write,
            usage.cache_write_1h,
        ];
        (counts, first.at.as_millis())
    }
}

fn chat(texts: &[&str]) -> Value {
    let messages: Vec<Value> = texts
        .iter()
        .map(|text| json!({"role": "user", "content": text}))
        .collect();
    json!({"model": MODEL, "max_tokens": 1, "messages": messages})
}

#[test]
fn chat_completions_read_whole_blocks_of_what_was_sent_before() {
    let sender = Sender::new();
    let (system, question) = (words("s", 346), words("q", 146));
    let first = chat(&[&system, &question]);
    // 346 + 146 words and two messages.
    assert_eq!(
        sender.send(CHAT_COMPLETIONS, &first, 0),
        ([500, 0, 0, 0], 540)
    );
    assert_eq!(
        sender.send(CHAT_COMPLETIONS, &first, 1),
        ([0, 500, 0, 0], 40)
    );
    // The first 350 tokens are the same: three blocks of them.
    let second = chat(&[&system, &words("r", 146)]);
    assert_eq!(
        sender.send(CHAT_COMPLETIONS, &second, 1),
        ([200, 300, 0, 0], 240)
    );
    // The nonce at the begin of a prompt keeps it out.
    let other = chat(&[&format!("{NONCE} {system}"), &question]);
    assert_eq!(sender.send(CHAT_COMPLETIONS, &other, 1).0[1], 0);
    // Too short, though it was sent before.
    let short = chat(&[&words("s", 150)]);
    assert_eq!(sender.send(CHAT_COMPLETIONS, &short, 1).0, [154, 0, 0, 0]);
    // A use keeps the prefix for a minute; after that it is gone.
    assert_eq!(sender.send(CHAT_COMPLETIONS, &first, 60).0[1], 500);
    assert_eq!(sender.send(CHAT_COMPLETIONS, &first, 120).0[1], 500);
    assert_eq!(sender.send(CHAT_COMPLETIONS, &first, 181).0[1], 0);
}

/// A request whose system prompt has 300 tokens and whose question has 100; with marks or without.
fn message(system: Option<&Value>, question: Option<&Value>, name: &str) -> Value {
    let block = |text: String, mark: Option<&Value>| {
        let mut block = json!({"type": "text", "text": text});
        if let Some(mark) = mark {
            block["cache_control"] = mark.clone();
        }
        block
    };
    json!({
        "model": MODEL,
        "max_tokens": 1,
        "system": [block(words("s", 296), system)],
        "messages": [{"role": "user", "content": [block(words(name, 96), question)]}],
    })
}

#[test]
fn messages_read_and_write_up_to_their_marks() {
    let five = json!({"type": "ephemeral"});
    let hour = json!({"type": "ephemeral", "ttl": "1h"});
    let sender = Sender::new();
    let used = |body: &Value, at| sender.send(MESSAGES, body, at).0;
    // Without a mark nothing is kept.
    assert_eq!(used(&message(None, None, "q"), 0), [400, 0, 0, 0]);
    assert_eq!(used(&message(Some(&five), None, "q"), 0), [100, 0, 300, 0]);
    assert_eq!(used(&message(Some(&five), None, "r"), 1), [100, 300, 0, 0]);
    // What is read needs a mark at or after its end.
    assert_eq!(used(&message(None, None, "r"), 1), [400, 0, 0, 0]);
    assert_eq!(used(&message(None, Some(&five), "r"), 1), [0, 300, 100, 0]);
    assert_eq!(
        used(&message(Some(&five), Some(&five), "r"), 1),
        [0, 400, 0, 0]
    );
    // An hour is twelve times the TTL, which is a minute here.
    assert_eq!(
        used(&message(Some(&hour), Some(&five), "t"), 200),
        [0, 0, 400, 300]
    );
    assert_eq!(
        used(&message(Some(&hour), None, "u"), 900),
        [100, 300, 0, 0]
    );
    assert_eq!(
        used(&message(None, Some(&five), "t"), 900),
        [0, 300, 100, 0]
    );
}
