//! What a response should cost: its usage at a tariff's prices, exactly.
//!
//! In: one tariff, one usage as received, the endpoint that says how to read it. Out: the exact
//! total and its components, or why there is none.
//!
//! A part of the input or output that was not reported (cached, written, reasoning) counts as no
//! tokens; a part that was reported and whose price is unknown makes the whole unpriced. Reasoning
//! is a part of the output and priced as such unless the row prices it apart, or says that it is
//! counted beside the output.
//!
//! Where prices depend on the size of the prompt, cached tokens count in it. In the mode `whole`
//! every token has the prices of the row that the prompt's size reaches. In the mode `graduated` each
//! input token has those of the row that its place in the prompt reaches, and the output those of the
//! last one's. The place is by kind, since a prompt begins with what a cache holds: cache reads, then
//! writes for an hour, then writes for five minutes (providers want the longer-lived first), then the
//! rest.

mod components;
#[cfg(test)]
mod oracle;
mod quantities;

use crate::endpoint::Endpoint;
use crate::money::{Money, MoneyError};
use crate::usage::Usage;

use super::prices::{PriceRow, Rates, ReasoningMode, Stage, Tariff, TierMode};

pub use components::Components;
pub use quantities::Quantities;

/// The predicted cost of one response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// The exact sum of the components.
    pub total: Money,
    /// The cost after the rounding that the tariff declares for a request or its components; `None` if it
    /// declares none, or one of the whole bill.
    pub rounded: Option<Money>,
    /// What the total is made of.
    pub components: Components,
}

/// A kind of token that has a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Input that no cache had a part in.
    Input,
    /// Input read from a cache.
    CacheRead,
    /// Input written to a cache for five minutes.
    CacheWrite5m,
    /// Input written to a cache for an hour.
    CacheWrite1h,
    /// Output.
    Output,
}

/// Why a response has no predicted cost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpredictable {
    /// Input or output tokens were not reported.
    #[error("the response reports no usage")]
    NoUsage,
    /// Tokens of this kind were used and the row does not say what one costs.
    #[error("the price of {} is unknown; fill in the column `{}`", kind.name(), kind.column())]
    Unpriced {
        /// The kind.
        kind: TokenKind,
    },
    /// A part is larger than its whole.
    #[error("the usage contradicts itself: {part} {part_tokens} of {whole_tokens} {whole}")]
    UsageInconsistent {
        /// Name of the part.
        part: &'static str,
        /// Its tokens.
        part_tokens: u64,
        /// Name of the whole.
        whole: &'static str,
        /// Its tokens.
        whole_tokens: u64,
    },
    /// The cost is beyond what an amount can be.
    #[error(transparent)]
    Overflow(#[from] MoneyError),
}

impl TokenKind {
    /// The name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input tokens",
            Self::CacheRead => "tokens read from a cache",
            Self::CacheWrite5m => "tokens written to a cache",
            Self::CacheWrite1h => "tokens written to a cache for an hour",
            Self::Output => "output tokens",
        }
    }

    /// The price table's column.
    pub const fn column(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::Output => "output",
        }
    }
}

/// The cost of `usage` by `tariff`.
pub fn predict(
    tariff: &Tariff<'_>,
    usage: &Usage,
    endpoint: Endpoint,
) -> Result<Prediction, Unpredictable> {
    price(tariff, &quantities(tariff, usage, endpoint)?, |rates| rates)
}

/// What `usage` has of each kind that `tariff` prices.
pub fn quantities(
    tariff: &Tariff<'_>,
    usage: &Usage,
    endpoint: Endpoint,
) -> Result<Quantities, Unpredictable> {
    let (Some(input), Some(output)) = (usage.input, usage.output) else {
        return Err(Unpredictable::NoUsage);
    };
    let cache_read = usage.cache_read.unwrap_or(0);
    let cache_write = usage.cache_write.unwrap_or(0);
    let hour = usage.cache_write_1h.unwrap_or(0);
    let uncached = usage.uncached_input(endpoint).ok_or(inconsistent(
        "cached",
        cache_read.saturating_add(cache_write),
        "input",
        input,
    ))?;
    let five_minutes = cache_write.checked_sub(hour).ok_or(inconsistent(
        "cache_write_1h",
        hour,
        "cache_write",
        cache_write,
    ))?;
    if let Some(said) = usage.cache_write_5m.filter(|&said| said != five_minutes) {
        let [part, whole] = ["cache_write_5m", "cache_write without cache_write_1h"];
        return Err(inconsistent(part, said, whole, five_minutes));
    }
    let base = tariff.base();
    let (output, reasoning) = match (base.reasoning_mode, base.rates.reasoning) {
        (ReasoningMode::Additive, _) => (output, usage.reasoning.unwrap_or(0)),
        (ReasoningMode::Subset, None) => (output, 0),
        (ReasoningMode::Subset, Some(_)) => {
            let reasoning = usage.reasoning.unwrap_or(0);
            let rest = output.checked_sub(reasoning).ok_or(inconsistent(
                "reasoning",
                reasoning,
                "output",
                output,
            ))?;
            (rest, reasoning)
        }
    };
    Ok(Quantities {
        input: uncached,
        cache_read,
        cache_write_5m: five_minutes,
        cache_write_1h: hour,
        output,
        reasoning,
    })
}

