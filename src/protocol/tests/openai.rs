use super::{check, data_events};
use crate::endpoint::Endpoint;
use crate::protocol::Mode;

#[track_caller]
fn stream(data: &[&str], expected: &str) {
    check(
        Endpoint::OpenAi,
        Mode::Stream,
        &[],
        &data_events(data),
        expected,
    );
}

/// A stream whose chunks differ in the delta of choice 0 alone.
#[track_caller]
fn deltas(deltas: &[&str], expected: &str) {
    let chunks: Vec<String> = deltas
        .iter()
        .map(|delta| format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#))
        .collect();
    stream(
        &chunks.iter().map(String::as_str).collect::<Vec<_>>(),
        expected,
    );
}

#[track_caller]
fn whole(body: &str, expected: &str) {
    check(
        Endpoint::OpenAi,
        Mode::Whole,
        &[],
        body.as_bytes(),
        expected,
    );
}

#[test]
fn a_plain_stream() {
    stream(
        &[
            r#"{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}"#,
            r#"{"id":"c1","model":"m1","choices":[{"index":0,"delta":{"content":"H\u00e9l"},"finish_reason":null}],"usage":null}"#,
            r#"{"id":"c1","model":"m1","choices":[{"index":0,"delta":{"content":"lo 🌍\n"},"finish_reason":null}]}"#,
            r#"{"id":"c1","model":"m1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"id":"c1","model":"m1","choices":[],"usage":{"prompt_tokens":20,"completion_tokens":8,"total_tokens":28,"prompt_tokens_details":{"cached_tokens":5},"completion_tokens_details":{"reasoning_tokens":0}}}"#,
            "[DONE]",
        ],
        r#"opened c1 m1
        text "Hél"
        text "lo 🌍\n"
        finish Stop stop
        usage input=20 read=5 output=8 reasoning=0 total=28
        terminator"#,
    );
}

#[test]
fn a_service_tier_counts_whenever_it_changes() {
    stream(
        &[
            r#"{"service_tier":null,"choices":[{"delta":{"content":"a"}}]}"#,
            r#"{"service_tier":"auto","choices":[{"delta":{"content":"b"}}]}"#,
            r#"{"service_tier":"auto","choices":[{"delta":{"content":"c"}}]}"#,
            r#"{"service_tier":"flex","choices":[{"delta":{"content":"d"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3,"service_tier":"default"}}"#,
            "[DONE]",
        ],
        r#"text "a"
        tier auto | text "b"
        text "c"
        tier flex | text "d" | finish Stop stop
        tier default | usage input=3
        terminator"#,
    );
    let long = "x".repeat(65);
    whole(
        &format!(
            r#"{{"service_tier":"{long}","choices":[{{"index":0,"message":{{"content":"a"}}}}]}}"#
        ),
        "text \"a\" | terminator",
    );
}

#[test]
fn names_may_come_late() {
    stream(
        &[
            r#"{"id":"","model":"","choices":[]}"#,
            r#"{"id":"c1","model":"","choices":[]}"#,
            r#"{"id":"c2","model":"m1","choices":[]}"#,
        ],
        "\nopened c1 -\nodd id_changed | opened - m1",
    );
}

#[test]
fn usage_in_the_finish_chunk_and_in_every_chunk() {
    stream(
        &[
            r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
            r#"{"choices":[{"delta":{"content":"b"},"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"prompt_cache_hit_tokens":1}}"#,
            r#"{"choices":[],"usage":{}}"#,
            "[DONE]",
        ],
        r#"text "a" | usage input=3 output=1
        text "b" | usage input=3 read=1 output=2 | finish Length length

        terminator"#,
    );
}

#[test]
fn cache_writes_that_gateways_add() {
    stream(
        &[
            r#"{"choices":[],"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":1,"cache_creation_tokens":2},"cache_creation_input_tokens":3,"cache_creation":{"ephemeral_1h_input_tokens":2}}}"#,
            r#"{"choices":[],"usage":{"prompt_tokens_details":{"cache_write_tokens":4}}}"#,
        ],
        "usage input=9 read=1 write=3 write_1h=2\nusage write=4",
    );
}

#[test]
fn what_is_no_count_is_not_taken() {
    for count in ["-1", "1.5", r#""7""#, "true", "[1]", r#"{"a":1}"#, "1e30"] {
        stream(
            &[&format!(
                r#"{{"choices":[],"usage":{{"prompt_tokens":{count},"completion_tokens":2,"total_tokens":null}}}}"#
            )],
            "odd usage_not_a_number | usage output=2",
        );
    }
}

#[test]
fn reasoning_under_either_name_counts_once() {
    deltas(
        &[
            r#"{"reasoning_content":"a"}"#,
            r#"{"reasoning":"b","content":null}"#,
            r#"{"reasoning_content":"c","reasoning":"c","content":""}"#,
            r#"{"reasoning_content":"","reasoning":"d","content":"e"}"#,
            r#"{"reasoning_content":null,"reasoning":null,"content":"f"}"#,
        ],
        r#"reasoning "a"
        reasoning "b"
        reasoning "c"
        reasoning "d" | text "e"
        text "f""#,
    );
}

#[test]
fn mistral_thinks_in_content_lists() {
    deltas(
        &[
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}"#,
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"m."},{"type":"text","text":""}]},{"type":"text","text":"So"}]}"#,
            r#"{"content":[{"type":"thinking","thinking":"x"},{"type":"reference","reference_ids":[1]},{"type":"refusal","refusal":"no"},{"type":"hologram"}]}"#,
            r#"{"content":" it is"}"#,
        ],
        r#"reasoning "hm"
        reasoning "m." | text "So"
        reasoning "x" | text "no" | odd unknown_event
        text " it is""#,
    );
}

