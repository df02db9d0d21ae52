//! Right amounts: what they are, how they are rounded, and how each surface writes them.

use super::*;
use crate::config::{Config, Rounding, RoundingMode, RoundingStage};

/// 1,000 tokens at 0.50 and 500 at 1.50 for a million.
fn worked_example(rounding: Option<Rounding>, surface: Surface) -> String {
    let cost = Cost {
        surfaces: vec![surface],
        rounding,
        ..Cost::default()
    };
    let mut bill = Bill {
        model: "magistral-small-latest".to_owned(),
        usage: Usage {
            input: 1_000,
            output: 500,
            ..Usage::default()
        },
        ..Bill::default()
    };
    bill.record(&cost);
    assert_eq!(bill.cost(&cost).as_deref(), Some("0.00125"));
    bill.surfaces[&surface].clone()
}

#[test]
fn the_worked_example_is_exact_and_rounded_by_the_rule() {
    let rule = |scale, mode, stage| Some(Rounding { scale, mode, stage });
    let request = |mode| rule(4, mode, RoundingStage::Request);
    for (rounding, expected) in [
        (None, "0.00125"),
        (request(RoundingMode::HalfUp), "0.0013"),
        (request(RoundingMode::HalfEven), "0.0012"),
        (request(RoundingMode::Up), "0.0013"),
        (request(RoundingMode::Down), "0.0012"),
        // 0.0005 and 0.00075, which is 0.0008.
        (
            rule(4, RoundingMode::HalfUp, RoundingStage::Component),
            "0.0013",
        ),
        (
            rule(4, RoundingMode::Down, RoundingStage::Component),
            "0.0012",
        ),
        // 0.001 and 0.001.
        (rule(3, RoundingMode::Up, RoundingStage::Component), "0.002"),
        (rule(3, RoundingMode::Up, RoundingStage::Request), "0.002"),
        (
            rule(3, RoundingMode::HalfUp, RoundingStage::Component),
            "0.002",
        ),
        (
            rule(3, RoundingMode::HalfUp, RoundingStage::Request),
            "0.001",
        ),
        (rule(0, RoundingMode::Down, RoundingStage::Request), "0"),
    ] {
        assert_eq!(worked_example(rounding, Surface::Usage), expected);
    }
    assert_eq!(worked_example(None, Surface::UsageTicks), "12500000");
    let rounded = request(RoundingMode::HalfUp);
    assert_eq!(worked_example(rounded, Surface::UsageTicks), "13000000");
}

#[test]
fn ticks_are_rounded_half_to_even() {
    let mut cost = Cost {
        surfaces: vec![Surface::UsageTicks],
        ..Cost::default()
    };
    for (price, ticks) in [("0.00005", "0"), ("0.00015", "2"), ("0.00025", "2")] {
        let rate = Rate::new(decimal(price), Decimal::ZERO);
        cost.rates.insert("m".to_owned(), rate);
        let mut bill = Bill {
            model: "m".to_owned(),
            usage: Usage {
                input: 1,
                ..Usage::default()
            },
            ..Bill::default()
        };
        bill.record(&cost);
        assert_eq!(bill.surfaces[&Surface::UsageTicks], ticks, "{price}");
    }
}

#[test]
fn prices_without_an_end_or_beyond_all_digits_are_none() {
    let mut cost = cost();
    let exact = |cost: &Cost, usage| {
        let deal = Deal {
            cost,
            model: "m",
            service_tier: None,
        };
        deal.exact(usage)
    };
    cost.per_tokens = 3;
    assert_eq!(exact(&cost, USAGE), None);
    cost.per_tokens = 1_024;
    assert_eq!(exact(&cost, USAGE), Some(decimal("3.466796875")));
    let rate = cost.rates.get_mut("m").expect("listed");
    rate.input = Decimal::MAX;
    assert_eq!(exact(&cost, USAGE), None);
    // Digits that do not fit, of a product and of a sum.
    for (input, output) in [
        ("0.1234567890123456789012345678", "1"),
        ("0.0000000000000000001", "1024000000000"),
    ] {
        cost.rates
            .insert("m".to_owned(), Rate::new(decimal(input), decimal(output)));
        assert_eq!(exact(&cost, USAGE), None, "{input} {output}");
    }
}

#[test]
fn the_json_of_each_surface_keeps_its_digits() {
    let mut cost = cost();
    cost.surfaces = vec![
        Surface::UsageObject,
        Surface::UsageTicks,
        Surface::Metadata,
        Surface::AfterTerminator,
    ];
    let whole = bill(&cost, &[], false, None);
    assert_eq!(
        whole.usage_members(),
        ",\"cost\":{\"input_tokens_cost\":0.00155,\"output_tokens_cost\":0.002,\"total_cost\":0.00355},\
         \"cost_in_usd_ticks\":35500000"
    );
    assert_eq!(
        whole.members_beside_usage(),
        ",\"provider_metadata\":{\"gateway\":{\"cost\":\"0.00355\"}},\"associated_dollar_cost\":0.00355"
    );
    let stream = bill(&cost, &[Class::FloatNoise], true, None);
    assert_eq!(
        stream.members_beside_usage(),
        ",\"provider_metadata\":{\"gateway\":{\"cost\":\"0.0035500000000000002\"}}"
    );
}

#[test]
fn prices_that_a_configuration_may_have_are_exact_for_any_usage() {
    // More than a request of 32 MiB has, with ten times the output of a mistake.
    let most = 9_999_999_999_999;
    let usage = Usage {
        input: most,
        cache_read: most,
        cache_write: most,
        cache_write_1h: most / 7,
        output: most,
        reasoning: most / 3,
    };
    let classes = [
        Class::CacheDouble,
        Class::RatesSwapped,
        Class::TokensImplausible,
        Class::RetryDouble,
        Class::Unit1k1m,
        Class::MarkupUndeclared,
    ];
    for (per_tokens, price, factor) in [
        (1_000_000, "100000000", "1"),
        (1_000_000, "10.1234567", "1"),
        (1_000_000, "0.075", "1.25"),
        (1_000, "0.000375", "0.3333"),
        (1, "0.000000375", "0.75"),
        (1_024, "3", "1"),
    ] {
        let toml = format!(
            "[cost]\nper_tokens = {per_tokens}\n[cost.rates.m]\ninput = \"{price}\"\noutput = \"{price}\"\n\
             per_request = \"1\"\nservice_tiers = {{ flex = \"{factor}\" }}\n"
        );
        let config = Config::from_toml(&toml, "mock.toml").expect("valid");
        let deal = Deal {
            cost: &config.behaviour.cost,
            model: "m",
            service_tier: Some("flex"),
        };
        assert!(deal.exact(usage).is_some(), "{toml}");
        let planted = Planted::new(classes.to_vec());
        let billed = planted.billed(usage, None);
        assert!(Recorded::new(&deal, billed, &planted).is_some(), "{toml}");
    }
}
