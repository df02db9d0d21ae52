//! Which causes of a wrong cost the planned sizes can tell apart.
//!
//! A load of one size cannot: at 1,000 + 500 tokens, swapped prices and a doubled input come to the
//! same amount. In: the sizes of the planned requests. Out: the causes that each have amounts of their
//! own on some request, those that come to the same on all of them, and those that the plan has no means
//! to show. Computed by the hypotheses of the diagnosis itself.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use crate::endpoint::Endpoint;
use crate::money::Money;
use crate::usage::Usage;

use super::diagnose::case::{Case, Reports};
use super::diagnose::hypothesis::Hypothesis;
use super::finding::Code;
use super::policy::{OnAbort, Policy};
use super::prices::PriceTable;

/// The size of one planned request, in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedSize {
    /// Where it is sent.
    pub endpoint: Endpoint,
    /// Whether a stream is asked for.
    pub streaming: bool,
    /// The model asked for.
    pub model: String,
    /// The service tier asked for.
    pub service_tier: Option<String>,
    /// All input tokens, cached ones included.
    pub input: u64,
    /// All output tokens, reasoning included.
    pub output: u64,
    /// Input tokens that a cache will hold.
    pub cache_read: u64,
    /// Input tokens that are written to a cache.
    pub cache_write: u64,
    /// Output tokens that are reasoning.
    pub reasoning: u64,
    /// Whether the client goes away before the end.
    pub hangs_up: bool,
}

/// What the planned sizes can show. A cause stands in one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Separability {
    /// Causes that come to amounts of their own.
    pub separable: Vec<Code>,
    /// Causes that come to the same amounts on every planned request.
    pub confounded: Vec<Vec<Code>>,
    /// Causes that the plan has no means to show, and what is missing.
    pub unseen: Vec<(Code, &'static str)>,
}

/// The causes that are told apart by amounts, and what each needs.
const CAUSES: [(Code, &str); 21] = [
    (Code::UnpricedZero, "no request has a price"),
    (Code::CacheDouble, "no cached tokens are planned"),
    (Code::CacheDropped, "no cached tokens are planned"),
    (Code::CacheTierWrong, "no cached tokens are planned"),
    (Code::StreamCumulativeSummed, "no streams are planned"),
    (Code::StreamPartialKept, "no streams are planned"),
    (Code::TerminalEventMissed, "no streams are planned"),
    (Code::ReasoningDropped, "no reasoning is planned"),
    (Code::ReasoningDouble, "no reasoning is planned"),
    (Code::RetryDouble, "no request has a price"),
    (
        Code::ServiceTier,
        "the price table has no other service tier",
    ),
    (
        Code::ContextTier,
        "no price depends on the size of the prompt",
    ),
    (Code::ModelAlias, "the price table has no other model"),
    (Code::RatesSwapped, "input and output have the same price"),
    (Code::Unit1k1m, "no request has a price"),
    (Code::MarkupUndeclared, "no request has a price"),
    (Code::Rounding, "no request has a price"),
    (Code::FloatNoise, "no request has a price"),
    (Code::AbortUnbilled, ABORTS),
    (Code::AbortFull, ABORTS),
    (Code::AbortEstimated, ABORTS),
];

/// What is inferred from the amounts themselves.
const INFERRED: [Code; 3] = [Code::MarkupUndeclared, Code::Rounding, Code::FloatNoise];

/// What answers may be billed for that break off.
const ABORTED: [Code; 3] = [Code::AbortUnbilled, Code::AbortFull, Code::AbortEstimated];

/// What it takes to see what answers cost that break off.
const ABORTS: &str = "no client is planned to go away before the end";

/// What is known of each variant of a cause, size by size: two that never differed are the same.
#[derive(Debug, Default)]
struct Seen<'t> {
    /// Variants, each with the sizes that it changes the amount of.
    changes: BTreeMap<Hypothesis<'t>, u64>,
    /// Pairs of variants, and on how many sizes both change the amount to the same.
    equal: BTreeMap<(Hypothesis<'t>, Hypothesis<'t>), u64>,
    /// The amounts of each group of requests that are judged together, up to two.
    amounts: BTreeMap<(Endpoint, bool, String), BTreeSet<Money>>,
    /// Causes that come to a percentage of the right amount on some size.
    percentages: BTreeSet<Code>,
    /// Whether any answer with a price will break off.
    breaks_off: bool,
}

