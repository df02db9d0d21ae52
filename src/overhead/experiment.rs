//! Two arms at each level of each endpoint: what each sends, what that may cost, and the runs.

use std::fmt::Write as _;
use std::thread;

use jiff::civil::Date;

use crate::billing::budget::Budget;
use crate::endpoint::Endpoint;
use crate::manifest::{PAIRS_SCHEMA, Pairs, PairsArm, PairsLevel};
use crate::preview::{Preview, Terms};
use crate::run::live::{How, Ready, RunError, Tick, plan};
use crate::run::{Seat, Turns};
use crate::scenario::{Endpoints, File, Problem, ScenarioError};
use crate::store::{Inputs, PairsFolder, RunFolder};
use crate::workload::Cache;

use super::assembly::ARMS;

/// What is asked for beside the scenario.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Origin of the upstream itself.
    pub direct: String,
    /// Origin of the gateway.
    pub via: String,
    /// Variable of the upstream's key; the scenario's if absent.
    pub direct_key_env: Option<String>,
    /// The model's name at the upstream; the scenario's if absent.
    pub direct_model: Option<String>,
    /// Users at once, level by level; each at least 1.
    pub concurrency: Vec<u32>,
    /// Sessions of a level, arm and endpoint, at least.
    pub requests: u64,
    /// Blocks of a level; at least 1.
    pub blocks: u64,
}

/// Sessions of a block for each user, at least. At the end of a turn fewer users are at work than the
/// level says: with four sessions each, that is a small part of the turn.
const SESSIONS_PER_USER: u64 = 4;

/// All pairs of runs of a command.
#[derive(Debug)]
pub struct Experiment {
    /// What it says of itself.
    pub pairs: Pairs,
    /// By endpoint and level: the inputs of both arms.
    runs: Vec<Pair>,
}

#[derive(Debug)]
struct Pair {
    endpoint: Endpoint,
    level: usize,
    arms: [Inputs; 2],
}

impl Pair {
    /// Both arms, each of which keeps the keys of both out of what it writes.
    fn ready(&self, how: How) -> Result<[Ready<'_>; 2], RunError> {
        let [direct, via] = &self.arms;
        let new = |arm, inputs| Ready::new(inputs, how).map_err(|error| of_arm(arm, error));
        let mut ready = [new(0, direct)?, new(1, via)?];
        let keys = ready.each_ref().map(|arm| arm.keys().to_vec()).concat();
        for arm in &mut ready {
            arm.keep_out(&keys);
        }
        Ok(ready)
    }
}

/// How a pair goes on.
#[derive(Debug)]
pub struct Progress<'a> {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Users at once.
    pub concurrency: u32,
    /// Which arm tells: 0 direct, 1 via.
    pub arm: usize,
    /// What it tells.
    pub tick: &'a Tick<'a>,
}

impl Experiment {
    /// The runs that `base`, the scenario as it stands, comes to.
    pub fn new(base: &Inputs, asked: &Asked, started_at: &str) -> Result<Self, ScenarioError> {
        if base.scenario.file.workload.cache == Cache::Shared {
            return Err(ScenarioError {
                problems: vec![Problem {
                    place: base.scenario.name.clone(),
                    key: "workload.cache".to_owned(),
                    message: "`shared` gives both arms the same prompts, so that the second finds what the first has put into a cache; leave the key out, or add `--set workload.cache=unique`".to_owned(),
                }],
            });
        }
        let mut concurrency = asked.concurrency.clone();
        concurrency.sort_unstable();
        concurrency.dedup();
        let levels: Vec<PairsLevel> = concurrency
            .into_iter()
            .map(|concurrency| {
                let users = u64::from(concurrency) * SESSIONS_PER_USER;
                PairsLevel {
                    concurrency,
                    sessions_per_block: asked.requests.div_ceil(asked.blocks).max(users),
                }
            })
            .collect();
        let scenario = &base.scenario;
        let endpoints = scenario.target.endpoints.clone();
        let mut runs = Vec::new();
        for &endpoint in &endpoints {
            for (level, at) in levels.iter().enumerate() {
                let arm = |arm| arm_inputs(base, asked, arm, endpoint, *at);
                let arms = [arm(0)?, arm(1)?];
                runs.push(Pair {
                    endpoint,
                    level,
                    arms,
                });
            }
        }
        let of = |arm: usize| {
            let target = &runs[0].arms[arm].scenario.target;
            PairsArm {
                name: ARMS[arm].to_owned(),
                origin: target.origin.clone().unwrap_or_default(),
                models: target.models.clone(),
            }
        };
        let pairs = Pairs {
            schema: PAIRS_SCHEMA.to_owned(),
            scenario: scenario.name.clone(),
            started_at: started_at.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: scenario.seed,
            arms: [of(0), of(1)],
            endpoints,
            levels,
            blocks: asked.blocks,
        };
        Ok(Self { pairs, runs })
    }

