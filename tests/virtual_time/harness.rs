//! Sets a run up, lets virtual time pass, and gives back its facts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use weighbridge::billing::Attempt;
use weighbridge::billing::budget::Budget;
use weighbridge::billing::prices::PriceTable;
use weighbridge::client::Failure;
use weighbridge::client::scripted::{Answer, Ending, Response, Scripted};
use weighbridge::clock::Clock;
use weighbridge::endpoint::Endpoint;
use weighbridge::manifest::Manifest;
use weighbridge::plan::Plan;
use weighbridge::protocol::Surfaces;
use weighbridge::record::{FACTS_SCHEMA, Fact, FactSink, Outcome, Phase, Record};
use weighbridge::report::{Assembly, Report};
use weighbridge::run::{Conduct, Meter, Pool, Shared, Spend, Stop};
use weighbridge::scenario::Scenario;
use weighbridge::schedule::Replay;
use weighbridge::slice::Slice;
use weighbridge::time::{Offset, Window};
use weighbridge::truth::Truth;

/// A scenario of a line or two on top of this.
pub const BASE: &str = r#"
name = "virtual"
[target]
endpoint = "openai"
model = "magistral-small-latest"
[workload]
input_tokens = { fixed = 40 }
output_tokens = { fixed = 8 }
[load]
arrivals = "constant"
rate = 10.0
count = 20
"#;

/// The file of every replay here.
pub const DUE_TIMES: &str = "due_s\n0\n0.25\n0.25\n0.999999999\n1\n2.5\n";

/// Facts in memory.
#[derive(Clone, Default)]
pub struct Facts(Arc<Mutex<Vec<Fact>>>);

impl Facts {
    /// The attempts so far, in order of their ends.
    pub fn records(&self) -> Vec<Record> {
        let facts = self.0.lock().expect("no test panics here");
        let records = facts.iter().filter_map(|fact| match fact {
            Fact::Attempt(record, _) => Some((**record).clone()),
            _ => None,
        });
        records.collect()
    }
}

impl FactSink for Facts {
    fn put(&self, fact: Fact) {
        self.0.lock().expect("no test panics here").push(fact);
    }
}

/// What came of a run.
pub struct Ran {
    pub records: Vec<Record>,
    pub facts: Vec<Fact>,
    pub windows: BTreeMap<Endpoint, Window>,
    pub planned: BTreeMap<Endpoint, u64>,
    pub scenario: Scenario,
    pub prices: PriceTable,
    pub spent: Option<weighbridge::money::Money>,
    pub interrupted: bool,
    pub open_loop: bool,
}

impl Ran {
    pub fn measured(&self) -> Vec<&Record> {
        self.records
            .iter()
            .filter(|r| r.phase == Phase::Measured)
            .collect()
    }

    pub fn count(&self, outcome: Outcome) -> usize {
        self.measured()
            .iter()
            .filter(|r| r.outcome == outcome)
            .count()
    }

    pub fn report(&self) -> Report {
        self.report_against(None)
    }

