//! What one answer cost, looked up by its id: `GET /api/v1/generation?id=ID`, in `OpenRouter`'s shape.

use serde::Serialize;
use serde_json::value::RawValue;

use super::ledger::{moment, when};
use crate::journal::{Endpoint, JournalEntry};
use crate::responder::is_request_id;

/// The path of the look-up.
pub(crate) const PATH: &str = "/api/v1/generation";

/// Digits of an answer's id, without the prefix that an API has for it.
const ID_DIGITS: usize = 24;

/// The part of a client's id that the journal knows, `None` for what cannot be one.
///
/// Each API has its own prefix, and a gateway may have another. A billed error is known by its request's whole id.
pub(crate) fn response_id(id: &str) -> Option<&str> {
    if is_request_id(id) {
        return Some(id);
    }
    let start = id.len().checked_sub(ID_DIGITS)?;
    let digits = id.get(start..)?;
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    digits.bytes().all(is_hex).then_some(digits)
}

/// The error of this API, in JSON.
pub(crate) fn error(status: u16, message: &str) -> String {
    let body = serde_json::json!({"error": {"message": message, "code": status}});
    body.to_string()
}

/// The answer in JSON, if it is known at `now`, in microseconds since 1970.
pub(crate) fn generation(id: &str, entry: &JournalEntry, now_unix_us: u64) -> Option<String> {
    if entry.recorded_unix_us? > now_unix_us {
        return None;
    }
    let cost = entry.recorded.get("lookup").cloned();
    let cost = cost.and_then(|digits| RawValue::from_string(digits).ok());
    let usage = entry.billed_usage.unwrap_or(entry.usage);
    let times = when(entry);
    let ms = |from: u64, to: Option<u64>| to.map(|to| to.saturating_sub(from) / 1_000);
    let finish = entry.finish.as_deref();
    let generation = Generation {
        id,
        upstream_id: None,
        total_cost: cost.as_deref(),
        usage: cost.as_deref(),
        cache_discount: None,
        upstream_inference_cost: None,
        created_at: moment(times.start, "%Y-%m-%dT%H:%M:%S%.3f+00:00"),
        model: entry.served_model.as_deref().unwrap_or(&entry.model),
        app_id: None,
        streamed: entry.stream,
        cancelled: !entry.completed,
        provider_name: super::ledger::PROVIDER,
        latency: ms(times.start, times.first),
        moderation_latency: None,
        generation_time: ms(times.start, Some(times.end)),
        finish_reason: finish.map(normalised),
        native_finish_reason: finish,
        tokens_prompt: usage.prompt(),
        tokens_completion: usage.output,
        native_tokens_prompt: usage.prompt(),
        native_tokens_completion: usage.output,
        native_tokens_completion_images: None,
        native_tokens_reasoning: usage.reasoning,
        native_tokens_cached: usage.cache_read,
        num_media_prompt: None,
        num_input_audio_prompt: None,
        num_media_completion: None,
        num_search_results: None,
        origin: "",
        is_byok: false,
        external_user: None,
        api_type: match entry.endpoint {
            Endpoint::OpenAi => "completions",
            Endpoint::Anthropic => "messages",
        },
        router: None,
        service_tier: entry.service_tier.as_deref(),
    };
    serde_json::to_string(&Envelope { data: generation }).ok()
}

/// The reason to stop, as chat completions call it.
pub(super) fn normalised(finish: &str) -> &str {
    match finish {
        "end_turn" | "stop_sequence" => "stop",
        "max_tokens" => "length",
        "tool_use" => "tool_calls",
        other => other,
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    data: Generation<'a>,
}

/// Members that the upstream has nothing for are null. Amounts are dollars, times are milliseconds.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "they are this API's")]
struct Generation<'a> {
    id: &'a str,
    upstream_id: Option<&'a str>,
    total_cost: Option<&'a RawValue>,
    usage: Option<&'a RawValue>,
    cache_discount: Option<&'a RawValue>,
    upstream_inference_cost: Option<&'a RawValue>,
    created_at: String,
    model: &'a str,
    app_id: Option<u64>,
    streamed: bool,
    cancelled: bool,
    provider_name: &'a str,
    latency: Option<u64>,
    moderation_latency: Option<u64>,
    generation_time: Option<u64>,
    finish_reason: Option<&'a str>,
    native_finish_reason: Option<&'a str>,
    tokens_prompt: u64,
    tokens_completion: u64,
    native_tokens_prompt: u64,
    native_tokens_completion: u64,
    native_tokens_completion_images: Option<u64>,
    native_tokens_reasoning: u64,
    native_tokens_cached: u64,
    num_media_prompt: Option<u64>,
    num_input_audio_prompt: Option<u64>,
    num_media_completion: Option<u64>,
    num_search_results: Option<u64>,
    origin: &'a str,
    is_byok: bool,
    external_user: Option<&'a str>,
    api_type: &'a str,
    router: Option<&'a str>,
    service_tier: Option<&'a str>,
}
