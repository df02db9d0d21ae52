//! Due times from a CSV file.
//!
//! In: the bytes of a file with the one column `due_s`. Out: a [`Replay`], or the first thing that
//! is wrong, with its line and column. It holds eight bytes for each row and nothing else.

use std::sync::Arc;

use crate::suggest;
use crate::time::Offset;

/// The one column: seconds from the begin of the load, as decimals.
pub const DUE_S: &str = "due_s";

/// Rows of a file, at most: 80 MB of due times.
pub const ROWS_MAX: usize = 10_000_000;

/// The latest due time, 104 days: up to here each nanosecond is a floating-point number of its own,
/// so that a change of speed rounds once.
const DUE_MAX_NS: u64 = 1 << 53;

/// How many digits `DUE_MAX_NS` has.
const DUE_MAX_DIGITS: i64 = 16;

/// Due times, from the begin of the load; not empty, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    due: Arc<[Offset]>,
    speed: f64,
}

/// What is wrong with a file of due times, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {fault}")]
pub struct ReplayError {
    /// The file's name.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Position of the field in its line, from 1.
    pub column: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong in one place of a file of due times.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A heading that is no column.
    #[error(
        "unknown column `{name}`{hint}; the one column is `due_s`, seconds from the begin of the load"
    )]
    UnknownColumn {
        /// The heading.
        name: String,
        /// The clause with the nearest name.
        hint: String,
    },
    /// No heading at all.
    #[error(
        "column `due_s` is missing; the first line is `due_s`, then comes one due time a line, in seconds"
    )]
    MissingColumn,
    /// A row with more fields than the header.
    #[error("the row has {0} fields and the header 1; write one due time a line")]
    FieldCount(usize),
    /// Bytes that are no text.
    #[error("not UTF-8; save the file as UTF-8")]
    NotUtf8,
    /// A header and nothing else.
    #[error("the file has no due time; write one a line, in seconds")]
    NoRows,
    /// Beyond [`ROWS_MAX`].
    #[error("the file has more than {ROWS_MAX} due times; cut it into several runs")]
    TooManyRows,
    /// A row without a time.
    #[error("column `due_s`: empty; write the due time in seconds, or remove the line")]
    Empty,
    /// Not a number of seconds.
    #[error("column `due_s`: `{0}` is not a number of seconds; write decimals such as 12.345")]
    NotATime(String),
    /// Before the begin.
    #[error(
        "column `due_s`: `{0}` is before the begin of the load; count from the first arrival, which is at 0"
    )]
    Negative(String),
    /// Too far from the begin: most likely a date.
    #[error(
        "column `due_s`: `{0}` is more than 104 days after the begin of the load; count from the first arrival, which is at 0, in seconds"
    )]
    TooLate(String),
    /// Earlier than the row before.
    #[error(
        "column `due_s`: `{text}` is earlier than `{before}` on the row before; sort the file by due time"
    )]
    Unsorted {
        /// This row's.
        text: String,
        /// The row before's.
        before: String,
    },
}