    /// The inputs of one run of each arm: what is asked before any is loaded.
    pub fn arms(&self) -> &[Inputs; 2] {
        &self.runs[0].arms
    }

    /// What will be sent and may be spent, in a few lines.
    pub fn preview(&self, date: Date) -> String {
        let pairs = &self.pairs;
        let endpoints: Vec<&str> = pairs.endpoints.iter().map(|e| e.name()).collect();
        let mut out = format!(
            "{}: overhead of {} over {} ({})\n",
            pairs.scenario,
            pairs.arms[1].origin,
            pairs.arms[0].origin,
            endpoints.join(" and ")
        );
        let levels = pairs.levels.iter().map(|level| {
            let sessions = level.sessions_per_block.saturating_mul(pairs.blocks);
            let users = level.concurrency;
            let s = if users == 1 { "" } else { "s" };
            format!("{sessions} by {users} user{s}")
        });
        let _ = writeln!(
            out,
            "always a closed loop; both arms in turn, in {} blocks; sessions of each arm: {}",
            pairs.blocks,
            levels.collect::<Vec<_>>().join(", ")
        );
        let previews = self.runs.iter().flat_map(|pair| &pair.arms);
        let previews = previews.map(|inputs| self::preview(inputs, date));
        let all = previews.reduce(Preview::and);
        let _ = write!(out, "{}", all.expect("a command has pairs"));
        out
    }

