//! The part of the report that is about money. Amounts are decimal text, exact to the last digit; shares
//! and percentages are numbers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Mode;
use crate::billing::finding::{Code, Finding};
use crate::record::Class;

/// The bill of one endpoint. Amounts are decimal text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// Of every amount.
    pub currency: String,
    /// What of the bill was verified.
    pub verified: Verified,
    /// By the price table, over all attempts whose usage is known.
    pub predicted: Option<String>,
    /// As the gateway recorded it, over all attempts where it did.
    pub recorded: Option<String>,
    /// Recorded - predicted, over the attempts with both.
    pub delta: Option<String>,
    /// The same with every difference counted as positive, and with `billed_again`: what is billed twice
    /// is not billed right, though its answer says the right cost.
    pub delta_abs: Option<String>,
    /// What further rows of a ledger bill of attempts that have one, the dearest row of each left out;
    /// `null` if there are none. `recorded` and `delta` hold it only where the ledger alone records a
    /// cost.
    pub billed_again: Option<String>,
    /// What is recorded for attempts without a predicted cost; `null` without any.
    pub unpredicted: Option<Unpredicted>,
    /// `delta` in per cent of what is predicted for the same attempts, to 6 decimal places.
    pub bias_pct: Option<f64>,
    /// Share of the billable attempts with both.
    pub coverage: Option<f64>,
    /// Attempts by status; one that was never sent is among `no_charge_expected`.
    pub statuses: BTreeMap<String, u64>,
    /// The same by model, mode and class.
    pub groups: Vec<CostGroup>,
    /// What each surface records, whether it stands or not.
    pub surfaces: Vec<CostSurface>,
    /// What a declared rounding explains of the difference; `null` where none is declared.
    pub rounding: Option<CostRounding>,
    /// How fine the recorded amounts are.
    pub resolution: Vec<Resolution>,
    /// Discrepancies by load; `null` if no attempt was sent that may cost something.
    pub load: Option<CostLoad>,
    /// What was found. Rows of a ledger that name no endpoint and join no attempt are found at the first
    /// endpoint only.
    pub findings: Vec<Finding>,
    /// The attempts that are furthest off.
    pub worst: Vec<Worst>,
}

/// What is recorded for attempts without a predicted cost: it is in `recorded`, and in no difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unpredicted {
    /// How many they are.
    pub attempts: u64,
    /// The sum of what is recorded for them.
    pub recorded: String,
}

/// What of a bill was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// Every complete answer's token counts are those of an independent count, and recorded costs
    /// were compared.
    TokenCounts,
    /// Recorded costs were compared with usage x price; the usage is the gateway's own.
    Arithmetic,
    /// No attempt has both a predicted and a recorded cost.
    Nothing,
}

/// What the attempts of one model, mode and class add up to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostGroup {
    /// The model asked for.
    pub model: String,
    /// How the answer is asked for.
    pub mode: Mode,
    /// What is asked for.
    pub class: Class,
    /// Attempts; what the statuses add up to.
    pub attempts: u64,
    /// As of the endpoint.
    pub predicted: Option<String>,
    /// As of the endpoint.
    pub recorded: Option<String>,
    /// As of the endpoint.
    pub delta: Option<String>,
    /// As of the endpoint.
    pub delta_abs: Option<String>,
    /// As of the endpoint.
    pub bias_pct: Option<f64>,
    /// As of the endpoint.
    pub coverage: Option<f64>,
    /// As of the endpoint.
    pub statuses: BTreeMap<String, u64>,
}

/// What one surface records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostSurface {
    /// As the scenario writes it; `ledger` for the rows of a ledger.
    pub surface: String,
    /// Attempts with an amount there.
    pub attempts: u64,
    /// The sum of these amounts.
    pub recorded: String,
    /// Decimal places of the finest one; `null` if all are zero.
    pub places: Option<u32>,
}

/// What a declared rounding explains, over the attempts with both costs and such a price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostRounding {
    /// How many they are.
    pub attempts: u64,
    /// Recorded - predicted of these.
    pub delta: String,
    /// No rounding adds up to more: n x u/2, where u is the unit that is rounded to (n x u where it is
    /// always up, or always down).
    pub bound: String,
    /// Amounts of varied sizes add up to no more: 4 x u x sqrt(n/12), and n x u/2 besides where it is
    /// always up or down; `null` where it cannot be computed.
    pub expected: Option<String>,
    /// Whether rounding explains the difference.
    pub explained: Explained,
}

/// Whether rounding explains a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Explained {
    /// It is within `expected`.
    Expected,
    /// It is within `bound`: sizes that are all rounded the same way.
    Possible,
    /// It is beyond `bound`.
    No,
}

/// How fine the recorded amounts of a model are in one service tier: what is less than a unit does not
/// show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resolution {
    /// The model asked for.
    pub model: String,
    /// The service tier that answered, or else the one asked for; `null` for the standard one.
    pub service_tier: Option<String>,
    /// Decimal places of the finest amount that stands, as far as they were seen.
    pub places: u32,
    /// One unit of the last of them.
    pub unit: String,
    /// Whole input tokens that cost no more than a unit, at that tier's prices of the run's day;
    /// `null` where they are free or have no price.
    pub input_tokens: Option<u64>,
    /// The same of output tokens.
    pub output_tokens: Option<u64>,
}

/// Discrepancies by load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CostLoad {
    /// By the requests in flight at the endpoint when an attempt was sent, in powers of two; those that
    /// occurred.
    pub by_in_flight: Vec<ByInFlight>,
    /// By the time of sending; those that occurred.
    pub by_time: Vec<ByTime>,
}

/// The attempts sent while so many were in flight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ByInFlight {
    /// At least so many, the attempt itself included.
    pub in_flight_min: u64,
    /// At most so many.
    pub in_flight_max: u64,
    /// What is off.
    pub off: OffByLoad,
}

/// The attempts sent in an interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ByTime {
    /// Its begin in seconds since the run's start.
    pub from_s: u64,
    /// Its length in seconds.
    pub length_s: u64,
    /// What is off.
    pub off: OffByLoad,
}

/// What is off among some attempts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OffByLoad {
    /// Attempts that may cost something, or are recorded to have cost something.
    pub attempts: u64,
    /// Those whose recorded cost is not the predicted one.
    pub wrong: u64,
    /// Those whose cost is not recorded, or that have no row in the ledger.
    pub missing: u64,
    /// Those with more than one row in the ledger; `null` without one.
    pub double: Option<u64>,
    /// Recorded - predicted, over those with both.
    pub delta: Option<String>,
}

/// An attempt whose recorded cost is off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Worst {
    /// Its request's id.
    pub trace_id: String,
    /// Which attempt of it, from 0.
    pub attempt: u32,
    /// The model asked for.
    pub model: String,
    /// What it should have cost.
    pub predicted: String,
    /// What is recorded.
    pub recorded: String,
    /// Recorded - predicted.
    pub delta: String,
    /// What is known to be wrong with it; empty if no cause is.
    pub causes: Vec<Code>,
}

/// The rows of a gateway's ledger, each counted once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ledger {
    /// A path or a URL.
    pub source: String,
    /// Of an attempt of the run.
    pub joined: u64,
    /// Of the time and the models of the run, and of no attempt.
    pub ledger_only: u64,
    /// Of an attempt that another row is of already.
    pub duplicate: u64,
    /// Of something else.
    pub out_of_scope: u64,
}
