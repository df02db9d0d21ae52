//! One test for each exit code, in order of precedence, and the gates behind them.

use weighbridge::cli::Exit;
use weighbridge::client::scripted::{Answer, Scripted};
use weighbridge::run::Stop;
use weighbridge::verdict::GateStatus;

use super::harness::{Ran, always, answer, answer_of, conduct, refusal, run, stop_at};

fn exit(ran: &Ran) -> Exit {
    ran.report().verdict.status.into()
}

fn gates(ran: &Ran) -> Vec<GateStatus> {
    ran.report()
        .verdict
        .gates
        .iter()
        .map(|g| g.status)
        .collect()
}

const FAILING: &str = "[\"ttft p50 < 1ms\"]";

#[test]
fn interrupted_is_130_even_where_a_gate_failed() {
    let ran = conduct(&[("gates", FAILING)], &always(answer()), |shared, clock| {
        stop_at(shared, clock, vec![(950, Stop::Arrivals)])
    });
    assert_eq!(gates(&ran), [GateStatus::Failed]);
    assert_eq!(exit(&ran), Exit::Interrupted);
    assert_eq!(exit(&ran).code(), 130);
}

#[test]
fn a_failed_gate_is_1() {
    let ran = run(&[("gates", FAILING)], &always(answer()));
    assert_eq!(exit(&ran), Exit::Failed);
    assert_eq!(exit(&ran).code(), 1);
}

#[test]
fn a_failed_bill_is_1_even_where_the_run_is_invalid() {
    let overrides = [
        ("gates", "[\"ttft p50 < 1s\", \"cost.delta_abs == 0 USD\"]"),
        ("load.max_in_flight", "1"),
        ("load.rate", "100.0"),
    ];
    let ran = run(&overrides, &always(answer_of(8, "0.000033")));
    assert_eq!(gates(&ran), [GateStatus::Invalid, GateStatus::Failed]);
    assert_eq!(exit(&ran), Exit::Failed);
}

#[test]
fn nothing_succeeded_is_1_without_any_gate() {
    let ran = run(&[], &always(refusal(500, "")));
    assert_eq!(exit(&ran), Exit::Failed);
}

#[test]
fn an_invalid_run_is_3() {
    let overrides = [
        ("gates", "[\"ttft p50 < 1s\"]"),
        ("load.max_in_flight", "2"),
        ("load.rate", "100.0"),
    ];
    let ran = run(&overrides, &always(answer()));
    assert_eq!(gates(&ran), [GateStatus::Invalid]);
    assert_eq!(exit(&ran), Exit::NoVerdict);
    assert_eq!(exit(&ran).code(), 3);
}

#[test]
fn too_small_a_sample_is_3() {
    let ran = run(&[("gates", "[\"ttft p99 < 1s\"]")], &always(answer()));
    assert_eq!(gates(&ran), [GateStatus::Inconclusive]);
    assert_eq!(exit(&ran), Exit::NoVerdict);
    let ran = run(
        &[("gates", "[\"ttft p99 < 1s\"]"), ("load.count", "299")],
        &always(answer()),
    );
    assert_eq!(gates(&ran), [GateStatus::Passed]);
}

#[test]
fn a_gate_on_what_was_not_measured_is_3_and_never_passes() {
    let ran = run(
        &[(
            "gates",
            "[\"ttfr p50 < 1s\", \"time_to_tool_call p50 > 0ms\"]",
        )],
        &always(answer()),
    );
    assert_eq!(gates(&ran), [GateStatus::NoData, GateStatus::NoData]);
    assert_eq!(exit(&ran), Exit::NoVerdict);
}

#[test]
fn a_cost_that_is_not_recorded_everywhere_cannot_pass() {
    let half = Scripted::new(|_, n| {
        Answer::Respond(answer_of(8, if n % 2 == 0 { "0.000032" } else { "null" }))
    });
    let ran = run(&[("gates", "[\"cost.delta_abs == 0 USD\"]")], &half);
    assert_eq!(gates(&ran), [GateStatus::Inconclusive]);
    let enough = "[\"cost.delta_abs == 0 USD\", \"cost.coverage >= 50%\"]";
    let ran = run(&[("gates", enough)], &half);
    assert_eq!(gates(&ran), [GateStatus::Passed, GateStatus::Passed]);
}

#[test]
fn a_stream_that_came_as_a_whole_body_leaves_its_first_token_open() {
    let whole = || {
        let body = r#"{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":40,"completion_tokens":8}}"#;
        let mut response = refusal(200, body);
        response
            .headers
            .insert("content-type", "application/json".parse().expect("valid"));
        response
    };
    let half =
        Scripted::new(move |_, n| Answer::Respond(if n % 2 == 0 { whole() } else { answer() }));
    let ran = run(&[("gates", "[\"ttft p50 < 1s\", \"e2e p50 < 1s\"]")], &half);
    assert_eq!(gates(&ran), [GateStatus::Inconclusive, GateStatus::Passed]);
}

#[test]
fn a_mean_with_a_failed_request_in_it_is_over_any_limit() {
    let one_fails =
        Scripted::new(|_, n| Answer::Respond(if n == 3 { refusal(500, "") } else { answer() }));
    let ran = run(
        &[("gates", "[\"ttft mean < 1s\", \"ttft min < 1s\"]")],
        &one_fails,
    );
    assert_eq!(gates(&ran), [GateStatus::Failed, GateStatus::Passed]);
}

#[test]
fn a_rate_that_lacks_a_part_is_not_shown() {
    let mut silent = answer();
    silent.frames.remove(8);
    let half = Scripted::new(move |_, n| {
        Answer::Respond(if n % 2 == 0 { silent.clone() } else { answer() })
    });
    let ran = run(&[("gates", "[\"output_tokens_per_s > 1\"]")], &half);
    assert_eq!(gates(&ran), [GateStatus::NoData]);
}

#[test]
fn noise_in_the_last_digits_is_no_difference() {
    let ran = run(
        &[("gates", "[\"cost.delta_abs == 0 USD\"]")],
        &always(answer_of(8, "0.000032000000000000004")),
    );
    assert_eq!(gates(&ran), [GateStatus::Passed]);
    let report = ran.report();
    let findings = &report.endpoints[&weighbridge::endpoint::Endpoint::OpenAi]
        .cost
        .findings;
    assert_eq!(
        findings.len(),
        1,
        "but the finding says that it is there: {findings:?}"
    );
}

#[test]
fn every_gate_holds_is_0() {
    let ran = run(
        &[(
            "gates",
            "[\"ttft p50 < 31ms\", \"error_rate == 0%\", \"openai.cost.delta_abs == 0 USD\", \"requests_per_s > 5\"]",
        )],
        &always(answer()),
    );
    assert_eq!(gates(&ran), [GateStatus::Passed; 4]);
    assert_eq!(exit(&ran), Exit::Passed);
    assert_eq!(exit(&ran).code(), 0);
}
