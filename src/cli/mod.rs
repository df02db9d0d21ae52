//! The command line: arguments in, text and an exit code out.

mod exit;
mod overhead;
mod prices;
mod quote;
mod watch;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::billing::budget::Budget;
use crate::billing::ledger::{Columns, Format};
use crate::clock::Start;
use crate::preview::{Preview, Terms};
use crate::report::console;
use crate::review;
use crate::run::live;
use crate::scenario::{self, Scenario};
use crate::store::{self, Inputs, LedgerFile, PairsFolder, RunFolder, StoreError};
use crate::suggest;

pub use exit::Exit;
use watch::Watch;

const EXAMPLES: &str = "\
Examples:
  weighbridge run
      Load both endpoints of the embedded offline upstream and check its bill; needs nothing.
  weighbridge run scenarios/tools.toml --endpoint anthropic --out /tmp/run1
      Another scenario, one endpoint, a folder of its own.
  weighbridge run scenarios/keeprouter.toml --set load.concurrency=8
      A live gateway; the key comes from the variable that the scenario names.
  weighbridge overhead --direct https://upstream.example --via https://gateway.example
      What the gateway adds to latency, and at what load it saturates.
  weighbridge check my.toml
      Say what a scenario would do, and everything that is wrong with it; sends nothing.
  weighbridge report reports/2026-08-01T101500Z-ci --prices new-prices.csv
      Price an old run again.
  weighbridge report reports/2026-08-01T101500Z-ci --ledger spend-logs.csv
      Hold the gateway's own ledger against it.
  weighbridge quote magistral-small-latest --input 1000 --output 500
      What a request costs.
  weighbridge prices check prices.csv
      What is in a price table, and everything that is wrong with it.

Exit codes, in order of precedence:
  130 interrupted   2 wrong command line, file, key or target   1 a gate failed, or nothing succeeded
  3 no verdict (invalid, inconclusive, no data, incomplete)     0 passed";

/// Load testing and benchmarking for LLM gateways: how fast, how much, and is the bill right
#[derive(Debug, Parser)]
#[command(name = "weighbridge", version, about, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load a target and judge what was measured
    Run(RunArgs),
    /// What a gateway adds to its upstream: the same load on both, in turns
    Overhead(overhead::OverheadArgs),
    /// Say what a scenario would do, and what is wrong with it; sends nothing
    Check(CheckArgs),
    /// Make the report of an earlier run again, from its facts alone
    Report(ReportArgs),
    /// What a request costs by a price table
    Quote(quote::QuoteArgs),
    /// Price tables: what is in one, where two differ, and importing the lists of others
    #[command(subcommand)]
    Prices(prices::PricesCommand),
    /// Run the offline upstream by itself, until a signal; its first line says where it listens
    Mock(mock_upstream::cli::Args),
}

#[derive(Debug, Args)]
struct ScenarioArgs {
    /// Scenario file; the embedded magistral-small.toml if absent
    scenario: Option<PathBuf>,
    /// Set any key of the scenario, as in `load.rate=50`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Load this target: short for `--set target.base_url=URL`
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// Load `openai`, `anthropic` or `both`: short for `--set target.endpoint=...`
    #[arg(long)]
    endpoint: Option<String>,
    /// Hard limit of what the command may spend, as in `1 USD`: short for `--set pricing.budget=...`
    #[arg(long, value_name = "AMOUNT")]
    budget: Option<String>,
    /// Seed of every draw: short for `--set load.seed=N`
    #[arg(long)]
    seed: Option<u64>,
}