impl Replay {
    /// Reads `bytes`, of the file called `file` in errors.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self, ReplayError> {
        let at = |line: usize, column: usize, fault: Fault| ReplayError {
            file: file.to_owned(),
            line,
            column,
            fault,
        };
        let text = str::from_utf8(bytes).map_err(|error| {
            let valid = &bytes[..error.valid_up_to()];
            let line = memchr::memchr_iter(b'\n', valid).count() + 1;
            at(line, 1, Fault::NotUtf8)
        })?;
        // Blank lines are no rows.
        let mut rows = (1..)
            .zip(text.trim_start_matches('\u{feff}').lines())
            .filter(|(_, line)| !line.trim().is_empty());
        let (line, headings) = rows.next().ok_or_else(|| at(1, 1, Fault::MissingColumn))?;
        for (n, cell) in headings.split(',').enumerate() {
            let name = unquoted(cell);
            if n > 0 || name != DUE_S {
                let fault = Fault::UnknownColumn {
                    name: name.to_owned(),
                    hint: suggest::clause(name, [DUE_S]),
                };
                return Err(at(line, n + 1, fault));
            }
        }
        let mut due: Vec<Offset> = Vec::new();
        let mut before = "";
        for (line, row) in rows {
            if row.contains(',') {
                let fields = row.split(',').count();
                return Err(at(line, 2, Fault::FieldCount(fields)));
            }
            if due.len() == ROWS_MAX {
                return Err(at(line, 1, Fault::TooManyRows));
            }
            let text = unquoted(row);
            let nanos = nanos(text).map_err(|fault| at(line, 1, fault))?;
            let time = Offset::from_nanos(nanos);
            if due.last().is_some_and(|last| time < *last) {
                let fault = Fault::Unsorted {
                    text: text.to_owned(),
                    before: before.to_owned(),
                };
                return Err(at(line, 1, fault));
            }
            due.push(time);
            before = text;
        }
        if due.is_empty() {
            return Err(at(line + 1, 1, Fault::NoRows));
        }
        Ok(Self {
            due: due.into(),
            speed: 1.0,
        })
    }

    /// The same arrivals so many times as fast: each due time is divided by `speed`, which is above
    /// zero, and rounded to the nanosecond.
    #[must_use]
    pub fn at_speed(self, speed: f64) -> Self {
        Self { speed, ..self }
    }

    /// How many times as fast as the file.
    pub const fn speed(&self) -> f64 {
        self.speed
    }

    /// How many arrivals there are, warm-up included.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Never: a file without a due time is refused.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// Arrival `n`, from the begin of the load; `None` beyond the last one.
    pub fn due(&self, n: usize) -> Option<Offset> {
        self.due.get(n).map(|due| self.scaled(*due))
    }

    /// The last arrival, from the begin of the load.
    pub fn last(&self) -> Offset {
        self.scaled(*self.due.last().expect("a replay is not empty"))
    }

    /// How many arrivals come before `end`.
    pub(super) fn before(&self, end: Offset) -> usize {
        self.due.partition_point(|due| self.scaled(*due) < end)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and not negative; beyond the largest, it saturates"
    )]
    fn scaled(&self, due: Offset) -> Offset {
        // Exact at speed 1, by the limit of the due times.
        let nanos = due.nanos() as f64 / self.speed;
        Offset::from_nanos(nanos.round() as u64)
    }
}

/// A cell without the spaces and the quotes around it.
fn unquoted(cell: &str) -> &str {
    let cell = cell.trim();
    let inner = cell.strip_prefix('"').and_then(|c| c.strip_suffix('"'));
    inner.unwrap_or(cell).trim()
}

