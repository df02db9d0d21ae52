//! What is bought here: three models, their prices as the upstream charges them, and the same prices
//! as the harness's price list.
//!
//! The list is made from the upstream's rates by `rust_decimal`, which is none of the harness's code.
//! Prices and sizes are co-prime enough that no two mistakes come to the same amount by accident.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mock_upstream::Config;
use mock_upstream::config::{
    Class, ContextTier, Cost, Distribution, Factor, Rate, Surface, When, Wrong,
};
use mock_upstream::journal::Endpoint as MockEndpoint;
use rust_decimal::Decimal;
use weighbridge::billing::prices::PriceTable;
use weighbridge::endpoint::Endpoint;

/// With service tiers, and every kind of cached token at a price of its own.
pub const ALPHA: &str = "alpha-latest";
/// With other prices for prompts of more than [`LONG_PROMPT`] tokens.
pub const BETA: &str = "beta-latest";
/// With neither.
pub const GAMMA: &str = "gamma-latest";

/// The longest prompt that beta's ordinary prices are for, in tokens.
pub const LONG_PROMPT: u64 = 101;

/// The header in which the upstream records costs: `LiteLLM`'s, which is read unasked.
const COST_HEADER: &str = "x-litellm-response-cost";

/// An exact decimal.
pub fn decimal(digits: &str) -> Decimal {
    digits.parse().expect("a decimal")
}

fn rate(input: &str, output: &str, cached: [&str; 3]) -> Rate {
    let [read, five_minutes, hour] = cached.map(|digits| Some(decimal(digits)));
    Rate {
        cache_read: read,
        cache_write_5m: five_minutes,
        cache_write_1h: hour,
        ..Rate::new(decimal(input), decimal(output))
    }
}

fn rates() -> BTreeMap<String, Rate> {
    let factors = [("flex", "0.53"), ("priority", "1.71")];
    let factors = factors.map(|(name, factor)| (name.to_owned(), Factor(decimal(factor))));
    let alpha = Rate {
        service_tiers: factors.into_iter().collect(),
        ..rate("3.7", "11.9", ["0.41", "4.7", "7.3"])
    };
    let beta = Rate {
        context_tier: Some(ContextTier {
            above: LONG_PROMPT,
            input: decimal("9.1"),
            output: decimal("23.9"),
            cache_read: Some(decimal("1.03")),
            cache_write_5m: Some(decimal("11.3")),
            cache_write_1h: Some(decimal("17.9")),
        }),
        ..rate("5.3", "17.3", ["0.59", "6.7", "10.9"])
    };
    let gamma = rate("1.3", "7.9", ["0.17", "1.9", "2.9"]);
    [(ALPHA, alpha), (BETA, beta), (GAMMA, gamma)]
        .map(|(name, rate)| (name.to_owned(), rate))
        .into()
}

/// An upstream that bills honestly: at these prices, with small caches, some of the output reasoning,
/// and a token a millisecond.
pub fn honest() -> Config {
    let mut config = Config {
        seed: 5,
        ..Config::default()
    };
    let behaviour = &mut config.behaviour;
    behaviour.timing.ttft_ms = Distribution::Fixed(3.0);
    behaviour.timing.gap_ms = Distribution::Fixed(1.0);
    behaviour.output.reasoning_share = 0.37;
    behaviour.cache.enabled = true;
    behaviour.cache.min_tokens = 32;
    behaviour.cache.block_tokens = 16;
    behaviour.cost = Cost {
        surfaces: vec![Surface::Usage, Surface::Header],
        header: COST_HEADER.to_owned(),
        rates: rates(),
        ..Cost::default()
    };
    config
}

/// The mistake, on the requests that `when` says.
pub fn wrong(class: Class, when: When) -> Wrong {
    Wrong { class, when }
}

/// What the upstream calls an endpoint.
pub const fn at(endpoint: Endpoint) -> MockEndpoint {
    match endpoint {
        Endpoint::OpenAi => MockEndpoint::OpenAi,
        Endpoint::Anthropic => MockEndpoint::Anthropic,
    }
}

/// The price list of an upstream's rates. Every model and day of the world is in it; `rounding` is what
/// it declares: scale, mode and stage.
pub fn price_list(cost: &Cost, rounding: Option<(u32, &str, &str)>) -> PriceTable {
    let mut text =
        "model,currency,per_tokens,input,output,cache_read,cache_write_5m,cache_write_1h,\
                    tier_above,tier_mode,service_tier,round_scale,round_mode,round_stage\n"
            .to_owned();
    let rounding = rounding.map_or(",,".to_owned(), |(scale, mode, stage)| {
        format!("{scale},{mode},{stage}")
    });
    for (model, rate) in &cost.rates {
        let tiers = rate.service_tiers.iter();
        let tiers = tiers.map(|(name, factor)| (name.as_str(), factor.0));
        for (tier, factor) in std::iter::once(("", Decimal::ONE)).chain(tiers) {
            let mut row = |above: &str, mode: &str, prices: [Option<Decimal>; 5]| {
                // What is not said costs as much as input.
                let price = |price: Option<Decimal>| price.or(prices[0]).expect("an input price");
                let prices = prices.map(|digits| (price(digits) * factor).normalize().to_string());
                let prices = prices.join(",");
                writeln!(
                    text,
                    "{model},USD,{},{prices},{above},{mode},{tier},{rounding}",
                    cost.per_tokens
                )
                .expect("a string grows");
            };
            let own = [
                Some(rate.input),
                Some(rate.output),
                rate.cache_read,
                rate.cache_write_5m,
                rate.cache_write_1h,
            ];
            // Rows of a tariff agree on how its tiers are meant.
            let mode = rate.context_tier.map_or("", |_| "whole");
            row("", mode, own);
            if let Some(tier) = rate.context_tier {
                let long = [
                    Some(tier.input),
                    Some(tier.output),
                    tier.cache_read,
                    tier.cache_write_5m,
                    tier.cache_write_1h,
                ];
                row(&tier.above.to_string(), mode, long);
            }
        }
    }
    PriceTable::read("world.csv", text).unwrap_or_else(|error| panic!("{error}"))
}
