//! Two arms that take turns: never both at once, in the order that the seed says, to the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weighbridge::billing::budget::Budget;
use weighbridge::billing::prices::PriceTable;
use weighbridge::client::scripted::{Answer, Response, Scripted};
use weighbridge::clock::Clock;
use weighbridge::endpoint::Endpoint;
use weighbridge::plan::Plan;
use weighbridge::protocol::Surfaces;
use weighbridge::record::{Block, Outcome, Phase, Record};
use weighbridge::run::{Conduct, Meter, Pool, Seat, Shared, Spend, Stop, Turns};
use weighbridge::scenario::Scenario;
use weighbridge::slice::Slice;
use weighbridge::time::{Offset, Window};

use super::harness::{BASE, Facts, MS, always, answer, answer_of, data, failure, refusal};

/// What one arm came to.
struct Arm {
    records: Vec<Record>,
    blocks: Vec<Block>,
    window: Window,
    warnings: Vec<String>,
    stopped: Stop,
}

impl Arm {
    fn measured(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|r| r.phase == Phase::Measured)
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.measured().filter(|r| r.outcome == outcome).count()
    }

    /// Numbers of the blocks that it has done.
    fn done(&self) -> Vec<u64> {
        self.blocks.iter().map(|block| block.block).collect()
    }
}

/// Users of each arm, sessions of a block, blocks.
const USERS: u32 = 3;
const SESSIONS: u64 = 5;
const BLOCKS: u64 = 6;

/// Both arms in virtual time, each by two workers. `during` runs beside them.
fn pair<F: Future<Output = ()> + Send + 'static>(
    overrides: &[(&str, &str)],
    transports: &[Scripted; 2],
    during: impl FnOnce([Arc<Shared>; 2], [Seat; 2], Clock) -> F,
) -> [Arm; 2] {
    let load = format!(
        "{{ arrivals = \"closed\", concurrency = {USERS}, count = {}, warmup = \"200ms\" }}",
        SESSIONS * BLOCKS
    );
    let overrides: Vec<(String, String)> = [("load", load.as_str())]
        .iter()
        .chain(overrides)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let scenario = Scenario::parse("test", BASE, &overrides).unwrap_or_else(|e| panic!("{e}"));
    let prices = Arc::new(PriceTable::builtin(&scenario.pricing.table).expect("built in"));
    let budget = scenario.pricing.budget.map(|(limit, _)| Budget::new(limit));
    let seats = Turns::seats(scenario.seed, USERS, SESSIONS);
    let facts = [Facts::default(), Facts::default()];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let clock = Clock::virtual_time();
        let mut working = tokio::task::JoinSet::new();
        let mut all_shared = Vec::new();
        for (arm, transport) in transports.iter().enumerate() {
            let plan = Plan {
                run_id: format!("arm{arm}"),
                seed: scenario.seed,
                endpoints: scenario.target.endpoints.clone(),
                schedule: scenario.load.spec(None),
                workload: scenario.workload.spec(None),
                dialect: scenario.target.dialect.clone(),
                slice: Slice::WHOLE,
                begins: Offset::ZERO,
            };
            let account = Arc::new(Spend::new(prices.clone(), budget.clone()));
            let shared = Shared::new(&plan, 2, Some(account), Box::new(facts[arm].clone()));
            let pools = Pool::in_turns(&plan, &seats[arm], &shared);
            for index in 0..2 {
                let worker = Arc::new(Conduct {
                    pools: pools.clone(),
                    meter: Arc::new(Meter::new(index, &plan.endpoints)),
                    plan: Plan {
                        slice: Slice::new(u64::from(index), 2).expect("below"),
                        ..plan.clone()
                    },
                    transport: transport.clone(),
                    clock: clock.clone(),
                    shared: shared.clone(),
                    surfaces: Surfaces::new(&scenario.pricing.surfaces),
                    timeouts: scenario.target.timeouts,
                    retries: scenario.target.retries,
                    trace: false,
                    grace: scenario.grace,
                    secrets: Vec::new(),
                });
                working.spawn(worker.drive());
            }
            all_shared.push(shared);
        }
        let [first, second] = [all_shared[0].clone(), all_shared[1].clone()];
        let beside = tokio::spawn(during([first, second], seats.clone(), clock.clone()));
        // Nobody waits for ever: this is an hour of virtual time.
        let all = tokio::time::timeout(Duration::from_secs(3_600), working.join_all()).await;
        all.expect("both arms end");
        beside.await.expect("what runs beside ends");
        let ended = clock.now();
        [0, 1].map(|arm| {
            let shared = &all_shared[arm];
            let mut window = shared.windows(ended)[&Endpoint::OpenAi];
            window.idle_ns = seats[arm].idle_ns(window);
            Arm {
                records: facts[arm].records(),
                blocks: seats[arm].blocks(),
                window,
                warnings: shared.warnings(),
                stopped: shared.stopped(),
            }
        })
    })
}

