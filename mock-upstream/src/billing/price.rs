//! What tokens cost, exactly: a tariff for each kind of tokens, and the parts of a price that add up.
//!
//! Nothing is rounded here. A price that has no end, or more digits than a decimal holds, is no price.

use rust_decimal::Decimal;

use super::mistakes::Planted;
use crate::config::{Class, ContextTier, Cost, Rate};
use crate::journal::Usage;

/// What has a price of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Input,
    CacheRead,
    CacheWrite5m,
    CacheWrite1h,
    Output,
    Request,
}

impl Kind {
    /// The name, as in an exported bill.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::Output => "output",
            Self::Request => "request",
        }
    }
}

/// One kind of tokens of an answer, and what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    /// Tokens, or requests.
    pub(crate) quantity: u64,
    pub(crate) cost: Decimal,
}

/// What an answer is priced by, beside its usage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Deal<'a> {
    pub(crate) cost: &'a Cost,
    /// The requested model.
    pub(crate) model: &'a str,
    pub(crate) service_tier: Option<&'a str>,
}

impl<'a> Deal<'a> {
    /// The rates of the requested model.
    pub(crate) fn rate(&self) -> Option<&'a Rate> {
        self.cost.rates.get(self.model)
    }

    /// The service tier that is billed: the requested one if it has prices. `auto` leaves the choice to the API.
    pub(crate) fn billed_service_tier(&self) -> &'a str {
        let tiers = self.rate().map(|rate| &rate.service_tiers);
        let is_billed = |tier: &&str| tiers.is_some_and(|tiers| tiers.contains_key(*tier));
        let requested = self.service_tier.filter(|tier| *tier != "auto");
        requested.filter(is_billed).unwrap_or("default")
    }

    /// The exact cost of a usage; `None` for a model without rates.
    pub(crate) fn exact(&self, usage: Usage) -> Option<Decimal> {
        total(&self.parts(usage, &Planted::default())?)
    }

    /// The parts of a usage's price, with the mistakes that concern rates.
    pub(crate) fn parts(&self, usage: Usage, planted: &Planted) -> Option<[Part; 6]> {
        let tariff = self.tariff(usage, planted)?;
        let per = Decimal::from(self.cost.per_tokens);
        let factor = planted.factor();
        let part = |kind, quantity: u64, price: Decimal, per: Decimal| {
            let exact = product(Decimal::from(quantity), price)?;
            let cost = exact.checked_div(per)?;
            // A quotient that had to be rounded does not give back what was divided.
            (product(cost, per)? == exact).then_some(())?;
            Some(Part {
                kind,
                quantity,
                cost: product(cost, factor)?,
            })
        };
        let write_1h = usage.cache_write_1h.min(usage.cache_write);
        Some([
            part(Kind::Input, usage.input, tariff.input, per)?,
            part(Kind::CacheRead, usage.cache_read, tariff.cache_read, per)?,
            part(
                Kind::CacheWrite5m,
                usage.cache_write - write_1h,
                tariff.cache_write_5m,
                per,
            )?,
            part(Kind::CacheWrite1h, write_1h, tariff.cache_write_1h, per)?,
            part(Kind::Output, usage.output, tariff.output, per)?,
            part(Kind::Request, 1, tariff.request, Decimal::ONE)?,
        ])
    }

    /// The prices that hold for a prompt of this size.
    fn tariff(&self, usage: Usage, planted: &Planted) -> Option<Tariff> {
        let own = self.rate()?;
        let rate = if planted.has(Class::ModelAlias) {
            self.other_rate()?
        } else {
            own
        };
        let service_tier = if planted.has(Class::ServiceTier) {
            self.other_service_tier()
        } else {
            self.service_tier
        };
        let tier = rate.context_tier.filter(|tier| {
            let is_above = usage.prompt() > tier.above;
            is_above != planted.has(Class::ContextTier)
        });
        let mut tariff = Tariff::new(rate, tier).times(rate.factor(service_tier))?;
        if planted.has(Class::RatesSwapped) {
            std::mem::swap(&mut tariff.input, &mut tariff.output);
        }
        if planted.has(Class::CacheTierWrong) {
            tariff.cache_read = tariff.input;
            tariff.cache_write_1h = tariff.cache_write_5m;
        }
        if planted.has(Class::CacheDouble) {
            tariff.cache_read = tariff.cache_read.checked_add(tariff.input)?;
        }
        if planted.has(Class::CacheDropped) {
            tariff.cache_read = Decimal::ZERO;
        }
        Some(tariff)
    }

    /// The rates that a wrong alias leads to: those of the model that answers, if it has other ones, else those of the
    /// first by name that has.
    pub(crate) fn other_rate(&self) -> Option<&'a Rate> {
        let own = self.rate()?;
        let served = own.served_as.as_ref();
        let served = served.and_then(|served| self.cost.rates.get(served));
        let differs = |rate: &&Rate| (rate.input, rate.output) != (own.input, own.output);
        let mut others = served.into_iter().chain(self.cost.rates.values());
        others.find(differs)
    }

    /// The tier that is billed by mistake: none, or where that is right, the first by name with other prices.
    pub(crate) fn other_service_tier(&self) -> Option<&'a str> {
        let rate = self.rate()?;
        if rate.factor(self.service_tier) != Decimal::ONE {
            return None;
        }
        let mut tiers = rate.service_tiers.iter();
        tiers
            .find(|(_, factor)| factor.0 != Decimal::ONE)
            .map(|(name, _)| name.as_str())
    }
}

