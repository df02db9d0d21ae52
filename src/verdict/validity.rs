//! Whether the harness itself was the bottleneck, in words and with the remedy.

use super::gate::{Gate, Limit, Number, Statistic, Subject};
use crate::metrics::{Distribution, Limits, Metric, Summary};
use crate::record::{Health, Outcome};

/// A worker-second with more CPU than this had no room left to be on time.
const CPU_MAX: f64 = 0.9;

/// Intervals shorter than this say little about a second: the last row of a run is one.
const INTERVAL_MIN_NS: u64 = 500_000_000;

/// Lag that is never held against a run, in ns.
const LAG_FLOOR_NS: f64 = 1e6;

/// The quantile that lag and stalls are judged at where no gate names a higher one.
const QUANTILE_DEFAULT: f64 = 0.95;

/// What the harness knows of its own health, folded from its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    cpu_max: Option<f64>,
    cpu_ns: u64,
    stalls: u64,
    stalled_ns: u64,
    intervals_ns: u64,
}

impl Evidence {
    /// Folds in a row.
    pub fn add(&mut self, row: &Health) {
        if row.interval_ns >= INTERVAL_MIN_NS {
            let cpu = row.cpu_ns as f64 / row.interval_ns as f64;
            self.cpu_max = Some(self.cpu_max.map_or(cpu, |max| max.max(cpu)));
        }
        self.cpu_ns += row.cpu_ns;
        self.stalls += row.stalls;
        self.stalled_ns += row.stalled_ns;
        self.intervals_ns += row.interval_ns;
    }

    /// CPU of the workers' threads over all their time; `None` without rows.
    pub fn cpu_utilization(&self) -> Option<f64> {
        (self.intervals_ns > 0).then(|| self.cpu_ns as f64 / self.intervals_ns as f64)
    }
}

/// Whether the run's claims about time can be believed.
#[derive(Clone, Debug)]
pub struct Validity {
    /// Whether they can.
    pub valid: bool,
    /// If not, why, and what to do.
    pub reasons: Vec<String>,
    /// How late requests were sent, over all endpoints; open loop only.
    pub schedule_lag: Distribution,
    /// CPU of the workers' threads, as a share of their time.
    pub cpu_utilization: Option<f64>,
    /// Arrivals that were not sent.
    pub dropped: u64,
}

/// Judges the harness.
pub fn validity(
    gates: &[Gate],
    limits: Option<&Limits>,
    summary: &Summary,
    evidence: &Evidence,
) -> Validity {
    let quantile = highest_gated_quantile(gates);
    let mut reasons = Vec::new();
    let mut schedule_lag = Distribution::of_nanos();
    let (mut dropped, mut planned, mut attempts, mut over_range) = (0, 0, 0, 0);
    for endpoint in summary.endpoints.values() {
        schedule_lag.merge(endpoint.latency(Metric::ScheduleLag));
        dropped += endpoint.outcome(Outcome::Dropped);
        planned += endpoint.planned;
        attempts += endpoint.attempts;
        over_range += Metric::ALL
            .map(|m| endpoint.latency(m).over_range())
            .iter()
            .sum::<u64>();
    }

    let lag_allowed =
        tightest_limit_ns(gates, limits).map_or(LAG_FLOOR_NS, |ns| (ns / 100.0).max(LAG_FLOOR_NS));
    if let Some(lag) = schedule_lag.quantile(quantile)
        && lag as f64 > lag_allowed
    {
        reasons.push(format!(
            "requests were sent late: schedule lag p{} is {:.2} ms, more than {:.2} ms; lower the rate, or run on a machine with a free core",
            quantile * 100.0,
            lag as f64 / 1e6,
            lag_allowed / 1e6
        ));
    }
    if let Some(cpu) = evidence.cpu_max.filter(|cpu| *cpu > CPU_MAX) {
        reasons.push(format!(
            "a worker used {:.0} % of its core in one second; lower the load, or give the harness more cores",
            cpu * 100.0
        ));
    }
    // A stall delays what is in flight and never speeds it up, so it cannot make a gate pass. It
    // can spoil a quantile once it covers a good part of the tail that the quantile looks at.
    let stalled = evidence.stalled_ns as f64 / evidence.intervals_ns.max(1) as f64;
    if stalled > (1.0 - quantile) / 2.0 {
        reasons.push(format!(
            "the harness stood still {} times, {:.0} ms in all; keep other work off the machine",
            evidence.stalls,
            evidence.stalled_ns as f64 / 1e6
        ));
    }
    let drops_gated = gates.iter().any(|gate| {
        matches!(
            gate.subject,
            Subject::Number(Number::Outcome(Outcome::Dropped))
        )
    });
    if dropped > 0 && !drops_gated {
        reasons.push(format!(
            "{dropped} of {planned} requests came due and were not sent; raise `load.max_in_flight` or the budget, lower the load, or gate on `outcomes.dropped`"
        ));
    }
    if dropped == 0 && (attempts as f64) < 0.99 * planned as f64 {
        reasons.push(format!(
            "only {attempts} of {planned} planned requests were sent"
        ));
    }
    if over_range > 0 {
        reasons.push(format!(
            "{over_range} times were longer than an hour and are counted as over"
        ));
    }
    Validity {
        valid: reasons.is_empty(),
        reasons,
        schedule_lag,
        cpu_utilization: evidence.cpu_utilization(),
        dropped,
    }
}

fn highest_gated_quantile(gates: &[Gate]) -> f64 {
    gates
        .iter()
        .filter_map(|gate| match gate.subject {
            Subject::Latency(_, Statistic::Quantile(q)) => Some(q),
            _ => None,
        })
        .fold(None, |max: Option<f64>, q| {
            Some(max.map_or(q, |m| m.max(q)))
        })
        .unwrap_or(QUANTILE_DEFAULT)
}

fn tightest_limit_ns(gates: &[Gate], limits: Option<&Limits>) -> Option<f64> {
    let by_gates = gates.iter().filter_map(|gate| match gate.limit {
        Limit::Nanos(ns) => Some(ns),
        _ => None,
    });
    let by_limits = limits
        .iter()
        .flat_map(|l| l.0.iter())
        .map(|(_, limit)| limit.as_nanos() as f64);
    by_gates.chain(by_limits).reduce(f64::min)
}
