//! The CSV file of a price table: its columns, reading and refusing.
//!
//! A row is read as text and validated cell by cell, so that an error can name the line, the
//! column and the text.

use csv::StringRecord;
use jiff::civil::Date;
use serde::Deserialize;

use super::{Match, PriceRow, Rates, Rounding};
use crate::money::{Currency, CurrencyError, Money, MoneyError, PLACES, RoundMode};
use crate::suggest;

/// Every column, in the order in which the documentation lists them.
pub const COLUMNS: [&str; 24] = [
    "model",
    "match",
    "provider",
    "currency",
    "per_tokens",
    "input",
    "output",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "reasoning",
    "reasoning_mode",
    "per_request",
    "tier_above",
    "tier_mode",
    "service_tier",
    "markup_pct",
    "round_scale",
    "round_mode",
    "round_stage",
    "effective_from",
    "effective_to",
    "source",
    "checked_at",
];

/// The columns that a table cannot do without.
pub const REQUIRED: [&str; 5] = ["model", "currency", "per_tokens", "input", "output"];

/// What is wrong with a price table, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {problem}")]
pub struct PriceError {
    /// The table's name.
    pub file: String,
    /// Line, from 1.
    pub line: u64,
    /// Position of the field in its line, from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong in one place of a price table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A heading that is no column.
    #[error("unknown column `{name}`; {}", hint(*nearest))]
    UnknownColumn {
        /// The heading.
        name: String,
        /// The column that is spelt most like it.
        nearest: Option<&'static str>,
    },
    /// A heading that stands twice.
    #[error("column `{0}` stands twice; keep one")]
    DuplicateColumn(String),
    /// A required column that is not there.
    #[error("column `{0}` is missing; a table needs model, currency, per_tokens, input and output")]
    MissingColumn(&'static str),
    /// A row with more or fewer fields than the header.
    #[error("the row has {found} fields and the header {expected}; quote fields that hold a comma")]
    FieldCount {
        /// Columns of the header.
        expected: u64,
        /// Fields of the row.
        found: u64,
    },
    /// Bytes that are no text.
    #[error("not UTF-8; save the file as UTF-8")]
    NotUtf8,
    /// A header and nothing else, or not even that.
    #[error("the table has no prices; write one row for each model")]
    NoRows,
    /// A cell that cannot be understood.
    #[error("column `{name}`: {fault}")]
    Cell {
        /// Name of the column.
        name: &'static str,
        /// What is wrong with the cell.
        fault: Fault,
    },
}

/// What is wrong with one cell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A value that a row cannot do without.
    #[error("empty; {0}")]
    Empty(&'static str),
    /// Not an amount.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// A price below nothing.
    #[error("`{0}` is negative; a price is 0 (free) or more, and empty where it is unknown")]
    Negative(String),
    /// A markup that would turn prices around.
    #[error("`{0}` is below -100; a discount takes off at most everything")]
    Discount(String),
    /// Finer than an amount can be, once divided.
    #[error("`{0}` is finer than 28 decimal places for one token; write fewer digits")]
    TooFine(String),
    /// Not a currency.
    #[error(transparent)]
    Currency(#[from] CurrencyError),
    /// Another currency than the rows before.
    #[error(
        "`{text}` differs from {first} on line {first_line}; write one table for each currency"
    )]
    MixedCurrencies {
        /// This row's.
        text: Currency,
        /// The first row's.
        first: Currency,
        /// Line of the first row.
        first_line: u64,
    },
    /// A number of tokens by which division would not be exact.
    #[error("`{0}` is not a power of ten up to 1000000000000; write 1, 1000 or 1000000")]
    PerTokens(String),
    /// Not a date.
    #[error("`{0}` is not a date; write YYYY-MM-DD")]
    Date(String),
    /// A period without a day in it.
    #[error("`{to}` is not after effective_from `{from}`; the row holds until the day before")]
    Period {
        /// First day.
        from: Date,
        /// First day after.
        to: Date,
    },
    /// A word that is none of the known ones.
    #[error("`{text}` is none of {}", valid.join(", "))]
    Word {
        /// The cell.
        text: String,
        /// The known words.
        valid: &'static [&'static str],
    },
    /// Not a number of decimal places.
    #[error("`{0}` is not a number of decimal places from 0 to 28")]
    Scale(String),
    /// A rounding that is only half declared.
    #[error("{0}")]
    HalfRounding(&'static str),
    /// A price that prediction cannot use yet.
    #[error(
        "`{0}` is not supported yet, and ignoring it would predict a wrong bill; leave it empty"
    )]
    Unsupported(String),
    /// Two rows for the same request.
    #[error(
        "`{model}` is priced on line {other} too for the same days; end one with effective_to before the other begins"
    )]
    Overlap {
        /// The model of both.
        model: String,
        /// Line of the other row.
        other: u64,
    },
}