    /// The report with these entries of an upstream's journal.
    pub fn report_against(&self, truths: Option<&[Truth]>) -> Report {
        let manifest = Manifest {
            schema: FACTS_SCHEMA.to_owned(),
            id: "virtual".to_owned(),
            scenario: self.scenario.name.clone(),
            started_at: "2026-08-01T00:00:00Z".to_owned(),
            duration_ns: Some(1),
            seed: self.scenario.seed,
            version: "0".to_owned(),
            target: "scripted".to_owned(),
            endpoints: self.scenario.target.endpoints.clone(),
            open_loop: self.open_loop,
            load: String::new(),
            models: self.scenario.target.models.clone(),
            slice: (0, 1),
            workers: 1,
            config_sha256: String::new(),
            prices_sha256: self.prices.sha256(),
            windows: self.windows.clone(),
            planned: self.planned.clone(),
            budget_waits: 0,
            truth_error: None,
            truth: truths.map(|_| "http://upstream/journal".to_owned()),
            interrupted: self.interrupted,
            partial: false,
            warnings: Vec::new(),
            environment: weighbridge::manifest::Environment::default(),
            connects: weighbridge::manifest::ConnectTotals::default(),
        };
        let limits = self.scenario.limits.as_ref();
        let mut assembly = Assembly::new(
            &manifest,
            &self.scenario.gates,
            limits,
            &self.prices,
            self.scenario.pricing.policy,
            &BTreeMap::new(),
        );
        let truths = truths.unwrap_or_default();
        assembly.journal_has_texts(truths.iter().any(Truth::has_text));
        for fact in &self.facts {
            match fact {
                Fact::Attempt(record, calls) => {
                    let mine = truths.iter().filter(|t| t.nonce == record.trace_id);
                    let mine: Vec<Truth> = mine.cloned().collect();
                    assembly
                        .add(&Attempt {
                            truth: manifest.truth.is_some().then_some(mine.as_slice()),
                            ..Attempt::seen(record)
                        })
                        .expect("planned endpoints and small amounts");
                    for call in calls {
                        assembly.add_call(call);
                    }
                }
                Fact::Gaps {
                    endpoint,
                    histogram,
                    ..
                } => assembly.add_gaps(*endpoint, histogram),
                Fact::Second(row) => assembly.add_second(row),
                Fact::Trace { .. } | Fact::Example(..) => {}
                Fact::Health(row) => assembly.add_health(row),
            }
        }
        assembly.finish().expect("the sums hold")
    }
}

/// Conducts a run in virtual time. `overrides` go over [`BASE`]; `during` runs beside it.
pub fn conduct<F: Future<Output = bool> + Send + 'static>(
    overrides: &[(&str, &str)],
    transport: &Scripted,
    during: impl FnOnce(Arc<Shared>, Clock) -> F,
) -> Ran {
    conduct_by(1, overrides, transport, during)
}

/// The same by this many workers.
pub fn conduct_by<F: Future<Output = bool> + Send + 'static>(
    workers: u32,
    overrides: &[(&str, &str)],
    transport: &Scripted,
    during: impl FnOnce(Arc<Shared>, Clock) -> F,
) -> Ran {
    let overrides: Vec<(String, String)> = overrides
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let scenario = Scenario::parse("test", BASE, &overrides).unwrap_or_else(|e| panic!("{e}"));
    let prices = PriceTable::builtin(&scenario.pricing.table).expect("built in");
    let replay = scenario.load.replay().map(|file| {
        Replay::read(&file.path, DUE_TIMES.as_bytes()).unwrap_or_else(|e| panic!("{e}"))
    });
    let schedule = scenario.load.spec(replay);
    let open_loop = schedule.arrivals.is_open();
    let facts = Facts::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let (windows, planned, spent, interrupted) = runtime.block_on(async {
        let clock = Clock::virtual_time();
        let plan = Plan {
            run_id: "virtual".to_owned(),
            seed: scenario.seed,
            endpoints: scenario.target.endpoints.clone(),
            schedule,
            workload: scenario.workload.spec(None),
            dialect: scenario.target.dialect.clone(),
            slice: Slice::WHOLE,
            begins: Offset::ZERO,
        };
        let budget = scenario
            .pricing
            .budget
            .map(|(amount, _)| Budget::new(amount));
        let account = Spend::new(Arc::new(prices.clone()), budget);
        let shared = Shared::new(
            &plan,
            workers,
            Some(Arc::new(account)),
            Box::new(facts.clone()),
        );
        let pools = Pool::all(&plan);
        let mut working = tokio::task::JoinSet::new();
        for index in 0..workers {
            let slice = Slice::new(u64::from(index), u64::from(workers)).expect("below");
            let worker = Arc::new(Conduct {
                pools: pools.clone(),
                meter: Arc::new(Meter::new(index, &plan.endpoints)),
                plan: Plan {
                    slice,
                    ..plan.clone()
                },
                transport: transport.clone(),
                clock: clock.clone(),
                shared: shared.clone(),
                surfaces: Surfaces::new(&scenario.pricing.surfaces),
                timeouts: scenario.target.timeouts,
                retries: scenario.target.retries,
                trace: true,
                grace: scenario.grace,
                secrets: Vec::new(),
            });
            working.spawn(async move {
                let (over, pulse_ends) = tokio::sync::oneshot::channel();
                let pulse = tokio::spawn(worker.clone().pulse(pulse_ends));
                worker.drive().await;
                drop(over);
                pulse.await.expect("the pulse ends");
            });
        }
        let beside = tokio::spawn(during(shared.clone(), clock.clone()));
        working.join_all().await;
        let interrupted = beside.await.expect("what runs beside ends");
        let spent = shared.spend.as_ref().and_then(|spend| spend.spent());
        (
            shared.windows(clock.now()),
            shared.planned(),
            spent,
            interrupted,
        )
    });
    let facts = std::mem::take(&mut *facts.0.lock().expect("no test panics here"));
    let records = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Attempt(record, _) => Some((**record).clone()),
            _ => None,
        })
        .collect();
    Ran {
        records,
        facts,
        windows,
        planned,
        scenario,
        prices,
        spent,
        interrupted,
        open_loop,
    }
}

