//! Who pays for what: the one place that says which attempts a gateway may charge for.
//!
//! - Complete answers are charged at the usage that they report.
//! - Answers that broke off (truncated, reset, an error inside the stream, malformed, a timeout
//!   after sending, cut by the harness, cancelled on purpose) are charged at the usage that they
//!   report. Without a usage nobody here knows what they cost; that is unknown, not free: the
//!   upstream may have worked and billed.
//! - What was refused (429, an error status) or never sent (dropped, no connection) is free. A
//!   nonzero cost recorded on one of those is a mismatch.

use crate::record::{Outcome, Record};

/// Whether an attempt may cost anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// It costs what its usage costs.
    AtUsage,
    /// It costs nothing.
    Free,
}

/// The charge that is expected for `record`.
pub fn charge(record: &Record) -> Charge {
    let never_sent = record.sent.is_none() && record.sent_utc.is_none();
    match record.outcome {
        _ if never_sent => Charge::Free,
        Outcome::Dropped
        | Outcome::ConnectFailed
        | Outcome::TimeoutConnect
        | Outcome::RateLimited
        | Outcome::HttpError => Charge::Free,
        Outcome::Ok
        | Outcome::StreamError
        | Outcome::Truncated
        | Outcome::Malformed
        | Outcome::TimeoutFirstToken
        | Outcome::TimeoutIdle
        | Outcome::TimeoutTotal
        | Outcome::Reset
        | Outcome::Cut
        | Outcome::Cancelled => Charge::AtUsage,
    }
}
