//! One row of the CSV file: text in each cell, to a validated row.
//!
//! Every cell is read even after one of them is wrong, so that all faults of a row are told at once.

use jiff::civil::Date;
use serde::Deserialize;

use super::error::Fault;
use super::{Match, PriceRow, Rates, ReasoningMode, Rounding, Stage, TierMode};
use crate::money::{Currency, CurrencyError, Money, MoneyError, PLACES, RoundMode};

/// A row as it stands in the file; a column that is not there reads as an empty cell.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRow<'a> {
    model: &'a str,
    r#match: &'a str,
    provider: &'a str,
    currency: &'a str,
    per_tokens: &'a str,
    input: &'a str,
    output: &'a str,
    cache_read: &'a str,
    cache_write_5m: &'a str,
    cache_write_1h: &'a str,
    reasoning: &'a str,
    reasoning_mode: &'a str,
    per_request: &'a str,
    tier_above: &'a str,
    tier_mode: &'a str,
    service_tier: &'a str,
    markup_pct: &'a str,
    round_scale: &'a str,
    round_mode: &'a str,
    round_stage: &'a str,
    effective_from: &'a str,
    effective_to: &'a str,
    source: &'a str,
    checked_at: &'a str,
}

/// A cell's fault and the name of its column.
pub(super) type CellError = (&'static str, Fault);

/// The faults of a row's cells so far.
#[derive(Default)]
struct Faults(Vec<CellError>);

impl Faults {
    /// What was read, or a stand-in that is never seen: a row with a fault is no row.
    fn take<T: Default>(&mut self, read: Result<T, CellError>) -> T {
        read.unwrap_or_else(|fault| {
            self.0.push(fault);
            T::default()
        })
    }
}

/// The row that stands on `line`, or all that is wrong with its cells.
pub(super) fn row(raw: &RawRow<'_>, line: u64) -> Result<PriceRow, Vec<CellError>> {
    let mut faults = Faults::default();
    let model = faults.take(required("model", raw.model, "write the model's name"));
    let matching = faults.take(matching(raw.r#match));
    let currency = faults.take(currency(raw.currency));
    let per_tokens_power = faults.take(per_tokens(raw.per_tokens));
    let markup_pct = faults.take(markup(raw.markup_pct));
    // The percentage of any multiple of a price with few enough places is exact.
    let spare_places = markup_pct.map_or(0, |pct| pct.places() + 2);
    let mut rate =
        |name, text, power: u32| faults.take(self::price(name, text, power, spare_places));
    let rates = Rates {
        input: rate("input", raw.input, per_tokens_power),
        cache_read: rate("cache_read", raw.cache_read, per_tokens_power),
        cache_write_5m: rate("cache_write_5m", raw.cache_write_5m, per_tokens_power),
        cache_write_1h: rate("cache_write_1h", raw.cache_write_1h, per_tokens_power),
        output: rate("output", raw.output, per_tokens_power),
        reasoning: rate("reasoning", raw.reasoning, per_tokens_power),
    };
    let per_request = rate("per_request", raw.per_request, 0);
    let reasoning_mode = faults.take(reasoning_mode(raw.reasoning_mode));
    let tier_above = faults.take(tier_above(raw.tier_above));
    let tier_mode = faults.take(tier_mode(raw.tier_mode));
    let rounding = faults.take(rounding(raw));
    let effective_from = faults.take(date("effective_from", raw.effective_from));
    let effective_to = faults.take(date("effective_to", raw.effective_to));
    faults.take(period(effective_from, effective_to));
    let checked_at = faults.take(date("checked_at", raw.checked_at));
    if !faults.0.is_empty() {
        return Err(faults.0);
    }
    Ok(PriceRow {
        line,
        model: model.to_owned(),
        matching,
        provider: text(raw.provider),
        currency,
        per_tokens_power,
        rates,
        reasoning_mode,
        per_request,
        tier_above,
        tier_mode,
        service_tier: text(raw.service_tier).filter(|name| !super::is_standard(name)),
        markup_pct,
        rounding,
        effective_from,
        effective_to,
        source: text(raw.source),
        checked_at,
    })
}

fn matching(text: &str) -> Result<Match, CellError> {
    match text {
        "" | "exact" => Ok(Match::Exact),
        "prefix" => Ok(Match::Prefix),
        other => Err(word("match", other, &["exact", "prefix"])),
    }
}

fn currency(text: &str) -> Result<Currency, CellError> {
    required("currency", text, "write three letters, as in `USD`")?
        .parse()
        .map_err(|e: CurrencyError| ("currency", e.into()))
}

/// The power of ten that `text` is.
fn per_tokens(text: &str) -> Result<u32, CellError> {
    let name = "per_tokens";
    let fix = "write how many tokens the prices are for, as in `1000000`";
    let text = required(name, text, fix)?;
    (0..=12)
        .find(|&power| 10_u64.pow(power).to_string() == text)
        .ok_or_else(|| (name, Fault::PerTokens(text.to_owned())))
}

fn reasoning_mode(text: &str) -> Result<ReasoningMode, CellError> {
    match text {
        "" | "subset" => Ok(ReasoningMode::Subset),
        "additive" => Ok(ReasoningMode::Additive),
        other => Err(word("reasoning_mode", other, &["subset", "additive"])),
    }
}

fn tier_above(text: &str) -> Result<Option<u64>, CellError> {
    if text.is_empty() {
        return Ok(None);
    }
    // The parser takes `+1` and `01` too.
    text.parse::<u64>()
        .ok()
        .filter(|&limit| limit > 0 && limit.to_string() == text)
        .map(Some)
        .ok_or_else(|| ("tier_above", Fault::TierAbove(text.to_owned())))
}

fn tier_mode(text: &str) -> Result<Option<TierMode>, CellError> {
    match text {
        "" => Ok(None),
        "whole" => Ok(Some(TierMode::Whole)),
        "graduated" => Ok(Some(TierMode::Graduated)),
        other => Err(word("tier_mode", other, &["whole", "graduated"])),
    }
}

fn rounding(raw: &RawRow<'_>) -> Result<Option<Rounding>, CellError> {
    let stage = match raw.round_stage {
        "component" => Stage::Component,
        "request" => Stage::Request,
        "total" => Stage::Total,
        "" | "none" => {
            for (name, text) in [
                ("round_scale", raw.round_scale),
                ("round_mode", raw.round_mode),
            ] {
                if !text.is_empty() {
                    let fix = "a rounding needs a stage; write round_stage `request`, or leave this empty";
                    return Err((name, Fault::HalfRounding(fix)));
                }
            }
            return Ok(None);
        }
        other => {
            let valid = &["none", "component", "request", "total"];
            return Err(word("round_stage", other, valid));
        }
    };
    let scale = required(
        "round_scale",
        raw.round_scale,
        "write how many decimal places are kept",
    )?;
    let scale = scale
        .parse::<u32>()
        .ok()
        .filter(|&s| s <= PLACES)
        .ok_or_else(|| ("round_scale", Fault::Scale(scale.to_owned())))?;
    let fix = "write half_up, half_even, up or down";
    let mode = match required("round_mode", raw.round_mode, fix)? {
        "half_up" => RoundMode::HalfUp,
        "half_even" => RoundMode::HalfEven,
        "up" => RoundMode::Up,
        "down" => RoundMode::Down,
        other => {
            let valid = &["half_up", "half_even", "up", "down"];
            return Err(word("round_mode", other, valid));
        }
    };
    Ok(Some(Rounding { scale, mode, stage }))
}

/// A price for 10^`power` tokens as the price of one, with `spare` of the 28 places left over.
fn price(
    name: &'static str,
    text: &str,
    power: u32,
    spare: u32,
) -> Result<Option<Money>, CellError> {
    if text.is_empty() {
        return Ok(None);
    }
    let amount: Money = text.parse().map_err(|e: MoneyError| (name, e.into()))?;
    if amount.is_negative() {
        return Err((name, Fault::Negative(text.to_owned())));
    }
    amount
        .checked_shift(power)
        .ok()
        .filter(|one| one.places() + spare <= PLACES)
        .map(Some)
        .ok_or_else(|| (name, Fault::TooFine(text.to_owned())))
}

fn markup(text: &str) -> Result<Option<Money>, CellError> {
    let name = "markup_pct";
    if text.is_empty() {
        return Ok(None);
    }
    let percent: Money = text.parse().map_err(|e: MoneyError| (name, e.into()))?;
    let everything = const { Money::new(-100, 0).expect("in range") };
    if percent < everything {
        return Err((name, Fault::Discount(text.to_owned())));
    }
    Ok(Some(percent))
}

fn period(from: Option<Date>, to: Option<Date>) -> Result<(), CellError> {
    match (from, to) {
        (Some(from), Some(to)) if from >= to => Err(("effective_to", Fault::Period { from, to })),
        _ => Ok(()),
    }
}

fn date(name: &'static str, text: &str) -> Result<Option<Date>, CellError> {
    if text.is_empty() {
        return Ok(None);
    }
    // The parser takes times behind the date and dates without hyphens too.
    let written = |date: &Date| date.to_string() == text;
    match text.parse::<Date>().ok().filter(written) {
        Some(date) => Ok(Some(date)),
        None => Err((name, Fault::Date(text.to_owned()))),
    }
}

fn required<'a>(
    name: &'static str,
    text: &'a str,
    fix: &'static str,
) -> Result<&'a str, CellError> {
    if text.is_empty() {
        Err((name, Fault::Empty(fix)))
    } else {
        Ok(text)
    }
}

fn word(name: &'static str, text: &str, valid: &'static [&'static str]) -> CellError {
    let text = text.to_owned();
    (name, Fault::Word { text, valid })
}

fn text(cell: &str) -> Option<String> {
    (!cell.is_empty()).then(|| cell.to_owned())
}
