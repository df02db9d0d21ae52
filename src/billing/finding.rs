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

/// What was observed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The recorded cost is not the predicted one.
    CostMismatch,
    /// A cost is recorded on an attempt that should be free.
    ErrorBilled,
    /// The recorded cost is not the upstream's true one.
    CostNotTrue,
    /// The reported usage is not the upstream's true one.
    UsageNotTrue,
    /// The parts of a reported usage do not make its whole.
    UsageInconsistent,
    /// Two surfaces of one response record different costs.
    SurfaceDisagree,
    /// The answer has fewer tool calls than the upstream made.
    ToolCallsLost,
    /// The answer has more tool calls than the upstream made.
    ToolCallsExtra,
    /// The visible text is not the one that the upstream wrote.
    TextNotTrue,
    /// The reasoning is not the one that the upstream wrote.
    ReasoningNotTrue,
    /// Something was predicted and nothing recorded.
    CostNotRecorded,
    /// A cost surface holds something that is no amount.
    CostUnreadable,
    /// No usage was reported, so nothing can be predicted.
    UsageMissing,
    /// The table has no price for what was used.
    Unpriced,
    /// The upstream's journal has no entry for a complete answer.
    TruthMissing,
    /// The answer names another model than was asked for, with another price.
    ModelAlias,
    /// The recorded cost is right but for the noise of a float.
    FloatNoise,
    /// The recorded cost is right after the rounding that the table declares.
    RoundingDeclared,
    /// The gateway asked the upstream more often than it was asked.
    UpstreamRetried,
    /// A stream was asked for and the gateway asked the upstream for none.
    StreamDowngraded,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Code {
    /// What it means for the numbers.
    pub const fn severity(self) -> Severity {
        match self {
            Self::CostMismatch
            | Self::ErrorBilled
            | Self::CostNotTrue
            | Self::UsageNotTrue
            | Self::UsageInconsistent
            | Self::SurfaceDisagree
            | Self::ToolCallsLost
            | Self::ToolCallsExtra
            | Self::TextNotTrue
            | Self::ReasoningNotTrue => Severity::Wrong,
            Self::CostNotRecorded
            | Self::CostUnreadable
            | Self::UsageMissing
            | Self::Unpriced
            | Self::TruthMissing => Severity::Unknown,
            Self::ModelAlias
            | Self::FloatNoise
            | Self::RoundingDeclared
            | Self::UpstreamRetried
            | Self::StreamDowngraded => Severity::Info,
        }
    }

    /// The name in reports and gates.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CostMismatch => "COST_MISMATCH",
            Self::ErrorBilled => "ERROR_BILLED",
            Self::CostNotTrue => "COST_NOT_TRUE",
            Self::UsageNotTrue => "USAGE_NOT_TRUE",
            Self::UsageInconsistent => "USAGE_INCONSISTENT",
            Self::SurfaceDisagree => "SURFACE_DISAGREE",
            Self::ToolCallsLost => "TOOL_CALLS_LOST",
            Self::ToolCallsExtra => "TOOL_CALLS_EXTRA",
            Self::TextNotTrue => "TEXT_NOT_TRUE",
            Self::ReasoningNotTrue => "REASONING_NOT_TRUE",
            Self::CostNotRecorded => "COST_NOT_RECORDED",
            Self::CostUnreadable => "COST_UNREADABLE",
            Self::UsageMissing => "USAGE_MISSING",
            Self::Unpriced => "UNPRICED",
            Self::TruthMissing => "TRUTH_MISSING",
            Self::ModelAlias => "MODEL_ALIAS",
            Self::FloatNoise => "FLOAT_NOISE",
            Self::RoundingDeclared => "ROUNDING_DECLARED",
            Self::UpstreamRetried => "UPSTREAM_RETRIED",
            Self::StreamDowngraded => "STREAM_DOWNGRADED",
        }
    }
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
        let key = key(record);
        let one = Tally {
            count: 1,
            sums: sums.clone(),
            detail: detail.map(|words| (key.clone(), words)),
            examples: vec![key],
        };
        self.tallies
            .entry((code, Scope::of(record)))
            .or_default()
            .merge(&one)
    }

    pub fn merge(&mut self, other: &Self) -> Result<(), MoneyError> {
        for (scope, n) in &other.seen {
            *self.seen.entry(scope.clone()).or_default() += n;
        }
        for (group, tally) in &other.tallies {
            self.tallies
                .entry(group.clone())
                .or_default()
                .merge(tally)?;
        }
        Ok(())
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
                let of = self.seen.get(scope).copied().unwrap_or(0);
                Finding {
                    code: *code,
                    severity: code.severity(),
                    endpoint,
                    streaming: scope.streaming,
                    model: scope.model.clone(),
                    count: tally.count,
                    of,
                    message: message(*code, scope, tally, of),
                    examples: tally.examples.iter().map(|key| key.3.clone()).collect(),
                }
            })
            .collect();
        // Codes are declared by severity, and the map is in their order: stable, so groups stay.
        findings.sort_by_key(|f| f.severity);
        findings
    }
}

impl<S: Sums> Tally<S> {
    fn merge(&mut self, other: &Self) -> Result<(), MoneyError> {
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
        for code in [
            Code::CostMismatch,
            Code::ErrorBilled,
            Code::CostNotTrue,
            Code::UsageNotTrue,
            Code::UsageInconsistent,
            Code::SurfaceDisagree,
            Code::ToolCallsLost,
            Code::ToolCallsExtra,
            Code::TextNotTrue,
            Code::ReasoningNotTrue,
            Code::CostNotRecorded,
            Code::CostUnreadable,
            Code::UsageMissing,
            Code::Unpriced,
            Code::TruthMissing,
            Code::ModelAlias,
            Code::FloatNoise,
            Code::RoundingDeclared,
            Code::UpstreamRetried,
            Code::StreamDowngraded,
        ] {
            let json = serde_json::to_string(&code).expect("serialises");
            assert_eq!(json, format!("\"{}\"", code.name()));
        }
    }
}