fn undisturbed(overrides: &[(&str, &str)], transports: &[Scripted; 2]) -> [Arm; 2] {
    pair(overrides, transports, |_, _, _| async {})
}

/// Holds what is true of any two arms: the load of one never meets the other's, and every request
/// lies in its block. Only attempts that were sent count.
#[track_caller]
fn holds(arms: &[Arm; 2]) {
    let spans = arms.each_ref().map(|arm| {
        let sent = arm.measured().filter_map(|r| {
            let end = r.terminator.or(r.ended)?;
            Some((r.sent?, end, r.session))
        });
        sent.collect::<Vec<_>>()
    });
    for (sent, end, session) in &spans[0] {
        for (other_sent, other_end, other) in &spans[1] {
            assert!(
                end <= other_sent || other_end <= sent,
                "{session} of one meets {other} of the other"
            );
        }
    }
    for (arm, spans) in arms.iter().zip(&spans) {
        let done: BTreeMap<u64, &Block> = arm.blocks.iter().map(|b| (b.block, b)).collect();
        for (sent, end, session) in spans {
            if let Some(block) = done.get(&(session / SESSIONS)) {
                assert!(block.start_ns <= *sent && *end <= block.end_ns, "{block:?}");
            }
        }
    }
}

/// Which arm does each block first.
fn firsts(arms: &[Arm; 2]) -> Vec<usize> {
    let [direct, via] = arms;
    let pairs = direct.blocks.iter().zip(&via.blocks);
    pairs
        .map(|(direct, via)| usize::from(via.start_ns < direct.start_ns))
        .collect()
}

#[test]
fn both_arms_do_every_block_one_after_the_other() {
    let slower = answer_of(30, "0.000032");
    let arms = undisturbed(&[], &[always(answer()), always(slower)]);
    holds(&arms);
    for arm in &arms {
        assert_eq!(arm.done(), (0..BLOCKS).collect::<Vec<_>>());
        assert_eq!(arm.stopped, Stop::No);
        assert_eq!(arm.count(Outcome::Ok), 30);
        let mut sessions: Vec<u64> = arm.measured().map(|r| r.session).collect();
        sessions.sort_unstable();
        assert_eq!(sessions, (0..30).collect::<Vec<_>>());
        let most = arm.measured().filter_map(|r| r.in_flight).max();
        assert_eq!(most, Some(USERS), "as many as the scenario says");
    }
    let names = arms.each_ref().map(|arm| {
        let names = arm.measured().map(|r| r.trace_id.clone());
        names.collect::<std::collections::BTreeSet<_>>()
    });
    assert!(names[0].is_disjoint(&names[1]), "no cache serves both");
}

