//! What changed from one price table to another, on one day.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;

use super::{Match, PriceRow, PriceTable, TierMode};
use crate::money::{Currency, Money};

/// Decimal places of a change in per cent.
const PERCENT_PLACES: u32 = 2;

/// What changed. Its `Display` is what the command shows: a line for each change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// The currencies of both tables.
    pub currencies: (Currency, Currency),
    /// By name, service tier and size of prompt.
    pub changes: Vec<Change>,
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The name, service tier and size of prompt, as they are shown.
    pub of: String,
    /// What happened to it.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Only the new table prices it.
    Added,
    /// Only the old table prices it.
    Removed,
    /// A cell has another amount.
    Amount {
        /// The column; prices of tokens are for a million.
        column: &'static str,
        /// `None` is unknown.
        old: Option<Money>,
        /// `None` is unknown.
        new: Option<Money>,
        /// The change in per cent of the old amount, half-even at two places; `None` where there is none.
        percent: Option<Money>,
    },
    /// A cell has another word.
    Word {
        /// The column.
        column: &'static str,
        /// Before.
        old: String,
        /// After.
        new: String,
    },
}

/// What `new` changes of `old` on `date`.
pub fn diff(old: &PriceTable, new: &PriceTable, date: Date) -> Diff {
    let currencies = (old.currency(), new.currency());
    let (old, new) = (rows(old, date), rows(new, date));
    let mut changes = Vec::new();
    let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let all = match (old.get(key), new.get(key)) {
            (Some(old), Some(new)) => between(old, new),
            (Some(_), None) => vec![What::Removed],
            _ => vec![What::Added],
        };
        let of = name(*key);
        changes.extend(all.into_iter().map(|what| Change {
            of: of.clone(),
            what,
        }));
    }
    Diff {
        currencies,
        changes,
    }
}

/// Model, kind of match, service tier, size of prompt.
type Key<'t> = (&'t str, Match, Option<&'t str>, Option<u64>);

/// A row, and the mode of its tariff.
type Row<'t> = (&'t PriceRow, TierMode);

fn rows(table: &PriceTable, date: Date) -> BTreeMap<Key<'_>, Row<'_>> {
    let tariffs = table.tariffs_on(date).into_iter();
    let rows = tariffs.flat_map(|tariff| {
        let mode = tariff.mode();
        let rows = tariff.rows().to_vec().into_iter();
        rows.map(move |row| (row, mode))
    });
    rows.map(|(row, mode)| {
        let tier = row.service_tier.as_deref();
        let key = (row.model.as_str(), row.matching, tier, row.tier_above);
        (key, (row, mode))
    })
    .collect()
}

fn name((model, matching, tier, above): Key<'_>) -> String {
    let star = if matching == Match::Prefix { "*" } else { "" };
    let tier = tier.map_or(String::new(), |tier| format!(" ({tier})"));
    let above = above.map_or(String::new(), |n| format!(" above {n} tokens"));
    format!("{model}{star}{tier}{above}")
}

fn between((old, old_mode): &Row<'_>, (new, new_mode): &Row<'_>) -> Vec<What> {
    let amounts = old.amounts().into_iter().zip(new.amounts());
    let amounts =
        amounts
            .filter(|((_, old), (_, new))| old != new)
            .map(|((column, old), (_, new))| What::Amount {
                column,
                old,
                new,
                percent: percent(old, new),
            });
    let mode = |mode: &TierMode| format!("{mode:?}").to_lowercase();
    let reasoning = |row: &PriceRow| format!("{:?}", row.reasoning_mode).to_lowercase();
    let words = [
        // Without a limit the mode says nothing.
        (
            "tier_mode",
            mode(if old.tier_above.is_some() {
                old_mode
            } else {
                new_mode
            }),
            mode(new_mode),
        ),
        ("reasoning_mode", reasoning(old), reasoning(new)),
        ("rounding", old.rounding_words(), new.rounding_words()),
    ];
    let words = words
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(column, old, new)| What::Word { column, old, new });
    amounts.chain(words).collect()
}

