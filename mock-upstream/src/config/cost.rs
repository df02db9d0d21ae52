//! What tokens cost, and where that is written.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::check::{Problem, at_least_one, header_name, milliseconds};
use super::mistake::Wrong;

/// What the upstream charges, and where it says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cost {
    /// Where the cost is written; empty records nothing. A ledger and a look-up are kept in any case.
    pub surfaces: Vec<Surface>,
    /// The header of [`Surface::Header`].
    pub header: String,
    /// The number of tokens that the rates are for.
    pub per_tokens: u64,
    /// Rates by model. Those of a file are added to the default table; a model in neither has no cost.
    #[serde(deserialize_with = "rates_over_defaults")]
    pub rates: BTreeMap<String, Rate>,
    /// How recorded amounts are rounded; without it they are exact.
    pub rounding: Option<Rounding>,
    /// What an answer costs that was not delivered whole.
    pub aborts: Aborts,
    /// Milliseconds after an answer's end at which the look-up knows it and the ledger has its row.
    pub recorded_after_ms: f64,
    /// Mistakes that are made on purpose. All that fire are made.
    pub wrong: Vec<Wrong>,
}

impl Default for Cost {
    fn default() -> Self {
        Self {
            surfaces: vec![Surface::Usage],
            header: "x-mock-response-cost".to_owned(),
            per_tokens: 1_000_000,
            rates: default_rates(),
            rounding: None,
            aborts: Aborts::Full,
            recorded_after_ms: 0.0,
            wrong: Vec::new(),
        }
    }
}

/// A place where a gateway may write a cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// `usage.cost`, a JSON number, in whole bodies and in the stream's last usage (`OpenRouter`, `LiteLLM`).
    Usage,
    /// `usage.cost`, an object with `total_cost` (Perplexity, Bifrost).
    UsageObject,
    /// `usage.cost_in_usd_ticks`, an integer of which 10^10 are a dollar (xAI). What is no whole number of ticks is
    /// rounded half to even.
    UsageTicks,
    /// `provider_metadata.gateway.cost`, a JSON string, beside the usage (Vercel).
    Metadata,
    /// A response header: the amount for whole bodies, 0 for streams, whose headers left before (`LiteLLM`).
    Header,
    /// `associated_dollar_cost`: a member of whole bodies, and an event of its own after the terminator of a stream
    /// (`UiPath`).
    AfterTerminator,
}

impl Surface {
    /// The name as in the configuration and the journal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::UsageObject => "usage_object",
            Self::UsageTicks => "usage_ticks",
            Self::Metadata => "metadata",
            Self::Header => "header",
            Self::AfterTerminator => "after_terminator",
        }
    }
}

/// Prices of one model for `per_tokens` tokens, as exact decimals in quotes. What is not said costs as much as input.
/// Prices with so many digits that an amount could lose one are refused: for a million tokens, 100000000 is fine, and
/// 10.1234567.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Price of input tokens.
    #[serde(with = "decimal_text")]
    pub input: Decimal,
    /// Price of output tokens, reasoning among them.
    #[serde(with = "decimal_text")]
    pub output: Decimal,
    /// Price of input tokens that were read from a cache.
    #[serde(
        default,
        with = "optional_decimal_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub cache_read: Option<Decimal>,
    /// Price of input tokens that were written to a cache for five minutes.
    #[serde(
        default,
        with = "optional_decimal_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub cache_write_5m: Option<Decimal>,
    /// Price of input tokens that were written to a cache for an hour.
    #[serde(
        default,
        with = "optional_decimal_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub cache_write_1h: Option<Decimal>,
    /// Price of a request beside its tokens.
    #[serde(
        default,
        with = "optional_decimal_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub per_request: Option<Decimal>,
    /// The model that answers under this name, as the answer says; the prices are this row's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_as: Option<String>,
    /// Other prices for long prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tier: Option<ContextTier>,
    /// What the prices of tokens are multiplied by, by the request's `service_tier`. Without an entry it is 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service_tiers: BTreeMap<String, Factor>,
}

/// Prices of a request whose prompt has more than `above` tokens, cached ones among them: for all of its tokens, not only
/// for those above. What is not said costs as much as this tier's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextTier {
    /// The longest prompt that the ordinary prices are for.
    pub above: u64,
    /// Price of input tokens.
    #[serde(with = "decimal_text")]
    pub input: Decimal,
    /// Price of output tokens.
    #[serde(with = "decimal_text")]
    pub output: Decimal,
    /// Price of input tokens that were read from a cache.
    #[serde(
        default,
        with = "optional_decimal_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub cache_read: Option<Decimal>,
    /// Price of input tokens that were written to a cache for five minutes.
    #[serde(
        default,
        with = "optional_decimal_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub cache_write_5m: Option<Decimal>,
    /// Price of input tokens that were written to a cache for an hour.
    #[serde(
        default,
        with = "optional_decimal_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub cache_write_1h: Option<Decimal>,
}

