//! A price told beforehand: what `weighbridge quote MODEL --input N --output N` shows.
//!
//! The input holds the cached tokens, as at the OpenAI-compatible endpoint.

use std::fmt;
use std::ops::RangeInclusive;

use jiff::civil::Date;

use crate::endpoint::Endpoint;
use crate::money::{Currency, Money, RoundMode};
use crate::usage::Usage;

use super::diagnose::resolution::{output_range, output_range_words};
use super::predict::{Components, Quantities, Unpredictable, price, quantities};
use super::prices::{PriceRow, PriceTable, Tariff, TierMode};

/// The decimal places of the short form.
const SHORT_PLACES: u32 = 4;

/// The request whose price is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Input tokens, cached ones included.
    pub input: u64,
    /// Input tokens read from a cache.
    pub cache_read: Option<u64>,
    /// Input tokens written to a cache for five minutes.
    pub cache_write: Option<u64>,
    /// Input tokens written to a cache for an hour.
    pub cache_write_1h: Option<u64>,
    /// Output tokens.
    pub output: u64,
    /// Reasoning tokens: of the output, or beside it where the table counts them so.
    pub reasoning: Option<u64>,
    /// The service tier; `None` is the standard.
    pub service_tier: Option<String>,
}

/// What so many tokens of a model cost. Its `Display` is what the command shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The model asked for.
    pub model: String,
    /// The service tier that priced it; `None` is the standard.
    pub service_tier: Option<String>,
    /// The tokens that are paid for.
    pub quantities: Quantities,
    /// Currency of the amounts.
    pub currency: Currency,
    /// The exact amount.
    pub exact: Money,
    /// The amount after the rounding that the table declares, if it declares one of a request.
    pub declared: Option<Money>,
    /// The exact amount, half-up at four decimals.
    pub about: Money,
    /// The output tokens that come to that, too; `None` where caches or reasoning are in the amount.
    pub about_fits: Option<RangeInclusive<u64>>,
    /// What the exact amount is made of.
    pub components: Components,
    /// The rows that it was priced with, at least one; the last is the one that the prompt reaches.
    pub rows: Vec<PriceRow>,
    /// The table's name.
    pub table: String,
}

/// Why there is no quote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// The table does not know the model.
    #[error("no price for `{model}` in {table}; {hint}")]
    UnknownModel {
        /// The model.
        model: String,
        /// The table's name.
        table: String,
        /// The nearest name, or every name.
        hint: String,
    },
    /// The table knows the model, on other days.
    #[error("no price for `{model}` on {date} in {table}; its rows hold on other days")]
    NotOnThatDay {
        /// The model.
        model: String,
        /// The day.
        date: Date,
        /// The table's name.
        table: String,
    },
    /// The table knows the model in other service tiers.
    #[error("no price for `{model}` in the service tier `{tier}` on {date} in {table}; it has {}", known.join(", "))]
    NoSuchTier {
        /// The model.
        model: String,
        /// The tier.
        tier: String,
        /// The day.
        date: Date,
        /// The table's name.
        table: String,
        /// The tiers that have a price.
        known: Vec<String>,
    },
    /// The row does not price these tokens.
    #[error("no price for these tokens of `{model}` in {table}, line {line}: {why}")]
    Unpredictable {
        /// The model.
        model: String,
        /// The table's name.
        table: String,
        /// The row's line.
        line: u64,
        /// What is missing.
        why: Unpredictable,
    },
}

