//! The report on made-up rows.

use rand::RngExt as _;

use super::console::console;
use super::*;
use crate::endpoint::Endpoint;
use crate::manifest::{PAIRS_SCHEMA, Pairs, PairsArm, PairsLevel};
use crate::record::{Block, Class, Outcome, OutcomeGroup, Phase, Record};
use crate::report::InclusiveMs;
use crate::seed;
use crate::time::Offset;
use crate::verdict::Status;

const MS: u64 = 1_000_000;

/// One arm: `blocks` blocks of `sessions` sessions, each of which takes what `request` says of it;
/// `users` at once.
fn done(blocks: u64, sessions: u64, users: u64, request: impl Fn(u64) -> Option<u64>) -> Done {
    let mut done = Done::default();
    let mut now = 0;
    for block in 0..blocks {
        let mut busy = 0;
        for session in block * sessions..(block + 1) * sessions {
            let took = request(session);
            busy += took.unwrap_or(50 * MS);
            let sample = took.map_or(Sample::Beyond, Sample::Took);
            done.requests.push(Request {
                session,
                turn: 0,
                outcome: took.map_or(OutcomeGroup::Failed, |_| OutcomeGroup::Ok),
                connected: false,
                times: [sample; 4],
            });
        }
        let end = now + busy / users;
        done.blocks.push(Block {
            block,
            first_session: block * sessions,
            sessions,
            start_ns: Offset::from_nanos(now),
            end_ns: Offset::from_nanos(end),
        });
        // The other arm's turn.
        now = end + 77 * MS;
    }
    done
}

/// 100 ms and up to 40 more, by session and seed.
fn drawn(seed: u64) -> impl Fn(u64) -> Option<u64> {
    move |session| Some(100 * MS + seed::rng(seed, "took", session).random_range(0..40 * MS))
}

fn arm(done: Done) -> ReadArm {
    ReadArm {
        arm: Arm {
            folder: "f".to_owned(),
            run: "r".to_owned(),
            requests: 0,
            ok: 0,
            connected: 0,
            seconds: 0.0,
            valid: true,
            reasons: Vec::new(),
            partial: false,
            warnings: Vec::new(),
        },
        interrupted: false,
        done,
    }
}

fn pairs(levels: &[u32]) -> Pairs {
    let arm = |name: &str| PairsArm {
        name: name.to_owned(),
        origin: format!("https://{name}.example"),
        models: vec!["m".to_owned()],
    };
    Pairs {
        schema: PAIRS_SCHEMA.to_owned(),
        scenario: "made-up".to_owned(),
        started_at: "2026-08-01T00:00:00Z".to_owned(),
        version: "0".to_owned(),
        seed: 1,
        arms: [arm("direct"), arm("via")],
        endpoints: vec![Endpoint::OpenAi],
        levels: levels
            .iter()
            .map(|&concurrency| PairsLevel {
                concurrency,
                sessions_per_block: 20,
            })
            .collect(),
        blocks: 16,
    }
}

fn read(level: usize, direct: Done, via: Done) -> ReadLevel {
    ReadLevel {
        endpoint: Endpoint::OpenAi,
        level,
        arms: [arm(direct), arm(via)],
    }
}

/// The report of one level.
fn one(direct: Done, via: Done) -> (Overhead, Level) {
    let overhead = assemble(&pairs(&[4]), vec![read(0, direct, via)]);
    let level = overhead.endpoints[&Endpoint::OpenAi].levels[0].clone();
    (overhead, level)
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
}

