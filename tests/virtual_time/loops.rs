//! Sessions of several turns: what each turn sends, when, and how a session ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use weighbridge::client::scripted::{Answer, Ending, Response, Scripted};
use weighbridge::endpoint::Endpoint;
use weighbridge::protocol::Encoded;
use weighbridge::record::{Outcome, Record, SessionEnd};
use weighbridge::run::Stop;

use super::harness::{MS, Ran, answer, conduct, data, done, refusal, run, stop_at, stream_headers};

/// (id, name, arguments) of a call.
type Called = (&'static str, &'static str, &'static str);

const WEATHER: Called = ("call00001", "get_weather", r#"{"city":"Lyon"}"#);
const ORDERS: Called = ("call00002", "search_orders", r#"{"customer_id":"C-1"}"#);

const ONE: (&str, &str) = ("load", "{ concurrency = 1, count = 1 }");
const TOOLS: (&str, &str) = ("workload.tools_share", "1.0");
const THREE: (&str, &str) = ("workload.tools.turns_max", "3");
const SLOW: (&str, &str) = (
    "workload.tools.results",
    r#"[{ tool = "get_weather", text = "rain", delay = "100ms" }, { text = "ok", delay = "40ms" }]"#,
);

/// A streamed answer that takes 30 ms.
fn streamed(frames: Vec<Bytes>) -> Response {
    let first = |n: usize| if n == 0 { MS * 20 } else { Duration::ZERO };
    Response {
        head_after: MS * 10,
        status: 200,
        headers: stream_headers(),
        frames: frames
            .into_iter()
            .enumerate()
            .map(|(n, frame)| (first(n), frame))
            .collect(),
        ending: Ending::Complete,
    }
}

fn openai_calls(text: &str, calls: &[Called]) -> Response {
    let calls: Vec<Value> = calls
        .iter()
        .zip(0..)
        .map(|((id, name, arguments), index): (_, u32)| {
            json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
        })
        .collect();
    let delta = json!({"role": "assistant", "content": text, "tool_calls": calls});
    let usage = json!({"prompt_tokens": 40, "completion_tokens": 8, "total_tokens": 48});
    streamed(vec![
        data(&json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta}]}).to_string()),
        data(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": usage}).to_string()),
        done(),
    ])
}

fn anthropic_calls(text: &str, calls: &[Called]) -> Response {
    let event = |value: Value| {
        let kind = value["type"].as_str().expect("a type").to_owned();
        Bytes::from(format!("event: {kind}\ndata: {value}\n\n"))
    };
    let mut events = vec![json!({"type": "message_start", "message": {
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [],
        "usage": {"input_tokens": 40, "output_tokens": 1}
    }})];
    let mut index = 0;
    let mut block = |start: Value, delta: Value| {
        events.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
        events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        events.push(json!({"type": "content_block_stop", "index": index}));
        index += 1;
    };
    if !text.is_empty() {
        block(
            json!({"type": "text", "text": ""}),
            json!({"type": "text_delta", "text": text}),
        );
    }
    for (id, name, arguments) in calls {
        block(
            json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
            json!({"type": "input_json_delta", "partial_json": arguments}),
        );
    }
    let reason = if calls.is_empty() {
        "end_turn"
    } else {
        "tool_use"
    };
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 8}}));
    events.push(json!({"type": "message_stop"}));
    streamed(events.into_iter().map(event).collect())
}

/// How many answers of the model a request repeats.
fn answers_in(request: &Encoded) -> usize {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let messages = body["messages"].as_array().expect("messages");
    messages
        .iter()
        .filter(|message| message["role"] == "assistant")
        .count()
}

/// A model that calls these tools in its first `turns` turns, and answers then.
fn calling(turns: usize, calls: &'static [Called]) -> Scripted {
    Scripted::new(move |request, _| {
        Answer::Respond(if answers_in(request) < turns {
            openai_calls("", calls)
        } else {
            answer()
        })
    })
}

/// (turn, attempt, outcome, end) of each row.
fn rows(ran: &Ran) -> Vec<(u32, u32, Outcome, Option<SessionEnd>)> {
    let row = |r: &Record| (r.turn, r.attempt, r.outcome, r.session_end);
    ran.records.iter().map(row).collect()
}

fn sent_ms(ran: &Ran) -> Vec<Option<u64>> {
    let ms = |r: &Record| r.sent.map(|at| at.nanos() / 1_000_000);
    ran.records.iter().map(ms).collect()
}

