//! Recorded cost against predicted cost, attempt by attempt.
//!
//! In: a price table and one record. Out: exactly one status, both costs where they are known, and
//! what was observed.
//!
//! An attempt is priced on the UTC day on which it was sent, by the model that it asked for. What
//! is charged at all, `policy` says. Of an answer that broke off and is to be paid for as a whole, or as far
//! as it was delivered, only the upstream's journal knows what that is. The prediction is the exact one: a declared rounding explains
//! a difference (`matched_rounding`) and leaves it in the delta, where totals can be held against
//! what rounding may add up to. The digits of a recorded cost never widen the tolerance.

use jiff::civil::Date;

use crate::gateway::cache_hit;
use crate::late::Lookup;
use crate::money::{Money, MoneyError};
use crate::record::{Outcome, Record};
use crate::truth::Truth;
use crate::usage::Usage;

use super::Attempt;
use super::diagnose::case::{Abort, Case, Reports};
use super::diagnose::features::{broke_off, failed};
use super::diagnose::hypothesis::{Explanation, Hypothesis};
use super::diagnose::search::{Fits, explain};
use super::finding::Code;
use super::plausible::{implausible, inconsistency, lost};
use super::policy::{Charge, OnCacheHit, OnRetry, Policy};
use super::predict::{Prediction, Unpredictable, predict};
use super::prices::{PriceTable, ReasoningMode, Rounding, Stage, Tariff};
use super::recorded::{LEDGER, Recorded, evidence, read, same_but_for_noise};

/// Where an attempt ends up; exactly one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Recorded as predicted, exactly or but for a float's noise.
    Matched,
    /// Recorded as predicted after the rounding that the price row declares.
    MatchedRounding,
    /// Recorded otherwise.
    Mismatched,
    /// Predicted, and nothing is recorded.
    NotRecorded,
    /// No usage, or none that could be: nothing to predict from.
    NoUsage,
    /// Free under the policy, and no cost is recorded.
    NoChargeExpected,
    /// No price for the model on its day, or for a kind of token that was used.
    Unpriced,
    /// The record of its cost may still come.
    Pending,
}

impl Status {
    /// Every status, in the order in which reports list them.
    pub const ALL: [Self; 8] = [
        Self::Matched,
        Self::MatchedRounding,
        Self::Mismatched,
        Self::NotRecorded,
        Self::NoUsage,
        Self::NoChargeExpected,
        Self::Unpriced,
        Self::Pending,
    ];

    /// The name in reports and gates.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::MatchedRounding => "matched_rounding",
            Self::Mismatched => "mismatched",
            Self::NotRecorded => "not_recorded",
            Self::NoUsage => "no_usage",
            Self::NoChargeExpected => "no_charge_expected",
            Self::Unpriced => "unpriced",
            Self::Pending => "pending",
        }
    }
}

/// The judgement on one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Its status.
    pub status: Status,
    /// What it should have cost; zero for an attempt that should be free.
    pub predicted: Option<Money>,
    /// What is recorded.
    pub recorded: Option<Recorded>,
    /// Recorded minus predicted, where both are known.
    pub delta: Option<Money>,
    /// What was found on it: for a wrong cost its cause, or [`Code::CostMismatch`] where none fits, or
    /// more than one.
    pub findings: Vec<Code>,
}

/// An observation on one attempt: the code, and words where the sums do not say it all.
pub(super) type Observation = (Code, Option<String>);

/// A judgement with what a bill says about it.
pub(super) struct Judgement<'t> {
    pub judged: Judged,
    pub observations: Vec<Observation>,
    /// The cost at the served model's price, where that is another.
    pub served: Option<Money>,
    /// What explains a wrong cost, unless an observation does.
    pub fits: Option<Fits<'t>>,
    /// The amount that it explains, where that is one of several rows of a ledger.
    pub row: Option<Money>,
    /// Reasoning tokens that the upstream's journal counts.
    pub counted_reasoning: Option<u64>,
}

