//! Requests that are garbage, and requests that are almost valid.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue};
use mock_upstream::Config;
use mock_upstream::config::{MARKER_HEADER, PROFILE_HEADER};
use mock_upstream::responder::{Arrival, Received, State, respond};
use mock_upstream::script::Script;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use crate::configurations::{self, PATHS};
use crate::script::assert_whole;

static CONFIGURATIONS: LazyLock<Vec<Config>> = LazyLock::new(configurations::all);

/// What a value of a request may become; as text, since much of it is nothing that a JSON library would write.
const SNIPPETS: [&str; 36] = [
    "null",
    "true",
    "0",
    "-1",
    "1.5",
    "-0.0",
    "1e400",
    "-1e400",
    "1e-400",
    "9007199254740993",
    "18446744073709551615",
    "18446744073709551616",
    "123456789012345678901234567890",
    r#""""#,
    r#""\u0000""#,
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    r#""\ud83c\udf88 e\u0301 \u202e""#,
    "\"\u{feff}\u{10ffff}\"",
    r#""a\r\n\r\ndata: x""#,
    r#""0123456789abcdef0123456789abcdef0""#,
    r#""fedcba9876543210fedcba9876543210""#,
    "[]",
    "[[]]",
    "[null]",
    "{}",
    r#"{"":{}}"#,
    r#"{"a":1,"a":2}"#,
    r#"{"type":"array","minItems":18446744073709551615,"items":{"type":"object"}}"#,
    r#"{"type":["null","object"],"properties":{"a":{"type":"integer","minimum":1e400}},"required":["a",1,"b"]}"#,
    r#"{"type":"tool","name":"now"}"#,
    r#"{"type":"function","function":{"name":"now"}}"#,
    r#"{"type":"function","name":""}"#,
    r#"[{"type":"text","text":"x"},{"type":"tool_result","tool_use_id":"t"},{"type":"image"}]"#,
    "truncated",
    "// comment",
];

/// Marks the place of a snippet until the request is text.
const PLACE: &str = "PLACE-OF-A-SNIPPET";

fn openai() -> Value {
    json!({
        "model": "magistral-small-latest", "stream": true, "stream_options": {"include_usage": true},
        "max_tokens": 5, "temperature": 0.5, "n": 1, "stop": ["x"], "seed": 1, "user": "u",
        "response_format": {"type": "text"}, "metadata": {"a": "b"}, "parallel_tool_calls": true,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "0123456789abcdef0123456789abcdef hi"}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "abcdefghi", "type": "function", "function": {"name": "now", "arguments": "{\"a\": 1}"}}]},
            {"role": "tool", "tool_call_id": "abcdefghi", "content": "noon"},
        ],
        "tools": [{"type": "function", "function": {"name": "now", "description": "d", "parameters": schema()}}],
        "tool_choice": {"type": "function", "function": {"name": "now"}},
    })
}

fn anthropic() -> Value {
    json!({
        "model": "magistral-small-latest", "stream": true, "max_tokens": 5, "temperature": 0.5,
        "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "stop_sequences": ["x"], "metadata": {"user_id": "u"}, "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [
            {"role": "user", "content": "0123456789abcdef0123456789abcdef hi"},
            {"role": "assistant", "content": [
                {"type": "text", "text": "well"}, {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {"a": 1}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "noon"}]}]},
        ],
        "tools": [{"name": "now", "description": "d", "input_schema": schema()}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
    })
}

fn schema() -> Value {
    json!({
        "type": "object", "required": ["a", "z"],
        "properties": {
            "a": {"type": "string"}, "b": {"enum": ["x", "y"]}, "c": {"const": 1},
            "d": {"type": "array", "minItems": 2, "items": {"type": "number", "minimum": 2.5}},
            "e": {"type": "object", "properties": {"f": {"type": ["null", "boolean"]}}, "required": ["f"]},
        },
    })
}

