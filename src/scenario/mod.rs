//! A scenario file -> validated specs.
//!
//! In: the file's text and the overrides. Out: a [`Scenario`], whose existence proves that every
//! value is in range and fits the others; or every problem that there is, each with its place, its
//! key and the fix. It reads no file itself: the price table, prompts and certificates that a
//! scenario names are loaded by `store`.

mod check;
mod file;
mod load;
mod session;
mod source;
mod tools;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::billing::ledger::{Columns, Format};
use crate::billing::policy::Policy;
use crate::endpoint::Endpoint;
use crate::metrics::Limits;
use crate::money::{Currency, Money};
use crate::prompt::Tool;
use crate::protocol;
use crate::schedule;
use crate::surface::{LookupUrl, Surface};
use crate::verdict::Gate;
use crate::workload;

pub use file::{Endpoints, File, HttpVersion, Offline, OfflineDialect, schema};
pub use source::{Problem, ScenarioError};
pub use tools::file::Definition as ToolDefinition;

use source::Source;

/// A validated scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file with all overrides and defaults, as it is copied into the run folder.
    pub file: File,
    /// Its name.
    pub name: String,
    /// What is loaded.
    pub target: Target,
    /// What is sent; given prompts are not loaded yet.
    pub workload: Workload,
    /// When it is sent; the due times of a replay are not loaded yet.
    pub load: Load,
    /// Seed of every draw.
    pub seed: u64,
    /// How long requests in flight may take after the last one started.
    pub grace: Duration,
    /// What counts as goodput; `None` without limits.
    pub limits: Option<Limits>,
    /// Prices, recorded costs, budget.
    pub pricing: Pricing,
    /// What must hold.
    pub gates: Vec<Gate>,
}

/// What is loaded.
#[derive(Clone, Debug)]
pub struct Target {
    /// `scheme://host[:port]`; `None`: the offline upstream.
    pub origin: Option<String>,
    /// In the order of reports; not empty.
    pub endpoints: Vec<Endpoint>,
    /// The models asked for.
    pub models: Vec<String>,
    /// Name of the environment variable with the key.
    pub api_key_env: Option<String>,
    /// Further headers.
    pub headers: HeaderMap,
    /// Further headers whose values stand in environment variables: (name, variable).
    pub headers_env: Vec<(HeaderName, String)>,
    /// HTTP version.
    pub http: HttpVersion,
    /// Certificate authorities, as written.
    pub ca_file: Option<String>,
    /// The upstream's journal, if there is one to hold the usage against.
    pub truth: Option<Truth>,
    /// Choices of the wire.
    pub dialect: protocol::Dialect,
    /// Limits of waiting.
    pub timeouts: Timeouts,
    /// Whether refused requests are tried again; `None`: no.
    pub retries: Option<Retries>,
    /// How the offline upstream behaves.
    pub offline: Offline,
}

/// Where the upstream's journal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    /// Asked for over HTTP after the run.
    Url(String),
    /// A JSONL file, as written.
    File(String),
}

/// Limits of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection is made.
    pub connect: Duration,
    /// From sending to the first token of a stream.
    pub first_token: Duration,
    /// Between two frames of a body, from its first token on.
    pub idle: Duration,
    /// From sending to the end.
    pub total: Duration,
}

/// Further attempts of a request that was refused or not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Attempts of one request, the first included; at least 2.
    pub attempts_max: u32,
    /// The wait before the second attempt; it doubles with each, less up to half at random.
    pub wait_first: Duration,
    /// The longest wait. A `retry-after` beyond it ends the request.
    pub wait_max: Duration,
}

/// What is sent, where given prompts still are a path.
#[derive(Clone, Debug)]
pub struct Workload {
    spec: workload::Spec,
    /// JSONL file with prompts, as written.
    pub prompts: Option<String>,
    /// JSON file with tools, as written.
    pub tools_file: Option<String>,
    /// Whether the tools are those that will be offered: not before their file was read.
    tools_known: bool,
}

