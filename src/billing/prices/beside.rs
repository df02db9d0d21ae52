//! What a row may not be beside the other rows of its table.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::cells::CellError;
use super::error::Fault;
use super::{Match, PriceRow};

/// What makes rows candidates for the same request: model, kind of match, service tier.
type Key<'r> = (&'r str, Match, Option<&'r str>);

/// What is wrong between `rows`, each with the line of the row at fault. `whole` tells whether these are
/// all rows of the table: else, one that seems to be missing may be there.
pub(super) fn faults(rows: &[PriceRow], whole: bool) -> Vec<(u64, CellError)> {
    let mut faults = Vec::new();
    let mut groups: BTreeMap<Key<'_>, Vec<&PriceRow>> = BTreeMap::new();
    for row in rows {
        faults.extend(currency(row, &rows[0]).map(|fault| (row.line, fault)));
        let key = (
            row.model.as_str(),
            row.matching,
            row.service_tier.as_deref(),
        );
        let group = groups.entry(key).or_default();
        faults.extend(overlap(row, group).map(|fault| (row.line, fault)));
        group.push(row);
    }
    for group in groups.values() {
        for row in group.iter().filter(|row| row.tier_above.is_some()) {
            faults.extend(disagreement(row, group).map(|fault| (row.line, fault)));
            if whole {
                faults.extend(no_base(row, group).map(|fault| (row.line, fault)));
            }
        }
    }
    faults
}

fn currency(row: &PriceRow, first: &PriceRow) -> Option<CellError> {
    let fault = Fault::MixedCurrencies {
        text: row.currency,
        first: first.currency,
        first_line: first.line,
    };
    (row.currency != first.currency).then_some(("currency", fault))
}

fn overlap(row: &PriceRow, earlier: &[&PriceRow]) -> Option<CellError> {
    let other = earlier
        .iter()
        .find(|other| other.tier_above == row.tier_above && share_a_day(row, other))?;
    let fault = Fault::Overlap {
        model: row.model.clone(),
        other: other.line,
    };
    Some(("model", fault))
}

fn share_a_day(a: &PriceRow, b: &PriceRow) -> bool {
    let begins_before_end = |a: &PriceRow, b: &PriceRow| match (a.effective_from, b.effective_to) {
        (Some(from), Some(to)) => from < to,
        _ => true,
    };
    begins_before_end(a, b) && begins_before_end(b, a)
}

/// The first thing on which `row` and a row of `group` for shorter prompts differ, and may not.
fn disagreement(row: &PriceRow, group: &[&PriceRow]) -> Option<CellError> {
    let shorter = |other: &&&PriceRow| other.tier_above < row.tier_above && share_a_day(row, other);
    group.iter().filter(shorter).find_map(|other| {
        let (name, text, other_text) = difference(row, other)?;
        let other = other.line;
        let fault = Fault::TierDisagrees {
            text,
            other_text,
            other,
        };
        Some((name, fault))
    })
}

fn difference(row: &PriceRow, other: &PriceRow) -> Option<(&'static str, String, String)> {
    let said = |cell: Option<String>| cell.map_or("empty".to_owned(), |text| format!("`{text}`"));
    let amount = |cell: Option<crate::money::Money>| said(cell.map(|m| m.to_string()));
    let filled = |cell: Option<crate::money::Money>| match cell {
        Some(_) => "filled in".to_owned(),
        None => "empty".to_owned(),
    };
    let word = |cell: &dyn std::fmt::Debug| format!("`{cell:?}`").to_lowercase();
    // A limit without a mode is of the usual one; the base row need not name it.
    let mode = row.tier_mode.unwrap_or_default();
    let other_mode = match (other.tier_mode, other.tier_above) {
        (Some(mode), _) => mode,
        (None, Some(_)) => super::TierMode::default(),
        (None, None) => mode,
    };
    let rates = (row.rates.reasoning, other.rates.reasoning);
    [
        (
            "tier_mode",
            mode != other_mode,
            word(&mode),
            word(&other_mode),
        ),
        (
            "reasoning_mode",
            row.reasoning_mode != other.reasoning_mode,
            word(&row.reasoning_mode),
            word(&other.reasoning_mode),
        ),
        // Whether reasoning is priced apart decides what counts as output.
        (
            "reasoning",
            rates.0.is_some() != rates.1.is_some(),
            filled(rates.0),
            filled(rates.1),
        ),
        (
            "per_request",
            row.per_request != other.per_request,
            amount(row.per_request),
            amount(other.per_request),
        ),
        (
            "markup_pct",
            row.markup_pct != other.markup_pct,
            amount(row.markup_pct),
            amount(other.markup_pct),
        ),
        (
            "round_stage",
            row.rounding != other.rounding,
            "the rounding is one".to_owned(),
            "another".to_owned(),
        ),
    ]
    .into_iter()
    .find_map(|(name, differs, text, other)| differs.then_some((name, text, other)))
}

/// Whether a day of `row` has no row for every prompt.
fn no_base(row: &PriceRow, group: &[&PriceRow]) -> Option<CellError> {
    let mut day = row.effective_from.unwrap_or(Date::MIN);
    loop {
        let base = group
            .iter()
            .find(|other| other.tier_above.is_none() && other.holds_on(day));
        let Some(base) = base else {
            let when = if day == Date::MIN {
                "for its first days".to_owned()
            } else {
                format!("on {day}")
            };
            let model = row.model.clone();
            return Some(("tier_above", Fault::NoBase { model, when }));
        };
        match (base.effective_to, row.effective_to) {
            (None, _) => return None,
            (Some(end), Some(last)) if end >= last => return None,
            (Some(end), _) => day = end,
        }
    }
}
