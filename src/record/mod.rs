//! What happened to one attempt: the row of `requests.csv`, and of `calls.csv` for its tool calls.
//!
//! Rows are facts: times as offsets from the run's start, token counts and costs as received.
//! Nothing here is computed from a price or a limit. An empty cell means "not known" or "did not
//! happen", never zero.

mod block;
mod example;
mod fact;
mod tally;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::time::Offset;
use crate::usage::Usage;

pub use block::Block;
pub use example::Example;
pub use fact::{Fact, FactSink};
pub use tally::Tally;

/// Version of the facts' columns. Version 1 has no retries, no seconds, and less about the
/// harness's own health; version 2 knows no service tiers, no gateway's cache, and of several usage
/// reports only the first and the last; version 3 knows no marks, no schemas of tools and no loops.
pub const FACTS_SCHEMA: &str = "weighbridge.facts/4";

/// Versions that can be read.
pub const FACTS_SCHEMAS_READ: [&str; 4] = [
    "weighbridge.facts/1",
    "weighbridge.facts/2",
    "weighbridge.facts/3",
    FACTS_SCHEMA,
];

/// Which part of the run an attempt belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The one request to each endpoint before the load; never in the numbers.
    Preflight,
    /// Before the measured window; never in the latencies, outcomes and bills of the report. Its
    /// tokens, and their ends, count in the rates from the moment at which the measured window begins.
    Warmup,
    /// The measured load.
    Measured,
}

/// What kind of work a request is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Text in, text out.
    Chat,
    /// The request offers tools.
    Tools,
}

/// How an attempt ended; exactly one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A complete answer.
    Ok,
    /// A status of 400 or more, other than 429, or an unexpected one below.
    HttpError,
    /// Status 429.
    RateLimited,
    /// The provider reported an error inside a response of status 200.
    StreamError,
    /// Closed without the protocol's terminator.
    Truncated,
    /// Broken SSE, JSON or protocol.
    Malformed,
    /// No connection within the limit.
    TimeoutConnect,
    /// No token within the limit.
    TimeoutFirstToken,
    /// A silence longer than the limit.
    TimeoutIdle,
    /// Not complete within the limit.
    TimeoutTotal,
    /// The connection could not be made: refused, unresolved, or TLS failed.
    ConnectFailed,
    /// An established connection broke.
    Reset,
    /// Came due and was not sent: `max_in_flight` was reached, or the budget was used up.
    Dropped,
    /// Cut by the harness when the run ended.
    Cut,
    /// The workload hung up on purpose.
    Cancelled,
}

/// The groups of outcomes that add up to the planned requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeGroup {
    /// Succeeded.
    Ok,
    /// Failed; counts as over every latency limit.
    Failed,
    /// Never sent.
    Dropped,
    /// Censored by the harness.
    Cut,
    /// Cancelled on purpose.
    Cancelled,
}

impl Outcome {
    /// Every outcome, in the order in which reports list them.
    pub const ALL: [Self; 15] = [
        Self::Ok,
        Self::HttpError,
        Self::RateLimited,
        Self::StreamError,
        Self::Truncated,
        Self::Malformed,
        Self::TimeoutConnect,
        Self::TimeoutFirstToken,
        Self::TimeoutIdle,
        Self::TimeoutTotal,
        Self::ConnectFailed,
        Self::Reset,
        Self::Dropped,
        Self::Cut,
        Self::Cancelled,
    ];

