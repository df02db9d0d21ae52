//! Judgement: whether the harness could measure at all, and whether each gate holds.
//!
//! In: a summary, a bill, and the evidence of the harness's own health. Out: a [`Verdict`].
//! Invalidity is judged per claim: what falsifies latencies does not touch a bill.

mod gate;
mod validity;

use std::collections::BTreeMap;

use crate::billing::bill::EndpointBill;
use crate::billing::finding::{Finding, Severity};
use crate::endpoint::Endpoint;
use crate::metrics::{Bounds, EndpointSummary, Metric, Summary};
use crate::money::{Currency, Money};
use crate::stats::samples_needed;

pub use gate::{Cost, Gate, GateError, Limit, Number, Operator, Statistic, Subject};
pub use validity::{Evidence, Validity, validity};

/// How a gate came out.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum GateStatus {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// Too few samples, too many requests cut, or too little of the bill known, to say.
    Inconclusive,
    /// Nothing was measured that it is about.
    NoData,
    /// The harness was the bottleneck.
    Invalid,
}

/// One gate at one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct GateResult {
    /// As written.
    pub expression: String,
    /// Where it was held.
    pub endpoint: Endpoint,
    /// What was measured, with its unit; `None` if nothing was.
    pub actual: Option<String>,
    /// Whether it holds.
    pub status: GateStatus,
    /// Why it is neither passed nor failed, in words.
    pub reason: Option<String>,
}

/// How a run came out.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Every gate holds.
    Passed,
    /// A gate failed, or nothing succeeded.
    Failed,
    /// The run cannot tell.
    NoVerdict,
    /// Stopped before its end.
    Interrupted,
}

/// The judgement of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// In one word.
    pub status: Status,
    /// Why, where the gates do not say it: one sentence each.
    pub reasons: Vec<String>,
    /// Each gate at each endpoint that it is about.
    pub gates: Vec<GateResult>,
}

/// What was measured, as a gate sees it.
#[derive(Clone, Debug, PartialEq)]
enum Actual {
    /// A time in ns; infinite where it falls on a failed request, and only bounded where it may
    /// fall on one that was cut.
    Nanos(Bounds),
    Share(f64),
    Number(f64),
    Money(Money, Currency),
}

/// How a run ended, as far as its facts say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As planned.
    Complete,
    /// By a signal.
    Interrupted,
    /// Its facts stop in the middle: the process was killed, or could not write.
    Incomplete,
}

/// Judges a run.
pub fn judge(
    gates: &[Gate],
    summary: &Summary,
    bills: &BTreeMap<Endpoint, EndpointBill>,
    validity: &Validity,
    end: End,
) -> Verdict {
    let enough_coverage = |endpoint| coverage_asked(gates, endpoint);
    let results: Vec<GateResult> = gates
        .iter()
        .flat_map(|gate| {
            summary
                .endpoints
                .iter()
                .filter(|(endpoint, _)| gate.endpoint.is_none_or(|e| e == **endpoint))
                .map(|(endpoint, numbers)| {
                    let bill = bills.get(endpoint);
                    evaluate(
                        gate,
                        *endpoint,
                        numbers,
                        bill,
                        validity,
                        enough_coverage(*endpoint),
                    )
                })
        })
        .collect();
    let any = |status| results.iter().any(|r| r.status == status);
    let succeeded: u64 = summary.endpoints.values().map(|e| e.counts.ok).sum();
    let planned: u64 = summary.endpoints.values().map(|e| e.counts.planned).sum();

    let mut reasons = Vec::new();
    let status = if end == End::Interrupted {
        reasons.push("interrupted: the report covers what was measured until then".to_owned());
        Status::Interrupted
    } else if any(GateStatus::Failed) {
        Status::Failed
    } else if planned > 0 && succeeded == 0 {
        reasons.push("not one request succeeded".to_owned());
        Status::Failed
    } else if end == End::Incomplete {
        reasons.push("incomplete: the run ended before its facts were whole".to_owned());
        Status::NoVerdict
    } else if planned == 0 {
        reasons.push("nothing was measured".to_owned());
        Status::NoVerdict
    } else if any(GateStatus::Invalid) || (gates.is_empty() && !validity.valid) {
        reasons.push("the harness itself was the bottleneck".to_owned());
        Status::NoVerdict
    } else if any(GateStatus::Inconclusive) || any(GateStatus::NoData) {
        Status::NoVerdict
    } else {
        Status::Passed
    };
    Verdict {
        status,
        reasons,
        gates: results,
    }
}

