//! The findings of a bill in plain words, with sums and direction: sentences that can be sent to
//! whoever sent the bill.

use std::collections::BTreeMap;

use crate::money::{Currency, Money, MoneyError};

use super::account::add;
use super::diagnose::features::{Feature, Features};
use super::diagnose::groups::Named;
use super::diagnose::hypothesis::{Hypothesis, Unit};
use super::diagnose::quotient::percent_words;
use super::finding::{Cause, Code, Finding, Scope, Sums, Tally};
use super::prices::PriceTable;
use super::reconcile::Judged;
use super::recorded::FLOAT_NOISE_BELOW;

/// By how much amounts are off, above and below apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Off {
    over: Money,
    over_count: u64,
    under: Money,
    under_count: u64,
}

impl Off {
    /// Of one attempt.
    pub fn of(delta: Money) -> Self {
        let nothing = Money::ZERO;
        Self {
            over: delta.max(nothing),
            over_count: u64::from(delta > nothing),
            under: delta.min(nothing).abs(),
            under_count: u64::from(delta < nothing),
        }
    }

    /// Adds that of other attempts.
    pub fn add(&mut self, other: &Self) -> Result<(), MoneyError> {
        self.over = self.over.checked_add(other.over)?;
        self.over_count += other.over_count;
        self.under = self.under.checked_add(other.under)?;
        self.under_count += other.under_count;
        Ok(())
    }

    /// In words, with direction.
    fn words(&self, currency: Currency) -> String {
        let show = |amount: Money| amount.display(currency);
        let (over, under) = (show(self.over), show(self.under));
        match (self.over_count, self.under_count) {
            (_, 0) => format!("{over} too much"),
            (0, _) => format!("{under} too little"),
            (a, b) => format!("{over} too much on {a} and {under} too little on {b}"),
        }
    }

    /// The sum of all, in per cent of `predicted`.
    fn bias(&self, predicted: Option<Money>) -> Option<String> {
        percent_words(self.over.checked_sub(self.under).ok()?, predicted?)
    }
}

/// What a finding on costs sums up.
#[derive(Clone, Debug, Default)]
pub(super) struct Amounts {
    predicted: Option<Money>,
    recorded: Option<Money>,
    /// At the served model's price.
    served: Option<Money>,
    off: Off,
}

impl Amounts {
    pub fn of(judged: &Judged, served: Option<Money>) -> Self {
        // The difference as it is, noise included: the judged delta leaves that out.
        let recorded = judged.recorded.as_ref().map(|r| r.amount);
        let raw = recorded
            .zip(judged.predicted)
            .and_then(|(r, p)| r.checked_sub(p).ok());
        Self {
            predicted: judged.predicted,
            recorded,
            served,
            off: Off::of(raw.unwrap_or_default()),
        }
    }

    /// What is predicted; zero if nothing is.
    pub fn predicted(&self) -> Money {
        self.predicted.unwrap_or_default()
    }

    /// What is recorded; zero if nothing is.
    pub fn recorded(&self) -> Money {
        self.recorded.unwrap_or_default()
    }

    /// The same, with another recorded amount.
    pub fn with_recorded(&self, recorded: Money) -> Result<Self, MoneyError> {
        let off = recorded.checked_sub(self.predicted())?;
        Ok(Self {
            recorded: Some(recorded),
            off: Off::of(off),
            ..self.clone()
        })
    }

    /// The same, off by `off`.
    pub fn with_off(&self, off: Off) -> Self {
        Self {
            off,
            ..self.clone()
        }
    }
}

impl Sums for Amounts {
    fn merge(&mut self, other: &Self) -> Result<(), MoneyError> {
        add(&mut self.predicted, other.predicted)?;
        add(&mut self.recorded, other.recorded)?;
        add(&mut self.served, other.served)?;
        self.off.add(&other.off)
    }
}

