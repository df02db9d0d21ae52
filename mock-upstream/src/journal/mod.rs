//! The journal: what was really received and written, one line of JSON a completion request.
//!
//! Here is what an entry says; how entries are kept and read is in `spool`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::Class;

mod spool;

pub(crate) use spool::{Journal, Lines, Pieces, Selection};

/// The truth about one completion request and its answer. Times ending in `_ns` are nanoseconds since the
/// upstream's start, on the monotonic clock. *Written* is the moment right before the system call that took the frame's
/// last byte; for the last frames of a stream, right before the first call that offered them; and for whole bodies,
/// HTTP/2 and HTTP/1.0 the moment at which hyper got the frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The request's place in the order of receipt, from 0; requests that are no completions take places too.
    pub seq: u64,
    /// The first run of exactly 32 lower-case hexadecimal digits in the prompt, else the trace id, else empty.
    pub nonce: String,
    /// The trace id of the `traceparent` header.
    pub trace_id: Option<String>,
    /// The API that was called.
    pub endpoint: Endpoint,
    /// The request's path, without the query.
    pub path: String,
    /// The requested model; empty if the request named none.
    pub model: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// The answer's status; 0 if no head was handed out, as planted or since the client hung up before.
    pub status: u16,
    /// When the head of the request was received: microseconds since 1970, by the wall clock.
    pub received_unix_us: u64,
    /// When the head of the request was received.
    pub received_ns: u64,
    /// When the first frame, and the response's head with it, was written.
    pub first_write_ns: Option<u64>,
    /// When the first token event was written.
    pub first_token_write_ns: Option<u64>,
    /// When the latest token event was written.
    #[serde(default)]
    pub last_token_write_ns: Option<u64>,
    /// Frames that held a token event: how many pieces the answer was written in.
    #[serde(default)]
    pub token_writes: Option<u64>,
    /// Keep-alives that were written into silences.
    #[serde(default)]
    pub keep_alives: Option<u64>,
    /// When the latest frame was written.
    pub last_write_ns: Option<u64>,
    /// Frames of the script. One frame is one write and one HTTP chunk: an event, unless the configuration's `delivery`
    /// has several in a write, or splits them.
    pub frames: u64,
    /// Frames that were written.
    pub frames_written: u64,
    /// Token events whose last byte is in the frames written: text, reasoning, a tool call's name, a piece of its arguments.
    pub token_events: u64,
    /// The longest time by which a frame was written later than planned.
    pub lateness_ns_max: u64,
    /// Tokens of the whole answer, delivered or not. All 0 for an error; and for the answer of a stub of a test's author,
    /// which nobody counted: it has a status below 400, and neither `finish` nor `charged`.
    pub usage: Usage,
    /// Exact cost of that usage as a decimal; `None` for a model without rates, and for errors.
    pub cost: Option<String>,
    /// The cost as it was written: in the usage that went out, else in the header. `None` where none was, and for a
    /// stub's answer whatever it says.
    pub recorded_cost: Option<String>,
    /// What it truly costs as a decimal, exact: `cost` for a whole answer, 0 for an error and for a hit in a gateway's
    /// cache, and what `cost.aborts` says for an answer that was not delivered whole. `None` for a model without rates.
    #[serde(default)]
    pub charged: Option<String>,
    /// Output tokens that were delivered, reasoning included: all of them for a whole answer. `None` for an error, for a
    /// stub's answer, and for a stream that broke off where no bill depends on how far it came.
    #[serde(default)]
    pub delivered_output: Option<u64>,
    /// What was recorded, by surface as the configuration names it, and as `lookup` and `ledger`. The digits are those
    /// that were written; what was not written is not here.
    #[serde(default)]
    pub recorded: BTreeMap<String, String>,
    /// The mistakes that were planted in what is recorded.
    #[serde(default)]
    pub billing_faults: Vec<Class>,
    /// What the answer says that it used, where that is not `usage`.
    #[serde(default)]
    pub wire_usage: Option<Usage>,
    /// What the look-up and the ledger say that it used, and are priced by, where that is not `usage`.
    #[serde(default)]
    pub billed_usage: Option<Usage>,
    /// Rows that the ledgers have because of it.
    #[serde(default)]
    pub ledger_rows: u32,
    /// When the look-up and the ledgers know of it: microseconds since 1970, by the wall clock.
    #[serde(default)]
    pub recorded_unix_us: Option<u64>,
    /// The service tier that was asked for.
    #[serde(default)]
    pub service_tier: Option<String>,
    /// The model that the answer names, where it is not the requested one.
    #[serde(default)]
    pub served_model: Option<String>,
    /// The longest time without a byte: from the receipt of the request to the first frame, and between frames that were
    /// written. `None` if no frame was.
    #[serde(default)]
    pub silence_ns_max: Option<u64>,
    /// Tools that the request offers. `None` if its body is no JSON object.
    #[serde(default)]
    pub tools: Option<u32>,
    /// What the request says of calling them, in words of neither API: `auto`, `required`, `none`, or `named` for one that
    /// it names. `None` if it says nothing, or nothing that either API knows.
    #[serde(default)]
    pub tool_choice: Option<String>,
    /// Whether the request says that several calls may come in one answer: `parallel_tool_calls`, or the contrary of
    /// `disable_parallel_tool_use`. `None` if it says nothing.
    #[serde(default)]
    pub parallel_tool_calls: Option<bool>,
    /// Tool calls in the answer.
    pub tool_calls: u32,
    /// Results of tools in the request; 0 for a request that was refused.
    #[serde(default)]
    pub tool_results: u32,
    /// Turns of a conversation with tools before this one: messages of the model with calls in the request, after the
    /// last text of a user. 0 for a request that was refused.
    #[serde(default)]
    pub turn: u32,
    /// Marked tokens of the whole answer's visible text, delivered or not; they are numbered from 0. 0 if the answer has no
    /// text. `None` where it is not what was asked for: an error, a planted fault that leaves no text or a part of it, a
    /// stub of a test's author.
    #[serde(default)]
    pub text_tokens: Option<u64>,
    /// Those of them that stand after the calls. `None` where `text_tokens` is.
    #[serde(default)]
    pub text_tokens_after: Option<u64>,
    /// The same of the reasoning, which is numbered by itself.
    #[serde(default)]
    pub reasoning_tokens: Option<u64>,
    /// First 16 hexadecimal digits of the SHA-256 of the whole answer's visible text, delivered or not. `None` if the
    /// answer has no text, or is not what was asked for: an error, a planted fault, a stub of a test's author. What
    /// follows a fault was never written, and nothing may stand for what it cut off.
    pub text_sha256: Option<String>,
    /// The same of the reasoning.
    pub reasoning_sha256: Option<String>,
    /// The reason to stop, in the API's word.
    pub finish: Option<String>,
    /// The planted fault, by its name in the configuration.
    pub fault: Option<String>,
    /// Which attempt it is at the same request, from 1: the same bytes again, with a nonce in them.
    pub attempt: u64,
    /// The profile that answered, if one did.
    pub profile: Option<String>,
    /// The answer's id, without the prefix that an API has for it. An error has none, but one that is billed stands under
    /// the id of its request, with `req_`.
    pub response_id: Option<String>,
    /// How long the request waited for a slot.
    pub queue_ns: u64,
    /// Whether every frame was written and the answer ended as HTTP demands.
    pub completed: bool,
    /// Size of the request's body.
    pub body_bytes: u64,
    /// The request's body, if the configuration says `journal_bodies`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<serde_json::Value>,
    /// When each frame was planned and written, if the configuration says `journal_frames`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_times: Option<FrameTimes>,
}

/// The times of an answer's frames in order, in nanoseconds since the receipt of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameTimes {
    /// When each frame of the script was to be written.
    pub planned_ns: Vec<u64>,
    /// When each frame that was written was: as many as there are `frames_written`.
    pub written_ns: Vec<u64>,
}

/// The emulated API of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// `POST /v1/chat/completions`.
    OpenAi,
    /// `POST /v1/messages`.
    Anthropic,
}

/// Token counts. The parts of the input are disjoint; reasoning is part of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens that no cache served or took.
    pub input: u64,
    /// Input tokens read from a cache.
    pub cache_read: u64,
    /// Input tokens written to a cache.
    pub cache_write: u64,
    /// Those of `cache_write` that it keeps for an hour.
    #[serde(default)]
    pub cache_write_1h: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// Reasoning tokens.
    pub reasoning: u64,
}

impl Usage {
    /// All input tokens.
    pub fn prompt(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
    }
}