    /// The name in facts, reports and gates.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::HttpError => "http_error",
            Self::RateLimited => "rate_limited",
            Self::StreamError => "stream_error",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::TimeoutConnect => "timeout_connect",
            Self::TimeoutFirstToken => "timeout_first_token",
            Self::TimeoutIdle => "timeout_idle",
            Self::TimeoutTotal => "timeout_total",
            Self::ConnectFailed => "connect_failed",
            Self::Reset => "reset",
            Self::Dropped => "dropped",
            Self::Cut => "cut",
            Self::Cancelled => "cancelled",
        }
    }

    /// The group that this outcome is counted in.
    pub const fn group(self) -> OutcomeGroup {
        match self {
            Self::Ok => OutcomeGroup::Ok,
            Self::Dropped => OutcomeGroup::Dropped,
            Self::Cut => OutcomeGroup::Cut,
            Self::Cancelled => OutcomeGroup::Cancelled,
            Self::HttpError
            | Self::RateLimited
            | Self::StreamError
            | Self::Truncated
            | Self::Malformed
            | Self::TimeoutConnect
            | Self::TimeoutFirstToken
            | Self::TimeoutIdle
            | Self::TimeoutTotal
            | Self::ConnectFailed
            | Self::Reset => OutcomeGroup::Failed,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One attempt. The identity is known when it comes due; everything from `sent_ns` on fills in as
/// it happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// 32 hex digits: the nonce in the prompt and the `traceparent`'s trace id. Attempts of one
    /// request share it.
    pub trace_id: String,
    /// 0 for the first attempt, 1 for its first retry.
    pub attempt: u32,
    /// Whether no further attempt of this request follows: its outcome is the request's.
    pub last: bool,
    /// Part of the run.
    pub phase: Phase,
    /// Number of the session in the planned load of its phase.
    pub session: u64,
    /// Turn of the session, from 0.
    pub turn: u32,
    /// Where it was sent.
    pub endpoint: Endpoint,
    /// The kind of work.
    pub class: Class,
    /// Whether a stream was asked for.
    pub streaming: bool,
    /// The model asked for.
    pub requested_model: String,
    /// The estimated input tokens of the prompt.
    pub planned_input: u64,
    /// The output limit asked for, in tokens.
    pub output_limit: Option<u64>,
    /// The service tier asked for, if any.
    pub requested_tier: Option<String>,
    /// Whether a tool must be called, as asked: `auto`, `required`, `none` or `named`; `None` where no
    /// tools are offered.
    pub tool_choice: Option<String>,
    /// Whether several calls may come in one answer, where that is said.
    pub parallel_tool_calls: Option<bool>,
    /// Bytes of the request's body.
    pub body_bytes: Option<u64>,
    /// Requests in flight at this endpoint, this one included, when it was sent.
    pub in_flight: Option<u32>,
    /// UTC time of sending, RFC 3339 with microseconds.
    pub sent_utc: Option<String>,
    /// Planned send time; open loop only.
    pub due: Option<Offset>,
    /// Just before the transport was asked to send.
    pub sent: Option<Offset>,
    /// When the first turn of its session was sent; the same as `sent` for that turn.
    pub session_sent: Option<Offset>,
    /// How its session ended, if it did with this attempt; only of sessions that may have several
    /// turns.
    pub session_end: Option<SessionEnd>,
    /// Whether a new connection was made while this request waited for its first byte, so that
    /// its latency holds a connect.
    pub connected: bool,

    /// How it ended.
    pub outcome: Outcome,
    /// HTTP status, once there was one.
    pub status: Option<u16>,
    /// What went wrong, in one line without secrets.
    pub error: Option<String>,
    /// The provider's id of the response (in its body).
    pub response_id: Option<String>,
    /// The provider's or gateway's id of the request (`x-request-id`, `request-id`).
    pub request_id: Option<String>,
    /// The gateway's id of the call (`x-litellm-call-id` and the like).
    pub call_id: Option<String>,
    /// The model that the response names.
    pub served_model: Option<String>,
    /// The service tier that the response names.
    pub served_tier: Option<String>,
    /// What a header says of the gateway's own cache, as `name: value`.
    pub gateway_cache: Option<String>,

    /// First byte of the body.
    pub first_byte: Option<Offset>,
    /// First event of class R, V, A or G of a stream.
    pub first_token: Option<Offset>,
    /// First event of class R of a stream.
    pub first_reasoning: Option<Offset>,
    /// First event of class V of a stream.
    pub first_visible: Option<Offset>,
    /// Last event of class R, V, A or G of a stream.
    pub last_token: Option<Offset>,
    /// First event of class A or G of a stream.
    pub first_call: Option<Offset>,
    /// When the last of its tool calls was complete; only of streams whose calls all were.
    pub all_calls: Option<Offset>,
    /// The protocol's terminator, or the end of a whole body.
    pub terminator: Option<Offset>,
    /// When the harness was done with it: drained to the end, failed or cut.
    pub ended: Option<Offset>,

    /// Counts of what arrived.
    pub counts: Counts,
    /// The first usage, as received.
    pub first_usage: Usage,
    /// The last usage, as received: each count's last non-null value.
    pub last_usage: Usage,
    /// Reports of usage.
    pub usage_reports: u32,
    /// The sum of all of them: no count of anything, but what a gateway bills that adds them up.
    pub summed_usage: Usage,
    /// Each cost surface that held a number, and its digits.
    pub costs: Vec<(String, String)>,
    /// SHA-256 of the visible text, first 16 hex digits; `None` without text.
    pub text_sha256: Option<String>,
    /// SHA-256 of the reasoning, first 16 hex digits; `None` without reasoning.
    pub reasoning_sha256: Option<String>,
    /// Digest of the names of its calls, in order; `None` without calls.
    pub call_names_sha256: Option<String>,
    /// Digest of the arguments of its calls, in order, as JSON values without their marks; `None`
    /// without calls, or if one's arguments are no JSON.
    pub call_arguments_sha256: Option<String>,
    /// The stop reason as received.
    pub finish: Option<String>,
    /// Oddities by name, and how often.
    pub oddities: Vec<(String, u64)>,
    /// What the marks in text and reasoning say: see [`Tally`]'s names in `timeline`. Empty where the
    /// answer has none, as a live model's.
    pub marks: Tally,
}

/// How a session of several turns ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// The model called no more tools.
    Answered,
    /// The model still called tools in the last turn that the workload allows.
    TurnLimit,
    /// A turn failed.
    Failed,
    /// The run, or the workload, stopped it.
    Stopped,
}