#[test]
fn a_session_goes_on_until_an_answer_calls_nothing() {
    let ran = run(&[ONE, TOOLS, THREE, SLOW], &calling(2, &[ORDERS, WEATHER]));
    assert_eq!(
        rows(&ran),
        [
            (0, 0, Outcome::Ok, None),
            (1, 0, Outcome::Ok, None),
            (2, 0, Outcome::Ok, Some(SessionEnd::Answered)),
        ]
    );
    // The tools run side by side: the slower one is waited for.
    assert_eq!(sent_ms(&ran), [0, 130, 260].map(Some));
    let ids: std::collections::BTreeSet<_> = ran.records.iter().map(|r| &r.trace_id).collect();
    assert_eq!(ids.len(), 3, "each turn has a name of its own");
    let first = ran.records[0].sent;
    assert!(
        ran.records
            .iter()
            .all(|r| r.session == 0 && r.session_sent == first && r.last)
    );
    assert!(ran.records.iter().all(|r| r.due.is_none()), "a closed loop");
    let inputs: Vec<u64> = ran.records.iter().map(|r| r.planned_input).collect();
    assert!(inputs.is_sorted_by(|a, b| a < b), "{inputs:?}");
    assert_eq!(ran.planned[&Endpoint::OpenAi], 3);
    assert_eq!(
        ran.report().endpoints[&Endpoint::OpenAi].requests.planned,
        3
    );
}

#[test]
fn a_model_that_never_stops_is_stopped_by_the_limit() {
    let ran = run(&[ONE, TOOLS, THREE], &calling(99, &[WEATHER]));
    let ends: Vec<_> = ran.records.iter().map(|r| r.session_end).collect();
    assert_eq!(ends, [None, None, Some(SessionEnd::TurnLimit)]);
    // Without delays, each turn follows the last at once.
    assert_eq!(sent_ms(&ran), [0, 30, 60].map(Some));
}

#[test]
fn sessions_of_one_turn_leave_calls_unanswered() {
    let ran = run(&[ONE, TOOLS], &calling(99, &[WEATHER]));
    assert_eq!(rows(&ran), [(0, 0, Outcome::Ok, None)]);
    assert_eq!(ran.records[0].session_sent, ran.records[0].sent);
    // Chat has one turn whatever the limit is.
    let ran = run(
        &[ONE, ("workload.tools_share", "0.000001"), THREE],
        &calling(99, &[WEATHER]),
    );
    assert_eq!(rows(&ran), [(0, 0, Outcome::Ok, None)]);
}

#[test]
fn a_turn_that_fails_ends_its_session() {
    let failing = Scripted::new(|request, _| {
        Answer::Respond(match answers_in(request) {
            0 => openai_calls("", &[WEATHER]),
            _ => refusal(500, ""),
        })
    });
    let ran = run(&[ONE, TOOLS, THREE], &failing);
    assert_eq!(
        rows(&ran),
        [
            (0, 0, Outcome::Ok, None),
            (1, 0, Outcome::HttpError, Some(SessionEnd::Failed)),
        ]
    );
}

