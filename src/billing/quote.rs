//! A price told beforehand: what `weighbridge quote MODEL --input N --output N` shows.
//!
//! The input holds the cached tokens, as at the OpenAI-compatible endpoint.

use std::fmt;

use jiff::civil::Date;

use crate::endpoint::Endpoint;
use crate::money::{Currency, Money};
use crate::usage::Usage;

use super::predict::{Components, Unpredictable, predict};
use super::prices::{PriceRow, PriceTable};

/// The decimal places of the short form.
const SHORT_PLACES: u32 = 4;

/// What so many tokens of a model cost. Its `Display` is what the command shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The model asked for.
    pub model: String,
    /// Input tokens, cached ones included.
    pub input: u64,
    /// Input tokens read from a cache.
    pub cache_read: u64,
    /// Output tokens.
    pub output: u64,
    /// Currency of the amounts.
    pub currency: Currency,
    /// The exact amount.
    pub exact: Money,
    /// The amount after the rounding that the table declares, if it declares one.
    pub declared: Option<Money>,
    /// The exact amount, half-up at four decimals.
    pub about: Money,
    /// What the exact amount is made of.
    pub components: Components,
    /// The row that it was priced with.
    pub row: PriceRow,
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

/// The price of so many tokens of `model` on `date`.
pub fn quote(
    table: &PriceTable,
    model: &str,
    date: Date,
    input: u64,
    output: u64,
    cache_read: Option<u64>,
) -> Result<Quote, QuoteError> {
    let tariff = table
        .tariff(model, None, date)
        .ok_or_else(|| no_row(table, model, date))?;
    let usage = Usage {
        input: Some(input),
        output: Some(output),
        cache_read,
        ..Usage::default()
    };
    let row = tariff.base();
    let prediction =
        predict(&tariff, &usage, Endpoint::OpenAi).map_err(|why| QuoteError::Unpredictable {
            model: model.to_owned(),
            table: table.name().to_owned(),
            line: row.line,
            why,
        })?;
    Ok(Quote {
        model: model.to_owned(),
        input,
        cache_read: cache_read.unwrap_or(0),
        output,
        currency: row.currency,
        exact: prediction.total,
        declared: prediction.rounded,
        about: prediction.total.round_half_up(SHORT_PLACES),
        components: prediction.components,
        row: row.clone(),
        table: table.name().to_owned(),
    })
}

fn no_row(table: &PriceTable, model: &str, date: Date) -> QuoteError {
    let (model, table_name) = (model.to_owned(), table.name().to_owned());
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
        let c = &self.components;
        let uncached = self.input - self.cache_read;
        let tokens = |n: u64| Some(n);
        for (name, count, amount) in [
            ("input", tokens(uncached), c.input),
            ("cache read", tokens(self.cache_read), c.cache_read),
            ("output", tokens(self.output), c.output),
            ("request", None, c.request),
            ("markup", None, c.markup),
        ] {
            match count {
                Some(count) if count > 0 => {
                    writeln!(f, "  {name:<10} {count:>9} tokens  {}", shown(amount))?;
                }
                None if !amount.is_zero() => {
                    writeln!(f, "  {name:<10} {:>16}  {}", "", shown(amount))?;
                }
                _ => {}
            }
        }
        write!(f, "  priced by {}, line {}", self.table, self.row.line)?;
        if let Some(from) = self.row.effective_from {
            write!(f, ", in effect from {from}")?;
        }
        if let Some(checked_at) = self.row.checked_at {
            write!(f, ", checked {checked_at}")?;
        }
        if let Some(source) = &self.row.source {
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

    #[test]
    fn the_worked_example_reads_as_published() {
        let table = PriceTable::builtin("builtin:keeprouter").expect("built in");
        let quote =
            quote(&table, "magistral-small-latest", day(), 1000, 500, None).expect("priced");
        insta::assert_snapshot!(quote.to_string(), @r"
        magistral-small-latest: $0.00125 (about $0.0013)
          input           1000 tokens  $0.0005
          output           500 tokens  $0.00075
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
        let quote = quote(&table, "m", day(), 1000, 500, Some(400)).expect("priced");
        insta::assert_snapshot!(quote.to_string(), @r"
        m: 0.012222 EUR (about 0.0122 EUR)
          billed 0.012 EUR as the table rounds
          input            600 tokens  0.0006 EUR
          cache read       400 tokens  0.00004 EUR
          output           500 tokens  0.001 EUR
          request                      0.01 EUR
          markup                       0.000582 EUR
          priced by t.csv, line 2
        ");
    }

    #[test]
    fn no_quote_says_why() {
        let table = PriceTable::builtin("builtin:keeprouter").expect("built in");
        let error = |model: &str, date: &str, cached| {
            let date = date.parse().expect("a date");
            quote(&table, model, date, 10, 1, cached)
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