/// A run with nothing beside it.
pub fn run(overrides: &[(&str, &str)], transport: &Scripted) -> Ran {
    conduct(overrides, transport, |_, _| async { false })
}

/// The same by this many workers.
pub fn run_by(workers: u32, overrides: &[(&str, &str)], transport: &Scripted) -> Ran {
    conduct_by(workers, overrides, transport, |_, _| async { false })
}

/// Stops the run at these moments, as signals do.
pub async fn stop_at(shared: Arc<Shared>, clock: Clock, stops: Vec<(u64, Stop)>) -> bool {
    for (ms, stop) in stops {
        clock.sleep_until(Offset::from_nanos(ms * 1_000_000)).await;
        shared.stop(stop);
    }
    true
}

pub const MS: Duration = Duration::from_millis(1);

/// An SSE event.
pub fn data(json: &str) -> Bytes {
    Bytes::from(format!("data: {json}\n\n"))
}

/// A chunk with a piece of text.
pub fn text(word: &str) -> Bytes {
    data(&format!(
        r#"{{"id":"c1","model":"magistral-small-latest","choices":[{{"index":0,"delta":{{"role":"assistant","content":"{word} "}}}}]}}"#
    ))
}

/// The last chunk before `[DONE]`: the finish, the usage, the cost.
pub fn finish(cost: &str) -> Bytes {
    data(&format!(
        r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":40,"completion_tokens":8,"total_tokens":48,"cost":{cost}}}}}"#
    ))
}

pub fn done() -> Bytes {
    data("[DONE]")
}

/// The right cost of [`finish`]'s usage: 40 x 0.50 + 8 x 1.50 dollars per million.
pub const COST: &str = "0.000032";

pub fn stream_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "text/event-stream".parse().expect("valid"));
    headers
}

/// A streamed answer: the head after 10 ms, the first of `n` words 20 ms later, the others 5 ms
/// apart, then the end at once.
pub fn answer_of(words: usize, cost: &str) -> Response {
    let mut frames: Vec<(Duration, Bytes)> = (0..words)
        .map(|n| (MS * if n == 0 { 20 } else { 5 }, text(&format!("w{n}"))))
        .collect();
    frames.push((Duration::ZERO, finish(cost)));
    frames.push((Duration::ZERO, done()));
    Response {
        head_after: MS * 10,
        status: 200,
        headers: stream_headers(),
        frames,
        ending: Ending::Complete,
    }
}

/// The same with 8 words and the right cost.
pub fn answer() -> Response {
    answer_of(8, COST)
}

/// Every request is answered so.
pub fn always(response: Response) -> Scripted {
    Scripted::new(move |_, _| Answer::Respond(response.clone()))
}

/// A refusal.
pub fn refusal(status: u16, body: &str) -> Response {
    Response {
        head_after: MS,
        status,
        headers: HeaderMap::new(),
        frames: vec![(Duration::ZERO, Bytes::from(body.to_owned()))],
        ending: Ending::Complete,
    }
}

pub fn failure(outcome: Outcome) -> Failure {
    Failure {
        outcome,
        message: "scripted".to_owned(),
    }
}
