//! What is named, on which attempts, and what is not.

mod calls;
mod times;

use super::*;
use crate::record::Tally;
use crate::time::Offset;
use crate::usage::Usage;

const MS: u64 = 1_000_000;

fn id(session: u64) -> String {
    format!("{session:032x}")
}

fn tally(counts: &[(&str, u64)]) -> Tally {
    let mut tally = Tally::default();
    for (name, count) in counts {
        tally.add(name, *count);
    }
    tally
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "every time of a record may be unknown"
)]
fn at(ms: u64) -> Option<Offset> {
    Some(Offset::from_nanos(ms * MS))
}

/// A complete marked stream of 10 tokens of text, 10 ms apart.
fn answer(session: u64) -> Record {
    let mut record = Record::new(
        id(session),
        Phase::Measured,
        Endpoint::Anthropic,
        Class::Chat,
    );
    record.session = session;
    record.streaming = true;
    record.outcome = Outcome::Ok;
    record.status = Some(200);
    (record.sent, record.first_byte) = (at(0), at(50));
    (record.first_token, record.last_token) = (at(50), at(140));
    record.counts.bytes = 1_000;
    record.counts.token_events = 10;
    record.counts.token_batches = 10;
    record.counts.visible_events = 10;
    record.counts.silence_max_ns = 10 * MS;
    record.finish = Some("end_turn".to_owned());
    record.last_usage = Usage {
        input: Some(25),
        cache_read: Some(75),
        output: Some(10),
        ..Usage::default()
    };
    record.marks = tally(&[("text", 10), ("text_next", 10)]);
    record
}

/// What the upstream wrote of it.
fn truth(session: u64) -> Truth {
    Truth {
        nonce: id(session),
        stream: true,
        status: 200,
        first_write_ns: Some(49 * MS),
        first_token_write_ns: Some(49 * MS),
        last_token_write_ns: Some(139 * MS),
        last_write_ns: Some(140 * MS),
        token_events: 10,
        token_writes: Some(10),
        silence_ns_max: Some(49 * MS),
        keep_alives: Some(2),
        input: Some(100),
        cache_read: Some(75),
        cache_write: Some(0),
        output: Some(10),
        reasoning: Some(0),
        tools: Some(0),
        text_tokens: Some(10),
        text_tokens_after: Some(0),
        reasoning_tokens: Some(0),
        finish: Some("stop".to_owned()),
        completed: true,
        ..Truth::default()
    }
}

fn call(session: u64, index: u32) -> CallRecord {
    CallRecord {
        trace_id: id(session),
        attempt: 0,
        phase: Phase::Measured,
        endpoint: Endpoint::Anthropic,
        outcome: Outcome::Ok,
        sent_ns: at(0),
        turn: 0,
        in_flight: Some(1),
        index,
        id: format!("id{index}"),
        name: "search".to_owned(),
        offered: true,
        argument_bytes: 10,
        valid_json: true,
        arguments_sha256: String::new(),
        schema_valid: Some(true),
        value_sha256: None,
        marks: tally(&[("own", 1)]),
        announced_ns: at(60),
        complete_ns: at(70),
    }
}

/// An answer with this many calls, and what the upstream wrote of it.
fn with_calls(session: u64, calls: u32) -> (Record, Truth) {
    let (mut record, mut truth) = (answer(session), truth(session));
    record.class = Class::Tools;
    record.tool_choice = Some("auto".to_owned());
    record.finish = Some("tool_use".to_owned());
    (record.counts.calls, record.counts.calls_valid) = (calls, calls);
    truth.tools = Some(3);
    truth.tool_choice = Some("auto".to_owned());
    truth.tool_calls = u64::from(calls);
    truth.finish = Some("tool_calls".to_owned());
    (record, truth)
}

/// (code, count, attempts) of what is found.
fn found(checker: &Checker) -> Vec<(Code, u64, u64)> {
    let findings = checker.findings(Endpoint::Anthropic);
    findings
        .iter()
        .map(|f| (f.code, f.count, f.attempts))
        .collect()
}

/// What is found on one answer that is changed by `change`, among faithful ones.
#[track_caller]
fn check(change: impl Fn(&mut Record, &mut Truth), expected: &[(Code, u64)]) {
    let mut checker = Checker::new();
    for session in 0..4 {
        let (mut record, mut truth) = (answer(session), truth(session));
        if session == 2 {
            change(&mut record, &mut truth);
        }
        checker.add(&record, Some(std::slice::from_ref(&truth)));
    }
    let expected: Vec<(Code, u64, u64)> = expected.iter().map(|(c, n)| (*c, *n, 1)).collect();
    assert_eq!(found(&checker), expected);
    for finding in checker.findings(Endpoint::Anthropic) {
        assert_eq!(finding.examples[0].trace_id, id(2), "{finding:?}");
    }
}

