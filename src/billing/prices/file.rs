//! The CSV file of a price table: its columns, reading and refusing.
//!
//! A row is read as text and validated cell by cell ([`cells`]), then held against the others
//! ([`beside`]), so that an error can name the line, the column and the text. Reading goes on behind
//! an error: all of a file's are found at once.

use csv::StringRecord;

use super::PriceRow;
use super::beside;
use super::cells::{self, CellError, RawRow};
use super::error::{PriceError, Problem};
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

/// The rows of the CSV text `bytes`, at least one; or everything that is wrong with them, at least one
/// thing, in the order of the file. `file` is what errors call it.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Vec<PriceRow>, Vec<PriceError>> {
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
    let headers = reader.headers().map_err(|e| vec![csv_error(&e)])?.clone();
    let header_line = line_of(bytes, headers.position());
    if headers.is_empty() {
        return Err(vec![error(1, 1, Problem::NoRows)]);
    }
    let of_header: Vec<PriceError> = check_headers(&headers)
        .into_iter()
        .map(|(column, problem)| error(header_line, column, problem))
        .collect();
    if !of_header.is_empty() {
        return Err(of_header);
    }
    let in_cell = |line, (name, fault): CellError| {
        let at = headers.iter().position(|h| h == name);
        let column = at.unwrap_or(headers.len()) + 1;
        error(line, column, Problem::Cell { name, fault })
    };

    let mut rows: Vec<PriceRow> = Vec::new();
    let mut errors: Vec<PriceError> = Vec::new();
    let mut record = StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => break,
            Err(e) => errors.push(csv_error(&e)),
            Ok(true) => {
                let line = line_of(bytes, record.position());
                let raw: RawRow<'_> = record
                    .deserialize(Some(&headers))
                    .expect("every column is text");
                match cells::row(&raw, line) {
                    Ok(row) => rows.push(row),
                    Err(faults) => errors.extend(faults.into_iter().map(|f| in_cell(line, f))),
                }
            }
        }
    }
    if rows.is_empty() && errors.is_empty() {
        return Err(vec![error(header_line + 1, 1, Problem::NoRows)]);
    }
    // Of rows that are wrong nobody knows what they would be beside the others.
    let whole = errors.is_empty();
    let faults = beside::faults(&rows, whole).into_iter();
    errors.extend(faults.map(|(line, fault)| in_cell(line, fault)));
    if errors.is_empty() {
        return Ok(rows);
    }
    errors.sort_by_key(|e| (e.line, e.column));
    Err(errors)
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

