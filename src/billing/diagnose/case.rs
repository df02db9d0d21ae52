//! One attempt as a case: what its cost is computed from, and what it would be under a hypothesis.

use std::borrow::Cow;

use jiff::civil::Date;

use crate::endpoint::Endpoint;
use crate::money::Money;
use crate::usage::Usage;

use super::super::predict::{Components, Prediction, Quantities, price, quantities};
use super::super::prices::{PriceRow, PriceTable, Tariff};
use super::hypothesis::{CacheTier, Cached, Estimate, Explanation, Hypothesis, Unit};

/// How many other models' prices are tried on one attempt.
const ALIASES_MAX: usize = 64;

/// What a cost is computed from.
#[derive(Clone, Debug)]
pub struct Case<'a, 't> {
    /// Every price.
    pub table: &'t PriceTable,
    /// The prices that should hold.
    pub tariff: Tariff<'t>,
    /// The model asked for.
    pub model: &'a str,
    /// The service tier that should hold.
    pub tier: Option<&'a str>,
    /// The day of the prices.
    pub date: Date,
    /// How the usage counts.
    pub endpoint: Endpoint,
    /// Whether the answer is a stream.
    pub streaming: bool,
    /// The model that the answer names.
    pub served_model: Option<&'a str>,
    /// The service tiers that the request and the answer name.
    pub said_tiers: [Option<&'a str>; 2],
    /// What is to be paid for.
    pub usage: Usage,
    /// Reasoning tokens: the answer's count, or else the upstream's journal's.
    pub reasoning: Option<u64>,
    /// How often: more than once only where each attempt at the upstream is paid for.
    pub times: u64,
    /// The first and the sum of several usage reports; `None` for a single one.
    pub reports: Option<Reports>,
    /// How often the upstream was asked, where that was more than once.
    pub retried: Option<u64>,
    /// Of an answer that broke off.
    pub abort: Option<Abort>,
    /// Whether nothing at all should be paid.
    pub free: bool,
}

/// What a stream of several usage reports may be billed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reports {
    /// The first of them.
    pub first: Usage,
    /// Their sum.
    pub sum: Usage,
}

/// What is known of an answer that broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// The usage of the whole answer, if anybody knows it.
    pub whole: Option<Usage>,
    /// Characters that arrived.
    pub characters: u64,
}

