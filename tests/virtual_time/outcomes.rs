//! Every way in which an attempt can end is a record, and the sums hold.

use std::time::Duration;

use bytes::Bytes;
use weighbridge::client::scripted::{Answer, Ending, Response, Scripted};
use weighbridge::endpoint::Endpoint;
use weighbridge::record::Outcome;
use weighbridge::verdict::GateStatus;

use super::harness::{
    MS, always, answer, answer_of, data, done, failure, refusal, run, stream_headers, text,
};

/// Frames at once, behind a stream's head.
fn stream(frames: Vec<Bytes>, ending: Ending) -> Response {
    let frames = frames.into_iter().map(|f| (MS, f)).collect();
    Response {
        head_after: MS,
        status: 200,
        headers: stream_headers(),
        frames,
        ending,
    }
}

fn html() -> Response {
    let mut response = stream(
        vec![Bytes::from("<html><body>Bad gateway</body></html>")],
        Ending::Complete,
    );
    response
        .headers
        .insert("content-type", "text/html".parse().expect("valid"));
    response
}

fn error_in_200() -> Response {
    let body = r#"{"error":{"message":"upstream failed","type":"api_error"}}"#;
    let mut response = stream(vec![Bytes::from(body)], Ending::Complete);
    response
        .headers
        .insert("content-type", "application/json".parse().expect("valid"));
    response
}

