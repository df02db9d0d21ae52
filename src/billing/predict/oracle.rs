//! Prediction against exact rationals: each token is priced by itself, at the place in the prompt where
//! it stands.

use std::fmt::Write as _;

use num_bigint::BigInt;
use num_rational::BigRational;
use proptest::prelude::*;

use super::super::prices::{PriceTable, Tariff};
use super::{predict, worst_case};
use crate::endpoint::Endpoint;
use crate::money::Money;
use crate::usage::Usage;

/// Prices of input, cache reads, writes for five minutes and for an hour, output and reasoning, each in
/// millionths of a dollar for a thousand tokens.
type Prices = [u32; 6];

/// What a table says of a model in one service tier.
#[derive(Clone, Debug)]
struct Said {
    /// By the limit above which they hold; the first has none.
    rows: Vec<(u64, Prices)>,
    graduated: bool,
    additive: bool,
    reasoning_apart: bool,
    /// Millionths of a dollar.
    request: u32,
    /// Tenths of a percent, from -1000.
    markup: i32,
    /// Stage, scale and mode; an empty stage is none.
    rounding: (&'static str, u32, &'static str),
}

fn said() -> impl Strategy<Value = Said> {
    let prices = proptest::array::uniform6(prop_oneof![1 => Just(0), 4 => 0_u32..100_000]);
    let rows = proptest::collection::btree_map(1_u64..120, prices.clone(), 0..3);
    let rounding = (
        prop_oneof![Just(""), Just("component"), Just("request"), Just("total")],
        0_u32..8,
        prop_oneof![Just("half_up"), Just("half_even"), Just("up"), Just("down")],
    );
    (
        prices,
        rows,
        any::<[bool; 3]>(),
        0_u32..1000,
        -1000_i32..1000,
        rounding,
    )
        .prop_map(
            |(base, above, [graduated, additive, reasoning_apart], request, markup, rounding)| {
                Said {
                    rows: std::iter::once((0, base)).chain(above).collect(),
                    graduated,
                    additive,
                    reasoning_apart,
                    request,
                    markup,
                    rounding,
                }
            },
        )
}

fn csv(of_tiers: &[(&str, &Said)]) -> String {
    let mut csv =
        "model,currency,per_tokens,service_tier,tier_above,input,cache_read,cache_write_5m,\
                   cache_write_1h,output,reasoning,tier_mode,reasoning_mode,per_request,markup_pct,\
                   round_stage,round_scale,round_mode\n"
            .to_owned();
    for (tier, said) in of_tiers {
        for (limit, prices) in &said.rows {
            let above = if *limit == 0 {
                String::new()
            } else {
                limit.to_string()
            };
            let [input, read, write, hour, output, reasoning] = prices.map(|p| format!("{p}e-6"));
            let reasoning = if said.reasoning_apart {
                reasoning
            } else {
                String::new()
            };
            let mode = if said.graduated { "graduated" } else { "whole" };
            let counted = if said.additive { "additive" } else { "subset" };
            let (stage, scale, way) = said.rounding;
            let rounding = if stage.is_empty() {
                ",,".to_owned()
            } else {
                format!("{stage},{scale},{way}")
            };
            writeln!(
                csv,
                "m,USD,1000,{tier},{above},{input},{read},{write},{hour},{output},{reasoning},{mode},\
                 {counted},{}e-6,{}e-1,{rounding}",
                said.request, said.markup
            )
            .expect("text");
        }
    }
    csv
}

fn usage(counts: [u64; 6], openai: bool) -> (Usage, Endpoint) {
    let [plain, read, write, hour, output, reasoning] = counts;
    let usage = Usage {
        input: Some(if openai {
            plain + read + write + hour
        } else {
            plain
        }),
        cache_read: Some(read),
        cache_write: Some(write + hour),
        cache_write_5m: Some(write),
        cache_write_1h: Some(hour),
        output: Some(output),
        reasoning: Some(reasoning),
        total: None,
    };
    (
        usage,
        if openai {
            Endpoint::OpenAi
        } else {
            Endpoint::Anthropic
        },
    )
}

fn integer(n: impl Into<BigInt>) -> BigRational {
    BigRational::from_integer(n.into())
}