#[test]
fn a_turn_is_tried_again_and_its_session_goes_on() {
    let retries = ("target.retries", r#"{ attempts = 2, wait = "100ms" }"#);
    let refused = Arc::new(Mutex::new(0));
    let flaky = Scripted::new(move |request, _| {
        let answers = answers_in(request);
        let mut refused = refused.lock().expect("no test panics here");
        Answer::Respond(if answers == 1 && *refused == 0 {
            *refused += 1;
            refusal(429, "")
        } else if answers < 2 {
            openai_calls("", &[WEATHER])
        } else {
            answer()
        })
    });
    let ran = run(&[ONE, TOOLS, THREE, retries], &flaky);
    assert_eq!(
        rows(&ran),
        [
            (0, 0, Outcome::Ok, None),
            (1, 0, Outcome::RateLimited, None),
            (1, 1, Outcome::Ok, None),
            (2, 0, Outcome::Ok, Some(SessionEnd::Answered)),
        ]
    );
    let first = ran.records[0].sent;
    assert!(ran.records.iter().all(|r| r.session_sent == first));
    assert_eq!(ran.planned[&Endpoint::OpenAi], 3);
}

#[test]
fn a_stop_while_tools_run_leaves_a_row_of_the_turn_that_was_asked_for() {
    for open in [false, true] {
        let load = if open {
            (
                "load",
                r#"{ arrivals = "constant", rate = 1.0, count = 1 }"#,
            )
        } else {
            ONE
        };
        let stop = |shared, clock| stop_at(shared, clock, vec![(80, Stop::Arrivals)]);
        let ran = conduct(&[load, TOOLS, THREE, SLOW], &calling(9, &[WEATHER]), stop);
        assert_eq!(
            rows(&ran),
            [
                (0, 0, Outcome::Ok, None),
                (1, 0, Outcome::Cut, Some(SessionEnd::Stopped)),
            ],
            "{open}"
        );
        let cut = &ran.records[1];
        assert_eq!((cut.sent, cut.due), (None, None), "it was not due yet");
        assert_eq!(cut.session_sent, ran.records[0].sent);
        assert_eq!(ran.planned[&Endpoint::OpenAi], 2);
        let requests = &ran.report().endpoints[&Endpoint::OpenAi].requests;
        assert_eq!((requests.planned, requests.ok, requests.cut), (2, 1, 1));
    }
}

#[test]
fn a_turn_in_flight_at_a_stop_may_end_and_is_the_last() {
    let stop = |shared, clock| stop_at(shared, clock, vec![(140, Stop::Arrivals)]);
    let ran = conduct(&[ONE, TOOLS, THREE, SLOW], &calling(9, &[WEATHER]), stop);
    assert_eq!(
        rows(&ran),
        [
            (0, 0, Outcome::Ok, None),
            (1, 0, Outcome::Ok, None),
            (2, 0, Outcome::Cut, Some(SessionEnd::Stopped)),
        ]
    );
    let hang_up = ("workload.hang_up", r#"{ share = 1.0, after = "5ms" }"#);
    let ran = run(&[ONE, TOOLS, THREE, hang_up], &calling(9, &[WEATHER]));
    let stopped = Some(SessionEnd::Stopped);
    assert_eq!(rows(&ran), [(0, 0, Outcome::Cancelled, stopped)]);
}

#[test]
fn later_turns_of_an_open_loop_are_due_when_their_tools_are_done() {
    let load = (
        "load",
        r#"{ arrivals = "constant", rate = 5.0, count = 2 }"#,
    );
    let ran = run(&[load, TOOLS, THREE, SLOW], &calling(1, &[WEATHER]));
    let times = |r: &Record| {
        let ms = |at: Option<weighbridge::time::Offset>| at.map(|at| at.nanos() / 1_000_000);
        (r.session, r.turn, ms(r.due), ms(r.sent))
    };
    let mut found: Vec<_> = ran.records.iter().map(times).collect();
    found.sort_unstable();
    let at = |ms: u64| (Some(ms), Some(ms));
    let expected = [(0, 0, 0), (0, 1, 130), (1, 0, 200), (1, 1, 330)];
    let expected = expected.map(|(session, turn, ms)| (session, turn, at(ms).0, at(ms).1));
    assert_eq!(found, expected);
    for record in &ran.records {
        let lag = record
            .sent
            .expect("sent")
            .nanos_since(record.due.expect("due"));
        assert!(lag < 1_000_000, "{lag}");
    }
    // The window is that of the arrivals, as far as it was planned.
    assert_eq!(ran.windows[&Endpoint::OpenAi].end_ns.nanos(), 200_000_000);
}

#[test]
fn a_turn_without_a_place_is_dropped_and_ends_its_session() {
    let load = (
        "load",
        r#"{ arrivals = "constant", rate = 10.0, count = 2, max_in_flight = 1 }"#,
    );
    let delay = (
        "workload.tools.results",
        r#"[{ text = "x", delay = "85ms" }]"#,
    );
    let ran = run(&[load, TOOLS, THREE, delay], &calling(1, &[WEATHER]));
    let dropped: Vec<&Record> = ran
        .records
        .iter()
        .filter(|r| r.outcome == Outcome::Dropped)
        .collect();
    let [dropped] = dropped[..] else {
        panic!("{:?}", rows(&ran))
    };
    // It was due at 115 ms, when the second session's first turn had the only place.
    assert_eq!((dropped.session, dropped.turn), (0, 1));
    assert_eq!(dropped.session_end, Some(SessionEnd::Stopped));
    assert_eq!(dropped.due.map(|due| due.nanos() / 1_000_000), Some(115));
    assert_eq!(ran.planned[&Endpoint::OpenAi], 4);
}

#[test]
fn a_budget_that_has_no_room_for_the_next_turn_ends_the_session() {
    let free = run(&[ONE, TOOLS, THREE], &calling(9, &[WEATHER]));
    // A token for each byte, and 8 of output, in tenths of a micro-dollar.
    let worst = free.records[1].body_bytes.expect("sent") * 5 + 8 * 15;
    let budget = format!("{}.{:07} USD", worst / 10_000_000, worst % 10_000_000);
    for (load, planned) in [
        (ONE, 2),
        (
            (
                "load",
                r#"{ arrivals = "constant", rate = 1.0, count = 1 }"#,
            ),
            2,
        ),
    ] {
        let limits = [load, TOOLS, THREE, ("pricing.budget", budget.as_str())];
        let ran = run(&limits, &calling(9, &[WEATHER]));
        assert_eq!(
            rows(&ran),
            [
                (0, 0, Outcome::Ok, None),
                (1, 0, Outcome::Dropped, Some(SessionEnd::Stopped)),
            ]
        );
        assert_eq!(ran.planned[&Endpoint::OpenAi], planned);
    }
}

/// Runs a session and gives back the bodies that it sent, and its run.
fn bodies(endpoint: &'static str, more: &[(&str, &str)]) -> (Vec<Value>, Ran) {
    // A call of each kind: answered, refused by its tool, of no tool, with broken arguments, without an id.
    const CALLS: [Called; 5] = [
        WEATHER,
        ORDERS,
        ("call00003", "get_wether", "{}"),
        ("call00004", "get_weather", r#"{"city": "#),
        (
            "",
            "convert_currency",
            r#"{"amount":3,"from":"EUR","to":"NOK"}"#,
        ),
    ];
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = sent.clone();
    let model = Scripted::new(move |request, _| {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        seen.lock().expect("no test panics here").push(body);
        Answer::Respond(match (answers_in(request), endpoint) {
            (0, "openai") => openai_calls("Let me see.", &CALLS),
            (1, "openai") => openai_calls("", &[WEATHER]),
            (_, "openai") => answer(),
            (0, _) => anthropic_calls("Let me see.", &CALLS),
            (1, _) => anthropic_calls("", &[WEATHER]),
            (_, _) => anthropic_calls("Rain.", &[]),
        })
    });
    let results = r#"[
        { tool = "get_weather", template = "{{\"{city}\": {n}}}" },
        { tool = "search_orders", text = "no such customer", error = true },
        { tool = "convert_currency", template = "{amount} {from}" },
    ]"#;
    let quoted = format!("\"{endpoint}\"");
    let mut overrides = vec![
        ONE,
        TOOLS,
        THREE,
        ("target.endpoint", quoted.as_str()),
        ("workload.tools.results", results),
        ("workload.tool_choice", "required"),
        ("workload.tools.parallel", "true"),
    ];
    overrides.extend(more);
    let ran = run(&overrides, &model);
    let sent = sent.lock().expect("no test panics here").clone();
    (sent, ran)
}

/// What the five calls of the first turn are answered, and whether as errors.
fn first_results(ran: &Ran) -> [(String, bool); 5] {
    let nonce = &ran.records[1].trace_id;
    [
        ("{\"Lyon\": (no n)}".to_owned(), false),
        ("no such customer".to_owned(), true),
        (
            "error: there is no tool called `get_wether`".to_owned(),
            true,
        ),
        ("error: the arguments are no JSON object".to_owned(), true),
        (format!("3 EUR\n[request {nonce}]"), false),
    ]
}

#[test]
fn turns_repeat_the_conversation_as_openai_wants_it() {
    let (bodies, ran) = bodies("openai", &[]);
    assert_eq!(
        rows(&ran).last().expect("rows").3,
        Some(SessionEnd::Answered)
    );
    let messages = |n: usize| bodies[n]["messages"].as_array().expect("messages").clone();
    let (first, second, third) = (messages(0), messages(1), messages(2));
    assert_eq!(second[..1], first[..]);
    assert_eq!(
        third[..second.len()],
        second[..],
        "what was sent before is the begin"
    );
    let roles = |messages: &[Value]| -> Vec<String> {
        messages
            .iter()
            .map(|m| m["role"].as_str().expect("a role").to_owned())
            .collect()
    };
    assert_eq!(
        roles(&second),
        ["user", "assistant", "tool", "tool", "tool", "tool", "tool"]
    );
    assert_eq!(
        roles(&third)[7..],
        ["assistant", "tool"],
        "no user behind a tool"
    );
    assert_eq!(second[1]["content"], "Let me see.");
    let calls = second[1]["tool_calls"].as_array().expect("calls");
    let id = calls[4]["id"].as_str().expect("an id");
    assert!(
        id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric()),
        "{id}"
    );
    for (n, (content, _)) in first_results(&ran).into_iter().enumerate() {
        let result = &second[2 + n];
        assert_eq!(result["content"], content);
        assert_eq!(
            result["tool_call_id"], calls[n]["id"],
            "in the order of the calls"
        );
    }
    assert_eq!(calls[0]["id"], "call00001");
    assert_eq!(
        calls[3]["function"]["arguments"], r#"{"city": "#,
        "as it was received"
    );
    // A model that must call a tool in each turn would never end.
    let choices: Vec<&Value> = bodies.iter().map(|body| &body["tool_choice"]).collect();
    assert_eq!(choices, ["required", "auto", "auto"]);
    assert!(
        bodies
            .iter()
            .all(|body| body["parallel_tool_calls"] == true)
    );
    let asked: Vec<_> = ran.records.iter().map(|r| r.tool_choice.clone()).collect();
    assert_eq!(
        asked,
        ["required", "auto", "auto"].map(|choice| Some(choice.to_owned()))
    );
}

#[test]
fn turns_repeat_the_conversation_as_anthropic_wants_it() {
    let keep = ("workload.cache_conversation", "5m");
    let prefix = ("workload.cached_prefix", r#"{ tokens = 20, ttl = "1h" }"#);
    let (bodies, ran) = bodies("anthropic", &[keep, prefix]);
    assert_eq!(
        rows(&ran).last().expect("rows").3,
        Some(SessionEnd::Answered)
    );
    let messages = |n: usize| bodies[n]["messages"].as_array().expect("messages").clone();
    let second = messages(1);
    let roles: Vec<_> = second
        .iter()
        .map(|m| m["role"].as_str().expect("a role"))
        .collect();
    assert_eq!(
        roles,
        ["user", "assistant", "user"],
        "all results in one message"
    );
    let said = second[1]["content"].as_array().expect("blocks");
    assert_eq!(said[0], json!({"type": "text", "text": "Let me see."}));
    assert_eq!(
        said[4]["input"],
        json!({}),
        "an object, whatever was received"
    );
    let results = second[2]["content"].as_array().expect("blocks");
    assert_eq!(results.len(), 5);
    for ((result, call), (content, is_error)) in
        results.iter().zip(&said[1..]).zip(first_results(&ran))
    {
        assert_eq!(result["type"], "tool_result");
        assert_eq!(result["tool_use_id"], call["id"]);
        assert_eq!(result["content"], content);
        assert_eq!(result["is_error"].as_bool().unwrap_or(false), is_error);
    }
    // The prefix, and the very last block of each turn.
    for body in &bodies {
        assert_eq!(
            body["system"][0]["cache_control"],
            json!({"type": "ephemeral", "ttl": "1h"})
        );
        let messages = body["messages"].as_array().expect("messages");
        let blocks = messages
            .iter()
            .flat_map(|message| message["content"].as_array().expect("blocks"));
        let marks: Vec<&Value> = blocks.map(|block| &block["cache_control"]).collect();
        let (last, others) = marks.split_last().expect("blocks");
        assert_eq!(**last, json!({"type": "ephemeral", "ttl": "5m"}));
        assert!(others.iter().all(|mark| mark.is_null()), "{marks:?}");
    }
    let choices: Vec<&Value> = bodies.iter().map(|body| &body["tool_choice"]).collect();
    let choice = |kind: &str| json!({"type": kind, "disable_parallel_tool_use": false});
    assert_eq!(choices, [&choice("any"), &choice("auto"), &choice("auto")]);
}

#[test]
fn without_nonces_a_conversation_has_none() {
    let (bodies, ran) = bodies("openai", &[("workload.cache", "shared")]);
    let text = bodies[2].to_string();
    assert!(!text.contains("[request "), "{text}");
    assert!(ran.records.iter().all(|r| !text.contains(&r.trace_id)));
}
