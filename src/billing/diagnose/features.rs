//! What attempts have that a cause may act on: whom a finding is about.

use crate::record::Outcome;

use super::super::Attempt;
use super::hypothesis::{CacheTier, Cached, Hypothesis};

/// Something that some attempts have and others have not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// All of them.
    Any,
    /// Tokens read from a cache.
    Reads,
    /// Tokens written to one.
    Writes,
    /// Tokens written to one for an hour.
    HourWrites,
    /// Tokens read from a cache, or written to one for an hour.
    ReadsOrHourWrites,
    /// Tokens read from a cache, or written to one.
    Cached,
    /// Reasoning tokens.
    Reasoning,
    /// Reasoning tokens that only the upstream's journal counts.
    ReasoningByUpstream,
    /// Several usage reports.
    Reports,
    /// The harness or the gateway asked again.
    Retried,
    /// The answer broke off.
    BrokeOff,
    /// No answer came.
    Failed,
    /// The gateway's own cache answered.
    CacheHit,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 13] = [
        Self::Any,
        Self::Reads,
        Self::Writes,
        Self::HourWrites,
        Self::ReadsOrHourWrites,
        Self::Cached,
        Self::Reasoning,
        Self::ReasoningByUpstream,
        Self::Reports,
        Self::Retried,
        Self::BrokeOff,
        Self::Failed,
        Self::CacheHit,
    ];

    /// What a hypothesis acts on.
    pub const fn of(hypothesis: Hypothesis<'_>) -> Self {
        match hypothesis {
            Hypothesis::StreamCumulativeSummed | Hypothesis::StreamPartialKept => Self::Reports,
            Hypothesis::ReasoningDropped | Hypothesis::ReasoningDouble => Self::Reasoning,
            Hypothesis::AbortFull
            | Hypothesis::AbortMaybeFull
            | Hypothesis::AbortEstimated(_)
            | Hypothesis::AbortUnbilled => Self::BrokeOff,
            Hypothesis::CacheTierWrong(tier) => match tier {
                CacheTier::ReadsAsInput => Self::Reads,
                CacheTier::HourAsFiveMinutes => Self::HourWrites,
                CacheTier::ReadsAndHour => Self::ReadsOrHourWrites,
                CacheTier::FiveMinutesAsHour | CacheTier::WritesAsInput => Self::Writes,
            },
            Hypothesis::CacheDouble | Hypothesis::CacheDropped(Cached::Reads) => Self::Reads,
            Hypothesis::CacheDropped(Cached::Writes) => Self::Writes,
            Hypothesis::CacheDropped(Cached::Both) => Self::Cached,
            _ => Self::Any,
        }
    }

    /// In words, to follow "requests"; empty for all of them.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Reads | Self::Cached => " with cached tokens",
            Self::Writes => " with tokens written to a cache",
            Self::HourWrites => " with tokens written to a cache for an hour",
            Self::ReadsOrHourWrites => " with tokens read from a cache or written for an hour",
            Self::Reasoning => " with reasoning tokens",
            Self::ReasoningByUpstream => " with reasoning tokens by the upstream's count",
            Self::Reports => " with several usage reports",
            Self::Retried => " that were tried again",
            Self::BrokeOff => " that broke off",
            Self::Failed => " that were refused or never sent",
            Self::CacheHit => " that the gateway's own cache answered",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// How many attempts have each feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features([u64; Feature::ALL.len()]);

impl Features {
    /// Those of one attempt; `is_cache_hit`: whether it is free because the gateway's own cache answered.
    /// `counted`: the reasoning tokens that the upstream's journal counts.
    pub fn of(attempt: &Attempt<'_>, is_cache_hit: bool, counted: Option<u64>) -> Self {
        let record = attempt.record;
        let usage = record.final_usage();
        let has = |count: Option<u64>| count.is_some_and(|n| n > 0);
        let (reads, writes) = (has(usage.cache_read), has(usage.cache_write));
        let hour = has(usage.cache_write_1h);
        let answered_before = attempt.truth.is_some_and(|entries| entries.len() > 1);
        let failed = failed(record.outcome);
        let mut features = Self::default();
        for feature in Feature::ALL {
            let has = match feature {
                Feature::Any => true,
                Feature::Reads => reads,
                Feature::Writes => writes,
                Feature::HourWrites => hour,
                Feature::ReadsOrHourWrites => reads || hour,
                Feature::Cached => reads || writes,
                Feature::Reasoning => has(usage.reasoning.or(counted)),
                Feature::ReasoningByUpstream => usage.reasoning.is_none() && has(counted),
                Feature::Reports => record.usage_reports > 1,
                Feature::Retried => record.attempt > 0 || answered_before,
                Feature::BrokeOff => broke_off(record.outcome),
                Feature::Failed => failed,
                Feature::CacheHit => is_cache_hit,
            };
            features.0[feature.index()] = u64::from(has);
        }
        features
    }

    /// Adds those of more attempts.
    pub fn add(&mut self, other: &Self) {
        for (sum, n) in self.0.iter_mut().zip(other.0) {
            *sum += n;
        }
    }

    /// How many attempts have `feature`.
    pub const fn count(&self, feature: Feature) -> u64 {
        self.0[feature.index()]
    }
}

/// Whether an attempt was refused or never sent.
pub const fn failed(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::RateLimited
            | Outcome::HttpError
            | Outcome::Dropped
            | Outcome::ConnectFailed
            | Outcome::TimeoutConnect
    )
}

/// Whether an answer may have begun and did not come to its end.
pub const fn broke_off(outcome: Outcome) -> bool {
    !failed(outcome) && !matches!(outcome, Outcome::Ok)
}
