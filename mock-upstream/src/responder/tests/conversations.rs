//! Conversations with tools: which messages may follow which, and how long tools are called.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn model(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

/// A message of the model with calls, for chat completions.
fn calls(ids: &[&str]) -> Value {
    let call = |id: &&str| json!({"id": id, "type": "function", "function": {"name": "now", "arguments": "{}"}});
    json!({"role": "assistant", "content": "", "tool_calls": ids.iter().map(call).collect::<Vec<_>>()})
}

fn result(id: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": "noon"})
}

/// The same for messages.
fn uses(ids: &[&str]) -> Value {
    let call = |id: &&str| json!({"type": "tool_use", "id": id, "name": "now", "input": {}});
    json!({"role": "assistant", "content": ids.iter().map(call).collect::<Vec<_>>()})
}

/// A message of the user with results, and a text where an id is empty.
fn results(ids: &[&str]) -> Value {
    let block = |id: &&str| match *id {
        "" => json!({"type": "text", "text": "hm"}),
        id => json!({"type": "tool_result", "tool_use_id": id, "content": "noon"}),
    };
    json!({"role": "user", "content": ids.iter().map(block).collect::<Vec<_>>()})
}

/// Status and error of a request with these messages; null where it is answered.
fn answer(path: &str, messages: &[Value], config: &Config) -> (u16, Value) {
    let body = prompt(&json!({"messages": messages}));
    let script = ask(path, &body, config);
    let status = script.status.as_u16();
    (
        status,
        if status == 200 {
            Value::Null
        } else {
            whole_body(&script)
        },
    )
}

#[test]
fn openai_wants_a_result_for_each_call_right_after_them() {
    const A: &str = "call_a";
    const B: &str = "call_b";
    let unanswered = |ids: &str| {
        format!(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
             'tool_call_id'. The following tool_call_ids did not have response messages: {ids}"
        )
    };
    let no_call = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with \
                   'tool_calls'.";
    let unknown = "Invalid parameter: 'tool_call_id' of 'call_c' not found in 'tool_calls' of previous message.";
    for dialect in [Dialect::OpenAi, Dialect::Vllm, Dialect::OpenRouter] {
        let config = of_dialect(dialect);
        for messages in [
            vec![user("x"), calls(&[A, B]), result(B), result(A)],
            vec![user("x"), calls(&[A]), result(A), user("y")],
            vec![
                user("x"),
                calls(&[A]),
                result(A),
                calls(&[A]),
                result(A),
                model("z"),
                user("y"),
            ],
            vec![user("x"), model("y")],
        ] {
            assert_eq!(
                answer(CHAT_COMPLETIONS, &messages, &config),
                (200, Value::Null)
            );
        }
        for (messages, message, param) in [
            (
                vec![user("x"), calls(&[A, B]), result(A)],
                unanswered(B),
                "messages.[1].role",
            ),
            (
                vec![user("x"), calls(&[A, B])],
                unanswered("call_a, call_b"),
                "messages.[1].role",
            ),
            (
                vec![user("x"), calls(&[A]), user("y")],
                unanswered(A),
                "messages.[1].role",
            ),
            (
                vec![user("x"), result(A)],
                no_call.to_owned(),
                "messages.[1].role",
            ),
            (vec![result(A)], no_call.to_owned(), "messages.[0].role"),
            (
                vec![user("x"), calls(&[A]), result(A), user("y"), result(A)],
                no_call.to_owned(),
                "messages.[4].role",
            ),
            (
                vec![user("x"), calls(&[A]), result("call_c")],
                unknown.to_owned(),
                "messages.[2].tool_call_id",
            ),
        ] {
            let (status, error) = answer(CHAT_COMPLETIONS, &messages, &config);
            assert_eq!(
                (status, &error["error"]["message"]),
                (400, &json!(message)),
                "{dialect:?}"
            );
            if dialect != Dialect::OpenRouter {
                assert_eq!(error["error"]["param"], param);
            }
        }
        let mut nameless = result(A);
        nameless["tool_call_id"] = Value::Null;
        let (status, error) = answer(
            CHAT_COMPLETIONS,
            &[user("x"), calls(&[A]), nameless],
            &config,
        );
        let message = "Missing required parameter: 'messages[2].tool_call_id'.";
        assert_eq!((status, &error["error"]["message"]), (400, &json!(message)));
    }
    let many = vec!["id"; 129];
    let (status, error) = answer(CHAT_COMPLETIONS, &[user("x"), calls(&many)], &config());
    assert_eq!(
        (status, &error["error"]["code"]),
        (400, &json!("array_above_max_length"))
    );
}