#[test]
fn what_a_gateway_adds_is_the_difference_of_the_quantiles() {
    let direct = drawn(1);
    let via = |session| drawn(1)(session).map(|ns| ns + 5 * MS);
    let (overhead, level) = one(done(16, 20, 4, &direct), done(16, 20, 4, via));
    assert_eq!(overhead.verdict.status, Status::Passed);
    assert_eq!(
        (level.blocks, level.direct.ok, level.via.requests),
        (16, 320, 320)
    );
    let mut times: Vec<u64> = (0..320).filter_map(&direct).collect();
    times.sort_unstable();
    for (quantile, place) in [
        (level.ttft_ms.p50, 160),
        (level.ttft_ms.p95, 304),
        (level.ttft_ms.p99, 317),
        (level.e2e_ms.p95, 304),
    ] {
        let found = quantile.expect("320 samples");
        let expected = times[place - 1] as f64 / 1e6;
        assert_eq!(found.direct, InclusiveMs::Known(expected));
        let delta = found.delta.expect("both are known");
        // Every resample has the same requests at both arms, each 5 ms later.
        for bound in [Some(delta.estimate), delta.low, delta.high] {
            close(bound.expect("16 blocks"), 5.0);
        }
        assert_eq!(delta.seen, Some(Seen::More));
    }
    // 320 in what they took together, by four at once.
    let busy = times.iter().sum::<u64>() as f64 / 4e9;
    let rate = level.requests_per_s;
    close(rate.direct.expect("a rate"), 320.0 / busy);
    close(
        rate.via.expect("a rate"),
        320.0 / (busy + 320.0 * 0.005 / 4.0),
    );
    assert_eq!(rate.delta.expect("both").seen, Some(Seen::Less));
    close(level.direct.seconds, busy);
    assert_eq!(level.failures.via, Some(0.0));
}

#[test]
fn arms_that_are_alike_show_no_difference() {
    let (_, level) = one(done(16, 20, 4, drawn(1)), done(16, 20, 4, drawn(2)));
    let deltas = [level.ttft_ms.p50, level.ttft_ms.p95, level.e2e_ms.p50];
    let seen = deltas.map(|times| times.and_then(|t| t.delta).and_then(|d| d.seen));
    assert_eq!(seen, [Some(Seen::NoDifference); 3]);
    assert_eq!(
        level.requests_per_s.delta.and_then(|d| d.seen),
        Some(Seen::NoDifference)
    );
}

#[test]
fn a_failed_request_is_beyond_any_time() {
    // One in ten, spread over all blocks.
    let some_fail = |session: u64| drawn(1)(session).filter(|_| session % 10 != 3);
    let (overhead, level) = one(done(16, 20, 4, drawn(1)), done(16, 20, 4, some_fail));
    assert_eq!(
        overhead.verdict.status,
        Status::Passed,
        "failures are a result"
    );
    let p95 = level.ttft_ms.p95.expect("320 samples");
    assert_eq!((p95.via, p95.delta), (InclusiveMs::Failed, None));
    assert!(matches!(p95.direct, InclusiveMs::Known(_)));
    let p50 = level.ttft_ms.p50.expect("320 samples");
    assert!(p50.delta.is_some_and(|delta| delta.estimate > 0.0));
    close(level.failures.via.expect("a share"), 0.1);
    let more = level.failures.delta.expect("both");
    close(more.estimate, 0.1);
    assert_eq!(more.seen, Some(Seen::More));
    assert_eq!((level.via.requests, level.via.ok), (320, 288));

    let (overhead, level) = one(done(16, 20, 4, drawn(1)), done(16, 20, 4, |_| None));
    assert_eq!(overhead.verdict.status, Status::Failed);
    assert_eq!(level.requests_per_s.via, Some(0.0));
    assert_eq!(
        overhead.verdict.reasons,
        ["openai, 4 in flight, via: nothing succeeded"]
    );
}

#[test]
fn only_blocks_that_both_arms_have_done_count() {
    // The gateway's last five blocks, which it did not come to, would have been slow.
    let slow = |session: u64| Some(if session < 220 { 100 * MS } else { 900 * MS });
    let (overhead, level) = one(done(16, 20, 4, slow), done(11, 20, 4, |_| Some(100 * MS)));
    assert_eq!((level.blocks, level.blocks_planned), (11, 16));
    assert_eq!((level.direct.requests, level.via.requests), (220, 220));
    let p50 = level.ttft_ms.p95.expect("220 samples");
    assert_eq!(
        (p50.direct, p50.via),
        (InclusiveMs::Known(100.0), InclusiveMs::Known(100.0))
    );
    close(level.requests_per_s.direct.expect("a rate"), 40.0);
    assert_eq!(overhead.verdict.status, Status::NoVerdict);
    assert_eq!(
        overhead.verdict.reasons,
        ["openai, 4 in flight: both arms have done 11 of 16 blocks"]
    );
}