impl<'t> Case<'_, 't> {
    /// What should be paid; `None` where it cannot be priced.
    pub fn base(&self) -> Option<Prediction> {
        self.price(&[])
    }

    /// What would be paid under `explanation`.
    pub fn explained(&self, explanation: &Explanation<'t>) -> Option<Prediction> {
        match explanation.then {
            None => self.price(&[explanation.first]),
            Some(then) => self.price(&[explanation.first, then]),
        }
    }

    /// What would be paid under all of `hypotheses`, which are in the order of their declaration.
    /// `None` where one has no means here, or where there is no such amount. What is inferred from an
    /// amount, and an estimate, are not computed here and change nothing.
    pub fn price(&self, hypotheses: &[Hypothesis<'t>]) -> Option<Prediction> {
        let mut usage = self.usage;
        let mut is_whole = true;
        let (mut model, mut tier, mut context) = (None, None, None);
        for hypothesis in hypotheses {
            match *hypothesis {
                Hypothesis::StreamCumulativeSummed => usage = known(self.reports?.sum),
                Hypothesis::StreamPartialKept => usage = known(self.reports?.first),
                Hypothesis::AbortFull => usage = self.abort?.whole?,
                Hypothesis::ServiceTier(name) => tier = Some(name),
                Hypothesis::ModelAlias(name) => model = Some(name),
                Hypothesis::ContextTier(above) => context = Some(above),
                Hypothesis::UnpricedZero | Hypothesis::AbortUnbilled => return Some(nothing()),
                _ => {}
            }
        }
        for hypothesis in hypotheses {
            is_whole &= !matches!(
                hypothesis,
                Hypothesis::StreamCumulativeSummed
                    | Hypothesis::StreamPartialKept
                    | Hypothesis::AbortFull
            );
        }
        let reasoning = if is_whole {
            self.reasoning
        } else {
            usage.reasoning
        };
        let breaks_free = hypotheses.contains(&Hypothesis::AbortFull);
        if self.free && !breaks_free {
            return Some(nothing());
        }
        let mut tariff = Cow::Borrowed(&self.tariff);
        if model.is_some() || tier.is_some() {
            let tier = tier.or(self.tier).filter(|name| !name.is_empty());
            let model = model.unwrap_or(self.model);
            tariff = Cow::Owned(self.table.tariff(model, tier, self.date)?);
        }
        if let Some(above) = context {
            tariff = Cow::Owned(of_size(&tariff, above)?);
        }
        let mut q = quantities(&tariff, &usage, self.endpoint).ok()?;
        for hypothesis in hypotheses {
            q = count(*hypothesis, q, &usage, reasoning.unwrap_or(0))?;
        }
        let adjust = |rates| hypotheses.iter().fold(rates, |rates, h| h.adjust(rates));
        let mut priced = price(&tariff, &q, adjust).ok()?;
        if self.times > 1 {
            priced = scaled(&priced, tariff.base(), |part| {
                part.checked_mul(self.times).ok()
            })?;
        }
        for hypothesis in hypotheses {
            let row = tariff.base();
            priced = match *hypothesis {
                Hypothesis::RetryDouble(times) => {
                    scaled(&priced, row, |part| part.checked_mul(times).ok())?
                }
                Hypothesis::Unit1k1m(Unit::Thousandfold) => {
                    scaled(&priced, row, |part| part.checked_mul(1_000).ok())?
                }
                Hypothesis::Unit1k1m(Unit::Thousandth) => {
                    scaled(&priced, row, |part| part.checked_shift(3).ok())?
                }
                _ => priced,
            };
        }
        Some(priced)
    }

    /// What would be paid for the input and `output` tokens of output.
    pub fn with_output(&self, output: u64) -> Option<Prediction> {
        let whole = self.abort.and_then(|abort| abort.whole);
        let usage = Usage {
            output: Some(output),
            reasoning: None,
            total: None,
            ..self.usage_or(whole)
        };
        let q = quantities(&self.tariff, &usage, self.endpoint).ok()?;
        price(&self.tariff, &q, |rates| rates).ok()
    }

    fn usage_or(&self, other: Option<Usage>) -> Usage {
        if self.usage.input.is_some() {
            return self.usage;
        }
        other.unwrap_or(self.usage)
    }

    /// The hypotheses that there are means for, those that are inferred from an amount left out.
    pub fn candidates(&self) -> Vec<Hypothesis<'t>> {
        let mut found = Vec::new();
        if let Some(abort) = self.abort {
            if abort.whole.is_some() {
                found.push(Hypothesis::AbortFull);
            }
            if abort.characters > 0 {
                found.push(Hypothesis::AbortEstimated(Estimate::Other));
            }
            if !self.free {
                found.push(Hypothesis::AbortUnbilled);
            }
        }
        if self.free {
            return found;
        }
        let Ok(q) = quantities(&self.tariff, &self.usage, self.endpoint) else {
            return found;
        };
        let output = q.output > 0 || q.reasoning > 0;
        let writes = q.cache_write_5m > 0 || q.cache_write_1h > 0;
        let mut when = |is: bool, hypothesis| {
            if is {
                found.push(hypothesis);
            }
        };
        when(self.reports.is_some(), Hypothesis::StreamCumulativeSummed);
        when(self.reports.is_some(), Hypothesis::StreamPartialKept);
        when(self.streaming && output, Hypothesis::TerminalEventMissed);
        let reasons = self.reasoning.is_some_and(|n| n > 0);
        when(reasons, Hypothesis::ReasoningDropped);
        when(reasons, Hypothesis::ReasoningDouble);
        // Without a price of the request it is nothing, and so is what is not priced.
        let request = self.tariff.base().per_request;
        let has_request = request.is_some_and(|price| !price.is_zero());
        when(has_request, Hypothesis::TranslationUsageLost);
        for hypothesis in self.other_tariffs() {
            when(true, hypothesis);
        }
        when(true, Hypothesis::RatesSwapped);
        let reads = q.cache_read > 0;
        let tier = |tier| Hypothesis::CacheTierWrong(tier);
        when(reads, tier(CacheTier::ReadsAsInput));
        when(q.cache_write_1h > 0, tier(CacheTier::HourAsFiveMinutes));
        // It acts on either, and is simpler than two causes where both occur.
        when(reads || q.cache_write_1h > 0, tier(CacheTier::ReadsAndHour));
        when(q.cache_write_5m > 0, tier(CacheTier::FiveMinutesAsHour));
        when(writes, tier(CacheTier::WritesAsInput));
        when(reads, Hypothesis::CacheDouble);
        when(reads, Hypothesis::CacheDropped(Cached::Reads));
        when(writes, Hypothesis::CacheDropped(Cached::Writes));
        when(reads || writes, Hypothesis::CacheDropped(Cached::Both));
        when(true, Hypothesis::RetryDouble(2));
        if let Some(times) = self.retried.filter(|&times| times > 2) {
            when(true, Hypothesis::RetryDouble(times));
        }
        when(true, Hypothesis::Unit1k1m(Unit::Thousandfold));
        when(true, Hypothesis::Unit1k1m(Unit::Thousandth));
        when(self.abort.is_none(), Hypothesis::UnpricedZero);
        found
    }

    /// The other tariffs that the request or the answer itself names: nobody has to guess them.
    pub fn said(&self) -> Vec<Hypothesis<'t>> {
        let of = |tier: Option<&str>| {
            let tariff = self.table.tariff(self.model, Some(tier?), self.date)?;
            Some(tariff.service_tier().unwrap_or_default())
        };
        let tiers = self.said_tiers.into_iter().filter_map(of);
        let served = self.served().map(Hypothesis::ModelAlias);
        tiers.map(Hypothesis::ServiceTier).chain(served).collect()
    }

    /// What `priced` comes to with `percent` more on it.
    pub fn with_percent(&self, priced: &Prediction, percent: Money) -> Option<Prediction> {
        scaled(priced, self.tariff.base(), |part| {
            part.checked_add(part.checked_percent(percent).ok()?).ok()
        })
    }

    /// The model in the price list that the answer names, where that is not the one asked for.
    fn served(&self) -> Option<&'t str> {
        let name = self.served_model.filter(|name| *name != self.model)?;
        let tariff = self.table.tariff(name, self.tier, self.date)?;
        Some(&tariff.base().model)
    }

    /// The prices that may have been taken for the right ones.
    fn other_tariffs(&self) -> Vec<Hypothesis<'t>> {
        let mut found = Vec::new();
        let own_tier = self.tariff.service_tier();
        let tiers = self.table.tariffs(self.model, self.date).into_iter();
        let tiers = tiers.map(|tariff| tariff.service_tier());
        let others = tiers.filter(|tier| *tier != own_tier);
        found.extend(others.map(|tier| Hypothesis::ServiceTier(tier.unwrap_or_default())));
        let rows = self.tariff.rows();
        if rows.len() > 1 {
            let limits = rows.iter().map(|row| row.tier_above.unwrap_or(0));
            found.extend(limits.map(Hypothesis::ContextTier));
        }
        let own: &str = &self.tariff.base().model;
        let served = self.served();
        let others = self.table.models();
        let others = others.into_iter().filter(|name| Some(*name) != served);
        let named = served.into_iter().chain(others);
        let others = named.filter(|name| *name != own).take(ALIASES_MAX);
        found.extend(others.map(Hypothesis::ModelAlias));
        found
    }
}