/// One change of a valid request.
#[derive(Debug, Clone)]
enum Mutation {
    /// A value, wherever it is, becomes another.
    Replace(Index, &'static str),
    /// A value goes, with its name if it has one.
    Remove(Index),
    /// A member of the body is there twice.
    Repeat(Index, &'static str),
    /// A value sinks this deep into lists.
    Sink(Index, usize),
    /// A text becomes this much longer.
    Lengthen(Index, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let snippet = || select(&SNIPPETS[..]);
    prop_oneof![
        4 => (any::<Index>(), snippet()).prop_map(|(at, snippet)| Mutation::Replace(at, snippet)),
        2 => any::<Index>().prop_map(Mutation::Remove),
        1 => (any::<Index>(), snippet()).prop_map(|(at, snippet)| Mutation::Repeat(at, snippet)),
        1 => (any::<Index>(), 1..200_usize).prop_map(|(at, depth)| Mutation::Sink(at, depth)),
        1 => (any::<Index>(), 1..5_000_usize).prop_map(|(at, count)| Mutation::Lengthen(at, count)),
    ]
}

/// The request as text after all mutations.
fn mutated(mut body: Value, mutations: &[Mutation]) -> String {
    let mut texts = Vec::new();
    let mut repeated = String::new();
    for mutation in mutations {
        let (Mutation::Replace(at, _)
        | Mutation::Remove(at)
        | Mutation::Repeat(at, _)
        | Mutation::Sink(at, _)
        | Mutation::Lengthen(at, _)) = mutation;
        let mut places = Vec::new();
        pointers(&body, String::new(), &mut places);
        let place = places[at.index(places.len())].clone();
        match mutation {
            Mutation::Remove(_) => remove(&mut body, &place),
            Mutation::Repeat(_, snippet) => {
                let name = place.split('/').nth(1).unwrap_or("model");
                repeated.extend(["\"", name, "\":", snippet, ","]);
            }
            Mutation::Replace(..) | Mutation::Sink(..) | Mutation::Lengthen(..) => {
                let value = body.pointer_mut(&place).expect("a place of this body");
                texts.push(match mutation {
                    Mutation::Sink(_, depth) => {
                        format!("{}{value}{}", "[".repeat(*depth), "]".repeat(*depth))
                    }
                    Mutation::Lengthen(_, count) => format!("\"{}\"", "long \u{e9}".repeat(*count)),
                    Mutation::Replace(_, snippet) => (*snippet).to_owned(),
                    Mutation::Remove(_) | Mutation::Repeat(..) => unreachable!("matched above"),
                });
                *value = format!("{PLACE}{}!", texts.len() - 1).into();
            }
        }
    }
    let mut text = body.to_string();
    // The last first, since a value that sinks may have places in it.
    for (index, snippet) in texts.iter().enumerate().rev() {
        text = text.replace(&format!("\"{PLACE}{index}!\""), snippet);
    }
    match text.strip_prefix('{') {
        Some(members) if !repeated.is_empty() => format!("{{{repeated}{members}"),
        _ => text,
    }
}

/// Where the values of a body are, itself first. No name in it has `/` or `~`.
fn pointers(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                pointers(member, format!("{place}/{name}"), places);
            }
        }
        Value::Array(list) => {
            for (index, element) in list.iter().enumerate() {
                pointers(element, format!("{place}/{index}"), places);
            }
        }
        _ => {}
    }
    places.push(place);
}

fn remove(body: &mut Value, place: &str) {
    let Some((parent, name)) = place.rsplit_once('/') else {
        *body = json!({});
        return;
    };
    match body.pointer_mut(parent) {
        Some(Value::Object(members)) => drop(members.remove(name)),
        Some(Value::Array(list)) => drop(list.remove(name.parse().expect("an index"))),
        _ => unreachable!("a place has a parent"),
    }
}

/// Has a request answered twice, since the second time it meets what the first one left behind.
fn answered(path: (&str, &str), headers: &HeaderMap, body: &[u8], config: &Config) {
    let state = State::default();
    let tried = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..2 {
            let script = script_for(path, headers, body, config, &state);
            assert_whole(&script);
            let (sent, received) = (script.frames.bytes().len(), body.len());
            assert!(
                sent < 200_000 + 100 * received,
                "{sent} bytes for {received}"
            );
        }
    }));
    if tried.is_err() {
        let number = CONFIGURATIONS.iter().position(|other| other == config);
        let body = String::from_utf8_lossy(body);
        panic!("{path:?} {headers:?} with configuration {number:?}: {body}");
    }
}

fn script_for(
    (method, path): (&str, &str),
    headers: &HeaderMap,
    body: &[u8],
    config: &Config,
    state: &State,
) -> Script {
    let received = Received {
        method: &method.parse().expect("a method"),
        path,
        headers,
        body,
        arrival: Arrival::default(),
    };
    respond(&received, config, state)
}

fn one_of_the_configurations() -> impl Strategy<Value = &'static Config> {
    any::<Index>().prop_map(|index| index.get(CONFIGURATIONS.as_slice()))
}