/// A price for each kind.
struct Tariff {
    input: Decimal,
    output: Decimal,
    cache_read: Decimal,
    cache_write_5m: Decimal,
    cache_write_1h: Decimal,
    request: Decimal,
}

impl Tariff {
    fn new(rate: &Rate, tier: Option<ContextTier>) -> Self {
        let tier = tier.unwrap_or(ContextTier {
            above: 0,
            input: rate.input,
            output: rate.output,
            cache_read: rate.cache_read,
            cache_write_5m: rate.cache_write_5m,
            cache_write_1h: rate.cache_write_1h,
        });
        Self {
            input: tier.input,
            output: tier.output,
            cache_read: tier.cache_read.unwrap_or(tier.input),
            cache_write_5m: tier.cache_write_5m.unwrap_or(tier.input),
            cache_write_1h: tier.cache_write_1h.unwrap_or(tier.input),
            request: rate.per_request.unwrap_or_default(),
        }
    }

    /// The prices of tokens, multiplied.
    fn times(self, factor: Decimal) -> Option<Self> {
        Some(Self {
            input: product(self.input, factor)?,
            output: product(self.output, factor)?,
            cache_read: product(self.cache_read, factor)?,
            cache_write_5m: product(self.cache_write_5m, factor)?,
            cache_write_1h: product(self.cache_write_1h, factor)?,
            request: self.request,
        })
    }
}

/// The sum of parts.
pub(crate) fn total(parts: &[Part]) -> Option<Decimal> {
    parts.iter().try_fold(Decimal::ZERO, |before, part| {
        let sum = before.checked_add(part.cost)?;
        // A sum that had to be rounded does not give back both of what was added.
        let is_exact =
            sum.checked_sub(part.cost)? == before && sum.checked_sub(before)? == part.cost;
        is_exact.then_some(sum)
    })
}

/// A product, if no digit of it is lost.
fn product(left: Decimal, right: Decimal) -> Option<Decimal> {
    let (left, right) = (left.normalize(), right.normalize());
    let product = left.checked_mul(right)?;
    let is_exact =
        left.is_zero() || right.is_zero() || product.scale() == left.scale() + right.scale();
    is_exact.then_some(product)
}

/// An amount as text, without trailing zeros or exponent.
pub(crate) fn digits(amount: Decimal) -> String {
    amount.normalize().to_string()
}