/// What `sizes` can show of the prices of `table` on `date`. What `policy` has paid for is no mistake.
pub fn separability(
    table: &PriceTable,
    policy: Policy,
    date: Date,
    sizes: impl Iterator<Item = PlannedSize>,
) -> Separability {
    let mut seen = Seen::default();
    for size in sizes {
        let Some(case) = planned(table, date, &size) else {
            continue;
        };
        seen.breaks_off |= size.hangs_up;
        seen.take(&case);
    }
    seen.judge(policy.abort)
}

/// A planned request as if it had been answered as planned.
fn planned<'a, 't>(
    table: &'t PriceTable,
    date: Date,
    size: &'a PlannedSize,
) -> Option<Case<'a, 't>> {
    let tier = size.service_tier.as_deref();
    let tariff = table.tariff(&size.model, tier, date)?;
    let cached = size.cache_read.checked_add(size.cache_write)?;
    let input = match size.endpoint {
        Endpoint::OpenAi => size.input,
        Endpoint::Anthropic => size.input.checked_sub(cached)?,
    };
    let usage = Usage {
        input: Some(input),
        output: Some(size.output),
        cache_read: Some(size.cache_read),
        cache_write: Some(size.cache_write),
        reasoning: Some(size.reasoning),
        ..Usage::default()
    };
    // The first report of a stream has the input, and the last one has everything. Anthropic's first counts
    // the token that it comes with.
    let begun = match size.endpoint {
        Endpoint::OpenAi => 0,
        Endpoint::Anthropic => size.output.min(1),
    };
    let first = Usage {
        output: Some(begun),
        reasoning: Some(0),
        ..usage
    };
    let mut sum = first;
    sum.add(&usage);
    Some(Case {
        table,
        tariff,
        model: &size.model,
        tier,
        date,
        endpoint: size.endpoint,
        streaming: size.streaming,
        served_model: None,
        said_tiers: [tier, None],
        usage,
        reasoning: usage.reasoning,
        times: 1,
        reports: size.streaming.then_some(Reports { first, sum }),
        retried: None,
        abort: None,
        free: false,
    })
}