#[test]
fn the_order_is_drawn_from_the_seed_and_neither_comes_first_more_often() {
    let order = |seed: &str| {
        let seed = [("load.seed", seed)];
        firsts(&undisturbed(&seed, &[always(answer()), always(answer())]))
    };
    let orders: Vec<Vec<usize>> = ["1", "2", "3", "4", "5", "6"].map(order).into();
    for order in &orders {
        assert_eq!(order.len(), 6);
        assert!(order.chunks(2).all(|two| two[0] != two[1]), "{order:?}");
    }
    assert!(orders.iter().any(|order| *order != orders[0]), "{orders:?}");
    assert_eq!(order("1"), orders[0]);
}

#[test]
fn the_first_turn_comes_when_both_warm_ups_are_over() {
    let slow = answer_of(200, "0.000032");
    let arms = undisturbed(&[], &[always(answer()), always(slow)]);
    holds(&arms);
    let warm = |arm: &Arm| {
        let warm = arm.records.iter().filter(|r| r.phase == Phase::Warmup);
        warm.filter_map(|r| r.terminator).max().expect("a warm-up")
    };
    let over = warm(&arms[0]).max(warm(&arms[1]));
    assert!(over > Offset::from_nanos(1_000_000_000), "{over:?}");
    for arm in &arms {
        let first = arm.measured().filter_map(|r| r.sent).min();
        assert!(first >= Some(over), "{first:?}");
        assert_eq!(Some(arm.window.start_ns), first, "with its first turn");
        let early = arm.records.iter().filter(|r| r.phase == Phase::Warmup);
        assert!(early.clone().count() > 0);
        assert!(early.clone().all(|r| r.counts.window_token_events == 0));
    }
}

#[test]
fn the_other_arms_turns_are_no_time_of_ones_own() {
    let slower = answer_of(48, "0.000032");
    let [direct, via] = undisturbed(&[], &[always(answer()), always(slower)]);
    // Five sessions by three users are two answers of 65 ms, or of 265 ms, one after the other. In the
    // last block the window ends with the first user that finds nothing to do: after the first.
    for (arm, each) in [(direct, 65), (via, 265)] {
        let busy = arm.blocks.iter().map(|b| b.end_ns.nanos_since(b.start_ns));
        assert_eq!(busy.sum::<u64>(), 12 * each * 1_000_000);
        assert_eq!(arm.window.seconds(), Some(11.0 * each as f64 / 1e3));
    }
}

#[test]
fn failures_retries_and_refusals_keep_their_turns() {
    let script = |shift: u64| {
        Scripted::new(move |_, n| match (n + shift) % 5 {
            0 => Answer::Fail(MS * 3, failure(Outcome::ConnectFailed)),
            1 => Answer::Respond(refusal(503, "busy")),
            2 => Answer::Hang,
            _ => Answer::Respond(answer()),
        })
    };
    let overrides = [
        ("target.retries", "{ attempts = 2, wait = \"40ms\" }"),
        ("target.timeouts.first_token", "\"1s\""),
    ];
    let arms = undisturbed(&overrides, &[script(0), script(2)]);
    holds(&arms);
    for arm in &arms {
        assert_eq!(arm.done(), (0..BLOCKS).collect::<Vec<_>>());
        assert!(arm.count(Outcome::TimeoutFirstToken) > 0);
        assert!(arm.count(Outcome::Ok) > 0);
        assert!(arm.measured().any(|r| r.attempt == 1), "some are retried");
        assert_eq!(arm.measured().filter(|r| r.last).count(), 30);
    }
}

/// Calls a tool until it has had two results, then says something.
fn calling() -> Scripted {
    let call = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a1","type":"function","function":{"name":"get_weather","arguments":"{}"}}]}}]}"#;
    let stop = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":40,"completion_tokens":8,"total_tokens":48}}"#;
    let called = Response {
        frames: vec![
            (MS * 20, data(call)),
            (MS * 5, data(stop)),
            (Duration::ZERO, data("[DONE]")),
        ],
        ..answer()
    };
    Scripted::new(move |request, _| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        let messages = body["messages"].as_array().expect("messages");
        let results = messages.iter().filter(|m| m["role"] == "tool").count();
        Answer::Respond(if results < 2 {
            called.clone()
        } else {
            answer()
        })
    })
}

