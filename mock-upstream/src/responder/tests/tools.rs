//! Tool calls: who is called, and in what form.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::config::{Arguments, Fault, FaultKind};
use crate::script::Content;
use crate::tokens;

#[test]
fn openai_stream_fragments_the_arguments_of_parallel_calls() {
    let body = prompt(&json!({"stream": true, "max_tokens": 100, "tools": openai_tools()}));
    let script = ask(CHAT_COMPLETIONS, &body, &config());
    let mut calls = BTreeMap::new();
    for (_, content, chunk) in chunks(&script) {
        for call in chunk["choices"][0]["delta"]["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
        {
            assert_eq!(content, Content::TOKENS);
            let index = call["index"].as_u64().expect("an index");
            let function = &call["function"];
            if let Some(name) = function["name"].as_str() {
                assert_eq!(
                    (call["type"].as_str(), function["arguments"].as_str()),
                    (Some("function"), Some(""))
                );
                assert!(call["id"].as_str().expect("an id").starts_with("call_"));
                assert!(
                    calls
                        .insert(index, (name.to_owned(), String::new(), 0))
                        .is_none()
                );
            } else {
                let (_, arguments, fragments) = calls.get_mut(&index).expect("announced before");
                arguments.push_str(function["arguments"].as_str().expect("a fragment"));
                *fragments += 1;
            }
        }
    }
    assert_eq!(calls[&0].0, "weather");
    assert_eq!(calls[&0].1, r#"{"city":"01234567.c0"}"#);
    assert!(calls[&0].2 > 2);
    assert_eq!((calls[&1].0.as_str(), calls[&1].1.as_str()), ("now", "{}"));
    let truth = truth(&script);
    assert_eq!(truth.finish.as_deref(), Some("tool_calls"));
    assert_eq!(truth.tool_calls, 2);
    // (7 + 22) / 4 and (3 + 2) / 4, rounded up.
    assert_eq!(truth.usage.output, 8 + 2);
}

#[test]
fn tool_choice_decides_who_is_called() {
    let count = |more: Value| {
        let mut body = prompt(&json!({"max_tokens": 100, "tools": openai_tools()}));
        for (key, value) in more.as_object().expect("members") {
            body[key] = value.clone();
        }
        let body = whole_body(&ask(CHAT_COMPLETIONS, &body, &config()));
        let calls = body["choices"][0]["message"]["tool_calls"].clone();
        let names: Vec<_> = calls
            .as_array()
            .into_iter()
            .flatten()
            .map(|call| {
                call["function"]["name"]
                    .as_str()
                    .expect("a name")
                    .to_owned()
            })
            .collect();
        names.join(",")
    };
    assert_eq!(count(json!({})), "weather,now");
    assert_eq!(count(json!({"tool_choice": "required"})), "weather,now");
    assert_eq!(count(json!({"tool_choice": "none"})), "");
    assert_eq!(count(json!({"parallel_tool_calls": false})), "weather");
    assert_eq!(
        count(json!({"tool_choice": {"type": "function", "function": {"name": "now"}}})),
        "now"
    );
    let now = json!([{"type": "function", "function": {"name": "now"}}]);
    for allowed in [
        json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": now}}),
        json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "now"}]}),
    ] {
        assert_eq!(
            count(json!({"tool_choice": allowed, "parallel_tool_calls": false})),
            "now"
        );
    }
}

/// Tools that are no functions may be named; nobody calls them.
#[test]
fn a_choice_of_a_tool_that_is_no_function_is_answered_with_text() {
    let bash = json!([{"type": "bash_20250124", "name": "bash"}, anthropic_tools()[0]]);
    let custom = json!([{"type": "custom", "custom": {"name": "g"}}, openai_tools()[0]]);
    let of_custom = |name: &str| json!({"type": "custom", "custom": {"name": name}});
    let of_tool = |name: &str| json!({"type": "tool", "name": name});
    for (path, tools, choice, status) in [
        (CHAT_COMPLETIONS, &custom, of_custom("g"), 200),
        (CHAT_COMPLETIONS, &custom, of_custom("h"), 400),
        (MESSAGES, &bash, of_tool("bash"), 200),
        (MESSAGES, &bash, of_tool("sh"), 400),
    ] {
        let body = prompt(&json!({"tools": tools, "tool_choice": choice}));
        let script = ask(path, &body, &config());
        assert_eq!(script.status, status, "{choice}");
        let truth = truth(&script);
        assert_eq!(
            (truth.tool_calls, truth.usage.output),
            (0, if status == 200 { 3 } else { 0 })
        );
    }
}

fn tools_of(path: &str) -> Value {
    match path {
        MESSAGES => anthropic_tools(),
        _ => openai_tools(),
    }
}

