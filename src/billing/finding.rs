//! What is worth saying about a bill: findings, grouped, counted and with examples.
//!
//! A finding is one kind of observation on one group of attempts (endpoint, streaming or not,
//! requested model). Groups are as many as the run's models, so memory does not grow with its
//! length. Tallies add up and merge in any order.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::money::MoneyError;
use crate::record::Record;

/// How many trace ids stand beside a finding.
pub const EXAMPLES_MAX: usize = 3;

/// Causes of a wrong cost that the kind of the attempt shows by itself.
const CAUSES_BY_KIND: [Code; 6] = [
    Code::ErrorBilled,
    Code::CacheHitBilled,
    Code::TranslationUsageLost,
    Code::AbortUnbilled,
    Code::AbortFull,
    Code::LedgerDuplicate,
];

/// What a finding means for the numbers.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A recorded or reported number is wrong, or what arrived is not what was sent.
    Wrong,
    /// A number is missing, so that nobody knows whether it is right.
    Unknown,
    /// Worth knowing; no number is wrong because of it.
    Info,
}

macro_rules! codes {
    ($($severity:ident { $($(#[doc = $doc:literal])+ $code:ident = $name:literal,)+ })+) => {
        /// What was observed: the causes of a wrong cost by their names, and what is odd besides.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            JsonSchema,
        )]
        pub enum Code {
            $($($(#[doc = $doc])+ #[serde(rename = $name)] $code,)+)+
        }

        impl Code {
            /// Every code, the gravest first.
            pub const ALL: &[Self] = &[$($(Self::$code,)+)+];

            /// The name in reports and gates.
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Self::$code => $name,)+)+
                }
            }

            /// What it means for the numbers.
            pub const fn severity(self) -> Severity {
                match self {
                    $($(Self::$code)|+ => Severity::$severity,)+
                }
            }
        }
    };
}

codes! {
    Wrong {
        /// The recorded cost is not the predicted one, and no cause fits, or more than one.
        CostMismatch = "COST_MISMATCH",
        /// Nothing is recorded for what has a price.
        UnpricedZero = "UNPRICED_ZERO",
        /// Tokens read from a cache are billed as such and as input.
        CacheDouble = "CACHE_DOUBLE",
        /// Tokens read from a cache are billed at nothing.
        CacheDropped = "CACHE_DROPPED",
        /// Cached tokens are billed at the price of another kind.
        CacheTierWrong = "CACHE_TIER_WRONG",
        /// The usage reports of a stream, each of which holds the ones before, are added up.
        StreamCumulativeSummed = "STREAM_CUMULATIVE_SUMMED",
        /// The first usage report of a stream is billed instead of the last.
        StreamPartialKept = "STREAM_PARTIAL_KEPT",
        /// The output of a stream is billed at nothing: the event that counts it was missed.
        TerminalEventMissed = "TERMINAL_EVENT_MISSED",
        /// Reasoning tokens are billed at nothing.
        ReasoningDropped = "REASONING_DROPPED",
        /// Reasoning tokens are billed twice.
        ReasoningDouble = "REASONING_DOUBLE",
        /// An answer with tokens reports a usage of none.
        TranslationUsageLost = "TRANSLATION_USAGE_LOST",
        /// An answer that broke off is billed at nothing, against the policy.
        AbortUnbilled = "ABORT_UNBILLED",
        /// An answer that broke off is billed as a whole one, against the policy.
        AbortFull = "ABORT_FULL",
        /// An answer that broke off is billed by an estimate of its tokens.
        AbortEstimated = "ABORT_ESTIMATED",
        /// A request that was tried again is billed once more.
        RetryDouble = "RETRY_DOUBLE",
        /// A cost is recorded on an attempt that failed and should be free.
        ErrorBilled = "ERROR_BILLED",
        /// An answer from the gateway's own cache is billed, against the policy.
        CacheHitBilled = "CACHE_HIT_BILLED",
        /// The prices of another service tier are billed.
        ServiceTier = "SERVICE_TIER",
        /// The prices for another size of prompt are billed.
        ContextTier = "CONTEXT_TIER",
        /// Another model's prices are billed.
        ModelAlias = "MODEL_ALIAS",
        /// Input is billed at the price of output, and output at that of input.
        RatesSwapped = "RATES_SWAPPED",
        /// A price for a thousand tokens is taken for a million, or the other way round.
        Unit1k1m = "UNIT_1K_1M",
        /// The same percentage is on every amount, and the price list does not say so.
        MarkupUndeclared = "MARKUP_UNDECLARED",
        /// Amounts are rounded by a rule that the price list does not declare.
        Rounding = "ROUNDING",
        /// The recorded cost is not the upstream's true one.
        CostNotTrue = "COST_NOT_TRUE",
        /// The reported usage is not the upstream's true one.
        UsageNotTrue = "USAGE_NOT_TRUE",
        /// The parts of a reported usage do not make its whole.
        UsageInconsistent = "USAGE_INCONSISTENT",
        /// More tokens are reported than there can have been.
        TokensImplausible = "TOKENS_IMPLAUSIBLE",
        /// Two surfaces record different costs of one attempt.
        SurfaceDisagree = "SURFACE_DISAGREE",
        /// A billable attempt has no row in the ledger.
        LedgerMissing = "LEDGER_MISSING",
        /// An attempt has more than one row in the ledger.
        LedgerDuplicate = "LEDGER_DUPLICATE",
        /// The ledger has an attempt on another day than the one on which it was made.
        DayBoundary = "DAY_BOUNDARY",
        /// A cost was known later than it should be.
        Late = "LATE",
        /// Discrepancies are more frequent under more load.
        LoadDependent = "LOAD_DEPENDENT",
        /// The answer has fewer tool calls than the upstream made.
        ToolCallsLost = "TOOL_CALLS_LOST",
        /// The answer has more tool calls than the upstream made.
        ToolCallsExtra = "TOOL_CALLS_EXTRA",
        /// The visible text is not the one that the upstream wrote.
        TextNotTrue = "TEXT_NOT_TRUE",
        /// The reasoning is not the one that the upstream wrote.
        ReasoningNotTrue = "REASONING_NOT_TRUE",
    }
    Unknown {
        /// Something was predicted and nothing recorded.
        CostNotRecorded = "COST_NOT_RECORDED",
        /// A stream says nothing of its cost.
        StreamCostMissing = "STREAM_COST_MISSING",
        /// A cost surface holds something that is no amount.
        CostUnreadable = "COST_UNREADABLE",
        /// No usage was reported, so nothing can be predicted.
        UsageMissing = "USAGE_MISSING",
        /// The table has no price for what was used.
        Unpriced = "UNPRICED",
        /// The upstream's journal has no entry for a complete answer.
        TruthMissing = "TRUTH_MISSING",
        /// A row of the ledger, of the time and the models of the run, joins no attempt.
        LedgerOrphan = "LEDGER_ORPHAN",
        /// The ledger was asked for and could not be read, so that no bill was held against it.
        LedgerUnread = "LEDGER_UNREAD",
        /// The cost was not known when the asking for it ended.
        CostPending = "COST_PENDING",
    }
    Info {
        /// The answer names another model than was asked for, with another price.
        ServedModelDiffers = "SERVED_MODEL_DIFFERS",
        /// The recorded cost is right but for the noise of a float.
        FloatNoise = "FLOAT_NOISE",
        /// The recorded cost is right after the rounding that the table declares.
        RoundingDeclared = "ROUNDING_DECLARED",
        /// The gateway asked the upstream more often than it was asked.
        UpstreamRetried = "UPSTREAM_RETRIED",
        /// A stream was asked for and the gateway asked the upstream for none.
        StreamDowngraded = "STREAM_DOWNGRADED",
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A cause that explains every attempt of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// Which.
    pub code: Code,
    /// What exactly, where the name does not say it: the rule of a rounding, the percentage of a
    /// markup, the model whose price it is.
    pub detail: Option<String>,
}

/// One kind of observation on one group of attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What was observed.
    pub code: Code,
    /// What it means for the numbers.
    pub severity: Severity,
    /// Where the attempts were sent.
    pub endpoint: Endpoint,
    /// Whether a stream was asked for.
    pub streaming: bool,
    /// The model asked for.
    pub model: String,
    /// How many attempts it was observed on.
    pub count: u64,
    /// How many attempts of the group were looked at.
    pub of: u64,
    /// In plain words, with sums and direction.
    pub message: String,
    /// Where a cost is wrong: one cause, or several that fit equally; none fits if it is empty.
    pub causes: Vec<Cause>,
    /// Trace ids of the first few.
    pub examples: Vec<String>,
}

/// What an attempt is told apart and ordered by: (session, turn, attempt, trace id).
pub(super) type Key = (u64, u32, u32, String);

/// The key of `record`.
pub(super) fn key(record: &Record) -> Key {
    let id = record.trace_id.clone();
    (record.session, record.turn, record.attempt, id)
}

/// The attempts that are looked at together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scope {
    pub endpoint: Endpoint,
    pub streaming: bool,
    pub model: String,
}