fn percent(old: Option<Money>, new: Option<Money>) -> Option<Money> {
    let (old, new) = (old?, new?);
    new.checked_sub(old).ok()?.percent_of(old, PERCENT_PLACES)
}

impl Diff {
    /// Whether both tables say the same.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.currencies.0 == self.currencies.1
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, new) = self.currencies;
        if old != new {
            writeln!(f, "every price: {old} -> {new}")?;
        }
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |amount: &Option<Money>| amount.map_or("-".to_owned(), |a| a.to_string());
        write!(f, "{}: ", self.of)?;
        match &self.what {
            What::Added => f.write_str("added"),
            What::Removed => f.write_str("removed"),
            What::Amount {
                column,
                old,
                new,
                percent,
            } => {
                write!(f, "{column} {} -> {}", shown(old), shown(new))?;
                match percent {
                    Some(p) if p.is_negative() => write!(f, " ({p}%)"),
                    Some(p) => write!(f, " (+{p}%)"),
                    None => Ok(()),
                }
            }
            What::Word { column, old, new } => write!(f, "{column} {old} -> {new}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "model,match,currency,per_tokens,input,output,cache_read,reasoning,\
                        reasoning_mode,per_request,markup_pct,tier_above,tier_mode,service_tier,\
                        effective_to,round_stage,round_scale,round_mode";

    fn shown(old: &str, new: &str) -> String {
        let table =
            |rows: &str| PriceTable::read("t.csv", format!("{HEAD}\n{rows}\n")).expect(rows);
        let diff = diff(
            &table(old),
            &table(new),
            "2026-08-01".parse().expect("a date"),
        );
        assert_eq!(diff.is_empty(), diff.to_string().is_empty());
        diff.to_string()
    }

    #[test]
    fn each_change_is_a_line_with_its_size_in_per_cent() {
        let old = "a,,USD,1000000,0.5,1.5,,,,,,,,,,,,\n\
                   b,,USD,1,1,1,,,,,,,,,,,,\n\
                   c,,USD,1,1,1,0.1,,,,,,,,,,,\n\
                   c,,USD,1,2,2,,,,,,200000,whole,,,,,\n\
                   d-,prefix,USD,1,0,1,,,,,,,,flex,,,,\n\
                   gone,,USD,1,1,1,,,,,,,,,2026-08-01,,,";
        let new = "a,,USD,1000,0.0006,0.0015,,,,,,,,,,,,\n\
                   c,,USD,1,1,0.999,,,,0.01,5,,,,,,,\n\
                   c,,USD,1,2,2,,,,0.01,5,200000,graduated,,,,,\n\
                   d-,prefix,USD,1,1,1,,2,additive,,,,,flex,,total,2,half_up\n\
                   e,,USD,1,1,1,,,,,,,,priority,,,,";
        insta::assert_snapshot!(shown(old, new), @r"
        a: input 0.5 -> 0.6 (+20%)
        b: removed
        c: output 1000000 -> 999000 (-0.1%)
        c: cache_read 100000 -> -
        c: per_request - -> 0.01
        c: markup_pct - -> 5
        c above 200000 tokens: per_request - -> 0.01
        c above 200000 tokens: markup_pct - -> 5
        c above 200000 tokens: tier_mode whole -> graduated
        d-* (flex): input 0 -> 1000000
        d-* (flex): reasoning - -> 2000000
        d-* (flex): reasoning_mode subset -> additive
        d-* (flex): rounding none -> the total half_up at 2
        e (priority): added
        ");
        assert_eq!(shown(old, old), "");
        assert_eq!(
            shown("a,,USD,1,1,1,,,,,,,,,,,,", "a,,EUR,1,1,1,,,,,,,,,,,,"),
            "every price: USD -> EUR\n"
        );
    }
}