#[test]
fn a_refusal_is_text() {
    deltas(&[r#"{"refusal":"I can't"}"#], r#"text "I can't""#);
}

#[test]
fn calls_by_index_with_interleaved_arguments() {
    deltas(
        &[
            r#"{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]}"#,
            r#"{"tool_calls":[{"index":1,"function":{"arguments":"}"}},{"index":0,"function":{"arguments":"1}"}}]}"#,
            r#"{"tool_calls":[]}"#,
            r#"{"tool_calls":null,"function_call":null}"#,
        ],
        r#"call 0 "a" "f"
        call 1 "b" "g" | arguments 1 {
        arguments 0 {"x":
        arguments 1 } | arguments 0 1}
        odd empty_tool_calls
        "#,
    );
}

#[test]
fn whole_calls_in_one_delta_without_index() {
    deltas(
        &[
            r#"{"content":"","tool_calls":[{"id":"aaaaaaaaa","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"bbbbbbbbb","function":{"name":"f","arguments":{"y": 2}}}]}"#,
            r#"{"tool_calls":[{"function":{"name":"g","arguments":"{"}}]}"#,
            r#"{"tool_calls":[{"function":{"arguments":"}"}}]}"#,
            r#"{"tool_calls":[{"id":"aaaaaaaaa","function":{"arguments":" "}}]}"#,
            r#"{"tool_calls":[{"index":1,"function":{"arguments":" "}}]}"#,
        ],
        r#"odd call_without_index | call 0 "aaaaaaaaa" "f" | arguments 0 {"x":1} | odd call_without_index | call 1 "bbbbbbbbb" "f" | arguments 1 {"y": 2}
        odd call_without_index | call 2 "" "g" | arguments 2 {
        odd call_without_index | arguments 2 }
        odd call_without_index | odd call_identity_repeated | arguments 0  
        arguments 1  "#,
    );
}

#[test]
fn identities_count_once() {
    deltas(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a"}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"","function":{"name":"f"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"z","function":{"arguments":"}"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"name":"g"}}]}"#,
        ],
        r#"
        call 0 "a" "f"
        odd call_identity_repeated | arguments 0 {
        odd call_identity_repeated | arguments 0 }
        odd call_identity_repeated"#,
    );
}

#[test]
fn arguments_of_no_call() {
    deltas(
        &[
            r#"{"tool_calls":[{"index":3,"function":{"arguments":"{"}}]}"#,
            r#"{"tool_calls":[{"index":3,"function":{"name":"f","arguments":"}"}}]}"#,
        ],
        r#"odd call_index | odd out_of_block
        call 0 "" "f" | arguments 0 }"#,
    );
}