impl SessionEnd {
    /// Every way, in the order in which reports list them.
    pub const ALL: [Self; 4] = [Self::Answered, Self::TurnLimit, Self::Failed, Self::Stopped];

    /// The name in facts and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::TurnLimit => "turn_limit",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

impl Record {
    /// An attempt of which only the identity is known: nothing has happened to it yet.
    pub fn new(trace_id: String, phase: Phase, endpoint: Endpoint, class: Class) -> Self {
        Self {
            trace_id,
            attempt: 0,
            last: true,
            phase,
            session: 0,
            turn: 0,
            endpoint,
            class,
            streaming: false,
            requested_model: String::new(),
            planned_input: 0,
            output_limit: None,
            requested_tier: None,
            tool_choice: None,
            parallel_tool_calls: None,
            body_bytes: None,
            in_flight: None,
            sent_utc: None,
            due: None,
            sent: None,
            session_sent: None,
            session_end: None,
            connected: false,
            outcome: Outcome::Dropped,
            status: None,
            error: None,
            response_id: None,
            request_id: None,
            call_id: None,
            served_model: None,
            served_tier: None,
            gateway_cache: None,
            first_byte: None,
            first_token: None,
            first_reasoning: None,
            first_visible: None,
            last_token: None,
            first_call: None,
            all_calls: None,
            terminator: None,
            ended: None,
            counts: Counts::default(),
            first_usage: Usage::default(),
            last_usage: Usage::default(),
            usage_reports: 0,
            summed_usage: Usage::default(),
            costs: Vec::new(),
            text_sha256: None,
            reasoning_sha256: None,
            call_names_sha256: None,
            call_arguments_sha256: None,
            finish: None,
            oddities: Vec::new(),
            marks: Tally::default(),
        }
    }
}

impl Record {
    /// The last usage, without its output where the answer had not come to its end: Anthropic's
    /// first event has a placeholder there, and a count in every chunk is one so far.
    pub fn final_usage(&self) -> Usage {
        let whole =
            self.outcome == Outcome::Ok || self.finish.is_some() || self.terminator.is_some();
        if whole {
            return self.last_usage;
        }
        Usage {
            output: None,
            reasoning: None,
            total: None,
            ..self.last_usage
        }
    }
}

/// What arrived in one attempt's body, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Body bytes.
    pub bytes: u64,
    /// Body frames handed over by the transport.
    pub frames: u64,
    /// Events of the wire.
    pub events: u64,
    /// Events with a token in them (classes R, V, A, G).
    pub token_events: u64,
    /// Batches that token-bearing events came in: frames that were ready without a wait share one.
    pub token_batches: u64,
    /// Events of class R.
    pub reasoning_events: u64,
    /// Events of class V.
    pub visible_events: u64,
    /// Events of class A or G.
    pub call_events: u64,
    /// Characters of text, of reasoning, of calls' names and of arguments.
    pub characters: u64,
    /// Token-bearing events inside the measured window, whatever the phase of the request.
    pub window_token_events: u64,
    /// Gaps between successive token-bearing events.
    pub gap_count: u64,
    /// Their sum, in ns.
    pub gap_sum_ns: u64,
    /// The shortest, in ns; 0 without gaps.
    pub gap_min_ns: u64,
    /// The longest, in ns; 0 without gaps.
    pub gap_max_ns: u64,
    /// The longest silence between any two frames after the first, in ns.
    pub silence_max_ns: u64,
    /// Tool calls announced.
    pub calls: u32,
    /// Tool calls whose arguments are one complete JSON object.
    pub calls_valid: u32,
    /// Tool calls whose arguments fit the schema of an offered tool; `None` where nobody looked.
    pub calls_schema_valid: Option<u32>,
}