fn hint(nearest: Option<&'static str>) -> String {
    match nearest {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("the columns are {}", COLUMNS.join(", ")),
    }
}

/// A row as it stands in the file; a column that is not there reads as an empty cell.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RawRow<'a> {
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
type CellError = (&'static str, Fault);

/// The rows of the CSV text `bytes`, at least one; `file` is what errors call it.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Vec<PriceRow>, PriceError> {
    let error = |line, column, problem| PriceError {
        file: file.to_owned(),
        line,
        column,
        problem,
    };
    let csv_error = |e: &csv::Error| match e.kind() {
        csv::ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => {
            let first_off = (*expected_len).min(*len) + 1;
            error(
                line_of(bytes, pos.as_ref()),
                usize::try_from(first_off).unwrap_or(usize::MAX),
                Problem::FieldCount {
                    expected: *expected_len,
                    found: *len,
                },
            )
        }
        csv::ErrorKind::Utf8 { pos, err } => error(
            line_of(bytes, pos.as_ref()),
            err.field() + 1,
            Problem::NotUtf8,
        ),
        other => unreachable!("reading borrowed text from memory fails with {other:?}"),
    };

    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let headers = reader.headers().map_err(|e| csv_error(&e))?.clone();
    let header_line = line_of(bytes, headers.position());
    if headers.is_empty() {
        return Err(error(1, 1, Problem::NoRows));
    }
    check_headers(&headers).map_err(|(column, problem)| error(header_line, column, problem))?;
    let column_of = |name: &str| {
        let at = headers.iter().position(|h| h == name);
        at.unwrap_or(headers.len()) + 1
    };

    let mut rows: Vec<PriceRow> = Vec::new();
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| csv_error(&e))? {
        let line = line_of(bytes, record.position());
        let in_cell =
            |(name, fault): CellError| error(line, column_of(name), Problem::Cell { name, fault });
        let raw: RawRow<'_> = record
            .deserialize(Some(&headers))
            .expect("every column is text");
        let row = parse_row(&raw, line).map_err(in_cell)?;
        check_beside(&row, &rows).map_err(in_cell)?;
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(error(header_line + 1, 1, Problem::NoRows));
    }
    Ok(rows)
}

/// The line at which a record begins. The reader's own position is before the blank lines that it
/// skips.
fn line_of(bytes: &[u8], position: Option<&csv::Position>) -> u64 {
    let Some(position) = position else { return 1 };
    let start = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let skipped = bytes
        .get(start..)
        .unwrap_or_default()
        .iter()
        .take_while(|b| matches!(b, b'\r' | b'\n'))
        .filter(|&&b| b == b'\n')
        .count();
    position.line() + u64::try_from(skipped).unwrap_or(0)
}

fn check_headers(headers: &StringRecord) -> Result<(), (usize, Problem)> {
    for (i, name) in headers.iter().enumerate() {
        if !COLUMNS.contains(&name) {
            let problem = Problem::UnknownColumn {
                name: name.to_owned(),
                nearest: suggest::nearest(name, COLUMNS)
                    .and_then(|n| COLUMNS.into_iter().find(|c| *c == n)),
            };
            return Err((i + 1, problem));
        }
        if headers.iter().take(i).any(|earlier| earlier == name) {
            return Err((i + 1, Problem::DuplicateColumn(name.to_owned())));
        }
    }
    for name in REQUIRED {
        if !headers.iter().any(|h| h == name) {
            return Err((headers.len() + 1, Problem::MissingColumn(name)));
        }
    }
    Ok(())
}