/// The cost of `quantities` by `tariff`, the rates of each of whose rows `adjust` may change: the
/// identity predicts, and anything else says what a mistake in the rates would come to. By
/// [`Tariff::of`] one of its rows it is what a prompt of another size would have cost.
pub fn price(
    tariff: &Tariff<'_>,
    quantities: &Quantities,
    adjust: impl Fn(Rates) -> Rates,
) -> Result<Prediction, Unpredictable> {
    let rows = tariff.rows();
    let reached = tariff.reached(quantities.prompt());
    let first = match tariff.mode() {
        TierMode::Whole => reached,
        TierMode::Graduated => 0,
    };
    let mut tokens = Components::default();
    for n in first..=reached {
        let limit = |n: usize| rows[n].tier_above.unwrap_or(0);
        let from = if n == first { 0 } else { limit(n) };
        let to = (n < reached).then(|| limit(n + 1));
        let mut share = quantities.between(from, to);
        if n == reached {
            (share.output, share.reasoning) = (quantities.output, quantities.reasoning);
        }
        tokens = tokens.plus(&at_rates(&share, &adjust(rows[n].rates))?)?;
    }
    finish(tariff.base(), tokens)
}

fn at_rates(q: &Quantities, rates: &Rates) -> Result<Components, Unpredictable> {
    let reasoning = rates.reasoning.or(rates.output);
    Ok(Components {
        input: cost(q.input, rates.input, TokenKind::Input)?,
        cache_read: cost(q.cache_read, rates.cache_read, TokenKind::CacheRead)?,
        cache_write_5m: cost(
            q.cache_write_5m,
            rates.cache_write_5m,
            TokenKind::CacheWrite5m,
        )?,
        cache_write_1h: cost(
            q.cache_write_1h,
            rates.cache_write_1h,
            TokenKind::CacheWrite1h,
        )?,
        output: cost(q.output, rates.output, TokenKind::Output)?,
        reasoning: cost(q.reasoning, reasoning, TokenKind::Output)?,
        ..Components::default()
    })
}