/// One tool call: the row of `calls.csv`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Of the request that it belongs to.
    pub trace_id: String,
    /// Attempt of that request.
    pub attempt: u32,
    /// Part of the run.
    pub phase: Phase,
    /// Where the request was sent.
    pub endpoint: Endpoint,
    /// How the request ended.
    pub outcome: Outcome,
    /// When the request was sent.
    pub sent_ns: Option<Offset>,
    /// Turn of the session, from 0.
    #[serde(default)]
    pub turn: u32,
    /// Requests in flight at this endpoint when the request was sent.
    #[serde(default)]
    pub in_flight: Option<u32>,
    /// Position of the call in the response, from 0.
    pub index: u32,
    /// The provider's id of the call.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Whether the request offered a tool of this name.
    pub offered: bool,
    /// Bytes of its arguments.
    pub argument_bytes: u64,
    /// Whether the arguments are one complete JSON object.
    pub valid_json: bool,
    /// First 16 hex digits of the SHA-256 of the arguments.
    pub arguments_sha256: String,
    /// Whether the arguments fit the schema of the tool; not if it was not offered. `None` where
    /// nobody looked.
    #[serde(default)]
    pub schema_valid: Option<bool>,
    /// First 16 hex digits of the SHA-256 of the arguments as a JSON value, in one way of writing it,
    /// its marks replaced; `None` if they are no JSON.
    #[serde(default)]
    pub value_sha256: Option<String>,
    /// What the marks in the arguments say.
    #[serde(default)]
    pub marks: Tally,
    /// When the call was announced.
    pub announced_ns: Option<Offset>,
    /// When its arguments were complete (`time_to_tool_call` ends here); streams only.
    pub complete_ns: Option<Offset>,
}

/// When one event of the wire arrived, and what was in it; part of a row of `trace.csv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventStamp {
    /// The stamp of the frame that completed it.
    pub at: Offset,
    /// Its batch: frames that were ready without a wait share one.
    pub batch: u64,
    /// Its classes.
    pub classes: Classes,
}

/// The classes of one event of the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one event can have several, in any combination"
)]
pub struct Classes {
    /// Class R.
    pub reasoning: bool,
    /// Class V.
    pub visible: bool,
    /// Class A: a call was announced.
    pub announced: bool,
    /// Class G: arguments of a call.
    pub arguments: bool,
}

impl Classes {
    /// Whether there is a token in it.
    pub const fn has_tokens(self) -> bool {
        self.reasoning || self.visible || self.announced || self.arguments
    }
}

impl fmt::Display for Classes {
    /// The letters of its classes, `N` for none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [
            (self.reasoning, "R"),
            (self.visible, "V"),
            (self.announced, "A"),
            (self.arguments, "G"),
            (!self.has_tokens(), "N"),
        ];
        letters
            .into_iter()
            .filter(|(is, _)| *is)
            .try_for_each(|(_, letter)| f.write_str(letter))
    }
}

/// One second of one worker: the row of `health.csv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// End of the interval.
    pub at_ns: Offset,
    /// Length of the interval, in ns.
    pub interval_ns: u64,
    /// The worker, from 0.
    pub worker: u32,
    /// CPU time of the worker's thread in the interval, in ns.
    pub cpu_ns: u64,
    /// The latest that its heartbeat came, in ns.
    pub lag_max_ns: u64,
    /// Heartbeats that came more than 50 ms late.
    pub stalls: u64,
    /// By how much these were late, together, in ns.
    pub stalled_ns: u64,
    /// How long the thread was ready to run and another ran on its core (`/proc/.../schedstat`),
    /// in ns; `None` where the system does not say.
    #[serde(default)]
    pub waited_ns: Option<u64>,
    /// How many times it got a core in the interval; `None` where the system does not say.
    #[serde(default)]
    pub turns: Option<u64>,
    /// How long the whole process was kept from running by its cgroup's CPU limit
    /// (`cpu.stat`), in ns; `None` where the system does not say.
    #[serde(default)]
    pub throttled_ns: Option<u64>,
    /// How much the wall clock moved against the monotonic one in the interval, in ns: a jump or
    /// a correction.
    #[serde(default)]
    pub drift_ns: Option<i64>,
    /// The worker's requests in flight at the end of the interval.
    pub in_flight: u32,
}

/// One second of one worker at one endpoint, over every phase: the row of `seconds.csv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Second {
    /// End of the interval.
    pub at_ns: Offset,
    /// Length of the interval, in ns.
    pub interval_ns: u64,
    /// The worker, from 0.
    pub worker: u32,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Attempts sent.
    pub sent: u64,
    /// Attempts that ended in success.
    pub ok: u64,
    /// Attempts that ended otherwise, drops included.
    pub not_ok: u64,
    /// Token-bearing events that arrived.
    pub token_events: u64,
    /// Body bytes that arrived.
    pub bytes: u64,
    /// Requests in flight over the interval, summed over its ns: divided by its length, their
    /// average. A request that waits for its next attempt is one.
    #[serde(default)]
    pub in_flight_ns: u64,
    /// Requests in flight at the end of the interval.
    pub in_flight: u32,
}