/// What `attempt` should have cost, what is recorded, how the two stand to each other, and why. The
/// error is a difference beyond what an amount can be.
pub(super) fn judge<'t>(
    table: &'t PriceTable,
    policy: Policy,
    attempt: &Attempt<'_>,
) -> Result<Judgement<'t>, MoneyError> {
    let record = attempt.record;
    let mut observations: Vec<Observation> = Vec::new();
    let evidence = evidence(attempt);
    if let Some((surface, digits)) = evidence.unreadable {
        let words = format!("`{surface}` says `{digits}`");
        observations.push((Code::CostUnreadable, Some(words)));
    }
    if let (Some(a), Some(b)) = (&evidence.stands, &evidence.disagrees) {
        let words = format!(
            "`{}` says {} and `{}` says {}",
            a.surface, a.digits, b.surface, b.digits
        );
        observations.push((Code::SurfaceDisagree, Some(words)));
    }
    let recorded = evidence.stands;

    let charge = policy.charge(record);
    let mut served = None;
    let mut why = Why::default();
    let (status, predicted) = if charge == Charge::Free {
        let billed = recorded.as_ref().filter(|r| !r.amount.is_zero());
        match billed {
            None => (Status::NoChargeExpected, Some(Money::ZERO)),
            Some(billed) => {
                match billed_for_nothing(table, policy, attempt, billed) {
                    Billed::Because(code) => observations.push((code, None)),
                    Billed::For(found) => why.fits = Some(found),
                }
                (Status::Mismatched, Some(Money::ZERO))
            }
        }
    } else {
        let usage = record.final_usage();
        let is_lost = record.outcome == Outcome::Ok && lost(record);
        if let Some(words) = inconsistency(&usage, record.endpoint, is_additive(table, record)) {
            observations.push((Code::UsageInconsistent, Some(words)));
        }
        if let Some(words) = implausible(record) {
            observations.push((Code::TokensImplausible, Some(words)));
        }
        if is_lost {
            let words = lost_words(&usage);
            observations.push((Code::TranslationUsageLost, Some(words)));
        }
        match expected(table, policy, attempt, charge) {
            Ok((case, prediction)) => {
                let compared = compare(&prediction, recorded.as_ref(), attempt);
                observations.extend(compared.1.map(|code| (code, None)));
                let wrong = recorded
                    .as_ref()
                    .filter(|_| compared.0 == Status::Mismatched);
                if let Some(recorded) = wrong.filter(|_| !is_lost) {
                    why = explained(&case, &prediction, attempt, recorded);
                    let is_noisy = why.fits.as_ref().is_some_and(|fits| fits.noise);
                    observations.extend(is_noisy.then_some((Code::FloatNoise, None)));
                }
                served = priced_as_served(table, policy, attempt, charge, prediction.total);
                if served.is_some() {
                    observations.push((Code::ServedModelDiffers, record.served_model.clone()));
                }
                (compared.0, Some(prediction.total))
            }
            Err(Unpriceable(status, observation)) => {
                let against = against_policy(charge, recorded.as_ref());
                let observation = match against {
                    Some(code) => Some((code, None)),
                    None => observation,
                };
                let new = |(code, _): &Observation| observations.iter().all(|(c, _)| c != code);
                let observation = observation.filter(new);
                observations.extend(observation);
                (status, None)
            }
        }
    };
    let delta = match (predicted, &recorded) {
        // Noise counts as equal: it must not add up to a difference. The finding says that it is there.
        (Some(predicted), Some(recorded)) if same_but_for_noise(recorded.amount, predicted) => {
            Some(Money::ZERO)
        }
        (Some(predicted), Some(recorded)) => Some(recorded.amount.checked_sub(predicted)?),
        _ => None,
    };
    let mut findings: Vec<Code> = why.fits.iter().flat_map(names).collect();
    findings.extend(why.is_again.then_some(Code::LedgerDuplicate));
    findings.extend(observations.iter().map(|(code, _)| *code));
    Ok(Judgement {
        judged: Judged {
            status,
            predicted,
            recorded,
            delta,
            findings,
        },
        observations,
        served,
        fits: why.fits,
        row: why.row,
        counted_reasoning: counted_reasoning(attempt),
    })
}