/// What is wrong with the headings, each with its position from 1.
fn check_headers(headers: &StringRecord) -> Vec<(usize, Problem)> {
    let mut problems = Vec::new();
    for (i, name) in headers.iter().enumerate() {
        if !COLUMNS.contains(&name) {
            let problem = Problem::UnknownColumn {
                name: name.to_owned(),
                nearest: suggest::nearest(name, COLUMNS)
                    .and_then(|n| COLUMNS.into_iter().find(|c| *c == n)),
            };
            problems.push((i + 1, problem));
        } else if headers.iter().take(i).any(|earlier| earlier == name) {
            problems.push((i + 1, Problem::DuplicateColumn(name.to_owned())));
        }
    }
    for name in REQUIRED {
        if !headers.iter().any(|h| h == name) {
            problems.push((headers.len() + 1, Problem::MissingColumn(name)));
        }
    }
    problems
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
                "0",
                "t.csv:2:6: column `tier_above`: `0` is not a number of tokens from 1",
            ),
            ("tier_above", "+5", "`+5` is not a number of tokens"),
            (
                "tier_above",
                "200000",
                "t.csv:2:6: column `tier_above`: `m` has no row with an empty tier_above for its first days",
            ),
            ("tier_mode", "half", "`half` is none of whole, graduated"),
            (
                "reasoning_mode",
                "double",
                "`double` is none of subset, additive",
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

    #[test]
    fn every_fault_of_a_file_is_told_at_once_in_its_order() {
        let csv = format!(
            "{HEAD},service_tier,tier_above\n\
             m,dollars,7,-1,x,,\n\
             n,USD,1,1,1,,\n\
             n,EUR,1,1,1,,\n\
             n,USD,1\n\
             o,USD,1,1,1,flex,9\n"
        );
        let errors = PriceTable::read_all("t.csv", csv.clone()).expect_err(&csv);
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let begins = [
            "t.csv:2:2: column `currency`: `dollars`",
            "t.csv:2:3: column `per_tokens`: `7`",
            "t.csv:2:4: column `input`: `-1`",
            "t.csv:2:5: column `output`: `x`",
            "t.csv:4:1: column `model`: `n` is priced on line 3 too",
            "t.csv:4:2: column `currency`: `EUR` differs",
            "t.csv:5:4: the row has 3 fields",
        ];
        assert_eq!(told.len(), begins.len(), "{told:#?}");
        for (told, begin) in told.iter().zip(begins) {
            assert!(told.starts_with(begin), "{told}\n{begin}");
        }
        let first = PriceTable::read("t.csv", csv).expect_err("the same file");
        assert_eq!(first, errors[0]);
        let headings = PriceTable::read_all("t.csv", "modle,input,input\n").expect_err("headings");
        let told: Vec<String> = headings.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 6, "{told:#?}");
    }

    #[test]
    fn rows_for_different_sizes_of_prompt_belong_together_and_agree() {
        let head = format!(
            "{HEAD},tier_above,tier_mode,effective_from,effective_to,per_request,reasoning,\
             reasoning_mode,markup_pct,round_stage,round_scale,round_mode"
        );
        let base = "m,USD,1,1,1,,,,,,,,,,,";
        for (rows, expected) in [
            // The days of the base rows must cover those of the tier row, together.
            (
                "m,USD,1,1,1,,,2026-01-01,,,,,,,,\nm,USD,1,2,2,9,,,,,,,,,,",
                "t.csv:3:6: column `tier_above`: `m` has no row with an empty tier_above for its first days",
            ),
            (
                "m,USD,1,1,1,,,,2026-03-01,,,,,,,\nm,USD,1,2,2,9,,2026-01-01,,,,,,,,",
                "on 2026-03-01",
            ),
            (
                "m,USD,1,1,1,,,,2026-03-01,,,,,,,\nm,USD,1,1,1,,,2026-03-02,,,,,,,,\nm,USD,1,2,2,9,,2026-01-01,,,,,,,,",
                "on 2026-03-01",
            ),
            (
                &format!("{base}\nm,USD,1,2,2,9,,,,0.1,,,,,,"),
                "t.csv:3:10: column `per_request`: `0.1` here and empty on line 2",
            ),
            (
                &format!("{base}\nm,USD,1,2,2,9,,,,,3,,,,,"),
                "t.csv:3:11: column `reasoning`: filled in here and empty on line 2",
            ),
            (
                &format!("{base}\nm,USD,1,2,2,9,,,,,,additive,,,,"),
                "column `reasoning_mode`: `additive` here and `subset` on line 2",
            ),
            (
                &format!("{base}\nm,USD,1,2,2,9,,,,,,,5,,,"),
                "column `markup_pct`: `5` here and empty",
            ),
            (
                &format!("{base}\nm,USD,1,2,2,9,,,,,,,,request,4,up"),
                "column `round_stage`: the rounding is one here and another on line 2",
            ),
            (
                &format!("{base}\nm,USD,1,2,2,9,graduated,,,,,,,,,\nm,USD,1,3,3,10,,,,,,,,,,"),
                "t.csv:4:7: column `tier_mode`: `whole` here and `graduated` on line 3",
            ),
            (
                "m,USD,1,1,1,,graduated,,,,,,,,,\nm,USD,1,2,2,9,,,,,,,,,,",
                "column `tier_mode`: `whole` here and `graduated` on line 2",
            ),
            (
                &format!("{base}\nm,USD,1,2,2,9,,,,,,,,,,\nm,USD,1,2,2,9,,,,,,,,,,"),
                "t.csv:4:1: column `model`: `m` is priced on line 3 too",
            ),
        ] {
            refused(&format!("{head}\n{rows}\n"), expected);
        }
        for rows in [
            format!("{base}\nm,USD,1,2,2,9,graduated,,,,,,,,,\nm,USD,1,3,3,10,graduated,,,,,,,,,"),
            "m,USD,1,1,1,,,,2026-03-01,,,,,,,\nm,USD,1,1,1,,,2026-03-01,,,,,,,,\nm,USD,1,2,2,9,whole,2026-01-01,2027-01-01,,,,,,,".to_owned(),
            // What differs on days that are not shared is not together.
            "m,USD,1,1,1,,,,2026-03-01,0.1,,,,,,\nm,USD,1,1,1,,,2026-03-01,,,,,,,,\nm,USD,1,2,2,9,,2026-03-01,,,,,,,,".to_owned(),
        ] {
            table(&format!("{head}\n{rows}\n"));
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
