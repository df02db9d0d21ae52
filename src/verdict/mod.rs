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

/// How much was found, and on how much it was looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Kinds of findings.
    pub findings: u64,
    /// Answers, or pairs of them, that were looked at.
    pub of: u64,
    /// Those of which a part could not be.
    pub unread: u64,
}

/// What was found beside the bill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Departures from the protocol and from what the upstream wrote.
    pub conformance: BTreeMap<Endpoint, Looked>,
    /// Differences between the endpoints; `None` where there is one.
    pub parity: Option<Looked>,
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
    found: &Found,
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
                        found,
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
    found: &Found,
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
    let Some(actual) = actual(gate, endpoint, numbers, bill, found) else {
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
    let unread = match gate.subject {
        Subject::Number(Number::ConformanceFindings) => found
            .conformance
            .get(&endpoint)
            .map_or(0, |found| found.unread),
        Subject::Number(Number::ParityFindings) => found.parity.map_or(0, |found| found.unread),
        _ => 0,
    };
    if unread > 0 {
        let reason = format!("{unread} answers could not be checked in full");
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

/// A share of the tool calls that were returned.
fn share(part: u64, numbers: &EndpointSummary) -> Option<Actual> {
    let returned = numbers.tool_calls.returned;
    (returned > 0).then(|| Actual::Share(part as f64 / returned as f64))
}

fn actual(
    gate: &Gate,
    endpoint: Endpoint,
    numbers: &EndpointSummary,
    bill: Option<&EndpointBill>,
    found: &Found,
) -> Option<Actual> {
    match gate.subject {
        Subject::Latency(metric, statistic) => {
            let latency = numbers.latency(metric);
            // Where no request ever had it, failures alone say nothing about it.
            let optional = matches!(
                metric,
                Metric::Ttfr
                    | Metric::Ttfv
                    | Metric::TimeToFirstToolDelta
                    | Metric::TimeToToolCall
                    | Metric::TimeToAllToolCalls
            );
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
            Number::ToolCallsValid => share(numbers.tool_calls.valid_json, numbers),
            Number::ToolCallsFitting => share(numbers.tool_calls.fitting()?, numbers),
            Number::LoopsCompleted => numbers.loops.completed().map(Actual::Share),
            Number::ConformanceFindings => {
                let found = found.conformance.get(&endpoint)?;
                (found.of > 0).then_some(Actual::Number(found.findings as f64))
            }
            Number::ParityFindings => {
                let found = found.parity.filter(|found| found.of > 0)?;
                Some(Actual::Number(found.findings as f64))
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
mod tests;
