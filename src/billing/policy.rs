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

/// Whether a header, as `name: value`, says that the gateway's own cache answered; `None` if it does
/// not speak of that. `HIT` and `MISS` are understood with other words around them; `true` and
/// `false` where the name says what is meant.
pub fn cache_hit(header: &str) -> Option<bool> {
    let (name, value) = header.split_once(':')?;
    let about_hits = name.trim().to_ascii_lowercase().ends_with("-hit");
    let value = value.to_ascii_lowercase();
    let says = |words: &[&str]| {
        value
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| words.contains(&word))
    };
    if says(&["hit"]) || about_hits && says(&["true", "1"]) {
        return Some(true);
    }
    let missed = says(&[
        "miss", "bypass", "refresh", "expired", "disabled", "dynamic", "skip",
    ]);
    (missed || about_hits && says(&["false", "0"])).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;
    use crate::record::{Class, Phase};

    #[test]
    fn gateways_say_hit_and_miss_in_their_own_words() {
        for (header, expected) in [
            ("x-litellm-cache-hit: True", Some(true)),
            ("x-litellm-cache-hit: False", Some(false)),
            ("x-litellm-cache-hit: None", None),
            ("cf-aig-cache-status: HIT", Some(true)),
            ("x-portkey-cache-status: SEMANTIC HIT", Some(true)),
            ("x-portkey-cache-status: REFRESH", Some(false)),
            ("helicone-cache: MISS", Some(false)),
            ("x-cache: Hit from cloudfront", Some(true)),
            ("x-cache: TCP_MISS", Some(false)),
            ("x-cache: true", None),
            ("x-cache: white", None),
            ("x-cache", None),
        ] {
            assert_eq!(cache_hit(header), expected, "{header}");
        }
    }

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
