//! Departures from the protocols: a faithful answer has none, and each change of it has the one
//! that is due.

use super::{check_all, collect, data_events, typed_events};
use crate::endpoint::Endpoint;
use crate::protocol::{Decoder, Mode, Surfaces};

/// A faithful stream of each dialect.
const OPENAI: [&str; 6] = [
    r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}],"usage":null}"#,
    r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"reasoning_content":"hm"},"finish_reason":null}],"usage":null}"#,
    r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}],"usage":null}"#,
    r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#,
    r#"{"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":1}}}"#,
    "[DONE]",
];

const OPENAI_CALLS: [&str; 8] = [
    r#"{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}"#,
    r#"{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}}]}"#,
    r#"{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}"#,
    r#"{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"f","arguments":""}}]}}]}"#,
    r#"{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"","function":{"name":"","arguments":"{}"}}]}}]}"#,
    r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
    r#"{"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
    "[DONE]",
];

const MISTRAL: [&str; 5] = [
    r#"{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
    r#"{"id":"c","choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]},"finish_reason":null}]}"#,
    r#"{"id":"c","choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"m"}]},{"type":"text","text":"So"}]},"finish_reason":null}]}"#,
    r#"{"id":"c","choices":[{"index":0,"delta":{"content":"","tool_calls":[{"id":"aaaaaaaaa","function":{"name":"f","arguments":"{}"},"index":0},{"id":"bbbbbbbbb","function":{"name":"f","arguments":"{}"},"index":1}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
    "[DONE]",
];

/// With counts in every chunk, and a last chunk that has an empty text.
const OPENROUTER: [&str; 6] = [
    r#"{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":{"prompt_tokens":3,"completion_tokens":0,"total_tokens":3}}"#,
    r#"{"id":"c","choices":[{"index":0,"delta":{"content":"","reasoning":"hm"}}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#,
    r#"{"id":"c","choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
    r#"{"id":"c","choices":[{"index":0,"delta":{"content":""},"finish_reason":"length"}]}"#,
    r#"{"id":"c","choices":[{"index":0,"delta":{"content":""},"finish_reason":null}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
    "[DONE]",
];

const ANTHROPIC: [&str; 18] = [
    r#"{"type":"message_start","message":{"id":"m","model":"m","usage":{"input_tokens":1,"cache_creation_input_tokens":4,"cache_read_input_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":1},"output_tokens":7}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
    r#"{"type":"ping"}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}"#,
    r#"{"type":"content_block_stop","index":0}"#,
    r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hi"}}"#,
    r#"{"type":"content_block_stop","index":1}"#,
    r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}"#,
    r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}"#,
    r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
    r#"{"type":"content_block_stop","index":2}"#,
    r#"{"type":"content_block_start","index":3,"content_block":{"type":"thinking","thinking":"","signature":"hidden"}}"#,
    r#"{"type":"content_block_stop","index":3}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":5}}"#,
    r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":6}}"#,
    r#"{"type":"message_stop"}"#,
];

/// The oddities of a stream, in order, as it is read whole, byte by byte, and parsed throughout.
#[track_caller]
fn oddities(endpoint: Endpoint, data: &[&str]) -> Vec<String> {
    let input = match endpoint {
        Endpoint::OpenAi => data_events(data),
        Endpoint::Anthropic => typed_events(data),
    };
    let decoder = || Decoder::new(endpoint, Mode::Stream, Surfaces::new(&[])).expecting_usage();
    let whole = collect(&mut decoder(), &[&input]);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(collect(&mut decoder(), &bytes), whole);
    assert_eq!(collect(&mut decoder().parsing_all(), &[&input]), whole);
    whole
        .lines()
        .flat_map(|line| line.split(" | "))
        .filter_map(|said| said.strip_prefix("odd "))
        .map(str::to_owned)
        .collect()
}

