use serde_json::json;

use crate::facts::{add_up, rows};
use crate::program::{Output, Sandbox, files};
use crate::target::{Request, Scripted, Upstream, quick, response};

const KEY: &str = "sk-MARKED-9f8e7d6c5b4a39281706";

/// So much of the key is too much of it.
const TELLTALE: &str = "sk-MARKED";

/// Runs against `origin` with the key, and looks for it in everything that is left.
#[track_caller]
fn run(origin: &str, code: i32) -> (Sandbox, Output) {
    let sandbox = Sandbox::new();
    let output = sandbox
        .run_against(origin)
        .args(["--set", "target.api_key_env=WB_TEST_KEY"])
        .env("WB_TEST_KEY", KEY)
        .output()
        .exits(code);
    holds_no_key(&sandbox, &output);
    (sandbox, output)
}

#[track_caller]
fn holds_no_key(sandbox: &Sandbox, output: &Output) {
    for (name, text) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        assert!(!text.contains(TELLTALE), "the key is on {name}:\n{text}");
    }
    let found = files(&sandbox.path("out"));
    assert!(found.len() >= 7, "{found:?}");
    for file in found {
        let text = String::from_utf8_lossy(&std::fs::read(&file).expect("a file")).into_owned();
        if let Some(at) = text.find(TELLTALE) {
            let near: String = text[..at].chars().rev().take(80).collect();
            let near: String = near.chars().rev().collect();
            panic!("the key is in {} after `{near}`", file.display());
        }
    }
}

/// A server that answers with whatever `answer` makes of the key.
fn echo(answer: impl Fn(&Request, &str) -> Vec<u8> + Send + 'static) -> Scripted {
    Scripted::start(move |request| {
        let key = request.key();
        assert_eq!(key, KEY, "the key is on the wire");
        answer(request, key)
    })
}

fn stream(events: &[String]) -> Vec<u8> {
    let body = events.join("\n\n") + "\n\n";
    response("200 OK", &[("content-type", "text/event-stream")], &body)
}

#[test]
fn a_good_run_sends_the_key_and_keeps_it_nowhere() {
    let upstream = Upstream::start(mock_upstream::Config {
        api_key: Some(KEY.to_owned()),
        ..quick()
    });
    let (sandbox, _) = run(&upstream.origin, 0);
    add_up(&sandbox.path("out"));
    // The first answers of each endpoint are kept as examples, with what was asked.
    let examples = files(&sandbox.path("out/examples"));
    assert!((1..=8).contains(&examples.len()), "{examples:?}");
    let text = std::fs::read_to_string(&examples[0]).expect("text");
    assert!(
        text.contains("POST /v1/") && text.contains("HTTP 200"),
        "{text}"
    );
    let copy = std::fs::read_to_string(sandbox.path("out/scenario.toml")).expect("a copy");
    assert!(
        copy.contains("api_key_env = \"WB_TEST_KEY\""),
        "its name is kept"
    );
    for args in [&["report", "out"][..], &["report", "out", "--json"]] {
        let output = sandbox.weighbridge(args).exits(0);
        holds_no_key(&sandbox, &output);
    }
}

#[test]
fn an_error_body_that_quotes_the_key() {
    let server = echo(|_, key| {
        let body =
            json!({"error": {"type": key, "message": format!("Bearer {key} is out of luck")}});
        response(
            "500 Internal Server Error",
            &[("x-request-id", key), ("content-type", "application/json")],
            &body.to_string(),
        )
    });
    let (sandbox, output) = run(&server.origin, 1);
    output.shows(&["Bearer [key] is out of luck"]);
    let report = add_up(&sandbox.path("out"));
    assert_eq!(
        report["endpoints"]["openai"]["requests"]["outcomes"]["http_error"],
        3
    );
}

#[test]
fn an_error_page_that_quotes_the_key() {
    let server = echo(|_, key| {
        let page = format!("<html><head><title>502 {key}</title></head><body>{key}</body></html>");
        response("502 Bad Gateway", &[("content-type", "text/html")], &page)
    });
    run(&server.origin, 1);
}

#[test]
fn a_message_that_is_cut_in_the_middle_of_the_key() {
    // Wherever the harness cuts a message off, some of these are cut within the key.
    for before in [0, 170, 180, 190, 195] {
        let server = echo(move |_, key| {
            let message = format!("{}{key} and more", "x".repeat(before));
            let body = json!({"error": {"type": "server_error", "message": message}});
            response("500 Internal Server Error", &[], &body.to_string())
        });
        run(&server.origin, 1);
        let server = echo(move |_, key| {
            response(
                "200 OK",
                &[("content-type", "text/event-stream")],
                &format!("data: {}{key} and more\n\n", "x".repeat(before)),
            )
        });
        run(&server.origin, 1);
    }
}

