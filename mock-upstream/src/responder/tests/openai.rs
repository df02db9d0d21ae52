//! Chat completions in `OpenAI`'s shapes, read back as JSON.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::config::{Fault, FaultKind, UsageInStream};
use crate::script::Content;

#[test]
fn openai_stream_has_role_tokens_finish_usage_and_terminator() {
    let body = prompt(&json!({"stream": true, "stream_options": {"include_usage": true}}));
    let script = ask(CHAT_COMPLETIONS, &body, &config());
    assert_eq!(
        script.headers["content-type"],
        "text/event-stream; charset=utf-8"
    );
    let chunks = chunks(&script);
    let times: Vec<_> = chunks.iter().map(|chunk| chunk.0).collect();
    assert_eq!(times, [20, 40, 50, 60, 60, 60, 60]);
    for (_, _, chunk) in &chunks[..6] {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["id"], chunks[0].2["id"]);
        assert_eq!(chunk["created"], 1_700_000_000);
        assert_eq!(chunk["model"], MODEL);
    }
    assert_eq!(
        chunks[0].2["choices"],
        json!([{"index": 0, "delta": {"role": "assistant", "content": "", "refusal": null}, "logprobs": null,
            "finish_reason": null}])
    );
    for i in 0..3 {
        assert_eq!(
            chunks[i + 1].2["choices"][0]["delta"],
            json!({"content": format!("01234567.{i} ")})
        );
        assert_eq!(chunks[i + 1].1, Content::TOKENS);
        assert!(chunks[i + 1].2["usage"].is_null());
    }
    assert_eq!(
        chunks[4].2["choices"],
        json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": "length"}])
    );
    assert_eq!(chunks[5].2["choices"], json!([]));
    assert_eq!(chunks[5].1, Content::COST);
    // 6 tokens for the nonce, 1 for the word, 4 for the message; 0.50 and 1.50 for a million.
    assert_eq!(
        chunks[5].2["usage"],
        json!({
            "prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
            "cost": 0.00001,
        })
    );
    assert_eq!(chunks[6].2, "[DONE]");
    let truth = truth(&script);
    assert_eq!(
        (truth.nonce.as_str(), truth.finish.as_deref()),
        (NONCE, Some("length"))
    );
    assert_eq!((truth.usage.input, truth.usage.output), (11, 3));
    assert_eq!(truth.cost.as_deref(), Some("0.00001"));
}

#[test]
fn openai_stream_says_usage_only_when_asked_or_always() {
    let body = prompt(&json!({"stream": true}));
    let unasked = ask(CHAT_COMPLETIONS, &body, &config());
    assert!(
        chunks(&unasked)
            .iter()
            .all(|chunk| chunk.2.get("usage").is_none())
    );
    assert!(
        unasked
            .frames
            .iter()
            .all(|(frame, _)| !frame.content.has_cost)
    );
    let mut always = config();
    always.behaviour.output.usage_in_stream = UsageInStream::Always;
    let chunks = chunks(&ask(CHAT_COMPLETIONS, &body, &always));
    assert_eq!(chunks[chunks.len() - 2].2["usage"]["completion_tokens"], 3);
}

#[test]
fn openai_stream_reasons_before_it_answers() {
    let mut config = config();
    config.behaviour.output.reasoning_share = 0.5;
    let body = prompt(&json!({"stream": true, "max_tokens": null, "max_completion_tokens": 4}));
    let script = ask(CHAT_COMPLETIONS, &body, &config);
    let deltas: Vec<_> = chunks(&script)[1..5]
        .iter()
        .map(|chunk| chunk.2["choices"][0]["delta"].clone())
        .collect();
    assert_eq!(
        deltas,
        [
            json!({"reasoning_content": "01234567.r0 "}),
            json!({"reasoning_content": "01234567.r1 "}),
            json!({"content": "01234567.0 "}),
            json!({"content": "01234567.1 "}),
        ]
    );
    assert_eq!(
        (truth(&script).usage.output, truth(&script).usage.reasoning),
        (4, 2)
    );
}

#[test]
fn openai_whole_body_comes_when_a_stream_would_have_ended() {
    let mut config = config();
    config.behaviour.output.reasoning_share = 0.34;
    let script = ask(CHAT_COMPLETIONS, &prompt(&json!({})), &config);
    assert_eq!(
        script.frames.iter().next().expect("a frame").0.at,
        Duration::from_millis(60)
    );
    let body = whole_body(&script);
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(
        body["choices"],
        json!([{"index": 0, "finish_reason": "length", "logprobs": null, "message": {
            "role": "assistant", "refusal": null, "annotations": [], "content": "01234567.0 01234567.1 ", "reasoning_content": "01234567.r0 "}}])
    );
    assert_eq!(
        body["usage"]["completion_tokens_details"]["reasoning_tokens"],
        1
    );
}

#[test]
fn several_tokens_share_an_event() {
    let mut config = config();
    config.behaviour.output.tokens_per_event = 2;
    let script = ask(CHAT_COMPLETIONS, &prompt(&json!({"stream": true})), &config);
    let contents: Vec<_> = chunks(&script)[1..3]
        .iter()
        .map(|chunk| chunk.2["choices"][0]["delta"]["content"].clone())
        .collect();
    assert_eq!(contents, ["01234567.0 01234567.1 ", "01234567.2 "]);
    assert_eq!(script.frames.token_events(), 2);
}

