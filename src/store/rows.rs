//! `requests.csv`: a [`Record`] as a flat row, and back.
//!
//! Times are ns since the run's start. An empty cell is `None`. `costs` and `oddities` are JSON
//! objects in a cell, since their names are not known beforehand.

use std::borrow::Cow;
use std::collections::BTreeMap;

use csv::StringRecord;
use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::record::{Class, Counts, EventStamp, Outcome, Phase, Record, SessionEnd, Tally};
use crate::time::Offset;
use crate::usage::Usage;

/// One row of `requests.csv`; the order of the fields is the order of the columns. Texts are
/// borrowed, from a record or from the file: a row is written for every attempt of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row<'a> {
    trace_id: &'a str,
    attempt: u32,
    #[serde(default = "yes")]
    last: bool,
    phase: Phase,
    session: u64,
    turn: u32,
    endpoint: Endpoint,
    class: Class,
    streaming: bool,
    requested_model: &'a str,
    served_model: Option<&'a str>,
    #[serde(default)]
    requested_tier: Option<&'a str>,
    #[serde(default)]
    served_tier: Option<&'a str>,
    outcome: Outcome,
    status: Option<u16>,
    error: Option<&'a str>,
    finish: Option<&'a str>,
    sent_utc: Option<&'a str>,
    due_ns: Option<Offset>,
    sent_ns: Option<Offset>,
    #[serde(default)]
    session_sent_ns: Option<Offset>,
    #[serde(default)]
    session_end: Option<SessionEnd>,
    first_byte_ns: Option<Offset>,
    first_token_ns: Option<Offset>,
    first_reasoning_ns: Option<Offset>,
    first_visible_ns: Option<Offset>,
    last_token_ns: Option<Offset>,
    #[serde(default)]
    first_call_ns: Option<Offset>,
    #[serde(default)]
    all_calls_ns: Option<Offset>,
    terminator_ns: Option<Offset>,
    ended_ns: Option<Offset>,
    connected: bool,
    in_flight: Option<u32>,
    planned_input: u64,
    output_limit: Option<u64>,
    #[serde(default)]
    tool_choice: Option<&'a str>,
    #[serde(default)]
    parallel_tool_calls: Option<bool>,
    #[serde(default)]
    body_bytes: Option<u64>,
    bytes: u64,
    frames: u64,
    events: u64,
    token_events: u64,
    token_batches: u64,
    reasoning_events: u64,
    visible_events: u64,
    call_events: u64,
    #[serde(default)]
    characters: u64,
    window_token_events: u64,
    gap_count: u64,
    gap_sum_ns: u64,
    gap_min_ns: u64,
    gap_max_ns: u64,
    silence_max_ns: u64,
    calls: u32,
    calls_valid: u32,
    #[serde(default)]
    calls_schema_valid: Option<u32>,
    first_input: Option<u64>,
    first_cache_read: Option<u64>,
    first_cache_write: Option<u64>,
    #[serde(default)]
    first_cache_write_5m: Option<u64>,
    first_cache_write_1h: Option<u64>,
    first_output: Option<u64>,
    first_reasoning_tokens: Option<u64>,
    first_total: Option<u64>,
    last_input: Option<u64>,
    last_cache_read: Option<u64>,
    last_cache_write: Option<u64>,
    #[serde(default)]
    last_cache_write_5m: Option<u64>,
    last_cache_write_1h: Option<u64>,
    last_output: Option<u64>,
    last_reasoning_tokens: Option<u64>,
    last_total: Option<u64>,
    #[serde(default)]
    usage_reports: u32,
    #[serde(default)]
    sum_input: Option<u64>,
    #[serde(default)]
    sum_cache_read: Option<u64>,
    #[serde(default)]
    sum_cache_write: Option<u64>,
    #[serde(default)]
    sum_cache_write_5m: Option<u64>,
    #[serde(default)]
    sum_cache_write_1h: Option<u64>,
    #[serde(default)]
    sum_output: Option<u64>,
    #[serde(default)]
    sum_reasoning_tokens: Option<u64>,
    #[serde(default)]
    sum_total: Option<u64>,
    #[serde(borrow)]
    costs: Cow<'a, str>,
    text_sha256: Option<&'a str>,
    reasoning_sha256: Option<&'a str>,
    #[serde(default)]
    call_names_sha256: Option<&'a str>,
    #[serde(default)]
    call_arguments_sha256: Option<&'a str>,
    response_id: Option<&'a str>,
    request_id: Option<&'a str>,
    #[serde(default)]
    call_id: Option<&'a str>,
    #[serde(default)]
    gateway_cache: Option<&'a str>,
    #[serde(default)]
    marks: Cow<'a, Tally>,
    #[serde(borrow)]
    oddities: Cow<'a, str>,
}

/// One row of `trace.csv`: one event of the wire.
#[derive(Debug, Serialize)]
pub(super) struct TraceRow<'a> {
    trace_id: &'a str,
    attempt: u32,
    /// Its place in the answer, from 0.
    event: u32,
    at_ns: Offset,
    batch: u64,
    /// `R`, `V`, `A`, `G` together, or `N`.
    classes: String,
}

