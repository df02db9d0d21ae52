//! One wire event is one line of a transcript's expectation; what it said stands on the line,
//! separated by ` | `. Every transcript is decoded whole, byte by byte, and cut in two at every
//! place: how the bytes come must make no difference. [`check`] is for parts of answers, and leaves
//! out what a whole one must have; [`check_all`] leaves out nothing.

mod anthropic;
mod conformance;
mod encode;
mod failure;
mod framing;
mod openai;
mod sse;
mod template;

use super::*;
use crate::endpoint::Endpoint;
use crate::event::{Event, Oddity};
use crate::surface::Surface;

/// What only a whole answer must have.
const OF_WHOLE_ANSWERS: [Oddity; 6] = [
    Oddity::RoleMissing,
    Oddity::FinishMissing,
    Oddity::StartUsageZero,
    Oddity::UsageMissing,
    Oddity::CallIdMissing,
    Oddity::EmptyArguments,
];

/// Decodes `input` in every cutting and compares with `expected`, one line an event of the wire.
/// That a part of an answer is not a whole one is left out.
#[track_caller]
fn check(endpoint: Endpoint, mode: Mode, surfaces: &[&str], input: &[u8], expected: &str) {
    check_but(&OF_WHOLE_ANSWERS, endpoint, mode, surfaces, input, expected);
}

/// The same, with everything.
#[track_caller]
fn check_all(endpoint: Endpoint, mode: Mode, input: &[u8], expected: &str) {
    check_but(&[], endpoint, mode, &[], input, expected);
}

#[track_caller]
fn check_but(
    left_out: &[Oddity],
    endpoint: Endpoint,
    mode: Mode,
    surfaces: &[&str],
    input: &[u8],
    expected: &str,
) {
    let surfaces: Vec<Surface> = surfaces
        .iter()
        .map(|text| text.parse().expect("a valid surface"))
        .collect();
    let decode = |pieces: &[&[u8]]| {
        let decoder = Decoder::new(endpoint, mode, Surfaces::new(surfaces.as_slice()));
        collect_but(left_out, &mut decoder.expecting_usage(), pieces)
    };
    let whole = decode(&[input]);
    let expected: Vec<&str> = expected.lines().map(str::trim_start).collect();
    let got: Vec<&str> = whole.lines().collect();
    assert_eq!(got, expected, "decoded whole: {got:#?}");
    for at in 0..=input.len() {
        let (left, right) = input.split_at(at);
        assert_eq!(decode(&[left, right]), whole, "cut at byte {at}");
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(decode(&bytes), whole, "byte by byte");
}

/// Feeds the pieces and the end, and writes down what comes out.
fn collect(decoder: &mut Decoder, pieces: &[&[u8]]) -> String {
    collect_but(&[], decoder, pieces)
}

/// The same without some oddities.
fn collect_but(left_out: &[Oddity], decoder: &mut Decoder, pieces: &[&[u8]]) -> String {
    let mut lines = String::new();
    let mut line = Vec::new();
    let mut sink = |event: Event<'_>| {
        if event == Event::EndOfChunk {
            lines.push_str(&line.join(" | "));
            lines.push('\n');
            line.clear();
        } else if !matches!(event, Event::Oddity(oddity) if left_out.contains(&oddity)) {
            line.push(written(&event));
        }
    };
    for piece in pieces {
        decoder.push(piece, &mut sink);
    }
    decoder.finish(&mut sink);
    decoder.finish(&mut sink);
    assert!(line.is_empty(), "without an end of chunk: {line:?}");
    lines
}

fn written(event: &Event<'_>) -> String {
    match event {
        Event::Opened { id, model } => {
            format!("opened {} {}", id.unwrap_or("-"), model.unwrap_or("-"))
        }
        Event::ServiceTier(tier) => format!("tier {tier}"),
        Event::Reasoning(text) => format!("reasoning {text:?}"),
        Event::Text(text) => format!("text {text:?}"),
        Event::Call { index, id, name } => format!("call {index} {id:?} {name:?}"),
        Event::Arguments { index, fragment } => format!("arguments {index} {fragment}"),
        Event::ArgumentsReplaced { index } => format!("replaced {index}"),
        Event::CallEnd { index } => format!("end {index}"),
        Event::Usage(usage) => {
            let counts = [
                ("input", usage.input),
                ("read", usage.cache_read),
                ("write", usage.cache_write),
                ("write_1h", usage.cache_write_1h),
                ("output", usage.output),
                ("reasoning", usage.reasoning),
                ("total", usage.total),
            ];
            let counts: Vec<String> = counts
                .iter()
                .filter_map(|(name, count)| Some(format!("{name}={}", (*count)?)))
                .collect();
            format!("usage {}", counts.join(" "))
        }
        Event::Finish { reason, raw } => format!("finish {reason:?} {raw}"),
        Event::Cost { surface, digits } => format!("cost {surface} {digits}"),
        Event::Error { kind, message } => format!("error {kind:?} {message:?}"),
        Event::Malformed(what) => format!("malformed {what}"),
        Event::Oddity(oddity) => format!("odd {}", oddity.name()),
        Event::Terminator => "terminator".to_owned(),
        Event::EndOfChunk => unreachable!("it ends the line"),
    }
}

/// A stream in which each data has an event of its own, without event types.
fn data_events(data: &[&str]) -> Vec<u8> {
    let events: Vec<String> = data.iter().map(|d| format!("data: {d}\n\n")).collect();
    events.concat().into_bytes()
}

/// A stream in which the event type is the data's own.
fn typed_events(data: &[&str]) -> Vec<u8> {
    let event = |data: &&str| {
        let value: serde_json::Value = serde_json::from_str(data).expect("JSON");
        format!(
            "event: {}\ndata: {data}\n\n",
            value["type"].as_str().expect("a type")
        )
    };
    data.iter()
        .map(event)
        .collect::<Vec<_>>()
        .concat()
        .into_bytes()
}