#[test]
fn an_error_event_that_quotes_the_key() {
    let server = echo(|request, key| {
        let error = json!({"type": "api_error", "message": format!("no such key: {key}")});
        stream(&[if request.is_anthropic() {
            format!(
                "event: error\ndata: {}",
                json!({"type": "error", "error": error})
            )
        } else {
            format!("data: {}", json!({"error": error}))
        }])
    });
    let (sandbox, output) = run(&server.origin, 1);
    output.shows(&["no such key: [key]"]);
    let report = add_up(&sandbox.path("out"));
    for name in crate::facts::ENDPOINTS {
        let outcomes = &report["endpoints"][name]["requests"]["outcomes"];
        assert_eq!(outcomes["stream_error"], 3, "{name}");
    }
}

#[test]
fn a_refused_preflight_that_quotes_the_key() {
    let server = echo(|_, key| {
        let body =
            json!({"error": {"type": "auth", "message": format!("Incorrect API key: {key}")}});
        response("401 Unauthorized", &[], &body.to_string())
    });
    let (_, output) = run(&server.origin, 2);
    output.says(&["status 401", "Incorrect API key: [key]"]);
}

#[test]
fn an_answer_with_the_key_in_every_field() {
    let server = echo(|request, key| {
        let events = if request.is_anthropic() {
            let event = |value: serde_json::Value| {
                format!(
                    "event: {}\ndata: {value}",
                    value["type"].as_str().expect("text")
                )
            };
            vec![
                event(
                    json!({"type": "message_start", "message": {"id": key, "type": "message",
                    "role": "assistant", "model": key, "content": [],
                    "usage": {"input_tokens": 1, "output_tokens": 1}}}),
                ),
                event(json!({"type": key, "index": 0})),
                event(json!({"type": "content_block_start", "index": 0,
                    "content_block": {"type": "tool_use", "id": key, "name": key, "input": {}}})),
                event(json!({"type": "content_block_delta", "index": 0,
                    "delta": {"type": "input_json_delta", "partial_json": format!("{{\"{key}\":1}}")}})),
                event(json!({"type": "content_block_delta", "index": 0,
                    "delta": {"type": key, "text": key}})),
                event(json!({"type": "content_block_stop", "index": 0})),
                event(
                    json!({"type": "message_delta", "delta": {"stop_reason": key},
                    "usage": {"output_tokens": 1, "cost": key}}),
                ),
                event(json!({"type": "message_stop"})),
            ]
        } else {
            let chunk = |delta: serde_json::Value, finish: serde_json::Value| {
                format!(
                    "data: {}",
                    json!({"id": key, "model": key, "object": key,
                    "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
                )
            };
            vec![
                chunk(json!({"role": key, "content": key}), json!(null)),
                chunk(
                    json!({"tool_calls": [{"index": 0, "id": key, "type": key,
                    "function": {"name": key, "arguments": format!("{{\"{key}\":1}}")}}]}),
                    json!(null),
                ),
                chunk(json!({}), json!(key)),
                format!(
                    "data: {}",
                    json!({"id": key, "choices": [], key: key,
                    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": key, key: 1}})
                ),
                format!("event: {key}\ndata: {{}}"),
                "data: [DONE]".to_owned(),
            ]
        };
        let body = events.join("\n\n") + "\n\n";
        response(
            "200 OK",
            &[
                ("content-type", "text/event-stream"),
                ("x-request-id", key),
                ("request-id", key),
                ("x-litellm-response-cost", key),
            ],
            &body,
        )
    });
    let sandbox = Sandbox::new();
    let output = sandbox
        .run_against(&server.origin)
        .args(["--set", "target.api_key_env=WB_TEST_KEY"])
        .args(["--set", "workload.tools_share=1.0"])
        .env("WB_TEST_KEY", KEY)
        .output();
    assert!(
        output.status.code().is_some_and(|code| code <= 3),
        "{output:?}"
    );
    let written = rows(&sandbox.path("out/requests.csv"));
    assert!(written.iter().any(|row| row["served_model"] == "[key]"));
    holds_no_key(&sandbox, &output);
}
