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
use super::policy::Policy;
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
const CAUSES: [(Code, &str); 16] = [
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
];

/// What is known of each variant of a cause, size by size: two that never differed are the same.
#[derive(Debug, Default)]
struct Seen<'t> {
    /// Variants, each with the sizes that it changes the amount of.
    changes: BTreeMap<Hypothesis<'t>, u64>,
    /// Pairs of variants, and on how many sizes both change the amount to the same.
    equal: BTreeMap<(Hypothesis<'t>, Hypothesis<'t>), u64>,
    /// Whether a percentage explains a variant: the one that it is on every size so far.
    amounts: BTreeSet<Money>,
}

/// What `sizes` can show of the prices of `table` on `date`. What the policy frees does not matter here.
pub fn separability(
    table: &PriceTable,
    policy: Policy,
    date: Date,
    sizes: impl Iterator<Item = PlannedSize>,
) -> Separability {
    let _ = policy;
    let mut seen = Seen::default();
    for size in sizes {
        let Some(case) = planned(table, date, &size) else {
            continue;
        };
        seen.take(&case);
    }
    seen.judge()
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
    // The first report of a stream has the input, and the last one has everything.
    let first = Usage {
        output: Some(0),
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
        usage,
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
        self.amounts.insert(base.total);
        let candidates = case.candidates().into_iter();
        let priced: Vec<(Hypothesis<'t>, Money)> = candidates
            .filter_map(|h| Some((h, case.price(&[h])?.total)))
            .filter(|(_, total)| *total != base.total)
            .collect();
        for (i, (a, amount)) in priced.iter().enumerate() {
            *self.changes.entry(*a).or_default() += 1;
            for (b, other) in &priced[i + 1..] {
                if amount == other && a.code() != b.code() {
                    *self.equal.entry((*a, *b)).or_default() += 1;
                }
            }
        }
    }

    fn judge(&self) -> Separability {
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
        for (code, missing) in CAUSES {
            let is_seen = self.changes.keys().any(|h| h.code() == code)
                || (code == Code::MarkupUndeclared && any);
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
            format!(
                "with the planned sizes {first} cannot be told from {others}: draw both sizes from a range"
            )
        })
        .collect()
    }
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