impl<'a> TraceRow<'a> {
    pub fn new(trace_id: &'a str, attempt: u32, event: u32, stamp: EventStamp) -> Self {
        Self {
            trace_id,
            attempt,
            event,
            at_ns: stamp.at,
            batch: stamp.batch,
            classes: stamp.classes.to_string(),
        }
    }
}

/// Version 1 of the facts knew no retries.
const fn yes() -> bool {
    true
}

impl Row<'_> {
    /// The names of the columns.
    pub fn columns() -> StringRecord {
        let nothing = Record::new(String::new(), Phase::Warmup, Endpoint::OpenAi, Class::Chat);
        let mut file = csv::Writer::from_writer(Vec::new());
        file.serialize(Row::from(&nothing)).expect("a plain row");
        let bytes = file.into_inner().expect("in memory");
        let mut rows = csv::Reader::from_reader(bytes.as_slice());
        rows.headers().expect("what was just written").clone()
    }
}

impl<'a> From<&'a Record> for Row<'a> {
    #[expect(clippy::too_many_lines, reason = "one line a column")]
    fn from(record: &'a Record) -> Self {
        let Counts {
            bytes,
            frames,
            events,
            token_events,
            token_batches,
            reasoning_events,
            visible_events,
            call_events,
            characters,
            window_token_events,
            gap_count,
            gap_sum_ns,
            gap_min_ns,
            gap_max_ns,
            silence_max_ns,
            calls,
            calls_valid,
            calls_schema_valid,
        } = record.counts;
        let (first, last, sum) = (record.first_usage, record.last_usage, record.summed_usage);
        Self {
            trace_id: &record.trace_id,
            attempt: record.attempt,
            last: record.last,
            phase: record.phase,
            session: record.session,
            turn: record.turn,
            endpoint: record.endpoint,
            class: record.class,
            streaming: record.streaming,
            requested_model: &record.requested_model,
            served_model: record.served_model.as_deref(),
            requested_tier: record.requested_tier.as_deref(),
            served_tier: record.served_tier.as_deref(),
            outcome: record.outcome,
            status: record.status,
            error: record.error.as_deref(),
            finish: record.finish.as_deref(),
            sent_utc: record.sent_utc.as_deref(),
            due_ns: record.due,
            sent_ns: record.sent,
            session_sent_ns: record.session_sent,
            session_end: record.session_end,
            first_byte_ns: record.first_byte,
            first_token_ns: record.first_token,
            first_reasoning_ns: record.first_reasoning,
            first_visible_ns: record.first_visible,
            last_token_ns: record.last_token,
            first_call_ns: record.first_call,
            all_calls_ns: record.all_calls,
            terminator_ns: record.terminator,
            ended_ns: record.ended,
            connected: record.connected,
            in_flight: record.in_flight,
            planned_input: record.planned_input,
            output_limit: record.output_limit,
            tool_choice: record.tool_choice.as_deref(),
            parallel_tool_calls: record.parallel_tool_calls,
            body_bytes: record.body_bytes,
            bytes,
            frames,
            events,
            token_events,
            token_batches,
            reasoning_events,
            visible_events,
            call_events,
            characters,
            window_token_events,
            gap_count,
            gap_sum_ns,
            gap_min_ns,
            gap_max_ns,
            silence_max_ns,
            calls,
            calls_valid,
            calls_schema_valid,
            first_input: first.input,
            first_cache_read: first.cache_read,
            first_cache_write: first.cache_write,
            first_cache_write_5m: first.cache_write_5m,
            first_cache_write_1h: first.cache_write_1h,
            first_output: first.output,
            first_reasoning_tokens: first.reasoning,
            first_total: first.total,
            last_input: last.input,
            last_cache_read: last.cache_read,
            last_cache_write: last.cache_write,
            last_cache_write_5m: last.cache_write_5m,
            last_cache_write_1h: last.cache_write_1h,
            last_output: last.output,
            last_reasoning_tokens: last.reasoning,
            last_total: last.total,
            usage_reports: record.usage_reports,
            sum_input: sum.input,
            sum_cache_read: sum.cache_read,
            sum_cache_write: sum.cache_write,
            sum_cache_write_5m: sum.cache_write_5m,
            sum_cache_write_1h: sum.cache_write_1h,
            sum_output: sum.output,
            sum_reasoning_tokens: sum.reasoning,
            sum_total: sum.total,
            costs: object(&record.costs),
            text_sha256: record.text_sha256.as_deref(),
            reasoning_sha256: record.reasoning_sha256.as_deref(),
            call_names_sha256: record.call_names_sha256.as_deref(),
            call_arguments_sha256: record.call_arguments_sha256.as_deref(),
            response_id: record.response_id.as_deref(),
            request_id: record.request_id.as_deref(),
            call_id: record.call_id.as_deref(),
            gateway_cache: record.gateway_cache.as_deref(),
            oddities: object(&record.oddities),
            marks: Cow::Borrowed(&record.marks),
        }
    }
}

