use super::{check, data_events, typed_events};
use crate::endpoint::Endpoint;
use crate::protocol::Mode;

#[track_caller]
fn stream(data: &[&str], expected: &str) {
    check(
        Endpoint::Anthropic,
        Mode::Stream,
        &[],
        &typed_events(data),
        expected,
    );
}

/// A stream whose message has begun.
#[track_caller]
fn begun(data: &[&str], expected: &str) {
    let mut all = vec![r#"{"type":"message_start","message":{}}"#];
    all.extend(data);
    stream(&all, &format!("\n{expected}"));
}

#[track_caller]
fn whole(body: &str, expected: &str) {
    check(
        Endpoint::Anthropic,
        Mode::Whole,
        &[],
        body.as_bytes(),
        expected,
    );
}

#[test]
fn the_service_tier_stands_in_the_usage() {
    stream(
        &[
            r#"{"type":"message_start","message":{"usage":{"input_tokens":25,"output_tokens":1,"service_tier":"priority"}}}"#,
            r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":2,"service_tier":null}}"#,
        ],
        "tier priority | usage input=25 output=1\nusage output=2",
    );
}

#[test]
fn thinking_text_and_tools() {
    stream(
        &[
            r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m1","content":[],"stop_reason":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":10,"cache_creation":{"ephemeral_5m_input_tokens":6,"ephemeral_1h_input_tokens":4},"cache_read_input_tokens":75,"output_tokens":1}}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"x"}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
            r#"{"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"Hé"}}"#,
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":""}}"#,
            r#"{"type":"content_block_stop","index":2}"#,
            r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}"#,
            r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":""}}"#,
            r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"x\":"}}"#,
            r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
            r#"{"type":"content_block_stop","index":3}"#,
            r#"{"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"t2","name":"g","input":{ }}}"#,
            r#"{"type":"content_block_stop","index":4}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":42}}"#,
            r#"{"type":"message_stop"}"#,
        ],
        r#"opened msg_1 m1 | usage input=25 read=75 write=10 write_1h=4 output=1


        reasoning "hm"





        text "Hé"


        call 0 "t1" "f"

        arguments 0 {"x":
        arguments 0 1}
        end 0
        call 1 "t2" "g"
        end 1
        usage output=42 | finish ToolCalls tool_use
        terminator"#,
    );
}

#[test]
fn input_that_comes_with_the_start() {
    begun(
        &[
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f","input":{"x": 1}}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"b","name":"g","input":{"x":1}}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
            r#"{"type":"content_block_start","index":2,"content_block":{"type":"text","text":"t"}}"#,
        ],
        r#"call 0 "a" "f" | arguments 0 {"x": 1}
        end 0
        call 1 "b" "g" | arguments 1 {"x":1}
        replaced 1 | arguments 1 {}
        end 1
        text "t""#,
    );
}

#[test]
fn what_fits_no_open_block_is_counted() {
    begun(
        &[
            // Never opened.
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            // Of another kind.
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"b"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}"#,
            // Overlapping.
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
            // Closed.
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
            // Out of turn.
            r#"{"type":"content_block_start","index":7,"content_block":{"type":"tool_use","id":"u","name":"g","input":{"z":1}}}"#,
            r#"{"type":"message_start","message":{}}"#,
            // Still open.
            r#"{"type":"message_stop"}"#,
        ],
        r#"odd out_of_block | text "a"
        odd out_of_block

        odd delta_in_wrong_block | text "b"
        odd delta_in_wrong_block
        odd blocks_overlap | call 0 "t" "f"

        arguments 0 {}
        odd empty_block | end 0
        odd delta_after_stop
        odd block_index | call 1 "u" "g" | arguments 1 {"z":1}
        odd message_start
        odd block_left_open | end 1 | terminator"#,
    );
}

#[test]
fn a_message_that_never_began_is_counted_once() {
    stream(
        &[
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
        ],
        "odd message_start\ntext \"a\"",
    );
}

#[test]
fn calls_of_the_server_are_no_calls() {
    begun(
        &[
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"web_search_tool_result"}}"#,
            r#"{"type":"content_block_stop","index":1}"#,
        ],
        "\n\n\n\n\n",
    );
}

