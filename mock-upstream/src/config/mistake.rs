//! The mistakes that are made in bills on purpose.

use serde::{Deserialize, Serialize};

use super::fault::When;

/// A mistake in the bill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrong {
    /// Which one.
    pub class: Class,
    /// Which requests it happens to.
    #[serde(default)]
    pub when: When,
}

/// The mistakes that can be planted in what is recorded. The journal's cost stays the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(
    missing_docs,
    reason = "the crate's README has a table of them, with what each does"
)]
pub enum Class {
    UnpricedZero,
    CacheDouble,
    CacheDropped,
    CacheTierWrong,
    StreamCumulativeSummed,
    StreamPartialKept,
    StreamCostMissing,
    TerminalEventMissed,
    ReasoningDropped,
    ReasoningDouble,
    TranslationUsageLost,
    AbortUnbilled,
    AbortFull,
    AbortEstimated,
    RetryDouble,
    ErrorBilled,
    CacheHitBilled,
    ServiceTier,
    ContextTier,
    ModelAlias,
    RatesSwapped,
    #[serde(rename = "UNIT_1K_1M")]
    Unit1k1m,
    MarkupUndeclared,
    FloatNoise,
    Rounding,
    LedgerMissing,
    LedgerDuplicate,
    LedgerOrphan,
    SurfaceDisagree,
    UsageInconsistent,
    TokensImplausible,
    Late,
    DayBoundary,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 33] = [
        Self::UnpricedZero,
        Self::CacheDouble,
        Self::CacheDropped,
        Self::CacheTierWrong,
        Self::StreamCumulativeSummed,
        Self::StreamPartialKept,
        Self::StreamCostMissing,
        Self::TerminalEventMissed,
        Self::ReasoningDropped,
        Self::ReasoningDouble,
        Self::TranslationUsageLost,
        Self::AbortUnbilled,
        Self::AbortFull,
        Self::AbortEstimated,
        Self::RetryDouble,
        Self::ErrorBilled,
        Self::CacheHitBilled,
        Self::ServiceTier,
        Self::ContextTier,
        Self::ModelAlias,
        Self::RatesSwapped,
        Self::Unit1k1m,
        Self::MarkupUndeclared,
        Self::FloatNoise,
        Self::Rounding,
        Self::LedgerMissing,
        Self::LedgerDuplicate,
        Self::LedgerOrphan,
        Self::SurfaceDisagree,
        Self::UsageInconsistent,
        Self::TokensImplausible,
        Self::Late,
        Self::DayBoundary,
    ];
}