/// The tariff of which the prices for prompts above `above` tokens hold for every prompt.
fn of_size<'t>(tariff: &Tariff<'t>, above: u64) -> Option<Tariff<'t>> {
    let mut rows = tariff.rows().iter();
    let row = rows.find(|row| row.tier_above.unwrap_or(0) == above)?;
    Some(Tariff::of(row))
}

/// A usage of which what was not reported counts as nothing, as whoever bills it takes it.
fn known(usage: Usage) -> Usage {
    Usage {
        input: usage.input.or(Some(0)),
        output: usage.output.or(Some(0)),
        ..usage
    }
}

/// What `hypothesis` makes of the quantities of `usage`.
fn count(
    hypothesis: Hypothesis<'_>,
    mut q: Quantities,
    usage: &Usage,
    reasoning: u64,
) -> Option<Quantities> {
    // Reasoning that is paid for besides the output is no part of it.
    let is_apart = q.reasoning > 0;
    let is_besides = is_apart && usage.output == Some(q.output);
    match hypothesis {
        Hypothesis::TerminalEventMissed => (q.output, q.reasoning) = (0, 0),
        Hypothesis::ReasoningDropped if is_apart => q.reasoning = 0,
        Hypothesis::ReasoningDropped => q.output = q.output.checked_sub(reasoning)?,
        Hypothesis::ReasoningDouble if is_besides => q.reasoning = q.reasoning.checked_mul(2)?,
        Hypothesis::ReasoningDouble => q.output = q.output.checked_add(reasoning)?,
        Hypothesis::TranslationUsageLost => q = Quantities::default(),
        _ => {}
    }
    Some(q)
}

/// No cost at all.
fn nothing() -> Prediction {
    Prediction {
        total: Money::ZERO,
        rounded: None,
        components: Components::default(),
    }
}

/// A prediction of which each part is changed by `change`, rounded as `row` declares.
fn scaled(
    priced: &Prediction,
    row: &PriceRow,
    change: impl Fn(Money) -> Option<Money>,
) -> Option<Prediction> {
    let c = &priced.components;
    let components = Components {
        input: change(c.input)?,
        cache_read: change(c.cache_read)?,
        cache_write_5m: change(c.cache_write_5m)?,
        cache_write_1h: change(c.cache_write_1h)?,
        output: change(c.output)?,
        reasoning: change(c.reasoning)?,
        request: change(c.request)?,
        markup: change(c.markup)?,
    };
    Some(Prediction {
        total: components.total().ok()?,
        rounded: match row.rounding {
            Some(rule) => components.rounded(rule).ok()?,
            None => None,
        },
        components,
    })
}