impl Workload {
    /// The spec, with the prompts of the file if there is one.
    ///
    /// # Panics
    /// If the file's prompts are not given, or are empty, or if a file of tools has not been read.
    pub fn spec(&self, given: Option<Vec<workload::Given>>) -> workload::Spec {
        assert!(self.tools_known, "tools come from their file");
        assert_eq!(
            self.prompts.is_some(),
            given.is_some(),
            "prompts come from their file"
        );
        let mut spec = self.spec.clone();
        if let Some(list) = given {
            assert!(
                !list.is_empty(),
                "an empty prompt file is refused when it is loaded"
            );
            spec.source = workload::Source::Given(list);
        }
        spec
    }
}

/// When it is sent, where a replay's due times still are a path.
#[derive(Clone, Debug)]
pub struct Load {
    arrivals: Arrivals,
    warmup: Duration,
    count: Option<u64>,
    duration: Option<Duration>,
    max_in_flight: u32,
}

#[derive(Clone, Debug)]
enum Arrivals {
    Known(schedule::Arrivals),
    File(Replay),
}

/// A file of due times that is not loaded yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// CSV file, as written.
    pub path: String,
    /// How many times as fast as the file; above zero.
    pub speed: f64,
}

impl Load {
    /// The file of a replay.
    pub const fn replay(&self) -> Option<&Replay> {
        match &self.arrivals {
            Arrivals::Known(_) => None,
            Arrivals::File(replay) => Some(replay),
        }
    }

    /// The spec, with the due times of the file if there is one.
    ///
    /// # Panics
    /// If the file's due times are not given.
    pub fn spec(&self, replay: Option<schedule::Replay>) -> schedule::Spec {
        let arrivals = match (&self.arrivals, replay) {
            (Arrivals::Known(arrivals), None) => arrivals.clone(),
            (Arrivals::File(file), Some(replay)) => {
                schedule::Arrivals::Replay(replay.at_speed(file.speed))
            }
            _ => panic!("due times come from their file"),
        };
        schedule::Spec {
            arrivals,
            warmup: self.warmup,
            count: self.count,
            duration: self.duration,
            max_in_flight: self.max_in_flight,
        }
    }
}

/// Prices, recorded costs, budget.
#[derive(Clone, Debug)]
pub struct Pricing {
    /// `builtin:NAME` or a path, as written.
    pub table: String,
    /// Where the cost is recorded.
    pub surfaces: Arc<[Surface]>,
    /// Where the cost is asked for after the load.
    pub lookups: Vec<LookupUrl>,
    /// How long after an attempt's end a look-up may not know its cost yet.
    pub lookup_timeout: Duration,
    /// A cost that a look-up does not know so long after an attempt's end is late.
    pub late_after: Option<Duration>,
    /// The gateway's ledger.
    pub ledger: Option<Ledger>,
    /// What is charged beside what tokens cost.
    pub policy: Policy,
    /// The most that a command may spend.
    pub budget: Option<(Money, Currency)>,
}

/// A gateway's ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Where it is.
    pub source: LedgerSource,
    /// Its format.
    pub format: Format,
    /// Which columns of a CSV hold what.
    pub columns: Option<Columns>,
    /// How long after the load a URL is read again until every complete answer has its row.
    pub wait: Duration,
}

/// Where a ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerSource {
    /// Asked for over HTTP after the run; may begin with `{base_url}`.
    Url(String),
    /// A CSV file, as written.
    File(String),
}

impl Scenario {
    /// Reads a scenario. `origin` names the text in errors; `overrides` are (dotted key, value),
    /// later ones over earlier ones.
    pub fn parse(
        origin: &str,
        text: &str,
        overrides: &[(String, String)],
    ) -> Result<Self, ScenarioError> {
        let source = Source::read(origin, text, overrides)?;
        check::scenario(&source, None)
    }

    /// The same with the tools of the file that it names, which may be offered and answered by their names.
    pub fn parse_with_tools(
        origin: &str,
        text: &str,
        overrides: &[(String, String)],
        tools: &[Tool],
    ) -> Result<Self, ScenarioError> {
        let source = Source::read(origin, text, overrides)?;
        check::scenario(&source, Some(tools))
    }

    /// A problem of `key` that was found only when another file was loaded.
    pub fn problem(
        origin: &str,
        text: &str,
        overrides: &[(String, String)],
        key: &str,
        message: impl Into<String>,
    ) -> ScenarioError {
        let problem = match Source::read(origin, text, overrides) {
            Ok(source) => source.problem(key, message),
            Err(error) => return error,
        };
        ScenarioError {
            problems: vec![problem],
        }
    }
}
