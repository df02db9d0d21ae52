//! The price table: what a token of each kind costs, by model and date.
//!
//! In: the bytes of a CSV file. Out: validated rows, or an error that names the file, the line, the
//! column, the offending text and the fix. The bytes are kept, so that the table can be copied into
//! a run's folder and named by its SHA-256.
//!
//! An empty cell means unknown, `0` means free. A column that prediction does not use yet is
//! refused where it is filled in: ignoring a price would predict a wrong bill.

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::money::{Currency, Money, RoundMode};
use crate::seed::sha256_hex;
use crate::suggest;

mod file;

pub use file::{COLUMNS, Fault, PriceError, Problem, REQUIRED};

/// The tables that are compiled in, by the name that a scenario gives them.
pub const BUILTIN: [&str; 1] = ["builtin:keeprouter"];

/// A validated price table: at least one row, one currency, no two rows for the same request.
#[derive(Clone, Debug)]
pub struct PriceTable {
    name: String,
    bytes: Vec<u8>,
    rows: Vec<PriceRow>,
    /// Model to its rows; prefixes apart, the longest first.
    exact: BTreeMap<String, Vec<usize>>,
    prefixes: Vec<usize>,
}

/// The prices of one model, or of every model whose name begins alike, for a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceRow {
    /// Line in the file.
    pub line: u64,
    /// The model's name, or what its name begins with.
    pub model: String,
    /// Which of the two `model` is.
    pub matching: Match,
    /// Who makes the model; for the reader only.
    pub provider: Option<String>,
    /// Currency of every price in the row.
    pub currency: Currency,
    /// How many tokens the file's prices are for: 10 to this power.
    pub per_tokens_power: u32,
    /// Prices of *one* token of each kind.
    pub rates: Rates,
    /// Price of a request, whatever its tokens; unknown counts as none.
    pub per_request: Option<Money>,
    /// Percent added to the sum of everything else; negative for a discount.
    pub markup_pct: Option<Money>,
    /// The rounding that the price list declares, of each request's total.
    pub rounding: Option<Rounding>,
    /// First day on which the row holds (UTC).
    pub effective_from: Option<Date>,
    /// First day on which it no longer holds (UTC).
    pub effective_to: Option<Date>,
    /// Where the prices were read; for the reader only.
    pub source: Option<String>,
    /// When they were read; for the reader only.
    pub checked_at: Option<Date>,
}

/// How a row's model is compared with a request's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// The whole name.
    #[default]
    Exact,
    /// Its beginning.
    Prefix,
}

/// Prices of one token of each kind; `None` is unknown, zero is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input that no cache had a part in.
    pub input: Option<Money>,
    /// Input read from a cache.
    pub cache_read: Option<Money>,
    /// Input written to a cache for five minutes.
    pub cache_write_5m: Option<Money>,
    /// Input written to a cache for an hour.
    pub cache_write_1h: Option<Money>,
    /// Output.
    pub output: Option<Money>,
    /// Output that is reasoning. Unknown means that it is priced as the output it is part of.
    pub reasoning: Option<Money>,
}

/// What prices a model's requests in one service tier on one day: a row for each size of prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tariff<'t> {
    /// By the size of prompt from which they hold, the first for every prompt; not empty.
    rows: Vec<&'t PriceRow>,
}

impl<'t> Tariff<'t> {
    /// One row for every prompt.
    pub fn of(row: &'t PriceRow) -> Self {
        Self { rows: vec![row] }
    }

    /// The row that holds for the shortest prompt.
    pub fn base(&self) -> &'t PriceRow {
        self.rows[0]
    }
}

/// A declared rounding of each request's total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// Decimal places that are kept.
    pub scale: u32,
    /// Which way.
    pub mode: RoundMode,
}

impl PriceTable {
    /// Reads the bytes of a CSV file. `name` is what errors and reports call it.
    pub fn read(name: &str, bytes: impl Into<Vec<u8>>) -> Result<Self, PriceError> {
        let bytes = bytes.into();
        let rows = file::read(name, &bytes)?;
        let mut exact: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut prefixes = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            match row.matching {
                Match::Exact => exact.entry(row.model.clone()).or_default().push(i),
                Match::Prefix => prefixes.push(i),
            }
        }
        prefixes.sort_by_key(|&i: &usize| std::cmp::Reverse(rows[i].model.len()));
        Ok(Self {
            name: name.to_owned(),
            bytes,
            rows,
            exact,
            prefixes,
        })
    }

    /// The compiled-in table of this name (see [`BUILTIN`]); `None` if there is none.
    pub fn builtin(name: &str) -> Option<Self> {
        let text = match name {
            "builtin:keeprouter" => include_str!("../../../scenarios/prices/keeprouter.csv"),
            _ => return None,
        };
        Some(Self::read(name, text).expect("a test reads every built-in table"))
    }

    /// What errors and reports call the table.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes as read.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the bytes, in hex.
    pub fn sha256(&self) -> String {
        sha256_hex(&self.bytes)
    }

    /// The currency of every price.
    pub fn currency(&self) -> Currency {
        self.rows[0].currency
    }

    /// The rows, in the order of the file.
    pub fn rows(&self) -> &[PriceRow] {
        &self.rows
    }

    /// Every model name or prefix, each once, sorted.
    pub fn models(&self) -> Vec<&str> {
        let mut models: Vec<&str> = self.rows.iter().map(|r| r.model.as_str()).collect();
        models.sort_unstable();
        models.dedup();
        models
    }

    /// What prices `model` in `service_tier` on `date` (UTC): of the rows that hold on that day, those
    /// of exactly this name, else those with the longest prefix of it.
    pub fn tariff(
        &self,
        model: &str,
        service_tier: Option<&str>,
        date: Date,
    ) -> Option<Tariff<'_>> {
        let _ = service_tier;
        let named = self.exact.get(model).into_iter().flatten();
        let prefixed = self
            .prefixes
            .iter()
            .filter(|&&i| model.starts_with(&self.rows[i].model));
        named
            .chain(prefixed)
            .map(|&i| &self.rows[i])
            .find(|row| row.holds_on(date))
            .map(Tariff::of)
    }

    /// Whether the table has a price for `model` on any day.
    pub fn knows(&self, model: &str) -> bool {
        self.exact.contains_key(model)
            || self
                .prefixes
                .iter()
                .any(|&i| model.starts_with(&self.rows[i].model))
    }

    /// The model name that is spelt most like `model`, if one is close.
    pub fn nearest(&self, model: &str) -> Option<&str> {
        suggest::nearest(model, self.models())
    }
}