/// Why a recorded cost is wrong.
#[derive(Default)]
struct Why<'t> {
    /// What explains it; `None` where the ledger bills the right amount again.
    fits: Option<Fits<'t>>,
    /// The amount that it explains, where that is one of several rows.
    row: Option<Money>,
    /// Whether the ledger bills the attempt more than once.
    is_again: bool,
}

fn explained<'t>(
    case: &Case<'_, 't>,
    prediction: &Prediction,
    attempt: &Attempt<'_>,
    recorded: &Recorded,
) -> Why<'t> {
    let one = one_of_several(attempt, recorded);
    let is_right = |one: &Recorded| compare(prediction, Some(one), attempt).0 != Status::Mismatched;
    let fits = match &one {
        // The ledger's own finding says that it bills again.
        Some(one) if is_right(one) => None,
        Some(one) => Some(explain(case, one)),
        None => Some(explain(case, recorded)),
    };
    Why {
        row: one
            .as_ref()
            .filter(|_| fits.is_some())
            .map(|one| one.amount),
        is_again: one.is_some(),
        fits,
    }
}

/// What to call a wrong cost by what fits this attempt alone. Of one amount alone, any other is some
/// percentage, and any rule makes nothing of a small one.
fn names(fits: &Fits<'_>) -> Vec<Code> {
    let all = fits.explanations.iter().map(|(e, _)| e);
    for nothing in [Hypothesis::UnpricedZero, Hypothesis::AbortUnbilled] {
        if all.clone().any(|e| *e == Explanation::one(nothing)) {
            return vec![nothing.code()];
        }
    }
    // Two causes of which one was picked out of many need other attempts to bear them out.
    let is_free = |h: Hypothesis<'_>| h.is_inferred() || h.is_guessed() && !fits.said.contains(&h);
    let certain = all.filter(|e| {
        e.codes().all(|code| code != Code::MarkupUndeclared)
            && (e.then.is_none() || !e.hypotheses().any(is_free))
    });
    let mut all = certain.map(Explanation::codes);
    let Some(first) = all.next() else {
        return vec![Code::CostMismatch];
    };
    let codes: Vec<Code> = first.collect();
    if all.all(|other| other.eq(codes.iter().copied())) {
        codes
    } else {
        vec![Code::CostMismatch]
    }
}

/// Why something is recorded for what should be free.
enum Billed<'t> {
    /// The kind of the attempt says it.
    Because(Code),
    /// It broke off: what it is billed for explains it.
    For(Fits<'t>),
}

fn billed_for_nothing<'t>(
    table: &'t PriceTable,
    policy: Policy,
    attempt: &Attempt<'_>,
    billed: &Recorded,
) -> Billed<'t> {
    let record = attempt.record;
    if is_free_hit(policy, record) {
        return Billed::Because(Code::CacheHitBilled);
    }
    if failed(record.outcome) || !broke_off(record.outcome) {
        return Billed::Because(Code::ErrorBilled);
    }
    let Ok((tariff, date)) = tariff_of(table, record, &record.requested_model) else {
        return Billed::For(Fits::default());
    };
    let case = Case {
        free: true,
        ..case(table, attempt, tariff, date, record.final_usage())
    };
    Billed::For(explain(&case, billed))
}

/// Whether `record` is free because the gateway's own cache answered.
pub(super) fn is_free_hit(policy: Policy, record: &Record) -> bool {
    let said = record.gateway_cache.as_deref().and_then(cache_hit);
    policy.cache_hit == OnCacheHit::Free && said == Some(true)
}

/// The status of an attempt without a prediction, and what there is to say about it.
struct Unpriceable(Status, Option<Observation>);