#[test]
fn the_older_function_call() {
    deltas(
        &[
            r#"{"function_call":{"name":"f","arguments":""}}"#,
            r#"{"function_call":{"arguments":"{}"}}"#,
        ],
        "call 0 \"\" \"f\"\narguments 0 {}",
    );
}

#[test]
fn wrong_types_do_not_hide_the_answer() {
    stream(
        &[
            r#"{"id":7,"model":{"a":[1]},"choices":[{"index":null,"delta":{"content":"a","reasoning":{"x":1},"tool_calls":{"y":2}},"finish_reason":5}],"usage":"none"}"#,
            r#"{"choices":[{"delta":null}]}"#,
            r#"{"choices":[{"delta":{"content":"a","content":"b"}}],"choices":[{"delta":{"content":"c"}}]}"#,
            r#"{"choices":[null,7]}"#,
        ],
        "text \"a\"\n\ntext \"c\"\nodd unknown_event",
    );
}

#[test]
fn only_choice_0_is_read() {
    stream(
        &[
            r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"},"finish_reason":"length"}]}"#,
        ],
        "odd unknown_event\ntext \"a\" | odd unknown_event",
    );
}

#[test]
fn finish_reasons() {
    for (raw, reason) in [
        ("stop", "Stop"),
        ("length", "Length"),
        ("tool_calls", "ToolCalls"),
        ("function_call", "ToolCalls"),
        ("content_filter", "Refusal"),
        ("error", "Error"),
        ("model_length", "Length"),
        ("eos", "Other"),
    ] {
        stream(
            &[&format!(
                r#"{{"choices":[{{"delta":{{}},"finish_reason":"{raw}"}}]}}"#
            )],
            &format!("finish {reason} {raw}"),
        );
    }
}

#[test]
fn errors_in_the_stream() {
    stream(
        &[
            r#"{"error":{"message":"slow down","type":"rate_limit_error","param":null,"code":null}}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"error"}],"error":{"code":502,"message":"upstream"}}"#,
            r#"{"choices":[{"index":0,"delta":{},"error":{"code":502,"message":"inner"}}]}"#,
            r#"{"object":"error","message":"bad","type":"invalid_request_error","param":null,"code":"1500"}"#,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#,
            r#"{"error":"plain"}"#,
            r#"{"error":null,"choices":[]}"#,
            r#"{"error":{"message":"half \ud83d"}}"#,
        ],
        r#"error "rate_limit_error" "slow down"
        text "x" | error "502" "upstream" | finish Error error
        error "502" "inner"
        odd flat_error | error "invalid_request_error" "bad"
        odd flat_error | error "overloaded_error" "busy"
        odd flat_error | error "" "plain"

        error "" "half �""#,
    );
    check(
        Endpoint::OpenAi,
        Mode::Stream,
        &[],
        b"event: error\ndata: {\"message\":\"m\",\"code\":5}\n\nevent: error\ndata: {\"x\":1}\n\n",
        "odd flat_error | error \"5\" \"m\"\nodd flat_error | error \"\" \"{\\\"x\\\":1}\"",
    );
}