/// The share of the bill that must be known before a gate about its sums can pass: all of it,
/// unless a gate on the coverage itself asks for less.
fn coverage_asked(gates: &[Gate], endpoint: Endpoint) -> f64 {
    gates
        .iter()
        .filter(|gate| gate.endpoint.is_none_or(|e| e == endpoint))
        .filter_map(|gate| match (&gate.subject, &gate.limit) {
            (Subject::Number(Number::CostCoverage), Limit::Number(limit)) => Some(*limit),
            _ => None,
        })
        .fold(1.0, f64::min)
}

fn evaluate(
    gate: &Gate,
    endpoint: Endpoint,
    numbers: &EndpointSummary,
    bill: Option<&EndpointBill>,
    validity: &Validity,
    enough_coverage: f64,
) -> GateResult {
    let result = |actual: Option<&Actual>, status, reason: Option<String>| GateResult {
        expression: gate.expression.clone(),
        endpoint,
        actual: actual.map(show),
        status,
        reason,
    };
    let Some(actual) = actual(gate, numbers, bill) else {
        return result(
            None,
            GateStatus::NoData,
            Some("nothing was measured".to_owned()),
        );
    };
    if gate.is_about_time() && !validity.valid {
        let reason = Some("the harness was the bottleneck".to_owned());
        return result(Some(&actual), GateStatus::Invalid, reason);
    }
    if let Subject::Latency(metric, Statistic::Quantile(q)) = gate.subject {
        let latency = numbers.latency(metric);
        let samples = latency.inclusive_count();
        let needed = samples_needed(q);
        if samples < needed {
            let reason = format!("{samples} samples; this quantile needs {needed}");
            return result(Some(&actual), GateStatus::Inconclusive, Some(reason));
        }
        let missing = latency.missing();
        if missing > 0 {
            let reason = format!(
                "{missing} complete answers have none, such as a stream that came as a whole body"
            );
            return result(Some(&actual), GateStatus::Inconclusive, Some(reason));
        }
    }
    let holds = match (&actual, &gate.limit) {
        (Actual::Nanos(value), Limit::Nanos(limit)) => holds_between(gate.operator, *value, *limit),
        (Actual::Number(value) | Actual::Share(value), Limit::Number(limit)) => {
            Some(gate.operator.holds(value, limit))
        }
        (Actual::Money(value, _), Limit::Money(limit, _)) => {
            Some(gate.operator.holds(value, limit))
        }
        _ => unreachable!("a gate's limit is parsed in its subject's unit"),
    };
    match holds {
        Some(true) => {}
        Some(false) => return result(Some(&actual), GateStatus::Failed, None),
        None => {
            let cut = numbers.counts.cut;
            let reason = format!(
                "{cut} requests were cut, and how long they would have taken decides it; a longer \
                 `load.grace` lets them end"
            );
            return result(Some(&actual), GateStatus::Inconclusive, Some(reason));
        }
    }
    let coverage = bill
        .and_then(|b| b.sums.coverage)
        .map(|c| c.both as f64 / c.billable as f64);
    if gate.needs_coverage() && coverage.is_none_or(|c| c < enough_coverage) {
        let known = coverage.map_or_else(|| "no".to_owned(), |c| format!("{:.2} %", c * 100.0));
        let reason = format!(
            "the cost of {known} of the billable requests is both recorded and predicted; a gate \
             on `cost.coverage` can ask for less than all"
        );
        return result(Some(&actual), GateStatus::Inconclusive, Some(reason));
    }
    let unknown = bill.map_or(0, |b| {
        b.findings
            .iter()
            .filter(|f| f.severity == Severity::Unknown)
            .count()
    });
    if matches!(gate.subject, Subject::Number(Number::Findings)) && unknown > 0 {
        let reason = format!("{unknown} findings say that something could not be checked");
        return result(Some(&actual), GateStatus::Inconclusive, Some(reason));
    }
    result(Some(&actual), GateStatus::Passed, None)
}

/// Whether `value op limit` holds wherever in its bounds the value is; `None` where that depends.
fn holds_between(operator: Operator, value: Bounds, limit: f64) -> Option<bool> {
    let (low, high) = (
        operator.holds(&value.low, &limit),
        operator.holds(&value.high, &limit),
    );
    // Every comparison but `==` that holds at both ends holds between them.
    let inside = operator == Operator::Equal && value.low < limit && limit < value.high;
    (low == high && !inside).then_some(low)
}