#[test]
fn what_was_not_measured_is_no_number() {
    // Fewer than 299 samples, and fewer than 8 blocks.
    let (_, level) = one(done(7, 10, 4, drawn(1)), done(7, 10, 4, drawn(2)));
    assert_eq!(level.ttft_ms.p99, None);
    let delta = level
        .ttft_ms
        .p95
        .and_then(|times| times.delta)
        .expect("70 samples");
    assert_eq!((delta.low, delta.high, delta.seen), (None, None, None));

    // The gateway turned streams into whole bodies.
    let mut whole = done(16, 20, 4, drawn(2));
    for request in &mut whole.requests {
        request.times[0] = Sample::Missing;
    }
    let (_, level) = one(done(16, 20, 4, drawn(1)), whole);
    assert_eq!(level.ttft_ms.p50, None);
    assert!(level.e2e_ms.p50.is_some());

    // The gateway kept each stream back and sent it at once; one or two of many are left out.
    for (every, known) in [(1, false), (10, false), (100, true)] {
        let mut buffered = done(16, 20, 4, drawn(2));
        for request in &mut buffered.requests {
            if request.session % every == 0 {
                request.times[1..3].fill(Sample::LeftOut);
            }
        }
        let (_, level) = one(done(16, 20, 4, drawn(1)), buffered);
        let gaps = [level.mean_gap_ms.p50, level.longest_gap_ms.p95];
        assert_eq!(gaps.map(|gap| gap.is_some()), [known; 2], "one in {every}");
        assert!(level.ttft_ms.p50.is_some());
    }

    let (overhead, level) = one(Done::default(), Done::default());
    assert_eq!(level.requests_per_s.direct, None);
    assert_eq!(level.failures.direct, None);
    assert_eq!(overhead.verdict.status, Status::NoVerdict);
}

#[test]
fn a_request_is_what_its_last_attempt_came_to() {
    let at = |ms: u64| Some(Offset::from_nanos(ms * MS));
    let mut record = Record::new("t".into(), Phase::Measured, Endpoint::OpenAi, Class::Chat);
    record.session = 7;
    record.streaming = true;
    record.outcome = Outcome::Ok;
    (record.sent, record.first_token, record.terminator) = (at(10), at(30), at(90));
    (record.counts.token_events, record.counts.token_batches) = (4, 3);
    record.counts.gap_count = 3;
    record.counts.gap_sum_ns = 45 * MS;
    record.counts.gap_max_ns = 25 * MS;
    let times = |record: &Record| Request::of(record).expect("a request").times;
    assert_eq!(
        times(&record),
        [20, 15, 25, 80].map(|ms| Sample::Took(ms * MS))
    );
    assert_eq!(Request::of(&record).map(|r| r.session), Some(7));

    let mut other = record.clone();
    other.last = false;
    assert_eq!(Request::of(&other), None);
    other = record.clone();
    other.phase = Phase::Warmup;
    assert_eq!(Request::of(&other), None);

    // A stream that came in one write has gaps of no one but the harness.
    other = record.clone();
    other.counts.token_batches = 1;
    let expected = [
        Sample::Took(20 * MS),
        Sample::LeftOut,
        Sample::LeftOut,
        Sample::Took(80 * MS),
    ];
    assert_eq!(times(&other), expected);

    // One event has no gaps; a whole body that was asked for has no first token either.
    other = record.clone();
    (other.counts.token_events, other.counts.gap_count) = (1, 0);
    let expected = [
        Sample::Took(20 * MS),
        Sample::Nothing,
        Sample::Nothing,
        Sample::Took(80 * MS),
    ];
    assert_eq!(times(&other), expected);
    (other.streaming, other.first_token) = (false, None);
    let expected = [
        Sample::Nothing,
        Sample::Nothing,
        Sample::Nothing,
        Sample::Took(80 * MS),
    ];
    assert_eq!(times(&other), expected);
    other.streaming = true;
    assert_eq!(times(&other)[0], Sample::Missing);
    for (outcome, expected) in [
        (Outcome::RateLimited, Sample::Beyond),
        (Outcome::Dropped, Sample::Beyond),
        (Outcome::Cut, Sample::Beyond),
        (Outcome::Cancelled, Sample::Nothing),
    ] {
        other.outcome = outcome;
        assert_eq!(times(&other), [expected; 4], "{outcome}");
    }
}

