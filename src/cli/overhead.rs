//! `weighbridge overhead`: what a gateway adds to its upstream.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Exit, ScenarioArgs, confirm, folder_named, say, show, wants_color};
use crate::billing::budget::Budget;
use crate::clock::Start;
use crate::money::Currency;
use crate::overhead::{self, Asked, Experiment, Overhead, Progress};
use crate::run::live::How;
use crate::store::{self, PairsFolder};

#[derive(Debug, Args)]
pub(super) struct OverheadArgs {
    /// Scenario file; the embedded magistral-small.toml if absent. Whatever its load is, here it is a
    /// closed loop; its gates, its retries and its offline upstream are
    /// left out
    scenario: Option<PathBuf>,
    /// The upstream itself
    #[arg(long, value_name = "URL")]
    direct: String,
    /// The gateway before it
    #[arg(long, value_name = "URL")]
    via: String,
    /// Variable that holds the upstream's key. Default: the scenario's
    #[arg(long, value_name = "VAR")]
    direct_key_env: Option<String>,
    /// The model's name at the upstream. Default: the scenario's
    #[arg(long, value_name = "NAME")]
    direct_model: Option<String>,
    /// Users at once, level by level
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1,8,32",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    concurrency: Vec<u32>,
    /// Sessions of each level, arm and endpoint, at least; a level has four for each user and block,
    /// or more
    #[arg(
        long,
        value_name = "N",
        default_value_t = 320,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000)
    )]
    requests: u64,
    /// Blocks of a level: each is done by both arms, one after the other
    #[arg(
        long,
        value_name = "N",
        default_value_t = 16,
        value_parser = clap::value_parser!(u64).range(8..=1_000)
    )]
    blocks: u64,
    /// Set any key of the scenario, as in `workload.stream_share=1`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Load `openai`, `anthropic` or `both`: short for `--set target.endpoint=...`
    #[arg(long)]
    endpoint: Option<String>,
    /// Hard limit of what the command may spend, as in `1 USD`: short for `--set pricing.budget=...`
    #[arg(long, value_name = "AMOUNT")]
    budget: Option<String>,
    /// Seed of every draw: short for `--set load.seed=N`
    #[arg(long)]
    seed: Option<u64>,
    /// Folder for all runs, exactly; must be new or empty. Default: reports/UTC-NAME-overhead
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Worker threads of each arm. Default: one a core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    workers: Option<u32>,
    /// Print overhead.json instead of the console form
    #[arg(long)]
    json: bool,
    /// Do not ask before loading a live target that has no budget
    #[arg(long)]
    yes: bool,
    /// Show nothing while the runs go on
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(args: &OverheadArgs) -> anyhow::Result<Exit> {
    let scenario = ScenarioArgs {
        scenario: args.scenario.clone(),
        set: args.set.clone(),
        target: None,
        endpoint: args.endpoint.clone(),
        budget: args.budget.clone(),
        seed: args.seed,
    };
    let base = store::load_inputs(args.scenario.as_deref(), &scenario.overrides()?)?;
    let asked = Asked {
        direct: args.direct.clone(),
        via: args.via.clone(),
        direct_key_env: args.direct_key_env.clone(),
        direct_model: args.direct_model.clone(),
        concurrency: args.concurrency.clone(),
        requests: args.requests,
        blocks: args.blocks,
    };
    let start = Start::now();
    let experiment = Experiment::new(&base, &asked, &format!("{:.6}", start.utc()))?;
    if !args.quiet {
        let date = start.utc().to_zoned(jiff::tz::TimeZone::UTC).date();
        say(&experiment.preview(date));
    }
    let limit = base.scenario.pricing.budget.map(|(limit, _)| limit);
    if limit.is_none() && !args.yes {
        for inputs in experiment.arms() {
            confirm(inputs)?;
        }
    }
    let name = format!("{}-overhead", base.scenario.name);
    let create = |path: &Path| PairsFolder::create(path, &experiment.pairs);
    let folder = folder_named(args.out.as_deref(), &name, start, create)?;
    let watch = Mutex::new(Watch::new(base.prices.currency()));
    let how = How {
        workers: args.workers,
        ..How::default()
    };
    // One account over all runs of the command.
    let budget = limit.map(Budget::new);
    let result = experiment.run(&folder, how, budget.as_ref(), &|progress| {
        if !args.quiet
            && let Ok(mut watch) = watch.lock()
        {
            watch.tick(progress);
        }
    });
    if let Ok(watch) = watch.lock() {
        watch.end();
    }
    // What was measured until then can be shown by `weighbridge report`.
    result?;
    let overhead = overhead::review(&folder)?;
    overhead::write(&folder, &overhead)?;
    shown(&overhead, args.json)?;
    say(&format!("facts and reports: {}", folder.path().display()));
    Ok(overhead.verdict.status.into())
}

