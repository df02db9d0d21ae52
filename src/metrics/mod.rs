//! Records -> summary: every metric of a run, per endpoint and kind of request, mergeable.
//!
//! A metric is defined once, in [`Metric::sample`]. Quantiles are kept of successful requests; a
//! failed one is counted beside them, and gates take both together, so that refusing work never
//! makes a gateway look faster. A request that the harness cut is neither: what it had waited
//! bounds what it would have measured.
//!
//! A request is counted by the outcome of its last attempt, and its latencies are that attempt's;
//! attempts that were retried show in the counts of attempts, outcomes, tokens and costs.

mod distribution;
mod series;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::record::{CallRecord, Class, Outcome, OutcomeGroup, Phase, Record};
use crate::time::{Offset, Window};

pub use distribution::{Bounds, Distribution, Exact, NANOS_MAX, gap_histogram};
pub use series::{Load, Point, Series};

/// A latency that is reported as a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Time to first token.
    Ttft,
    /// Time to first reasoning token.
    Ttfr,
    /// Time to first visible token.
    Ttfv,
    /// Time to first token, from when the request was due.
    TtftFromDue,
    /// Time to first body byte.
    Ttfb,
    /// Inter-chunk latency: gaps between successive token-bearing events, all of them, those of
    /// streams that failed later included.
    Icl,
    /// Time per output token after the first.
    Tpot,
    /// End to end.
    E2e,
    /// End to end, from when the request was due: attempts that were retried, and the waits
    /// between them, included.
    E2eFromDue,
    /// Time to a complete tool call; one sample a call.
    TimeToToolCall,
    /// How late the harness sent.
    ScheduleLag,
}

impl Metric {
    /// Every metric, in the order in which reports show them.
    pub const ALL: [Self; 11] = [
        Self::Ttft,
        Self::Ttfr,
        Self::Ttfv,
        Self::TtftFromDue,
        Self::Ttfb,
        Self::Icl,
        Self::Tpot,
        Self::E2e,
        Self::E2eFromDue,
        Self::TimeToToolCall,
        Self::ScheduleLag,
    ];