/// What `attempt` should cost, and all that this is computed from.
fn expected<'a, 't>(
    table: &'t PriceTable,
    policy: Policy,
    attempt: &Attempt<'a>,
    charge: Charge,
) -> Result<(Case<'a, 't>, Prediction), Unpriceable> {
    let record = attempt.record;
    let reported = record.final_usage();
    let is_known = reported.output.is_some();
    // Without a model that has a price, that is what there is to say, whatever was used.
    let (tariff, date) = match tariff_of(table, record, &record.requested_model) {
        Ok(found) => found,
        Err(_) if charge == Charge::AtUsage && (reported.input.is_none() || !is_known) => {
            return Err(no_usage());
        }
        Err(why) => return Err(why),
    };
    let usage = match charge {
        Charge::Whole => whole(attempt).or_else(|| is_known.then_some(reported)),
        Charge::Delivered => delivered(attempt, &tariff).or_else(|| is_known.then_some(reported)),
        Charge::AtUsage | Charge::Free => Some(reported),
    };
    let usage = usage.ok_or_else(no_usage)?;
    let case = Case {
        times: times(policy, attempt),
        ..case(table, attempt, tariff, date, usage)
    };
    predict(&case.tariff, &usage, record.endpoint)
        .map_err(|why| unpredictable(table, &case, &why))?;
    match case.base() {
        Some(prediction) => Ok((case, prediction)),
        None => Err(beyond()),
    }
}

fn no_usage() -> Unpriceable {
    Unpriceable(Status::NoUsage, Some((Code::UsageMissing, None)))
}

fn beyond() -> Unpriceable {
    let words = "so many tokens cannot be priced".to_owned();
    Unpriceable(
        Status::NoUsage,
        Some((Code::UsageInconsistent, Some(words))),
    )
}

fn unpredictable(table: &PriceTable, case: &Case<'_, '_>, why: &Unpredictable) -> Unpriceable {
    match why {
        Unpredictable::NoUsage => no_usage(),
        Unpredictable::Unpriced { .. } => {
            let line = case.tariff.base().line;
            let words = format!("{why} on line {line} of {}", table.name());
            Unpriceable(Status::Unpriced, Some((Code::Unpriced, Some(words))))
        }
        // `inconsistency` has said how.
        Unpredictable::UsageInconsistent { .. } => Unpriceable(Status::NoUsage, None),
        Unpredictable::Overflow(_) => beyond(),
    }
}

/// The prices of `model` for `record`, and their day.
fn tariff_of<'t>(
    table: &'t PriceTable,
    record: &Record,
    model: &str,
) -> Result<(Tariff<'t>, Date), Unpriceable> {
    let unpriced = |words| Unpriceable(Status::Unpriced, Some((Code::Unpriced, Some(words))));
    let Some(date) = sent_on(record) else {
        return Err(unpriced("the day of sending is unknown".to_owned()));
    };
    let tier = tier_of(record);
    let tariff = table.tariff(model, tier, date);
    tariff.map(|tariff| (tariff, date)).ok_or_else(|| {
        let name = table.name();
        unpriced(match (table.knows(model), tier) {
            (true, Some(tier)) if table.tariff(model, None, date).is_some() => {
                format!("`{model}` has no price in the service tier `{tier}` on {date} in {name}")
            }
            (true, _) => format!("`{model}` has no price on {date} in {name}"),
            (false, _) => {
                let hint = table
                    .nearest(model)
                    .map_or(String::new(), |name| format!(" (did you mean `{name}`?)"));
                format!("`{model}` has no price in {name}{hint}")
            }
        })
    })
}

/// The service tier whose prices hold: the one that answered.
fn tier_of(record: &Record) -> Option<&str> {
    let tier = record.served_tier.as_deref();
    tier.or(record.requested_tier.as_deref())
}

/// The rounding that the price of `record` declares, and how many amounts of it are rounded. `None`
/// without one, and where only the sum of a bill is rounded.
pub(super) fn rounding(table: &PriceTable, record: &Record) -> Option<(Rounding, u64)> {
    let tariff = table.tariff(&record.requested_model, tier_of(record), sent_on(record)?)?;
    let rounding = tariff.rounding()?;
    let amounts = match rounding.stage {
        Stage::Request => 1,
        Stage::Component => {
            let cost = predict(&tariff, &record.final_usage(), record.endpoint).ok()?;
            let rounded = cost.components.iter().filter(|part| !part.is_zero());
            u64::try_from(rounded.count()).ok()?
        }
        Stage::Total => return None,
    };
    Some((rounding, amounts))
}