#[test]
fn a_faithful_answer_is_found_faithful() {
    check(|_, _| {}, &[]);
    let mut checker = Checker::new();
    for session in 0..5 {
        let (record, truth) = with_calls(session, 2);
        checker.add(&record, Some(&[truth]));
        checker.add_call(&call(session, 0));
        checker.add_call(&call(session, 1));
    }
    assert_eq!(found(&checker), []);
    let looked_at = checker.checked(Endpoint::Anthropic);
    assert_eq!(
        (looked_at.answers, looked_at.marked, looked_at.written),
        (5, 5, 5)
    );
    let smoothness = checker.smoothness(Endpoint::Anthropic).expect("streams");
    assert_eq!(
        (smoothness.judged, smoothness.fake, smoothness.buffered),
        (5, 0, Some(0))
    );
    assert_eq!(smoothness.span_permille.quantile(0.5), Some(1_000));
}

#[test]
fn every_oddity_is_a_departure_or_known_to_be_none() {
    use crate::event::Oddity::{
        AfterTerminator, BlocksOverlap, CallWithoutIndex, EmptyToolCalls, UnknownEvent,
    };
    for (oddity, code) in [
        (BlocksOverlap, Some(Code::BlocksOverlap)),
        (EmptyToolCalls, Some(Code::EmptyToolCalls)),
        (AfterTerminator, Some(Code::AfterTerminator)),
        (CallWithoutIndex, None),
        (UnknownEvent, None),
    ] {
        let expected: Vec<(Code, u64)> = code.map(|code| (code, 2)).into_iter().collect();
        check(
            |r, _| r.oddities = vec![(oddity.name().to_owned(), 2)],
            &expected,
        );
    }
    // In whole bodies the list is common, and after a terminator stands the cost.
    check(
        |r, _| {
            r.streaming = false;
            r.oddities = vec![("empty_tool_calls".to_owned(), 1)];
        },
        &[],
    );
    check(
        |r, _| {
            r.costs = vec![("stream:/cost".to_owned(), "0.1".to_owned())];
            r.oddities = vec![("after_terminator".to_owned(), 1)];
        },
        &[],
    );
    // A cost that stands elsewhere excuses nothing.
    check(
        |r, _| {
            r.costs = vec![("header:x-cost".to_owned(), "0.1".to_owned())];
            r.oddities = vec![("after_terminator".to_owned(), 1)];
        },
        &[(Code::AfterTerminator, 1)],
    );
}

#[test]
fn what_the_marks_say_is_named() {
    for (marks, expected) in [
        (
            &[("text", 8), ("text_next", 10), ("text_lost", 2)][..],
            (Code::TextLost, 2),
        ),
        (
            &[("text", 9), ("text_next", 10), ("text_head_lost", 1)],
            (Code::TextHeadLost, 1),
        ),
        (&[("text", 7), ("text_next", 7)], (Code::TextTailLost, 3)),
        (
            &[("text", 10), ("text_next", 10), ("text_repeated", 4)],
            (Code::TextRepeated, 4),
        ),
        (
            &[("text", 10), ("text_next", 10), ("text_reordered", 1)],
            (Code::TextReordered, 1),
        ),
        (
            &[("text", 10), ("text_next", 10), ("text_unmarked", 1)],
            (Code::TextUnmarked, 1),
        ),
        // Half of a token that was lost is no other fault.
        (
            &[
                ("text", 9),
                ("text_next", 10),
                ("text_lost", 1),
                ("text_unmarked", 1),
            ],
            (Code::TextLost, 1),
        ),
        (
            &[
                ("text", 10),
                ("text_next", 10),
                ("text_foreign", 5),
                ("reasoning_foreign", 1),
            ],
            (Code::ForeignData, 6),
        ),
    ] {
        check(|r, _| r.marks = tally(marks), &[expected]);
    }
}