/// Values of the headers that are read, valid and not.
fn headers() -> impl Strategy<Value = HeaderMap> {
    let values: [&[u8]; 8] = [
        b"",
        b"slow",
        b"mistral",
        b"00-abcdef0123456789abcdef0123456789-0123456789abcdef-01",
        b"00-\xff-",
        b"2023-06-01",
        b"2026-10-21",
        b"Bearer k",
    ];
    let names = [
        PROFILE_HEADER,
        MARKER_HEADER,
        "traceparent",
        "authorization",
        "x-api-key",
        "anthropic-version",
        "anthropic-beta",
    ];
    proptest::collection::vec((select(names.to_vec()), select(values.to_vec())), 0..3).prop_map(
        |pairs| {
            pairs
                .into_iter()
                .map(|(name, value)| {
                    let name = name.parse().expect("a name");
                    (name, HeaderValue::from_bytes(value).expect("a value"))
                })
                .collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_answered(
        path in select(PATHS.to_vec()),
        headers in headers(),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        config in one_of_the_configurations(),
    ) {
        answered(path, &headers, &body, config);
    }

    #[test]
    fn any_path_is_answered(path in "/[ -~\u{e9}]{0,30}|/v1/models/[ -~\u{e9}]{0,30}", config in one_of_the_configurations()) {
        for method in ["GET", "POST", "M-SEARCH"] {
            answered((method, &path), &HeaderMap::new(), b"{}", config);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn almost_valid_requests_are_answered(
        mutations in proptest::collection::vec(mutation(), 0..5),
        headers in headers(),
        stream in any::<bool>(),
        config in one_of_the_configurations(),
    ) {
        for (path, body) in [(PATHS[0], openai()), (PATHS[1], anthropic()), (PATHS[2], anthropic())] {
            let mut body = body;
            body["stream"] = stream.into();
            let text = mutated(body, &mutations);
            answered(path, &headers, text.as_bytes(), config);
        }
    }
}

#[test]
fn every_snippet_is_answered_wherever_it_is() {
    for (path, body) in [(PATHS[0], openai()), (PATHS[1], anthropic())] {
        let mut places = Vec::new();
        pointers(&body, String::new(), &mut places);
        for (number, place) in places.iter().enumerate() {
            for (other, snippet) in SNIPPETS.iter().enumerate() {
                let mut body = body.clone();
                *body.pointer_mut(place).expect("a place") = PLACE.into();
                let text = body.to_string().replace(&format!("\"{PLACE}\""), snippet);
                // All configurations come by, each with some of the requests.
                let config = &CONFIGURATIONS[(number + other) % CONFIGURATIONS.len()];
                answered(path, &HeaderMap::new(), text.as_bytes(), config);
            }
        }
    }
}

#[test]
fn what_is_nested_deep_comes_back_as_what_can_be_read() {
    for (path, body) in [
        (PATHS[0], openai()),
        (PATHS[1], anthropic()),
        (PATHS[2], anthropic()),
    ] {
        for depth in [90, 99, 100, 120, 123, 126, 127] {
            let mut deep = json!(1);
            for _ in 0..depth {
                deep = json!([deep]);
            }
            let mut body = body.clone();
            body["metadata"] = deep;
            let text = body.to_string();
            for config in CONFIGURATIONS.iter() {
                answered(path, &HeaderMap::new(), text.as_bytes(), config);
            }
        }
    }
}

#[test]
fn a_small_schema_cannot_ask_for_huge_arguments() {
    let mut schema = json!({"type": "string"});
    for _ in 0..8 {
        schema = json!({"type": "array", "minItems": 1_000_000_000, "items": schema});
    }
    let mut body = openai();
    body["tools"][0]["function"]["parameters"] =
        json!({"type": "object", "properties": {"a": schema}, "required": ["a"]});
    answered(
        PATHS[0],
        &HeaderMap::new(),
        body.to_string().as_bytes(),
        &CONFIGURATIONS[0],
    );
}

#[test]
fn a_name_that_each_chunk_repeats_cannot_be_huge() {
    for (path, mut body) in [(PATHS[0], openai()), (PATHS[1], anthropic())] {
        body["model"] = "m".repeat(1_000_000).into();
        body["tool_choice"] = Value::Null;
        body["tools"] = Value::Null;
        let body = body.to_string();
        let script = script_for(
            path,
            &HeaderMap::new(),
            body.as_bytes(),
            &CONFIGURATIONS[0],
            &State::default(),
        );
        assert!(script.frames.bytes().len() < 2 * body.len(), "{path:?}");
    }
}
