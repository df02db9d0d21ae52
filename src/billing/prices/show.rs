//! A price table for people: what a million tokens cost, in columns.

use std::fmt::Write as _;

use jiff::civil::Date;

use super::{Match, PriceRow, PriceTable, Stage};
use crate::money::{Money, RoundMode};

impl PriceRow {
    /// What the row's cells of money say, by column: prices of a million tokens, the price of a request
    /// and the markup in per cent. `None` is unknown, or beyond what an amount can be.
    pub fn amounts(&self) -> [(&'static str, Option<Money>); 8] {
        let million = |rate: Option<Money>| rate.and_then(|r| r.checked_mul(1_000_000).ok());
        [
            ("input", million(self.rates.input)),
            ("output", million(self.rates.output)),
            ("cache_read", million(self.rates.cache_read)),
            ("cache_write_5m", million(self.rates.cache_write_5m)),
            ("cache_write_1h", million(self.rates.cache_write_1h)),
            ("reasoning", million(self.rates.reasoning)),
            ("per_request", self.per_request),
            ("markup_pct", self.markup_pct),
        ]
    }

    /// The declared rounding in words: `none`, or as in `each request half_up at 4`.
    pub fn rounding_words(&self) -> String {
        let Some(rounding) = self.rounding else {
            return "none".to_owned();
        };
        let what = match rounding.stage {
            Stage::Component => "each component",
            Stage::Request => "each request",
            Stage::Total => "the total",
        };
        let mode = match rounding.mode {
            RoundMode::HalfUp => "half_up",
            RoundMode::HalfEven => "half_even",
            RoundMode::Up => "up",
            RoundMode::Down => "down",
        };
        format!("{what} {mode} at {}", rounding.scale)
    }
}

/// What is in `table`, in a few lines, and what it does not say.
pub fn summary(table: &PriceTable) -> String {
    let rows = table.rows();
    let mut text = format!(
        "{}: {}, {}, {}\n  sha256 {}\n",
        table.name(),
        count(rows.len(), "row"),
        count(table.models().len(), "model"),
        table.currency(),
        table.sha256()
    );
    let mut line = |words: String| {
        text.push_str("  ");
        text.push_str(&words);
        text.push('\n');
    };
    let day = |date: Option<Date>, none: &str| date.map_or(none.to_owned(), |d| d.to_string());
    // No first day is earlier than any, and no end later than any.
    let from = rows.iter().map(|row| row.effective_from).min().flatten();
    let ends = rows.iter().map(|row| row.effective_to);
    let to = ends.reduce(|a, b| Some(a?.max(b?))).flatten();
    line(format!(
        "in effect from {} until {}",
        day(from, "any day"),
        day(to, "further notice")
    ));
    let checked: Vec<Date> = rows.iter().filter_map(|row| row.checked_at).collect();
    if let (Some(first), Some(last)) = (checked.iter().min(), checked.iter().max()) {
        let without = rows.len() - checked.len();
        let without = match without {
            0 => String::new(),
            n => format!("; {} without a date", count(n, "row")),
        };
        let days = if first == last {
            format!("on {first}")
        } else {
            format!("from {first} to {last}")
        };
        line(format!("checked {days}{without}"));
    }
    let mut tiers: Vec<&str> = rows
        .iter()
        .filter_map(|r| r.service_tier.as_deref())
        .collect();
    tiers.sort_unstable();
    tiers.dedup();
    if !tiers.is_empty() {
        line(format!("service tiers: {}", tiers.join(", ")));
    }
    let long = rows.iter().filter(|row| row.tier_above.is_some()).count();
    if long > 0 {
        line(format!("{} for long prompts", count(long, "row")));
    }
    // What is not said of a request or a markup counts as none; of tokens it is unknown.
    for n in 0..TOKEN_COLUMNS {
        let unknown = |row: &&PriceRow| row.amounts()[n].1.is_none();
        let (name, missing) = (rows[0].amounts()[n].0, rows.iter().filter(unknown).count());
        let what = if name == "reasoning" {
            "not priced apart from output"
        } else {
            "unknown"
        };
        match missing {
            0 => {}
            n if n == rows.len() => line(format!("{name}: {what} in every row")),
            n => line(format!("{name}: {what} in {}", count(n, "row"))),
        }
    }
    text
}

/// So many of a thing, in words.
fn count(n: usize, thing: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{n} {thing}{s}")
}

/// How many of a row's amounts are prices of tokens.
const TOKEN_COLUMNS: usize = 6;

/// The rows of `table` that may price `model` (any model if `None`) and hold on `at` (any day if
/// `None`), as text. Columns that say nothing in any row are left out. `None` without such a row.
pub fn show(table: &PriceTable, model: Option<&str>, at: Option<Date>) -> Option<String> {
    let fits = |row: &&PriceRow| {
        let named = model.is_none_or(|model| match row.matching {
            Match::Exact => row.model == model,
            Match::Prefix => model.starts_with(&row.model),
        });
        named && at.is_none_or(|day| row.holds_on(day))
    };
    let rows: Vec<&PriceRow> = table.rows().iter().filter(fits).collect();
    if rows.is_empty() {
        return None;
    }
    let mut columns: Vec<Column> = vec![Column::new("model", &rows, |row| {
        let star = if row.matching == Match::Prefix {
            "*"
        } else {
            ""
        };
        Some(format!("{}{star}", row.model))
    })];
    columns.push(Column::new("service_tier", &rows, |row| {
        row.service_tier.clone()
    }));
    columns.push(Column::new("tier_above", &rows, |row| {
        let mode = row.tier_mode.unwrap_or_default();
        let mode = format!("{mode:?}").to_lowercase();
        row.tier_above.map(|limit| format!("{limit} {mode}"))
    }));
    for n in 0..rows[0].amounts().len() {
        let (name, _) = rows[0].amounts()[n];
        let amount = |row: &PriceRow| row.amounts()[n].1.map(|m| m.to_string());
        columns.push(Column::number(name, &rows, amount));
    }
    columns.push(Column::new("reasoning_mode", &rows, |row| {
        let mode = format!("{:?}", row.reasoning_mode).to_lowercase();
        (mode != "subset").then_some(mode)
    }));
    columns.push(Column::new("rounding", &rows, |row| {
        row.rounding.map(|_| row.rounding_words())
    }));
    let day = |date: Option<Date>| date.map(|d| d.to_string());
    columns.push(Column::new("from", &rows, |row| day(row.effective_from)));
    columns.push(Column::new("to", &rows, |row| day(row.effective_to)));
    columns.push(Column::new("checked", &rows, |row| day(row.checked_at)));
    columns.retain(|column| column.always || column.cells.iter().any(Option::is_some));

    let mut text = format!(
        "{}: {} for 1000000 tokens; `-` is unknown, `0` is free\n",
        table.name(),
        table.currency()
    );
    for line in 0..=rows.len() {
        let mut shown = String::new();
        for column in &columns {
            let width = column.width();
            let cell = column.cell(line);
            if column.right {
                write!(shown, "{cell:>width$}  ").expect("text");
            } else {
                write!(shown, "{cell:<width$}  ").expect("text");
            }
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    Some(text)
}

/// A heading and its cells.
struct Column {
    name: &'static str,
    cells: Vec<Option<String>>,
    right: bool,
    /// Shown even where nothing is known.
    always: bool,
}

impl Column {
    fn new(
        name: &'static str,
        rows: &[&PriceRow],
        cell: impl Fn(&PriceRow) -> Option<String>,
    ) -> Self {
        Self {
            name,
            cells: rows.iter().map(|row| cell(row)).collect(),
            right: false,
            always: name == "model",
        }
    }

    fn number(
        name: &'static str,
        rows: &[&PriceRow],
        cell: impl Fn(&PriceRow) -> Option<String>,
    ) -> Self {
        Self {
            right: true,
            always: matches!(name, "input" | "output"),
            ..Self::new(name, rows, cell)
        }
    }

    /// The text on a line: the heading on line 0. An amount that is not there is unknown; what is no
    /// amount is just not said.
    fn cell(&self, line: usize) -> &str {
        match line.checked_sub(1) {
            None => self.name,
            Some(n) => {
                let missing = if self.right { "-" } else { "" };
                self.cells[n].as_deref().unwrap_or(missing)
            }
        }
    }

    fn width(&self) -> usize {
        let lines = 0..=self.cells.len();
        lines
            .map(|line| self.cell(line).chars().count())
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_is_not_known() {
        let table = PriceTable::builtin("builtin:keeprouter").expect("built in");
        insta::assert_snapshot!(summary(&table), @r"
        builtin:keeprouter: 7 rows, 7 models, USD
          sha256 d77b7a79363a174c65541946ebbcd5c4f9c4795c47f9b52094a5cc84110428f9
          in effect from 2026-07-05 until further notice
          checked on 2026-07-05
          cache_read: unknown in every row
          cache_write_5m: unknown in every row
          cache_write_1h: unknown in every row
          reasoning: not priced apart from output in every row
        ");
        let table = PriceTable::read(
            "t.csv",
            "model,currency,per_tokens,input,output,cache_read,tier_above,service_tier,effective_from,effective_to,checked_at\n\
             m,EUR,1,1,1,,,,2026-01-01,2026-02-01,2026-01-02\n\
             m,EUR,1,2,2,0.1,9,,2026-01-01,2026-02-01,2026-01-03\n\
             m,EUR,1,2,,0,,flex,2026-01-05,2026-02-05,\n",
        )
        .expect("valid");
        insta::assert_snapshot!(summary(&table), @r"
        t.csv: 3 rows, 1 model, EUR
          sha256 cf5ce01b32d88417fb19a501dc8824dd3d9f78c5f4e01b3c029e35a7b693f135
          in effect from 2026-01-01 until 2026-02-05
          checked from 2026-01-02 to 2026-01-03; 1 row without a date
          service tiers: flex
          1 row for long prompts
          output: unknown in 1 row
          cache_read: unknown in 1 row
          cache_write_5m: unknown in every row
          cache_write_1h: unknown in every row
          reasoning: not priced apart from output in every row
        ");
    }

    #[test]
    fn unknown_is_a_dash_and_free_a_zero() {
        let table = PriceTable::read(
            "t.csv",
            "model,match,currency,per_tokens,input,output,cache_read,tier_above,service_tier,effective_from,round_stage,round_scale,round_mode\n\
             m,,USD,1000000,0.5,1.5,,,,2026-01-01,request,4,half_up\n\
             m,,USD,1000000,1,,0.05,200000,,2026-01-01,request,4,half_up\n\
             m-large-,prefix,USD,1000,0,12,0,,flex,,,,\n",
        )
        .expect("valid");
        insta::assert_snapshot!(show(&table, None, None).expect("rows"), @r"
        t.csv: USD for 1000000 tokens; `-` is unknown, `0` is free
        model      service_tier  tier_above    input  output  cache_read  rounding                   from
        m                                        0.5     1.5           -  each request half_up at 4  2026-01-01
        m                        200000 whole      1       -        0.05  each request half_up at 4  2026-01-01
        m-large-*  flex                            0   12000           0
        ");
        insta::assert_snapshot!(show(&table, Some("m-large-2"), None).expect("a row"), @r"
        t.csv: USD for 1000000 tokens; `-` is unknown, `0` is free
        model      service_tier  input  output  cache_read
        m-large-*  flex              0   12000           0
        ");
        let day = |text: &str| text.parse().ok();
        assert_eq!(show(&table, Some("m"), day("2025-12-31")), None);
        assert_eq!(show(&table, Some("n"), None), None);
    }
}