#[test]
fn unknown_types_are_counted() {
    begun(
        &[
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"hologram"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"hologram_delta"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"heartbeat"}"#,
        ],
        "odd unknown_event\nodd unknown_event\n\nodd unknown_event",
    );
}

#[test]
fn missing_parts_are_malformed() {
    begun(
        &[
            r#"{"type":"content_block_start","index":0}"#,
            r#"{"type":"content_block_delta","index":0,"delta":null}"#,
            r#"{"type":"message_delta","delta":null,"usage":null}"#,
        ],
        "malformed content_block_start without a block
        malformed content_block_delta without a delta
        ",
    );
    stream(
        &[r#"{"type":"message_start","message":"hi"}"#],
        "malformed message_start without a message",
    );
}

#[test]
fn stop_reasons() {
    for (raw, reason) in [
        ("end_turn", "Stop"),
        ("max_tokens", "Length"),
        ("stop_sequence", "StopSequence"),
        ("tool_use", "ToolCalls"),
        ("pause_turn", "Pause"),
        ("refusal", "Refusal"),
        ("model_context_window_exceeded", "Length"),
        ("stop", "Stop"),
    ] {
        begun(
            &[&format!(
                r#"{{"type":"message_delta","delta":{{"stop_reason":"{raw}"}}}}"#
            )],
            &format!("finish {reason} {raw}"),
        );
    }
}

#[test]
fn event_lines_that_are_missing_or_lie() {
    check(
        Endpoint::Anthropic,
        Mode::Stream,
        &[],
        b"data: {\"type\":\"ping\"}\n\nevent: message_stop\ndata: {\"type\":\"ping\"}\n\n\
          event: ping\ndata: {}\n\ndata: {\"choices\":[]}\n\n",
        "odd event_type_mismatch
        odd event_type_mismatch
        odd event_type_mismatch
        odd event_type_mismatch | odd unknown_event",
    );
}

#[test]
fn errors_in_the_stream() {
    stream(
        &[r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#],
        r#"error "overloaded_error" "busy""#,
    );
    check(
        Endpoint::Anthropic,
        Mode::Stream,
        &[],
        &data_events(&[
            r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#,
            r#"{"error":{"message":"m","type":"t"}}"#,
        ]),
        r#"odd event_type_mismatch | error "api_error" "m"
        odd event_type_mismatch | odd flat_error | error "t" "m""#,
    );
}

#[test]
fn done_and_what_follows_the_end() {
    check(
        Endpoint::Anthropic,
        Mode::Stream,
        &["stream:/cost"],
        b"data: [DONE]\n\nevent: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n\
          event: message_stop\ndata: {\"type\":\"message_stop\",\"cost\":0.10}\n\n\
          event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":3},\"cost\":2}\n\n\
          data: [DONE]\n\n",
        "odd done_on_anthropic

        cost 0 0.10 | terminator
        odd after_terminator | usage output=3 | cost 0 2
        odd done_on_anthropic",
    );
}

#[test]
fn a_whole_body() {
    check(
        Endpoint::Anthropic,
        Mode::Whole,
        &["body:/usage/cost"],
        br#"{"id":"msg_1","type":"message","role":"assistant","model":"m1","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"x"},{"type":"text","text":"Hi"},{"type":"tool_use","id":"t1","name":"f","input":{"x": 1}},{"type":"tool_use","id":"t2","name":"g","input":{}},{"type":"hologram"}],"stop_reason":"tool_use","usage":{"input_tokens":25,"output_tokens":8,"cost":1.50}}"#,
        r#"opened msg_1 m1 | reasoning "hm" | text "Hi" | call 0 "t1" "f" | arguments 0 {"x": 1} | end 0 | call 1 "t2" "g" | arguments 1 {} | end 1 | odd unknown_event | usage input=25 output=8 | finish ToolCalls tool_use | cost 0 1.50 | terminator"#,
    );
}

#[test]
fn whole_bodies_that_are_no_answer() {
    whole(
        r#"{"type":"error","error":{"type":"api_error","message":"m"},"request_id":"r"}"#,
        r#"error "api_error" "m""#,
    );
    whole(
        r#"{"error":{"type":"t","message":"m"}}"#,
        r#"odd flat_error | error "t" "m""#,
    );
    whole(r#"{"id":"x"}"#, "malformed a body without content");
    whole("nope", "malformed not a JSON object: nope");
}
