//! The bill of an answer: what it truly costs, what is recorded of that, and which mistakes are made on the way.
//!
//! The responder draws the mistakes and writes what the answer itself says. The player [settles](Bill::settle) the bill
//! when the answer is over, and journals it. The look-up and the ledgers are made from the journal, and from nothing
//! else. Money is decimal and exact; no amount is ever a float.

pub(crate) mod ledger;
pub(crate) mod lookup;
mod members;
mod mistakes;
mod price;
mod recorded;
mod settlement;
#[cfg(test)]
mod tests;

pub(crate) use mistakes::{Facts, Planted, Reports};
pub(crate) use price::{Deal, digits};
pub(crate) use recorded::Recorded;
pub(crate) use settlement::{Bill, Delivery, Progress, Settlement};
