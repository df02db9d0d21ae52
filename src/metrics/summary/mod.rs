//! Everything that is summed up over records: per kind of request, per endpoint, per run.

use std::collections::BTreeMap;

use super::{
    CallTimes, Counts, Distribution, Exact, Limits, Loops, Metric, ToolCalls, UsageTotals,
};
use crate::endpoint::Endpoint;
use crate::record::{CallRecord, Class, Outcome, Phase, Record};
use crate::time::Window;

/// A kind of request: what it asks for, and how it wants the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// The class of its work.
    pub class: Class,
    /// Whether a stream was asked for.
    pub streaming: bool,
}

/// Everything that is summed up over the requests of one kind.
#[derive(Clone, Debug)]
pub struct KindSummary {
    /// Requests and attempts.
    pub counts: Counts,
    latencies: BTreeMap<Metric, Distribution>,
    /// Count, sum and extremes of the gaps between token-bearing events. Which of the logged gaps
    /// are of which kind is not known, so they have no quantiles.
    pub gaps: Distribution,
    /// Sums of the reported token counts; `None` where none was reported.
    pub usage: UsageTotals,
}

impl KindSummary {
    fn new() -> Self {
        Self {
            counts: Counts::default(),
            latencies: Metric::ALL
                .into_iter()
                .filter(|m| m.is_of_a_request())
                .map(|m| (m, Distribution::of_nanos()))
                .collect(),
            gaps: Distribution::of_nanos(),
            usage: UsageTotals::default(),
        }
    }

    /// The distribution of a latency; `None` for those that have many samples a request, which are
    /// not told apart by kind.
    pub fn latency(&self, metric: Metric) -> Option<&Distribution> {
        self.latencies.get(&metric)
    }
}

/// Everything that is summed up over one endpoint's records.
#[derive(Clone, Debug)]
pub struct EndpointSummary {
    window: Window,
    /// Requests and attempts of the measured phase.
    pub counts: Counts,
    /// The same by kind, and what only adds up from there; kinds that occurred.
    pub kinds: BTreeMap<Kind, KindSummary>,
    icl: Distribution,
    time_to_tool_call: Distribution,
    /// Input tokens by our estimate, of requests whose usage is known.
    pub planned_input: Distribution,
    /// Input tokens as reported, cached ones included.
    pub achieved_input: Distribution,
    /// Output limits asked for, of chat requests whose usage is known.
    pub planned_output: Distribution,
    /// Output tokens of the same, as reported.
    pub achieved_output: Distribution,
    /// Tool calls of the measured phase's successful requests.
    pub tool_calls: ToolCalls,
    /// The same calls one by one.
    pub call_times: CallTimes,
    /// Sessions that may have several turns.
    pub loops: Loops,
    completed_in_window: u64,
    good_in_window: u64,
    token_events_in_window: u64,
    tokens_in_window: f64,
    tokens_known: bool,
    /// Successful requests completed in the window whose output tokens are not known.
    pub without_usage: u64,
    /// Measured requests completed after the window: the drain.
    pub drained: u64,
    /// Requests whose latency holds a connect.
    pub connected: u64,
    /// Oddities by name, over all measured attempts.
    pub oddities: BTreeMap<String, u64>,
    /// Error texts of failed attempts, the most frequent kinds kept: text -> count.
    pub errors: BTreeMap<String, u64>,
}

/// Distinct error texts that are kept; the rest is counted under one name.
const ERROR_TEXTS_MAX: usize = 20;

impl EndpointSummary {
    /// Nothing yet, over `window`.
    pub fn new(window: Window) -> Self {
        Self {
            window,
            counts: Counts::default(),
            kinds: BTreeMap::new(),
            icl: Distribution::of_nanos(),
            time_to_tool_call: Distribution::of_nanos(),
            planned_input: Distribution::of_counts(),
            achieved_input: Distribution::of_counts(),
            planned_output: Distribution::of_counts(),
            achieved_output: Distribution::of_counts(),
            tool_calls: ToolCalls::default(),
            call_times: CallTimes::new(),
            loops: Loops::new(),
            completed_in_window: 0,
            good_in_window: 0,
            token_events_in_window: 0,
            tokens_in_window: 0.0,
            tokens_known: false,
            without_usage: 0,
            drained: 0,
            connected: 0,
            oddities: BTreeMap::new(),
            errors: BTreeMap::new(),
        }
    }