impl ScenarioArgs {
    /// The overrides, in order: shorthands last, since they are the more deliberate.
    fn overrides(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut overrides = Vec::new();
        for text in &self.set {
            let (key, value) = text.split_once('=').with_context(|| {
                format!("`--set {text}` has no `=`; write `--set load.rate=50`")
            })?;
            overrides.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        let quoted = |text: &String| toml::Value::String(text.clone()).to_string();
        overrides.extend(
            self.target
                .as_ref()
                .map(|t| ("target.base_url".to_owned(), quoted(t))),
        );
        overrides.extend(
            self.endpoint
                .as_ref()
                .map(|e| ("target.endpoint".to_owned(), quoted(e))),
        );
        overrides.extend(
            self.budget
                .as_ref()
                .map(|b| ("pricing.budget".to_owned(), quoted(b))),
        );
        overrides.extend(self.seed.map(|s| ("load.seed".to_owned(), s.to_string())));
        Ok(overrides)
    }

    fn load(&self) -> anyhow::Result<Inputs> {
        Ok(store::load_inputs(
            self.scenario.as_deref(),
            &self.overrides()?,
        )?)
    }
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Folder for this run, exactly; must be new or empty. Default: reports/UTC-NAME
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Worker threads, each with connections of its own. Default: one a core, and one less where
    /// the offline upstream needs a core too. The same requests are sent by any number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    workers: Option<u32>,
    /// Keep each event's arrival in trace.csv
    #[arg(long)]
    trace: bool,
    /// Do not ask before loading a live target that has no budget
    #[arg(long)]
    yes: bool,
    /// Show nothing while the run goes on
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Print the JSON Schema of scenario files instead
    #[arg(long)]
    schema: bool,
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// Folder of the run
    folder: PathBuf,
    /// Price it by this table instead of the run's own: a CSV file or `builtin:keeprouter`
    #[arg(long, value_name = "TABLE")]
    prices: Option<String>,
    /// Join this ledger (CSV, a row a request) with the run first, and keep what that comes to in
    /// the folder
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Its format: `auto`, `litellm`, `openrouter` or `csv`
    #[arg(long, value_name = "FORMAT", requires = "ledger", value_parser = ledger_format)]
    ledger_format: Option<Format>,
    /// Which of its columns hold what, as in `id=request,cost=amount,started=time`; `id` may be
    /// repeated. Default: the scenario's
    #[arg(long, value_name = "COLUMNS", requires = "ledger", value_parser = ledger_columns)]
    ledger_columns: Option<Columns>,
    /// Print report.json instead of the console form
    #[arg(long)]
    json: bool,
}

fn ledger_format(name: &str) -> Result<Format, String> {
    let names = || Format::ALL.map(Format::name);
    Format::from_name(name).ok_or_else(|| {
        let hint = suggest::clause(name, names());
        format!("unknown format{hint}; known are {}", names().join(", "))
    })
}

fn ledger_columns(text: &str) -> Result<Columns, String> {
    let mut columns = Columns::default();
    for pair in text.split(',') {
        let (what, name) = pair
            .split_once('=')
            .ok_or_else(|| format!("`{pair}` has no `=`; write `id=request,cost=amount`"))?;
        let name = name.trim().to_owned();
        match what.trim() {
            "id" => columns.id.push(name),
            "cost" => columns.cost = name,
            "model" => columns.model = Some(name),
            "started" => columns.started = Some(name),
            "input" => columns.input = Some(name),
            "output" => columns.output = Some(name),
            other => {
                return Err(format!(
                    "unknown `{other}`; known are id, cost, model, started, input and output"
                ));
            }
        }
    }
    if columns.id.is_empty() || columns.cost.is_empty() {
        return Err("needs `id=...` and `cost=...`".to_owned());
    }
    Ok(columns)
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    // clap itself exits with 2 on a wrong command line, and with 0 on --help.
    let result = match Cli::parse().command {
        Command::Run(args) => run(&args),
        Command::Overhead(args) => overhead::run(&args),
        Command::Check(args) => check(&args),
        Command::Report(args) => report(&args),
        Command::Quote(args) => quote::run(&args),
        Command::Prices(command) => prices::run(&command),
        Command::Mock(args) => return mock_upstream::cli::main_with(args),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            say(&format!("error: {error:#}"));
            Exit::Wrong.into()
        }
    }
}

fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    let inputs = args.scenario.load()?;
    let start = Start::now();
    let unlimited =
        inputs.scenario.target.origin.is_some() && inputs.scenario.pricing.budget.is_none();
    if !args.quiet {
        say(&preview(&inputs, start, false));
    }
    if unlimited && !args.yes {
        confirm(&inputs)?;
    }
    let how = live::How {
        workers: args.workers,
        trace: args.trace,
    };
    let ready = live::Ready::new(&inputs, how)?;
    let folder = folder_of(args.out.as_deref(), &inputs, start)?;
    let mut watch = Watch::new(inputs.prices.currency());
    // One account over all runs of the command.
    let budget = inputs
        .scenario
        .pricing
        .budget
        .map(|(limit, _)| Budget::new(limit));
    let result = ready.run(&folder, budget, &mut |tick| {
        if !args.quiet {
            watch.tick(tick);
        }
    });
    watch.end();
    result?;
    let report = review::review(&folder, None)?;
    review::write(&folder, &report)?;
    show(&console(&report, wants_color()))?;
    say(&format!("facts and reports: {}", folder.path().display()));
    Ok(report.verdict.status.into())
}

/// The folder that was asked for, or a new one by time and scenario.
fn folder_of(out: Option<&Path>, inputs: &Inputs, start: Start) -> Result<RunFolder, StoreError> {
    folder_named(out, &inputs.scenario.name, start, RunFolder::create)
}

/// The folder that was asked for, or a new one by time and name.
fn folder_named<F>(
    out: Option<&Path>,
    name: &str,
    start: Start,
    create: impl Fn(&Path) -> Result<F, StoreError>,
) -> Result<F, StoreError> {
    if let Some(path) = out {
        return create(path);
    }
    let utc = start.utc().strftime("%Y-%m-%dT%H%M%SZ");
    let name = format!("{utc}-{name}");
    let mut tried = 1;
    loop {
        // Two runs may begin in the same second.
        let suffix = if tried > 1 {
            format!("-{tried}")
        } else {
            String::new()
        };
        match create(&Path::new("reports").join(format!("{name}{suffix}"))) {
            Err(StoreError::NotEmpty(_)) if tried < FOLDERS_PER_SECOND_MAX => tried += 1,
            result => return result,
        }
    }
}

/// Runs of one scenario that may begin in one second without a name of their own.
const FOLDERS_PER_SECOND_MAX: u32 = 100;

fn check(args: &CheckArgs) -> anyhow::Result<Exit> {
    if args.schema {
        show(&scenario::schema())?;
        return Ok(Exit::Passed);
    }
    let inputs = args.scenario.load()?;
    show(&format!("{}\n", preview(&inputs, Start::now(), true)))?;
    live::check_prices(&inputs, &live::plan(&inputs))?;
    Ok(Exit::Passed)
}

fn report(args: &ReportArgs) -> anyhow::Result<Exit> {
    if let Some(pairs) = PairsFolder::open(&args.folder) {
        anyhow::ensure!(
            args.prices.is_none() && args.ledger.is_none(),
            "{} holds the runs of an overhead command; `--prices` and `--ledger` are for one of its runs: name its folder",
            args.folder.display()
        );
        return overhead::report(&pairs, args.json);
    }
    let folder = RunFolder::open(&args.folder)?;
    let prices = args.prices.as_deref().map(store::read_prices).transpose()?;
    let own = prices.is_none();
    if let Some(ledger) = &args.ledger {
        join_ledger(&folder, ledger, args)?;
    }
    let report = review::review(&folder, prices)?;
    // The folder's report is at the folder's prices; another table's is only shown.
    if own && let Err(error) = review::write(&folder, &report) {
        say(&format!(
            "warning: the report is shown, but not kept: {error}"
        ));
    }
    show(&if args.json {
        report.json()
    } else {
        console(&report, wants_color())
    })?;
    Ok(report.verdict.status.into())
}

