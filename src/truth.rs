//! What an upstream's journal says was really sent: the row of `truth.csv`.
//!
//! Only an upstream that writes down the truth has one (the offline upstream, also behind a real
//! gateway). It is joined to records by the nonce and is the independent count that token
//! verification rests on. One request may have several entries: a gateway that retries.

use serde::{Deserialize, Serialize};

/// One request as the upstream saw it. Token counts in the inclusive accounting: `input` holds
/// cached tokens, `output` holds reasoning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// The nonce found in the prompt: the record's `trace_id`.
    pub nonce: String,
    /// Endpoint of the upstream that was called (a gateway may translate).
    pub endpoint: String,
    /// The model that the upstream was asked for.
    pub model: String,
    /// Whether the upstream was asked for a stream.
    pub stream: bool,
    /// Status that it answered.
    pub status: u16,
    /// From the request's receipt to the first body frame handed over.
    pub first_write_ns: Option<u64>,
    /// From the request's receipt to the first frame with a token handed over.
    pub first_token_write_ns: Option<u64>,
    /// From the request's receipt to the last frame with a token handed over.
    #[serde(default)]
    pub last_token_write_ns: Option<u64>,
    /// Frames with a token in them: how many pieces the answer was written in. `None` where the
    /// journal does not say.
    #[serde(default)]
    pub token_writes: Option<u64>,
    /// Keep-alives that it wrote into silences. `None` where the journal does not say.
    #[serde(default)]
    pub keep_alives: Option<u64>,
    /// From the request's receipt to the last frame handed over.
    pub last_write_ns: Option<u64>,
    /// Events with a token in them.
    pub token_events: u64,
    /// All input tokens.
    pub input: Option<u64>,
    /// Input tokens read from a cache.
    pub cache_read: Option<u64>,
    /// Input tokens written to a cache.
    pub cache_write: Option<u64>,
    /// Those of them that are kept for an hour.
    #[serde(default)]
    pub cache_write_1h: Option<u64>,
    /// All output tokens of the answer, delivered or not.
    pub output: Option<u64>,
    /// Output tokens that are reasoning.
    pub reasoning: Option<u64>,
    /// The true cost of the whole answer, in digits.
    pub cost: Option<String>,
    /// What is truly to be paid, in digits: nothing for an error, and by the upstream's own policy for
    /// an answer that was not delivered whole.
    #[serde(default)]
    pub charged: Option<String>,
    /// Output tokens that were delivered, reasoning included; `None` where the journal does not say.
    #[serde(default)]
    pub delivered_output: Option<u64>,
    /// The model that the answer names, where it is not the one asked for.
    #[serde(default)]
    pub served_model: Option<String>,
    /// The service tier that the upstream was asked for.
    #[serde(default)]
    pub service_tier: Option<String>,
    /// The longest time without a byte, in ns: from the request's receipt to the first frame, and
    /// between frames. `None` where the journal does not say.
    #[serde(default)]
    pub silence_ns_max: Option<u64>,
    /// Tools that the request had when the upstream got it.
    #[serde(default)]
    pub tools: Option<u64>,
    /// What it said of calling them: `auto`, `required`, `none` or `named`.
    #[serde(default)]
    pub tool_choice: Option<String>,
    /// Whether several calls may come in one answer, as the upstream was told; `None` where it was
    /// not.
    #[serde(default)]
    pub parallel_tool_calls: Option<bool>,
    /// Tool calls in the answer.
    pub tool_calls: u64,
    /// Marked tokens of the answer's visible text; `None` where `text_sha256` is for want of one.
    #[serde(default)]
    pub text_tokens: Option<u64>,
    /// Those of them that stand after its tool calls; `None` where the journal does not say.
    #[serde(default)]
    pub text_tokens_after: Option<u64>,
    /// Marked tokens of its reasoning.
    #[serde(default)]
    pub reasoning_tokens: Option<u64>,
    /// SHA-256 of the answer's visible text, first 16 hex digits; `None` without text, or where
    /// the journal does not say.
    #[serde(default)]
    pub text_sha256: Option<String>,
    /// The same of its reasoning.
    #[serde(default)]
    pub reasoning_sha256: Option<String>,
    /// Its stop reason.
    pub finish: Option<String>,
    /// The fault that was planted, if any.
    pub fault: Option<String>,
    /// Whether every frame was handed over.
    pub completed: bool,
}

impl Truth {
    /// Whether it has a digest of what was written.
    pub const fn has_text(&self) -> bool {
        self.text_sha256.is_some() || self.reasoning_sha256.is_some()
    }
}