    /// Runs all pairs, one after the other, into `folder`, until one does not come to its end.
    /// `budget` is what they may spend together.
    pub fn run(
        &self,
        folder: &PairsFolder,
        how: How,
        budget: Option<&Budget>,
        watch: &(dyn Fn(&Progress<'_>) + Sync),
    ) -> Result<(), RunError> {
        // What can be wrong is found before the first request.
        let mut ready = Vec::new();
        for pair in &self.runs {
            ready.push(pair.ready(how)?);
        }
        for (pair, ready) in self.runs.iter().zip(ready) {
            let level = self.pairs.levels[pair.level];
            let name = |arm| self.pairs.folder(pair.endpoint, pair.level, arm);
            let folders = [folder.create_run(&name(0))?, folder.create_run(&name(1))?];
            let seats = Turns::seats(self.pairs.seed, level.concurrency, level.sessions_per_block);
            let tell = |arm: usize, tick: &Tick<'_>| {
                watch(&Progress {
                    endpoint: pair.endpoint,
                    concurrency: level.concurrency,
                    arm,
                    tick,
                });
            };
            if !self.both(ready, &folders, seats, budget, &tell)? {
                break;
            }
        }
        Ok(())
    }

    /// Runs both arms of a pair; whether both came to their end.
    fn both(
        &self,
        ready: [Ready<'_>; 2],
        folders: &[RunFolder; 2],
        seats: [Seat; 2],
        budget: Option<&Budget>,
        tell: &(dyn Fn(usize, &Tick<'_>) + Sync),
    ) -> Result<bool, RunError> {
        let results = thread::scope(|scope| {
            let threads: Vec<_> = ready
                .into_iter()
                .zip(folders)
                .zip(seats)
                .enumerate()
                .map(|(arm, ((ready, folder), seat))| {
                    let budget = budget.cloned();
                    scope.spawn(move || {
                        let _closes = CloseOnPanic(&seat);
                        let ready = ready.in_turns(seat.clone());
                        ready.run(folder, budget, &mut |tick| tell(arm, tick))
                    })
                })
                .collect();
            let results = threads.into_iter().map(thread::ScopedJoinHandle::join);
            results.collect::<Vec<_>>()
        });
        let mut whole = true;
        for (arm, (result, folder)) in results.into_iter().zip(folders).enumerate() {
            let manifest = match result {
                Ok(manifest) => manifest.map_err(|error| of_arm(arm, error))?,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            let blocks = folder.blocks()?.unwrap_or_default().len() as u64;
            whole &= !manifest.interrupted && blocks == self.pairs.blocks;
        }
        Ok(whole)
    }
}

/// What is wrong with an arm, and the options that it goes by beside the scenario.
fn of_arm(arm: usize, error: RunError) -> RunError {
    RunError::OfArm {
        arm: if arm == 0 {
            "the direct arm (`--direct`, `--direct-key-env`, `--direct-model`)"
        } else {
            "the gateway's arm (`--via`)"
        },
        error: Box::new(error),
    }
}

/// A bug in one arm must not leave the other waiting.
struct CloseOnPanic<'a>(&'a Seat);

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.close();
        }
    }
}

/// What `arm` sends to `endpoint` at a level.
fn arm_inputs(
    base: &Inputs,
    asked: &Asked,
    arm: usize,
    endpoint: Endpoint,
    level: PairsLevel,
) -> Result<Inputs, ScenarioError> {
    let mut file: File = base.scenario.file.clone();
    // Claims are for runs; here two of them are compared.
    file.gates.clear();
    file.offline = None;
    // An attempt that took the place of a refused one would hide the refusal.
    file.target.retries = None;
    file.target.endpoint = match endpoint {
        Endpoint::OpenAi => Endpoints::OpenAi,
        Endpoint::Anthropic => Endpoints::Anthropic,
    };
    file.load.close(
        level.concurrency,
        level.sessions_per_block.saturating_mul(asked.blocks),
    );
    let origin = if arm == 0 {
        // What the gateway records is not to be had from the upstream.
        file.pricing.ledger = None;
        if let Some(recorded) = &mut file.pricing.recorded {
            recorded.retain(|place| !place.starts_with("lookup:"));
        }
        if let Some(variable) = &asked.direct_key_env {
            file.target.api_key_env = Some(variable.clone());
        }
        if let Some(model) = &asked.direct_model {
            file.target.model = Some(model.clone());
            file.target.models.clear();
        }
        &asked.direct
    } else {
        &asked.via
    };
    file.target.base_url = Some(origin.clone());
    let name = format!("{} (--{})", base.scenario.name, ARMS[arm]);
    base.with_scenario(&name, &file.to_toml())
}

fn preview(inputs: &Inputs, date: Date) -> Preview {
    let scenario = &inputs.scenario;
    let terms = Terms {
        date,
        attempts_max: scenario.target.retries.map_or(1, |r| r.attempts_max),
        budget: scenario.pricing.budget.map(|(amount, _)| amount),
        policy: scenario.pricing.policy,
        reasoning_share: 0.0,
    };
    Preview::new(&plan(inputs), &inputs.prices, &terms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::load_inputs;

    /// The command over the embedded scenario with these keys set.
    fn experiment(
        set: &[(&str, &str)],
        direct_key_env: Option<&str>,
    ) -> Result<Experiment, String> {
        let set: Vec<_> = set
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let base = load_inputs(None, &set).expect("a scenario");
        let asked = Asked {
            direct: "http://127.0.0.1:1".to_owned(),
            via: "http://127.0.0.1:2".to_owned(),
            direct_key_env: direct_key_env.map(str::to_owned),
            direct_model: None,
            concurrency: vec![1],
            requests: 8,
            blocks: 8,
        };
        Experiment::new(&base, &asked, "now").map_err(|error| error.to_string())
    }

    #[test]
    fn each_arm_keeps_the_keys_of_both_out_of_its_facts() {
        // Two variables that are there in every test.
        let gateway = [("target.api_key_env", "\"CARGO_PKG_NAME\"")];
        let experiment = experiment(&gateway, Some("CARGO_MANIFEST_DIR")).expect("valid");
        let variables = ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"];
        let mut both = variables.map(|name| std::env::var(name).expect("set by cargo"));
        both.sort_by_key(|key| (std::cmp::Reverse(key.len()), key.clone()));
        let ready = experiment.runs[0].ready(How::default()).expect("ready");
        for arm in &ready {
            assert_eq!(arm.keys(), both);
        }
    }

    #[test]
    fn what_is_wrong_with_an_arm_names_it() {
        let keyed = [("target.api_key_env", "\"CARGO_PKG_NAME\"")];
        let error = |set: &[(&str, &str)], direct: &str| {
            let experiment = experiment(set, Some(direct)).expect("valid");
            let error = experiment.runs[0].ready(How::default()).err();
            error.expect("a variable that is not set").to_string()
        };
        let direct = error(&keyed, "NOT_SET_ANYWHERE");
        assert!(direct.starts_with("the direct arm ("), "{direct}");
        assert!(direct.contains("`--direct-key-env`"), "{direct}");
        let absent = [("target.api_key_env", "\"NOT_SET_ANYWHERE\"")];
        let via = error(&absent, "CARGO_PKG_NAME");
        assert!(via.starts_with("the gateway's arm (`--via`): "), "{via}");
    }

    #[test]
    fn no_retry_hides_a_refusal() {
        let retries = [
            ("target.retries.attempts", "3"),
            ("target.retries.wait", "\"1s\""),
            ("target.retries.wait_max", "\"2s\""),
        ];
        let experiment = experiment(&retries, None).expect("valid");
        for inputs in experiment.arms() {
            assert!(inputs.scenario.target.retries.is_none());
        }
    }

    #[test]
    fn prompts_that_share_a_cache_are_refused() {
        let error = experiment(&[("workload.cache", "\"shared\"")], None).expect_err("refused");
        assert!(
            error.contains("workload.cache: `shared` gives both arms"),
            "{error}"
        );
        assert!(error.contains("--set workload.cache=unique"), "{error}");
    }
}