/// A faithful stream, changed.
#[track_caller]
fn changed<const N: usize>(
    stream: [&str; N],
    change: impl FnOnce(&mut Vec<String>),
    expected: &[&str],
) {
    let endpoint = if stream[0].contains("message_start") {
        Endpoint::Anthropic
    } else {
        Endpoint::OpenAi
    };
    let mut data: Vec<String> = stream.iter().map(|&d| d.to_owned()).collect();
    change(&mut data);
    let data: Vec<&str> = data.iter().map(String::as_str).collect();
    assert_eq!(oddities(endpoint, &data), expected);
}

/// Replaces a part of one event.
fn edit(at: usize, from: &'static str, to: &'static str) -> impl FnOnce(&mut Vec<String>) {
    move |data| {
        assert!(data[at].contains(from), "{}", data[at]);
        data[at] = data[at].replacen(from, to, 1);
    }
}

fn without(at: usize) -> impl FnOnce(&mut Vec<String>) {
    move |data| drop(data.remove(at))
}

fn twice(at: usize) -> impl FnOnce(&mut Vec<String>) {
    move |data| data.insert(at, data[at].clone())
}

fn moved(from: usize, to: usize) -> impl FnOnce(&mut Vec<String>) {
    move |data| {
        let event = data.remove(from);
        data.insert(to, event);
    }
}

