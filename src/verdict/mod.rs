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
use crate::metrics::{EndpointSummary, Metric, Quantile, Summary};
use crate::money::{Currency, Money};
use crate::record::Outcome;

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
    /// Too few samples, or too little of the bill known, to say.
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
    Nanos(f64),
    /// The quantile lies among the failed requests: over any limit.
    Failed,
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
    let succeeded: u64 = summary
        .endpoints
        .values()
        .map(|e| e.outcome(Outcome::Ok))
        .sum();
    let planned: u64 = summary.endpoints.values().map(|e| e.planned).sum();

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
        let samples = numbers.latency(metric).count() + numbers.latency(metric).failed();
        let needed = samples_needed(q);
        if samples < needed {
            let reason = format!("{samples} samples; this quantile needs {needed}");
            return result(Some(&actual), GateStatus::Inconclusive, Some(reason));
        }
        let missing = numbers.latency(metric).missing();
        if missing > 0 {
            let reason = format!(
                "{missing} complete answers have none, such as a stream that came as a whole body"
            );
            return result(Some(&actual), GateStatus::Inconclusive, Some(reason));
        }
    }
    let holds = match (&actual, &gate.limit) {
        (Actual::Failed, _) => gate.operator.holds(&f64::INFINITY, &0.0),
        (Actual::Nanos(value), Limit::Nanos(limit))
        | (Actual::Number(value) | Actual::Share(value), Limit::Number(limit)) => {
            gate.operator.holds(value, limit)
        }
        (Actual::Money(value, _), Limit::Money(limit, _)) => gate.operator.holds(value, limit),
        _ => unreachable!("a gate's limit is parsed in its subject's unit"),
    };
    if !holds {
        return result(Some(&actual), GateStatus::Failed, None);
    }
    let coverage = bill
        .and_then(|b| b.coverage)
        .map(|c| c.both as f64 / c.billable as f64);
    if matches!(gate.subject, Subject::Cost(_)) && coverage.is_none_or(|c| c < enough_coverage) {
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

/// The fewest samples whose largest bounds quantile `q` from above with 95 % confidence:
/// `ln 0.05 / ln q`, after Wilks (1941). 5 for the median, 59 for p95, 299 for p99.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive and small"
)]
fn samples_needed(q: f64) -> u64 {
    (0.05_f64.ln() / q.ln()).ceil() as u64
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
            let nanos = |ns: u64| Actual::Nanos(ns as f64);
            match statistic {
                Statistic::Quantile(q) => Some(match latency.inclusive_quantile(q)? {
                    Quantile::Value(ns) => nanos(ns),
                    Quantile::Failed => Actual::Failed,
                }),
                // A failed request is over any limit, and so is a mean with one in it.
                Statistic::Max | Statistic::Mean if latency.failed() > 0 => Some(Actual::Failed),
                Statistic::Max => latency.max().map(nanos),
                Statistic::Min => latency.min().map(nanos),
                Statistic::Mean => latency.mean().map(Actual::Nanos),
            }
        }
        Subject::Number(number) => match number {
            Number::ErrorRate => numbers.error_rate().map(Actual::Share),
            Number::RequestsPerS => numbers.requests_per_s().map(Actual::Number),
            Number::OutputTokensPerS => numbers.output_tokens_per_s().map(Actual::Number),
            Number::EventsPerS => numbers.events_per_s().map(Actual::Number),
            Number::GoodputPerS => numbers.goodput_per_s().map(Actual::Number),
            Number::CostCoverage => {
                let coverage = bill?.coverage?;
                Some(Actual::Share(
                    coverage.both as f64 / coverage.billable as f64,
                ))
            }
            Number::Findings => {
                let wrong = |f: &&Finding| f.severity == Severity::Wrong;
                Some(Actual::Number(
                    bill?.findings.iter().filter(wrong).count() as f64
                ))
            }
            Number::Planned => Some(Actual::Number(numbers.planned as f64)),
            Number::Outcome(outcome) => Some(Actual::Number(numbers.outcome(outcome) as f64)),
            Number::ToolCallsValid => {
                let calls = numbers.tool_calls;
                (calls.returned > 0)
                    .then(|| Actual::Share(calls.valid_json as f64 / calls.returned as f64))
            }
        },
        Subject::Cost(cost) => {
            let bill = bill?;
            let amount = match cost {
                Cost::Predicted => bill.predicted,
                Cost::Recorded => bill.recorded,
                Cost::Delta => bill.delta,
                Cost::DeltaAbs => bill.delta_abs,
            };
            Some(Actual::Money(amount?, bill.currency))
        }
    }
}

fn show(actual: &Actual) -> String {
    match actual {
        Actual::Nanos(ns) if *ns < 1e6 => format!("{:.1}us", ns / 1e3),
        Actual::Nanos(ns) if *ns < 1e10 => format!("{:.2}ms", ns / 1e6),
        Actual::Nanos(ns) => format!("{:.2}s", ns / 1e9),
        Actual::Failed => "a failed request".to_owned(),
        Actual::Share(share) => format!("{:.2}%", share * 100.0),
        Actual::Number(number) if number.fract() == 0.0 => format!("{number}"),
        Actual::Number(number) => format!("{number:.2}"),
        Actual::Money(money, currency) => format!("{money} {currency}"),
    }
}
