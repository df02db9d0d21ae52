//! What can be wrong with a price table, and where.

use jiff::civil::Date;

use super::file::COLUMNS;
use crate::money::{Currency, CurrencyError, MoneyError};

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
    /// Not a size of prompt above which other prices can hold.
    #[error(
        "`{0}` is not a number of tokens from 1; leave it empty in the row that holds for every prompt"
    )]
    TierAbove(String),
    /// Prices for long prompts without those for short ones.
    #[error(
        "`{model}` has no row with an empty tier_above {when}; write the prices of shorter prompts for the same days"
    )]
    NoBase {
        /// The model of the row.
        model: String,
        /// The first day without one, as a clause.
        when: String,
    },
    /// Rows of one tariff that contradict each other.
    #[error(
        "{text} here and {other_text} on line {other}; the rows of a model for different sizes of prompt must agree"
    )]
    TierDisagrees {
        /// What this row says.
        text: String,
        /// What the other row says.
        other_text: String,
        /// Line of the other row.
        other: u64,
    },
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
