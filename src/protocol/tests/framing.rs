//! What lies around the protocols: modes, bodies of the wrong kind, limits, cuts.

use proptest::prelude::*;

use super::{check, collect};
use crate::endpoint::Endpoint;
use crate::event::{Event, Oddity};
use crate::protocol::{Decoder, Mode, Surfaces, mode_of};

#[track_caller]
fn openai(input: &[u8], expected: &str) {
    check(Endpoint::OpenAi, Mode::Stream, &[], input, expected);
}

#[test]
fn content_types() {
    let odd = Some(Oddity::ContentType);
    for (content_type, asked_stream, expected) in [
        (Some("text/event-stream"), true, (Mode::Stream, None)),
        (
            Some("Text/Event-Stream; charset=utf-8"),
            true,
            (Mode::Stream, None),
        ),
        (Some("application/json"), false, (Mode::Whole, None)),
        (
            Some(" application/json ;charset=utf-8"),
            false,
            (Mode::Whole, None),
        ),
        (Some("application/json"), true, (Mode::Whole, odd)),
        (Some("text/event-stream"), false, (Mode::Stream, odd)),
        (Some("text/html"), true, (Mode::Stream, odd)),
        (Some(""), false, (Mode::Whole, odd)),
        (None, true, (Mode::Stream, odd)),
    ] {
        assert_eq!(
            mode_of(content_type, asked_stream),
            expected,
            "{content_type:?}"
        );
    }
}

#[test]
fn a_stream_that_is_none() {
    openai(
        b"<!DOCTYPE html>\n<html></html>\n",
        "malformed no event stream: <!DOCTYPE html>",
    );
    openai(
        b"{\"choices\":[{\"message\":{\"content\":\"x\"}}]}",
        "malformed no event stream: {\"choices\":[{\"message\":{\"content\":\"x\"}}]}",
    );
    openai(
        b"{\n \"error\": {\"message\": \"m\",\n \"type\": \"t\"}\n}\n",
        "error \"t\" \"m\"",
    );
    openai(
        b": PROCESSING\n\n: PROCESSING\n\n{\"detail\":\"d\"}",
        "odd flat_error | error \"\" \"d\"",
    );
    check(
        Endpoint::Anthropic,
        Mode::Stream,
        &[],
        br#"{"type":"error","error":{"type":"t","message":"m"}}"#,
        "error \"t\" \"m\"",
    );
}

#[test]
fn silence_and_comments_are_no_events() {
    openai(b"", "");
    openai(b": PROCESSING\n\n: PROCESSING\n\nid: 1\nretry: 5\n", "");
    let mut decoder = Decoder::new(Endpoint::OpenAi, Mode::Stream, Surfaces::new(&[]));
    decoder.push(b": a\n\n:b\ndata: [DONE]\n\n", &mut |_| {});
    assert_eq!(decoder.comments(), 2);
}

#[test]
fn a_cut_event_is_read_if_it_can_be() {
    openai(b"data: [DONE]", "odd unterminated_event | terminator");
    openai(b"data: [DONE]\n", "odd unterminated_event | terminator");
    openai(
        b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}",
        "odd unterminated_event | text \"a\"",
    );
    openai(b"data: {\"choices\":[{\"del", "odd unterminated_event");
    openai(b"event: err", "");
}

#[test]
fn bytes_that_are_no_utf_8() {
    openai(
        b"data: {\"choices\":[{\"delta\":{\"content\":\"a\xff\"}}]}\n\n",
        "odd invalid_utf8 | text \"a\u{fffd}\"",
    );
    check(
        Endpoint::OpenAi,
        Mode::Whole,
        &[],
        b"\xef\xbb\xbf{\"choices\":[{\"message\":{\"content\":\"\xc3\"}}]}",
        "odd invalid_utf8 | text \"\u{fffd}\" | terminator",
    );
}

#[test]
fn what_is_too_long_is_malformed_once() {
    let long = "x".repeat(100);
    let line = format!("data: [DONE]\n\ndata: {long}\n\ndata: [DONE]\n\n");
    let lines = format!(
        "data: [DONE]\n\n{}\n\ndata: [DONE]\n\n",
        "data: xxxxxxxxx\n".repeat(10)
    );
    let unended = format!("data: [DONE]\n\n{long}");
    let end = "odd finish_missing | terminator";
    let malformed = "malformed longer than an event or a body may be\n";
    for (mode, input, expected) in [
        (Mode::Stream, &*line, format!("{end}\n{malformed}")),
        (Mode::Stream, &*lines, format!("{end}\n{malformed}")),
        (Mode::Stream, &*unended, format!("{end}\n{malformed}")),
        (Mode::Whole, &*long, malformed.to_owned()),
    ] {
        for at in 0..=input.len() {
            let (left, right) = input.as_bytes().split_at(at);
            let mut decoder = Decoder::with_limit(Endpoint::OpenAi, mode, Surfaces::new(&[]), 64);
            assert_eq!(
                collect(&mut decoder, &[left, right]),
                expected,
                "{input} cut at {at}"
            );
        }
    }
}

