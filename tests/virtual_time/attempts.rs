//! Requests that take several attempts, and requests that are hung up on.

use std::time::Duration;

use weighbridge::client::scripted::{Answer, Ending, Response, Scripted};
use weighbridge::endpoint::Endpoint;
use weighbridge::record::{Fact, Outcome, Record};
use weighbridge::run::Stop;
use weighbridge::time::Offset;

use super::harness::{
    MS, Ran, always, answer, answer_of, conduct, data, failure, refusal, run, stop_at,
};

const ONE: (&str, &str) = ("load.count", "1");
const RETRIES: (&str, &str) = (
    "target.retries",
    r#"{ attempts = 3, wait = "100ms", wait_max = "2s" }"#,
);

/// Refuses the first `n` requests with `refusal`, then answers.
fn refusing(n: u64, refusal: Response) -> Scripted {
    Scripted::new(move |_, number| {
        Answer::Respond(if number < n {
            refusal.clone()
        } else {
            answer()
        })
    })
}

fn outcomes(ran: &Ran) -> Vec<(u32, bool, Outcome)> {
    let of = |r: &Record| (r.attempt, r.last, r.outcome);
    ran.records.iter().map(of).collect()
}

fn sent_ms(ran: &Ran) -> Vec<u64> {
    let of = |r: &Record| r.sent.map(|at| at.nanos() / 1_000_000);
    ran.records.iter().filter_map(of).collect()
}

#[test]
fn without_retries_a_refusal_is_the_end() {
    let ran = run(&[ONE], &refusing(1, refusal(429, "")));
    assert_eq!(outcomes(&ran), [(0, true, Outcome::RateLimited)]);
}