#[test]
fn mistral_wants_ids_of_nine_characters_and_its_order() {
    const A: &str = "aaaaAAAA1";
    const B: &str = "bbbbBBBB2";
    let order = |message: &str| (message.to_owned(), "invalid_request_message_order", "3230");
    let id = |id: &str| {
        let message =
            format!("Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9.");
        (message, "invalid_function_call", "3280")
    };
    let system = json!({"role": "system", "content": "s"});
    let mut begun = model("x");
    begun["prefix"] = json!(true);
    for messages in [
        vec![
            system.clone(),
            user("x"),
            calls(&[A, B]),
            result(B),
            result(A),
        ],
        vec![user("x"), calls(&[A]), result(A), model("y"), user("z")],
        vec![user("x"), begun],
    ] {
        assert_eq!(
            answer(CHAT_COMPLETIONS, &messages, &mistral()),
            (200, Value::Null)
        );
    }
    let other_number = "Not the same number of function calls and responses";
    for (messages, expected) in [
        (
            vec![user("x"), calls(&[A]), result(A), user("y")],
            order("Unexpected role 'user' after role 'tool'"),
        ),
        (
            vec![user("x"), result(A)],
            order("Unexpected role 'tool' after role 'user'"),
        ),
        (
            vec![user("x"), model("y"), system],
            order("Unexpected role 'system' after role 'assistant'"),
        ),
        (
            vec![user("x"), model("y")],
            order(
                "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant",
            ),
        ),
        (
            vec![user("x"), calls(&[A, B]), result(A)],
            order(other_number),
        ),
        (
            vec![user("x"), calls(&[A]), result(A), result(A)],
            order(other_number),
        ),
        (vec![user("x"), calls(&[A]), user("y")], order(other_number)),
        (vec![user("x"), model("y"), result(A)], order(other_number)),
        (
            vec![user("x"), calls(&[A]), result(B)],
            order("Unexpected tool call id bbbbBBBB2 in tool results"),
        ),
        (
            vec![user("x"), calls(&["call_1"]), result("call_1")],
            id("call_1"),
        ),
        (
            vec![user("x"), calls(&["aaaaAAAA10"]), result("aaaaAAAA10")],
            id("aaaaAAAA10"),
        ),
        (
            vec![user("x"), calls(&["aaaa-AAAA"]), result("aaaa-AAAA")],
            id("aaaa-AAAA"),
        ),
        (
            vec![user("x"), calls(&[A]), result("toolu_1")],
            id("toolu_1"),
        ),
    ] {
        let (message, kind, code) = expected;
        let error = json!({"object": "error", "message": message, "type": kind, "param": null, "code": code});
        assert_eq!(
            answer(CHAT_COMPLETIONS, &messages, &mistral()),
            (400, error)
        );
    }
}

#[test]
fn anthropic_wants_all_results_first_in_the_next_message() {
    let unanswered = |place: &str, ids: &str| {
        format!(
            "{place}: `tool_use` ids were found without `tool_result` blocks immediately after: {ids}. Each `tool_use` \
             block must have a corresponding `tool_result` block in the next message."
        )
    };
    let unexpected = |place: &str, id: &str| {
        format!(
            "{place}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a \
             corresponding `tool_use` block in the previous message."
        )
    };
    for messages in [
        vec![user("x"), uses(&["a", "b"]), results(&["b", "a"])],
        vec![user("x"), uses(&["a"]), results(&["a", "", ""])],
        vec![
            user("x"),
            uses(&["a"]),
            results(&["a"]),
            uses(&["a"]),
            results(&["a"]),
        ],
        vec![user("x"), model("y")],
    ] {
        assert_eq!(answer(MESSAGES, &messages, &config()), (200, Value::Null));
    }
    for (messages, message) in [
        (vec![user("x"), uses(&["a", "b"]), results(&["a"])], unanswered("messages.2", "b")),
        (vec![user("x"), uses(&["a", "b"]), user("y")], unanswered("messages.2", "a, b")),
        (vec![user("x"), uses(&["a", "b"]), results(&["a", "", "b"])], unanswered("messages.2", "b")),
        (vec![user("x"), uses(&["a"])], unanswered("messages.1", "a")),
        (vec![user("x"), uses(&["a"]), results(&["a", "c"])], unexpected("messages.2.content.1", "c")),
        (vec![results(&["a"])], unexpected("messages.0.content.0", "a")),
        (
            vec![user("x"), uses(&["a"]), results(&["a"]), model("y"), results(&["a"])],
            unexpected("messages.4.content.0", "a"),
        ),
        (
            vec![user("x"), uses(&["a"]), results(&["a", "a"])],
            "messages.2.content.1: each tool_use must have a single result. Found multiple `tool_result` blocks with id: a"
                .to_owned(),
        ),
    ] {
        let (status, error) = answer(MESSAGES, &messages, &config());
        assert_eq!((status, &error["error"]["message"]), (400, &json!(message)));
    }
}

