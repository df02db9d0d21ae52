//! The price table: what a token of each kind costs, by model and date.
//!
//! In: the bytes of a CSV file. Out: validated rows, or an error that names the file, the line, the
//! column, the offending text and the fix. The bytes are kept, so that the table can be copied into
//! a run's folder and named by its SHA-256.
//!
//! An empty cell means unknown, `0` means free. A model may have a row for each service tier and for
//! each size of prompt; those that hold together on one day are a [`Tariff`]. A cell that is empty in
//! the row for long prompts is unknown there too: nothing is inherited.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::money::{Currency, Money, RoundMode};
use crate::seed::sha256_hex;
use crate::suggest;

mod beside;
mod cells;
pub mod diff;
mod error;
mod file;
pub mod import;
pub mod show;
mod tariff;

pub use error::{Fault, PriceError, Problem};
pub use file::{COLUMNS, REQUIRED};
pub use tariff::Tariff;

/// The tables that are compiled in, by the name that a scenario gives them.
pub const BUILTIN: [&str; 1] = ["builtin:keeprouter"];

/// A validated price table: at least one row, one currency, no two rows for the same request.
#[derive(Clone, Debug)]
pub struct PriceTable {
    name: String,
    bytes: Vec<u8>,
    rows: Vec<PriceRow>,
    /// Model to its rows.
    exact: BTreeMap<String, Vec<usize>>,
    /// Prefix to its rows, the longest prefix first.
    prefixes: BTreeMap<(Reverse<usize>, String), Vec<usize>>,
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
    /// Whether reasoning is counted in the output or beside it.
    pub reasoning_mode: ReasoningMode,
    /// Price of a request, whatever its tokens; unknown counts as none.
    pub per_request: Option<Money>,
    /// The row holds for prompts of more tokens than this, cached ones included; `None` for every one.
    pub tier_above: Option<u64>,
    /// Which tokens of a long prompt have the long prompt's prices; said of the model's rows together.
    pub tier_mode: Option<TierMode>,
    /// The service tier that the row is for; `None` is the standard (see [`is_standard`]).
    pub service_tier: Option<String>,
    /// Percent added to the sum of everything else; negative for a discount.
    pub markup_pct: Option<Money>,
    /// The rounding that the price list declares.
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

/// How reasoning tokens are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReasoningMode {
    /// As a part of the output tokens, at `reasoning` if that is known and as output else.
    #[default]
    Subset,
    /// Beside the output tokens, at `reasoning` if that is known and at `output` else.
    Additive,
}

/// Which tokens of a prompt above a limit have the prices of the row above the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TierMode {
    /// All of them, and the output.
    #[default]
    Whole,
    /// Those above the limit; the output has the prices that the prompt's last token reaches.
    Graduated,
}

/// A declared rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// Decimal places that are kept.
    pub scale: u32,
    /// Which way.
    pub mode: RoundMode,
    /// What is rounded.
    pub stage: Stage,
}

/// What a rounding is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Each component of a request's cost, before they are added.
    Component,
    /// A request's cost.
    Request,
    /// The sum of a bill; each request is exact.
    Total,
}

/// Whether `service_tier` means what is served where nobody asks for a tier.
pub fn is_standard(service_tier: &str) -> bool {
    matches!(service_tier, "" | "default" | "standard" | "auto")
}

impl PriceTable {
    /// Reads the bytes of a CSV file. `name` is what errors and reports call it.
    pub fn read(name: &str, bytes: impl Into<Vec<u8>>) -> Result<Self, PriceError> {
        Self::read_all(name, bytes).map_err(|errors| {
            let first = errors.into_iter().next();
            first.expect("a table without an error is read")
        })
    }

    /// As [`read`](Self::read), but tells everything that is wrong, in the order of the file.
    pub fn read_all(name: &str, bytes: impl Into<Vec<u8>>) -> Result<Self, Vec<PriceError>> {
        let bytes = bytes.into();
        let rows = file::read(name, &bytes)?;
        let mut exact: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut prefixes: BTreeMap<(Reverse<usize>, String), Vec<usize>> = BTreeMap::new();
        for (i, row) in rows.iter().enumerate() {
            let name = row.model.clone();
            match row.matching {
                Match::Exact => exact.entry(name).or_default().push(i),
                Match::Prefix => {
                    let longest_first = (Reverse(name.len()), name);
                    prefixes.entry(longest_first).or_default().push(i);
                }
            }
        }
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
    ///
    /// No tier, or one that [`is_standard`], has the rows without a service tier; any other has the rows
    /// that name it. A tier that no row names has the standard's prices if the model has no row with a
    /// service tier at all, and none if it has some: its price would be a guess.
    pub fn tariff(
        &self,
        model: &str,
        service_tier: Option<&str>,
        date: Date,
    ) -> Option<Tariff<'_>> {
        let wanted = service_tier.filter(|name| !is_standard(name));
        let group = self.group(model, date)?;
        let tiered = group.iter().any(|&i| self.rows[i].service_tier.is_some());
        self.of_tier(group, wanted.filter(|_| tiered), date)
    }