impl TryFrom<Row<'_>> for Record {
    type Error = serde_json::Error;

    #[expect(clippy::too_many_lines, reason = "one line a column")]
    fn try_from(row: Row<'_>) -> Result<Self, serde_json::Error> {
        let text = |cell: Option<&str>| cell.map(str::to_owned);
        Ok(Self {
            trace_id: row.trace_id.to_owned(),
            attempt: row.attempt,
            last: row.last,
            phase: row.phase,
            session: row.session,
            turn: row.turn,
            endpoint: row.endpoint,
            class: row.class,
            streaming: row.streaming,
            requested_model: row.requested_model.to_owned(),
            planned_input: row.planned_input,
            output_limit: row.output_limit,
            requested_tier: text(row.requested_tier),
            tool_choice: text(row.tool_choice),
            parallel_tool_calls: row.parallel_tool_calls,
            body_bytes: row.body_bytes,
            in_flight: row.in_flight,
            sent_utc: text(row.sent_utc),
            due: row.due_ns,
            sent: row.sent_ns,
            session_sent: row.session_sent_ns,
            session_end: row.session_end,
            connected: row.connected,
            outcome: row.outcome,
            status: row.status,
            error: text(row.error),
            response_id: text(row.response_id),
            request_id: text(row.request_id),
            call_id: text(row.call_id),
            served_model: text(row.served_model),
            served_tier: text(row.served_tier),
            gateway_cache: text(row.gateway_cache),
            first_byte: row.first_byte_ns,
            first_token: row.first_token_ns,
            first_reasoning: row.first_reasoning_ns,
            first_visible: row.first_visible_ns,
            last_token: row.last_token_ns,
            first_call: row.first_call_ns,
            all_calls: row.all_calls_ns,
            terminator: row.terminator_ns,
            ended: row.ended_ns,
            counts: Counts {
                bytes: row.bytes,
                frames: row.frames,
                events: row.events,
                token_events: row.token_events,
                token_batches: row.token_batches,
                reasoning_events: row.reasoning_events,
                visible_events: row.visible_events,
                call_events: row.call_events,
                characters: row.characters,
                window_token_events: row.window_token_events,
                gap_count: row.gap_count,
                gap_sum_ns: row.gap_sum_ns,
                gap_min_ns: row.gap_min_ns,
                gap_max_ns: row.gap_max_ns,
                silence_max_ns: row.silence_max_ns,
                calls: row.calls,
                calls_valid: row.calls_valid,
                calls_schema_valid: row.calls_schema_valid,
            },
            first_usage: Usage {
                input: row.first_input,
                cache_read: row.first_cache_read,
                cache_write: row.first_cache_write,
                cache_write_5m: row.first_cache_write_5m,
                cache_write_1h: row.first_cache_write_1h,
                output: row.first_output,
                reasoning: row.first_reasoning_tokens,
                total: row.first_total,
            },
            last_usage: Usage {
                input: row.last_input,
                cache_read: row.last_cache_read,
                cache_write: row.last_cache_write,
                cache_write_5m: row.last_cache_write_5m,
                cache_write_1h: row.last_cache_write_1h,
                output: row.last_output,
                reasoning: row.last_reasoning_tokens,
                total: row.last_total,
            },
            usage_reports: row.usage_reports,
            summed_usage: Usage {
                input: row.sum_input,
                cache_read: row.sum_cache_read,
                cache_write: row.sum_cache_write,
                cache_write_5m: row.sum_cache_write_5m,
                cache_write_1h: row.sum_cache_write_1h,
                output: row.sum_output,
                reasoning: row.sum_reasoning_tokens,
                total: row.sum_total,
            },
            costs: pairs(&row.costs)?,
            text_sha256: text(row.text_sha256),
            reasoning_sha256: text(row.reasoning_sha256),
            call_names_sha256: text(row.call_names_sha256),
            call_arguments_sha256: text(row.call_arguments_sha256),
            finish: text(row.finish),
            oddities: pairs(&row.oddities)?,
            marks: row.marks.into_owned(),
        })
    }
}

/// Pairs as a JSON object; nothing as an empty cell.
fn object<V: Serialize>(pairs: &[(String, V)]) -> Cow<'static, str> {
    if pairs.is_empty() {
        return Cow::Borrowed("");
    }
    let map: BTreeMap<&str, &V> = pairs.iter().map(|(k, v)| (k.as_str(), v)).collect();
    Cow::Owned(serde_json::to_string(&map).expect("strings and numbers are plain JSON"))
}

fn pairs<V: serde::de::DeserializeOwned>(
    cell: &str,
) -> Result<Vec<(String, V)>, serde_json::Error> {
    if cell.is_empty() {
        return Ok(Vec::new());
    }
    Ok(serde_json::from_str::<BTreeMap<String, V>>(cell)?
        .into_iter()
        .collect())
}