/// The most that a request of at most `input_tokens` and at most `output_limit` output tokens can cost
/// by any of `tariffs`: every token at the dearest known price that a token of its side can have in any
/// row that so long a prompt may reach, rounding up included. A cache price that is unknown is taken to
/// be no dearer than the known ones. Reasoning beside the output can be as much again. `None` without
/// a tariff.
pub fn worst_case(
    tariffs: &[Tariff<'_>],
    input_tokens: u64,
    output_limit: u64,
) -> Result<Option<Money>, Unpredictable> {
    let mut worst = None;
    for tariff in tariffs {
        let of_this = worst_of(tariff, input_tokens, output_limit)?;
        worst = worst.max(Some(of_this));
    }
    Ok(worst)
}

fn worst_of(
    tariff: &Tariff<'_>,
    input_tokens: u64,
    output_limit: u64,
) -> Result<Money, Unpredictable> {
    let base = tariff.base();
    let known = |rate: Option<Money>, kind| rate.ok_or(Unpredictable::Unpriced { kind });
    let (mut input, mut output, mut reasoning) = (Money::ZERO, Money::ZERO, Money::ZERO);
    for row in &tariff.rows()[..=tariff.reached(input_tokens)] {
        let rates = &row.rates;
        input = [rates.cache_read, rates.cache_write_5m, rates.cache_write_1h]
            .into_iter()
            .flatten()
            .fold(input.max(known(rates.input, TokenKind::Input)?), Money::max);
        let answer = known(rates.output, TokenKind::Output)?;
        output = output.max(answer);
        reasoning = reasoning.max(rates.reasoning.unwrap_or(answer));
    }
    let tokens = match base.reasoning_mode {
        ReasoningMode::Subset => Components {
            output: output.max(reasoning).checked_mul(output_limit)?,
            ..Components::default()
        },
        ReasoningMode::Additive => Components {
            output: output.checked_mul(output_limit)?,
            reasoning: reasoning.checked_mul(output_limit)?,
            ..Components::default()
        },
    };
    let input = input.checked_mul(input_tokens)?;
    let worst = finish(base, Components { input, ..tokens })?;
    let rounded = match tariff.rounding() {
        // However the tokens are spread over the kinds, no component is rounded by a whole step.
        Some(rule) if rule.stage == Stage::Component => {
            let step = Money::new(1, rule.scale).ok_or(MoneyError::Overflow)?;
            let kinds = Components::default().iter().count() as u64;
            worst.total.checked_add(step.checked_mul(kinds)?)?
        }
        _ => worst.rounded.unwrap_or(worst.total),
    };
    Ok(worst.total.max(rounded))
}

/// Adds what does not depend on tokens, and sums up.
fn finish(row: &PriceRow, tokens: Components) -> Result<Prediction, Unpredictable> {
    let request = row.per_request.unwrap_or_default();
    let before_markup = Components { request, ..tokens };
    let markup = before_markup
        .total()?
        .checked_percent(row.markup_pct.unwrap_or_default())?;
    let components = Components {
        markup,
        ..before_markup
    };
    Ok(Prediction {
        total: components.total()?,
        rounded: match row.rounding {
            Some(rounding) => components.rounded(rounding)?,
            None => None,
        },
        components,
    })
}

fn cost(tokens: u64, rate: Option<Money>, kind: TokenKind) -> Result<Money, Unpredictable> {
    match (tokens, rate) {
        (0, _) => Ok(Money::ZERO),
        (_, None) => Err(Unpredictable::Unpriced { kind }),
        (_, Some(rate)) => Ok(rate.checked_mul(tokens)?),
    }
}

const fn inconsistent(
    part: &'static str,
    part_tokens: u64,
    whole: &'static str,
    whole_tokens: u64,
) -> Unpredictable {
    Unpredictable::UsageInconsistent {
        part,
        part_tokens,
        whole,
        whole_tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::super::prices::PriceTable;
    use super::*;

    const HEAD: &str = "model,currency,per_tokens,input,output,cache_read,cache_write_5m,\
                        cache_write_1h,reasoning,per_request,markup_pct,round_scale,round_mode,\
                        round_stage";

    fn row(cells: &str) -> PriceRow {
        let csv = format!("{HEAD}\nm,USD,{cells}\n");
        PriceTable::read("t.csv", csv).expect(cells).rows()[0].clone()
    }

    fn money(text: &str) -> Money {
        text.parse().expect(text)
    }

    fn usage(input: u64, output: u64) -> Usage {
        Usage {
            input: Some(input),
            output: Some(output),
            ..Usage::default()
        }
    }

    #[test]
    fn the_worked_example_is_exact() {
        let table = PriceTable::builtin("builtin:keeprouter").expect("built in");
        let row = &table.rows()[0];
        for endpoint in Endpoint::ALL {
            let prediction =
                predict(&Tariff::of(row), &usage(1000, 500), endpoint).expect("priced");
            assert_eq!(prediction.total, money("0.00125"));
            assert_eq!(prediction.total.round_half_up(4), money("0.0013"));
            assert_eq!(prediction.components.input, money("0.0005"));
            assert_eq!(prediction.components.output, money("0.00075"));
            assert_eq!(prediction.rounded, None);
        }
        assert_eq!(
            worst_case(&[Tariff::of(row)], 1000, 500),
            Ok(Some(money("0.00125")))
        );
    }

    #[test]
    fn cached_tokens_are_inside_the_input_at_openai_and_beside_it_at_anthropic() {
        let row = row("1,10,100,1,12,20,,,,,,");
        let usage = Usage {
            cache_read: Some(30),
            cache_write: Some(20),
            cache_write_1h: Some(5),
            ..usage(60, 2)
        };
        let cached = 30 + 15 * 12 + 5 * 20;
        for (endpoint, uncached) in [(Endpoint::OpenAi, 10), (Endpoint::Anthropic, 60)] {
            let total = predict(&Tariff::of(&row), &usage, endpoint)
                .expect("priced")
                .total;
            assert_eq!(
                total.to_string(),
                (uncached * 10 + cached + 200).to_string()
            );
        }
    }

    #[test]
    fn reasoning_is_output_unless_it_is_priced_apart() {
        let usage = Usage {
            reasoning: Some(6),
            ..usage(0, 10)
        };
        let total = |cells: &str, usage: &Usage| {
            predict(&Tariff::of(&row(cells)), usage, Endpoint::OpenAi).map(|p| p.total.to_string())
        };
        assert_eq!(total("1,1,2,,,,,,,,,", &usage), Ok("20".to_owned()));
        assert_eq!(total("1,1,2,,,,3,,,,,", &usage), Ok("26".to_owned()));
        let too_much = Usage {
            reasoning: Some(11),
            ..usage
        };
        assert_eq!(total("1,1,2,,,,,,,,,", &too_much), Ok("20".to_owned()));
        assert!(matches!(
            total("1,1,2,,,,3,,,,,", &too_much),
            Err(Unpredictable::UsageInconsistent {
                part: "reasoning",
                ..
            })
        ));
    }

    #[test]
    fn what_is_unknown_or_contradicts_itself_has_no_cost() {
        let row = row("1,10,100,,,,,,,,,");
        let openai =
            |usage: Usage| predict(&Tariff::of(&row), &usage, Endpoint::OpenAi).map(|p| p.total);
        assert_eq!(openai(Usage::default()), Err(Unpredictable::NoUsage));
        assert_eq!(
            openai(Usage {
                output: None,
                ..usage(1, 1)
            }),
            Err(Unpredictable::NoUsage)
        );
        let cached = |n| Usage {
            cache_read: Some(n),
            ..usage(5, 0)
        };
        assert_eq!(openai(cached(0)), Ok(money("50")));
        assert_eq!(
            openai(cached(1)),
            Err(Unpredictable::Unpriced {
                kind: TokenKind::CacheRead
            })
        );
        assert_eq!(
            openai(cached(6)).expect_err("more than all").to_string(),
            "the usage contradicts itself: cached 6 of 5 input"
        );
        let hour = Usage {
            cache_write: Some(1),
            cache_write_1h: Some(2),
            ..usage(5, 0)
        };
        assert!(matches!(
            predict(&Tariff::of(&row), &hour, Endpoint::Anthropic),
            Err(Unpredictable::UsageInconsistent { .. })
        ));
        assert!(matches!(
            openai(usage(u64::MAX, 0)),
            Err(Unpredictable::Overflow(_))
        ));
    }

    #[test]
    fn declared_rounding_stands_beside_the_exact_total() {
        let row = row("1000000,0.5,1.5,,,,,0.001,10,4,up,request");
        let prediction =
            predict(&Tariff::of(&row), &usage(1000, 500), Endpoint::OpenAi).expect("priced");
        assert_eq!(prediction.components.request, money("0.001"));
        assert_eq!(prediction.components.markup, money("0.000225"));
        assert_eq!(prediction.total, money("0.002475"));
        assert_eq!(prediction.rounded, Some(money("0.0025")));
        assert_eq!(
            worst_case(&[Tariff::of(&row)], 1000, 500),
            Ok(Some(money("0.0025")))
        );
    }

    #[test]
    fn the_worst_case_takes_the_dearest_price_of_each_side() {
        let row = row("1,10,100,1,12,20,150,,,,,");
        assert_eq!(
            worst_case(&[Tariff::of(&row)], 2, 3),
            Ok(Some(money("490")))
        );
        assert_eq!(worst_case(&[], 2, 3), Ok(None));
        let unknown = PriceRow {
            rates: super::super::prices::Rates {
                output: None,
                ..row.rates
            },
            ..row
        };
        assert!(matches!(
            worst_case(&[Tariff::of(&unknown)], 2, 3),
            Err(Unpredictable::Unpriced {
                kind: TokenKind::Output
            })
        ));
    }

    /// The tariff of the model `m` in a table with `head` and `rows`.
    fn with_tariff<T>(head: &str, rows: &str, use_it: impl Fn(&Tariff<'_>) -> T) -> T {
        let csv = format!("model,currency,per_tokens,{head}\n{rows}\n");
        let table = PriceTable::read("t.csv", csv).expect(rows);
        let day = "2026-08-01".parse().expect("a date");
        use_it(&table.tariff("m", None, day).expect(rows))
    }

    const SIZES: &str =
        "input,output,cache_read,cache_write_5m,cache_write_1h,tier_above,tier_mode";

    #[test]
    fn a_prompt_above_the_limit_has_all_of_its_tokens_at_the_higher_prices() {
        let rows = "m,USD,1,1,10,,,,,\nm,USD,1,2,20,,,,100,whole\nm,USD,1,3,30,,,,200,whole";
        for (input, output, expected) in [
            (0, 1, 10),
            (100, 1, 100 + 10),
            (101, 1, 202 + 20),
            (200, 0, 400),
            (201, 2, 603 + 60),
        ] {
            let total = with_tariff(SIZES, rows, |tariff| {
                predict(tariff, &usage(input, output), Endpoint::OpenAi).map(|p| p.total)
            });
            assert_eq!(total, Ok(money(&expected.to_string())), "{input}");
        }
    }

    #[test]
    fn the_tokens_above_the_limit_have_the_higher_prices_where_they_are_graduated() {
        let rows = "m,USD,1,1,10,0.1,2,3,,\n\
                    m,USD,1,1000,20,100,2000,3000,50,graduated\n\
                    m,USD,1,1000000,30,100000,2000000,3000000,100,graduated";
        let cached = |read, write, hour, plain, output| Usage {
            cache_read: Some(read),
            cache_write: Some(write + hour),
            cache_write_1h: Some(hour),
            ..usage(plain, output)
        };
        for (usage, expected) in [
            // Up to the limit, and one above it.
            (cached(0, 0, 0, 50, 1), "60"),
            (cached(0, 0, 0, 51, 1), "1070"),
            // Reads come first, then writes for an hour, then for five minutes, then the rest.
            (cached(50, 0, 0, 1, 0), "1005"),
            (cached(49, 1, 1, 1, 0), "3007.9"),
            (cached(40, 30, 20, 20, 1), "10100064"),
        ] {
            let total = with_tariff(SIZES, rows, |tariff| {
                predict(tariff, &usage, Endpoint::Anthropic).map(|p| p.total.to_string())
            });
            assert_eq!(total.as_deref(), Ok(expected), "{usage:?}");
        }
    }

    #[test]
    fn reasoning_beside_the_output_is_priced_besides_it() {
        let head = "input,output,reasoning,reasoning_mode";
        let usage = Usage {
            reasoning: Some(600),
            ..usage(1, 10)
        };
        for (rows, expected) in [
            ("m,USD,1,1,2,,additive", "1221"),
            ("m,USD,1,1,2,3,additive", "1821"),
            ("m,USD,1,1,2,0,additive", "21"),
        ] {
            let total = with_tariff(head, rows, |tariff| {
                predict(tariff, &usage, Endpoint::OpenAi).map(|p| p.total.to_string())
            });
            assert_eq!(total.as_deref(), Ok(expected), "{rows}");
        }
        let worst = with_tariff(head, "m,USD,1,1,2,3,additive", |tariff| {
            worst_case(std::slice::from_ref(tariff), 1, 10)
        });
        assert_eq!(worst, Ok(Some(money("51"))));
    }

    #[test]
    fn rounding_follows_its_stage() {
        let head = "input,output,per_request,markup_pct,round_stage,round_scale,round_mode";
        for (stage, rounded) in [
            ("component", Some("0.84")),
            ("request", Some("0.82")),
            ("total", None),
        ] {
            let rows = format!("m,USD,1,0.111,0.333,0.3,10,{stage},2,up");
            let prediction = with_tariff(head, &rows, |tariff| {
                predict(tariff, &usage(1, 1), Endpoint::OpenAi).expect("priced")
            });
            assert_eq!(prediction.total, money("0.8184"));
            assert_eq!(prediction.rounded, rounded.map(money), "{stage}");
        }
    }

    #[test]
    fn the_worst_case_is_of_the_dearest_tier_that_the_prompt_can_reach() {
        let head = "input,output,tier_above,service_tier";
        let csv = format!(
            "model,currency,per_tokens,{head}\nm,USD,1,1,1,,\nm,USD,1,5,5,10,\nm,USD,1,,9,1000,\n\
             m,USD,1,2,3,,priority\n"
        );
        let table = PriceTable::read("t.csv", csv).expect("valid");
        let tariffs = table.tariffs("m", "2026-08-01".parse().expect("a date"));
        let worst = |input, output| worst_case(&tariffs, input, output);
        assert_eq!(worst(10, 1), Ok(Some(money("23"))), "priority");
        assert_eq!(worst(11, 1), Ok(Some(money("60"))), "a long prompt");
        assert!(matches!(
            worst(1001, 1),
            Err(Unpredictable::Unpriced {
                kind: TokenKind::Input
            })
        ));
    }
}