impl Scope {
    pub fn of(record: &Record) -> Self {
        Self {
            endpoint: record.endpoint,
            streaming: record.streaming,
            model: record.requested_model.clone(),
        }
    }
}

/// What a finding sums up beside its count.
pub(super) trait Sums: Clone + Default {
    fn merge(&mut self, other: &Self) -> Result<(), MoneyError>;
}

/// One finding in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally<S> {
    pub count: u64,
    pub sums: S,
    /// The words of the first attempt.
    pub detail: Option<(Key, String)>,
    examples: Vec<Key>,
}

/// Findings in the making, with the number of attempts in each scope.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings<S> {
    seen: BTreeMap<Scope, u64>,
    tallies: BTreeMap<(Code, Scope), Tally<S>>,
}

impl<S: Sums> Findings<S> {
    /// Counts an attempt of this scope, whatever is found on it.
    pub fn saw(&mut self, scope: &Scope) {
        *self.seen.entry(scope.clone()).or_default() += 1;
    }

    /// Takes up one observation on `record`.
    pub fn found(
        &mut self,
        code: Code,
        record: &Record,
        sums: &S,
        detail: Option<String>,
    ) -> Result<(), MoneyError> {
        let one = Tally::of(record, sums, detail);
        self.tallies
            .entry((code, Scope::of(record)))
            .or_default()
            .merge(&one)
    }

