//! What in a reported usage cannot be.
//!
//! In: a record. Out: the contradiction in words, or none. Only what no gateway can mean is told: a part
//! beyond its whole, more output than was allowed, more input than was sent, none at all for an answer.

use crate::endpoint::Endpoint;
use crate::record::Record;
use crate::usage::Usage;

/// Input tokens that may be added to a request's own text: by the template of a chat, and by the
/// description of tools, which some providers write themselves (Anthropic's is about 350).
const TEMPLATE_TOKENS_MAX: u64 = 2_048;

/// How the parts of `usage` do not make its whole; `is_additive`: reasoning is counted besides the output.
pub fn inconsistency(usage: &Usage, endpoint: Endpoint, is_additive: bool) -> Option<String> {
    let input = usage.input?;
    if usage.uncached_input(endpoint).is_none() {
        let cached = [usage.cache_read, usage.cache_write];
        let cached = cached.into_iter().flatten().fold(0, u64::saturating_add);
        return Some(format!("{cached} cached of {input} input tokens"));
    }
    let write = usage.cache_write.unwrap_or(0);
    if let Some(hour) = usage.cache_write_1h.filter(|&hour| hour > write) {
        return Some(format!(
            "{hour} tokens written for an hour of {write} written"
        ));
    }
    let rest = write - usage.cache_write_1h.unwrap_or(0);
    if let Some(five) = usage.cache_write_5m.filter(|&five| five != rest) {
        return Some(format!(
            "{five} tokens written for five minutes of {rest} not written for an hour"
        ));
    }
    let output = usage.output?;
    let besides = usage.reasoning.filter(|_| is_additive);
    if let Some(reasoning) = usage.reasoning.filter(|&n| n > output && !is_additive) {
        return Some(format!("{reasoning} reasoning of {output} output tokens"));
    }
    match (endpoint, usage.total) {
        (Endpoint::OpenAi, Some(total)) => {
            let sum = input.checked_add(output);
            let sum = sum.and_then(|sum| sum.checked_add(besides.unwrap_or(0)));
            let reasoning = besides.map_or(String::new(), |n| format!(" and {n} reasoning"));
            (sum != Some(total)).then(|| {
                format!("a total of {total} tokens for {input} in and {output} out{reasoning}")
            })
        }
        _ => None,
    }
}

/// How `record` reports more tokens than there can have been.
pub fn implausible(record: &Record) -> Option<String> {
    let usage = record.final_usage();
    if let (Some(output), Some(limit)) = (usage.output, record.output_limit)
        && output > limit
    {
        return Some(format!("{output} output tokens where {limit} are allowed"));
    }
    // No tokenizer makes more than a token of a byte.
    let input = usage.total_input(record.endpoint)?;
    let bytes = record.body_bytes?;
    (input > bytes.saturating_add(TEMPLATE_TOKENS_MAX))
        .then(|| format!("{input} input tokens of a request of {bytes} bytes"))
}

/// Whether `record` has an answer and reports no output for it.
pub fn lost(record: &Record) -> bool {
    let usage = record.final_usage();
    let counts = &record.counts;
    let has_text = record.text_sha256.is_some() || record.reasoning_sha256.is_some();
    let has_answer = counts.token_events > 0 || counts.characters > 0 || has_text;
    usage.output == Some(0) && has_answer
}
