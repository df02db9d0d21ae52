//! Gates held against runs, and what keeps the harness from measuring.

use super::*;
use crate::metrics::Limits;
use crate::record::{Class, Health, Outcome, Phase, Record};
use crate::time::{Offset, Window};

fn at(ms: u64) -> Offset {
    Offset::from_nanos(ms * 1_000_000)
}

/// A stream of this outcome, sent at 0, whose first token came, or that was cut, at `ms`.
fn request(outcome: Outcome, ms: u64) -> Record {
    let mut record = Record::new(
        String::new(),
        Phase::Measured,
        Endpoint::OpenAi,
        Class::Chat,
    );
    record.streaming = true;
    record.outcome = outcome;
    record.due = Some(at(0));
    record.sent = Some(at(0));
    record.ended = Some(at(ms));
    if outcome == Outcome::Ok {
        record.first_token = Some(at(ms));
        record.terminator = Some(at(ms));
        record.counts.token_events = 1;
    }
    record
}

fn summary(requests: &[(Outcome, u64, u32)]) -> Summary {
    let window = Window {
        start_ns: at(0),
        end_ns: at(1_000),
        idle_ns: 0,
    };
    let mut summary = Summary::new(&BTreeMap::from([(Endpoint::OpenAi, window)]));
    for (outcome, ms, times) in requests {
        for _ in 0..*times {
            summary.add(&request(*outcome, *ms), &Limits::default());
        }
    }
    summary
}

/// The status of a gate, and what it shows.
fn judged(gate: &str, requests: &[(Outcome, u64, u32)]) -> (GateStatus, String) {
    let gates = [Gate::parse(gate).expect(gate)];
    let summary = summary(requests);
    let validity = validity(&gates, None, &summary, &Evidence::default());
    let verdict = judge(
        &gates,
        &summary,
        &BTreeMap::new(),
        &Found::default(),
        &validity,
        End::Complete,
    );
    let gate = verdict.gates[0].clone();
    (gate.status, gate.actual.unwrap_or_default())
}

#[test]
fn a_cut_request_leaves_a_gate_open_only_where_it_decides() {
    use GateStatus::{Failed, Inconclusive, Passed};
    use Outcome::{Cut, HttpError, Ok};
    // One in a hundred cut: no p95 of less than 200 ms rests on it.
    let few = [(Ok, 100, 99), (Cut, 50, 1)];
    // One in ten: p95 is among them.
    let many = [(Ok, 100, 90), (Cut, 50, 10)];
    let long = [(Ok, 100, 90), (Cut, 900, 10)];
    for (gate, requests, status, shown) in [
        ("ttft p95 < 200ms", &few[..], Passed, "100.00ms"),
        ("ttft p95 < 200ms", &many, Inconclusive, "100.00ms or more"),
        ("ttft p95 < 90ms", &many, Failed, "100.00ms or more"),
        ("ttft p95 < 200ms", &long, Failed, "900.00ms or more"),
        ("ttft p95 > 80ms", &many, Passed, "100.00ms or more"),
        ("ttft p95 > 200ms", &many, Inconclusive, "100.00ms or more"),
        ("ttft p95 == 200ms", &many, Inconclusive, "100.00ms or more"),
        ("ttft p95 == 50ms", &many, Failed, "100.00ms or more"),
        // 2 waited less than anything that was answered: the median is at most the answers'.
        ("ttft p50 < 200ms", &many, Passed, "100.00ms"),
        ("ttft max < 200ms", &few, Inconclusive, "100.00ms or more"),
        ("ttft max < 1s", &[(Ok, 100, 100)], Passed, "100.00ms"),
        ("ttft mean < 90ms", &few, Failed, "99.50ms or more"),
        ("ttft mean < 1s", &few, Inconclusive, "99.50ms or more"),
        (
            "ttft p95 < 200ms",
            &[(Ok, 100, 90), (HttpError, 1, 10)],
            Failed,
            "a failed request",
        ),
    ] {
        let (found, actual) = judged(gate, requests);
        assert_eq!((found, actual.as_str()), (status, shown), "{gate}");
    }
    let between = [(Ok, 100, 50), (Cut, 10, 3), (Ok, 200, 50)];
    assert_eq!(
        judged("ttft p50 < 300ms", &between),
        (Passed, "100.01ms to 200.00ms".to_owned())
    );
    assert_eq!(judged("ttft p50 < 150ms", &between).0, Inconclusive);
}