    /// The name in scenario files, gates and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Ttfr => "ttfr",
            Self::Ttfv => "ttfv",
            Self::TtftFromDue => "ttft_from_due",
            Self::Ttfb => "ttfb",
            Self::Icl => "icl",
            Self::Tpot => "tpot",
            Self::E2e => "e2e",
            Self::E2eFromDue => "e2e_from_due",
            Self::TimeToToolCall => "time_to_tool_call",
            Self::ScheduleLag => "schedule_lag",
        }
    }

    /// The metric of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }

    /// Its value for one attempt, in ns: the definition of every metric that is a request's.
    /// `None` where the attempt has none, and for the metrics that have many samples a request
    /// ([`Metric::Icl`], [`Metric::TimeToToolCall`]).
    pub fn sample(self, record: &Record) -> Option<u64> {
        let since = |at: Option<Offset>, from: Option<Offset>| Some(at?.nanos_since(from?));
        match self {
            Self::Ttft => since(record.first_token, record.sent),
            Self::Ttfr => since(record.first_reasoning, record.sent),
            Self::Ttfv => since(record.first_visible, record.sent),
            Self::TtftFromDue => since(record.first_token, record.due),
            Self::Ttfb => since(record.first_byte, record.sent),
            Self::E2e => since(record.terminator, record.sent),
            Self::E2eFromDue => since(record.terminator, record.due),
            // A retry leaves late on purpose.
            Self::ScheduleLag if record.attempt > 0 => None,
            Self::ScheduleLag => since(record.sent, record.due),
            Self::Tpot => time_per_output_token(record),
            Self::Icl | Self::TimeToToolCall => None,
        }
    }

    const fn is_first_token(self) -> bool {
        matches!(self, Self::Ttft | Self::TtftFromDue)
    }

    /// Whether an attempt that failed should have had this metric, and so counts as over any
    /// limit on it.
    fn expected_of(self, record: &Record) -> bool {
        match self {
            Self::Ttft | Self::Tpot | Self::Ttfr | Self::Ttfv => record.streaming,
            Self::TtftFromDue => record.streaming && record.due.is_some(),
            Self::Ttfb | Self::E2e => true,
            Self::E2eFromDue => record.due.is_some(),
            Self::TimeToToolCall => record.streaming && record.class == Class::Tools,
            Self::Icl | Self::ScheduleLag => false,
        }
    }

    /// What this metric would at least have been for a request that was cut before it had it.
    fn at_least(self, record: &Record) -> u64 {
        let from = match self {
            // How slow the tokens after the first would have been, nobody knows.
            Self::Tpot => None,
            Self::TtftFromDue | Self::E2eFromDue => record.due,
            _ => record.sent,
        };
        record
            .ended
            .zip(from)
            .map_or(0, |(ended, from)| ended.nanos_since(from))
    }

    /// Whether a request has one value of it at most, which stands in its row.
    const fn is_of_a_request(self) -> bool {
        !matches!(self, Self::Icl | Self::TimeToToolCall)
    }

    /// Puts into `distribution` what a request of this outcome has to say of this metric.
    fn put(self, record: &Record, distribution: &mut Distribution) {
        match record.outcome.group() {
            OutcomeGroup::Ok => match self.sample(record) {
                Some(ns) => distribution.record(ns),
                // A stream that was asked for, had something to say, and came as a whole body.
                None if self.is_first_token()
                    && self.expected_of(record)
                    && record.counts.token_events > 0 =>
                {
                    distribution.record_missing();
                }
                None => {}
            },
            // The workload hung up: what it did not wait for says nothing.
            OutcomeGroup::Cancelled => {}
            _ if !self.expected_of(record) => {}
            OutcomeGroup::Failed | OutcomeGroup::Dropped => distribution.record_failure(),
            OutcomeGroup::Cut => match self.sample(record) {
                Some(ns) => distribution.record_cut(ns),
                None => distribution.record_censored(self.at_least(record)),
            },
        }
    }
}

/// `(last token event - first token event) / (n - 1)`, where n is the reported output tokens, less
/// reasoning tokens where reasoning was reported but not streamed. It needs n >= 2 and token
/// events in at least two batches: tokens that came in one batch say nothing about their pace.
fn time_per_output_token(record: &Record) -> Option<u64> {
    let output = record.last_usage.output?;
    let unseen = if record.counts.reasoning_events == 0 {
        record.last_usage.reasoning.unwrap_or(0)
    } else {
        0
    };
    let tokens = output.checked_sub(unseen)?;
    if tokens < 2 || record.counts.token_batches < 2 {
        return None;
    }
    Some(record.last_token?.nanos_since(record.first_token?) / (tokens - 1))
}

/// Upper limits that a request must meet to count as goodput.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits(pub Vec<(Metric, Duration)>);

impl Limits {
    /// Whether a successful request meets every limit. A metric that it does not have (`ttfv` of a
    /// turn of tool calls, `ttft` of a whole body) is not held against it.
    fn met_by(&self, record: &Record) -> bool {
        self.0.iter().all(|(metric, limit)| {
            metric
                .sample(record)
                .is_none_or(|ns| Duration::from_nanos(ns) <= *limit)
        })
    }
}

/// Requests and attempts of the measured phase, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests whose last attempt is known; they add up of those by outcome group.
    pub planned: u64,
    /// Of them, those that succeeded.
    pub ok: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were not sent.
    pub dropped: u64,
    /// Those that the harness cut.
    pub cut: u64,
    /// Those that were hung up on purpose.
    pub cancelled: u64,
    /// Requests whose first attempt is known.
    pub begun: u64,
    /// Of them, those whose first attempt was sent.
    pub sent: u64,
    /// Attempts that were sent.
    pub attempts: u64,
    /// Attempts that were never sent.
    pub unsent: u64,
    outcomes: BTreeMap<Outcome, u64>,
}

