//! A gateway's ledger, held against the attempts of a run.
//!
//! In: the rows of a ledger (CSV, one by one) and an [`Index`] of the run's ids. Out: each row with
//! exactly one status ([`Join`]), and what is wrong with them (`Checks`). A row is joined by an id
//! and by nothing else: what joins none is listed, not guessed.
//!
//! Memory grows with the run's attempts, about a hundred bytes each, and not with the ledger.

mod checks;
mod format;
mod join;

#[cfg(test)]
mod tests;

pub use checks::unread;
pub(super) use checks::{Checks, billed_again};
pub use format::{Columns, Entry, Format, Layout, LayoutError};
pub use join::{Index, Join, Scope, warnings};