fn actual(gate: &Gate, numbers: &EndpointSummary, bill: Option<&EndpointBill>) -> Option<Actual> {
    match gate.subject {
        Subject::Latency(metric, statistic) => {
            let latency = numbers.latency(metric);
            // Where no request ever had it, failures alone say nothing about it.
            let optional = matches!(metric, Metric::Ttfr | Metric::Ttfv | Metric::TimeToToolCall);
            if optional && latency.count() == 0 {
                return None;
            }
            let bounds = match statistic {
                Statistic::Quantile(q) => latency.inclusive_quantile(q),
                Statistic::Max => latency.inclusive_max(),
                Statistic::Mean => latency.inclusive_mean(),
                Statistic::Min => latency.min().map(|ns| Bounds::exactly(ns as f64)),
            };
            bounds.map(Actual::Nanos)
        }
        Subject::Number(number) => match number {
            Number::ErrorRate => numbers.error_rate().map(Actual::Share),
            Number::RequestsPerS => numbers.requests_per_s().map(Actual::Number),
            Number::OutputTokensPerS => numbers.output_tokens_per_s().map(Actual::Number),
            Number::EventsPerS => numbers.events_per_s().map(Actual::Number),
            Number::GoodputPerS => numbers.goodput_per_s().map(Actual::Number),
            Number::CostCoverage => {
                let coverage = bill?.sums.coverage?;
                Some(Actual::Share(
                    coverage.both as f64 / coverage.billable as f64,
                ))
            }
            Number::CostBias => {
                let bill = bill?;
                let percent: f64 = bill.sums.bias_pct?.abs().to_string().parse().ok()?;
                // So little that it is rounded to nothing is not nothing.
                let tiny = bill.sums.delta.is_some_and(|delta| !delta.is_zero());
                let least = if tiny { f64::MIN_POSITIVE } else { 0.0 };
                Some(Actual::Share((percent / 100.0).max(least)))
            }
            Number::CostStatus(status) => Some(Actual::Number(bill?.sums.status(status) as f64)),
            Number::Findings => {
                let wrong = |f: &&Finding| f.severity == Severity::Wrong;
                Some(Actual::Number(
                    bill?.findings.iter().filter(wrong).count() as f64
                ))
            }
            Number::Planned => Some(Actual::Number(numbers.counts.planned as f64)),
            Number::Outcome(outcome) => {
                Some(Actual::Number(numbers.counts.outcome(outcome) as f64))
            }
            Number::ToolCallsValid => {
                let calls = numbers.tool_calls;
                (calls.returned > 0)
                    .then(|| Actual::Share(calls.valid_json as f64 / calls.returned as f64))
            }
        },
        Subject::Cost(cost) => {
            let bill = bill?;
            let amount = match cost {
                Cost::Predicted => bill.sums.predicted,
                Cost::Recorded => bill.sums.recorded,
                Cost::Delta => bill.sums.delta,
                Cost::DeltaAbs => bill.sums.delta_abs,
            };
            Some(Actual::Money(amount?, bill.currency))
        }
    }
}

fn show(actual: &Actual) -> String {
    match actual {
        Actual::Nanos(Bounds { low, high }) => match (low.is_finite(), high.is_finite()) {
            (false, _) => "a failed request".to_owned(),
            (true, false) => format!("{} or more", time(*low)),
            (true, true) if time(*low) == time(*high) => time(*low),
            (true, true) => format!("{} to {}", time(*low), time(*high)),
        },
        Actual::Share(share) => match share * 100.0 {
            percent if percent <= 0.0 || percent >= 0.01 => format!("{percent:.2}%"),
            percent if percent >= 1e-6 => format!("{percent:.6}%"),
            _ => "less than 0.000001%".to_owned(),
        },
        Actual::Number(number) if number.fract() == 0.0 => format!("{number}"),
        Actual::Number(number) => format!("{number:.2}"),
        Actual::Money(money, currency) => format!("{money} {currency}"),
    }
}

fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e6 => format!("{:.1}us", ns / 1e3),
        ns if ns < 1e10 => format!("{:.2}ms", ns / 1e6),
        ns => format!("{:.2}s", ns / 1e9),
    }
}

#[cfg(test)]
mod tests {
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
        let verdict = judge(&gates, &summary, &BTreeMap::new(), &validity, End::Complete);
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
}