/// Makes the report of an earlier command again.
pub(super) fn report(folder: &PairsFolder, json: bool) -> anyhow::Result<Exit> {
    let overhead = overhead::review(folder)?;
    if let Err(error) = overhead::write(folder, &overhead) {
        say(&format!(
            "warning: the report is shown, but not kept: {error}"
        ));
    }
    shown(&overhead, json)?;
    Ok(overhead.verdict.status.into())
}

fn shown(overhead: &Overhead, json: bool) -> anyhow::Result<()> {
    show(&if json {
        overhead.json()
    } else {
        overhead::console(overhead, wants_color())
    })
}

/// Time between plain lines, and between two of a level.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Shows both arms of a pair in one line: live on a terminal, a plain line now and then elsewhere.
struct Watch {
    bar: Option<ProgressBar>,
    said: Option<(String, Duration)>,
    arms: [Arm; 2],
    currency: Currency,
}

/// What an arm told last.
#[derive(Clone, Debug, Default)]
struct Arm {
    ended: u64,
    failed: u64,
    planned: Option<u64>,
    in_flight: u32,
    stopping: bool,
}

impl Watch {
    fn new(currency: Currency) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length();
            bar.set_style(
                ProgressStyle::with_template("{spinner:.cyan} {wide_msg}")
                    .expect("a valid template"),
            );
            bar
        });
        Self {
            bar,
            said: None,
            arms: [Arm::default(), Arm::default()],
            currency,
        }
    }

    fn tick(&mut self, progress: &Progress<'_>) {
        let tick = progress.tick;
        let level = format!("{} {}", progress.endpoint, progress.concurrency);
        if self.said.as_ref().is_none_or(|(said, _)| *said != level) {
            self.arms = [Arm::default(), Arm::default()];
            self.said = Some((level.clone(), Duration::ZERO));
        }
        self.arms[progress.arm] = Arm {
            ended: tick.progress.ended,
            failed: tick.progress.failed,
            planned: tick.planned,
            in_flight: tick.in_flight,
            stopping: tick.stopping,
        };
        let words = self.words(
            &level,
            tick.limit
                .map(|limit| limit.display(self.currency).to_string()),
        );
        match &self.bar {
            Some(bar) => {
                bar.set_message(words);
                bar.tick();
            }
            None => {
                let said = self.said.as_mut().map(|(_, said)| said);
                if let Some(said) = said.filter(|said| tick.elapsed >= **said + PLAIN_EVERY) {
                    *said = tick.elapsed;
                    // Whoever listened may have gone away; the runs go on.
                    let _ = writeln!(std::io::stderr().lock(), "{words}");
                }
            }
        }
    }

    fn words(&self, level: &str, limit: Option<String>) -> String {
        let [direct, via] = self.arms.each_ref().map(|arm| {
            let of = arm.planned.map(|n| format!("/{n}")).unwrap_or_default();
            format!("{}{of}", arm.ended)
        });
        let [first, second] = &self.arms;
        let stopping = if first.stopping || second.stopping {
            "stopping (again: cut)  "
        } else {
            ""
        };
        let limit = limit.map(|l| format!("  within {l}")).unwrap_or_default();
        format!(
            "{stopping}{level} users  direct {direct}  via {via}  {} in flight  {} failed{limit}",
            first.in_flight + second.in_flight,
            first.failed + second.failed
        )
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
