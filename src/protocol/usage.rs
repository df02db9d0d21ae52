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

/// What the reports of one answer have said.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// Whether there must be one: it was asked for, or always comes.
    pub due: bool,
    /// Each count as it was last reported.
    last: Usage,
    /// The last count of output that was no placeholder.
    output: Option<u64>,
    /// Whether it was said that they cannot be: once is enough for an answer.
    told: bool,
}

impl Reports {
    /// Reports the counts that there are, and the service tier that they are of. `is_final` says
    /// that the output is no placeholder.
    pub fn take(
        &mut self,
        counts: Option<&Counts<'_>>,
        endpoint: Endpoint,
        is_final: bool,
        sink: &mut Sink<'_>,
    ) -> Usage {
        let Some(counts) = counts else {
            return Usage::default();
        };
        if !counts.service_tier.is_empty() {
            sink(Event::ServiceTier(&counts.service_tier));
        }
        let (usage, odd) = read(counts, endpoint);
        if odd {
            sink(Event::Oddity(Oddity::UsageNotANumber));
        }
        if usage.is_empty() {
            return usage;
        }
        self.last.overwrite(&usage);
        let mut cannot_be = !can_be(&self.last, endpoint, is_final);
        if is_final && usage.output.is_some() {
            cannot_be |= usage.output < self.output;
            self.output = usage.output;
        }
        if cannot_be && !self.told {
            self.told = true;
            sink(Event::Oddity(Oddity::UsageInconsistent));
        }
        sink(Event::Usage(usage));
        usage
    }

    /// Whether the output is not known at the end.
    pub fn lack_output(&self) -> bool {
        self.output.is_none()
    }
}

/// Whether there can be such counts. Some providers count reasoning beside the output and in the
/// total; where the total says so, that is no contradiction. Without a count of reasoning, a larger
/// total may hold it; a smaller one cannot be.
fn can_be(usage: &Usage, endpoint: Endpoint, is_final: bool) -> bool {
    if usage.input.is_some() && usage.uncached_input(endpoint).is_none() {
        return false;
    }
    let write = usage.cache_write.unwrap_or(0);
    let hour = usage.cache_write_1h.unwrap_or(0);
    if hour > write || usage.cache_write_5m.is_some_and(|n| n != write - hour) {
        return false;
    }
    let Some(output) = usage.output.filter(|_| is_final) else {
        return true;
    };
    match (endpoint, usage.input, usage.total) {
        (Endpoint::OpenAi, Some(input), Some(total)) => {
            let sum = input.saturating_add(output);
            match usage.reasoning {
                None => total >= sum,
                Some(reasoning) => {
                    sum == total && reasoning <= output || sum.saturating_add(reasoning) == total
                }
            }
        }
        _ => usage.reasoning.is_none_or(|reasoning| reasoning <= output),
    }
}

/// The counts, and whether something else stood in the place of one.
fn read(counts: &Counts<'_>, endpoint: Endpoint) -> (Usage, bool) {
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
    (usage, odd)
}
