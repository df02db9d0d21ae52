use mock_upstream::config::FaultKind;
use serde_json::Value;

use crate::facts::{ENDPOINTS, add_up, measured, rows};
use crate::program::Sandbox;
use crate::target::{Scripted, Upstream, failing, quick, refusing, response};

/// The report of a run in which every request failed.
struct Failed(Value);

/// Runs against `origin`, where every request fails as `outcome`.
#[track_caller]
fn every_request_fails(origin: &str, outcome: &str, sets: &[&str]) -> Failed {
    let sandbox = Sandbox::new();
    sandbox
        .run_against(origin)
        // Without a gate: that nothing succeeded is a failure by itself.
        .args(["--set", "gates=[]"])
        .args(sets.iter().flat_map(|set| ["--set", *set]))
        .output()
        .exits(1)
        .shows(&[
            "FAILED",
            "not one request succeeded",
            "0 ok of 3 planned",
            outcome,
        ]);
    let folder = sandbox.path("out");
    let report = add_up(&folder);
    for name in ENDPOINTS {
        let endpoint = &report["endpoints"][name];
        assert_eq!(endpoint["requests"]["planned"], 3, "{name}");
        assert_eq!(endpoint["requests"]["failed"], 3, "{name}");
        assert_eq!(endpoint["requests"]["outcomes"][outcome], 3, "{endpoint}");
        for metric in ["ttft", "e2e"] {
            assert!(
                endpoint["latency_ms"][metric].is_null(),
                "{name}: of successes only"
            );
        }
        let preflights = rows(&folder.join("requests.csv"))
            .into_iter()
            .filter(|row| row["phase"] == "preflight" && row["endpoint"] == name)
            .map(|row| row["outcome"].clone())
            .collect::<Vec<_>>();
        assert_eq!(
            preflights,
            [outcome],
            "the preflight fails alike and stops nothing"
        );
    }
    let warnings = report["run"]["warnings"].to_string();
    assert!(
        warnings.contains(&format!(
            "preflight request to the openai endpoint ended as {outcome}"
        )),
        "{warnings}"
    );
    Failed(report)
}

#[track_caller]
fn every_answer_is(kind: FaultKind, status: u16, outcome: &str) -> Failed {
    let upstream = Upstream::start(failing(kind, status));
    every_request_fails(&upstream.origin, outcome, &[])
}

impl Failed {
    /// A failed attempt of each endpoint said this.
    #[track_caller]
    fn because(self, part: &str) {
        for name in ENDPOINTS {
            let errors = self.0["endpoints"][name]["requests"]["errors"].to_string();
            assert!(errors.contains(part), "{name}: no `{part}` in {errors}");
        }
    }
}

#[test]
fn nobody_listens() {
    let (held, origin) = refusing();
    every_request_fails(&origin, "connect_failed", &[]).because("refused");
    drop(held);
}

#[test]
fn a_host_that_does_not_exist() {
    every_request_fails(
        "http://gateway.invalid",
        "connect_failed",
        &["pricing.budget=1 USD"],
    );
}

#[test]
fn answers_that_the_upstream_breaks() {
    for (kind, status, outcome, because) in [
        (FaultKind::Html200, 429, "malformed", None),
        (FaultKind::WrongContentType, 429, "malformed", None),
        (FaultKind::NoTerminator, 429, "truncated", None),
        (FaultKind::Status, 429, "rate_limited", Some("429 ")),
        (FaultKind::Status, 500, "http_error", Some("500 ")),
        (FaultKind::Status, 529, "http_error", Some("529 ")),
        (FaultKind::ErrorIn200, 429, "stream_error", None),
        (FaultKind::ErrorInStream, 429, "stream_error", None),
        (FaultKind::ForeignError, 429, "stream_error", None),
        (FaultKind::Garbage, 429, "malformed", None),
        (FaultKind::Cut, 429, "truncated", None),
        (FaultKind::Reset, 429, "reset", None),
        (FaultKind::ResetAfterHeaders, 429, "reset", None),
        (FaultKind::ResetBeforeHeaders, 429, "reset", None),
    ] {
        let failed = every_answer_is(kind, status, outcome);
        if let Some(part) = because {
            failed.because(part);
        }
    }
}