/// Three levels of so many users, where each arm answers a request in so many ms.
fn levels(users: &[u32], took: [&[u64]; 2]) -> Saturation {
    let read = users.iter().enumerate().map(|(level, &users)| {
        let [direct, via] = took.map(|took| {
            let ms = took[level];
            let jitter =
                move |session| drawn(level as u64)(session).map(|ns| ns + ms * MS - 120 * MS);
            done(16, 20, u64::from(users), move |session| {
                if ms == 0 { None } else { jitter(session) }
            })
        });
        self::read(level, direct, via)
    });
    let overhead = assemble(&pairs(users), read.collect());
    overhead.endpoints[&Endpoint::OpenAi].saturation.clone()
}

#[test]
fn the_gateway_saturates_where_it_no_longer_grows_and_the_upstream_does() {
    // 400 ms each: 80 a second at 32. The gateway does 20 a second at most.
    let found = levels(&[1, 8, 32], [&[400, 400, 400], &[400, 400, 1_600]]);
    assert_eq!(found.found, Found::Gateway);
    assert_eq!((found.from, found.to), (Some(8), Some(32)));
    assert!(
        found
            .says
            .starts_with("the gateway saturates between 8 and 32 in flight, at 20.")
            || found
                .says
                .starts_with("the gateway saturates between 8 and 32 in flight, at 19."),
        "{}",
        found.says
    );
    assert!(
        found.says.contains("directly 8") || found.says.contains("directly 7"),
        "{}",
        found.says
    );
    let step = found.growth[1];
    close((step.direct.estimate.expect("a rate") * 10.0).round(), 10.0);
    close((step.via.estimate.expect("a rate") * 10.0).round(), 0.0);
    assert!(step.via.low < step.via.estimate && step.via.estimate < step.via.high);

    let both = levels(&[1, 8, 32], [&[400, 400, 1_600], &[400, 410, 1_700]]);
    assert_eq!(
        (both.found, both.from, both.to),
        (Found::Upstream, Some(8), Some(32))
    );
    // Where the upstream saturates first, the gateway has nothing to show.
    let first = levels(&[1, 8, 32], [&[400, 3_200, 12_800], &[400, 600, 2_400]]);
    assert_eq!((first.found, first.to), (Found::Upstream, Some(8)));
    let neither = levels(&[1, 8, 32], [&[400, 400, 400], &[450, 460, 500]]);
    assert_eq!((neither.found, neither.from), (Found::NotReached, None));
    assert!(
        neither.says.contains("up to 32 in flight"),
        "{}",
        neither.says
    );
    let one = levels(&[8], [&[400], &[400]]);
    assert_eq!(one.found, Found::NotKnown);
    assert!(one.says.contains("two levels"), "{}", one.says);
    let dead = levels(&[1, 8], [&[400, 400], &[400, 0]]);
    assert_eq!(dead.found, Found::Gateway, "nothing succeeds any more");
    assert_eq!(dead.via_per_s, Some(0.0));
}

