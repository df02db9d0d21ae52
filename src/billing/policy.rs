//! Who pays for what: the one place that says which attempts a gateway may charge for.
//!
//! - Complete answers are charged at the usage that they report.
//! - Answers that broke off (truncated, reset, an error inside the stream, malformed, a timeout
//!   after sending, cut by the harness, cancelled on purpose) are charged as the policy says:
//!   by default at the usage that they report. Without a usage nobody here knows what they cost; that
//!   is unknown, not free: the upstream may have worked and billed.
//! - What was refused (429, an error status) or never sent (dropped, no connection) is free, unless
//!   the policy says otherwise. A nonzero cost recorded on a free attempt is a mismatch.
//! - An answer from the gateway's own cache is free, unless the policy says otherwise.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::cache_hit;
use crate::record::{Outcome, Record};

/// What the price list says that is not about tokens: the scenario's `[pricing.policy]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// What an answer costs that broke off.
    pub abort: OnAbort,
    /// What a refused request costs.
    pub error: OnError,
    /// What the attempts cost that a gateway makes at its upstream beyond the first.
    pub retry: OnRetry,
    /// What an answer from the gateway's own cache costs.
    pub cache_hit: OnCacheHit,
}

/// What an answer costs that broke off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnAbort {
    /// What the usage costs that it reports; without one, nobody knows.
    #[default]
    Reported,
    /// As much as the whole answer would have: the model goes on.
    Full,
    /// The input, and the output that was delivered.
    Delivered,
    /// Nothing.
    Free,
}

/// What a refused request costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Nothing.
    #[default]
    Free,
    /// What the usage costs that it reports.
    Reported,
}

/// What the attempts cost that a gateway makes at its upstream beyond the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRetry {
    /// Nothing: a request is paid for once.
    #[default]
    Free,
    /// As much as the one that was answered.
    Each,
}

/// What an answer from the gateway's own cache costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnCacheHit {
    /// Nothing.
    #[default]
    Free,
    /// As much as any other.
    Full,
}

/// What an attempt may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// What its usage costs.
    AtUsage,
    /// What the whole answer would have cost, of which only a part arrived.
    Whole,
    /// The input, and the output that was delivered.
    Delivered,
    /// Nothing.
    Free,
}

impl Policy {
    /// The charge that is expected for `record`.
    pub fn charge(self, record: &Record) -> Charge {
        let never_sent = record.sent.is_none() && record.sent_utc.is_none();
        let from_cache = record.gateway_cache.as_deref().and_then(cache_hit) == Some(true);
        match record.outcome {
            _ if never_sent => Charge::Free,
            _ if self.cache_hit == OnCacheHit::Free && from_cache => Charge::Free,
            Outcome::Dropped | Outcome::ConnectFailed | Outcome::TimeoutConnect => Charge::Free,
            Outcome::RateLimited | Outcome::HttpError => match self.error {
                OnError::Free => Charge::Free,
                OnError::Reported => Charge::AtUsage,
            },
            Outcome::Ok => Charge::AtUsage,
            Outcome::StreamError
            | Outcome::Truncated
            | Outcome::Malformed
            | Outcome::TimeoutFirstToken
            | Outcome::TimeoutIdle
            | Outcome::TimeoutTotal
            | Outcome::Reset
            | Outcome::Cut
            | Outcome::Cancelled => match self.abort {
                OnAbort::Reported => Charge::AtUsage,
                OnAbort::Full => Charge::Whole,
                OnAbort::Delivered => Charge::Delivered,
                OnAbort::Free => Charge::Free,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;
    use crate::record::{Class, Phase};

    #[test]
    fn a_hit_is_free_unless_the_policy_says_otherwise() {
        let mut record = Record::new("t".into(), Phase::Measured, Endpoint::OpenAi, Class::Chat);
        record.outcome = Outcome::Ok;
        record.sent_utc = Some("2026-08-01T00:00:00Z".to_owned());
        let full = Policy {
            cache_hit: OnCacheHit::Full,
            ..Policy::default()
        };
        for (said, expected) in [
            (None, Charge::AtUsage),
            (Some("x-cache: MISS"), Charge::AtUsage),
            (Some("x-cache: HIT"), Charge::Free),
        ] {
            record.gateway_cache = said.map(str::to_owned);
            assert_eq!(Policy::default().charge(&record), expected, "{said:?}");
            assert_eq!(full.charge(&record), Charge::AtUsage, "{said:?}");
        }
    }
}
