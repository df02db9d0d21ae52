//! Schedules, phases, limits and stops, exact to the nanosecond.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use weighbridge::client::scripted::{Answer, Ending, Scripted};
use weighbridge::endpoint::Endpoint;
use weighbridge::metrics::Metric;
use weighbridge::money::Money;
use weighbridge::record::{Outcome, Phase};
use weighbridge::run::Stop;

use super::harness::{COST, MS, always, answer, answer_of, conduct, data, refusal, run, stop_at};

fn ms(ns: Option<u64>) -> Option<u64> {
    ns.map(|ns| ns / 1_000_000)
}

#[test]
fn an_open_loop_sends_each_request_when_it_is_due() {
    let ran = run(&[], &always(answer()));
    let records = ran.measured();
    assert_eq!(records.len(), 20);
    assert_eq!(ran.count(Outcome::Ok), 20);
    let mut due: Vec<u64> = records
        .iter()
        .map(|r| r.due.expect("open loop").nanos())
        .collect();
    due.sort_unstable();
    assert_eq!(due, (0..20).map(|k| k * 100_000_000).collect::<Vec<_>>());
    for record in records {
        assert_eq!(Metric::ScheduleLag.sample(record), Some(0));
        assert_eq!(ms(Metric::Ttft.sample(record)), Some(30));
        assert_eq!(ms(Metric::E2e.sample(record)), Some(65));
        assert_eq!(
            ms(Metric::Tpot.sample(record)),
            Some(5),
            "35 ms over 7 tokens after the first"
        );
        assert_eq!(record.counts.gap_count, 7);
        assert_eq!(record.counts.gap_sum_ns, 35_000_000);
        assert_eq!(
            record.costs,
            [("stream:/usage/cost".to_owned(), COST.to_owned())]
        );
    }
}

#[test]
fn rates_are_taken_from_the_first_due_time_to_the_last() {
    let ran = run(&[], &always(answer()));
    let report = ran.report();
    let throughput = report.endpoints[&Endpoint::OpenAi].throughput;
    assert_eq!(throughput.window_s, Some(1.9));
    // The last request ends 65 ms after the window: 19 of 20 completed inside.
    assert_eq!(throughput.requests_per_s, Some(19.0 / 1.9));
    assert_eq!(throughput.events_per_s, Some(19.0 * 8.0 / 1.9));
    assert_eq!(throughput.output_tokens_per_s, Some(19.0 * 8.0 / 1.9));
}

#[test]
fn a_closed_loop_keeps_its_users_busy_and_its_count_exact() {
    let in_flight = Arc::new(AtomicUsize::new(0));
    let seen = in_flight.clone();
    let transport = Scripted::new(move |_, _| {
        seen.fetch_add(1, Ordering::Relaxed);
        Answer::Respond(answer())
    });
    let ran = run(
        &[
            (
                "load",
                "{ arrivals = \"closed\", concurrency = 3, count = 20 }",
            ),
            ("target.endpoint", "both"),
        ],
        // The scripted answers are OpenAI's; the other endpoint fails, and is counted all the same.
        &transport,
    );
    assert_eq!(in_flight.load(Ordering::Relaxed), 40);
    for endpoint in Endpoint::ALL {
        let mut sessions: Vec<u64> = ran
            .measured()
            .iter()
            .filter(|r| r.endpoint == endpoint)
            .map(|r| r.session)
            .collect();
        sessions.sort_unstable();
        assert_eq!(
            sessions,
            (0..20).collect::<Vec<_>>(),
            "both endpoints get the same sessions"
        );
    }
    assert!(ran.records.iter().all(|r| r.in_flight.expect("sent") <= 3));
    assert!(ran.records.iter().all(|r| r.due.is_none()));
    // 20 sessions of 65 ms by 3 users: the 7th round begins at 390 ms.
    let last = ran
        .measured()
        .iter()
        .filter(|r| r.endpoint == Endpoint::OpenAi)
        .map(|r| r.sent.expect("sent").nanos())
        .max();
    assert_eq!(last, Some(390_000_000));
}

#[test]
fn the_warm_up_is_in_no_latency_and_no_count() {
    let ran = run(
        &[("load.warmup", "1s"), ("load.count", "5")],
        &always(answer()),
    );
    let warmup = ran
        .records
        .iter()
        .filter(|r| r.phase == Phase::Warmup)
        .count();
    assert_eq!((warmup, ran.measured().len()), (10, 5));
    let report = ran.report();
    let endpoint = &report.endpoints[&Endpoint::OpenAi];
    assert_eq!(endpoint.requests.planned, 5);
    assert_eq!(endpoint.latency_ms["ttft"].expect("measured").count, 5);
    assert_eq!(endpoint.cost.predicted.as_deref(), Some("0.00016"));
    assert_eq!(
        ran.spent,
        "0.00048".parse().ok(),
        "but what it costs is spent"
    );
}

