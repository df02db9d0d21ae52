//! `LiteLLM`'s spend logs: the columns of the table `LiteLLM_SpendLogs` in its `schema.prisma`, in that order.

use serde_json::json;

use super::{PROVIDER, Row, moment};
use crate::config::Class;
use crate::journal::Endpoint;

pub(super) const COLUMNS: [&str; 24] = [
    "request_id",
    "call_type",
    "api_key",
    "spend",
    "total_tokens",
    "prompt_tokens",
    "completion_tokens",
    "startTime",
    "endTime",
    "completionStartTime",
    "model",
    "model_id",
    "model_group",
    "custom_llm_provider",
    "api_base",
    "user",
    "metadata",
    "cache_hit",
    "cache_key",
    "request_tags",
    "team_id",
    "end_user",
    "requester_ip_address",
    "status",
];

/// A row; what the upstream has nothing for is empty. The metadata name the request's nonce and trace id,
/// if it has one.
pub(super) fn record(row: &Row<'_>) -> [String; 24] {
    let entry = row.entry;
    // As Postgres writes a `timestamp(3)`, in UTC.
    let time = |unix_us| moment(unix_us, "%Y-%m-%d %H:%M:%S%.3f");
    let status = if entry.status < 400 && entry.finish.is_some() {
        "success"
    } else {
        "failure"
    };
    let is_hit = entry.billing_faults.contains(&Class::CacheHitBilled);
    let names = if row.is_orphan {
        json!({})
    } else {
        json!({"nonce": entry.nonce, "trace_id": entry.trace_id})
    };
    let metadata = json!({
        "status": status,
        "additional_usage_values": {
            "cache_read_input_tokens": row.usage.cache_read,
            "cache_creation_input_tokens": row.usage.cache_write,
            "completion_tokens_details": {"reasoning_tokens": row.usage.reasoning},
        },
        "spend_logs_metadata": names,
    });
    let call_type = match entry.endpoint {
        Endpoint::OpenAi => "acompletion",
        Endpoint::Anthropic => "anthropic_messages",
    };
    let prompt = row.usage.prompt();
    let served = entry.served_model.as_ref().unwrap_or(&entry.model);
    [
        row.id.clone(),
        call_type.to_owned(),
        String::new(),
        row.amount.to_owned(),
        prompt.saturating_add(row.usage.output).to_string(),
        prompt.to_string(),
        row.usage.output.to_string(),
        time(row.times.start),
        time(row.times.end),
        row.times.first.map(time).unwrap_or_default(),
        served.clone(),
        String::new(),
        entry.model.clone(),
        PROVIDER.to_owned(),
        entry.path.clone(),
        String::new(),
        metadata.to_string(),
        if is_hit { "True" } else { "False" }.to_owned(),
        "Cache OFF".to_owned(),
        "[]".to_owned(),
        String::new(),
        String::new(),
        String::new(),
        status.to_owned(),
    ]
}