/// The ids of the calls of a whole answer, and the answer's message as it is sent back.
fn called(path: &str, script: &Script) -> (Vec<String>, Value) {
    let body = whole_body(script);
    let (message, calls) = match path {
        MESSAGES => (
            json!({"role": "assistant", "content": body["content"]}),
            &body["content"],
        ),
        _ => {
            let message = &body["choices"][0]["message"];
            let mut kept = json!({"role": "assistant", "content": message["content"]});
            if message["tool_calls"][0].is_object() {
                kept["tool_calls"] = message["tool_calls"].clone();
            }
            (kept, &message["tool_calls"])
        }
    };
    let calls = calls.as_array().into_iter().flatten();
    let ids = calls.filter_map(|call| call["id"].as_str().map(str::to_owned));
    (ids.collect(), message)
}

/// Adds what a tool answers to calls.
fn return_results(path: &str, ids: &[String], messages: &mut Vec<Value>) {
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    match path {
        MESSAGES if ids.is_empty() => {}
        MESSAGES => messages.push(results(&ids)),
        _ => messages.extend(ids.into_iter().map(result)),
    }
}

#[test]
fn a_loop_of_tools_ends_after_its_turns_with_text() {
    for (path, dialect) in [
        (CHAT_COMPLETIONS, Dialect::OpenAi),
        (CHAT_COMPLETIONS, Dialect::Mistral),
        (CHAT_COMPLETIONS, Dialect::Vllm),
        (CHAT_COMPLETIONS, Dialect::OpenRouter),
        (MESSAGES, Dialect::OpenAi),
    ] {
        for (turns, choice) in [(0, "auto"), (1, "auto"), (3, "auto"), (2, "required")] {
            let mut config = of_dialect(dialect);
            config.behaviour.tools.turns = turns;
            let mut messages = vec![user(&format!("{NONCE} what time is it"))];
            let mut ids_before = BTreeSet::new();
            // Whatever was before, the question counts.
            for question in 0..2 {
                for turn in 0..=turns {
                    let (tools, choice) = match (path, choice) {
                        (MESSAGES, "required") => (anthropic_tools(), json!({"type": "any"})),
                        (MESSAGES, kind) => (anthropic_tools(), json!({"type": kind})),
                        (_, kind) => (openai_tools(), json!(kind)),
                    };
                    let body = prompt(
                        &json!({"messages": messages, "tools": tools, "tool_choice": choice, "max_tokens": 100}),
                    );
                    let script = ask(path, &body, &config);
                    assert_eq!(
                        script.status,
                        200,
                        "{:?}",
                        String::from_utf8_lossy(script.frames.bytes())
                    );
                    let truth = truth(&script);
                    assert_eq!(
                        (truth.turn, truth.tool_results),
                        (turn, 2 * (question * turns + turn))
                    );
                    let (ids, message) = called(path, &script);
                    assert_eq!(ids.len(), if turn < turns { 2 } else { 0 });
                    assert_eq!(truth.tool_calls as usize, ids.len());
                    for id in &ids {
                        assert!(ids_before.insert(id.clone()), "{id} comes twice");
                    }
                    messages.push(message);
                    return_results(path, &ids, &mut messages);
                }
                messages.push(user("and now"));
            }
        }
    }
}