#[test]
fn a_session_is_over_after_its_last_turn() {
    let tools = [
        ("workload.tools_share", "1.0"),
        (
            "workload.tools",
            "{ turns_max = 5, results = [{ text = \"18 C\", delay = \"90ms\" }] }",
        ),
    ];
    let arms = undisturbed(&tools, &[calling(), calling()]);
    for arm in &arms {
        assert_eq!(arm.done(), (0..BLOCKS).collect::<Vec<_>>());
        assert_eq!(arm.measured().count(), 90, "three turns each");
        assert_eq!(arm.count(Outcome::Ok), 90);
    }
    holds(&arms);
    // The tools' time belongs to a session: nobody else begins in it.
    let blocks = arms.iter().flat_map(|arm| &arm.blocks);
    let mut spans: Vec<_> = blocks.map(|b| (b.start_ns, b.end_ns)).collect();
    spans.sort_unstable();
    assert!(spans.windows(2).all(|two| two[0].1 <= two[1].0));
    // Two waves of 35 + 90 + 35 + 90 + 65 ms.
    assert!(
        spans.iter().all(|(a, b)| b.nanos_since(*a) == 630_000_000),
        "{spans:?}"
    );
}

#[test]
fn a_stop_of_one_arm_ends_both_whoevers_turn_it_is() {
    for stop in [Stop::Arrivals, Stop::Everything] {
        for stopped in 0..2 {
            for at in [50, 300, 777, 1_000] {
                let arms = pair(
                    &[],
                    &[always(answer()), always(answer_of(48, "0.000032"))],
                    move |shared, _, clock| async move {
                        clock.sleep_until(Offset::from_duration(MS * at)).await;
                        shared[stopped].stop(stop);
                    },
                );
                holds(&arms);
                for arm in &arms {
                    assert!(arm.stopped >= Stop::Arrivals, "{at} ms");
                    assert!(arm.blocks.len() < 6, "{at} ms: {:?}", arm.blocks);
                }
                let other = &arms[1 - stopped];
                assert_eq!(
                    other.warnings,
                    ["the other arm stopped, and so did this one"]
                );
                assert_eq!(other.count(Outcome::Cut), 0, "it may end what it has begun");
            }
        }
    }
}

#[test]
fn an_arm_that_never_comes_is_not_waited_for() {
    // As where its preflight is refused: its seat is closed, and its users never arrive.
    let never = Scripted::new(|_, _| Answer::Hang);
    let arms = pair(
        &[],
        &[always(answer()), never],
        |shared, [_, seat], clock| async move {
            clock.sleep_until(Offset::from_duration(MS * 900)).await;
            seat.close();
            shared[1].stop(Stop::Everything);
        },
    );
    holds(&arms);
    assert_eq!(arms[0].measured().count(), 0);
    assert_eq!(arms[0].window.seconds(), None);
    assert_eq!(arms[0].stopped, Stop::Arrivals);
}

#[test]
fn one_budget_ends_both_arms() {
    // A request reserves some 0.0003 dollars and costs a tenth of that.
    let mut measured = 0;
    for budget in ["\"0.0006 USD\"", "\"0.0009 USD\"", "\"0.0015 USD\""] {
        let budget = [("pricing.budget", budget)];
        let arms = undisturbed(&budget, &[always(answer()), always(answer())]);
        holds(&arms);
        let said: Vec<&String> = arms.iter().flat_map(|arm| &arm.warnings).collect();
        assert!(
            said.iter().any(|said| said.contains("ended the run")),
            "{said:?}"
        );
        for arm in &arms {
            assert_eq!(arm.stopped, Stop::Arrivals);
            assert!(arm.blocks.len() < 6, "{:?}", arm.blocks);
            measured += arm.measured().count();
        }
    }
    assert!(measured > 0, "some end in the warm-up, and some in a turn");
}