impl<'t> Seen<'t> {
    fn take(&mut self, case: &Case<'_, 't>) {
        let Some(base) = case.base().filter(|base| !base.total.is_zero()) else {
            return;
        };
        let group = (case.endpoint, case.streaming, case.model.to_owned());
        let amounts = self.amounts.entry(group).or_default();
        if amounts.len() < 2 {
            amounts.insert(base.total);
        }
        let candidates = case.candidates().into_iter();
        let priced: Vec<(Hypothesis<'t>, Money)> = candidates
            .filter_map(|h| Some((h, case.price(&[h])?.total)))
            .filter(|(_, total)| *total != base.total)
            .collect();
        for (hypothesis, amount) in &priced {
            if is_percentage(*amount, base.total) {
                self.percentages.insert(hypothesis.code());
            }
        }
        for (i, (a, amount)) in priced.iter().enumerate() {
            *self.changes.entry(*a).or_default() += 1;
            for (b, other) in &priced[i + 1..] {
                if amount == other && a.code() != b.code() {
                    *self.equal.entry((*a, *b)).or_default() += 1;
                }
            }
        }
    }

    fn judge(&self, abort: OnAbort) -> Separability {
        let mut found = Separability::default();
        // Causes that are the same on every size that either changes, as sets that hang together.
        let mut sets: Vec<BTreeSet<Code>> = Vec::new();
        for ((a, b), count) in &self.equal {
            if self.changes.get(a) != Some(count) || self.changes.get(b) != Some(count) {
                continue;
            }
            let mut joined = BTreeSet::from([a.code(), b.code()]);
            sets.retain(|set| {
                let is_apart = set.is_disjoint(&joined);
                if !is_apart {
                    joined.extend(set);
                }
                is_apart
            });
            sets.push(joined);
        }
        let any = !self.changes.is_empty();
        // Where each group has one amount, any other is some percentage of it.
        let is_of_one = any && self.amounts.values().all(|amounts| amounts.len() < 2);
        if is_of_one {
            let free = |code: &&Code| !sets.iter().any(|set| set.contains(code));
            let others: BTreeSet<Code> = self.percentages.iter().filter(free).copied().collect();
            let inferred = [Code::MarkupUndeclared, Code::Rounding];
            sets.push(others.into_iter().chain(inferred).collect());
        }
        for (code, missing) in CAUSES {
            let is_seen = self.changes.keys().any(|h| h.code() == code)
                || (INFERRED.contains(&code) && any)
                || (ABORTED.contains(&code) && any && self.breaks_off);
            let (is_seen, missing) = match (abort, code) {
                (OnAbort::Full, Code::AbortFull) => {
                    (false, "the policy has whole answers paid for")
                }
                (OnAbort::Free, Code::AbortUnbilled) => (false, "the policy frees what breaks off"),
                _ => (is_seen, missing),
            };
            if !is_seen {
                found.unseen.push((code, missing));
            } else if !sets.iter().any(|set| set.contains(&code)) {
                found.separable.push(code);
            }
        }
        found.confounded = sets
            .into_iter()
            .map(|set| set.into_iter().collect())
            .collect();
        found.confounded.sort_unstable();
        found
    }
}

impl Separability {
    /// What a reader of the plan should know, a sentence for each set of causes that cannot be told apart.
    pub fn warnings(&self) -> Vec<String> {
        let sets = self.confounded.iter();
        sets.map(|set| {
            let names: Vec<&str> = set.iter().map(|code| code.name()).collect();
            let (first, rest) = names.split_first().expect("a set has two causes");
            let others = rest.join(" or ");
            let advice = advice(set);
            format!("with the planned sizes {first} cannot be told from {others}: {advice}")
        })
        .collect()
    }
}

/// What to change, so that these causes come to different amounts.
fn advice(set: &[Code]) -> &'static str {
    let first_reports = [Code::StreamPartialKept, Code::TerminalEventMissed];
    let of_table = [Code::ServiceTier, Code::ContextTier, Code::ModelAlias];
    if set == first_reports {
        "chat completions report no output at first, so send to `/v1/messages` as well"
    } else if set.contains(&Code::MarkupUndeclared) {
        "draw both sizes from a range, since of one amount any other is some percentage"
    } else if set.iter().any(|code| of_table.contains(code)) {
        "the price list has the same prices, or multiples of them, in several rows"
    } else {
        "draw both sizes from a range"
    }
}

