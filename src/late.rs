//! What a gateway says of costs after the fact: look-ups by id, and the rows of its ledger.
//!
//! Facts like [`Record`](crate::record::Record): digits as received, nothing judged.

use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;

/// What a look-up came to for one attempt: the row of `lookups.csv`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// Of the request.
    pub trace_id: String,
    /// Which attempt of it.
    pub attempt: u32,
    /// The look-up, as the scenario writes it.
    pub surface: String,
    /// The digits of the cost; `None` if it was not known when the asking ended.
    pub digits: Option<String>,
    /// From the attempt's end to the last answer that did not know the cost, in ns; `None` if the
    /// first one knew it.
    pub unknown_ns: Option<u64>,
    /// From the attempt's end to the answer that knew it, in ns.
    pub known_ns: Option<u64>,
    /// How often it was asked for.
    pub tries: u32,
    /// Why it is not known, where that is not only that the gateway does not know it.
    pub error: Option<String>,
}

/// One row of a gateway's ledger that is in the run's scope: the row of `ledger.csv`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// Its line in the ledger, from 1; the header is the first.
    pub line: u64,
    /// The ledger's own id of the row.
    pub id: String,
    /// The request that it is about; `None` if it joins none.
    pub trace_id: Option<String>,
    /// The attempt of that request.
    pub attempt: Option<u32>,
    /// The ledger's column whose id joined it.
    pub joined_by: Option<String>,
    /// The endpoint that the ledger names, if it does.
    pub endpoint: Option<Endpoint>,
    /// The model that it names.
    pub model: Option<String>,
    /// The digits of the cost.
    pub cost: Option<String>,
    /// When it says that the request began: UTC, RFC 3339.
    pub started_utc: Option<String>,
    /// Input tokens that it bills, cached ones included.
    pub input: Option<u64>,
    /// Output tokens that it bills.
    pub output: Option<u64>,
}