fn exact(amount: Money) -> BigRational {
    let shown = amount.to_string();
    let (whole, fraction) = shown.split_once('.').unwrap_or((&shown, ""));
    let digits: BigInt = format!("{whole}{fraction}").parse().expect("digits");
    let one = BigInt::from(10).pow(u32::try_from(fraction.len()).expect("short"));
    BigRational::new(digits, one)
}

/// The cost, token by token, in dollars.
fn cost(said: &Said, counts: [u64; 6]) -> BigRational {
    let [plain, read, write, hour, output, reasoning] = counts;
    // The kind of each token of the prompt, in order.
    let kinds = [(1, read), (3, hour), (2, write), (0, plain)];
    let prompt: Vec<usize> = kinds
        .into_iter()
        .flat_map(|(kind, count)| (0..count).map(move |_| kind))
        .collect();
    let size = prompt.len() as u64;
    let at = |place: u64| {
        said.rows
            .iter()
            .rfind(|(limit, _)| *limit < place)
            .unwrap_or(&said.rows[0])
            .1
    };
    let mut sum: u64 = 0;
    for (n, kind) in prompt.iter().enumerate() {
        let place = if said.graduated { n as u64 + 1 } else { size };
        sum += u64::from(at(place)[*kind]);
    }
    let last = at(size);
    let [of_output, of_reasoning] = [u64::from(last[4]), u64::from(last[5])];
    let of_reasoning = if said.reasoning_apart {
        of_reasoning
    } else {
        of_output
    };
    let answer = if said.additive {
        output
    } else {
        output - reasoning
    };
    sum += answer * of_output + reasoning * of_reasoning;
    let before =
        integer(sum) / integer(1_000_000_000_u64) + integer(said.request) / integer(1_000_000);
    before * integer(1000 + said.markup) / integer(1000)
}

fn counts() -> impl Strategy<Value = [u64; 6]> {
    (proptest::array::uniform5(0_u64..60), 0_u64..=100)
        .prop_map(|([a, b, c, d, output], part)| [a, b, c, d, output, output * part / 100])
}

fn tariffs(table: &PriceTable) -> Vec<Tariff<'_>> {
    table.tariffs("m", "2026-08-01".parse().expect("a date"))
}

proptest! {
    #[test]
    fn a_prediction_is_the_sum_over_its_tokens(said in said(), counts in counts(), openai in any::<bool>()) {
        let table = PriceTable::read("t.csv", csv(&[("", &said)])).expect("valid");
        let tariffs = tariffs(&table);
        let (usage, endpoint) = usage(counts, openai);
        let prediction = predict(&tariffs[0], &usage, endpoint).expect("priced");
        prop_assert_eq!(exact(prediction.total), cost(&said, counts));
        prop_assert_eq!(prediction.components.total(), Ok(prediction.total));
        let rounded = |amount: Money| {
            let rule = tariffs[0].rounding().expect("declared");
            amount.round(rule.scale, rule.mode)
        };
        let expected = match said.rounding.0 {
            "component" => Some(prediction.components.iter().map(|c| exact(rounded(c))).sum()),
            "request" => Some(exact(rounded(prediction.total))),
            _ => None,
        };
        prop_assert_eq!(prediction.rounded.map(exact), expected);
    }

    /// A budget rests on it: whatever the tokens are of, whatever tier serves them, however the price
    /// list rounds.
    #[test]
    fn nothing_costs_more_than_the_worst_case(
        standard in said(), priority in said(), counts in counts(), openai in any::<bool>(),
        more in proptest::array::uniform2(0_u64..100),
    ) {
        let table = PriceTable::read("t.csv", csv(&[("", &standard), ("priority", &priority)])).expect("valid");
        let tariffs = tariffs(&table);
        prop_assert_eq!(tariffs.len(), 2);
        let [plain, read, write, hour, output, _] = counts;
        let input = plain + read + write + hour + more[0];
        let worst = worst_case(&tariffs, input, output + more[1]).expect("priced");
        let (usage, endpoint) = usage(counts, openai);
        for tariff in &tariffs {
            let prediction = predict(tariff, &usage, endpoint).expect("priced");
            prop_assert!(worst >= Some(prediction.total));
            prop_assert!(worst >= prediction.rounded);
        }
    }
}