/// How often events made of the numbers from 0 to `count` are malformed.
fn malformed(endpoint: Endpoint, count: usize, event: impl Fn(usize) -> String) -> usize {
    let mut decoder = Decoder::new(endpoint, Mode::Stream, Surfaces::new(&[]));
    let mut malformed = 0;
    for number in 0..count {
        decoder.push(event(number).as_bytes(), &mut |event| {
            malformed += usize::from(matches!(event, Event::Malformed(_)));
        });
    }
    malformed
}

#[test]
fn calls_cannot_fill_the_memory() {
    let call = |index: usize, id: &str| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":{index},\"id\":\"{id}\"}}]}}}}]}}\n\n"
        )
    };
    let long = "i".repeat(1 << 20);
    assert_eq!(malformed(Endpoint::OpenAi, 15, |n| call(n, &long)), 0);
    assert_eq!(malformed(Endpoint::OpenAi, 17, |n| call(n, &long)), 1);
    assert_eq!(malformed(Endpoint::OpenAi, 1024, |n| call(n, "")), 0);
    assert_eq!(malformed(Endpoint::OpenAi, 1025, |n| call(n, "")), 1);
    let block = |index: usize| {
        format!(
            "data: {{\"type\":\"content_block_start\",\"index\":{index},\"content_block\":{{}}}}\n\n"
        )
    };
    assert_eq!(malformed(Endpoint::Anthropic, 1024, block), 0);
    assert_eq!(malformed(Endpoint::Anthropic, 1025, block), 1);
}

#[test]
fn arguments_cannot_fill_the_memory() {
    let long = "a".repeat(1 << 20);
    let piece = |n: usize| {
        let function = format!("{{\"name\":\"f\",\"arguments\":\"{long}\"}}");
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":{},\"function\":{function}}}]}}}}]}}\n\n",
            n / 8
        )
    };
    assert_eq!(malformed(Endpoint::OpenAi, 16, piece), 0);
    assert_eq!(malformed(Endpoint::OpenAi, 18, piece), 2);
    let short = "a".repeat(2 << 10);
    let small = |n: usize| {
        if n == 0 {
            return "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\"}}]}}]}\n\n".to_owned();
        }
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":0,\"function\":{{\"arguments\":\"{short}\"}}}}]}}}}]}}\n\n"
        )
    };
    assert_eq!(malformed(Endpoint::OpenAi, 8193, small), 0);
    assert_eq!(malformed(Endpoint::OpenAi, 8195, small), 2);
    let block = |n: usize| {
        if n == 0 {
            return "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\"}}\n\n".to_owned();
        }
        format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"input_json_delta\",\"partial_json\":\"{short}\"}}}}\n\n"
        )
    };
    assert_eq!(malformed(Endpoint::Anthropic, 8193, block), 0);
    assert_eq!(malformed(Endpoint::Anthropic, 8195, block), 2);
}

/// Bytes that look like streams often enough to reach the readers.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..8),
        proptest::sample::select(vec![
            "data: ", "data:", "event: ", "\n", "\n\n", "\r\n", "\r", ":", "\u{feff}", "[DONE]",
            "event: content_block_delta\n", "event: message_start\n", "ping", "{", "}", "[", "]",
            "\"", ",", "\\ud83d", "{\"choices\":[{\"delta\":", "\"tool_calls\":[{\"index\":0,",
            "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}", "\"content\":\"x\"", "}]}\n\n",
            "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\"}}",
            "{\"type\":\"content_block_stop\",\"index\":0}", "{\"error\":", "\"usage\":{\"cost\":1}",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_panic_and_no_cut_matters(
        input in bytes(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        endpoint in proptest::sample::select(Endpoint::ALL.to_vec()),
        mode in proptest::sample::select(vec![Mode::Stream, Mode::Whole]),
    ) {
        let surfaces = crate::surface::Surface::defaults();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
        let decoder = || Decoder::new(endpoint, mode, Surfaces::new(surfaces.as_slice()));
        prop_assert_eq!(collect(&mut decoder(), &pieces), collect(&mut decoder(), &[&input]));
    }
}