/// What arrives whole, but is not what was written.
#[test]
fn data_that_is_lost_doubled_or_of_another_request() {
    for kind in [
        FaultKind::LostEvent,
        FaultKind::DuplicateEvent,
        FaultKind::ForeignData,
    ] {
        let upstream = Upstream::start(failing(kind, 429));
        let sandbox = Sandbox::new();
        sandbox
            .run_against(&upstream.origin)
            .args(["--set", "gates=[\"cost.findings == 0\"]"])
            .args(["--set", &format!("target.truth={}", upstream.journal_url())])
            .output()
            .exits(1);
        let report = add_up(&sandbox.path("out"));
        for name in ENDPOINTS {
            let endpoint = &report["endpoints"][name];
            assert_eq!(
                endpoint["requests"]["ok"], 3,
                "{kind:?}: the stream itself is whole"
            );
            let findings = &endpoint["cost"]["findings"];
            assert_eq!(findings[0]["code"], "TEXT_NOT_TRUE", "{kind:?}: {findings}");
            assert_eq!(findings[0]["count"], 3, "{kind:?}: {findings}");
        }
    }
}

#[test]
fn silence_after_the_first_tokens() {
    let upstream = Upstream::start(failing(FaultKind::Stall, 429));
    every_request_fails(
        &upstream.origin,
        "timeout_idle",
        &["target.timeouts.idle=100ms"],
    );
}

#[test]
fn silence_before_the_first_token() {
    let mut config = quick();
    config.behaviour.timing.ttft_ms = mock_upstream::config::Distribution::Fixed(600_000.0);
    let upstream = Upstream::start(config);
    every_request_fails(
        &upstream.origin,
        "timeout_first_token",
        &["target.timeouts.first_token=100ms"],
    );
}

#[test]
fn a_stream_that_takes_too_long() {
    let mut config = quick();
    config.behaviour.timing.gap_ms = mock_upstream::config::Distribution::Fixed(60_000.0);
    let upstream = Upstream::start(config);
    every_request_fails(
        &upstream.origin,
        "timeout_total",
        &["target.timeouts.total=200ms"],
    );
}

#[test]
fn a_server_that_does_not_speak_http() {
    let server = Scripted::start(|_| b"220 mail.example ESMTP\r\n".to_vec());
    every_request_fails(&server.origin, "reset", &[]);
}

#[test]
fn an_empty_answer() {
    let server = Scripted::start(|_| response("200 OK", &[], ""));
    every_request_fails(&server.origin, "truncated", &[]);
}

#[test]
fn a_connection_that_closes_without_a_word() {
    let server = Scripted::start(|_| Vec::new());
    every_request_fails(&server.origin, "truncated", &[]);
}

#[test]
fn a_redirect_is_not_followed() {
    let upstream = Upstream::start(quick());
    let elsewhere = format!("{}/v1/chat/completions", upstream.origin);
    let server = Scripted::start(move |_| {
        response("307 Temporary Redirect", &[("location", &elsewhere)], "")
    });
    every_request_fails(&server.origin, "http_error", &[]);
    assert_eq!(upstream.journal().len(), 0);
}

#[test]
fn a_share_of_failures_fails_the_gate_and_keeps_the_rest() {
    let sandbox = Sandbox::new();
    let mut config = failing(FaultKind::Status, 503);
    config.behaviour.faults[0].when.share = 0.5;
    let upstream = Upstream::start(config);
    sandbox
        .run_against(&upstream.origin)
        .args(["--set", "load.count=20"])
        .output()
        .exits(1)
        .shows(&["FAIL  error_rate == 0%", "503"]);
    let folder = sandbox.path("out");
    let report = add_up(&folder);
    let planted = upstream.stats().faults;
    let preflights = rows(&folder.join("requests.csv"))
        .iter()
        .filter(|row| row["phase"] == "preflight" && row["outcome"] != "ok")
        .count() as u64;
    let failed: u64 = ENDPOINTS
        .map(|name| {
            report["endpoints"][name]["requests"]["failed"]
                .as_u64()
                .expect("a count")
        })
        .iter()
        .sum();
    assert_eq!(
        failed + preflights,
        planted,
        "each planted fault is one record"
    );
    assert_eq!(measured(&folder).len(), 40);
    assert!(failed < 40, "some succeed: seeded");
}