/// The price of a request to `model` on `date`.
pub fn quote(
    table: &PriceTable,
    model: &str,
    date: Date,
    asked: &Asked,
) -> Result<Quote, QuoteError> {
    let tier = asked.service_tier.as_deref();
    let tariff = table
        .tariff(model, tier, date)
        .ok_or_else(|| no_row(table, model, tier, date))?;
    let written = [asked.cache_write, asked.cache_write_1h];
    let usage = Usage {
        input: Some(asked.input),
        output: Some(asked.output),
        cache_read: asked.cache_read,
        cache_write: written.into_iter().flatten().reduce(u64::saturating_add),
        cache_write_1h: asked.cache_write_1h,
        reasoning: asked.reasoning,
        ..Usage::default()
    };
    let unpredictable = |line| {
        move |why| QuoteError::Unpredictable {
            model: model.to_owned(),
            table: table.name().to_owned(),
            line,
            why,
        }
    };
    let base = tariff.base();
    let counts = quantities(&tariff, &usage, Endpoint::OpenAi).map_err(unpredictable(base.line))?;
    let rows = rows_used(&tariff, counts.prompt());
    let last = rows[rows.len() - 1];
    let prediction = price(&tariff, &counts, |rates| rates).map_err(unpredictable(last.line))?;
    let about = prediction.total.round_half_up(SHORT_PLACES);
    let is_plain = counts.input == asked.input && counts.output == asked.output;
    let fits = || {
        let mode = RoundMode::HalfUp;
        output_range(&tariff, asked.input, about, SHORT_PLACES, mode)
    };
    Ok(Quote {
        model: model.to_owned(),
        service_tier: base.service_tier.clone(),
        quantities: counts,
        currency: base.currency,
        exact: prediction.total,
        declared: prediction.rounded,
        about,
        about_fits: is_plain.then(fits).flatten(),
        components: prediction.components,
        rows: rows.into_iter().cloned().collect(),
        table: table.name().to_owned(),
    })
}

/// The rows of `tariff` that price some part of a request with a prompt of `tokens`.
fn rows_used<'t>(tariff: &Tariff<'t>, tokens: u64) -> Vec<&'t PriceRow> {
    match tariff.mode() {
        TierMode::Whole => vec![tariff.row_for(tokens)],
        TierMode::Graduated => tariff.rows()[..=tariff.reached(tokens)].to_vec(),
    }
}

fn no_row(table: &PriceTable, model: &str, tier: Option<&str>, date: Date) -> QuoteError {
    let tariffs = table.tariffs(model, date);
    let (model, table_name) = (model.to_owned(), table.name().to_owned());
    if !tariffs.is_empty() {
        let named = |t: &Tariff<'_>| t.service_tier().unwrap_or("standard").to_owned();
        return QuoteError::NoSuchTier {
            model,
            tier: tier.unwrap_or("standard").to_owned(),
            date,
            table: table_name,
            known: tariffs.iter().map(named).collect(),
        };
    }
    if table.knows(&model) {
        return QuoteError::NotOnThatDay {
            model,
            date,
            table: table_name,
        };
    }
    let hint = match table.nearest(&model) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("it has {}", table.models().join(", ")),
    };
    QuoteError::UnknownModel {
        model,
        table: table_name,
        hint,
    }
}