#[test]
fn usage_in_every_chunk_is_cumulative() {
    for dialect in DIALECTS {
        let mut config = of_dialect(dialect);
        config.behaviour.output.usage_in_stream = UsageInStream::Every;
        config.behaviour.output.reasoning_share = 0.34;
        config.behaviour.output.unicode = true;
        let tools = json!({"tools": openai_tools(), "max_tokens": 100});
        for (more, total) in [(json!({}), 3), (tools, 34 + 10)] {
            let mut body = prompt(&more);
            body["stream"] = json!(true);
            let script = ask(CHAT_COMPLETIONS, &body, &config);
            let chunks = chunks(&script);
            let usages: Vec<_> = chunks[..chunks.len() - 1]
                .iter()
                .map(|chunk| &chunk.2["usage"])
                .collect();
            let outputs: Vec<_> = usages
                .iter()
                .map(|usage| usage["completion_tokens"].as_u64().expect("a count"))
                .collect();
            assert_eq!(
                (outputs[0], *outputs.last().expect("chunks")),
                (0, total),
                "{dialect:?}"
            );
            // In the finish chunk, too, which is Mistral's only one, and never in one leap.
            if dialect != Dialect::Mistral {
                assert_eq!(outputs.iter().rev().nth(1), Some(&total));
            }
            let leap = outputs.windows(2).map(|pair| pair[1] - pair[0]).max();
            assert!(
                leap <= Some(if dialect == Dialect::Mistral { 10 } else { 2 }),
                "{outputs:?}"
            );
            assert!(outputs.is_sorted(), "{outputs:?}");
            assert!(
                usages.iter().all(|usage| usage["prompt_tokens"] == 11
                    || usage["prompt_tokens"].as_u64() > Some(11))
            );
            let (last, before) = usages.split_last().expect("chunks");
            assert!(before.iter().all(|usage| usage.get("cost").is_none()));
            assert!(last["cost"].is_number());
        }
    }
}

#[test]
fn usage_is_never_told_where_the_configuration_says_so() {
    let body = prompt(&json!({"stream": true, "stream_options": {"include_usage": true}}));
    for dialect in DIALECTS {
        let mut config = of_dialect(dialect);
        config.behaviour.output.usage_in_stream = UsageInStream::Never;
        let script = ask(CHAT_COMPLETIONS, &body, &config);
        assert!(
            !String::from_utf8_lossy(script.frames.bytes()).contains("usage"),
            "{dialect:?}"
        );
        assert!(
            script
                .frames
                .iter()
                .all(|(frame, _)| !frame.content.has_cost)
        );
    }
}

#[test]
fn errors_in_streams_are_events_of_their_own() {
    let mut config = config();
    config.behaviour.faults = vec![Fault::new(FaultKind::ErrorInStream)];
    let error =
        json!({"message": "a planted fault", "type": "server_error", "param": null, "code": null});
    let script = ask(CHAT_COMPLETIONS, &prompt(&json!({"stream": true})), &config);
    assert_eq!(
        chunks(&script).pop().expect("chunks").2,
        json!({ "error": error })
    );
    let script = ask(MESSAGES, &prompt(&json!({"stream": true})), &config);
    let (.., name, data) = events(&script).pop().expect("events");
    let error = json!({"type": "api_error", "message": "a planted fault"});
    assert_eq!(
        (name.as_str(), data),
        ("error", json!({"type": "error", "error": error}))
    );
}

#[test]
fn answers_tell_of_limits_that_are_not_reached() {
    for (path, dialect, here, absent) in [
        (
            CHAT_COMPLETIONS,
            Dialect::OpenAi,
            "x-ratelimit-remaining-requests",
            "anthropic-ratelimit-requests-remaining",
        ),
        (
            MESSAGES,
            Dialect::OpenAi,
            "anthropic-ratelimit-requests-remaining",
            "x-ratelimit-remaining-requests",
        ),
        (
            CHAT_COMPLETIONS,
            Dialect::Mistral,
            "x-request-id",
            "x-ratelimit-remaining-requests",
        ),
    ] {
        let script = ask(path, &prompt(&json!({})), &of_dialect(dialect));
        assert!(script.headers.contains_key(here) && !script.headers.contains_key(absent));
        assert_eq!(script.headers["request-id"], "req_0000000000000007");
    }
    let script = ask(CHAT_COMPLETIONS, &prompt(&json!({})), &config());
    // Half of the time to the first token.
    assert_eq!(script.headers["openai-processing-ms"], "20");
}

#[test]
fn openai_names_the_service_tier_that_is_billed() {
    let toml = r#"
        [cost.rates.magistral-small-latest]
        input = "1"
        output = "4"
        service_tiers = { default = "1", flex = "0.5", auto = "3" }
    "#;
    let config = Config::from_toml(toml, "mock.toml").expect("valid");
    for (model, requested, expected) in [
        (MODEL, json!("flex"), "flex"),
        (MODEL, json!("priority"), "default"),
        (MODEL, json!("auto"), "default"),
        (MODEL, json!("default"), "default"),
        (MODEL, Value::Null, "default"),
        ("another", json!("flex"), "default"),
    ] {
        for stream in [true, false] {
            let more = json!({"model": model, "service_tier": requested, "stream": stream});
            let script = ask(CHAT_COMPLETIONS, &prompt(&more), &config);
            let answers = if stream {
                let mut chunks = chunks(&script);
                assert_eq!(chunks.pop().expect("a terminator").2, "[DONE]");
                chunks.into_iter().map(|chunk| chunk.2).collect()
            } else {
                vec![whole_body(&script)]
            };
            for answer in answers {
                assert_eq!(answer["service_tier"], expected, "{model} {requested}");
            }
        }
    }
}