#[test]
fn foreign_and_unknown_events() {
    stream(
        &[
            r#"{"type":"ping"}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
            r#"{"type":"heartbeat"}"#,
            "{}",
            "",
            "not json",
            "[1,2]",
            r#"{"choices":["#,
        ],
        r#"odd foreign_event
        odd foreign_event
        odd unknown_event
        odd unknown_event
        odd unknown_event
        malformed not a JSON object: not json
        malformed not a JSON object: [1,2]
        malformed not a JSON object: {"choices":["#,
    );
    check(
        Endpoint::OpenAi,
        Mode::Stream,
        &[],
        b"event: ping\ndata: ping\n\n",
        "odd foreign_event",
    );
}

#[test]
fn after_the_terminator_only_the_bill_counts() {
    check(
        Endpoint::OpenAi,
        Mode::Stream,
        &["body:/usage/cost", "stream:/associated_dollar_cost"],
        &data_events(&[
            "[DONE]",
            r#"{"choices":[{"delta":{"content":"late"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#,
            r#"{"associated_dollar_cost":0.00001230}"#,
            "[DONE]",
            "junk",
        ]),
        "terminator
        odd delta_after_stop | usage input=1
        odd after_terminator | cost 1 0.00001230
        odd terminator_repeated
        odd after_terminator",
    );
}

#[test]
fn costs_as_they_stand() {
    check(
        Endpoint::OpenAi,
        Mode::Stream,
        &[
            "stream:/usage/cost",
            "header:x-cost",
            "stream:/usage/cost/total_cost",
            "stream:/costs/0",
            r"stream:/a~1b",
            "body:/usage/cost",
        ],
        &data_events(&[
            r#"{"choices":[],"usage":{"prompt_tokens":1,"cost":5e-07}}"#,
            r#"{"choices":[],"usage":{"cost":{"total_cost":"0.10"}},"costs":[7]}"#,
            r#"{"choices":[{"delta":{"content":"\"cost\":1"}}],"a\/b":3}"#,
        ]),
        r#"usage input=1 | cost 0 5e-07
        cost 2 0.10 | cost 3 7
        text "\"cost\":1" | cost 4 3"#,
    );
}

#[test]
fn half_surrogate_pairs_are_read_as_replacement_characters() {
    deltas(
        &[
            r#"{"content":"a\ud83d"}"#,
            r#"{"content":"\ude00\\ud83d \ud83d\ude00"}"#,
            r#"{"tool_calls":[{"index":0,"id":"i","function":{"name":"f","arguments":"\ud83d"}}]}"#,
        ],
        "odd invalid_utf8 | text \"a\u{fffd}\"
        odd invalid_utf8 | text \"\u{fffd}\\\\ud83d 😀\"
        odd invalid_utf8 | call 0 \"i\" \"f\" | arguments 0 \u{fffd}",
    );
}

#[test]
fn a_whole_body() {
    check(
        Endpoint::OpenAi,
        Mode::Whole,
        &["stream:/usage/cost", "body:/usage/cost"],
        br#" {"id":"c1","object":"chat.completion","model":"m1","choices":[{"index":0,"message":{"role":"assistant","content":"Hi","reasoning_content":"hm","refusal":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"b","type":"function","function":{"name":"g","arguments":{"y": 2}}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":20,"completion_tokens":8,"total_tokens":28,"cost":0.0010}} "#,
        r#"opened c1 m1 | reasoning "hm" | text "Hi" | call 0 "a" "f" | arguments 0 {"x":1} | end 0 | call 1 "b" "g" | arguments 1 {"y": 2} | end 1 | usage input=20 output=8 total=28 | finish ToolCalls tool_calls | cost 1 0.0010 | terminator"#,
    );
}

#[test]
fn whole_bodies_of_the_dialects() {
    whole(
        r#"{"choices":[{"message":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"So"}]},"finish_reason":"stop"}]}"#,
        r#"reasoning "hm" | text "So" | finish Stop stop | terminator"#,
    );
    whole(
        r#"{"choices":[{"message":{"content":null,"reasoning":"r","refusal":"no","tool_calls":[],"function_call":{"name":"f","arguments":""}}}]}"#,
        r#"reasoning "r" | text "no" | odd empty_tool_calls | call 0 "" "f" | end 0 | terminator"#,
    );
    whole(
        r#"{"choices":[{"message":{"tool_calls":[{"id":"a","function":{"arguments":"{}"}}]}}]}"#,
        "odd out_of_block | terminator",
    );
}

#[test]
fn whole_bodies_that_are_errors() {
    whole(
        r#"{"error":{"message":"m","type":"t"}}"#,
        r#"error "t" "m""#,
    );
    whole(
        r#"{"detail":"Not Found"}"#,
        r#"odd flat_error | error "" "Not Found""#,
    );
    whole(
        r#"{"object":"error","message":"m","code":3000}"#,
        r#"odd flat_error | error "3000" "m""#,
    );
}

#[test]
fn whole_bodies_that_are_none() {
    whole("<html>\n</html>", "malformed not a JSON object: <html>");
    whole("", "malformed an empty body");
    whole("{\"choices\":[]}", "malformed a body without choices");
    whole("{\"a\":1} b", "malformed not a JSON object: {\"a\":1} b");
}
