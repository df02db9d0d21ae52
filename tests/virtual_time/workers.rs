//! Several workers do the work of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use weighbridge::client::scripted::{Answer, Scripted};
use weighbridge::record::{Fact, Outcome};
use weighbridge::run::Stop;

use super::harness::{Ran, always, answer, conduct_by, run, run_by, stop_at};

/// What was sent when, whoever sent it.
fn sent(ran: &Ran) -> Vec<(u64, String)> {
    let mut sent: Vec<_> = ran
        .records
        .iter()
        .map(|r| {
            let at = r.due.or(r.sent).expect("one of them");
            (at.nanos(), r.trace_id.clone())
        })
        .collect();
    sent.sort_unstable();
    sent
}

const POISSON: [(&str, &str); 2] = [("load.arrivals", "\"poisson\""), ("load.count", "100")];

const CLOSED: [(&str, &str); 1] = [(
    "load",
    r#"{ arrivals = "closed", concurrency = 5, count = 101 }"#,
)];

#[test]
fn an_open_loop_is_the_same_by_any_number_of_workers() {
    let whole = sent(&run(&POISSON, &always(answer())));
    assert_eq!(whole.len(), 100);
    for workers in 2..6 {
        assert_eq!(sent(&run_by(workers, &POISSON, &always(answer()))), whole);
    }
}

#[test]
fn a_closed_loop_sends_the_same_requests_with_as_many_in_flight() {
    let sessions = |ran: &Ran| {
        let mut ids: Vec<_> = ran.records.iter().map(|r| r.session).collect();
        ids.sort_unstable();
        ids
    };
    for workers in 1..8 {
        let ran = run_by(workers, &CLOSED, &always(answer()));
        assert_eq!(sessions(&ran), (0..101).collect::<Vec<_>>(), "{workers}");
        let most = ran.records.iter().filter_map(|r| r.in_flight).max();
        assert_eq!(most, Some(5), "{workers} workers share the users");
        assert_eq!(ran.planned.values().sum::<u64>(), 101);
    }
}

#[test]
fn the_limit_of_requests_in_flight_is_for_all_workers_together() {
    let now = Arc::new(AtomicUsize::new(0));
    let counting = {
        let now = now.clone();
        Scripted::new(move |_, _| {
            now.fetch_add(1, Ordering::Relaxed);
            Answer::Hang
        })
    };
    let limits = [
        ("load.max_in_flight", "7"),
        ("load.count", "30"),
        ("load.grace", "\"1s\""),
    ];
    let ran = run_by(3, &limits, &counting);
    assert_eq!(now.load(Ordering::Relaxed), 7);
    assert_eq!(ran.count(Outcome::Dropped), 23);
    assert_eq!(ran.count(Outcome::Cut), 7);
}

#[test]
fn the_grace_begins_when_the_last_worker_has_started_its_last_request() {
    // Three workers of an open loop: the last request is due at 200 ms, and takes 65 ms.
    let ran = run_by(
        3,
        &[("load.count", "3"), ("load.grace", "\"70ms\"")],
        &always(answer()),
    );
    assert_eq!(ran.count(Outcome::Ok), 3);
}

#[test]
fn one_stop_stops_all() {
    let ran = conduct_by(4, &CLOSED, &always(answer()), |shared, clock| {
        stop_at(shared, clock, vec![(100, Stop::Arrivals)])
    });
    assert_eq!(ran.count(Outcome::Ok), ran.records.len());
    assert_eq!(ran.records.len(), 10, "two rounds of five users");
}

#[test]
fn the_seconds_of_all_workers_add_up_to_the_requests() {
    let ran = run_by(3, &POISSON, &always(answer()));
    let seconds: Vec<_> = ran
        .facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Second(second) => Some(*second),
            _ => None,
        })
        .collect();
    let sum = |of: fn(&weighbridge::record::Second) -> u64| seconds.iter().map(of).sum::<u64>();
    assert_eq!(sum(|s| s.sent), 100);
    assert_eq!(sum(|s| s.ok), 100);
    assert_eq!(sum(|s| s.not_ok), 0);
    assert_eq!(sum(|s| s.token_events), 800);
    // Each takes 65 ms.
    assert_eq!(sum(|s| s.in_flight_ns), 100 * 65_000_000);
    let bytes = ran.records.iter().map(|r| r.counts.bytes).sum::<u64>();
    assert_eq!(sum(|s| s.bytes), bytes);
    let mut workers: Vec<_> = seconds.iter().map(|s| s.worker).collect();
    workers.sort_unstable();
    workers.dedup();
    assert_eq!(workers, [0, 1, 2]);
}