impl fmt::Display for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |amount: Money| amount.display(self.currency);
        writeln!(
            f,
            "{}: {} (about {})",
            self.model,
            shown(self.exact),
            shown(self.about)
        )?;
        if let Some(declared) = self.declared {
            writeln!(f, "  billed {} as the table rounds", shown(declared))?;
        }
        let q = &self.quantities;
        let counts = [
            Some(q.input),
            Some(q.cache_read),
            Some(q.cache_write_5m),
            Some(q.cache_write_1h),
            Some(q.output),
            Some(q.reasoning),
            None,
            None,
        ];
        for (count, (name, amount)) in counts.into_iter().zip(self.components.named()) {
            match count {
                Some(count) if count > 0 => {
                    writeln!(f, "  {name:<14} {count:>9} tokens  {}", shown(amount))?;
                }
                None if !amount.is_zero() => {
                    writeln!(f, "  {name:<14} {:>16}  {}", "", shown(amount))?;
                }
                _ => {}
            }
        }
        if let Some(range) = &self.about_fits {
            let about = shown(self.about).to_string();
            let words = output_range_words(&about, SHORT_PLACES, range);
            writeln!(f, "  {words}")?;
        }
        let lines: Vec<String> = self.rows.iter().map(|row| row.line.to_string()).collect();
        let word = if lines.len() == 1 { "line" } else { "lines" };
        write!(
            f,
            "  priced by {}, {word} {}",
            self.table,
            lines.join(" and ")
        )?;
        if let Some(tier) = &self.service_tier {
            write!(f, ", service tier {tier}")?;
        }
        let Some(row) = self.rows.last() else {
            return Ok(());
        };
        if let Some(limit) = row.tier_above {
            write!(f, ", prompts above {limit} tokens")?;
        }
        if let Some(from) = row.effective_from {
            write!(f, ", in effect from {from}")?;
        }
        if let Some(checked_at) = row.checked_at {
            write!(f, ", checked {checked_at}")?;
        }
        if let Some(source) = &row.source {
            write!(f, ", {source}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day() -> Date {
        "2026-08-01".parse().expect("a date")
    }

    fn asked(input: u64, output: u64) -> Asked {
        Asked {
            input,
            output,
            ..Asked::default()
        }
    }

    #[test]
    fn a_long_prompt_in_a_service_tier_names_its_rows() {
        let table = PriceTable::read(
            "t.csv",
            "model,currency,per_tokens,input,output,cache_write_5m,cache_write_1h,reasoning,reasoning_mode,tier_above,tier_mode,service_tier\n\
             m,USD,1,1,2,,,,,,,\n\
             m,USD,1,1,2,3,4,5,additive,,,flex\n\
             m,USD,1,10,20,30,40,50,additive,100,graduated,flex\n",
        )
        .expect("valid");
        let asked = Asked {
            cache_write: Some(20),
            cache_write_1h: Some(50),
            reasoning: Some(7),
            service_tier: Some("flex".to_owned()),
            ..asked(110, 3)
        };
        let quoted = quote(&table, "m", day(), &asked).expect("priced");
        insta::assert_snapshot!(quoted.to_string(), @r"
        m: $800 (about $800)
          input                 40 tokens  $130
          cache write           20 tokens  $60
          cache write 1h        50 tokens  $200
          output                 3 tokens  $60
          reasoning              7 tokens  $350
          priced by t.csv, lines 3 and 4, service tier flex, prompts above 100 tokens
        ");
        let asked = Asked {
            service_tier: Some("priority".to_owned()),
            ..asked
        };
        let error = quote(&table, "m", day(), &asked).expect_err("no such tier");
        assert!(
            error.to_string().contains(
                "in the service tier `priority` on 2026-08-01 in t.csv; it has standard, flex"
            ),
            "{error}"
        );
    }

    #[test]
    fn the_worked_example_reads_as_published() {
        let table = PriceTable::builtin("builtin:keeprouter").expect("built in");
        let quote =
            quote(&table, "magistral-small-latest", day(), &asked(1000, 500)).expect("priced");
        insta::assert_snapshot!(quote.to_string(), @r"
        magistral-small-latest: $0.00125 (about $0.0013)
          input               1000 tokens  $0.0005
          output               500 tokens  $0.00075
          recorded to 4 decimals, $0.0013 fits 500 to 566 output tokens
          priced by builtin:keeprouter, line 2, in effect from 2026-07-05, checked 2026-07-05, https://keeprouter.com/models.md
        ");
    }

    #[test]
    fn every_component_that_costs_is_shown() {
        let table = PriceTable::read(
            "t.csv",
            "model,currency,per_tokens,input,output,cache_read,per_request,markup_pct,round_scale,round_mode,round_stage\n\
             m,EUR,1000000,1,2,0.1,0.01,5,3,down,request\n",
        )
        .expect("valid");
        let asked = Asked {
            cache_read: Some(400),
            ..asked(1000, 500)
        };
        let quote = quote(&table, "m", day(), &asked).expect("priced");
        insta::assert_snapshot!(quote.to_string(), @r"
        m: 0.012222 EUR (about 0.0122 EUR)
          billed 0.012 EUR as the table rounds
          input                600 tokens  0.0006 EUR
          cache read           400 tokens  0.00004 EUR
          output               500 tokens  0.001 EUR
          request                          0.01 EUR
          markup                           0.000582 EUR
          priced by t.csv, line 2
        ");
    }

    #[test]
    fn no_quote_says_why() {
        let table = PriceTable::builtin("builtin:keeprouter").expect("built in");
        let error = |model: &str, date: &str, cached| {
            let date = date.parse().expect("a date");
            let asked = Asked {
                cache_read: cached,
                ..asked(10, 1)
            };
            quote(&table, model, date, &asked)
                .expect_err(model)
                .to_string()
        };
        assert!(
            error("codestral-lates", "2026-08-01", None)
                .contains("did you mean `codestral-latest`?")
        );
        assert!(error("gpt", "2026-08-01", None).contains("it has codestral-latest, "));
        assert!(error("codestral-latest", "2026-07-04", None).contains("on 2026-07-04"));
        assert!(error("codestral-latest", "2026-08-01", Some(1)).contains("`cache_read`"));
        assert!(error("codestral-latest", "2026-08-01", Some(11)).contains("cached 11 of 10"));
    }
}