/// The nanoseconds of a decimal number of seconds, exactly; digits beyond the ninth place are
/// rounded, half up.
fn nanos(text: &str) -> Result<u64, Fault> {
    if text.is_empty() {
        return Err(Fault::Empty);
    }
    let not_a_time = || Fault::NotATime(text.to_owned());
    let too_late = || Fault::TooLate(text.to_owned());
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            i64::from(exponent.parse::<i16>().map_err(|_| not_a_time())?),
        ),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(not_a_time());
    }
    if negative {
        return Err(Fault::Negative(text.to_owned()));
    }
    let significant = digits.trim_start_matches('0').as_bytes();
    if significant.is_empty() {
        return Ok(0);
    }
    let length = |digits: usize| i64::try_from(digits).expect("a line fits into memory");
    let places = length(fraction.len()) - exponent;
    // How many digits the nanoseconds have.
    let kept = length(significant.len()) - places + 9;
    if kept > DUE_MAX_DIGITS {
        return Err(too_late());
    }
    let Ok(kept) = usize::try_from(kept) else {
        return Ok(0);
    };
    let digit = |n: usize| u64::from(significant.get(n).map_or(0, |b| b - b'0'));
    let below = (0..kept).fold(0, |sum, n| sum * 10 + digit(n));
    let nanos = below + u64::from(digit(kept) >= 5);
    if nanos > DUE_MAX_NS {
        return Err(too_late());
    }
    Ok(nanos)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Vec<u64>, String> {
        let replay = Replay::read("a.csv", text.as_bytes()).map_err(|e| e.to_string())?;
        Ok((0..replay.len())
            .map(|n| replay.due(n).expect("below len").nanos())
            .collect())
    }

    #[test]
    fn due_times_are_read_to_the_nanosecond() {
        assert_eq!(
            read(
                "\u{feff}\"due_s\"\n0\n0.1\n\n0.3\n1.000000001\n\"1.5e0\"\n 2 \r\n86400.123456789\n"
            ),
            Ok(vec![
                0,
                100_000_000,
                300_000_000,
                1_000_000_001,
                1_500_000_000,
                2_000_000_000,
                86_400_123_456_789
            ])
        );
        // As programs write sums and small numbers.
        assert_eq!(
            read("due_s\n1e-10\n5e-10\n1e-05\n0.30000000000000004\n.5\n1.\n0.9999999996e1"),
            Ok(vec![
                0,
                1,
                10_000,
                300_000_000,
                500_000_000,
                1_000_000_000,
                9_999_999_996
            ])
        );
        assert_eq!(read("due_s\n9007199.254740992"), Ok(vec![1 << 53]));
        assert_eq!(read("due_s\n0e-9999"), Ok(vec![0]));
    }

    #[test]
    fn whatever_is_wrong_has_its_line_its_column_and_the_fix() {
        for (text, expected) in [
            ("", "a.csv:1:1: column `due_s` is missing"),
            ("due_s\n", "a.csv:2:1: the file has no due time"),
            (
                "0.5\n1.0\n",
                "a.csv:1:1: unknown column `0.5`; the one column is `due_s`",
            ),
            ("due\n1\n", "did you mean `due_s`?"),
            (
                "due_s,input_tokens\n1,2\n",
                "a.csv:1:2: unknown column `input_tokens`",
            ),
            ("due_s,\n1\n", "a.csv:1:2: unknown column ``"),
            ("due_s\n1\n2,3\n", "a.csv:3:2: the row has 2 fields"),
            ("due_s\n1\n\n\"\"\n", "a.csv:4:1: column `due_s`: empty"),
            (
                "due_s\nNaN\n",
                "a.csv:2:1: column `due_s`: `NaN` is not a number",
            ),
            ("due_s\ninf\n", "`inf` is not a number"),
            ("due_s\n1s\n", "`1s` is not a number"),
            ("due_s\n.\n", "`.` is not a number"),
            ("due_s\n1.2.3\n", "`1.2.3` is not a number"),
            ("due_s\n+1\n", "`+1` is not a number"),
            ("due_s\n1e99999\n", "`1e99999` is not a number"),
            (
                "due_s\n-0.5\n",
                "a.csv:2:1: column `due_s`: `-0.5` is before the begin",
            ),
            ("due_s\n1785542400\n", "`1785542400` is more than 104 days"),
            ("due_s\n9007199.254740993\n", "more than 104 days"),
            ("due_s\n1e300\n", "more than 104 days"),
            (
                "due_s\n0\n2\n1.5\n",
                "a.csv:4:1: column `due_s`: `1.5` is earlier than `2` on the row before; sort",
            ),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        let error = Replay::read("a.csv", b"due_s\n\xff\n").expect_err("no text");
        assert_eq!((error.line, error.fault), (2, Fault::NotUtf8));
    }

    #[test]
    fn speed_divides_each_due_time() {
        let replay = Replay::read("a.csv", b"due_s\n0\n1\n3\n").expect("sound");
        let at = |speed: f64| -> Vec<u64> {
            let replay = replay.clone().at_speed(speed);
            (0..3)
                .map(|n| replay.due(n).expect("three").nanos())
                .collect()
        };
        assert_eq!(at(2.0), [0, 500_000_000, 1_500_000_000]);
        assert_eq!(at(0.5), [0, 2_000_000_000, 6_000_000_000]);
        assert_eq!(at(3.0), [0, 333_333_333, 1_000_000_000]);
    }

    proptest! {
        #[test]
        fn a_time_that_is_written_out_is_read_back(nanos in 0..=DUE_MAX_NS) {
            let text = format!("due_s\n{}.{:09}\n", nanos / 1_000_000_000, nanos % 1_000_000_000);
            prop_assert_eq!(read(&text), Ok(vec![nanos]));
        }

        #[test]
        fn nothing_that_is_read_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Replay::read("a.csv", &bytes);
            let _ = Replay::read("a.csv", &[b"due_s\n", bytes.as_slice()].concat());
        }

        #[test]
        fn no_number_panics(text in "[-+]?[0-9]{0,25}\\.?[0-9]{0,25}([eE][-+]?[0-9]{1,6})?") {
            let _ = nanos(&text);
        }
    }
}