#[test]
#[expect(clippy::too_many_lines, reason = "a flat list of cases")]
fn each_outcome_is_a_record() {
    let slow_first = Response {
        head_after: MS,
        frames: vec![(MS * 900, text("late"))],
        ..answer()
    };
    let silent = stream(vec![text("a"), text("b")], Ending::Hang);
    let endless = {
        let frames = (0..100).map(|_| (MS * 150, text("a"))).collect();
        Response { frames, ..answer() }
    };
    let cases: Vec<(&str, Answer, Outcome)> = vec![
        ("an answer", Answer::Respond(answer()), Outcome::Ok),
        (
            "500",
            Answer::Respond(refusal(500, "oops")),
            Outcome::HttpError,
        ),
        (
            "404",
            Answer::Respond(refusal(404, "{}")),
            Outcome::HttpError,
        ),
        (
            "a redirect",
            Answer::Respond(refusal(302, "")),
            Outcome::HttpError,
        ),
        (
            "429",
            Answer::Respond(refusal(429, r#"{"error":{"message":"slow down"}}"#)),
            Outcome::RateLimited,
        ),
        (
            "an error event",
            Answer::Respond(stream(
                vec![text("a"), data(r#"{"error":{"message":"boom"}}"#)],
                Ending::Complete,
            )),
            Outcome::StreamError,
        ),
        (
            "an error inside a 200",
            Answer::Respond(error_in_200()),
            Outcome::StreamError,
        ),
        ("HTML with 200", Answer::Respond(html()), Outcome::Malformed),
        (
            "garbage",
            Answer::Respond(stream(vec![data("{not json")], Ending::Complete)),
            Outcome::Malformed,
        ),
        (
            "nothing but the end",
            Answer::Respond(stream(vec![done()], Ending::Complete)),
            Outcome::Malformed,
        ),
        (
            "no terminator",
            Answer::Respond(stream(vec![text("a")], Ending::Complete)),
            Outcome::Truncated,
        ),
        (
            "an empty body",
            Answer::Respond(stream(vec![], Ending::Complete)),
            Outcome::Truncated,
        ),
        (
            "a broken connection",
            Answer::Respond(stream(
                vec![text("a")],
                Ending::Fail(failure(Outcome::Reset)),
            )),
            Outcome::Reset,
        ),
        (
            "a refused connection",
            Answer::Fail(MS, failure(Outcome::ConnectFailed)),
            Outcome::ConnectFailed,
        ),
        (
            "a slow connect",
            Answer::Fail(MS, failure(Outcome::TimeoutConnect)),
            Outcome::TimeoutConnect,
        ),
        (
            "silence from the start",
            Answer::Hang,
            Outcome::TimeoutFirstToken,
        ),
        (
            "a late first token",
            Answer::Respond(slow_first),
            Outcome::TimeoutFirstToken,
        ),
        (
            "silence in the middle",
            Answer::Respond(silent),
            Outcome::TimeoutIdle,
        ),
        ("no end", Answer::Respond(endless), Outcome::TimeoutTotal),
    ];
    let timeouts = [
        ("target.timeouts.first_token", "500ms"),
        ("target.timeouts.idle", "200ms"),
        ("target.timeouts.total", "2s"),
        ("load.grace", "10s"),
        ("load.count", "2"),
    ];
    for (name, reply, expected) in cases {
        let transport = Scripted::new(move |_, _| reply.clone());
        let ran = run(&timeouts, &transport);
        assert_eq!(ran.count(expected), 2, "{name}: {:?}", ran.records[0]);
        let failed = expected != Outcome::Ok;
        let requests = &ran.report().endpoints[&Endpoint::OpenAi].requests;
        assert_eq!(
            (requests.planned, requests.ok),
            (2, if failed { 0 } else { 2 }),
            "{name}"
        );
        assert_eq!(requests.failed, if failed { 2 } else { 0 }, "{name}");
    }
}

#[test]
fn an_idle_limit_counts_from_the_last_frame_not_from_the_first() {
    let mut response = answer_of(10, "0");
    for frame in &mut response.frames {
        frame.0 = MS * 150;
    }
    let ran = run(
        &[("target.timeouts.idle", "200ms"), ("load.count", "1")],
        &always(response),
    );
    assert_eq!(ran.count(Outcome::Ok), 1);
}

#[test]
fn the_sums_hold_in_a_mixture() {
    let transport = Scripted::new(|_, n| match n % 5 {
        0 => Answer::Respond(refusal(429, "")),
        1 => Answer::Hang,
        2 => Answer::Respond(stream(vec![text("a")], Ending::Complete)),
        _ => Answer::Respond(answer()),
    });
    let ran = run(
        &[
            ("load.count", "100"),
            ("load.max_in_flight", "8"),
            ("load.rate", "50.0"),
            ("target.timeouts.first_token", "1s"),
            ("load.grace", "100ms"),
        ],
        &transport,
    );
    let requests = &ran.report().endpoints[&Endpoint::OpenAi].requests;
    assert_eq!(requests.planned, 100);
    assert_eq!(
        requests.ok + requests.failed + requests.dropped + requests.cut + requests.cancelled,
        requests.planned
    );
    assert_eq!(requests.outcomes.values().sum::<u64>(), requests.planned);
    assert!(
        requests.ok > 0 && requests.failed > 0 && requests.dropped > 0 && requests.cut > 0,
        "{requests:?}"
    );
}

#[test]
fn a_refusal_never_makes_a_gateway_look_faster() {
    // Half of the requests are refused within a millisecond.
    let transport = Scripted::new(|_, n| {
        Answer::Respond(if n % 2 == 0 {
            refusal(429, "")
        } else {
            answer()
        })
    });
    let ran = run(
        &[
            ("load.count", "200"),
            ("gates", "[\"ttft p50 < 31ms\", \"ttft p90 < 31ms\"]"),
        ],
        &transport,
    );
    let report = ran.report();
    let ttft = report.endpoints[&Endpoint::OpenAi].latency_ms["ttft"].expect("measured");
    assert_eq!((ttft.count, ttft.failed), (100, 100));
    assert_eq!(ttft.p99, 30.0, "of the successful requests");
    let statuses: Vec<_> = report.verdict.gates.iter().map(|g| g.status).collect();
    assert_eq!(statuses, [GateStatus::Passed, GateStatus::Failed]);
}

#[test]
fn a_first_token_limit_does_not_hold_for_whole_bodies() {
    let body = r#"{"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":40,"completion_tokens":8}}"#;
    let mut response = stream(vec![Bytes::from(body)], Ending::Complete);
    response
        .headers
        .insert("content-type", "application/json".parse().expect("valid"));
    response.frames[0].0 = Duration::from_secs(3);
    let ran = run(
        &[
            ("workload.stream_share", "0.0"),
            ("target.timeouts.first_token", "1s"),
            ("load.count", "1"),
        ],
        &always(response),
    );
    assert_eq!(ran.count(Outcome::Ok), 1, "{:?}", ran.records[0]);
    let report = ran.report();
    assert_eq!(report.endpoints[&Endpoint::OpenAi].latency_ms["ttft"], None);
    assert_eq!(
        report.endpoints[&Endpoint::OpenAi].latency_ms["e2e"]
            .expect("measured")
            .p50,
        3_001.0
    );
}

#[test]
fn a_request_that_runs_into_its_total_limit_is_not_cut_by_the_default_grace() {
    let transport = Scripted::new(|_, _| Answer::Hang);
    let ran = run(
        &[
            (
                "load",
                "{ arrivals = \"closed\", concurrency = 2, count = 2 }",
            ),
            ("target.timeouts.total", "2s"),
        ],
        &transport,
    );
    assert_eq!(
        ran.count(Outcome::TimeoutTotal),
        2,
        "{:?}",
        ran.records[0].outcome
    );
}
