//! Planted faults, as a client sees them and as the journal has them.

use mock_upstream::config::{Fault, FaultKind, When};
use mock_upstream::journal::Endpoint;
use mock_upstream::{Config, JournalEntry, MockUpstream};
use serde_json::Value;

use crate::client::Exchange;
use crate::observer::{End, Seen, observe};
use crate::{CHAT_COMPLETIONS, MESSAGES, nonce, on_each_runtime, prompt, quick, run, start};

const ENDPOINTS: [(&str, Endpoint); 2] = [
    (CHAT_COMPLETIONS, Endpoint::OpenAi),
    (MESSAGES, Endpoint::Anthropic),
];

pub fn with_fault(fault: Fault) -> Config {
    let mut config = quick();
    config.journal_frames = true;
    config.behaviour.faults = vec![fault];
    config
}

/// What a fault makes of an answer of five tokens.
struct Expected {
    /// `None` if there is no byte of an answer.
    status: Option<u16>,
    end: End,
    /// The sequence numbers that come, for streams.
    tokens: &'static str,
    /// What is in the head or the body, on each endpoint; and what is not.
    has: [&'static str; 2],
    lacks: [&'static str; 2],
}

const NOTHING: [&str; 2] = ["", ""];
const TERMINATORS: [&str; 2] = ["data: [DONE]\n\n", "data: {\"type\":\"message_stop\"}\n\n"];
const ERRORS: [&str; 2] = ["\n\ndata: {\"error\":{", "\n\nevent: error\ndata: {"];
const ALL: &str = "0 1 2 3 4";

/// A stream that is what was asked for, or nearly.
fn stream(tokens: &'static str, has: [&'static str; 2]) -> Expected {
    Expected {
        status: Some(200),
        end: End::Whole,
        tokens,
        has,
        lacks: NOTHING,
    }
}

/// A stream that ends in another way after three tokens, or none.
fn broken(tokens: &'static str, end: End) -> Expected {
    Expected {
        end,
        lacks: TERMINATORS,
        ..stream(tokens, NOTHING)
    }
}

/// What a client of a stream sees.
fn of_stream(kind: FaultKind) -> Expected {
    let [openai, anthropic] = TERMINATORS;
    match kind {
        FaultKind::Status => Expected {
            status: Some(503),
            lacks: TERMINATORS,
            ..stream("", ["retry-after: 1\r\n"; 2])
        },
        FaultKind::Html200 => stream("", ["<!doctype html>"; 2]),
        FaultKind::ErrorIn200 => stream("", ["{\"error\":{", "\"type\":\"error\""]),
        FaultKind::Refuse | FaultKind::ResetBeforeHeaders => Expected {
            status: None,
            ..broken("", End::Reset)
        },
        FaultKind::ResetAfterHeaders => broken("", End::Reset),
        FaultKind::Reset => broken("0 1 2", End::Reset),
        FaultKind::Cut => broken("0 1 2", End::Early),
        FaultKind::Stall => broken("0 1 2", End::HungUp),
        FaultKind::NoTerminator => broken(ALL, End::Whole),
        FaultKind::ErrorInStream => Expected {
            has: ERRORS,
            ..broken("0 1 2", End::Whole)
        },
        FaultKind::ForeignError => Expected {
            has: [ERRORS[1], ERRORS[0]],
            ..broken("0 1 2", End::Whole)
        },
        FaultKind::Garbage => stream(ALL, ["\u{fffd}"; 2]),
        FaultKind::DuplicateEvent => stream("0 1 2 3 3 4", TERMINATORS),
        FaultKind::LostEvent => stream("0 1 2 4", TERMINATORS),
        FaultKind::ForeignData => stream("0 1 2 !3 4", ["ffffffff.3 "; 2]),
        FaultKind::FakeStreaming => stream(ALL, TERMINATORS),
        FaultKind::WrongContentType => stream(ALL, ["content-type: application/json\r\n"; 2]),
        FaultKind::WrongFinish => Expected {
            lacks: ["\"length\"", "\"max_tokens\""],
            ..stream(ALL, ["_reason\":\"stop\"", "_reason\":\"end_turn\""])
        },
        FaultKind::ForeignTerminator => stream(ALL, [anthropic, openai]),
        FaultKind::ForeignEvent => stream(
            ALL,
            [
                "data: {\"type\":\"ping\"}",
                "data: {\"object\":\"chat.completion.chunk\",\"choices\":[]}",
            ],
        ),
        FaultKind::LateEvent => stream("0 1 2 3 4 4", TERMINATORS),
        FaultKind::UnterminatedEvent => Expected {
            has: ["\n\ndata: [DONE]", "\ndata: {\"type\":\"message_stop\"}"],
            ..broken(ALL, End::Whole)
        },
    }
}

/// What a client of a whole body sees.
fn of_whole(kind: FaultKind) -> Expected {
    let half = |end| Expected {
        lacks: ["usage"; 2],
        ..broken("", end)
    };
    match kind {
        FaultKind::Reset => half(End::Reset),
        FaultKind::Cut => half(End::Early),
        FaultKind::Stall => half(End::HungUp),
        FaultKind::WrongContentType => {
            stream(ALL, ["content-type: text/plain; charset=utf-8\r\n"; 2])
        }
        kind if kind.needs_stream() => stream(ALL, ["usage"; 2]),
        kind => of_stream(kind),
    }
}

/// A client that has seen the third token, or something of a whole body, and waits for no more of a stalled answer.
fn is_enough(kind: FaultKind, stream: bool) -> impl Fn(&str) -> bool {
    move |text| {
        let (_, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        let has_third = body.split_once("00000000.2 ");
        let seen =
            has_third.is_some_and(|(_, rest)| rest.contains("\n\n")) || !stream && !body.is_empty();
        kind == FaultKind::Stall && seen
    }
}

/// Has the only request to an upstream meet a fault: what its client sees, and what the journal says.
async fn strike(kind: FaultKind, direct: bool, path: &str, stream: bool) -> (Seen, JournalEntry) {
    let mut fault = Fault::new(kind);
    match kind {
        FaultKind::Status => fault.status = 503,
        FaultKind::Refuse => fault.for_ms = 1.0,
        _ => {}
    }
    let mock = start(Config {
        direct,
        ..with_fault(fault)
    })
    .await;
    let enough = is_enough(kind, stream);
    let seen = observe(mock.address(), path, "", &prompt(1, stream), enough).await;
    mock.idle().await;
    let mut journal = mock.journal().expect("readable");
    assert_eq!(journal.len(), 1);
    mock.shutdown().await;
    (seen, journal.remove(0))
}

fn check(
    kind: FaultKind,
    direct: bool,
    stream: bool,
    endpoint: Endpoint,
    seen: &Seen,
    entry: &JournalEntry,
) {
    let case =
        format!("{kind:?}, stream {stream}, {endpoint:?}, direct {direct}: {seen:?}, {entry:?}");
    let expected = if stream {
        of_stream(kind)
    } else {
        of_whole(kind)
    };
    let has_head = expected.status.is_some();
    assert_eq!(
        (seen.status(), seen.end),
        (expected.status, expected.end),
        "{case}"
    );
    let text = format!(
        "{}\r\n{}",
        seen.head.as_deref().unwrap_or_default(),
        seen.text()
    );
    let index = usize::from(endpoint == Endpoint::Anthropic);
    let (has, lacks) = (expected.has[index], expected.lacks[index]);
    assert!(text.contains(has), "{has} in {case}");
    assert!(
        lacks.is_empty() || !text.contains(lacks),
        "{lacks} in {case}"
    );
    let tokens = seen.tokens("00000000");
    if stream {
        assert_eq!(tokens, expected.tokens, "{case}");
        assert_eq!(
            entry.token_events,
            tokens.split_whitespace().count() as u64,
            "{case}"
        );
    } else if expected.end == End::Whole {
        assert!(
            tokens == expected.tokens || kind == FaultKind::Garbage,
            "{case}"
        );
    }
    let is_meant = stream || !kind.needs_stream();
    assert_eq!(
        entry.fault.as_deref(),
        is_meant.then_some(kind.name()),
        "{case}"
    );
    assert_eq!(entry.completed, expected.end == End::Whole, "{case}");
    assert_eq!(entry.status, expected.status.unwrap_or(0), "{case}");
    assert_eq!((entry.endpoint, entry.stream), (endpoint, stream), "{case}");
    assert_eq!(entry.frames_written, entry.frames, "{case}");
    assert_eq!(
        seen.chunks.len() as u64,
        entry.frames.max(u64::from(has_head && !stream)),
        "{case}"
    );
    let has_text = !is_meant || kind.keeps_text();
    assert_eq!(entry.text_sha256.is_some(), has_text, "{case}");
    // What of the answer was not delivered, states no cost.
    if expected.end != End::Whole {
        assert_eq!(entry.recorded_cost, None, "{case}");
    }
    let planned = &entry.frame_times.as_ref().expect("asked for").planned_ns;
    let at_once = planned.iter().all(|ns| *ns == planned[0]);
    assert_eq!(
        at_once,
        planned.len() < 3 || kind == FaultKind::FakeStreaming,
        "{case}"
    );
}

#[test]
fn each_fault_is_seen_and_journaled_on_both_endpoints_streamed_and_whole() {
    on_each_runtime(|| async {
        for kind in FaultKind::ALL {
            for (path, endpoint) in ENDPOINTS {
                for (stream, direct) in [(true, true), (true, false), (false, true)] {
                    let (seen, entry) = strike(kind, direct, path, stream).await;
                    check(kind, direct, stream, endpoint, &seen, &entry);
                }
            }
        }
    });
}

/// A request in short: its nonce, endpoint, whether it is a stream, its header and its words.
struct Request(u64, &'static str, bool, &'static str, &'static str);

/// The numbers of the requests, from 0, that a fault strikes.
async fn struck(when: When, requests: &[Request]) -> Vec<u64> {
    let mock = start(with_fault(Fault {
        when,
        ..Fault::new(FaultKind::Status)
    }))
    .await;
    for Request(number, path, stream, headers, words) in requests {
        let mut body = prompt(*number, *stream);
        body["messages"][0]["content"] = Value::from(format!("{} {words}", nonce(*number)));
        observe(mock.address(), path, headers, &body, |_| false).await;
    }
    let journal = mock.journal().expect("readable");
    mock.shutdown().await;
    let struck = journal.iter().filter(|entry| entry.fault.is_some());
    struck.map(|entry| entry.seq).collect()
}

#[test]
fn faults_strike_the_requests_that_they_are_for() {
    run(async {
        let requests = [
            Request(1, CHAT_COMPLETIONS, true, "", "a"),
            Request(1, CHAT_COMPLETIONS, true, "", "a"),
            Request(2, MESSAGES, false, "x-mock-marker: boom\r\n", "b"),
            Request(
                3,
                CHAT_COMPLETIONS,
                false,
                "x-mock-marker: other, boom\r\n",
                "c",
            ),
            Request(4, MESSAGES, true, "x-mock-marker: boomerang\r\n", "d"),
            Request(5, CHAT_COMPLETIONS, true, "", "say boom"),
            Request(1, CHAT_COMPLETIONS, true, "", "a"),
        ];
        let marker = || Some("boom".to_owned());
        let when = When::default;
        let table: [(When, &[u64]); 10] = [
            (when(), &[0, 1, 2, 3, 4, 5, 6]),
            (
                When {
                    share: 0.0,
                    ..when()
                },
                &[],
            ),
            (When { every: 3, ..when() }, &[2, 5]),
            (
                When {
                    marker: marker(),
                    ..when()
                },
                &[2, 3, 5],
            ),
            (
                When {
                    marker: marker(),
                    every: 2,
                    ..when()
                },
                &[3],
            ),
            (
                When {
                    attempts: Some(1),
                    ..when()
                },
                &[0, 2, 3, 4, 5],
            ),
            (
                When {
                    attempts: Some(2),
                    ..when()
                },
                &[0, 1, 2, 3, 4, 5],
            ),
            (
                When {
                    endpoint: Some(Endpoint::Anthropic),
                    ..when()
                },
                &[2, 4],
            ),
            (
                When {
                    stream: Some(false),
                    ..when()
                },
                &[2, 3],
            ),
            (
                When {
                    stream: Some(true),
                    endpoint: Some(Endpoint::OpenAi),
                    attempts: Some(1),
                    ..when()
                },
                &[0, 5],
            ),
        ];
        for (when, expected) in table {
            assert_eq!(struck(when.clone(), &requests).await, expected, "{when:?}");
        }
    });
}

#[test]
fn the_second_attempt_at_the_same_request_succeeds() {
    run(async {
        for kind in [
            FaultKind::Status,
            FaultKind::ResetBeforeHeaders,
            FaultKind::Cut,
        ] {
            let mut fault = Fault::new(kind);
            fault.when.attempts = Some(1);
            let mock = start(with_fault(fault)).await;
            let attempt =
                async || observe(mock.address(), MESSAGES, "", &prompt(1, true), |_| false).await;
            attempt().await;
            let second = attempt().await;
            assert_eq!((second.status(), second.end), (Some(200), End::Whole));
            mock.idle().await;
            let journal = mock.journal().expect("readable");
            let attempts: Vec<_> = journal
                .iter()
                .map(|entry| (entry.attempt, entry.fault.as_deref()))
                .collect();
            assert_eq!(attempts, [(1, Some(kind.name())), (2, None)]);
            mock.shutdown().await;
        }
    });
}

#[test]
fn shares_strike_the_same_requests_whatever_their_order() {
    run(async {
        let when = When {
            share: 0.5,
            ..When::default()
        };
        let request = |number| Request(number, CHAT_COMPLETIONS, false, "", "a");
        let forward: Vec<_> = (0..12).map(request).collect();
        let backward: Vec<_> = (0..12).rev().map(request).collect();
        let first = struck(when.clone(), &forward).await;
        let mut second: Vec<_> = struck(when, &backward)
            .await
            .iter()
            .map(|seq| 11 - seq)
            .collect();
        second.reverse();
        assert_eq!(first, second);
        assert!((1..12).contains(&first.len()), "{first:?}");
    });
}

#[test]
fn foreign_data_has_the_mark_of_the_request_before() {
    run(async {
        let mock = start(with_fault(Fault::new(FaultKind::ForeignData))).await;
        let mut first = prompt(1, true);
        first["messages"][0]["content"] = Value::from("a".repeat(32));
        observe(mock.address(), CHAT_COMPLETIONS, "", &first, |_| false).await;
        let second = observe(mock.address(), MESSAGES, "", &prompt(1, true), |_| false).await;
        assert_eq!(second.tokens("00000000"), "0 1 2 !3 4");
        assert!(second.text().contains("aaaaaaaa.3 "), "{second:?}");
        mock.shutdown().await;
    });
}

#[test]
fn a_stalled_stream_ends_when_the_upstream_stops() {
    run(async {
        let mock = MockUpstream::builder()
            .config(with_fault(Fault::new(FaultKind::Stall)))
            .grace(std::time::Duration::ZERO)
            .start()
            .await
            .expect("starts");
        let body = prompt(1, true).to_string();
        let mut stalled = Exchange::open(mock.address(), "POST", CHAT_COMPLETIONS, "", &body).await;
        stalled.head().await;
        // The role and three of five tokens.
        for _ in 0..4 {
            stalled.chunk().await.expect("a chunk");
        }
        mock.shutdown().await;
        assert_eq!(stalled.chunk().await, None);
    });
}