#[test]
fn an_arrival_beyond_the_bound_is_dropped_not_lost() {
    let ran = run(
        &[("load.max_in_flight", "2"), ("load.rate", "100.0")],
        &always(answer()),
    );
    assert_eq!(ran.measured().len(), 20);
    let dropped = ran.count(Outcome::Dropped);
    assert!(dropped > 0 && dropped + ran.count(Outcome::Ok) == 20);
    let report = ran.report();
    assert!(!report.validity.valid);
    assert!(
        report.validity.reasons[0].contains("load.max_in_flight"),
        "{:?}",
        report.validity.reasons
    );
}

#[test]
fn a_user_goes_on_at_the_terminator_while_the_rest_is_read_for_its_cost() {
    let mut response = answer_of(2, "null");
    // The cost comes in an event after the terminator, as some gateways have it.
    response
        .frames
        .push((MS * 300, data(r#"{"usage":{"cost":0.000032}}"#)));
    let ran = run(
        &[(
            "load",
            "{ arrivals = \"closed\", concurrency = 1, count = 3 }",
        )],
        &always(response),
    );
    let mut sent: Vec<u64> = ran
        .measured()
        .iter()
        .map(|r| r.sent.expect("sent").nanos() / 1_000_000)
        .collect();
    sent.sort_unstable();
    assert_eq!(sent, [0, 35, 70]);
    for record in ran.measured() {
        assert_eq!(record.outcome, Outcome::Ok);
        assert_eq!(
            record.costs,
            [("stream:/usage/cost".to_owned(), "0.000032".to_owned())]
        );
        assert!(
            record
                .oddities
                .contains(&("after_terminator".to_owned(), 1))
        );
    }
}

#[test]
fn what_is_still_in_flight_after_the_grace_period_is_cut() {
    let mut response = answer();
    response.ending = Ending::Hang;
    response.frames.truncate(3);
    let ran = run(
        &[
            ("load.count", "2"),
            ("load.grace", "2s"),
            ("target.timeouts.idle", "60s"),
        ],
        &always(response),
    );
    assert_eq!(ran.count(Outcome::Cut), 2);
    let report = ran.report();
    let requests = &report.endpoints[&Endpoint::OpenAi].requests;
    assert_eq!((requests.planned, requests.cut), (2, 2));
}

#[test]
fn the_first_stop_lets_requests_end_and_the_second_cuts_them() {
    let slow = || {
        let mut response = answer();
        response.frames[1].0 = Duration::from_secs(5);
        always(response)
    };
    let graceful = conduct(&[], &slow(), |shared, clock| {
        stop_at(shared, clock, vec![(450, Stop::Arrivals)])
    });
    assert_eq!(
        (graceful.measured().len(), graceful.count(Outcome::Ok)),
        (5, 5)
    );

    let at_once = conduct(&[], &slow(), |shared, clock| {
        stop_at(
            shared,
            clock,
            vec![(450, Stop::Arrivals), (1_000, Stop::Everything)],
        )
    });
    assert_eq!(
        (at_once.measured().len(), at_once.count(Outcome::Cut)),
        (5, 5)
    );
    let ended = at_once
        .measured()
        .iter()
        .map(|r| r.ended.expect("ended").nanos())
        .max();
    assert_eq!(ended, Some(1_000_000_000));
}

#[test]
fn a_budget_is_never_exceeded_and_ends_the_run() {
    let budget: Money = "0.01".parse().expect("an amount");
    for load in [
        "{ arrivals = \"closed\", concurrency = 50, count = 1000 }",
        "{ arrivals = \"constant\", rate = 500.0, count = 1000 }",
    ] {
        let ran = run(
            &[("load", load), ("pricing.budget", "0.01 USD")],
            &always(answer()),
        );
        let spent = ran.spent.expect("something was spent");
        assert!(spent <= budget && !spent.is_zero(), "{load}: {spent}");
        assert!(ran.count(Outcome::Ok) < 1000, "{load}");
        // An open loop drops what the budget has no room for; a user of a closed one waits for room.
        assert_eq!(
            ran.count(Outcome::Dropped) > 0,
            load.contains("constant"),
            "{load}"
        );
        assert!(!ran.report().run.partial, "{load}");
    }
}

#[test]
fn a_budget_holds_whatever_the_policy_says_is_free() {
    let budget: Money = "0.001".parse().expect("an amount");
    // What each request truly costs, whether the client stays or not.
    let each: Money = COST.parse().expect("an amount");
    let hang_up = "{ share = 1.0, after_events = 2 }";
    for (policy, hangs_up, response) in [
        ("{ abort = \"free\" }", true, answer()),
        ("{ abort = \"reported\" }", true, answer()),
        ("{ error = \"free\" }", false, refusal(503, "late")),
    ] {
        let transport = always(response);
        let mut overrides = vec![
            (
                "load",
                "{ arrivals = \"closed\", concurrency = 3, count = 1000 }",
            ),
            ("pricing.budget", "0.001 USD"),
            ("pricing.policy", policy),
        ];
        if hangs_up {
            overrides.push(("workload.hang_up", hang_up));
        }
        let ran = run(&overrides, &transport);
        let sent = transport.sent();
        let truly = each.checked_mul(sent).expect("in range");
        assert!(sent > 0 && truly <= budget, "{policy}: {sent}, {truly}");
        assert_eq!(
            ran.count(Outcome::Cancelled) > 0,
            hangs_up,
            "{policy}: the clients went away"
        );
    }
}

#[test]
fn a_gateway_that_records_more_than_the_usage_ends_the_budget_sooner() {
    let spent = |cost: &str| {
        let load = "{ arrivals = \"closed\", concurrency = 1, count = 20 }";
        let ran = run(
            &[("load", load), ("pricing.budget", "0.01 USD")],
            &always(answer_of(8, cost)),
        );
        (ran.count(Outcome::Ok), ran.spent.expect("something"))
    };
    let all: Money = "0.00064".parse().expect("an amount");
    assert_eq!(spent(COST), (20, all));
    assert_eq!(spent("0"), (20, all), "the usage is what counts");
    let (ok, amount) = spent("0.002");
    assert!(ok < 6, "{ok}");
    assert_eq!(
        amount,
        "0.002"
            .parse::<Money>()
            .expect("an amount")
            .checked_mul(ok as u64)
            .expect("in range")
    );
}

#[test]
fn fewer_sessions_than_users_still_have_a_window() {
    let ran = run(
        &[(
            "load",
            "{ arrivals = \"closed\", concurrency = 8, count = 2 }",
        )],
        &always(answer()),
    );
    let throughput = ran.report().endpoints[&Endpoint::OpenAi].throughput;
    assert_eq!(throughput.window_s, Some(0.065));
    assert_eq!(throughput.requests_per_s, Some(2.0 / 0.065));
}

#[test]
fn a_closed_loop_is_cut_after_its_grace_period() {
    let mut response = answer();
    response.ending = Ending::Hang;
    response.frames.truncate(3);
    for load in [
        "{ arrivals = \"closed\", concurrency = 2, duration = \"1s\", grace = \"2s\" }",
        "{ arrivals = \"closed\", concurrency = 2, count = 2, grace = \"2s\" }",
    ] {
        let ran = run(
            &[("load", load), ("target.timeouts.idle", "60s")],
            &always(response.clone()),
        );
        assert_eq!(
            (ran.measured().len(), ran.count(Outcome::Cut)),
            (2, 2),
            "{load}"
        );
        let ended = ran
            .measured()
            .iter()
            .map(|r| r.ended.expect("ended").nanos())
            .max();
        let expected = if load.contains("duration") {
            3_000_000_000
        } else {
            2_000_000_000
        };
        assert_eq!(ended, Some(expected), "{load}");
    }
}

#[test]
fn users_do_not_spin_against_a_closed_door() {
    let refused = super::harness::failure(Outcome::ConnectFailed);
    let transport = Scripted::new(move |_, _| Answer::Fail(Duration::ZERO, refused.clone()));
    let load = "{ arrivals = \"closed\", concurrency = 2, duration = \"1s\" }";
    let ran = run(&[("load", load)], &transport);
    assert_eq!(
        ran.count(Outcome::ConnectFailed),
        20,
        "one in 100 ms for each user"
    );
}

#[test]
fn a_request_that_may_have_been_billed_keeps_its_worst_case() {
    // Sent, never answered: the account must not say that nothing was spent.
    let transport = Scripted::new(|_, _| Answer::Hang);
    run(
        &[
            (
                "load",
                "{ arrivals = \"closed\", concurrency = 1, count = 1000 }",
            ),
            ("pricing.budget", "0.001 USD"),
            ("target.timeouts.first_token", "1s"),
        ],
        &transport,
    );
    let sent = transport.sent();
    assert!(
        sent > 0 && sent < 20,
        "{sent} requests of about 0.0002 USD at worst were sent"
    );
}

#[test]
fn a_turn_without_a_row_makes_the_run_incomplete() {
    let mut ran = run(&[], &always(answer()));
    assert!(!ran.report().run.partial);
    ran.facts
        .retain(|fact| !matches!(fact, weighbridge::record::Fact::Attempt(r, _) if r.session == 7));
    let report = ran.report();
    assert!(report.run.partial);
    let requests = &report.endpoints[&Endpoint::OpenAi].requests;
    assert_eq!((requests.planned, requests.ok), (20, 19));
}

#[test]
fn the_same_seed_sends_the_same_bytes_but_for_the_run() {
    let bodies = |seed: &str| {
        let sent = Arc::new(std::sync::Mutex::new(Vec::new()));
        let into = sent.clone();
        let transport = Scripted::new(move |request, _| {
            into.lock().expect("no panic").push(request.body.clone());
            Answer::Respond(answer())
        });
        run(&[("load.seed", seed)], &transport);
        std::mem::take(&mut *sent.lock().expect("no panic"))
    };
    assert_eq!(bodies("7"), bodies("7"));
    assert_ne!(bodies("7"), bodies("8"));
}