/// Whether a look-up of the cost was made, and did not know it.
fn may_still_come(attempt: &Attempt<'_>) -> bool {
    let unknown = |lookup: &Lookup| lookup.digits.is_none() && lookup.tries > 0;
    attempt.lookups.iter().any(unknown)
}

/// The UTC day on which `record` was sent.
fn sent_on(record: &Record) -> Option<Date> {
    record.sent_utc.as_deref()?.get(..10)?.parse().ok()
}

/// What the cost of `attempt` is computed from, where `usage` is to be paid for.
fn case<'a, 't>(
    table: &'t PriceTable,
    attempt: &Attempt<'a>,
    tariff: Tariff<'t>,
    date: Date,
    usage: Usage,
) -> Case<'a, 't> {
    let record = attempt.record;
    let reports = Reports {
        first: record.first_usage,
        sum: record.summed_usage,
    };
    let asked = attempt.truth.map_or(0, <[Truth]>::len);
    let asked = u64::try_from(asked).unwrap_or(u64::MAX);
    let asked = asked.max(u64::from(record.attempt) + 1);
    let abort = Abort {
        whole: whole(attempt),
        characters: record.counts.characters,
    };
    Case {
        table,
        tariff,
        model: &record.requested_model,
        tier: tier_of(record),
        date,
        endpoint: record.endpoint,
        streaming: record.streaming,
        served_model: record.served_model.as_deref(),
        said_tiers: [
            record.requested_tier.as_deref(),
            record.served_tier.as_deref(),
        ],
        usage,
        reasoning: usage.reasoning.or_else(|| counted_reasoning(attempt)),
        times: 1,
        reports: (record.usage_reports > 1).then_some(reports),
        retried: (asked > 1).then_some(asked),
        abort: broke_off(record.outcome).then_some(abort),
        free: false,
    }
}

/// How often `attempt` is to be paid for: under a policy by which each attempt at the upstream is, as often
/// as the journal has it. The harness's own earlier attempts share the nonce, and are attempts of their
/// own.
fn times(policy: Policy, attempt: &Attempt<'_>) -> u64 {
    let own = usize::try_from(attempt.record.attempt).unwrap_or(usize::MAX);
    match (policy.retry, attempt.truth) {
        (OnRetry::Each, Some(entries)) if attempt.record.last => {
            let asked = entries.len().saturating_sub(own).max(1);
            u64::try_from(asked).unwrap_or(u64::MAX)
        }
        _ => 1,
    }
}

/// The entry of the journal that the answer came from: the last one that was answered well.
fn answered<'a>(attempt: &Attempt<'a>) -> Option<&'a Truth> {
    let mut entries = attempt.truth?.iter().rev();
    entries.find(|entry| entry.status < 300)
}

/// The usage of the whole answer, as the upstream's journal counts it, in the accounting of the endpoint.
fn whole(attempt: &Attempt<'_>) -> Option<Usage> {
    let truth = answered(attempt)?;
    let usage = Usage {
        input: truth.input,
        cache_read: truth.cache_read,
        cache_write: truth.cache_write,
        cache_write_1h: truth.cache_write_1h,
        output: truth.output,
        reasoning: truth.reasoning,
        ..Usage::default()
    };
    usage.output?;
    usage.from_total_input(attempt.record.endpoint)
}

/// The usage that was delivered, as the upstream's journal counts it. `None` where it does not, and where
/// reasoning has a price of its own, of which nobody knows how much was delivered.
fn delivered(attempt: &Attempt<'_>, tariff: &Tariff<'_>) -> Option<Usage> {
    let truth = answered(attempt)?;
    let whole = whole(attempt)?;
    if truth.completed && truth.fault.is_none() || truth.delivered_output == whole.output {
        return Some(whole);
    }
    let row = tariff.base();
    let is_apart = row.rates.reasoning.is_some() || row.reasoning_mode == ReasoningMode::Additive;
    if is_apart && whole.reasoning.is_some_and(|n| n > 0) {
        return None;
    }
    Some(Usage {
        output: Some(truth.delivered_output?),
        reasoning: None,
        ..whole
    })
}