    /// How many attempts of this scope were looked at.
    pub fn of(&self, scope: &Scope) -> u64 {
        self.seen.get(scope).copied().unwrap_or(0)
    }

    /// The findings at `endpoint`, the gravest first; `message` puts one into words.
    pub fn at(
        &self,
        endpoint: Endpoint,
        message: impl Fn(Code, &Scope, &Tally<S>, u64) -> String,
    ) -> Vec<Finding> {
        let here = self
            .tallies
            .iter()
            .filter(|((_, s), _)| s.endpoint == endpoint);
        let mut findings: Vec<Finding> = here
            .map(|((code, scope), tally)| {
                let of = self.of(scope);
                let message = message(*code, scope, tally, of);
                let is_cause = CAUSES_BY_KIND.contains(code);
                let cause = is_cause.then_some(Cause {
                    code: *code,
                    detail: None,
                });
                tally.finding(*code, scope, of, message, cause.into_iter().collect())
            })
            .collect();
        sort(&mut findings);
        findings
    }
}

/// Puts findings in the order of reports: the gravest first, and each kind together.
pub(super) fn sort(findings: &mut [Finding]) {
    // Codes are declared by severity. It is stable, so groups stay in their order.
    findings.sort_by_key(|f| (f.severity, f.code));
}

impl<S: Sums> Tally<S> {
    /// One attempt.
    pub fn of(record: &Record, sums: &S, detail: Option<String>) -> Self {
        let key = key(record);
        Self {
            count: 1,
            sums: sums.clone(),
            detail: detail.map(|words| (key.clone(), words)),
            examples: vec![key],
        }
    }

    /// The same attempts with other sums.
    pub fn with<T>(&self, sums: T) -> Tally<T> {
        Tally {
            count: self.count,
            sums,
            detail: self.detail.clone(),
            examples: self.examples.clone(),
        }
    }

    /// The finding on these attempts.
    pub fn finding(
        &self,
        code: Code,
        scope: &Scope,
        of: u64,
        message: String,
        causes: Vec<Cause>,
    ) -> Finding {
        Finding {
            code,
            severity: code.severity(),
            endpoint: scope.endpoint,
            streaming: scope.streaming,
            model: scope.model.clone(),
            count: self.count,
            of,
            message,
            causes,
            examples: self.examples.iter().map(|key| key.3.clone()).collect(),
        }
    }

    pub fn merge(&mut self, other: &Self) -> Result<(), MoneyError> {
        self.count += other.count;
        self.sums.merge(&other.sums)?;
        self.examples.extend(other.examples.iter().cloned());
        self.examples.sort_unstable();
        self.examples.truncate(EXAMPLES_MAX);
        if let Some(theirs) = &other.detail
            && self.detail.as_ref().is_none_or(|ours| theirs < ours)
        {
            self.detail = Some(theirs.clone());
        }
        Ok(())
    }

    /// The words of the first attempt.
    pub fn words(&self) -> &str {
        self.detail.as_ref().map_or("", |(_, words)| words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_named_as_it_is_serialised() {
        for code in Code::ALL {
            let json = serde_json::to_string(&code).expect("serialises");
            assert_eq!(json, format!("\"{}\"", code.name()));
        }
    }
}