impl Counts {
    fn add(&mut self, record: &Record) {
        let sent = record.sent.is_some();
        self.begun += u64::from(record.attempt == 0);
        self.sent += u64::from(record.attempt == 0 && sent);
        self.attempts += u64::from(sent);
        self.unsent += u64::from(!sent);
        *self.outcomes.entry(record.outcome).or_default() += 1;
        if record.last {
            self.planned += 1;
            *self.group_mut(record.outcome.group()) += 1;
        }
    }

    fn group_mut(&mut self, group: OutcomeGroup) -> &mut u64 {
        match group {
            OutcomeGroup::Ok => &mut self.ok,
            OutcomeGroup::Failed => &mut self.failed,
            OutcomeGroup::Dropped => &mut self.dropped,
            OutcomeGroup::Cut => &mut self.cut,
            OutcomeGroup::Cancelled => &mut self.cancelled,
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            planned,
            ok,
            failed,
            dropped,
            cut,
            cancelled,
            begun,
            sent,
            attempts,
            unsent,
            outcomes,
        } = other;
        self.planned += planned;
        self.ok += ok;
        self.failed += failed;
        self.dropped += dropped;
        self.cut += cut;
        self.cancelled += cancelled;
        self.begun += begun;
        self.sent += sent;
        self.attempts += attempts;
        self.unsent += unsent;
        for (outcome, n) in outcomes {
            *self.outcomes.entry(*outcome).or_default() += n;
        }
    }

    /// Attempts of this outcome, those that were retried included.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    /// The sum that does not hold, in words.
    fn broken_sum(&self) -> Option<String> {
        let parts = self.ok + self.failed + self.dropped + self.cut + self.cancelled;
        if self.planned != parts {
            return Some(format!(
                "{} planned, but {} ok + {} failed + {} dropped + {} cut + {} cancelled",
                self.planned, self.ok, self.failed, self.dropped, self.cut, self.cancelled
            ));
        }
        let rows: u64 = self.outcomes.values().sum();
        (rows != self.attempts + self.unsent).then(|| {
            format!(
                "{rows} outcomes, but {} attempts sent and {} not sent",
                self.attempts, self.unsent
            )
        })
    }
}

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

/// Sums of token counts in one meaning for both endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTotals {
    /// All input tokens, cached ones included.
    pub input: Option<u64>,
    /// Input tokens read from a cache.
    pub cache_read: Option<u64>,
    /// Input tokens written to a cache.
    pub cache_write: Option<u64>,
    /// All output tokens.
    pub output: Option<u64>,
    /// Output tokens that are reasoning.
    pub reasoning: Option<u64>,
}

impl UsageTotals {
    /// Adds what an attempt reported, failed and retried ones included: they may be billed.
    fn add(&mut self, record: &Record) {
        let usage = &record.final_usage();
        self.merge(&Self {
            input: usage.total_input(record.endpoint),
            cache_read: usage.cache_read,
            cache_write: usage.cache_write,
            output: usage.output,
            reasoning: usage.reasoning,
        });
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (total, count) in [
            (&mut self.input, other.input),
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_write, other.cache_write),
            (&mut self.output, other.output),
            (&mut self.reasoning, other.reasoning),
        ] {
            if let Some(count) = count {
                // Counts come from outside and may be nonsense.
                *total = Some(total.unwrap_or(0).saturating_add(count));
            }
        }
    }
}