impl ContextTier {
    fn prices(&self) -> [Option<Decimal>; 5] {
        [
            Some(self.input),
            Some(self.output),
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
        ]
    }
}

/// What prices are multiplied by, as an exact decimal in quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Factor(#[serde(with = "decimal_text")] pub Decimal);

impl Rate {
    /// Prices for input and output alone.
    pub fn new(input: Decimal, output: Decimal) -> Self {
        Self {
            input,
            output,
            cache_read: None,
            cache_write_5m: None,
            cache_write_1h: None,
            per_request: None,
            served_as: None,
            context_tier: None,
            service_tiers: BTreeMap::new(),
        }
    }

    /// What the prices of tokens are multiplied by in a service tier.
    pub(crate) fn factor(&self, service_tier: Option<&str>) -> Decimal {
        service_tier
            .and_then(|tier| self.service_tiers.get(tier))
            .map_or(Decimal::ONE, |factor| factor.0)
    }

    /// The prices of tokens, those of the context tier among them.
    fn prices(&self) -> impl Iterator<Item = Decimal> {
        let own = [
            Some(self.input),
            Some(self.output),
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
        ];
        let tier = self.context_tier.iter().flat_map(ContextTier::prices);
        own.into_iter().chain(tier).flatten()
    }

    fn factors(&self) -> impl Iterator<Item = Decimal> {
        self.service_tiers.values().map(|factor| factor.0)
    }

    /// Whether a decimal has the digits for each amount, and for each step on the way there. An amount that were rounded
    /// would be none, and its answer without a price.
    fn has_room(&self, per_tokens: u64) -> Option<bool> {
        let decimals = |number: Decimal| number.normalize().scale();
        let of_prices = self.prices().map(decimals).max().unwrap_or_default();
        let of_factors = self.factors().map(decimals).max().unwrap_or_default();
        let mut of_unit = 0..=Decimal::MAX_SCALE;
        let of_unit = of_unit.find(|scale| 10_u128.pow(*scale) % u128::from(per_tokens) == 0)?;
        let scale = of_prices + of_factors + of_unit;
        let request = self.per_request.unwrap_or_default();
        let price = self.prices().max()?;
        let factor = self.factors().fold(Decimal::ONE, Decimal::max);
        // A mistake adds two prices.
        let tokens = Decimal::from(BILLED_TOKENS_MAX).checked_mul(Decimal::TWO)?;
        let part = tokens.checked_mul(price)?.checked_mul(factor)?;
        let parts = part.checked_div(Decimal::from(per_tokens))?;
        let parts = parts.checked_mul(KINDS.into())?.checked_add(request)?;
        let wrong = parts.checked_mul(MISTAKES_FACTOR.into())?;
        // Two more decimals of the factor 1.05.
        Some(fits(part, scale) && fits(wrong, scale.max(decimals(request)) + 2))
    }

    fn check(&self, key: &str, per_tokens: u64) -> Result<(), Problem> {
        let mut all = self.prices().chain(self.factors()).chain(self.per_request);
        if all.any(|price| price.is_sign_negative()) {
            return Err(Problem::new(key, "a rate cannot be negative"));
        }
        if self.has_room(per_tokens) != Some(true) {
            let message =
                "has prices too large, or with too many decimals, for all amounts to be exact";
            return Err(Problem::new(key, message));
        }
        if self.served_as.as_ref().is_some_and(String::is_empty) {
            let key = format!("{key}.served_as");
            return Err(Problem::new(key, "must not be empty"));
        }
        Ok(())
    }
}

/// More tokens of a kind than any bill has: a prompt has fewer than the 32 MiB that its request may have bytes, and a
/// stream that is billed for the sum of its usage reports has about a million of them at most.
const BILLED_TOKENS_MAX: u64 = 100_000_000_000_000;

/// Kinds of tokens that a bill adds up.
const KINDS: u64 = 5;

/// What all mistakes that multiply an amount come to: 2 by 1000 by 1.05.
const MISTAKES_FACTOR: u64 = 2_100;

/// Whether a decimal holds an amount with so many digits after the point.
fn fits(amount: Decimal, scale: u32) -> bool {
    let one = Decimal::try_from_i128_with_scale(10_i128.pow(scale.min(Decimal::MAX_SCALE)), 0);
    scale <= Decimal::MAX_SCALE && one.is_ok_and(|one| amount.checked_mul(one).is_some())
}