#[test]
fn what_the_upstream_wrote_and_did_not_arrive_is_named() {
    let nothing = |r: &mut Record| {
        r.marks = Tally::default();
        (r.counts.visible_events, r.counts.token_events) = (0, 0);
    };
    check(|r, _| nothing(r), &[(Code::TextLost, 10)]);
    // A live model's text has no marks.
    check(|r, _| r.marks = Tally::default(), &[]);
    check(
        |_, t| {
            (t.tool_calls, t.text_tokens, t.text_tokens_after) = (0, Some(14), Some(4));
        },
        &[(Code::TextTailLost, 4)],
    );
    check(
        |_, t| t.reasoning_tokens = Some(3),
        &[(Code::ReasoningLost, 3)],
    );
    check(
        |r, t| {
            t.reasoning_tokens = Some(9);
            r.marks.add("reasoning_next", 8);
            r.marks.add("reasoning_head_lost", 2);
        },
        &[(Code::ReasoningLost, 3)],
    );
    let mut checker = Checker::new();
    let (record, mut truth) = with_calls(1, 1);
    (truth.text_tokens, truth.text_tokens_after) = (Some(13), Some(3));
    checker.add(&record, Some(&[truth]));
    assert_eq!(found(&checker), [(Code::TextAfterCallLost, 3, 1)]);
    // What failed shows what was seen before, and nothing is missing at its end.
    check(
        |r, _| {
            r.outcome = Outcome::Truncated;
            r.marks = tally(&[("text", 4), ("text_next", 5), ("text_lost", 1)]);
        },
        &[(Code::TextLost, 1)],
    );
}

#[test]
fn usage_is_held_against_the_upstreams() {
    check(
        |r, _| r.last_usage.output = Some(0),
        &[(Code::UsageWrong, 1)],
    );
    check(
        |r, _| r.last_usage.input = Some(100),
        &[(Code::CacheCountedTwice, 1)],
    );
    check(
        |r, _| r.last_usage.cache_read = Some(0),
        &[(Code::UsageWrong, 1)],
    );
    check(|r, _| r.last_usage = Usage::default(), &[]);
    check(
        |r, t| {
            r.last_usage = Usage {
                input: Some(100),
                output: Some(10),
                ..Usage::default()
            };
            t.cache_read = Some(0);
        },
        &[],
    );
    check(
        |r, _| r.finish = Some("max_tokens".to_owned()),
        &[(Code::StopReasonWrong, 1)],
    );
    let mut checker = Checker::new();
    let mut record = answer(1);
    (record.last_usage.input, record.last_usage.cache_read) = (Some(8), Some(0));
    checker.add(
        &record,
        Some(&[Truth {
            cache_read: Some(0),
            ..truth(1)
        }]),
    );
    let message = &checker.findings(Endpoint::Anthropic)[0].message;
    assert_eq!(
        message,
        "in 1 of 1 answers on the anthropic endpoint, the reported usage is not the upstream's: reported 8 in / 10 out, the upstream counted 100 / 10"
    );
}

#[test]
fn a_success_without_a_good_end_upstream_is_swallowed() {
    for fault in ["no_terminator", "cut", "error_in_stream"] {
        let planted = |_: &mut Record, t: &mut Truth| t.fault = Some(fault.to_owned());
        check(planted, &[(Code::ErrorSwallowed, 1)]);
    }
    check(|_, t| t.completed = false, &[(Code::ErrorSwallowed, 1)]);
    // Everything of it was delivered: the rest is how the connection was closed.
    check(
        |_, t| (t.completed, t.delivered_output) = (false, Some(10)),
        &[],
    );
    check(|_, t| t.status = 500, &[(Code::ErrorSwallowed, 1)]);
    check(
        |r, t| {
            r.outcome = Outcome::Truncated;
            t.fault = Some("cut".to_owned());
        },
        &[],
    );
    // The gateway asked again, and got it.
    let mut checker = Checker::new();
    let broken = Truth {
        fault: Some("cut".to_owned()),
        completed: false,
        ..truth(1)
    };
    checker.add(&answer(1), Some(&[broken, truth(1)]));
    assert_eq!(found(&checker), []);
}

