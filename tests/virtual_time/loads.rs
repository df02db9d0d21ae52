//! Every kind of load, exact to the nanosecond: an answer takes 65 ms here.

use weighbridge::endpoint::Endpoint;
use weighbridge::metrics::Metric;
use weighbridge::record::{Fact, Outcome, Phase, Record};
use weighbridge::run::Stop;

use super::harness::{Ran, always, answer, conduct, run, stop_at};

/// Runs a `[load]` table on one endpoint.
fn load(table: &str) -> Ran {
    run(&[("load", table)], &always(answer()))
}

fn sorted(records: Vec<&Record>, time: impl Fn(&Record) -> u64) -> Vec<u64> {
    let mut times: Vec<u64> = records.into_iter().map(time).collect();
    times.sort_unstable();
    times
}

/// When each measured request was due, in ns.
fn due(ran: &Ran) -> Vec<u64> {
    sorted(ran.measured(), |r| r.due.expect("open loop").nanos())
}

/// When each measured request was sent, in ms.
fn sent_ms(ran: &Ran) -> Vec<u64> {
    sorted(ran.measured(), |r| {
        r.sent.expect("sent").nanos() / 1_000_000
    })
}

/// Sent when it was due, but for the millisecond steps of tokio's timers, which are the clock here.
#[track_caller]
fn is_on_time(record: &Record) {
    let lag_ns = Metric::ScheduleLag.sample(record).expect("sent and due");
    assert!(lag_ns < 1_000_000, "{lag_ns}");
}

/// The measured window, in ms.
fn window_ms(ran: &Ran) -> (u64, u64) {
    let window = ran.windows[&Endpoint::OpenAi];
    (
        window.start_ns.nanos() / 1_000_000,
        window.end_ns.nanos() / 1_000_000,
    )
}

#[test]
fn a_ramp_with_a_pause_sends_each_request_when_it_is_due() {
    let ran = load(
        "{ arrivals = \"constant\", stages = [{ duration = \"2s\", from = 0, to = 4 }, { duration = \"1s\", rate = 0 }, { duration = \"1s\", rate = 2 }] }",
    );
    // t^2 sessions after t seconds, a pause, two a second.
    let expected = [0.0, 1.0, 2.0_f64.sqrt(), 3.0_f64.sqrt(), 3.0, 3.5];
    let due = due(&ran);
    assert_eq!(due.len(), expected.len());
    for (due, expected) in due.iter().zip(expected) {
        assert!(
            (*due as f64 / 1e9 - expected).abs() < 2e-9,
            "{due} {expected}"
        );
    }
    assert_eq!(ran.count(Outcome::Ok), 6);
    for record in ran.measured() {
        is_on_time(record);
    }
    assert_eq!(window_ms(&ran), (0, 3_500));
    let report = ran.report();
    assert_eq!(report.endpoints[&Endpoint::OpenAi].requests.planned, 6);
    assert!(report.validity.valid, "{:?}", report.validity);
}

#[test]
fn a_count_ends_stages_early_and_the_warm_up_keeps_their_first_rate() {
    let ran = load(
        "{ arrivals = \"constant\", count = 7, warmup = \"500ms\", stages = [{ duration = \"10s\", from = 10, to = 30 }] }",
    );
    let warmup = ran.records.iter().filter(|r| r.phase == Phase::Warmup);
    assert_eq!(
        sorted(warmup.collect(), |r| r.due.expect("open loop").nanos()),
        [0, 100_000_000, 200_000_000, 300_000_000, 400_000_000]
    );
    assert_eq!(due(&ran).len(), 7);
    assert_eq!(due(&ran)[0], 500_000_000);
}

#[test]
fn drawn_arrivals_come_when_they_are_due() {
    for arrivals in ["\"poisson\"", "\"gamma\", burstiness = 0.3"] {
        let ran = load(&format!(
            "{{ arrivals = {arrivals}, stages = [{{ duration = \"1s\", rate = 20 }}, {{ duration = \"2s\", to = 60 }}] }}"
        ));
        assert!((60..140).contains(&due(&ran).len()), "{arrivals}");
        for record in ran.measured() {
            is_on_time(record);
        }
    }
}

#[test]
fn a_replay_sends_what_its_file_says_and_its_beginning_is_the_warm_up() {
    let ran = load("{ arrivals = \"replay\", replay = \"a.csv\" }");
    assert_eq!(
        due(&ran),
        [
            0,
            250_000_000,
            250_000_000,
            999_999_999,
            1_000_000_000,
            2_500_000_000
        ]
    );
    for record in ran.measured() {
        is_on_time(record);
    }

    let ran =
        load("{ arrivals = \"replay\", replay = \"a.csv\", warmup = \"500ms\", replay_speed = 2 }");
    let warmup = ran.records.iter().filter(|r| r.phase == Phase::Warmup);
    assert_eq!(
        sorted(warmup.collect(), |r| r.due.expect("open loop").nanos()),
        [0, 125_000_000, 125_000_000]
    );
    // Half of 999,999,999 ns is rounded to the end of the warm-up.
    assert_eq!(due(&ran), [500_000_000, 500_000_000, 1_250_000_000]);
    assert_eq!(window_ms(&ran), (500, 1_250));
}