#[test]
fn a_request_that_met_a_connect_is_in_no_latency_of_either_arm() {
    // Nine of sixteen sessions take ten times as long at both arms, and the gateway adds 5 ms to each.
    let took = |added: u64| {
        move |session: u64| {
            let base = if session % 16 < 9 { 200 } else { 20 };
            Some((base + added) * MS)
        }
    };
    let mut via = done(8, 16, 4, took(5));
    // As many of the slow ones as move the median.
    for request in &mut via.requests {
        request.connected = request.session.is_multiple_of(8);
    }
    let overhead = assemble(&pairs(&[4]), vec![read(0, done(8, 16, 4, took(0)), via)]);
    let found = &overhead.endpoints[&Endpoint::OpenAi].levels[0];
    assert_eq!((found.direct.connected, found.via.connected), (0, 16));
    let median = found.ttft_ms.p50.as_ref().expect("many samples");
    assert_eq!(
        (median.direct, median.via),
        (InclusiveMs::Known(20.0), InclusiveMs::Known(25.0))
    );
}

#[test]
fn connects_and_warnings_of_an_arm_are_said() {
    let mut via = done(7, 20, 4, drawn(2));
    via.requests[3].connected = true;
    let mut level = read(0, done(16, 20, 4, drawn(1)), via);
    level.arms[1].arm.warnings = vec!["the budget of $1 ended the run".to_owned()];
    let overhead = assemble(&pairs(&[4]), vec![level.clone()]);
    assert_eq!(overhead.verdict.status, Status::NoVerdict);
    let found = &overhead.endpoints[&Endpoint::OpenAi].levels[0];
    assert_eq!((found.direct.connected, found.via.connected), (0, 1));
    let shown = console(&overhead, false);
    for part in [
        "0 and 1 of them met a connect",
        "openai, 4 in flight, via: the budget of $1 ended the run",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    // A warning alone is no reason.
    level.arms[1].done = done(16, 20, 4, drawn(2));
    let overhead = assemble(&pairs(&[4]), vec![level]);
    assert_eq!(overhead.verdict.status, Status::Passed);
    assert!(!console(&overhead, false).contains("met a connect"));
}

#[test]
fn doubts_of_an_arm_are_said() {
    let mut level = read(0, done(16, 20, 4, drawn(1)), done(16, 20, 4, drawn(2)));
    level.arms[1].arm.valid = false;
    level.arms[1].arm.reasons = vec!["the harness was held up; give it a core".to_owned()];
    let overhead = assemble(&pairs(&[4]), vec![level.clone()]);
    assert_eq!(overhead.verdict.status, Status::NoVerdict);
    let shown = console(&overhead, false);
    assert!(
        shown.contains("openai, 4 in flight, via: the harness was held up"),
        "{shown}"
    );
    assert!(
        shown.contains("INVALID: the harness could not measure via"),
        "{shown}"
    );
    assert!(markdown(&overhead).contains("INVALID"), "{shown}");

    level.arms[0].interrupted = true;
    let overhead = assemble(&pairs(&[4, 8]), vec![level]);
    assert_eq!(overhead.verdict.status, Status::Interrupted);
    let last = overhead.verdict.reasons.last().expect("reasons");
    assert_eq!(last, "openai: nothing was measured at 8 in flight");
}

#[test]
fn tables_fit_a_terminal_and_one_folder_makes_one_report() {
    let slow = |session| drawn(2)(session).map(|ns| ns * 200);
    let some_fail = |session: u64| slow(session).filter(|_| session % 10 != 3);
    let make = || one(done(16, 20, 4, drawn(1)), done(16, 20, 4, some_fail)).0;
    let overhead = make();
    assert_eq!(overhead, make());
    let shown = console(&overhead, false);
    for line in shown.lines() {
        assert!(line.chars().count() <= 100, "{line}");
        let is_row = line.starts_with("  ") && line.contains(" to ");
        assert!(!is_row || line.chars().count() <= 80, "{line}");
    }
    let back: Overhead = serde_json::from_str(&overhead.json()).expect("JSON");
    assert_eq!(back, overhead);
    let heads = markdown(&overhead)
        .lines()
        .filter(|l| l.starts_with("| ttft"))
        .count();
    assert_eq!(heads, 3);
}