#[test]
fn what_the_upstream_was_asked_is_held_against_the_request() {
    let ask = |change: &dyn Fn(&mut Record, &mut Truth)| {
        let mut checker = Checker::new();
        let (mut record, mut truth) = with_calls(1, 1);
        record.parallel_tool_calls = Some(false);
        truth.parallel_tool_calls = Some(false);
        change(&mut record, &mut truth);
        checker.add(&record, Some(&[truth]));
        found(&checker)
    };
    assert_eq!(ask(&|_, _| {}), []);
    let dropped = [(Code::ParallelRestrictionDropped, 1, 1)];
    assert_eq!(ask(&|_, t| t.parallel_tool_calls = None), dropped);
    assert_eq!(ask(&|_, t| t.parallel_tool_calls = Some(true)), dropped);
    assert_eq!(ask(&|_, t| t.tool_choice = None), []);
    assert_eq!(
        ask(&|_, t| t.tool_choice = Some("required".to_owned())),
        [(Code::ChoiceChanged, 1, 1)]
    );
    assert_eq!(ask(&|_, t| t.tools = Some(0)), [(Code::ToolsDropped, 1, 1)]);
    // An older journal does not say, and where no tool may be called none is needed.
    assert_eq!(
        ask(&|_, t| (t.tools, t.parallel_tool_calls) = (None, None)),
        []
    );
    assert_eq!(
        ask(&|r, t| {
            r.tool_choice = Some("none".to_owned());
            (t.tools, t.parallel_tool_calls) = (Some(0), None);
        }),
        []
    );
}

#[test]
fn a_later_turn_that_is_refused_is_the_turns_before() {
    let refused = |turn: u32, status: u16| {
        let mut checker = Checker::new();
        let mut record = answer(1);
        (record.turn, record.status, record.outcome) = (turn, Some(status), Outcome::HttpError);
        record.error = Some("unknown tool_use_id".to_owned());
        checker.add(&record, None);
        found(&checker)
    };
    assert_eq!(refused(1, 400), [(Code::TurnRejected, 1, 1)]);
    for (turn, status) in [(0, 400), (1, 401), (1, 413), (1, 500)] {
        assert_eq!(refused(turn, status), [], "{turn} {status}");
    }
}

#[test]
fn a_refusal_of_what_a_conversation_says_or_of_its_length_is_none_of_its_form() {
    for (text, is_form) in [
        ("This model's Maximum Context length is 8192 tokens", false),
        ("context_length_exceeded", false),
        ("prompt is too long: 210000 tokens > 200000 maximum", false),
        ("blocked by the content filter", false),
        ("against our content policy", false),
        ("refused for SAFETY", false),
        (
            "Invalid 'messages[2].tool_calls[0].id': string too long",
            true,
        ),
        ("no tool result for `call_1`", true),
    ] {
        let mut checker = Checker::new();
        let mut record = answer(1);
        (record.turn, record.status, record.outcome) = (1, Some(400), Outcome::HttpError);
        record.error = Some(text.to_owned());
        checker.add(&record, None);
        assert_eq!(!found(&checker).is_empty(), is_form, "{text}");
    }
}

#[test]
fn an_error_without_a_shape_is_of_the_answers_that_hold_one() {
    let mut checker = Checker::new();
    for (session, status, outcome, is_flat) in [
        (0, 500, Outcome::HttpError, false),
        (1, 200, Outcome::Truncated, false),
        (2, 200, Outcome::StreamError, false),
        (3, 200, Outcome::StreamError, true),
    ] {
        let mut record = answer(session);
        (record.status, record.outcome) = (Some(status), outcome);
        if is_flat {
            record.oddities = vec![("flat_error".to_owned(), 1)];
        }
        checker.add(&record, None);
    }
    let findings = checker.findings(Endpoint::Anthropic);
    assert_eq!(
        (findings.len(), findings[0].code, findings[0].of),
        (1, Code::FlatError, 2)
    );
}

#[test]
fn only_the_measured_phase_is_judged_and_captured_attempts_are_shown_first() {
    let mut checker = Checker::new();
    for session in [3, 5, 7, 9] {
        checker.captured(&id(9), 0, "examples/x.http");
        let mut record = answer(session);
        record.oddities = vec![("blocks_overlap".to_owned(), 1)];
        checker.add(&record, None);
        record.phase = Phase::Warmup;
        checker.add(&record, None);
    }
    let [finding] = &checker.findings(Endpoint::Anthropic)[..] else {
        panic!("one finding");
    };
    assert_eq!((finding.count, finding.attempts, finding.of), (4, 4, 4));
    let ids: Vec<&str> = finding
        .examples
        .iter()
        .map(|e| e.trace_id.as_str())
        .collect();
    assert_eq!(ids, [id(9), id(3), id(5)]);
    assert_eq!(finding.examples[0].file.as_deref(), Some("examples/x.http"));
    assert!(
        finding
            .message
            .starts_with("in 4 of 4 streams on the anthropic endpoint")
    );
}

#[test]
fn every_known_fault_has_codes() {
    for (fault, codes) in FAULTS {
        assert!(!codes.is_empty(), "{fault}");
    }
    let mut names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Code::ALL.len());
}
