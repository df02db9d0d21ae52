//! Token counts as a provider reports them, and what they mean on either endpoint.
//!
//! The two protocols count input differently (`OpenAI`: the whole, with cached tokens as a
//! subset; Anthropic: disjoint parts). [`Usage`] keeps the numbers *as received*; the methods
//! that take an [`Endpoint`] give them one meaning. Missing is not zero.

use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;

/// Token counts of one response, as received. `None` means that it was not reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// `prompt_tokens` (cached ones included) or `input_tokens` (cached ones apart).
    pub input: Option<u64>,
    /// `prompt_tokens_details.cached_tokens` or `cache_read_input_tokens`.
    pub cache_read: Option<u64>,
    /// `cache_creation_input_tokens`, of every lifetime.
    pub cache_write: Option<u64>,
    /// The part of `cache_write` that is kept for five minutes
    /// (`cache_creation.ephemeral_5m_input_tokens`).
    pub cache_write_5m: Option<u64>,
    /// The part of `cache_write` that is kept for an hour
    /// (`cache_creation.ephemeral_1h_input_tokens`).
    pub cache_write_1h: Option<u64>,
    /// `completion_tokens` or `output_tokens`, reasoning included.
    pub output: Option<u64>,
    /// `completion_tokens_details.reasoning_tokens`; a subset of `output`.
    pub reasoning: Option<u64>,
    /// `total_tokens`.
    pub total: Option<u64>,
}

impl Usage {
    /// Whether nothing at all was reported.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// All input tokens, cached ones included, on either endpoint.
    pub fn total_input(&self, endpoint: Endpoint) -> Option<u64> {
        let input = self.input?;
        Some(match endpoint {
            Endpoint::OpenAi => input,
            Endpoint::Anthropic => {
                // A count beyond reason stays beyond reason; it must not wrap into a plausible one.
                input
                    .saturating_add(self.cache_read.unwrap_or(0))
                    .saturating_add(self.cache_write.unwrap_or(0))
            }
        })
    }

    /// A usage whose `input` holds every input token, cached ones included, in the accounting of `endpoint`;
    /// `None` where more tokens are said to be cached than there are.
    pub fn from_total_input(self, endpoint: Endpoint) -> Option<Self> {
        let apart = match endpoint {
            Endpoint::OpenAi => 0,
            Endpoint::Anthropic => {
                let read = self.cache_read.unwrap_or(0);
                read.checked_add(self.cache_write.unwrap_or(0))?
            }
        };
        let input = match self.input {
            Some(input) => Some(input.checked_sub(apart)?),
            None => None,
        };
        Some(Self { input, ..self })
    }

    /// Input tokens that were neither read from nor written to a cache. `None` where input is
    /// unknown, or where more tokens are said to be cached than there are.
    pub fn uncached_input(&self, endpoint: Endpoint) -> Option<u64> {
        let input = self.input?;
        match endpoint {
            Endpoint::OpenAi => input
                .checked_sub(self.cache_read.unwrap_or(0))?
                .checked_sub(self.cache_write.unwrap_or(0)),
            Endpoint::Anthropic => Some(input),
        }
    }

    /// Takes over every count that `later` reports. Both protocols' later numbers replace
    /// earlier ones (they are cumulative), so nothing is ever added. The parts of an earlier
    /// `cache_write` are no parts of another one, and go with it.
    pub fn overwrite(&mut self, later: &Self) {
        fn take(slot: &mut Option<u64>, later: Option<u64>) {
            if later.is_some() {
                *slot = later;
            }
        }
        if later.cache_write.is_some() && later.cache_write != self.cache_write {
            (self.cache_write_5m, self.cache_write_1h) = (None, None);
        }
        take(&mut self.input, later.input);
        take(&mut self.cache_read, later.cache_read);
        take(&mut self.cache_write, later.cache_write);
        take(&mut self.cache_write_5m, later.cache_write_5m);
        take(&mut self.cache_write_1h, later.cache_write_1h);
        take(&mut self.output, later.output);
        take(&mut self.reasoning, later.reasoning);
        take(&mut self.total, later.total);
    }

    /// Adds every count that `other` reports: what comes of taking cumulative reports for parts.
    pub fn add(&mut self, other: &Self) {
        fn plus(sum: &mut Option<u64>, more: Option<u64>) {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0).saturating_add(more));
            }
        }
        plus(&mut self.input, other.input);
        plus(&mut self.cache_read, other.cache_read);
        plus(&mut self.cache_write, other.cache_write);
        plus(&mut self.cache_write_5m, other.cache_write_5m);
        plus(&mut self.cache_write_1h, other.cache_write_1h);
        plus(&mut self.output, other.output);
        plus(&mut self.reasoning, other.reasoning);
        plus(&mut self.total, other.total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_are_a_subset_at_openai_and_apart_at_anthropic() {
        let openai = Usage {
            input: Some(100),
            cache_read: Some(75),
            ..Usage::default()
        };
        assert_eq!(openai.total_input(Endpoint::OpenAi), Some(100));
        assert_eq!(openai.uncached_input(Endpoint::OpenAi), Some(25));

        let anthropic = Usage {
            input: Some(25),
            cache_read: Some(75),
            ..Usage::default()
        };
        assert_eq!(anthropic.total_input(Endpoint::Anthropic), Some(100));
        assert_eq!(anthropic.uncached_input(Endpoint::Anthropic), Some(25));
    }

    #[test]
    fn all_input_is_the_same_on_either_endpoint() {
        let all = Usage {
            input: Some(100),
            cache_read: Some(60),
            cache_write: Some(15),
            ..Usage::default()
        };
        for endpoint in Endpoint::ALL {
            let usage = all.from_total_input(endpoint).expect("enough");
            assert_eq!(usage.total_input(endpoint), Some(100));
            assert_eq!(usage.uncached_input(endpoint), Some(25));
        }
        let broken = Usage {
            cache_read: Some(90),
            ..all
        };
        assert_eq!(broken.from_total_input(Endpoint::Anthropic), None);
    }

    #[test]
    fn more_cached_than_read_is_unknown_not_negative() {
        let broken = Usage {
            input: Some(10),
            cache_read: Some(75),
            ..Usage::default()
        };
        assert_eq!(broken.uncached_input(Endpoint::OpenAi), None);
    }

    #[test]
    fn the_parts_of_cache_writes_go_with_their_sum() {
        let split = Usage {
            cache_write: Some(100),
            cache_write_5m: Some(100),
            cache_write_1h: Some(0),
            ..Usage::default()
        };
        let whole = |cache_write| Usage {
            cache_write,
            ..Usage::default()
        };
        let after = |later: &Usage| {
            let mut usage = split;
            usage.overwrite(later);
            usage
        };
        assert_eq!(after(&whole(Some(400))), whole(Some(400)));
        assert_eq!(after(&whole(Some(100))), split);
        assert_eq!(after(&whole(None)), split);
        let later = Usage {
            cache_write: Some(400),
            cache_write_1h: Some(300),
            ..Usage::default()
        };
        assert_eq!(after(&later), later);
    }

    #[test]
    fn later_counts_replace_and_silence_keeps() {
        let mut usage = Usage {
            input: Some(20),
            output: Some(1),
            ..Usage::default()
        };
        usage.overwrite(&Usage {
            output: Some(8),
            ..Usage::default()
        });
        assert_eq!(
            usage,
            Usage {
                input: Some(20),
                output: Some(8),
                ..Usage::default()
            }
        );
    }
}