    /// Folds in one attempt.
    pub fn add(&mut self, record: &Record, limits: &Limits) {
        if record.phase == Phase::Preflight {
            return;
        }
        self.add_to_rates(record, limits);
        if record.phase != Phase::Measured {
            return;
        }
        self.counts.add(record);
        self.loops.add(record);
        self.connected += u64::from(record.last && record.connected);
        for (name, count) in &record.oddities {
            *self.oddities.entry(name.clone()).or_default() += count;
        }
        // A refusal is known by its status, whatever its body says; it may say nothing.
        let refusal = record.status.filter(|status| !(200..300).contains(status));
        let text = match (refusal, &record.error) {
            (Some(status), Some(error)) => Some(format!("{status} {error}")),
            (Some(status), None) => Some(status.to_string()),
            // What the workload did on purpose is no error.
            (None, _) if record.outcome == Outcome::Cancelled => None,
            (None, error) => error.clone(),
        };
        if let Some(text) = text {
            let full = self.errors.len() >= ERROR_TEXTS_MAX && !self.errors.contains_key(&text);
            let text = if full {
                "other errors".to_owned()
            } else {
                text
            };
            *self.errors.entry(text).or_default() += 1;
        }
        let gaps = Exact {
            count: record.counts.gap_count,
            sum: record.counts.gap_sum_ns,
            min: record.counts.gap_min_ns,
            max: record.counts.gap_max_ns,
        };
        self.icl.add_exact(gaps);
        let kind = Kind {
            class: record.class,
            streaming: record.streaming,
        };
        let of_kind = self.kinds.entry(kind).or_insert_with(KindSummary::new);
        of_kind.counts.add(record);
        of_kind.gaps.add_exact(gaps);
        of_kind.usage.add(record);
        for (metric, distribution) in &mut of_kind.latencies {
            // How late we sent is true of every request that was sent, however it ended.
            if *metric == Metric::ScheduleLag {
                if let Some(ns) = metric.sample(record) {
                    distribution.record(ns);
                }
            } else if record.last {
                metric.put(record, distribution);
            }
        }
        if record.last {
            Metric::TimeToToolCall.put(record, &mut self.time_to_tool_call);
        }
        if record.outcome == Outcome::Ok {
            self.add_sizes(record);
            self.tool_calls.add(record);
        }
    }

    /// Folds in one tool call.
    pub fn add_call(&mut self, call: &CallRecord) {
        if call.phase != Phase::Measured || call.outcome != Outcome::Ok {
            return;
        }
        self.tool_calls.unknown_name += u64::from(!call.offered);
        self.call_times.add(call);
        if let (Some(complete), Some(sent)) = (call.complete_ns, call.sent_ns) {
            self.time_to_tool_call.record(complete.nanos_since(sent));
        }
    }

    /// Folds in the histogram of the measured gaps, in ns; their exact numbers come with the
    /// records.
    pub fn add_gaps(&mut self, gaps: &hdrhistogram::Histogram<u64>) {
        self.icl.add_histogram(gaps, Exact::default());
    }

    fn add_to_rates(&mut self, record: &Record, limits: &Limits) {
        let counts = &record.counts;
        self.token_events_in_window += counts.window_token_events;
        let finished_inside = record.terminator.is_some_and(|at| self.window.contains(at));
        let output = record.final_usage().output;
        // However it ended: what it said in the window is a part of what was said there.
        let said = counts.window_token_events > 0;
        if output.is_none() && (said || (record.outcome == Outcome::Ok && finished_inside)) {
            self.without_usage += 1;
        }
        if let Some(output) = output {
            self.tokens_known = true;
            // Tokens are credited with the events that carried them, each at its own time.
            let inside = if counts.token_events > 0 {
                counts.window_token_events as f64 / counts.token_events as f64
            } else {
                f64::from(u8::from(finished_inside))
            };
            self.tokens_in_window += output as f64 * inside;
        }
        if record.outcome == Outcome::Ok
            && record.phase == Phase::Measured
            && record.terminator.is_some_and(|at| at > self.window.end_ns)
        {
            self.drained += 1;
        }
        if record.outcome == Outcome::Ok && finished_inside {
            self.completed_in_window += 1;
            self.good_in_window += u64::from(limits.met_by(record));
        }
    }