impl PriceRow {
    /// Whether the row holds on `date`: `effective_from` is included, `effective_to` is not.
    pub fn holds_on(&self, date: Date) -> bool {
        self.effective_from.is_none_or(|from| from <= date)
            && self.effective_to.is_none_or(|to| date < to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(csv: &str) -> PriceTable {
        PriceTable::read("t.csv", csv).expect(csv)
    }

    fn day(text: &str) -> Date {
        text.parse().expect("a date")
    }

    #[test]
    fn the_builtin_tables_hold_what_was_published() {
        for name in BUILTIN {
            assert!(PriceTable::builtin(name).is_some(), "{name}");
        }
        assert!(PriceTable::builtin("keeprouter").is_none());
        let table = PriceTable::builtin("builtin:keeprouter").expect("built in");
        assert_eq!(table.currency(), Currency::USD);
        assert_eq!(table.rows().len(), 7);
        assert_eq!(table.sha256(), sha256_hex(table.bytes()));
        for (model, input, output) in [
            ("magistral-small-latest", "0.5", "1.5"),
            ("magistral-medium-latest", "2", "5"),
            ("devstral-medium-latest", "0.4", "2"),
            ("codestral-latest", "0.3", "0.9"),
            ("ministral-14b-latest", "0.2", "0.2"),
            ("ministral-8b-latest", "0.15", "0.15"),
            ("ministral-3b-latest", "0.1", "0.1"),
        ] {
            let tariff = table.tariff(model, None, day("2026-07-05")).expect(model);
            let row = tariff.base();
            let million = |rate: Option<Money>| {
                let rate = rate.expect("priced");
                rate.checked_mul(1_000_000).expect("small").to_string()
            };
            assert_eq!(million(row.rates.input), input, "{model}");
            assert_eq!(million(row.rates.output), output, "{model}");
            assert_eq!(row.rates.cache_read, None, "unknown is not free");
            assert_eq!(row.provider.as_deref(), Some("mistral"));
            assert_eq!(row.checked_at, Some(day("2026-07-05")));
            assert_eq!(table.tariff(model, None, day("2026-07-04")), None);
        }
    }

    #[test]
    fn the_exact_row_wins_then_the_longest_prefix() {
        let table = table(
            "model,match,currency,per_tokens,input,output\n\
             m-,prefix,USD,1,1,1\n\
             m-large-,prefix,USD,1,2,2\n\
             m-large-1,,USD,1,3,3\n",
        );
        let line = |model: &str| {
            table
                .tariff(model, None, day("2026-01-01"))
                .map(|t| t.base().line)
        };
        assert_eq!(line("m-large-1"), Some(4));
        assert_eq!(line("m-large-2"), Some(3));
        assert_eq!(line("m-small"), Some(2));
        assert_eq!(line("n"), None);
        assert!(table.knows("m-x") && !table.knows("n"));
        assert_eq!(table.models(), ["m-", "m-large-", "m-large-1"]);
    }

    #[test]
    fn a_row_holds_from_its_first_day_until_the_day_before_its_end() {
        let table = table(
            "model,currency,per_tokens,input,output,effective_from,effective_to\n\
             m,USD,1,1,1,,2026-03-01\n\
             m,USD,1,2,2,2026-03-01,2026-04-01\n",
        );
        let line = |date: &str| table.tariff("m", None, day(date)).map(|t| t.base().line);
        assert_eq!(line("2026-02-28"), Some(2));
        assert_eq!(line("2026-03-01"), Some(3));
        assert_eq!(line("2026-03-31"), Some(3));
        assert_eq!(line("2026-04-01"), None);
    }

    #[test]
    fn a_typo_finds_the_nearest_model() {
        let table = PriceTable::builtin("builtin:keeprouter").expect("built in");
        assert_eq!(
            table.nearest("magistral-smal-latest"),
            Some("magistral-small-latest")
        );
        assert_eq!(table.nearest("gpt-9"), None);
    }
}