/// What a row may not be beside the rows before it.
fn check_beside(row: &PriceRow, earlier: &[PriceRow]) -> Result<(), CellError> {
    if let Some(first) = earlier.first()
        && first.currency != row.currency
    {
        let fault = Fault::MixedCurrencies {
            text: row.currency,
            first: first.currency,
            first_line: first.line,
        };
        return Err(("currency", fault));
    }
    let begins_before_end = |a: &PriceRow, b: &PriceRow| match (a.effective_from, b.effective_to) {
        (Some(from), Some(to)) => from < to,
        _ => true,
    };
    let overlapping = earlier.iter().find(|other| {
        other.model == row.model
            && other.matching == row.matching
            && begins_before_end(row, other)
            && begins_before_end(other, row)
    });
    match overlapping {
        None => Ok(()),
        Some(other) => Err((
            "model",
            Fault::Overlap {
                model: row.model.clone(),
                other: other.line,
            },
        )),
    }
}

fn parse_row(raw: &RawRow<'_>, line: u64) -> Result<PriceRow, CellError> {
    refuse_unsupported(raw)?;
    let model = required("model", raw.model, "write the model's name")?;
    let currency = required("currency", raw.currency, "write three letters, as in `USD`")?;
    let per_tokens = required(
        "per_tokens",
        raw.per_tokens,
        "write how many tokens the prices are for, as in `1000000`",
    )?;
    let matching = match raw.r#match {
        "" | "exact" => Match::Exact,
        "prefix" => Match::Prefix,
        other => return Err(word("match", other, &["exact", "prefix"])),
    };
    let per_tokens_power = (0..=12)
        .find(|&power| 10_u64.pow(power).to_string() == per_tokens)
        .ok_or_else(|| ("per_tokens", Fault::PerTokens(per_tokens.to_owned())))?;
    let markup_pct = markup(raw.markup_pct)?;
    // The percentage of any multiple of a price with few enough places is exact.
    let spare_places = markup_pct.map_or(0, |pct| pct.places() + 2);
    let price = |name, text| price(name, text, 0, spare_places);
    let rate = |name, text| self::price(name, text, per_tokens_power, spare_places);
    let (effective_from, effective_to) = period(raw.effective_from, raw.effective_to)?;
    Ok(PriceRow {
        line,
        model: model.to_owned(),
        matching,
        provider: text(raw.provider),
        currency: currency
            .parse()
            .map_err(|e: CurrencyError| ("currency", e.into()))?,
        per_tokens_power,
        rates: Rates {
            input: rate("input", raw.input)?,
            cache_read: rate("cache_read", raw.cache_read)?,
            cache_write_5m: rate("cache_write_5m", raw.cache_write_5m)?,
            cache_write_1h: rate("cache_write_1h", raw.cache_write_1h)?,
            output: rate("output", raw.output)?,
            reasoning: rate("reasoning", raw.reasoning)?,
        },
        per_request: price("per_request", raw.per_request)?,
        markup_pct,
        rounding: rounding(raw)?,
        effective_from,
        effective_to,
        source: text(raw.source),
        checked_at: date("checked_at", raw.checked_at)?,
    })
}

/// Columns that are known and that prediction does not use yet.
fn refuse_unsupported(raw: &RawRow<'_>) -> Result<(), CellError> {
    for (name, text) in [
        ("tier_above", raw.tier_above),
        ("tier_mode", raw.tier_mode),
        ("service_tier", raw.service_tier),
    ] {
        if !text.is_empty() {
            return Err((name, Fault::Unsupported(text.to_owned())));
        }
    }
    match raw.reasoning_mode {
        "" | "subset" => Ok(()),
        "additive" => Err(("reasoning_mode", Fault::Unsupported("additive".to_owned()))),
        other => Err(word("reasoning_mode", other, &["subset", "additive"])),
    }
}