/// Reasoning tokens that the upstream's journal counts.
fn counted_reasoning(attempt: &Attempt<'_>) -> Option<u64> {
    answered(attempt)?.reasoning
}

/// Whether reasoning is counted besides the output of `record`.
fn is_additive(table: &PriceTable, record: &Record) -> bool {
    let reasons = record.final_usage().reasoning.is_some_and(|n| n > 0);
    reasons
        && tariff_of(table, record, &record.requested_model)
            .is_ok_and(|(tariff, _)| tariff.base().reasoning_mode == ReasoningMode::Additive)
}

/// One row of an attempt of which only a ledger says the cost, in more than one row that bills; the
/// dearest.
fn one_of_several(attempt: &Attempt<'_>, recorded: &Recorded) -> Option<Recorded> {
    if recorded.surface != LEDGER {
        return None;
    }
    let rows = attempt.ledger?.iter();
    let costs = rows.filter_map(|row| read(LEDGER, row.cost.as_deref()?));
    let costs: Vec<Recorded> = costs.filter(|cost| !cost.amount.is_zero()).collect();
    let is_several = costs.len() > 1;
    costs
        .into_iter()
        .max_by_key(|cost| cost.amount)
        .filter(|_| is_several)
}

/// What is recorded against the policy for an answer that broke off and of which nobody knows what it
/// should cost: nothing, where something is to be paid.
fn against_policy(charge: Charge, recorded: Option<&Recorded>) -> Option<Code> {
    let is_charged = matches!(charge, Charge::Whole | Charge::Delivered);
    let is_nothing = recorded.is_some_and(|recorded| recorded.amount.is_zero());
    (is_charged && is_nothing).then_some(Code::AbortUnbilled)
}

fn compare(
    prediction: &Prediction,
    recorded: Option<&Recorded>,
    attempt: &Attempt<'_>,
) -> (Status, Option<Code>) {
    let Some(recorded) = recorded else {
        // What a bill's checks say.
        if may_still_come(attempt) {
            return (Status::Pending, None);
        }
        let code = if attempt.record.streaming {
            Code::StreamCostMissing
        } else {
            Code::CostNotRecorded
        };
        return (Status::NotRecorded, Some(code));
    };
    let amount = recorded.amount;
    if amount == prediction.total && !recorded.beyond_28_places {
        (Status::Matched, None)
    } else if same_but_for_noise(amount, prediction.total) {
        (Status::Matched, Some(Code::FloatNoise))
    } else if prediction
        .rounded
        .is_some_and(|rounded| same_but_for_noise(amount, rounded))
    {
        (Status::MatchedRounding, Some(Code::RoundingDeclared))
    } else {
        (Status::Mismatched, None)
    }
}

/// The cost at the price of the model that served `attempt`, if it names one whose price differs.
fn priced_as_served(
    table: &PriceTable,
    policy: Policy,
    attempt: &Attempt<'_>,
    charge: Charge,
    as_requested: Money,
) -> Option<Money> {
    let record = attempt.record;
    let served = record.served_model.as_deref()?;
    if served == record.requested_model {
        return None;
    }
    let (tariff, _) = tariff_of(table, record, served).ok()?;
    let (case, _) = expected(table, policy, attempt, charge).ok()?;
    let cost = Case { tariff, ..case }.base()?.total;
    (cost != as_requested).then_some(cost)
}

/// What is reported of an answer whose usage is lost.
fn lost_words(usage: &Usage) -> String {
    let count = |count: Option<u64>| count.map_or("no".to_owned(), |n| n.to_string());
    let (input, output) = (count(usage.input), count(usage.output));
    format!("{input} input and {output} output tokens")
}

#[cfg(test)]
mod tests;
