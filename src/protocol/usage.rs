//! Token counts as they stand on the wire, in the names of both protocols.

use std::borrow::Cow;

use super::decode::Sink;
use super::lenient::{Count, object};
use crate::endpoint::Endpoint;
use crate::event::{Event, Oddity};
use crate::usage::Usage;

object! {
    /// A `usage` object of either protocol.
    pub(super) Counts<'a> {
        "prompt_tokens" => prompt: Count,
        "completion_tokens" => completion: Count,
        "total_tokens" => total: Count,
        "prompt_tokens_details" => prompt_details: Details,
        "completion_tokens_details" => completion_details: Details,
        // DeepSeek.
        "prompt_cache_hit_tokens" => prompt_cache_hit: Count,
        "input_tokens" => input: Count,
        "output_tokens" => output: Count,
        "cache_read_input_tokens" => cache_read: Count,
        "cache_creation_input_tokens" => cache_creation: Count,
        "cache_creation" => lifetimes: Lifetimes,
        // Anthropic.
        "service_tier" => service_tier: Cow<'a, str>,
    }
}

object! {
    /// `prompt_tokens_details` and `completion_tokens_details`.
    Details {
        "cached_tokens" => cached: Count,
        "reasoning_tokens" => reasoning: Count,
        // LiteLLM and OpenRouter, for upstreams that bill cache writes.
        "cache_creation_tokens" => cache_creation: Count,
        "cache_write_tokens" => cache_write: Count,
    }
}

object! {
    /// Cache writes by how long they are kept.
    Lifetimes {
        "ephemeral_5m_input_tokens" => five_minutes: Count,
        "ephemeral_1h_input_tokens" => one_hour: Count,
    }
}

/// Reports the counts that there are, and the service tier that they are of.
pub(super) fn report(counts: Option<&Counts<'_>>, endpoint: Endpoint, sink: &mut Sink<'_>) {
    let Some(counts) = counts else { return };
    if !counts.service_tier.is_empty() {
        sink(Event::ServiceTier(&counts.service_tier));
    }
    let mut odd = false;
    // The first of several names that has a count.
    let mut first = |names: &[Count]| {
        odd |= names.contains(&Count::NotANumber);
        names.iter().find_map(|count| match count {
            Count::Number(n) => Some(*n),
            Count::Missing | Count::NotANumber => None,
        })
    };
    let usage = match endpoint {
        Endpoint::OpenAi => Usage {
            input: first(&[counts.prompt]),
            cache_read: first(&[
                counts.prompt_details.cached,
                counts.prompt_cache_hit,
                counts.cache_read,
            ]),
            cache_write: first(&[
                counts.cache_creation,
                counts.prompt_details.cache_creation,
                counts.prompt_details.cache_write,
            ]),
            cache_write_5m: first(&[counts.lifetimes.five_minutes]),
            cache_write_1h: first(&[counts.lifetimes.one_hour]),
            output: first(&[counts.completion]),
            reasoning: first(&[counts.completion_details.reasoning]),
            total: first(&[counts.total]),
        },
        Endpoint::Anthropic => Usage {
            input: first(&[counts.input]),
            cache_read: first(&[counts.cache_read]),
            cache_write: first(&[counts.cache_creation]),
            cache_write_5m: first(&[counts.lifetimes.five_minutes]),
            cache_write_1h: first(&[counts.lifetimes.one_hour]),
            output: first(&[counts.output]),
            reasoning: None,
            total: first(&[counts.total]),
        },
    };
    if odd {
        sink(Event::Oddity(Oddity::UsageNotANumber));
    }
    if !usage.is_empty() {
        sink(Event::Usage(usage));
    }
}
