//! `OpenRouter`'s generations: the columns of the export of its log of requests.

use super::{PROVIDER, Row, moment};
use crate::billing::lookup::normalised;

pub(super) const COLUMNS: [&str; 23] = [
    "generation_id",
    "created_at",
    "cost_total",
    "cost_web_search",
    "cost_cache",
    "cost_file_processing",
    "byok_usage_inference",
    "tokens_prompt",
    "tokens_completion",
    "tokens_reasoning",
    "tokens_cached",
    "model_permaslug",
    "provider_name",
    "variant",
    "cancelled",
    "streamed",
    "user",
    "finish_reason_raw",
    "finish_reason_normalized",
    "generation_time_ms",
    "time_to_first_token_ms",
    "app_name",
    "api_key_name",
];

/// A row; what the upstream has nothing for is empty.
pub(super) fn record(row: &Row<'_>) -> [String; 23] {
    let entry = row.entry;
    let ms = |until: u64| (until.saturating_sub(row.times.start) / 1_000).to_string();
    let served = entry.served_model.as_ref().unwrap_or(&entry.model);
    let finish = entry.finish.as_deref().unwrap_or_default();
    let zero = || "0".to_owned();
    [
        row.id.clone(),
        moment(row.times.start, "%Y-%m-%d %H:%M:%S%.3f"),
        row.amount.to_owned(),
        zero(),
        zero(),
        zero(),
        zero(),
        row.usage.prompt().to_string(),
        row.usage.output.to_string(),
        row.usage.reasoning.to_string(),
        row.usage.cache_read.to_string(),
        served.clone(),
        PROVIDER.to_owned(),
        "standard".to_owned(),
        (!entry.completed).to_string(),
        entry.stream.to_string(),
        String::new(),
        finish.to_owned(),
        normalised(finish).to_owned(),
        ms(row.times.end),
        row.times.first.map(ms).unwrap_or_default(),
        String::new(),
        String::new(),
    ]
}
