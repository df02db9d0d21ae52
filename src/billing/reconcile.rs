//! Recorded cost against predicted cost, attempt by attempt.
//!
//! In: a price table and one record. Out: exactly one status, both costs where they are known, and
//! what was observed.
//!
//! An attempt is priced on the UTC day on which it was sent, by the model that it asked for. What
//! is charged at all, `policy` says. The prediction is the exact one: a declared rounding explains
//! a difference (`matched_rounding`) and leaves it in the delta, where totals can be held against
//! what rounding may add up to. The digits of a recorded cost never widen the tolerance.

use jiff::civil::Date;

use crate::endpoint::Endpoint;
use crate::late::Lookup;
use crate::money::{Money, MoneyError};
use crate::record::Record;
use crate::usage::Usage;

use super::Attempt;
use super::finding::Code;
use super::policy::{Charge, Policy};
use super::predict::{Prediction, Unpredictable, predict};
use super::prices::PriceTable;
use super::recorded::{Recorded, evidence, same_but_for_noise};

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
    /// What was found on it.
    pub findings: Vec<Code>,
}

/// An observation on one attempt: the code, and words where the sums do not say it all.
pub(super) type Observation = (Code, Option<String>);

/// A judgement with what a bill says about it.
pub(super) struct Judgement {
    pub judged: Judged,
    pub observations: Vec<Observation>,
    /// The cost at the served model's price, where that is another.
    pub served: Option<Money>,
}

/// What `record` should have cost, what is recorded, and how the two stand to each other. The error
/// is a difference beyond what an amount can be.
pub fn reconcile(
    table: &PriceTable,
    policy: Policy,
    attempt: &Attempt<'_>,
) -> Result<Judged, MoneyError> {
    judge(table, policy, attempt).map(|judgement| judgement.judged)
}