#[test]
fn one_endpoint_that_is_down_does_not_hide_the_other() {
    let sandbox = Sandbox::new();
    let half = Scripted::start(|request| {
        if request.is_anthropic() {
            return response("500 Internal Server Error", &[], "");
        }
        let chunk = |delta: &str, finish: &str| {
            format!(
                "data: {{\"id\":\"1\",\"model\":\"magistral-small-latest\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
            )
        };
        let body = [
            chunk("{\"role\":\"assistant\",\"content\":\"hi\"}", "null"),
            chunk("{}", "\"stop\""),
            "data: {\"id\":\"1\",\"choices\":[],\"usage\":{\"prompt_tokens\":60,\"completion_tokens\":1,\"total_tokens\":61,\"cost\":0.0000315}}\n\n".to_owned(),
            "data: [DONE]\n\n".to_owned(),
        ]
        .concat();
        response("200 OK", &[("content-type", "text/event-stream")], &body)
    });
    sandbox
        .run_against(&half.origin)
        .output()
        .exits(1)
        .shows(&["FAIL  error_rate == 0%  openai 0.00%   anthropic 100.00%"]);
    let report = add_up(&sandbox.path("out"));
    assert_eq!(report["endpoints"]["openai"]["requests"]["ok"], 3);
    assert_eq!(report["endpoints"]["openai"]["cost"]["delta"], "0");
    let requests = &report["endpoints"]["anthropic"]["requests"];
    assert_eq!(requests["failed"], 3);
    assert_eq!(requests["errors"]["500"], 3, "also where the body is empty");
}

#[test]
fn each_retry_is_a_row_of_one_request() {
    let mut config = failing(FaultKind::Status, 503);
    // A quarter of the attempts fails, so nearly all requests succeed within four.
    config.behaviour.faults[0].when.share = 0.25;
    let upstream = Upstream::start(config);
    let sandbox = Sandbox::new();
    sandbox
        .run_against(&upstream.origin)
        .args([
            "--set",
            "target.retries={ attempts = 4, wait = \"1ms\" }",
            "--set",
            "load.count=40",
            "--set",
            "gates=[]",
        ])
        .output();
    let folder = sandbox.path("out");
    let all = measured(&folder);
    let again: Vec<_> = all.iter().filter(|row| row["attempt"] != "0").collect();
    assert!(!again.is_empty());
    for row in &all {
        // Whoever was tried again was refused, and is followed by an attempt of the same request.
        let next = all.iter().find(|other| {
            other["trace_id"] == row["trace_id"]
                && other["attempt"].parse::<u32>().ok()
                    == row["attempt"].parse::<u32>().ok().map(|n| n + 1)
        });
        assert_eq!(row["last"] == "false", next.is_some(), "{row:?}");
        if next.is_some() {
            assert_eq!(row["outcome"], "http_error");
        }
    }
    let sent = upstream.stats().requests;
    let preflights = rows(&folder.join("requests.csv")).len() - all.len();
    assert_eq!(sent, (all.len() + preflights) as u64);
}

#[test]
fn hanging_up_is_told_from_failing() {
    let upstream = Upstream::start(quick());
    let sandbox = Sandbox::new();
    sandbox
        .run_against(&upstream.origin)
        .args([
            "--set",
            "workload.hang_up={ share = 0.5, after_events = 2 }",
            "--set",
            "workload.output_tokens={ fixed = 30 }",
            "--set",
            "load.count=20",
            "--set",
            "gates=[\"error_rate == 0%\"]",
        ])
        .output()
        .exits(0);
    let report = add_up(&sandbox.path("out"));
    for name in ENDPOINTS {
        let requests = &report["endpoints"][name]["requests"];
        let cancelled = requests["cancelled"].as_u64().expect("a count");
        assert!((1..20).contains(&cancelled), "{requests}");
        assert_eq!(requests["failed"], 0);
        assert_eq!(requests["ok"], 20 - cancelled);
    }
}
