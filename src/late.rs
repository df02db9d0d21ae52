//! What a gateway says of costs after the fact: look-ups by id, and the rows of its ledger.
//!
//! Facts like [`Record`](crate::record::Record): digits as received, nothing judged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::money::Money;

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

/// What reading a ledger came to: `ledger.json`. Every row has one status, and they add up to `rows`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerSummary {
    /// Where the ledger came from: a path or a URL.
    pub source: String,
    /// Its format, by its name in scenarios.
    pub format: String,
    /// Why it could not be read; the counts are then of no use.
    #[serde(default)]
    pub error: Option<String>,
    /// Rows of the ledger.
    pub rows: u64,
    /// The first row of an attempt.
    pub joined: u64,
    /// Of the run's time and models, and of no attempt.
    pub ledger_only: u64,
    /// A further row of an attempt that has one.
    pub duplicate: u64,
    /// Of another time or another model, and of no attempt.
    pub out_of_scope: u64,
    /// How many rows were joined by which column, duplicates included.
    pub joined_by: BTreeMap<String, u64>,
    /// Rows whose ids fit several attempts, so that they join none; each is `ledger_only` or
    /// `out_of_scope`.
    pub ambiguous: u64,
    /// Rows whose ids are of different attempts; each was joined by the first.
    pub conflicting: u64,
    /// Ids of the run that several attempts share, so that nothing is joined by them.
    pub shared_ids: u64,
    /// The rows that are `ledger_only`, summed up.
    pub orphans: Vec<Orphans>,
}

/// Rows of one endpoint and model that are `ledger_only`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphans {
    /// The endpoint that they name, if they do.
    pub endpoint: Option<Endpoint>,
    /// The model that they name, if they do.
    pub model: Option<String>,
    /// How many there are.
    pub count: u64,
    /// The sum of the costs that can be read; `None` without any.
    pub cost: Option<Money>,
    /// How many have no cost that can be read.
    pub without_cost: u64,
    /// The ledger's ids of the first few.
    pub ids: Vec<String>,
}
