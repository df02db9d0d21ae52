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

/// The quantile that lag, stalls and waits are judged at where no gate names a higher one.
const QUANTILE_DEFAULT: f64 = 0.95;

/// A wall clock that moves more than this against the monotonic one within a second has jumped, in
/// ns: corrections by a time service are far slower.
const CLOCK_JUMP_NS: i64 = 100_000_000;

/// What the harness knows of its own health, folded from its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    cpu_max: Option<f64>,
    cpu_ns: u64,
    stalls: u64,
    stalled_ns: u64,
    intervals_ns: u64,
    waited: Share,
    turns: u64,
    waited_max: Option<f64>,
    throttled: Share,
    /// Requests that waited for room in the budget.
    budget_waits: u64,
    /// The largest step of the wall clock in either direction, in ns.
    jump_ahead_ns: Option<i64>,
    jump_back_ns: Option<i64>,
}

/// A part of the workers' time, over the intervals of which it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Share {
    part_ns: u64,
    of_ns: u64,
}

impl Share {
    fn add(&mut self, part_ns: Option<u64>, of_ns: u64) {
        if let Some(part_ns) = part_ns {
            self.part_ns = self.part_ns.saturating_add(part_ns);
            self.of_ns += of_ns;
        }
    }

    fn value(self) -> Option<f64> {
        (self.of_ns > 0).then(|| self.part_ns as f64 / self.of_ns as f64)
    }
}

impl Evidence {
    /// No row yet, of a run in which so many requests of a closed loop waited for room in the budget.
    pub fn new(budget_waits: u64) -> Self {
        Self {
            budget_waits,
            ..Self::default()
        }
    }

    /// Folds in a row.
    pub fn add(&mut self, row: &Health) {
        fn raise(max: &mut Option<f64>, value: f64) {
            *max = Some(max.map_or(value, |max| max.max(value)));
        }
        let interval = row.interval_ns as f64;
        if row.interval_ns >= INTERVAL_MIN_NS {
            raise(&mut self.cpu_max, row.cpu_ns as f64 / interval);
            if let Some(waited) = row.waited_ns {
                raise(&mut self.waited_max, waited as f64 / interval);
            }
        }
        self.cpu_ns += row.cpu_ns;
        self.stalls += row.stalls;
        self.stalled_ns += row.stalled_ns;
        self.intervals_ns += row.interval_ns;
        self.waited.add(row.waited_ns, row.interval_ns);
        self.turns += row.turns.unwrap_or(0);
        self.throttled.add(row.throttled_ns, row.interval_ns);
        if let Some(drift) = row.drift_ns {
            self.jump_ahead_ns = Some(self.jump_ahead_ns.map_or(drift, |max| max.max(drift)));
            self.jump_back_ns = Some(self.jump_back_ns.map_or(drift, |min| min.min(drift)));
        }
    }

    /// CPU of the workers' threads over all their time; `None` without rows.
    pub fn cpu_utilization(&self) -> Option<f64> {
        (self.intervals_ns > 0).then(|| self.cpu_ns as f64 / self.intervals_ns as f64)
    }

    /// The largest step of the wall clock, ahead or back.
    fn clock_jump_ns(&self) -> Option<i64> {
        let (ahead, back) = (self.jump_ahead_ns?, self.jump_back_ns?);
        Some(if ahead.unsigned_abs() >= back.unsigned_abs() {
            ahead
        } else {
            back
        })
    }