#[test]
fn a_user_thinks_between_an_answer_and_its_next_session() {
    let ran = load("{ arrivals = \"closed\", concurrency = 1, count = 4, think_time = \"100ms\" }");
    assert_eq!(sent_ms(&ran), [0, 165, 330, 495]);
    // Not after the last: the run ends with its answer, and the load with it.
    assert_eq!(window_ms(&ran), (0, 560));

    let drawn = "{ arrivals = \"closed\", concurrency = 1, count = 4, think_time = { exponential = { mean = \"100ms\" } } }";
    let [a, b] = [load(drawn), load(drawn)].map(|ran| sent_ms(&ran));
    assert_eq!(a, b, "drawn by the seed");
    let gaps: Vec<u64> = a.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(
        gaps.iter().all(|gap| *gap >= 65) && gaps[0] != gaps[1],
        "{gaps:?}"
    );
}

#[test]
fn whoever_has_nothing_left_to_start_need_not_think_to_the_end() {
    // Two users, three sessions: the first takes the last at 1,065 ms, while the second thinks
    // until then as well, and would have gone on at that moment.
    let ran = load("{ arrivals = \"closed\", concurrency = 2, count = 3, think_time = \"1s\" }");
    assert_eq!(sent_ms(&ran), [0, 0, 1_065]);
    assert_eq!(window_ms(&ran), (0, 1_065));

    // The second user begins half a second later: it would have gone on at 1,565 ms, when the last
    // answer is long there.
    let ran = load(
        "{ arrivals = \"closed\", concurrency = 2, count = 3, think_time = \"1s\", stagger = \"1s\" }",
    );
    assert_eq!(sent_ms(&ran), [0, 500, 1_065]);
    assert_eq!(window_ms(&ran), (0, 1_130));

    // Whoever thinks beyond the end is a user until then, and no longer.
    let ran =
        load("{ arrivals = \"closed\", concurrency = 1, duration = \"2s\", think_time = \"1h\" }");
    assert_eq!(sent_ms(&ran), [0]);
    assert_eq!(window_ms(&ran), (0, 2_000));
    let health = ran.facts.iter().filter_map(|fact| match fact {
        Fact::Health(row) => Some((row.cpu_ns, row.waited_ns, row.throttled_ns)),
        _ => None,
    });
    let health: Vec<_> = health.collect();
    // The machine's own time is not in a run of virtual time, whatever else the machine does.
    assert!(
        health.iter().all(|row| *row == (0, None, None)),
        "{health:?}"
    );
    let seconds = health.len();
    assert!((1..=3).contains(&seconds), "the run took {seconds} s");
}

#[test]
fn a_stop_ends_every_thought() {
    let table = "{ arrivals = \"closed\", concurrency = 3, duration = \"2h\", think_time = \"1h\", stagger = \"3s\" }";
    let ran = conduct(&[("load", table)], &always(answer()), |shared, clock| {
        stop_at(shared, clock, vec![(1_500, Stop::Arrivals)])
    });
    assert_eq!(sent_ms(&ran), [0, 1_000]);
    assert_eq!(ran.count(Outcome::Ok), 2);
    assert_eq!(window_ms(&ran), (0, 1_500));
}

#[test]
fn staggered_users_begin_one_after_the_other() {
    let ran = load("{ arrivals = \"closed\", concurrency = 4, count = 4, stagger = \"200ms\" }");
    // The first user is back at 65 ms, before the third begins.
    assert_eq!(sent_ms(&ran), [0, 50, 65, 100]);
    assert!(ran.records.iter().all(|r| r.due.is_none()));

    // Within the warm-up: all users are there when the measured load begins.
    let ran = load(
        "{ arrivals = \"closed\", concurrency = 4, duration = \"500ms\", warmup = \"300ms\", stagger = \"200ms\" }",
    );
    let first = |phase| {
        let of = ran.records.iter().filter(|r| r.phase == phase);
        sorted(of.collect(), |r| r.sent.expect("sent").nanos() / 1_000_000)
    };
    assert_eq!(first(Phase::Warmup)[..4], [0, 50, 65, 100]);
    assert_eq!(first(Phase::Measured)[..4], [310, 325, 345, 360]);
    assert_eq!(window_ms(&ran), (300, 800));
}

#[test]
fn users_come_and_go_in_stages() {
    // User 0 begins at 0, user 1 at 100 ms; from 200 ms on user 0 is alone again.
    let ran = load(
        "{ arrivals = \"closed\", stages = [{ duration = \"200ms\", from = 0, to = 2 }, { duration = \"200ms\", users = 1 }] }",
    );
    assert_eq!(sent_ms(&ran), [0, 65, 100, 130, 165, 195, 260, 325, 390]);
    assert_eq!(ran.count(Outcome::Ok), 9);
    // Whoever leaves by plan does not end the window.
    assert_eq!(window_ms(&ran), (0, 400));
    assert!(ran.records.iter().all(|r| r.in_flight.expect("sent") <= 2));

    // A pause, and a warm-up with as many users as the first stage begins with.
    let ran = load(
        "{ arrivals = \"closed\", warmup = \"100ms\", stages = [{ duration = \"50ms\", users = 2 }, { duration = \"1s\", users = 0 }, { duration = \"50ms\", users = 1 }] }",
    );
    let warmup = ran.records.iter().filter(|r| r.phase == Phase::Warmup);
    assert_eq!(warmup.count(), 4);
    assert_eq!(sent_ms(&ran), [130, 130, 1_150]);
    assert_eq!(window_ms(&ran), (100, 1_200));

    // A count may end it earlier.
    let ran =
        load("{ arrivals = \"closed\", count = 3, stages = [{ duration = \"5s\", users = 1 }] }");
    assert_eq!(sent_ms(&ran), [0, 65, 130]);
    assert_eq!(window_ms(&ran), (0, 195));
}