/// Whether one amount is a percentage below 100 more or less than the other, in four decimals.
fn is_percentage(amount: Money, of: Money) -> bool {
    let exact = |off: Money| {
        let percent = off.percent_of(of, 4)?;
        let is_exact = of.checked_percent(percent).is_ok_and(|back| back == off);
        Some(is_exact && percent.abs() < Money::new(100, 0)?)
    };
    amount.checked_sub(of).ok().and_then(exact).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "model,currency,per_tokens,input,output,cache_read\n\
                         m,USD,1000000,0.5,1.5,0.05\n";

    fn size(input: u64, output: u64) -> PlannedSize {
        PlannedSize {
            endpoint: Endpoint::OpenAi,
            streaming: true,
            model: "m".to_owned(),
            service_tier: None,
            input,
            output,
            cache_read: 0,
            cache_write: 0,
            reasoning: 0,
            hangs_up: false,
        }
    }

    fn of(sizes: &[PlannedSize]) -> Separability {
        let table = PriceTable::read("t.csv", TABLE).expect("valid");
        let date = "2026-08-01".parse().expect("a date");
        let sizes = sizes.iter().cloned();
        separability(&table, Policy::default(), date, sizes)
    }

    #[test]
    fn one_size_confounds_swapped_prices_with_a_doubled_input() {
        let fixed = of(&[size(1_000, 500), size(1_000, 500)]);
        let pair = [Code::StreamCumulativeSummed, Code::RatesSwapped];
        assert!(fixed.confounded.contains(&pair.to_vec()), "{fixed:?}");
        assert!(fixed.warnings().contains(
            &"with the planned sizes STREAM_CUMULATIVE_SUMMED cannot be told from RATES_SWAPPED: draw both sizes from a range".to_owned()
        ));
        let varied = of(&[size(1_000, 500), size(997, 503)]);
        assert!(varied.separable.contains(&Code::RatesSwapped), "{varied:?}");
    }

    #[test]
    fn what_is_not_planned_is_not_seen() {
        let found = of(&[size(997, 503)]);
        let unseen = |code| {
            found
                .unseen
                .iter()
                .find(|(c, _)| *c == code)
                .map(|(_, why)| *why)
        };
        assert_eq!(
            unseen(Code::CacheDouble),
            Some("no cached tokens are planned")
        );
        assert_eq!(
            unseen(Code::ReasoningDropped),
            Some("no reasoning is planned")
        );
        assert_eq!(
            unseen(Code::ModelAlias),
            Some("the price table has no other model")
        );
        assert_eq!(unseen(Code::RatesSwapped), None);
        let nothing = of(&[]);
        assert_eq!(nothing.unseen.len(), CAUSES.len());
    }

    #[test]
    fn of_one_amount_a_percentage_may_be_anything() {
        let one = of(&[size(1_000, 500)]);
        let set = one
            .confounded
            .iter()
            .find(|set| set.contains(&Code::MarkupUndeclared));
        let set = set.expect("a percentage of one amount");
        assert!(set.contains(&Code::Rounding), "{one:?}");
        let two = of(&[size(1_000, 500), size(997, 503)]);
        for code in [Code::MarkupUndeclared, Code::Rounding, Code::FloatNoise] {
            assert!(two.separable.contains(&code), "{two:?}");
        }
    }

    #[test]
    fn what_breaks_off_shows_what_the_policy_does_not_have_paid_for() {
        let table = PriceTable::read("t.csv", TABLE).expect("valid");
        let date = "2026-08-01".parse().expect("a date");
        for (abort, hangs_up, seen) in [
            (OnAbort::Full, false, &[][..]),
            (
                OnAbort::Full,
                true,
                &[Code::AbortUnbilled, Code::AbortEstimated],
            ),
            (
                OnAbort::Free,
                true,
                &[Code::AbortFull, Code::AbortEstimated],
            ),
            (OnAbort::Delivered, true, &ABORTED),
        ] {
            let policy = Policy {
                abort,
                ..Policy::default()
            };
            let size = PlannedSize {
                hangs_up,
                ..size(997, 503)
            };
            let found = separability(&table, policy, date, std::iter::once(size));
            let aborts = found
                .separable
                .into_iter()
                .filter(|code| ABORTED.contains(code));
            assert_eq!(aborts.collect::<Vec<_>>(), seen, "{abort:?} {hangs_up}");
        }
    }

    #[test]
    fn the_first_report_of_a_message_has_a_token() {
        let at = |endpoint| PlannedSize {
            endpoint,
            ..size(997, 503)
        };
        let kept = [Code::StreamPartialKept, Code::TerminalEventMissed].to_vec();
        let chat = of(&[at(Endpoint::OpenAi), size(1_009, 211)]);
        assert_eq!(chat.confounded, [kept]);
        assert!(chat.warnings()[0].ends_with("so send to `/v1/messages` as well"));
        let both = of(&[at(Endpoint::OpenAi), at(Endpoint::Anthropic)]);
        assert!(
            both.separable.contains(&Code::StreamPartialKept),
            "{both:?}"
        );
    }

    #[test]
    fn each_cause_stands_in_one_place() {
        let cached = PlannedSize {
            cache_read: 300,
            reasoning: 20,
            ..size(997, 503)
        };
        let found = of(&[cached, size(1_009, 211)]);
        let confounded = found.confounded.iter().flatten();
        let unseen = found.unseen.iter().map(|(code, _)| code);
        let mut all: Vec<Code> = found
            .separable
            .iter()
            .chain(confounded)
            .chain(unseen)
            .copied()
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(
            (all.len(), count),
            (CAUSES.len(), CAUSES.len()),
            "{found:?}"
        );
    }
}