/// An observation in plain words, with sums and direction.
pub(super) fn message(
    table: &PriceTable,
    code: Code,
    scope: &Scope,
    tally: &Tally<Amounts>,
    of: u64,
) -> String {
    let sums = &tally.sums;
    let currency = table.currency();
    let sum = |amount: Option<Money>| amount.unwrap_or_default().display(currency).to_string();
    let on = format!("{} of {of} attempts", tally.count);
    let (predicted, recorded) = (sum(sums.predicted), sum(sums.recorded));
    let words = tally.words();
    match code {
        Code::ErrorBilled => {
            format!("recorded {recorded} for {on} that were refused or never sent")
        }
        Code::CacheHitBilled => {
            format!("recorded {recorded} for {on} that the gateway's own cache answered")
        }
        Code::AbortUnbilled => {
            format!("recorded nothing for {on} that broke off and are to be paid for")
        }
        Code::AbortFull => format!(
            "recorded {recorded} for {on} that broke off: as much as their whole answers would have cost"
        ),
        Code::TranslationUsageLost => {
            format!("no output tokens are reported for {on} whose answers have some: {words}")
        }
        Code::TokensImplausible => {
            format!("more tokens are reported than there can have been on {on}: {words}")
        }
        Code::CostNotRecorded => {
            format!("no cost recorded on {on}, for which {predicted} is predicted")
        }
        Code::StreamCostMissing => {
            format!("no cost recorded in the stream on {on}, for which {predicted} is predicted")
        }
        Code::CostPending => format!(
            "the cost of {on} was not known when the asking for it ended; {predicted} is predicted"
        ),
        Code::CostUnreadable => format!("a cost that is no amount on {on}: {words}"),
        Code::UsageMissing => match sums.recorded {
            Some(_) => format!("no usage on {on}, for which {recorded} is recorded"),
            None => format!("no usage and no cost on {on}: they may have been charged"),
        },
        Code::Unpriced => match sums.recorded {
            Some(_) => format!("{words}: {on}, for which {recorded} is recorded"),
            None => format!("{words}: {on}"),
        },
        Code::ServedModelDiffers => format!(
            "`{}` was answered by `{words}` on {on}: {predicted} at the price of the model asked for, {} at that of the one that answered",
            scope.model,
            sum(sums.served)
        ),
        Code::SurfaceDisagree => format!("{words}; the first stands. So on {on}"),
        Code::FloatNoise => format!(
            "the recorded digits end in a float's noise on {on}: less than {} each",
            FLOAT_NOISE_BELOW.display(currency)
        ),
        Code::RoundingDeclared => {
            let bias = sums.off.bias(sums.predicted);
            let bias = bias.map_or(String::new(), |bias| format!(", {bias}"));
            let off = sums.off.words(currency);
            format!("recorded as predicted after the declared rounding on {on}: {off}{bias}")
        }
        Code::UsageInconsistent => format!("the usage contradicts itself on {on}: {words}"),
        other => format!("{} on {on}: {words}", other.name()),
    }
}

/// A diagnosis as a finding; `of`: how many attempts of the scope were looked at.
pub(super) fn diagnosed(
    table: &PriceTable,
    scope: &Scope,
    features: &Features,
    named: &Named<'_>,
    of: u64,
) -> Finding {
    let causes = causes(named);
    let tally = &named.tally;
    let (code, message) = match named.causes[..] {
        [only] => {
            let message = sentence(table, scope, features, named, only);
            (only.code(), message)
        }
        _ => (Code::CostMismatch, mismatch(table, tally, &causes, of)),
    };
    tally.finding(code, scope, of, message, causes)
}

fn cause(hypothesis: Hypothesis<'_>, named: &Named<'_>) -> Cause {
    let others = named.beside.iter();
    let others: Vec<String> = others
        .filter(|other| other.code() == hypothesis.code())
        .filter_map(|other| match (*other, hypothesis) {
            (Hypothesis::Rounding(rule), Hypothesis::Rounding(first)) => {
                Some(rule.words_beside(first))
            }
            _ => other.detail(),
        })
        .collect();
    let beside = match (hypothesis, others.len()) {
        (_, 0) => String::new(),
        (Hypothesis::Rounding(_), 1) => format!("; {} fits as well", others[0]),
        (Hypothesis::Rounding(_), _) => format!("; {} fit as well", list(&others, "and")),
        _ => format!(", or {}", list(&others, "or")),
    };
    Cause {
        code: hypothesis.code(),
        detail: hypothesis.detail().map(|words| words + &beside),
    }
}

/// Each cause once, in order: of several that have one name the details are put together.
fn causes(named: &Named<'_>) -> Vec<Cause> {
    let mut causes: BTreeMap<Code, Cause> = BTreeMap::new();
    for hypothesis in &named.causes {
        let new = cause(*hypothesis, named);
        match causes.get_mut(&new.code) {
            None => {
                causes.insert(new.code, new);
            }
            Some(known) => {
                if let (Some(words), Some(more)) = (&mut known.detail, new.detail)
                    && *words != more
                {
                    *words = format!("{words}, or {more}");
                }
            }
        }
    }
    causes.into_values().collect()
}