fn rounding(raw: &RawRow<'_>) -> Result<Option<Rounding>, CellError> {
    match raw.round_stage {
        "request" => {}
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
        later @ ("component" | "total") => {
            return Err(("round_stage", Fault::Unsupported(later.to_owned())));
        }
        other => {
            let valid = &["none", "component", "request", "total"];
            return Err(word("round_stage", other, valid));
        }
    }
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
    let mode = match required(
        "round_mode",
        raw.round_mode,
        "write half_up, half_even, up or down",
    )? {
        "half_up" => RoundMode::HalfUp,
        "half_even" => RoundMode::HalfEven,
        "up" => RoundMode::Up,
        "down" => RoundMode::Down,
        other => {
            let valid = &["half_up", "half_even", "up", "down"];
            return Err(word("round_mode", other, valid));
        }
    };
    Ok(Some(Rounding { scale, mode }))
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

fn period(from: &str, to: &str) -> Result<(Option<Date>, Option<Date>), CellError> {
    let period = (date("effective_from", from)?, date("effective_to", to)?);
    match period {
        (Some(from), Some(to)) if from >= to => Err(("effective_to", Fault::Period { from, to })),
        _ => Ok(period),
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

#[cfg(test)]
mod tests {
    use super::super::PriceTable;
    use proptest::prelude::*;

    const HEAD: &str = "model,currency,per_tokens,input,output";

    fn table(csv: &str) -> PriceTable {
        PriceTable::read("t.csv", csv).expect(csv)
    }

    #[test]
    fn a_byte_order_mark_crlf_spaces_and_blank_lines_do_no_harm() {
        let table = table(&format!(
            "\u{feff}{HEAD}\r\n\r\n m , usd ,1000000, 0.50 ,\r\n"
        ));
        let row = &table.rows()[0];
        assert_eq!((row.line, row.model.as_str()), (3, "m"));
        assert_eq!(row.rates.input, Some("0.0000005".parse().expect("money")));
        assert_eq!(row.rates.output, None);
    }

    /// The error of reading `csv` contains `expected`.
    fn refused(csv: &str, expected: &str) {
        let error = PriceTable::read("t.csv", csv).expect_err(csv).to_string();
        assert!(error.contains(expected), "{csv}\n{error}\n{expected}");
    }

    #[test]
    fn a_file_that_is_no_table_is_refused_at_its_place() {
        refused("", "t.csv:1:1: the table has no prices");
        for (columns, rows, expected) in [
            (HEAD, "", "t.csv:2:1: the table has no prices"),
            (
                "model,currency,per_tokens,input",
                "",
                "t.csv:1:5: column `output` is missing",
            ),
            (
                "model,outptu",
                "",
                "t.csv:1:2: unknown column `outptu`; did you mean `output`?",
            ),
            (
                "model,colour_of_the_sky",
                "",
                "unknown column `colour_of_the_sky`; the columns are model, match",
            ),
            (
                "model,input,model",
                "",
                "t.csv:1:3: column `model` stands twice",
            ),
            (
                HEAD,
                "m,USD,1,2",
                "t.csv:2:5: the row has 4 fields and the header 5",
            ),
            (HEAD, "\nm,USD,1,2,3,4", "t.csv:3:6: the row has 6 fields"),
            (
                HEAD,
                "m,USD,1,2,3\nn,EUR,1,2,3",
                "t.csv:3:2: column `currency`: `EUR` differs from USD on line 2",
            ),
            (
                HEAD,
                "m,USD,1,2,3\nn,USD,1,2,3\nm,USD,1,2,4",
                "t.csv:4:1: column `model`: `m` is priced on line 2 too",
            ),
        ] {
            refused(&format!("{columns}\n{rows}\n"), expected);
        }
        let latin1 = [HEAD.as_bytes(), b"\nm\xe9,USD,1,2,3\n"].concat();
        let error = PriceTable::read("t.csv", latin1).expect_err("no text");
        assert!(
            error.to_string().starts_with("t.csv:2:1: not UTF-8"),
            "{error}"
        );
    }

    #[test]
    fn a_required_cell_that_is_wrong_is_refused_with_its_text_and_the_fix() {
        for (row, expected) in [
            (",USD,1,2,3", "t.csv:2:1: column `model`: empty"),
            ("m,,1,2,3", "t.csv:2:2: column `currency`: empty"),
            (
                "m,dollars,1,2,3",
                "t.csv:2:2: column `currency`: `dollars` is not a currency",
            ),
            ("m,USD,,2,3", "t.csv:2:3: column `per_tokens`: empty"),
            (
                "m,USD,1024,2,3",
                "t.csv:2:3: column `per_tokens`: `1024` is not a power of ten",
            ),
            (
                "m,USD,1,-2,3",
                "t.csv:2:4: column `input`: `-2` is negative",
            ),
            (
                "m,USD,1,2,3$",
                "t.csv:2:5: column `output`: `3$` is not a decimal number",
            ),
            ("m,USD,1,2,1e99", "`1e99` is beyond ten billion"),
            (
                "m,USD,1000,2,1e-27",
                "t.csv:2:5: column `output`: `1e-27` is finer",
            ),
        ] {
            refused(&format!("{HEAD}\n{row}\n"), expected);
        }
    }

    #[test]
    fn an_optional_cell_that_is_wrong_is_refused_with_its_text_and_the_fix() {
        const ROUND: &str = "round_stage,round_scale,round_mode";
        for (columns, cells, expected) in [
            (
                "match",
                "regex",
                "t.csv:2:6: column `match`: `regex` is none of exact, prefix",
            ),
            (
                "effective_from",
                "05.07.2026",
                "t.csv:2:6: column `effective_from`: `05.07.2026` is not a date; write YYYY-MM-DD",
            ),
            ("effective_from", "2026-07-05T00:00:00", "is not a date"),
            (
                "checked_at",
                "2026-02-30",
                "column `checked_at`: `2026-02-30` is not a date",
            ),
            (
                "effective_from,effective_to",
                "2026-07-05,2026-07-05",
                "t.csv:2:7: column `effective_to`: `2026-07-05` is not after",
            ),
            (
                "tier_above",
                "200000",
                "t.csv:2:6: column `tier_above`: `200000` is not supported yet",
            ),
            ("tier_mode", "whole", "`whole` is not supported yet"),
            ("service_tier", "batch", "`batch` is not supported yet"),
            (
                "reasoning_mode",
                "additive",
                "`additive` is not supported yet",
            ),
            (
                "reasoning_mode",
                "double",
                "`double` is none of subset, additive",
            ),
            ("round_stage", "total", "`total` is not supported yet"),
            (
                "round_stage",
                "component",
                "`component` is not supported yet",
            ),
            (
                "round_stage",
                "always",
                "`always` is none of none, component, request, total",
            ),
            ("round_stage", "request", "column `round_scale`: empty"),
            (
                "round_stage,round_scale",
                "request,4",
                "column `round_mode`: empty",
            ),
            (
                ROUND,
                "request,29,up",
                "t.csv:2:7: column `round_scale`: `29`",
            ),
            (ROUND, "request,4,nearest", "`nearest` is none of half_up"),
            (
                "round_scale",
                "4",
                "column `round_scale`: a rounding needs a stage",
            ),
            (
                "markup_pct",
                "-101",
                "column `markup_pct`: `-101` is below -100",
            ),
            (
                "markup_pct,per_request",
                "0.5,1e-26",
                "t.csv:2:7: column `per_request`: `1e-26` is finer",
            ),
        ] {
            refused(
                &format!("{HEAD},{columns}\nm,USD,1000,1,2,{cells}\n"),
                expected,
            );
        }
    }

    #[test]
    fn rows_that_share_no_day_or_no_kind_of_match_do_not_overlap() {
        let head = "model,match,currency,per_tokens,input,output,effective_from,effective_to";
        for rows in [
            "m,,USD,1,1,1,,2026-01-01\nm,,USD,1,1,1,2026-01-01,",
            "m,,USD,1,1,1,2026-01-01,\nm,,USD,1,1,1,,2026-01-01",
            "m,,USD,1,1,1,,\nm,prefix,USD,1,1,1,,",
        ] {
            table(&format!("{head}\n{rows}\n"));
        }
        for rows in [
            "m,,USD,1,1,1,,2026-01-02\nm,,USD,1,1,1,2026-01-01,",
            "m,,USD,1,1,1,2025-01-01,2027-01-01\nm,,USD,1,1,1,2026-01-01,2026-02-01",
            "m,prefix,USD,1,1,1,,\nm,prefix,USD,1,1,1,,",
        ] {
            let error = PriceTable::read("t.csv", format!("{head}\n{rows}\n")).expect_err(rows);
            assert!(error.to_string().contains("line 2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
            cells in r#"[-a-zA-Z0-9,."\n\r ]{0,80}"#,
        ) {
            let _ = PriceTable::read("t.csv", bytes.clone());
            let _ = PriceTable::read("t.csv", [HEAD.as_bytes(), b"\n", &bytes].concat());
            let _ = PriceTable::read("t.csv", format!("{HEAD},match,round_scale,effective_from\nm,USD,{cells}"));
        }
    }
}