/// Names and arguments of a script's calls in order, put together as a client does.
fn calls_of(path: &str, script: &Script) -> Vec<(String, String)> {
    let mut calls: Vec<(String, String)> = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for (_, bytes) in script.frames.iter() {
        let frame = std::str::from_utf8(bytes).expect("UTF-8");
        let data = frame.split_once("data: ").map_or(frame, |(_, data)| data);
        let Ok(value) = serde_json::from_str::<Value>(data) else {
            continue;
        };
        if path == MESSAGES {
            if value["content_block"]["type"] == "tool_use" {
                calls.push((text(&value["content_block"]["name"]), String::new()));
            }
            if let Some(call) = calls.last_mut() {
                call.1.push_str(&text(&value["delta"]["partial_json"]));
            }
            for block in value["content"].as_array().into_iter().flatten() {
                if block["type"] == "tool_use" {
                    calls.push((text(&block["name"]), block["input"].to_string()));
                }
            }
            continue;
        }
        for message in ["delta", "message"] {
            let list = value["choices"][0][message]["tool_calls"]
                .as_array()
                .into_iter()
                .flatten();
            for call in list {
                let function = &call["function"];
                if function["name"].is_string() {
                    calls.push((text(&function["name"]), String::new()));
                }
                let newest = calls.len().saturating_sub(1);
                let index = match call["index"].as_u64() {
                    Some(index) if function["name"].is_null() => {
                        usize::try_from(index).expect("small")
                    }
                    _ => newest,
                };
                calls[index].1.push_str(&text(&function["arguments"]));
            }
        }
    }
    calls
}

