//! What a run should have cost, what the gateway says that it cost, and where the two differ.
//!
//! In: a price table ([`prices`]), the facts ([`Record`]s) and, where the
//! upstream kept a journal, its [`Truth`]. Out: a prediction from the usage
//! ([`predict`]), the recorded cost that stands ([`recorded`]), one status for each attempt
//! ([`reconcile`], under the rules of [`policy`]), what they add up to ([`bill`]), also by load
//! ([`load`]) and under a declared rounding ([`rounding`]), usage and texts held against the truth
//! ([`verify`]), a price quoted beforehand ([`quote`]) and a hard limit on spending ([`budget`]).
//!
//! Everything is exact: no number here has ever been a float. Nothing here reads a file or a
//! clock. Reconciling shows *that* costs differ, and [`diagnose`] names the cause; which causes a load can
//! tell apart, [`separate`] says beforehand.

#![deny(clippy::float_arithmetic)]

mod account;
pub mod bill;
pub mod budget;
pub mod diagnose;
pub mod finding;
pub mod ledger;
pub mod load;
mod plausible;
pub mod policy;
pub mod predict;
pub mod prices;
pub mod quote;
pub mod reconcile;
pub mod recorded;
pub mod rounding;
pub mod separate;
pub mod verify;
mod words;

#[cfg(test)]
mod testing;

pub use account::Finest;

use crate::late::{LedgerRow, Lookup};
use crate::record::Record;
use crate::truth::Truth;

/// An attempt, and everything that anybody said of it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// What the harness saw.
    pub record: &'a Record,
    /// What look-ups of its cost came to.
    pub lookups: &'a [Lookup],
    /// Its rows in the gateway's ledger; `None` without a ledger.
    pub ledger: Option<&'a [LedgerRow]>,
    /// The entries of its nonce in the upstream's journal, in the order in which the upstream received
    /// them; `None` without a journal.
    pub truth: Option<&'a [Truth]>,
}

impl<'a> Attempt<'a> {
    /// Of which only the harness knows.
    pub const fn seen(record: &'a Record) -> Self {
        Self {
            record,
            lookups: &[],
            ledger: None,
            truth: None,
        }
    }
}