fn health() -> Health {
    Health {
        at_ns: at(1_000),
        interval_ns: 1_000_000_000,
        worker: 0,
        cpu_ns: 0,
        lag_max_ns: 0,
        stalls: 0,
        stalled_ns: 0,
        waited_ns: Some(0),
        turns: Some(5),
        throttled_ns: Some(0),
        drift_ns: Some(0),
        in_flight: 0,
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a flat list of cases")]
fn what_keeps_the_harness_from_measuring_is_said_with_its_remedy() {
    let ms = |ms: u64| ms * 1_000_000;
    let row = health();
    for (gate, row, reason) in [
        ("ttft p95 < 1s", row, None),
        // A tail of 5 %: half of it for what lasts, all of it for what is short.
        (
            "ttft p95 < 1s",
            Health {
                stalls: 1,
                stalled_ns: ms(30),
                ..row
            },
            Some("stood still 1 times, 30 ms"),
        ),
        (
            "ttft p95 < 1s",
            Health {
                stalls: 1,
                stalled_ns: ms(20),
                ..row
            },
            None,
        ),
        (
            "ttft p99 < 1s",
            Health {
                stalls: 1,
                stalled_ns: ms(20),
                ..row
            },
            Some("stood still"),
        ),
        (
            "ttft p95 < 1s",
            Health {
                waited_ns: Some(ms(51)),
                ..row
            },
            Some("waited 5.1 % of its time for a core"),
        ),
        (
            "ttft p95 < 1s",
            Health {
                waited_ns: Some(ms(49)),
                ..row
            },
            None,
        ),
        // As long in all, and each wait too short to matter: 51 us.
        (
            "ttft p95 < 1s",
            Health {
                waited_ns: Some(ms(51)),
                turns: Some(1_000),
                ..row
            },
            None,
        ),
        (
            "ttft p95 < 1s",
            Health {
                throttled_ns: Some(ms(26)),
                ..row
            },
            Some("CPU limit held the harness up for 2.6 %"),
        ),
        (
            "ttft p95 < 1s",
            Health {
                drift_ns: Some(101_000_000),
                ..row
            },
            Some("leapt ahead by 0.101 s"),
        ),
        (
            "ttft p95 < 1s",
            Health {
                drift_ns: Some(-101_000_000),
                ..row
            },
            None,
        ),
        (
            "ttft p95 < 1s",
            Health {
                cpu_ns: ms(910),
                ..row
            },
            Some("used 91 % of its core"),
        ),
    ] {
        let gates = [Gate::parse(gate).expect(gate)];
        let mut evidence = Evidence::default();
        evidence.add(&row);
        let found = validity(&gates, None, &summary(&[(Outcome::Ok, 1, 1)]), &evidence);
        match reason {
            None => assert_eq!(found.reasons, [""; 0], "{row:?}"),
            Some(part) => {
                assert_eq!(found.reasons.len(), 1, "{:?}", found.reasons);
                assert!(found.reasons[0].contains(part), "{:?}", found.reasons);
                assert!(found.reasons[0].contains("; "), "a remedy");
            }
        }
        assert_eq!(found.valid, reason.is_none());
        let back = row.drift_ns < Some(-100_000_000);
        assert_eq!(found.warnings.len(), usize::from(back));
    }
}

#[test]
fn a_load_that_the_budget_held_back_is_said() {
    for waits in [0, 3] {
        let evidence = Evidence::new(waits);
        let found = validity(&[], None, &summary(&[(Outcome::Ok, 1, 1)]), &evidence);
        assert_eq!(found.valid, waits == 0);
        if waits > 0 {
            assert!(found.reasons[0].starts_with("3 requests waited for room in the budget"));
            assert!(found.reasons[0].ends_with("; raise the budget"), "a remedy");
        }
    }
}

#[test]
fn what_the_system_does_not_say_is_not_zero() {
    let mut evidence = Evidence::default();
    evidence.add(&Health {
        waited_ns: None,
        throttled_ns: None,
        drift_ns: None,
        ..health()
    });
    let found = validity(&[], None, &summary(&[]), &evidence);
    assert_eq!(
        (
            found.run_queue_wait,
            found.run_queue_wait_max,
            found.throttled,
            found.clock_jump_ns
        ),
        (None, None, None, None)
    );
    assert_eq!(found.cpu_utilization, Some(0.0));
}

#[test]
fn a_load_that_was_not_sent_is_said() {
    let mut summary = summary(&[(Outcome::Ok, 1, 98), (Outcome::Cut, 1, 2)]);
    let unsent = |summary: &Summary| {
        let found = validity(&[], None, summary, &Evidence::default());
        found.reasons.iter().any(|r| r.starts_with("only"))
    };
    assert!(!unsent(&summary));
    // Retries are attempts, not requests of the plan.
    let endpoint = summary.endpoints.get_mut(&Endpoint::OpenAi).expect("there");
    endpoint.counts.attempts += 50;
    endpoint.counts.sent -= 2;
    assert!(unsent(&summary));
}

#[test]
fn gates_on_findings_pass_only_where_everything_was_looked_at() {
    let looked = |findings, of, unread| Looked {
        findings,
        of,
        unread,
    };
    let judged = |gate: &str, found: &Found| {
        let gates = [Gate::parse(gate).expect(gate)];
        let summary = summary(&[(Outcome::Ok, 1, 1)]);
        let validity = validity(&gates, None, &summary, &Evidence::default());
        let bills = BTreeMap::new();
        let verdict = judge(&gates, &summary, &bills, found, &validity, End::Complete);
        verdict.gates[0].status
    };
    for (of_conformance, status) in [
        (None, GateStatus::NoData),
        (Some(looked(0, 0, 0)), GateStatus::NoData),
        (Some(looked(0, 9, 0)), GateStatus::Passed),
        (Some(looked(1, 9, 0)), GateStatus::Failed),
        (Some(looked(0, 9, 2)), GateStatus::Inconclusive),
        (Some(looked(1, 9, 2)), GateStatus::Failed),
    ] {
        let found = Found {
            conformance: of_conformance
                .map(|looked| (Endpoint::OpenAi, looked))
                .into_iter()
                .collect(),
            parity: of_conformance,
        };
        for gate in ["conformance.findings == 0", "parity.findings == 0"] {
            assert_eq!(judged(gate, &found), status, "{gate}: {of_conformance:?}");
        }
    }
    // Nothing called a tool, and no session had several turns.
    for gate in [
        "tool_calls.schema_valid == 100%",
        "loops.completed >= 99%",
        "time_to_first_tool_delta p50 < 1s",
        "time_to_all_tool_calls max < 1s",
    ] {
        assert_eq!(
            judged(gate, &Found::default()),
            GateStatus::NoData,
            "{gate}"
        );
    }
}