#[test]
fn arguments_are_as_the_configuration_says() {
    const WHOLE: &str = r#"{"city":"01234567.c0"}"#;
    for (arguments, expected, in_messages, is_cut) in [
        (Arguments::Valid, [WHOLE, "{}"], [WHOLE, "{}"], false),
        (Arguments::Empty, [WHOLE, ""], [WHOLE, "{}"], false),
        (
            Arguments::Truncated,
            [WHOLE, "{"],
            [WHOLE, r#"{"INVALID_JSON":"{"}"#],
            true,
        ),
        (
            Arguments::Invalid,
            [WHOLE, "{,}"],
            [WHOLE, r#"{"INVALID_JSON":"{,}"}"#],
            false,
        ),
    ] {
        for path in [CHAT_COMPLETIONS, MESSAGES] {
            for dialect in DIALECTS {
                for stream in [false, true] {
                    let mut config = of_dialect(dialect);
                    config.behaviour.tools.arguments = arguments;
                    let body = prompt(
                        &json!({"stream": stream, "max_tokens": 100, "tools": tools_of(path)}),
                    );
                    let script = ask(path, &body, &config);
                    let truth = truth(&script);
                    let expected = if path == MESSAGES && !stream {
                        in_messages
                    } else {
                        expected
                    };
                    let expected = [("weather", expected[0]), ("now", expected[1])]
                        .map(|(name, arguments)| (name.to_owned(), arguments.to_owned()));
                    assert_eq!(
                        calls_of(path, &script),
                        expected,
                        "{path} {dialect:?} {arguments:?}"
                    );
                    let finish = match (path, is_cut) {
                        (CHAT_COMPLETIONS, false) => "tool_calls",
                        (CHAT_COMPLETIONS, true) => "length",
                        (_, false) => "tool_use",
                        (_, true) => "max_tokens",
                    };
                    assert_eq!(truth.finish.as_deref(), Some(finish));
                }
            }
        }
    }
}

#[test]
fn a_limit_cuts_calls_off_and_the_usage_is_what_was_written() {
    for path in [CHAT_COMPLETIONS, MESSAGES] {
        for dialect in DIALECTS {
            let config = of_dialect(dialect);
            // "weather" with its arguments is 8 tokens, "now" with "{}" 2.
            for (limit, calls, output, is_cut) in [
                (1, 0, 1, true),
                (2, 1, 2, true),
                (7, 1, 7, true),
                (8, 1, 8, true),
                (9, 2, 9, true),
                (10, 2, 10, false),
                (11, 2, 10, false),
            ] {
                let body =
                    prompt(&json!({"stream": true, "max_tokens": limit, "tools": tools_of(path)}));
                let script = ask(path, &body, &config);
                let truth = truth(&script);
                assert_eq!(
                    (truth.tool_calls, truth.usage.output),
                    (calls, output),
                    "{path} {limit}"
                );
                let written = calls_of(path, &script);
                let tokens = written
                    .iter()
                    .map(|(name, arguments)| tokens::of_call(name, arguments));
                assert_eq!(tokens.sum::<u64>(), if calls == 0 { 0 } else { output });
                assert_eq!(truth.text_sha256.is_some(), calls == 0);
                let finish = truth.finish.as_deref().expect("a finish");
                assert_eq!(
                    matches!(finish, "length" | "max_tokens"),
                    is_cut,
                    "{finish}"
                );
            }
            for (most, output) in [(4096, 10), (5, 5)] {
                let mut config = of_dialect(dialect);
                config.behaviour.output.obey_limit = false;
                config.behaviour.output.max_tokens = most;
                let body = prompt(&json!({"max_tokens": 1, "tools": tools_of(path)}));
                assert_eq!(truth(&ask(path, &body, &config)).usage.output, output);
            }
        }
    }
}

#[test]
fn text_may_stand_before_the_calls() {
    for path in [CHAT_COMPLETIONS, MESSAGES] {
        for dialect in DIALECTS {
            for (limit, text, output) in [(100, 3, 13), (5, 3, 5), (2, 2, 2)] {
                let mut config = of_dialect(dialect);
                config.behaviour.tools.text_tokens = 3;
                let body =
                    prompt(&json!({"stream": true, "max_tokens": limit, "tools": tools_of(path)}));
                let script = ask(path, &body, &config);
                assert_eq!(truth(&script).usage.output, output, "{path} {limit}");
                let bytes = String::from_utf8_lossy(script.frames.bytes()).into_owned();
                assert_eq!(bytes.matches(":\"01234567.").count(), text, "{bytes}");
            }
        }
    }
}

#[test]
fn a_named_call_ends_as_the_api_has_it() {
    let named = json!({"type": "function", "function": {"name": "now"}});
    let of_messages = json!({"type": "tool", "name": "now"});
    for (path, dialect, choice, finish) in [
        (CHAT_COMPLETIONS, Dialect::OpenAi, &named, "stop"),
        (
            CHAT_COMPLETIONS,
            Dialect::OpenAi,
            &json!("required"),
            "tool_calls",
        ),
        (CHAT_COMPLETIONS, Dialect::Mistral, &named, "tool_calls"),
        (CHAT_COMPLETIONS, Dialect::Vllm, &named, "tool_calls"),
        (CHAT_COMPLETIONS, Dialect::OpenRouter, &named, "tool_calls"),
        (MESSAGES, Dialect::OpenAi, &of_messages, "tool_use"),
    ] {
        let body =
            prompt(&json!({"max_tokens": 100, "tools": tools_of(path), "tool_choice": choice}));
        let script = ask(path, &body, &of_dialect(dialect));
        assert_eq!(
            truth(&script).finish.as_deref(),
            Some(finish),
            "{dialect:?} {choice}"
        );
        assert!(String::from_utf8_lossy(script.frames.bytes()).contains(&format!("\"{finish}\"")));
    }
}

#[test]
fn fragments_of_parallel_calls_alternate_where_that_is_wanted() {
    let indexes = |path: &str, dialect: Dialect| {
        let mut config = of_dialect(dialect);
        config.behaviour.tools.interleave = true;
        let body = prompt(&json!({"stream": true, "max_tokens": 100, "tools": tools_of(path)}));
        let script = ask(path, &body, &config);
        let calls = calls_of(path, &script);
        assert_eq!(calls[0].1, r#"{"city":"01234567.c0"}"#);
        assert_eq!(calls[1].1, "{}");
        script
    };
    for dialect in [Dialect::OpenAi, Dialect::Vllm, Dialect::OpenRouter] {
        let script = indexes(CHAT_COMPLETIONS, dialect);
        let order: Vec<_> = chunks(&script)
            .iter()
            .filter_map(|chunk| chunk.2["choices"][0]["delta"]["tool_calls"][0]["index"].as_u64())
            .collect();
        assert_eq!(order, [0, 1, 0, 1, 0, 1, 0, 0, 0, 0], "{dialect:?}");
    }
    // Whole calls, and one block after the other.
    assert_eq!(
        indexes(CHAT_COMPLETIONS, Dialect::Mistral)
            .frames
            .token_events(),
        1
    );
    indexes(MESSAGES, Dialect::OpenAi);
}

#[test]
fn one_call_where_parallel_ones_are_forbidden() {
    let body = prompt(&json!({"max_tokens": 100, "tools": anthropic_tools(),
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}));
    assert_eq!(truth(&ask(MESSAGES, &body, &config())).tool_calls, 1);
    let mut config = config();
    config.behaviour.tools.calls = 5;
    let body = prompt(&json!({"max_tokens": 100, "tools": anthropic_tools()}));
    assert_eq!(truth(&ask(MESSAGES, &body, &config)).tool_calls, 5);
}

#[test]
fn text_may_follow_the_calls() {
    let mut config = config();
    config.behaviour.tools.text_tokens = 1;
    config.behaviour.tools.text_tokens_after = 2;
    for (path, tools, dialect, finish) in [
        (
            CHAT_COMPLETIONS,
            openai_tools(),
            Dialect::OpenAi,
            "tool_calls",
        ),
        (
            CHAT_COMPLETIONS,
            openai_tools(),
            Dialect::Mistral,
            "tool_calls",
        ),
        (MESSAGES, anthropic_tools(), Dialect::OpenAi, "tool_use"),
    ] {
        config.behaviour.dialect = dialect;
        for stream in [false, true] {
            let body = prompt(&json!({"stream": stream, "max_tokens": 100, "tools": tools}));
            let script = ask(path, &body, &config);
            let truth = truth(&script);
            assert_eq!(truth.text_tokens, Some(3), "{path} {dialect:?}");
            assert_eq!(truth.usage.output, 3 + 8 + 2);
            assert_eq!(truth.finish.as_deref(), Some(finish));
            let text = String::from_utf8(script.frames.bytes().to_vec()).expect("UTF-8");
            let places = ["01234567.0 ", "weather", "01234567.2 "].map(|part| text.find(part));
            assert!(places.iter().all(Option::is_some), "{text}");
            assert!(
                places.is_sorted() || path == CHAT_COMPLETIONS && !stream,
                "{text}"
            );
            let reasons = text.matches(&format!("_reason\":\"{finish}\"")).count();
            assert_eq!(reasons, 1, "{text}");
        }
    }
    // A limit leaves one of the two.
    let body = prompt(&json!({"stream": true, "max_tokens": 12, "tools": anthropic_tools()}));
    let script = ask(MESSAGES, &body, &config);
    let truth = truth(&script);
    assert_eq!((truth.text_tokens, truth.usage.output), (Some(2), 12));
    assert_eq!(truth.finish.as_deref(), Some("max_tokens"));
}

#[test]
fn the_journal_has_what_a_request_says_of_its_tools() {
    let said = |path: &str, tools: Value, more: Value| {
        let mut body = prompt(&json!({"max_tokens": 100, "tools": tools}));
        for (key, value) in more.as_object().expect("members") {
            body[key] = value.clone();
        }
        let truth = truth(&ask(path, &body, &config())).clone();
        assert_eq!(truth.tools, Some(2), "{body}");
        (truth.tool_choice, truth.parallel_tool_calls)
    };
    let named = json!({"type": "function", "function": {"name": "now"}});
    let allowed =
        json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named]}});
    for (more, expected) in [
        (json!({}), (None, None)),
        (json!({"tool_choice": "auto"}), (Some("auto"), None)),
        (json!({"tool_choice": "none"}), (Some("none"), None)),
        (
            json!({"tool_choice": "required", "parallel_tool_calls": false}),
            (Some("required"), Some(false)),
        ),
        (json!({"tool_choice": allowed}), (Some("required"), None)),
        (
            json!({"tool_choice": named, "parallel_tool_calls": true}),
            (Some("named"), Some(true)),
        ),
    ] {
        assert_eq!(said(CHAT_COMPLETIONS, openai_tools(), more), expected);
    }
    for (choice, expected) in [
        (json!({"type": "auto"}), (Some("auto"), None)),
        (json!({"type": "none"}), (Some("none"), None)),
        (
            json!({"type": "any", "disable_parallel_tool_use": true}),
            (Some("required"), Some(false)),
        ),
        (
            json!({"type": "tool", "name": "now", "disable_parallel_tool_use": false}),
            (Some("named"), Some(true)),
        ),
    ] {
        let more = json!({"tool_choice": choice});
        assert_eq!(said(MESSAGES, anthropic_tools(), more), expected);
    }
    let none = truth(&ask(
        MESSAGES,
        &prompt(&json!({"max_tokens": 3})),
        &config(),
    ))
    .tools;
    assert_eq!(none, Some(0));
}

#[test]
fn no_text_is_known_and_a_broken_answer_is_not() {
    let counts = |kind: Option<FaultKind>, share: f64| {
        let mut config = config();
        config.behaviour.output.reasoning_share = share;
        config.behaviour.faults = kind.map(Fault::new).into_iter().collect();
        let script = ask(
            MESSAGES,
            &prompt(&json!({"stream": true, "max_tokens": 8})),
            &config,
        );
        let truth = truth(&script).clone();
        (truth.text_tokens, truth.reasoning_tokens)
    };
    assert_eq!(counts(None, 0.0), (Some(8), Some(0)));
    assert_eq!(counts(None, 1.0), (Some(0), Some(8)));
    assert_eq!(counts(Some(FaultKind::LostEvent), 0.5), (Some(4), Some(4)));
    assert_eq!(counts(Some(FaultKind::Cut), 0.5), (None, None));
    assert_eq!(counts(Some(FaultKind::Status), 0.5), (None, None));
}
