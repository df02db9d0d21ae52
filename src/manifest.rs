//! What a run says of itself: `run.json`.
//!
//! Written when the run starts, with `partial: true`, and again when it ends. Whatever a report
//! needs beyond the rows stands here; a run that was killed still has the first version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::time::Window;

/// The facts of a run that are not rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the facts: see `record::FACTS_SCHEMA`.
    pub schema: String,
    /// Unique to the run; the nonces are made from it.
    pub id: String,
    /// Name of the scenario.
    pub scenario: String,
    /// UTC, RFC 3339.
    pub started_at: String,
    /// Length of the run in ns, preflight and drain included; `None` if it never ended.
    pub duration_ns: Option<u64>,
    /// Seed of every draw.
    pub seed: u64,
    /// Version of the harness.
    pub version: String,
    /// What was loaded: `offline`, or the origin.
    pub target: String,
    /// The endpoints that were planned, in order.
    pub endpoints: Vec<Endpoint>,
    /// Whether sessions started whatever the upstream did.
    pub open_loop: bool,
    /// The arrivals in words.
    pub load: String,
    /// The models asked for.
    pub models: Vec<String>,
    /// Which slice of the load this is: (index, of).
    pub slice: (u64, u64),
    /// Worker threads.
    pub workers: u32,
    /// SHA-256 of `scenario.toml` in the folder.
    pub config_sha256: String,
    /// SHA-256 of `prices.csv` in the folder.
    pub prices_sha256: String,
    /// The measured windows; empty until the run has ended.
    pub windows: BTreeMap<Endpoint, Window>,
    /// Measured turns that came due, by endpoint: each must have its row. Empty until the run has
    /// ended.
    #[serde(default)]
    pub planned: BTreeMap<Endpoint, u64>,
    /// Requests of a closed loop that waited for room in the budget: fewer were in flight than the
    /// load says.
    #[serde(default)]
    pub budget_waits: u64,
    /// Why the truth could not be read, if it was asked for and could not.
    #[serde(default)]
    pub truth_error: Option<String>,
    /// Where the truth came from, if there is one: the path or URL of the journal.
    pub truth: Option<String>,
    /// Whether a signal ended the run.
    pub interrupted: bool,
    /// Whether the facts are not whole.
    pub partial: bool,
    /// What a reader of the report must know.
    pub warnings: Vec<String>,
    /// The machine.
    pub environment: Environment,
    /// Connections made, and the time that took.
    pub connects: ConnectTotals,
}

/// Version of `pairs.json`.
pub const PAIRS_SCHEMA: &str = "weighbridge.pairs/1";

/// What a command says of itself that loads two arms in turns: `pairs.json`. Each arm of each level of
/// each endpoint is a run of its own, in the folder [`Pairs::folder`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairs {
    /// `weighbridge.pairs/1`.
    pub schema: String,
    /// Name of the scenario.
    pub scenario: String,
    /// UTC, RFC 3339.
    pub started_at: String,
    /// Version of the harness.
    pub version: String,
    /// Seed of every draw.
    pub seed: u64,
    /// The two arms.
    pub arms: [PairsArm; 2],
    /// The endpoints, in order.
    pub endpoints: Vec<Endpoint>,
    /// The levels of load, ascending.
    pub levels: Vec<PairsLevel>,
    /// Blocks of each level.
    pub blocks: u64,
}

/// One arm of all pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairsArm {
    /// Its name.
    pub name: String,
    /// Its target.
    pub origin: String,
    /// The models asked for.
    pub models: Vec<String>,
}

/// One level of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairsLevel {
    /// Users at once, at either arm.
    pub concurrency: u32,
    /// Sessions of a block.
    pub sessions_per_block: u64,
}

impl Pairs {
    /// The folder of an arm's run, from that of `pairs.json`.
    pub fn folder(&self, endpoint: Endpoint, level: usize, arm: usize) -> String {
        let concurrency = self.levels[level].concurrency;
        format!("{endpoint}-{concurrency}/{}", self.arms[arm].name)
    }
}

/// The machine that measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Operating system and architecture.
    pub platform: String,
    /// Processors that the process may use.
    pub cpus: u32,
    /// Whether sends are timed by a precise timer.
    pub precise_timer: bool,
}

/// Connections of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectTotals {
    /// How many were begun.
    pub count: u64,
    /// Their time together, in ns.
    pub sum_ns: u64,
    /// The longest of them, in ns; `None` where nobody noted it.
    #[serde(default)]
    pub max_ns: Option<u64>,
}