#[test]
fn what_a_gateway_says_of_itself_is_kept_and_a_hit_in_its_cache_is_free() {
    let mut response = answer();
    for (name, value) in [
        ("x-request-id", "req-1"),
        ("x-litellm-call-id", "call-1"),
        ("x-litellm-cache-hit", "True"),
        ("x-cache", "MISS"),
    ] {
        response
            .headers
            .insert(name, value.parse().expect("a header"));
    }
    response.frames.insert(
        0,
        (
            MS,
            data(r#"{"service_tier":"default","choices":[{"index":0,"delta":{"content":""}}]}"#),
        ),
    );
    let tier = ("target.service_tier", "flex");
    let ran = run(&[ONE, tier], &always(response));
    let record = &ran.records[0];
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    assert_eq!(text(&record.request_id), "req-1");
    assert_eq!(text(&record.call_id), "call-1");
    assert_eq!(text(&record.gateway_cache), "x-litellm-cache-hit: True");
    assert_eq!(text(&record.requested_tier), "flex");
    assert_eq!(text(&record.served_tier), "default");
    assert!(record.body_bytes.is_some_and(|bytes| bytes > 200));
    // `w0 ` to `w7 `.
    assert_eq!(record.counts.characters, 24);
    // It was recorded as if it were not free.
    let has = |ran: &Ran, status: &str| {
        let report = ran.report();
        report.endpoints[&Endpoint::OpenAi].cost.statuses[status]
    };
    assert_eq!(has(&ran, "mismatched"), 1);
    let full = ("pricing.policy", "{ cache_hit = \"full\" }");
    let mut response = answer();
    let hit = "HIT".parse().expect("a header");
    response.headers.insert("x-cache", hit);
    let ran = run(&[ONE, full], &always(response));
    assert_eq!(has(&ran, "matched"), 1);
}

#[test]
fn a_refused_request_is_tried_again_after_a_wait_that_doubles() {
    let ran = run(&[ONE, RETRIES], &refusing(2, refusal(503, "")));
    assert_eq!(
        outcomes(&ran),
        [
            (0, false, Outcome::HttpError),
            (1, false, Outcome::HttpError),
            (2, true, Outcome::Ok),
        ]
    );
    let [first, second, third] = sent_ms(&ran)[..] else {
        panic!("three attempts")
    };
    // A refusal takes 1 ms; the waits are 50 to 100 and 100 to 200 ms.
    assert!((51..=101).contains(&(second - first)), "{second}");
    assert!((101..=201).contains(&(third - second)), "{third}");
    let ids: Vec<_> = ran.records.iter().map(|r| &r.trace_id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "one request: {ids:?}");
    assert!(ran.records.iter().all(|r| r.due == ran.records[0].due));
}

#[test]
fn the_last_attempt_is_the_last() {
    let ran = run(&[ONE, RETRIES], &always(refusal(429, "")));
    assert_eq!(ran.records.len(), 3);
    assert_eq!(
        outcomes(&ran)[2],
        (2, true, Outcome::RateLimited),
        "its outcome is the request's"
    );
}

#[test]
fn retry_after_stands_over_the_wait_and_ends_the_request_beyond_the_longest() {
    let asking = |seconds: &str| {
        let mut refusal = refusal(429, "");
        let value = seconds.parse().expect("a header");
        refusal.headers.insert("retry-after", value);
        refusal
    };
    let ran = run(&[ONE, RETRIES], &refusing(1, asking("1.5")));
    assert_eq!(sent_ms(&ran), [0, 1_501]);
    let ran = run(&[ONE, RETRIES], &refusing(1, asking("3")));
    assert_eq!(outcomes(&ran), [(0, true, Outcome::RateLimited)]);
}

#[test]
fn what_had_begun_is_not_tried_again() {
    let broken = Response {
        ending: Ending::Fail(failure(Outcome::Truncated)),
        frames: answer().frames[..3].to_vec(),
        ..answer()
    };
    let ran = run(&[ONE, RETRIES], &refusing(1, broken));
    assert_eq!(outcomes(&ran), [(0, true, Outcome::Truncated)]);
}

#[test]
fn a_run_that_is_cut_between_two_attempts_accounts_for_the_request() {
    let ran = conduct(
        &[ONE, RETRIES],
        &always(refusal(429, "")),
        |shared, clock| stop_at(shared, clock, vec![(20, Stop::Everything)]),
    );
    assert_eq!(
        outcomes(&ran),
        [(0, false, Outcome::RateLimited), (1, true, Outcome::Cut),]
    );
    assert_eq!(ran.records[1].sent, None, "it was never sent");
}

#[test]
fn a_user_goes_on_when_the_request_is_over_and_not_before() {
    let closed = [
        (
            "load",
            r#"{ arrivals = "closed", concurrency = 1, count = 2 }"#,
        ),
        RETRIES,
    ];
    let ran = run(&closed, &refusing(1, refusal(429, "")));
    let requests: Vec<_> = ran.records.iter().map(|r| (r.session, r.attempt)).collect();
    assert_eq!(requests, [(0, 0), (0, 1), (1, 0)]);
}

#[test]
fn a_share_of_the_requests_is_hung_up_on_after_so_many_events() {
    let hang_up = ("workload.hang_up", "{ share = 0.5, after_events = 3 }");
    let many = ("load.count", "200");
    let ran = run(&[many, hang_up], &always(answer_of(8, "0")));
    let cancelled: Vec<_> = ran
        .records
        .iter()
        .filter(|r| r.outcome == Outcome::Cancelled)
        .collect();
    assert!((70..130).contains(&cancelled.len()), "{}", cancelled.len());
    for record in &cancelled {
        assert_eq!(record.counts.token_events, 3);
        assert_eq!(record.terminator, None);
    }
    assert_eq!(ran.count(Outcome::Ok), 200 - cancelled.len());
    // The same seed hangs up on the same requests.
    let again = run(&[many, hang_up], &always(answer_of(8, "0")));
    let sessions = |ran: &Ran| -> Vec<_> {
        let hung = |r: &&Record| r.outcome == Outcome::Cancelled;
        ran.records.iter().filter(hung).map(|r| r.session).collect()
    };
    assert_eq!(sessions(&ran), sessions(&again));
}

#[test]
fn what_a_stream_that_broke_off_cost_is_unknown_and_stays_reserved() {
    // Anthropic's first event has a placeholder for the output.
    let frames = [
        r#"{"type":"message_start","message":{"id":"m","model":"magistral-small-latest","usage":{"input_tokens":40,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"b"}}"#,
    ];
    let response = Response {
        frames: frames.map(|json| (MS, data(json))).to_vec(),
        ..answer()
    };
    let hang_up = ("workload.hang_up", "{ share = 1.0, after_events = 2 }");
    let anthropic = ("target.endpoint", "\"anthropic\"");
    let budget = ("pricing.budget", "\"0.001 USD\"");
    let ran = run(&[hang_up, anthropic, budget], &always(response));
    let cancelled = ran.count(Outcome::Cancelled);
    assert!(cancelled > 0);
    assert_eq!(ran.spent, None, "nobody knows");
    // The worst case of each stays set aside, until there is no room for another.
    assert_eq!(ran.count(Outcome::Dropped), 1);
    assert_eq!(ran.records.len(), cancelled + 1);
    assert!(cancelled < 19, "{cancelled}");
    let report = ran.report();
    let endpoint = &report.endpoints[&Endpoint::Anthropic];
    assert_eq!(endpoint.cost.statuses["no_usage"], cancelled as u64);
    assert_eq!(
        endpoint.cost.predicted.as_deref(),
        Some("0"),
        "of the one that was not sent"
    );
    assert_eq!(endpoint.usage.output, None);
}

#[test]
fn hanging_up_at_a_time_ends_what_is_still_waited_for() {
    let hang_up = ("workload.hang_up", r#"{ share = 1.0, after = "25ms" }"#);
    let ran = run(&[ONE, hang_up], &always(answer()));
    let record = &ran.records[0];
    assert_eq!(record.outcome, Outcome::Cancelled);
    assert_eq!(
        record.ended.map(Offset::since_start),
        Some(Duration::from_millis(25))
    );
    // An answer that is whole before then is one.
    let hang_up = ("workload.hang_up", r#"{ share = 1.0, after = "90ms" }"#);
    let ran = run(&[ONE, hang_up], &always(answer()));
    assert_eq!(ran.records[0].outcome, Outcome::Ok);
}

#[test]
fn the_trace_holds_each_events_stamp() {
    let ran = run(&[ONE], &always(answer()));
    let events = ran
        .facts
        .iter()
        .find_map(|fact| match fact {
            Fact::Trace { events, .. } => Some(events),
            _ => None,
        })
        .expect("a trace");
    let letters: Vec<_> = events.iter().map(|e| e.classes.to_string()).collect();
    assert_eq!(letters.concat(), "VVVVVVVVNN");
    let at: Vec<_> = events.iter().map(|e| e.at.since_start()).collect();
    assert_eq!(at[..3], [MS * 30, MS * 35, MS * 40]);
}