    /// What was wrong with the machine, in words; `quantile` is the highest gated one, and what is
    /// late by no more than `lag_allowed_ns` is on time.
    fn reasons(&self, quantile: f64, lag_allowed_ns: f64) -> Vec<String> {
        let tail = 1.0 - quantile;
        let mut reasons = Vec::new();
        if let Some(cpu) = self.cpu_max.filter(|cpu| *cpu > CPU_MAX) {
            reasons.push(format!(
                "a worker used {:.0} % of its core in one second; lower the load, or give the harness more cores",
                cpu * 100.0
            ));
        }
        // A stall delays what is in flight and never speeds it up, so it cannot make a gate pass.
        // It can spoil a quantile once it covers a good part of the tail that the quantile looks at.
        let stalled = self.stalled_ns as f64 / self.intervals_ns.max(1) as f64;
        if stalled > tail / 2.0 {
            reasons.push(format!(
                "the harness stood still {} times, {:.0} ms in all; keep other work off the machine",
                self.stalls,
                self.stalled_ns as f64 / 1e6
            ));
        }
        // A wait in the run queue is short, a few ms of a scheduler's turn at most, where a stall is
        // long. Of stamps that fall at random, the share that lies in one is the waits' share of the
        // time: a quantile is touched once that is all of its tail. And by no more than a wait's
        // length: thousands of waits of some us are what waking up costs, and change no quantile.
        let each_ns = self.waited.part_ns as f64 / self.turns.max(1) as f64;
        if let Some(waited) = self.waited.value().filter(|share| *share > tail)
            && each_ns > lag_allowed_ns
        {
            reasons.push(format!(
                "the harness waited {:.1} % of its time for a core, {:.1} ms each time; keep other work off the machine, or give it more cores",
                waited * 100.0,
                each_ns / 1e6
            ));
        }
        // Throttling stops the process for a good part of 100 ms: a stall by another name.
        if let Some(throttled) = self.throttled.value().filter(|share| *share > tail / 2.0) {
            reasons.push(format!(
                "the container's CPU limit held the harness up for {:.1} % of its time; raise the limit",
                throttled * 100.0
            ));
        }
        // A machine that sleeps stops the monotonic clock while the target goes on: latencies come
        // out too short. From inside, that looks like a clock set ahead.
        if let Some(jump) = self.jump_ahead_ns.filter(|ns| *ns > CLOCK_JUMP_NS) {
            reasons.push(format!(
                "the wall clock leapt ahead by {:.3} s, as after a sleep of the machine; keep it awake, and set its clock before the run",
                jump as f64 / 1e9
            ));
        }
        reasons
    }
}

/// Whether the run's claims about time can be believed.
#[derive(Clone, Debug)]
pub struct Validity {
    /// Whether they can.
    pub valid: bool,
    /// If not, why, and what to do.
    pub reasons: Vec<String>,
    /// What casts doubt on something else.
    pub warnings: Vec<String>,
    /// How late requests were sent, over all endpoints; open loop only.
    pub schedule_lag: Distribution,
    /// CPU of the workers' threads, as a share of their time.
    pub cpu_utilization: Option<f64>,
    /// The same of the worst worker-second.
    pub cpu_utilization_max: Option<f64>,
    /// How long workers were ready to run and did not, as a share of their time.
    pub run_queue_wait: Option<f64>,
    /// The same of the worst worker-second.
    pub run_queue_wait_max: Option<f64>,
    /// How long a CPU limit held the process up, as a share of the time.
    pub throttled: Option<f64>,
    /// Heartbeats of workers that came late.
    pub stalls: u64,
    /// By how much, together, in ns.
    pub stalled_ns: u64,
    /// The largest step of the wall clock against the monotonic one in a second, in ns.
    pub clock_jump_ns: Option<i64>,
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
    let (mut dropped, mut planned, mut sent, mut over_range) = (0, 0, 0, 0);
    for endpoint in summary.endpoints.values() {
        schedule_lag.merge(&endpoint.latency(Metric::ScheduleLag));
        dropped += endpoint.counts.dropped;
        planned += endpoint.counts.planned;
        sent += endpoint.counts.sent;
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
    reasons.extend(evidence.reasons(quantile, lag_allowed));
    if evidence.budget_waits > 0 {
        reasons.push(format!(
            "{} requests waited for room in the budget, so that fewer were in flight than the load says; raise the budget",
            evidence.budget_waits
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
    if dropped == 0 && (sent as f64) < 0.99 * planned as f64 {
        reasons.push(format!(
            "only {sent} of {planned} planned requests were sent; let the run come to its end"
        ));
    }
    if over_range > 0 {
        reasons.push(format!(
            "{over_range} times were longer than an hour and are counted as over; set `target.timeouts.total` below that"
        ));
    }
    let warnings = evidence
        .jump_back_ns
        .filter(|ns| *ns < -CLOCK_JUMP_NS)
        .map(|ns| {
            format!(
                "the wall clock was set back by {:.3} s during the run: UTC times, and the dates that prices are looked up at, are in doubt; latencies are not",
                -ns as f64 / 1e9
            )
        });
    Validity {
        valid: reasons.is_empty(),
        reasons,
        warnings: warnings.into_iter().collect(),
        schedule_lag,
        cpu_utilization: evidence.cpu_utilization(),
        cpu_utilization_max: evidence.cpu_max,
        run_queue_wait: evidence.waited.value(),
        run_queue_wait_max: evidence.waited_max,
        throttled: evidence.throttled.value(),
        stalls: evidence.stalls,
        stalled_ns: evidence.stalled_ns,
        clock_jump_ns: evidence.clock_jump_ns(),
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