#[test]
fn faithful_streams_have_none() {
    let none = |_: &mut Vec<String>| {};
    changed(OPENAI, none, &[]);
    changed(OPENAI_CALLS, none, &[]);
    changed(MISTRAL, none, &[]);
    changed(
        MISTRAL,
        edit(3, r#","index":0}"#, "}"),
        &["call_without_index"],
    );
    changed(OPENROUTER, none, &[]);
    changed(ANTHROPIC, none, &[]);
    // An error or a cut is news, and what is missing after it is none.
    let error = r#"{"error":{"message":"m","type":"t"}}"#;
    oddities_are(Endpoint::OpenAi, &[error, "[DONE]"], &[]);
    oddities_are(Endpoint::OpenAi, &[OPENAI[0], OPENAI[2]], &[]);
    let error = r#"{"type":"error","error":{"type":"t","message":"m"}}"#;
    let stop = r#"{"type":"message_stop"}"#;
    oddities_are(
        Endpoint::Anthropic,
        &[ANTHROPIC[0], ANTHROPIC[1], error, stop],
        &[],
    );
    oddities_are(Endpoint::Anthropic, &ANTHROPIC[..4], &[]);
}

#[track_caller]
fn oddities_are(endpoint: Endpoint, data: &[&str], expected: &[&str]) {
    assert_eq!(oddities(endpoint, data), expected);
}

#[test]
fn the_frame_of_a_chat_completion() {
    changed(
        OPENAI,
        edit(0, r#""role":"assistant","#, ""),
        &["role_missing"],
    );
    changed(OPENAI, without(0), &["role_missing"]);
    changed(OPENAI, without(3), &["finish_missing"]);
    changed(OPENAI, twice(3), &["finish_repeated"]);
    changed(OPENAI, without(4), &["usage_missing"]);
    changed(OPENAI, twice(5), &["terminator_repeated"]);
    changed(OPENAI, moved(2, 3), &["delta_after_stop"]);
    changed(OPENAI, moved(1, 3), &["delta_after_stop"]);
    changed(
        OPENAI,
        edit(2, r#""id":"c""#, r#""id":"d""#),
        &["id_changed", "id_changed"],
    );
    changed(OPENAI, edit(2, r#""id":"c""#, r#""id":"""#), &[]);
    changed(OPENAI_CALLS, moved(5, 4), &["delta_after_stop"]);
    // Not asked for.
    let data = [&OPENAI[..4], &OPENAI[5..]].concat();
    let mut decoder = Decoder::new(Endpoint::OpenAi, Mode::Stream, Surfaces::new(&[]));
    let read = collect(&mut decoder, &[&data_events(&data)]);
    assert!(!read.contains("odd"), "{read}");
}

#[test]
fn the_calls_of_a_chat_completion() {
    changed(OPENAI_CALLS, without(1), &["out_of_block"]);
    changed(
        OPENAI_CALLS,
        |data| {
            edit(3, r#""index":1"#, r#""index":2"#)(data);
            edit(4, r#""index":1"#, r#""index":2"#)(data);
        },
        &["call_index"],
    );
    changed(
        OPENAI_CALLS,
        edit(3, r#""index":1"#, r#""index":0"#),
        &["call_identity_repeated", "out_of_block"],
    );
    changed(
        OPENAI_CALLS,
        edit(
            2,
            r#"[{"index":0,"function""#,
            r#"[{"index":0,"id":"a","function""#,
        ),
        &["call_identity_repeated"],
    );
    changed(
        OPENAI_CALLS,
        edit(4, r#""name":"""#, r#""name":"f""#),
        &["call_identity_repeated"],
    );
    changed(
        OPENAI_CALLS,
        edit(3, r#""id":"b""#, r#""id":"a""#),
        &["call_identity_repeated"],
    );
    changed(
        OPENAI_CALLS,
        edit(3, r#""id":"b","#, ""),
        &["call_id_missing"],
    );
    changed(OPENAI_CALLS, without(2), &["empty_arguments"]);
    changed(
        OPENAI_CALLS,
        edit(5, r#""delta":{}"#, r#""delta":{"tool_calls":[]}"#),
        &["empty_tool_calls"],
    );
    // What a limit cuts off is no departure.
    changed(
        OPENAI_CALLS,
        |data| {
            edit(5, "tool_calls", "length")(data);
            without(4)(data);
        },
        &[],
    );
}

#[test]
fn counts_that_cannot_be() {
    let odd = &["usage_inconsistent"];
    changed(
        OPENAI,
        edit(4, r#""total_tokens":5"#, r#""total_tokens":6"#),
        &[],
    );
    changed(
        OPENAI,
        edit(4, r#""total_tokens":5"#, r#""total_tokens":7"#),
        odd,
    );
    changed(
        OPENAI,
        edit(4, r#""cached_tokens":3"#, r#""cached_tokens":4"#),
        odd,
    );
    changed(
        OPENAI,
        edit(4, r#""reasoning_tokens":1"#, r#""reasoning_tokens":3"#),
        odd,
    );
    changed(
        OPENROUTER,
        edit(
            4,
            r#""completion_tokens":2,"total_tokens":5"#,
            r#""completion_tokens":1,"total_tokens":4"#,
        ),
        odd,
    );
    changed(
        OPENROUTER,
        |data| {
            for event in data {
                *event = event.replace("\"total_tokens\":", "\"total_tokens\":1");
            }
        },
        &[],
    );
    changed(
        OPENROUTER,
        edit(4, r#""total_tokens":5"#, r#""total_tokens":4"#),
        odd,
    );
    changed(
        ANTHROPIC,
        edit(
            15,
            r#""output_tokens":5"#,
            r#""cache_creation_input_tokens":400,"output_tokens":5"#,
        ),
        &[],
    );
    changed(
        ANTHROPIC,
        edit(16, r#""output_tokens":6"#, r#""output_tokens":4"#),
        odd,
    );
    changed(
        ANTHROPIC,
        edit(
            0,
            r#""ephemeral_5m_input_tokens":3"#,
            r#""ephemeral_5m_input_tokens":4"#,
        ),
        odd,
    );
    changed(
        ANTHROPIC,
        edit(
            0,
            r#""input_tokens":1,"cache_creation_input_tokens":4,"cache_read_input_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":1}"#,
            r#""input_tokens":0"#,
        ),
        &["start_usage_zero"],
    );
    changed(
        ANTHROPIC,
        edit(0, r#""input_tokens":1"#, r#""other":1"#),
        &["start_usage_zero"],
    );
    changed(
        ANTHROPIC,
        |data| {
            edit(15, r#","usage":{"output_tokens":5}"#, "")(data);
            without(16)(data);
        },
        &["usage_missing"],
    );
}

#[test]
fn the_frame_of_a_message() {
    changed(ANTHROPIC, without(0), &["message_start"]);
    changed(ANTHROPIC, twice(0), &["message_start"]);
    changed(ANTHROPIC, moved(0, 1), &["message_start"]);
    changed(
        ANTHROPIC,
        |data| {
            twice(0)(data);
            edit(1, r#""id":"m""#, r#""id":"n""#)(data);
        },
        &["message_start", "id_changed"],
    );
    changed(
        ANTHROPIC,
        edit(15, r#""stop_reason":"tool_use""#, ""),
        &["finish_missing"],
    );
    changed(
        ANTHROPIC,
        edit(16, r#""delta":{}"#, r#""delta":{"stop_reason":"tool_use"}"#),
        &["finish_repeated"],
    );
    changed(ANTHROPIC, twice(17), &["terminator_repeated"]);
}

#[test]
fn the_blocks_of_a_message() {
    changed(ANTHROPIC, moved(7, 8), &["delta_after_stop", "empty_block"]);
    changed(ANTHROPIC, without(7), &["empty_block"]);
    changed(ANTHROPIC, without(4), &["signature_missing"]);
    changed(
        ANTHROPIC,
        edit(4, r#""signature":"s""#, r#""signature":"""#),
        &["signature_missing"],
    );
    changed(ANTHROPIC, without(3), &[]);
    changed(ANTHROPIC, edit(13, "hidden", ""), &["empty_block"]);
    changed(
        ANTHROPIC,
        edit(7, r#""index":1"#, r#""index":0"#),
        &["delta_after_stop", "empty_block"],
    );
    changed(
        ANTHROPIC,
        edit(7, r#""index":1"#, r#""index":2"#),
        &["out_of_block", "empty_block"],
    );
    changed(
        ANTHROPIC,
        edit(
            3,
            r#""thinking_delta","thinking""#,
            r#""text_delta","text""#,
        ),
        &["delta_in_wrong_block"],
    );
    changed(ANTHROPIC, moved(8, 9), &["blocks_overlap"]);
    changed(
        ANTHROPIC,
        without(8),
        &["blocks_overlap", "blocks_overlap", "block_left_open"],
    );
    changed(ANTHROPIC, without(14), &["block_left_open"]);
    changed(ANTHROPIC, moved(14, 15), &["delta_after_stop"]);
    changed(ANTHROPIC, twice(8), &["out_of_block"]);
    changed(
        ANTHROPIC,
        |data| {
            for event in &mut data[6..9] {
                *event = event.replace(r#""index":1"#, r#""index":5"#);
            }
        },
        &["block_index", "block_index"],
    );
    changed(
        ANTHROPIC,
        edit(9, r#""id":"a""#, r#""id":"""#),
        &["call_id_missing"],
    );
    changed(
        ANTHROPIC,
        |data| {
            for at in 9..13 {
                let event = data[at].replace(r#""index":2"#, r#""index":4"#);
                data.insert(at + 6, event);
            }
        },
        &["call_identity_repeated"],
    );
}

#[test]
fn what_the_limit_cuts_off_lacks_nothing() {
    let cut = |kept: usize, reason: &str| {
        let mut data: Vec<String> = ANTHROPIC.iter().map(|&d| d.to_owned()).collect();
        data.drain(kept..15);
        data.insert(kept, ANTHROPIC[if kept > 6 { 8 } else { 5 }].to_owned());
        data[kept + 1] = data[kept + 1].replace("tool_use", reason);
        let data: Vec<&str> = data.iter().map(String::as_str).collect();
        oddities(Endpoint::Anthropic, &data)
    };
    // Thinking without its signature, thinking that had only begun, and text that had.
    for (kept, lack) in [
        (4, "signature_missing"),
        (2, "empty_block"),
        (7, "empty_block"),
    ] {
        assert_eq!(cut(kept, "end_turn"), [lack], "{kept}");
        assert!(cut(kept, "max_tokens").is_empty(), "{kept}");
    }
    // A block before the last was not cut off.
    changed(
        ANTHROPIC,
        |data| {
            edit(15, "tool_use", "max_tokens")(data);
            data.drain(9..15);
            without(4)(data);
        },
        &["signature_missing"],
    );
    let body = |reason: &str| {
        let body = format!(
            r#"{{"id":"m","content":[{{"type":"thinking","thinking":"hm"}}],"stop_reason":"{reason}","usage":{{"input_tokens":3,"output_tokens":2}}}}"#
        );
        let surfaces = Surfaces::new(&[]);
        let mut decoder = Decoder::new(Endpoint::Anthropic, Mode::Whole, surfaces);
        collect(&mut decoder, &[body.as_bytes()])
    };
    assert!(!body("max_tokens").contains("odd"));
    assert!(body("end_turn").contains("odd signature_missing"));
}

#[test]
fn whole_bodies() {
    let openai = |message: &str, more: &str| {
        format!(r#"{{"choices":[{{"index":0,"message":{{{message}}}{more}}}]"#)
    };
    let finish = r#","finish_reason":"stop""#;
    let usage = r#","usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
    let role = r#""role":"assistant""#;
    let said = r#""content":"Hi""#;
    let check = |body: String, expected: &str| {
        let endpoint = if body.starts_with(r#"{"choices""#) {
            Endpoint::OpenAi
        } else {
            Endpoint::Anthropic
        };
        check_all(endpoint, Mode::Whole, body.as_bytes(), expected);
    };
    let good = "usage input=3 output=2 total=5 | finish Stop stop | terminator";
    check(
        openai(&format!("{role},{said}"), finish) + usage,
        &format!("text \"Hi\" | {good}"),
    );
    check(
        openai(said, finish) + usage,
        &format!("odd role_missing | text \"Hi\" | {good}"),
    );
    check(
        openai(&format!("{role},{said}"), "") + "}",
        "text \"Hi\" | odd finish_missing | odd usage_missing | terminator",
    );
    check(
        openai(
            &format!(
                r#"{role},"tool_calls":[{{"id":"a","index":1,"function":{{"name":"f","arguments":""}}}},{{"id":"a","function":{{"name":"g","arguments":"{{}}"}}}},{{"function":{{"name":"h","arguments":"{{}}"}}}}]"#
            ),
            finish,
        ) + usage,
        r#"odd call_index | call 0 "a" "f" | end 0 | odd call_identity_repeated | call 1 "a" "g" | arguments 1 {} | end 1 | call 2 "" "h" | arguments 2 {} | end 2 | usage input=3 output=2 total=5 | finish Stop stop | odd empty_arguments | odd call_id_missing | terminator"#,
    );
    check(
        openai(&format!(r#"{role},{said},"tool_calls":[]"#), finish) + usage,
        &format!("text \"Hi\" | odd empty_tool_calls | {good}"),
    );
    let anthropic =
        |content: &str, more: &str| format!(r#"{{"id":"m","content":[{content}]{more}}}"#);
    let more = r#","stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":2}"#;
    let good = "usage input=3 output=2 | finish Stop end_turn | terminator";
    check(
        anthropic(
            r#"{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"Hi"}"#,
            more,
        ),
        &format!("opened m - | reasoning \"hm\" | text \"Hi\" | {good}"),
    );
    check(
        anthropic(
            r#"{"type":"thinking","thinking":"hm"},{"type":"text","text":""},{"type":"tool_use","name":"f","input":{}}"#,
            more,
        ),
        &format!(
            "opened m - | reasoning \"hm\" | odd signature_missing | odd empty_block | odd call_id_missing | call 0 \"\" \"f\" | arguments 0 {{}} | end 0 | {good}"
        ),
    );
    check(
        anthropic(r#"{"type":"text","text":"Hi"}"#, ""),
        "opened m - | text \"Hi\" | odd finish_missing | odd usage_missing | terminator",
    );
}