/// The day, UTC.
fn today() -> jiff::civil::Date {
    Start::now().utc().to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// Joins a ledger that came after the run.
fn join_ledger(folder: &RunFolder, path: &Path, args: &ReportArgs) -> anyhow::Result<()> {
    let manifest = folder.manifest()?;
    let (origin, text) = folder.scenario()?;
    let pricing = Scenario::parse(&origin, &text, &[])?.pricing;
    let (format, columns) = match (args.ledger_format, &args.ledger_columns) {
        (Some(Format::Csv) | None, None) => {
            let own = pricing.ledger.as_ref();
            let format = args.ledger_format.or(own.map(|ledger| ledger.format));
            (format, own.and_then(|ledger| ledger.columns.as_ref()))
        }
        (format, columns) => (format, columns.as_ref()),
    };
    let format = format.unwrap_or_default();
    let name = path.display().to_string();
    format
        .check(columns)
        .map_err(|error| anyhow::anyhow!("--ledger-columns {error}"))?;
    let (index, scope) = store::index_of(folder, &manifest, pricing.policy)?;
    let file = LedgerFile {
        path,
        name: &name,
        format,
        columns,
    };
    store::join_later_ledger(folder, &index, scope, file)?;
    Ok(())
}

/// Lines before a run on what its bill could not tell apart; `check` has all.
const WARNINGS_OF_A_RUN: usize = 3;

/// What a scenario will do and may cost; in a few lines, or in `full`.
fn preview(inputs: &Inputs, start: Start, full: bool) -> String {
    let scenario = &inputs.scenario;
    let plan = live::plan(inputs);
    let forecast = plan.forecast();
    let endpoints: Vec<&str> = plan.endpoints.iter().map(|e| e.name()).collect();
    let target = scenario
        .target
        .origin
        .as_deref()
        .unwrap_or("the offline upstream");
    let mut lines = vec![format!(
        "{}: {} on {target} ({})",
        scenario.name,
        scenario.target.models.join(", "),
        endpoints.join(" and ")
    )];
    lines.push(format!(
        "{}; up to {} requests in flight",
        live::describe(&plan),
        forecast.in_flight_max
    ));
    let target = &scenario.target;
    let terms = Terms {
        date: start.utc().to_zoned(jiff::tz::TimeZone::UTC).date(),
        attempts_max: target.retries.map_or(1, |retries| retries.attempts_max),
        budget: scenario.pricing.budget.map(|(amount, _)| amount),
        policy: scenario.pricing.policy,
        reasoning_share: match (&target.origin, &inputs.upstream) {
            (Some(_), _) => 0.0,
            (None, Some((config, _))) => config.behaviour.output.reasoning_share,
            (None, None) => target.offline.reasoning_share,
        },
    };
    let preview = Preview::new(&plan, &inputs.prices, &terms);
    lines.push(preview.to_string());
    if full {
        lines.extend(preview.warnings(usize::MAX));
        lines.extend(preview.blind_spots());
    } else {
        lines.extend(preview.warnings(WARNINGS_OF_A_RUN));
    }
    lines.join("\n")
}

/// A load test of a paid API burns money: without a budget, a person must say yes.
fn confirm(inputs: &Inputs) -> anyhow::Result<()> {
    let target = inputs.scenario.target.origin.as_deref().unwrap_or_default();
    let loopback = ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| {
        target
            .split("://")
            .nth(1)
            .is_some_and(|rest| rest == *host || rest.starts_with(&format!("{host}:")))
    });
    if loopback {
        return Ok(());
    }
    anyhow::ensure!(
        io::stdin().is_terminal(),
        "{target} is a live target and the scenario has no budget; set `pricing.budget`, or pass `--yes`"
    );
    say(&format!(
        "{target} is a live target without a budget. Load it? [y/N]"
    ));
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .context("failed to read the answer")?;
    anyhow::ensure!(
        matches!(answer.trim(), "y" | "Y" | "yes"),
        "not confirmed; nothing was sent"
    );
    Ok(())
}

/// Data, to stdout. A reader that has gone away is no error.
fn show(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("failed to write to stdout"),
    }
}

/// Talk, to stderr.
fn say(text: &str) {
    // There is nowhere left to say that this failed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn wants_color() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}