    /// What prices `model` on `date` (UTC) in each service tier that has a price, the standard first.
    pub fn tariffs(&self, model: &str, date: Date) -> Vec<Tariff<'_>> {
        self.group(model, date)
            .map_or_else(Vec::new, |group| self.of_group(group, date))
    }

    /// What prices any model on `date` (UTC) in any service tier: exact names in their order, then
    /// prefixes, the longest first.
    pub fn tariffs_on(&self, date: Date) -> Vec<Tariff<'_>> {
        let exact = self.exact.values();
        let prefixes = self.prefixes.values();
        exact
            .chain(prefixes)
            .flat_map(|group| self.of_group(group, date))
            .collect()
    }

    /// The rows of the most specific name for `model` that has any row on `date`.
    fn group(&self, model: &str, date: Date) -> Option<&[usize]> {
        let exact = self.exact.get(model).into_iter();
        let prefixes = self
            .prefixes
            .iter()
            .filter(|((_, prefix), _)| model.starts_with(prefix))
            .map(|(_, group)| group);
        exact
            .chain(prefixes)
            .find(|group| group.iter().any(|&i| self.rows[i].holds_on(date)))
            .map(Vec::as_slice)
    }

    fn of_group(&self, group: &[usize], date: Date) -> Vec<Tariff<'_>> {
        let mut tiers: Vec<Option<&str>> = group
            .iter()
            .map(|&i| self.rows[i].service_tier.as_deref())
            .collect();
        tiers.sort_unstable();
        tiers.dedup();
        tiers
            .into_iter()
            .filter_map(|tier| self.of_tier(group, tier, date))
            .collect()
    }

    /// The rows of `group` for `tier` (`None` is the standard) on `date`.
    fn of_tier(&self, group: &[usize], tier: Option<&str>, date: Date) -> Option<Tariff<'_>> {
        let rows = group.iter().map(|&i| &self.rows[i]);
        Tariff::from_rows(
            rows.filter(|row| row.service_tier.as_deref() == tier && row.holds_on(date)),
        )
    }

    /// Whether the table has a price for `model` on any day.
    pub fn knows(&self, model: &str) -> bool {
        self.exact.contains_key(model)
            || self
                .prefixes
                .keys()
                .any(|(_, prefix)| model.starts_with(prefix))
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

    #[test]
    fn a_service_tier_has_its_own_rows_the_standard_ones_or_no_price() {
        let table = table(
            "model,match,currency,per_tokens,input,output,service_tier,effective_from\n\
             plain,,USD,1,1,1,,\n\
             m,,USD,1,1,1,standard,\n\
             m,,USD,1,2,2,priority,\n\
             m,,USD,1,3,3,flex,2026-03-01\n\
             p-,prefix,USD,1,1,1,batch,\n",
        );
        let line = |model: &str, tier: Option<&str>, date: &str| {
            table.tariff(model, tier, day(date)).map(|t| t.base().line)
        };
        for standard in [
            None,
            Some(""),
            Some("default"),
            Some("standard"),
            Some("auto"),
        ] {
            assert_eq!(line("m", standard, "2026-01-01"), Some(3), "{standard:?}");
            assert_eq!(line("p-1", standard, "2026-01-01"), None, "{standard:?}");
        }
        assert_eq!(line("m", Some("priority"), "2026-01-01"), Some(4));
        assert_eq!(line("m", Some("Priority"), "2026-01-01"), None);
        assert_eq!(line("m", Some("flex"), "2026-02-28"), None, "not that day");
        assert_eq!(line("m", Some("flex"), "2026-03-01"), Some(5));
        assert_eq!(line("plain", Some("priority"), "2026-01-01"), Some(2));
        assert_eq!(line("p-1", Some("batch"), "2026-01-01"), Some(6));

        let tiers = |model: &str| {
            let tariffs = table.tariffs(model, day("2026-03-01"));
            tariffs.iter().map(Tariff::service_tier).collect::<Vec<_>>()
        };
        assert_eq!(tiers("m"), [None, Some("flex"), Some("priority")]);
        assert_eq!(tiers("p-1"), [Some("batch")]);
        assert!(tiers("q").is_empty());
        let all = table.tariffs_on(day("2026-01-01"));
        let lines: Vec<u64> = all.iter().map(|t| t.base().line).collect();
        assert_eq!(lines, [3, 4, 2, 6]);
    }

    #[test]
    fn a_tariff_holds_the_rows_of_every_size_of_prompt_on_that_day() {
        let table = table(
            "model,currency,per_tokens,input,output,tier_above,tier_mode,effective_to\n\
             m,USD,1,3,3,200,graduated,\n\
             m,USD,1,1,1,,,\n\
             m,USD,1,2,2,100,graduated,2026-03-01\n",
        );
        let lines = |date: &str| {
            let tariff = table.tariff("m", None, day(date)).expect("priced");
            let lines: Vec<u64> = tariff.rows().iter().map(|r| r.line).collect();
            assert_eq!(tariff.mode(), TierMode::Graduated);
            lines
        };
        assert_eq!(lines("2026-02-28"), [3, 4, 2]);
        assert_eq!(lines("2026-03-01"), [3, 2]);
        let tariff = table.tariff("m", None, day("2026-01-01")).expect("priced");
        for (prompt, line) in [
            (0, 3),
            (100, 3),
            (101, 4),
            (200, 4),
            (201, 2),
            (u64::MAX, 2),
        ] {
            assert_eq!(tariff.row_for(prompt).line, line, "{prompt}");
        }
        assert_eq!(tariff.with_mode(TierMode::Whole).mode(), TierMode::Whole);
    }
}