/// A rounding rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rounding {
    /// Digits after the decimal point.
    pub scale: u32,
    /// What happens to the rest.
    #[serde(default)]
    pub mode: RoundingMode,
    /// What is rounded.
    #[serde(default)]
    pub stage: RoundingStage,
}

/// What happens to the digits that are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundingMode {
    /// To the nearest, ties away from zero.
    #[default]
    HalfUp,
    /// To the nearest, ties to the even digit.
    HalfEven,
    /// Away from zero.
    Up,
    /// Towards zero.
    Down,
}

/// What is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundingStage {
    /// The request's sum.
    #[default]
    Request,
    /// The price of each kind of tokens, before they are added up.
    Component,
}

/// What an answer costs that was not delivered whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aborts {
    /// As much as the whole one: the model went on.
    #[default]
    Full,
    /// The input, and the output tokens that were written.
    Delivered,
    /// Nothing.
    Free,
}

impl Cost {
    pub(super) fn check(&self) -> Result<(), Problem> {
        at_least_one("cost.per_tokens", self.per_tokens)?;
        if !divides_a_power_of_ten(self.per_tokens) {
            let message =
                "must have no factors but 2 and 5, as 1000 and 1000000, so that costs are exact";
            return Err(Problem::new("cost.per_tokens", message));
        }
        for (model, rate) in &self.rates {
            rate.check(&format!("cost.rates.{model}"), self.per_tokens)?;
        }
        if [Surface::Usage, Surface::UsageObject]
            .iter()
            .all(|surface| self.surfaces.contains(surface))
        {
            let message = "`usage` and `usage_object` are both `usage.cost`, expected one of them";
            return Err(Problem::new("cost.surfaces", message));
        }
        let repeated = |(index, surface): (usize, &Surface)| {
            self.surfaces[..index]
                .contains(surface)
                .then(|| surface.name())
        };
        if let Some(name) = self.surfaces.iter().enumerate().find_map(repeated) {
            let message = format!("`{name}` is there twice");
            return Err(Problem::new("cost.surfaces", message));
        }
        header_name("cost.header", &self.header)?;
        if let Some(rounding) = self.rounding
            && rounding.scale > Decimal::MAX_SCALE
        {
            let message = format!("{} digits are too many, at most 28", rounding.scale);
            return Err(Problem::new("cost.rounding.scale", message));
        }
        milliseconds("cost.recorded_after_ms", self.recorded_after_ms)?;
        self.wrong
            .iter()
            .enumerate()
            .try_for_each(|(index, wrong)| wrong.when.check(&format!("cost.wrong.{index}.when")))
    }
}

/// Whether a price divided by `number` has an end.
fn divides_a_power_of_ten(mut number: u64) -> bool {
    for factor in [2, 5] {
        while number > 0 && number.is_multiple_of(factor) {
            number /= factor;
        }
    }
    number == 1
}

/// USD per million tokens, as of 2026-07-05.
fn default_rates() -> BTreeMap<String, Rate> {
    // (model, input, output) in cents.
    [
        ("magistral-small-latest", 50, 150),
        ("magistral-medium-latest", 200, 500),
        ("devstral-medium-latest", 40, 200),
        ("codestral-latest", 30, 90),
        ("ministral-14b-latest", 20, 20),
        ("ministral-8b-latest", 15, 15),
        ("ministral-3b-latest", 10, 10),
    ]
    .into_iter()
    .map(|(model, input, output)| {
        let rate = Rate::new(Decimal::new(input, 2), Decimal::new(output, 2));
        (model.to_owned(), rate)
    })
    .collect()
}

fn rates_over_defaults<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Rate>, D::Error> {
    let mut rates = default_rates();
    rates.extend(BTreeMap::<String, Rate>::deserialize(deserializer)?);
    Ok(rates)
}

/// Decimals as quoted text: a TOML float would already have lost the digits.
mod decimal_text {
    use rust_decimal::Decimal;
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        value: &Decimal,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Decimal, D::Error> {
        deserializer.deserialize_str(Text)
    }

    struct Text;

    impl de::Visitor<'_> for Text {
        type Value = Decimal;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a decimal number in quotes, such as \"0.50\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Decimal, E> {
            Decimal::from_str_exact(text)
                .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
}

/// The same for a key that may be missing, which is not written then.
mod optional_decimal_text {
    use rust_decimal::Decimal;
    use serde::{Deserializer, Serializer};

    use super::decimal_text;

    #[expect(clippy::ref_option, reason = "serde hands over the field")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Decimal>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&value.unwrap_or_default())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Decimal>, D::Error> {
        decimal_text::deserialize(deserializer).map(Some)
    }
}