/// Tool calls, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolCalls {
    /// Calls in answers.
    pub returned: u64,
    /// Those whose arguments are one complete JSON object.
    pub valid_json: u64,
    /// Those whose name the request did not offer.
    pub unknown_name: u64,
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
            self.tool_calls.returned += u64::from(record.counts.calls);
            self.tool_calls.valid_json += u64::from(record.counts.calls_valid);
        }
    }

    /// Folds in one tool call.
    pub fn add_call(&mut self, call: &CallRecord) {
        if call.phase != Phase::Measured || call.outcome != Outcome::Ok {
            return;
        }
        self.tool_calls.unknown_name += u64::from(!call.offered);
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
mod tests {
    use super::*;
    use crate::usage::Usage;

    fn at(ms: u64) -> Offset {
        Offset::from_nanos(ms * 1_000_000)
    }

    fn window() -> Window {
        Window {
            start_ns: at(1_000),
            end_ns: at(3_000),
        }
    }

    /// A streamed success: sent, first token, last token and terminator at these milliseconds.
    fn ok(sent: u64, first: u64, last: u64, end: u64) -> Record {
        let mut record = Record::new(
            "0".repeat(32),
            Phase::Measured,
            Endpoint::OpenAi,
            Class::Chat,
        );
        record.streaming = true;
        record.outcome = Outcome::Ok;
        record.sent = Some(at(sent));
        record.first_byte = Some(at(first));
        record.first_token = Some(at(first));
        record.first_visible = Some(at(first));
        record.last_token = Some(at(last));
        record.terminator = Some(at(end));
        record.counts.token_events = 10;
        record.counts.token_batches = 10;
        record.counts.window_token_events = 10;
        record.last_usage = Usage {
            input: Some(100),
            output: Some(21),
            ..Usage::default()
        };
        record
    }

    fn summary(records: &[Record], limits: &Limits) -> EndpointSummary {
        let mut summary = EndpointSummary::new(window());
        for record in records {
            summary.add(record, limits);
        }
        summary
    }

    #[test]
    fn every_latency_by_its_definition() {
        let mut record = ok(1_005, 1_105, 1_505, 1_510);
        record.due = Some(at(1_000));
        let ms = |metric: Metric| metric.sample(&record).map(|ns| ns / 1_000_000);
        assert_eq!(ms(Metric::Ttft), Some(100));
        assert_eq!(ms(Metric::TtftFromDue), Some(105));
        assert_eq!(ms(Metric::Ttfr), None);
        assert_eq!(ms(Metric::Ttfv), Some(100));
        assert_eq!(ms(Metric::E2e), Some(505));
        assert_eq!(ms(Metric::E2eFromDue), Some(510));
        assert_eq!(ms(Metric::ScheduleLag), Some(5));
        assert_eq!(
            ms(Metric::Tpot),
            Some(20),
            "400 ms over 20 tokens after the first"
        );
    }

    #[test]
    fn tpot_needs_two_batches_and_leaves_out_reasoning_that_was_not_streamed() {
        let mut record = ok(0, 100, 500, 510);
        record.last_usage.reasoning = Some(11);
        assert_eq!(Metric::Tpot.sample(&record), Some(400_000_000 / 9));
        record.counts.reasoning_events = 5;
        assert_eq!(Metric::Tpot.sample(&record), Some(20_000_000));
        record.counts.token_batches = 1;
        assert_eq!(Metric::Tpot.sample(&record), None);
        record.counts.token_batches = 2;
        record.last_usage.output = None;
        assert_eq!(Metric::Tpot.sample(&record), None);
    }

    #[test]
    fn failures_are_beside_the_latencies_and_in_the_gated_quantiles() {
        let mut failed = ok(1_000, 1_001, 1_002, 1_003);
        failed.outcome = Outcome::RateLimited;
        let summary = summary(
            &[ok(1_000, 1_100, 1_200, 1_210), failed],
            &Limits::default(),
        );
        let ttft = summary.latency(Metric::Ttft);
        assert_eq!((ttft.count(), ttft.failed()), (1, 1));
        assert_eq!(ttft.inclusive_quantile(0.5), Some(Bounds::exactly(1e8)));
        assert_eq!(ttft.inclusive_quantile(0.95), Some(Bounds::FAILED));
        assert_eq!(summary.error_rate(), Some(0.5));
    }

    /// Cut at this millisecond, before anything of it had arrived.
    fn cut(sent: u64, at_ms: u64) -> Record {
        let mut record = ok(sent, 0, 0, 0);
        record.outcome = Outcome::Cut;
        (record.first_byte, record.first_token, record.first_visible) = (None, None, None);
        (record.last_token, record.terminator) = (None, None);
        record.last_usage = Usage::default();
        record.ended = Some(at(at_ms));
        record
    }

    #[test]
    fn a_cut_request_is_at_least_what_it_had_waited_and_keeps_what_it_had() {
        let mut before = cut(1_000, 1_700);
        before.due = Some(at(900));
        let mut after = cut(1_000, 1_900);
        after.first_token = Some(at(1_050));
        let mut hung_up = cut(1_000, 1_001);
        hung_up.outcome = Outcome::Cancelled;
        let records = [ok(1_000, 1_100, 1_200, 1_210), before, after, hung_up];
        let summary = summary(&records, &Limits::default());
        let at_most = |metric, q| summary.latency(metric).inclusive_quantile(q);
        // 50 (known), 100, and 700 or more.
        let ttft = summary.latency(Metric::Ttft);
        assert_eq!((ttft.count(), ttft.cut(), ttft.censored()), (1, 2, 1));
        let best = at_most(Metric::Ttft, 0.1).expect("three requests");
        assert!((best.low - 5e7).abs() < 1e5 && (best.high - 5e7).abs() < 1e5);
        assert_eq!(at_most(Metric::Ttft, 0.5), Some(Bounds::exactly(1e8)));
        let worst = at_most(Metric::Ttft, 0.99).expect("three requests");
        assert!((worst.low - 7e8).abs() < 1e6 && worst.high.is_infinite());
        let from_due = at_most(Metric::TtftFromDue, 0.5).expect("one request");
        assert!((from_due.low - 8e8).abs() < 1e6, "{from_due:?}");
        assert_eq!(
            at_most(Metric::Tpot, 0.99),
            Some(Bounds {
                low: 1e8 / 20.0,
                high: f64::INFINITY
            }),
            "the pace of tokens that never came is not known"
        );
        let counts = &summary.counts;
        assert_eq!((counts.cut, counts.cancelled, counts.planned), (2, 1, 4));
        assert_eq!(summary.error_rate(), Some(0.0));
    }

    #[test]
    fn a_request_that_was_retried_is_counted_by_its_last_attempt() {
        let mut first = ok(1_001, 0, 0, 0);
        (first.outcome, first.last) = (Outcome::RateLimited, false);
        (first.first_token, first.terminator) = (None, None);
        first.finish = Some("error".to_owned());
        let mut second = ok(1_500, 1_600, 1_700, 1_710);
        second.attempt = 1;
        for attempt in [&mut first, &mut second] {
            attempt.due = Some(at(1_000));
        }
        let retried = [first.clone(), second.clone()];
        let good = summary(&retried, &Limits::default());
        let counts = &good.counts;
        assert_eq!((counts.planned, counts.ok, counts.failed), (1, 1, 0));
        assert_eq!((counts.attempts, counts.sent, counts.begun), (2, 1, 1));
        assert_eq!(counts.outcome(Outcome::RateLimited), 1);
        assert_eq!((good.error_rate(), good.broken_sum()), (Some(0.0), None));
        let ttft = good.latency(Metric::Ttft);
        assert_eq!((ttft.inclusive_count(), ttft.max()), (1, Some(100_000_000)));
        let from_due = good.latency(Metric::TtftFromDue);
        assert_eq!(from_due.max(), Some(600_000_000), "with the wait between");
        let lag = good.latency(Metric::ScheduleLag);
        assert_eq!((lag.count(), lag.max()), (1, Some(1_000_000)));
        assert_eq!(good.usage().output, Some(42), "each attempt may be billed");

        second.outcome = Outcome::HttpError;
        let failed = summary(&[first.clone(), second], &Limits::default());
        assert_eq!((failed.counts.planned, failed.counts.failed), (1, 1));
        assert_eq!(failed.latency(Metric::Ttft).failed(), 1);

        // Of a run that was killed before the second attempt ended.
        let torn = summary(&[first], &Limits::default());
        assert_eq!((torn.counts.begun, torn.counts.planned), (1, 0));
    }

    #[test]
    fn kinds_add_up_to_their_endpoint() {
        let mut whole = ok(1_000, 1_300, 1_300, 1_300);
        whole.streaming = false;
        whole.first_token = None;
        let mut tools = ok(1_000, 1_200, 1_250, 1_260);
        tools.class = Class::Tools;
        let mut failed = tools.clone();
        failed.outcome = Outcome::Reset;
        let records = [ok(1_000, 1_100, 1_200, 1_210), whole, tools, failed];
        let mut summary = summary(&records, &Limits::default());
        assert_eq!(summary.broken_sum(), None);
        let kind = |class, streaming| &summary.kinds[&Kind { class, streaming }];
        assert_eq!(summary.kinds.len(), 3);
        assert_eq!(kind(Class::Tools, true).counts.planned, 2);
        let ttft = |class, streaming| kind(class, streaming).latency(Metric::Ttft);
        assert_eq!(ttft(Class::Chat, false).map(Distribution::count), Some(0));
        assert_eq!(
            ttft(Class::Tools, true).map(|d| (d.count(), d.failed())),
            Some((1, 1))
        );
        assert_eq!(summary.latency(Metric::E2e).count(), 3);
        assert_eq!(summary.latency(Metric::E2e).failed(), 1);
        assert_eq!(summary.usage().output, Some(84));

        summary.counts.ok += 1;
        let broken = summary.broken_sum().expect("one too many");
        assert!(broken.contains("4 planned, but 4 ok"), "{broken}");
        summary.counts.planned += 1;
        let broken = summary.broken_sum().expect("not of any kind");
        assert!(broken.contains("over all kinds"), "{broken}");
    }

    #[test]
    fn rates_credit_what_happened_in_the_window_whatever_the_phase() {
        let mut warmup = ok(900, 950, 1_100, 1_110);
        warmup.phase = Phase::Warmup;
        warmup.counts.window_token_events = 5;
        let mut late = ok(2_900, 2_950, 3_100, 3_110);
        late.counts.window_token_events = 2;
        let summary = summary(
            &[warmup, ok(1_000, 1_100, 1_200, 1_210), late],
            &Limits::default(),
        );
        assert_eq!((summary.counts.planned, summary.counts.attempts), (2, 2));
        assert_eq!(
            summary.requests_per_s(),
            Some(1.0),
            "two completed inside two seconds"
        );
        assert_eq!(summary.events_per_s(), Some(17.0 / 2.0));
        let tokens = summary.output_tokens_per_s().expect("usage is known");
        assert!((tokens - (21.0 * 0.5 + 21.0 + 21.0 * 0.2) / 2.0).abs() < 1e-9);
    }

    #[test]
    fn what_broke_off_leaves_the_token_rate_unknown() {
        // What Anthropic's first event says of the output is a placeholder.
        let mut cancelled = ok(1_000, 1_100, 1_200, 1_210);
        cancelled.outcome = Outcome::Cancelled;
        cancelled.terminator = None;
        cancelled.last_usage.output = Some(1);
        let whole = ok(1_000, 1_100, 1_200, 1_210);
        let summary = summary(&[whole, cancelled], &Limits::default());
        assert_eq!(summary.output_tokens_per_s(), None);
        assert_eq!(summary.without_usage, 1);
        assert_eq!(summary.usage().output, Some(21), "of the whole one alone");
        assert_eq!(summary.events_per_s(), Some(10.0));
        assert!(summary.errors.is_empty(), "hanging up is no error");
    }

    #[test]
    fn goodput_takes_every_limit() {
        let limits = Limits(vec![
            (Metric::Ttft, Duration::from_millis(100)),
            (Metric::E2e, Duration::from_millis(300)),
        ]);
        let records = [
            ok(1_000, 1_100, 1_200, 1_210),
            ok(1_000, 1_101, 1_200, 1_210),
            ok(1_000, 1_050, 1_390, 1_400),
        ];
        assert_eq!(summary(&records, &limits).goodput_per_s(), Some(0.5));
    }

    #[test]
    fn unknown_usage_stays_unknown() {
        let mut record = ok(1_000, 1_100, 1_200, 1_210);
        record.last_usage = Usage::default();
        let summary = summary(&[record], &Limits::default());
        assert_eq!(summary.output_tokens_per_s(), None);
        assert_eq!(summary.usage(), UsageTotals::default());
    }
}