/// What differs, and what may have caused it.
fn mismatch(table: &PriceTable, tally: &Tally<Amounts>, causes: &[Cause], of: u64) -> String {
    let sums = &tally.sums;
    let sum = |amount: Option<Money>| amount.unwrap_or_default().display(table.currency());
    let (predicted, recorded) = (sum(sums.predicted), sum(sums.recorded));
    let off = sums.off.words(table.currency());
    let names: Vec<String> = causes.iter().map(|c| c.code.name().to_owned()).collect();
    let why = match names.len() {
        0 => String::new(),
        1 => format!("; {} explains it", names[0]),
        _ => format!("; {} explain it equally", list(&names, "and")),
    };
    let on = format!("{} of {of} attempts", tally.count);
    format!("recorded {recorded} for {predicted} predicted, {off}, on {on}{why}")
}

/// One cause: who is billed how, and what it comes to.
fn sentence(
    table: &PriceTable,
    scope: &Scope,
    features: &Features,
    named: &Named<'_>,
    hypothesis: Hypothesis<'_>,
) -> String {
    let tally = &named.tally;
    let feature = Feature::of(hypothesis);
    let kind = if scope.streaming { "streamed" } else { "whole" };
    let (count, of) = (tally.count, features.count(feature));
    // Where the answers do not count it themselves, somebody else has.
    let by_upstream = features.count(Feature::ReasoningByUpstream) > 0;
    let shown = match feature {
        Feature::Reasoning if by_upstream => Feature::ReasoningByUpstream,
        other => other,
    };
    let what = format!("{kind} requests{}", shown.words());
    let whom = if count == of && count > 1 {
        format!("all {count} {what}")
    } else {
        format!("{count} of {of} {what}")
    };
    let verb = if count == 1 { "is" } else { "are" };
    let off = tally.sums.off.words(table.currency());
    let bias = match hypothesis {
        Hypothesis::Rounding(_) => tally.sums.off.bias(tally.sums.predicted),
        _ => None,
    };
    let bias = bias.map_or(String::new(), |bias| format!(", {bias}"));
    let detail = cause(hypothesis, named).detail.unwrap_or_default();
    let how = how(hypothesis, &detail);
    format!("{whom} {verb} {how}: {off}{bias}{}", with(&named.with))
}

/// Other causes on the same attempts.
fn with(others: &BTreeMap<Code, u64>) -> String {
    let named: Vec<String> = others
        .iter()
        .map(|(code, count)| format!("{} on {count} of them", code.name()))
        .collect();
    if named.is_empty() {
        return String::new();
    }
    format!("; besides {}", list(&named, "and"))
}

/// How somebody is billed, to follow "are".
fn how(hypothesis: Hypothesis<'_>, detail: &str) -> String {
    let text = match hypothesis {
        Hypothesis::UnpricedZero | Hypothesis::AbortUnbilled => "billed at nothing",
        Hypothesis::CacheDouble => {
            "billed cache_read at its own rate and at the input rate as well"
        }
        Hypothesis::CacheDropped(_)
        | Hypothesis::CacheTierWrong(_)
        | Hypothesis::RetryDouble(_) => {
            return format!("billed {detail}");
        }
        Hypothesis::StreamCumulativeSummed => {
            "billed for all usage reports added up, each of which holds the ones before"
        }
        Hypothesis::StreamPartialKept => "billed by the first usage report instead of the last",
        Hypothesis::TerminalEventMissed => "billed nothing for output",
        Hypothesis::ReasoningDropped => "billed nothing for reasoning tokens",
        Hypothesis::ReasoningDouble => "billed twice for reasoning tokens",
        Hypothesis::TranslationUsageLost => "billed for no tokens at all",
        Hypothesis::AbortFull | Hypothesis::AbortMaybeFull => "billed for the whole answer",
        Hypothesis::AbortEstimated(_) => "billed by an estimate of the tokens",
        Hypothesis::ServiceTier(_) | Hypothesis::ModelAlias(_) | Hypothesis::ContextTier(_) => {
            let prices = detail.strip_prefix("the prices ").unwrap_or(detail);
            let of = if prices == detail { "of " } else { "" };
            return format!("billed at the prices {of}{prices}");
        }
        Hypothesis::RatesSwapped => "billed input at the output rate and output at the input rate",
        Hypothesis::Unit1k1m(Unit::Thousandfold) => {
            "billed 1,000 times the amount, a price for a million tokens taken for a thousand"
        }
        Hypothesis::Unit1k1m(Unit::Thousandth) => {
            "billed a thousandth of the amount, a price for a thousand tokens taken for a million"
        }
        Hypothesis::MarkupUndeclared(_) => {
            return format!("billed {detail} of the price list, which declares none");
        }
        Hypothesis::Rounding(_) => {
            return format!("rounded by a rule that the price list does not declare, {detail}");
        }
    };
    text.to_owned()
}

/// `a, b and c`.
fn list(items: &[String], last: &str) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [rest @ .., end] => format!("{} {last} {end}", rest.join(", ")),
    }
}
