use super::*;
use crate::endpoint::Endpoint;
use crate::prompt::Tool;
use crate::record::{Class, Phase};
use crate::surface::Surface;
use crate::usage::Usage;

fn identity() -> Record {
    let trace_id = seed::trace_id("run", "openai", 0, 0);
    let mut record = Record::new(trace_id, Phase::Measured, Endpoint::OpenAi, Class::Tools);
    record.sent = Some(Offset::ZERO);
    record
}

/// One tool, which takes anything.
fn offered() -> Arc<Toolbox> {
    let tool = Tool {
        name: "look".to_owned(),
        description: String::new(),
        schema: serde_json::json!({"type": "object"}),
    };
    Arc::new(Toolbox::new(vec![tool]).expect("a sound schema"))
}

/// Frames at these milliseconds, each with these events and an end of chunk.
fn play(
    frames: &[(u64, bool, &[Event<'_>])],
    ending: Ending,
) -> (Record, Vec<CallRecord>, Vec<u64>) {
    let mut timeline = Timeline::new(identity(), offered(), Keep::default());
    timeline.head(200, &Said::default(), true);
    let surfaces = [Surface::Stream("/usage/cost".parse().expect("valid"))];
    let mut gaps = Vec::new();
    let mut at = Offset::ZERO;
    for (ms, waited, events) in frames {
        at = Offset::from_nanos(ms * 1_000_000);
        timeline.frame(Frame {
            at,
            waited: *waited,
            len: 10,
            in_window: *ms < 50,
        });
        for event in events.iter().chain([&Event::EndOfChunk]) {
            gaps.extend(timeline.event(event, |at| surfaces[at].to_string()));
        }
    }
    let Finished { record, calls, .. } = timeline.finish(at, ending, None);
    (record, calls, gaps)
}

fn ms(at: Option<Offset>) -> Option<u64> {
    at.map(|at| at.nanos() / 1_000_000)
}

const STOP: Event<'static> = Event::Finish {
    reason: FinishReason::Stop,
    raw: "stop",
};

#[test]
fn first_tokens_gaps_and_batches() {
    let (record, _, gaps) = play(
        &[
            (
                5,
                true,
                &[Event::Opened {
                    id: Some("r"),
                    model: Some("m"),
                }],
            ),
            (10, true, &[Event::Reasoning("a")]),
            (30, true, &[Event::Reasoning("b"), Event::Text("c")]),
            (30, false, &[Event::Text("d")]),
            (60, true, &[Event::Text("e")]),
            (
                61,
                true,
                &[
                    STOP,
                    Event::Usage(Usage {
                        output: Some(5),
                        ..Usage::default()
                    }),
                ],
            ),
            (62, true, &[Event::Terminator]),
        ],
        Ending::Complete,
    );
    assert_eq!(record.outcome, Outcome::Ok);
    assert_eq!(ms(record.first_byte), Some(5));
    assert_eq!(ms(record.first_token), Some(10));
    assert_eq!(ms(record.first_reasoning), Some(10));
    assert_eq!(ms(record.first_visible), Some(30));
    assert_eq!(ms(record.last_token), Some(60));
    assert_eq!(ms(record.terminator), Some(62));
    assert_eq!(gaps, [20_000_000, 0, 30_000_000]);
    let counts = record.counts;
    assert_eq!((counts.gap_count, counts.gap_sum_ns), (3, 50_000_000));
    assert_eq!((counts.gap_min_ns, counts.gap_max_ns), (0, 30_000_000));
    assert_eq!((counts.token_events, counts.token_batches), (4, 3));
    assert_eq!((counts.reasoning_events, counts.visible_events), (2, 3));
    assert_eq!(
        (counts.events, counts.frames, counts.window_token_events),
        (7, 7, 3)
    );
    assert_eq!(counts.silence_max_ns, 30_000_000);
    assert_eq!(record.last_usage.output, Some(5));
    assert!(record.text_sha256.is_some() && record.reasoning_sha256.is_some());
}

#[test]
fn a_call_is_complete_at_its_last_fragment_that_closes_the_object() {
    let call = |index| Event::Call {
        index,
        id: "x",
        name: "look",
    };
    let part = |index, fragment| Event::Arguments { index, fragment };
    let (record, calls, _) = play(
        &[
            (1, true, &[call(0)]),
            (2, true, &[part(0, "{\"a\": \"}\\\"\"")]),
            (3, true, &[part(0, "}")]),
            (4, true, &[call(1), part(1, "{}")]),
            (5, true, &[part(1, "{}")]),
            (6, true, &[call(2)]),
            (
                7,
                true,
                &[Event::Finish {
                    reason: FinishReason::ToolCalls,
                    raw: "tool_calls",
                }],
            ),
            (8, true, &[Event::Terminator]),
        ],
        Ending::Complete,
    );
    assert_eq!((record.counts.calls, record.counts.calls_valid), (3, 2));
    assert_eq!(ms(calls[0].complete_ns), Some(3));
    assert!(
        !calls[1].valid_json && calls[1].complete_ns.is_none(),
        "two objects in one"
    );
    assert_eq!(
        ms(calls[2].complete_ns),
        Some(7),
        "no arguments: complete at the finish"
    );
    assert!(calls.iter().all(|c| c.offered));
}

#[test]
fn characters_and_the_last_service_tier() {
    let (record, _, _) = play(
        &[
            (1, true, &[Event::ServiceTier("auto")]),
            (2, true, &[Event::Reasoning("h\u{e9}"), Event::Text("日本")]),
            (
                3,
                true,
                &[Event::Call {
                    index: 0,
                    id: "uncounted",
                    name: "look",
                }],
            ),
            (
                4,
                true,
                &[
                    Event::Arguments {
                        index: 0,
                        fragment: "{}",
                    },
                    Event::ServiceTier("flex"),
                ],
            ),
        ],
        Ending::Complete,
    );
    assert_eq!(record.counts.characters, 2 + 2 + 4 + 2);
    assert_eq!(record.served_tier.as_deref(), Some("flex"));
}

#[test]
fn the_last_cost_of_a_surface_stands() {
    let cost = |digits| Event::Cost { surface: 0, digits };
    let (record, _, _) = play(
        &[
            (1, true, &[cost("0"), STOP]),
            (2, true, &[cost("5e-07"), Event::Terminator]),
        ],
        Ending::Complete,
    );
    assert_eq!(
        record.costs,
        [("stream:/usage/cost".to_owned(), "5e-07".to_owned())]
    );
}

#[test]
fn every_ending_has_its_outcome() {
    let text = Event::Text("a");
    let reset = || Ending::Broken(Outcome::Reset, "connection reset".to_owned());
    let cases: [(&[Event<'_>], Ending, Outcome); 9] = [
        (
            &[text.clone(), STOP, Event::Terminator],
            Ending::Complete,
            Outcome::Ok,
        ),
        (
            &[text.clone(), STOP, Event::Terminator],
            reset(),
            Outcome::Ok,
        ),
        (&[text.clone(), STOP], Ending::Complete, Outcome::Truncated),
        (std::slice::from_ref(&text), reset(), Outcome::Reset),
        (
            &[
                text.clone(),
                Event::Error {
                    kind: "overloaded",
                    message: "",
                },
            ],
            Ending::Complete,
            Outcome::StreamError,
        ),
        (
            &[
                Event::Error {
                    kind: "",
                    message: "late",
                },
                STOP,
                Event::Terminator,
            ],
            Ending::Complete,
            Outcome::StreamError,
        ),
        (
            &[Event::Malformed("not JSON"), Event::Terminator],
            Ending::Complete,
            Outcome::Malformed,
        ),
        (&[Event::Terminator], Ending::Complete, Outcome::Malformed),
        (
            &[
                Event::Finish {
                    reason: FinishReason::Error,
                    raw: "error",
                },
                Event::Terminator,
            ],
            Ending::Complete,
            Outcome::StreamError,
        ),
    ];
    for (events, ending, expected) in cases {
        let (record, _, _) = play(&[(1, true, events)], ending.clone());
        assert_eq!(record.outcome, expected, "{events:?} {ending:?}");
        assert_eq!(
            record.error.is_none(),
            expected == Outcome::Ok,
            "{events:?} {ending:?}"
        );
    }
}

#[test]
fn a_refusal_is_its_status_whatever_the_body_did() {
    for (status, expected) in [
        (429, Outcome::RateLimited),
        (500, Outcome::HttpError),
        (302, Outcome::HttpError),
    ] {
        let mut timeline = Timeline::new(identity(), Arc::default(), Keep::default());
        let said = Said {
            request_id: Some("req-1".to_owned()),
            ..Said::default()
        };
        timeline.head(status, &said, false);
        let said = Some(("overloaded".to_owned(), "come\nback later".to_owned()));
        let Finished { record, .. } =
            timeline.finish(Offset::from_nanos(1), Ending::Complete, said);
        assert_eq!(record.outcome, expected);
        assert_eq!(record.error.as_deref(), Some("overloaded: come back later"));
    }
}

#[test]
fn a_whole_body_has_no_first_token() {
    let mut timeline = Timeline::new(identity(), Arc::default(), Keep::default());
    timeline.head(200, &Said::default(), false);
    timeline.frame(Frame {
        at: Offset::from_nanos(5),
        waited: true,
        len: 1,
        in_window: true,
    });
    for event in [Event::Text("a"), STOP, Event::Terminator, Event::EndOfChunk] {
        assert_eq!(timeline.event(&event, |_| String::new()), None);
    }
    let Finished { record, .. } = timeline.finish(Offset::from_nanos(6), Ending::Complete, None);
    assert_eq!(record.outcome, Outcome::Ok);
    assert_eq!((record.first_token, record.last_token), (None, None));
    assert_eq!(
        (record.first_byte, record.terminator),
        (Some(Offset::from_nanos(5)), Some(Offset::from_nanos(5)))
    );
    assert_eq!(record.counts.window_token_events, 1);
}

/// An answer with these calls (name and arguments), of which the fragments come at once.
fn called(mut record: Record, calls: &[(&str, &str)], finish: &Event<'_>) -> Finished {
    record.streaming = true;
    let mut timeline = Timeline::new(record, offered(), Keep::default());
    timeline.head(200, &Said::default(), true);
    let mut tell = |ms: u64, event: &Event<'_>| {
        timeline.frame(Frame {
            at: Offset::from_nanos(ms * 1_000_000),
            waited: true,
            len: 1,
            in_window: true,
        });
        timeline.event(event, |_| String::new());
        timeline.event(&Event::EndOfChunk, |_| String::new());
    };
    for ((name, arguments), index) in calls.iter().zip(0..) {
        let ms = u64::from(index) * 10 + 1;
        let id = "x";
        tell(ms, &Event::Call { index, id, name });
        if !arguments.is_empty() {
            let fragment = arguments;
            tell(ms + 1, &Event::Arguments { index, fragment });
        }
    }
    tell(90, finish);
    tell(91, &Event::Terminator);
    timeline.finish(Offset::from_nanos(1), Ending::Complete, None)
}

const CALLED: Event<'static> = Event::Finish {
    reason: FinishReason::ToolCalls,
    raw: "tool_calls",
};

#[test]
fn calls_are_held_against_schemas_and_have_values() {
    let mark = &identity().trace_id[..8];
    let one = format!(r#"{{"b":1,"a":"{mark}.c0"}}"#);
    let calls = [("look", one.as_str()), ("other", "{}"), ("look", "")];
    let Finished { record, calls, .. } = called(identity(), &calls, &CALLED);
    let fits: Vec<_> = calls.iter().map(|call| call.schema_valid).collect();
    assert_eq!(fits, [Some(true), Some(false), Some(true)]);
    assert_eq!(record.counts.calls_schema_valid, Some(2));
    assert_eq!(calls[0].marks.get("own"), 1);
    assert_eq!(calls[1].value_sha256, calls[2].value_sha256, "none is {{}}");
    assert_eq!(
        ms(record.all_calls),
        Some(90),
        "the last one has no arguments"
    );

    // The same answer to another request, in another way of writing it.
    let mut other = identity();
    other.trace_id = seed::trace_id("run", "openai", 1, 0);
    let mark = other.trace_id[..8].to_owned();
    let one = format!(r#"{{ "a": "{mark}.c0", "b": 1.0 }}"#);
    let same = [("look", one.as_str()), ("other", "{}"), ("look", "{}")];
    let same = called(other.clone(), &same, &CALLED).record;
    assert!(record.call_arguments_sha256.is_some() && record.call_names_sha256.is_some());
    assert_eq!(same.call_arguments_sha256, record.call_arguments_sha256);
    assert_eq!(same.call_names_sha256, record.call_names_sha256);

    let broken = called(other, &[("look", "{}"), ("look", "{\"a\"")], &CALLED);
    assert_eq!(broken.record.call_arguments_sha256, None);
    assert_eq!(broken.record.all_calls, None);
    assert_eq!(broken.calls[1].schema_valid, Some(false));
    assert_eq!(broken.calls[1].value_sha256, None);
    let none = called(identity(), &[], &STOP).record;
    assert_eq!((none.call_names_sha256, none.all_calls), (None, None));
    assert_eq!(none.counts.calls_schema_valid, Some(0));
}

#[test]
fn arguments_that_are_replaced_count_once() {
    let call = Event::Call {
        index: 0,
        id: "x",
        name: "look",
    };
    let part = |fragment| Event::Arguments { index: 0, fragment };
    let (record, calls, _) = play(
        &[
            (1, true, &[call, part("{\"a\":1}")]),
            (2, true, &[Event::ArgumentsReplaced { index: 0 }, part("{")]),
            (3, true, &[part("}")]),
            (4, true, &[CALLED, Event::Terminator]),
        ],
        Ending::Complete,
    );
    assert_eq!(
        (calls[0].argument_bytes, ms(calls[0].complete_ns)),
        (2, Some(3))
    );
    assert_eq!(record.counts.characters, 4 + 2);
}

#[test]
fn a_stop_reason_that_the_content_contradicts() {
    let with = |endpoint, choice: &str| {
        let mut record = identity();
        record.endpoint = endpoint;
        record.tool_choice = Some(choice.to_owned());
        record
    };
    let (openai, anthropic) = (Endpoint::OpenAi, Endpoint::Anthropic);
    let call: &[(&str, &str)] = &[("look", "{}")];
    let length = || Event::Finish {
        reason: FinishReason::Length,
        raw: "length",
    };
    for (endpoint, choice, calls, finish, is_odd) in [
        (openai, "auto", call, CALLED, false),
        (openai, "auto", call, STOP, true),
        (openai, "required", call, STOP, true),
        (openai, "named", call, STOP, false),
        (openai, "named", call, CALLED, false),
        (anthropic, "named", call, STOP, true),
        (openai, "auto", &[], CALLED, true),
        (openai, "auto", &[], STOP, false),
        (openai, "auto", call, length(), false),
    ] {
        let record = called(with(endpoint, choice), calls, &finish).record;
        let odd = record.oddities == [("stop_reason".to_owned(), 1)];
        assert_eq!(odd, is_odd, "{endpoint} {choice} {calls:?} {finish:?}");
    }
}

#[test]
fn marks_are_counted_over_a_whole_answer() {
    let mark = &identity().trace_id[..8];
    let texts = [
        format!("{mark}.r0 "),
        format!("{mark}.0 {mark}."),
        "2 ".to_owned(),
    ];
    let (record, _, _) = play(
        &[
            (1, true, &[Event::Reasoning(&texts[0])]),
            (2, true, &[Event::Text(&texts[1]), Event::Text(&texts[2])]),
            (3, true, &[STOP, Event::Terminator]),
        ],
        Ending::Complete,
    );
    let counts: Vec<_> = record.marks.iter().map(|(n, c)| (n.as_str(), *c)).collect();
    let expected = [
        ("reasoning", 1),
        ("reasoning_next", 1),
        ("text", 2),
        ("text_lost", 1),
        ("text_next", 3),
    ];
    assert_eq!(counts, expected);
}