    fn add_sizes(&mut self, record: &Record) {
        let usage = &record.last_usage;
        if let Some(input) = usage.total_input(record.endpoint) {
            self.planned_input.record(record.planned_input);
            self.achieved_input.record(input);
        }
        // A limit is a plan only where the model is asked to fill it; calls end by themselves.
        if let (Some(limit), Some(output), Class::Chat) =
            (record.output_limit, usage.output, record.class)
        {
            self.planned_output.record(limit);
            self.achieved_output.record(output);
        }
    }

    /// The distribution of a latency, over every kind of request.
    pub fn latency(&self, metric: Metric) -> Distribution {
        match metric {
            Metric::Icl => self.icl.clone(),
            Metric::TimeToToolCall => self.time_to_tool_call.clone(),
            _ => {
                let mut all = Distribution::of_nanos();
                for of_kind in self.kinds.values() {
                    all.merge(&of_kind.latencies[&metric]);
                }
                all
            }
        }
    }

    /// Sums of the reported token counts; `None` where none was reported.
    pub fn usage(&self) -> UsageTotals {
        let mut all = UsageTotals::default();
        for of_kind in self.kinds.values() {
            all.merge(&of_kind.usage);
        }
        all
    }

    /// The first sum that does not hold, in words: the requests of each kind, and of all kinds
    /// together, are those of their outcomes.
    pub fn broken_sum(&self) -> Option<String> {
        let mut all = Counts::default();
        for (kind, of_kind) in &self.kinds {
            if let Some(broken) = of_kind.counts.broken_sum() {
                return Some(format!("{kind:?}: {broken}"));
            }
            all.merge(&of_kind.counts);
        }
        self.counts.broken_sum().or_else(|| {
            (all != self.counts).then(|| {
                format!(
                    "{} requests and {} attempts, but {} and {} over all kinds",
                    self.counts.planned, self.counts.attempts, all.planned, all.attempts
                )
            })
        })
    }

    /// Share of the requests that came due and neither succeeded nor were cut or cancelled by the
    /// harness; dropped ones count as errors. `None` if none came due.
    pub fn error_rate(&self) -> Option<f64> {
        let errors = self.counts.failed + self.counts.dropped;
        (self.counts.planned > 0).then(|| errors as f64 / self.counts.planned as f64)
    }

    /// The measured window.
    pub const fn window(&self) -> Window {
        self.window
    }

    /// Successful requests completed in the window, per second.
    pub fn requests_per_s(&self) -> Option<f64> {
        Some(self.completed_in_window as f64 / self.window.seconds()?)
    }

    /// Successful requests completed in the window that met every limit, per second.
    pub fn goodput_per_s(&self) -> Option<f64> {
        Some(self.good_in_window as f64 / self.window.seconds()?)
    }

    /// Reported output tokens in the window, per second; `None` if any answer in it has no usage:
    /// a sum that lacks a part is not the rate.
    pub fn output_tokens_per_s(&self) -> Option<f64> {
        if !self.tokens_known || self.without_usage > 0 {
            return None;
        }
        Some(self.tokens_in_window / self.window.seconds()?)
    }

    /// Token-bearing events in the window, per second.
    pub fn events_per_s(&self) -> Option<f64> {
        Some(self.token_events_in_window as f64 / self.window.seconds()?)
    }
}

/// The summary of a run, per endpoint.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// One for each endpoint that was planned.
    pub endpoints: BTreeMap<Endpoint, EndpointSummary>,
}

impl Summary {
    /// Nothing yet, over these windows.
    pub fn new(windows: &BTreeMap<Endpoint, Window>) -> Self {
        Self {
            endpoints: windows
                .iter()
                .map(|(e, w)| (*e, EndpointSummary::new(*w)))
                .collect(),
        }
    }

    /// Folds in one attempt; one of an endpoint that was not planned is a broken invariant.
    pub fn add(&mut self, record: &Record, limits: &Limits) {
        self.endpoints
            .get_mut(&record.endpoint)
            .expect("records are of planned endpoints")
            .add(record, limits);
    }
}

#[cfg(test)]
mod tests;