/// [`reconcile`], with what a bill says about it.
pub(super) fn judge(
    table: &PriceTable,
    policy: Policy,
    attempt: &Attempt<'_>,
) -> Result<Judgement, MoneyError> {
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

    let mut served = None;
    let (status, predicted) = match policy.charge(record) {
        Charge::Free => {
            let billed = recorded.as_ref().is_some_and(|r| !r.amount.is_zero());
            if billed {
                observations.push((Code::ErrorBilled, None));
            }
            let status = if billed {
                Status::Mismatched
            } else {
                Status::NoChargeExpected
            };
            (status, Some(Money::ZERO))
        }
        Charge::AtUsage | Charge::Whole | Charge::Delivered => {
            if let Some(words) = inconsistency(&record.final_usage(), record.endpoint) {
                observations.push((Code::UsageInconsistent, Some(words)));
            }
            match price(table, record, &record.requested_model) {
                Ok(prediction) => {
                    let (status, observation) = match compare(&prediction, recorded.as_ref()) {
                        // What a bill's checks say.
                        (Status::NotRecorded, _) if may_still_come(attempt) => {
                            (Status::Pending, None)
                        }
                        compared => compared,
                    };
                    observations.extend(observation.map(|code| (code, None)));
                    served = priced_as_served(table, record, prediction.total);
                    if served.is_some() {
                        observations.push((Code::ServedModelDiffers, record.served_model.clone()));
                    }
                    (status, Some(prediction.total))
                }
                Err(Unpriceable(status, observation)) => {
                    let new = |(code, _): &Observation| observations.iter().all(|(c, _)| c != code);
                    let observation = observation.filter(new);
                    observations.extend(observation);
                    (status, None)
                }
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
    Ok(Judgement {
        judged: Judged {
            status,
            predicted,
            recorded,
            delta,
            findings: observations.iter().map(|(code, _)| *code).collect(),
        },
        observations,
        served,
    })
}

/// The status of an attempt without a prediction, and what there is to say about it.
struct Unpriceable(Status, Option<Observation>);

/// What `record` should have cost if `model` had served it.
fn price(table: &PriceTable, record: &Record, model: &str) -> Result<Prediction, Unpriceable> {
    let no_usage = || Unpriceable(Status::NoUsage, Some((Code::UsageMissing, None)));
    let unpriced = |words| Unpriceable(Status::Unpriced, Some((Code::Unpriced, Some(words))));
    let usage = &record.final_usage();
    if usage.input.is_none() || usage.output.is_none() {
        return Err(no_usage());
    }
    let Some(date) = sent_on(record) else {
        return Err(unpriced("the day of sending is unknown".to_owned()));
    };
    let tier = record.served_tier.as_deref();
    let tier = tier.or(record.requested_tier.as_deref());
    let Some(tariff) = table.tariff(model, tier, date) else {
        let words = if table.knows(model) {
            format!("`{model}` has no price on {date} in {}", table.name())
        } else {
            let hint = table
                .nearest(model)
                .map_or(String::new(), |name| format!(" (did you mean `{name}`?)"));
            format!("`{model}` has no price in {}{hint}", table.name())
        };
        return Err(unpriced(words));
    };
    let row = tariff.base();
    predict(&tariff, usage, record.endpoint).map_err(|why| match why {
        Unpredictable::NoUsage => no_usage(),
        Unpredictable::Unpriced { .. } => {
            unpriced(format!("{why} on line {} of {}", row.line, table.name()))
        }
        // `inconsistency` has said how.
        Unpredictable::UsageInconsistent { .. } => Unpriceable(Status::NoUsage, None),
        Unpredictable::Overflow(_) => {
            let words = "so many tokens cannot be priced".to_owned();
            Unpriceable(
                Status::NoUsage,
                Some((Code::UsageInconsistent, Some(words))),
            )
        }
    })
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

fn compare(prediction: &Prediction, recorded: Option<&Recorded>) -> (Status, Option<Code>) {
    let Some(recorded) = recorded else {
        return (Status::NotRecorded, Some(Code::CostNotRecorded));
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
        (Status::Mismatched, Some(Code::CostMismatch))
    }
}

/// The cost at the price of the model that served `record`, if it names one whose price differs.
fn priced_as_served(table: &PriceTable, record: &Record, as_requested: Money) -> Option<Money> {
    let served = record.served_model.as_deref()?;
    if served == record.requested_model {
        return None;
    }
    let cost = price(table, record, served).ok()?.total;
    (cost != as_requested).then_some(cost)
}

/// What in `usage` cannot be.
fn inconsistency(usage: &Usage, endpoint: Endpoint) -> Option<String> {
    let input = usage.input?;
    if usage.uncached_input(endpoint).is_none() {
        let cached = [usage.cache_read, usage.cache_write];
        let cached = cached.into_iter().flatten().fold(0, u64::saturating_add);
        return Some(format!("{cached} cached of {input} input tokens"));
    }
    let write = usage.cache_write.unwrap_or(0);
    if let Some(hour) = usage.cache_write_1h.filter(|&hour| hour > write) {
        return Some(format!(
            "{hour} tokens written for an hour of {write} written"
        ));
    }
    let rest = write - usage.cache_write_1h.unwrap_or(0);
    if let Some(five) = usage.cache_write_5m.filter(|&five| five != rest) {
        return Some(format!(
            "{five} tokens written for five minutes of {rest} not written for an hour"
        ));
    }
    let output = usage.output?;
    if let Some(reasoning) = usage.reasoning.filter(|&reasoning| reasoning > output) {
        return Some(format!("{reasoning} reasoning of {output} output tokens"));
    }
    match (endpoint, usage.total) {
        (Endpoint::OpenAi, Some(total)) if input.checked_add(output) != Some(total) => Some(
            format!("a total of {total} tokens for {input} in and {output} out"),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{money, record, usage};
    use super::*;
    use crate::record::Outcome;

    const TABLE: &str = "model,currency,per_tokens,input,output,round_scale,round_mode,round_stage\n\
                         m,USD,1000000,0.5,1.5,,,\n\
                         dear,USD,1000000,5,15,,,\n\
                         rounded,USD,1000000,0.5,1.5,4,half_up,request\n\
                         half,USD,1000000,,1.5,,,\n";

    /// 1,000 in and 500 out of `m`, as recorded by `body:/usage/cost` in `digits`; empty for none.
    fn attempt(digits: &str) -> Record {
        let costs =
            (!digits.is_empty()).then(|| ("body:/usage/cost".to_owned(), digits.to_owned()));
        Record {
            streaming: false,
            costs: costs.into_iter().collect(),
            ..record("m", usage(1000, 500))
        }
    }

    fn check(record: &Record, status: Status, delta: Option<&str>, codes: &[Code]) {
        let table = PriceTable::read("t.csv", TABLE).expect("valid");
        let judged = reconcile(&table, Policy::default(), &Attempt::seen(record)).expect("small");
        assert_eq!(judged.status, status, "{record:?}");
        assert_eq!(judged.delta, delta.map(money), "{record:?}");
        assert_eq!(judged.findings, codes, "{record:?}");
    }

    #[test]
    fn recorded_against_predicted() {
        let of = |model: &str, digits: &str| Record {
            requested_model: model.to_owned(),
            ..attempt(digits)
        };
        for (record, status, delta, codes) in [
            (attempt("0.00125"), Status::Matched, Some("0"), &[][..]),
            (attempt("1.250e-03"), Status::Matched, Some("0"), &[]),
            (
                attempt("0.0012500000000000002"),
                Status::Matched,
                Some("0"),
                &[Code::FloatNoise],
            ),
            (
                attempt("0.00125000000000000000000000000001"),
                Status::Matched,
                Some("0"),
                &[Code::FloatNoise],
            ),
            (
                attempt("0.001250000001"),
                Status::Mismatched,
                Some("1e-12"),
                &[Code::CostMismatch],
            ),
            (
                attempt("0.0013"),
                Status::Mismatched,
                Some("0.00005"),
                &[Code::CostMismatch],
            ),
            (
                attempt("0.0012"),
                Status::Mismatched,
                Some("-0.00005"),
                &[Code::CostMismatch],
            ),
            (
                attempt("0"),
                Status::Mismatched,
                Some("-0.00125"),
                &[Code::CostMismatch],
            ),
            (
                attempt(""),
                Status::NotRecorded,
                None,
                &[Code::CostNotRecorded],
            ),
            (
                of("rounded", "0.0013"),
                Status::MatchedRounding,
                Some("0.00005"),
                &[Code::RoundingDeclared],
            ),
            (of("rounded", "0.00125"), Status::Matched, Some("0"), &[]),
            (
                of("rounded", "0.0012"),
                Status::Mismatched,
                Some("-0.00005"),
                &[Code::CostMismatch],
            ),
            (
                of("nobody", "0.1"),
                Status::Unpriced,
                None,
                &[Code::Unpriced],
            ),
            (of("half", "0.1"), Status::Unpriced, None, &[Code::Unpriced]),
        ] {
            check(&record, status, delta, codes);
        }
    }

    #[test]
    fn what_is_free_unknown_or_charged() {
        for outcome in Outcome::ALL {
            let with = |usage: Usage, digits: &str| Record {
                outcome,
                last_usage: usage,
                ..attempt(digits)
            };
            let free = matches!(
                outcome,
                Outcome::Dropped
                    | Outcome::ConnectFailed
                    | Outcome::TimeoutConnect
                    | Outcome::RateLimited
                    | Outcome::HttpError
            );
            let empty = Usage::default();
            if free {
                check(&with(empty, ""), Status::NoChargeExpected, None, &[]);
                check(
                    &with(empty, "0.0"),
                    Status::NoChargeExpected,
                    Some("0"),
                    &[],
                );
                check(
                    &with(empty, "0.1"),
                    Status::Mismatched,
                    Some("0.1"),
                    &[Code::ErrorBilled],
                );
            } else {
                check(
                    &with(empty, ""),
                    Status::NoUsage,
                    None,
                    &[Code::UsageMissing],
                );
                check(
                    &with(empty, "0.1"),
                    Status::NoUsage,
                    None,
                    &[Code::UsageMissing],
                );
                check(
                    &with(usage(1000, 500), "0.00125"),
                    Status::Matched,
                    Some("0"),
                    &[],
                );
                let never_sent = Record {
                    sent: None,
                    sent_utc: None,
                    ..with(empty, "")
                };
                check(&never_sent, Status::NoChargeExpected, None, &[]);
            }
        }
    }

    #[test]
    fn usage_that_contradicts_itself() {
        let with = |endpoint, last_usage| Record {
            endpoint,
            last_usage,
            ..attempt("0.00125")
        };
        let total = |total| Usage {
            total: Some(total),
            ..usage(1000, 500)
        };
        let cached = Usage {
            cache_read: Some(1001),
            ..usage(1000, 500)
        };
        let reasoning = Usage {
            reasoning: Some(501),
            ..usage(1000, 500)
        };
        let huge = Usage {
            total: Some(3),
            ..usage(u64::MAX, u64::MAX)
        };
        let found = &[Code::UsageInconsistent][..];
        for (endpoint, usage, status, delta, codes) in [
            (
                Endpoint::OpenAi,
                total(1500),
                Status::Matched,
                Some("0"),
                &[][..],
            ),
            (
                Endpoint::OpenAi,
                total(1501),
                Status::Matched,
                Some("0"),
                found,
            ),
            (
                Endpoint::Anthropic,
                total(1501),
                Status::Matched,
                Some("0"),
                &[],
            ),
            (Endpoint::OpenAi, cached, Status::NoUsage, None, found),
            (
                Endpoint::OpenAi,
                reasoning,
                Status::Matched,
                Some("0"),
                found,
            ),
            (Endpoint::OpenAi, huge, Status::NoUsage, None, found),
        ] {
            let mut codes = codes.to_vec();
            codes.sort_unstable();
            check(&with(endpoint, usage), status, delta, &codes);
        }
    }

    #[test]
    fn the_requested_model_is_priced_and_another_that_answers_is_a_finding() {
        let served = |name: &str, digits| Record {
            served_model: Some(name.to_owned()),
            ..attempt(digits)
        };
        check(&served("m", "0.00125"), Status::Matched, Some("0"), &[]);
        check(
            &served("unlisted", "0.00125"),
            Status::Matched,
            Some("0"),
            &[],
        );
        check(
            &served("rounded", "0.00125"),
            Status::Matched,
            Some("0"),
            &[],
        );
        check(
            &served("dear", "0.00125"),
            Status::Matched,
            Some("0"),
            &[Code::ServedModelDiffers],
        );
        check(
            &served("dear", "0.0125"),
            Status::Mismatched,
            Some("0.01125"),
            &[Code::CostMismatch, Code::ServedModelDiffers],
        );
    }

    #[test]
    fn the_price_is_that_of_the_day_of_sending() {
        let csv = "model,currency,per_tokens,input,output,effective_from,effective_to\n\
                   m,USD,1000000,0.5,1.5,,2026-08-01\n\
                   m,USD,1000000,1,3,2026-08-01,\n";
        let table = PriceTable::read("t.csv", csv).expect("valid");
        for (sent, predicted) in [
            ("2026-07-31T23:59:59.999999Z", Some("0.00125")),
            ("2026-08-01T00:00:00.000000Z", Some("0.0025")),
            ("yesterday", None),
        ] {
            let record = Record {
                sent_utc: Some(sent.to_owned()),
                ..attempt("")
            };
            let judged =
                reconcile(&table, Policy::default(), &Attempt::seen(&record)).expect("small");
            assert_eq!(judged.predicted, predicted.map(money), "{sent}");
        }
    }
}
