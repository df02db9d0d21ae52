//! What people see, from runs that are the same to the last digit.

use weighbridge::client::scripted::{Answer, Scripted};
use weighbridge::report::{console, markdown};
use weighbridge::verdict::GateStatus;

use super::harness::{always, answer, answer_of, refusal, run};

const GATES: &str =
    "[\"ttft p50 < 31ms\", \"ttft p99 < 1s\", \"error_rate < 1%\", \"cost.delta_abs == 0 USD\"]";

#[test]
fn a_good_run_on_the_console() {
    let ran = run(
        &[
            ("gates", GATES),
            ("load.count", "300"),
            ("limits.ttft", "50ms"),
        ],
        &always(answer()),
    );
    insta::assert_snapshot!(console(&ran.report(), false));
}

#[test]
fn a_bad_run_on_the_console() {
    let transport = Scripted::new(|_, n| {
        Answer::Respond(match n % 4 {
            0 => refusal(
                429,
                r#"{"error":{"message":"slow down","type":"rate_limit"}}"#,
            ),
            1 => answer_of(8, "0.000033"),
            2 => answer_of(8, "null"),
            _ => answer(),
        })
    });
    let ran = run(&[("gates", GATES)], &transport);
    let text = console(&ran.report(), false);
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "a line is wider than a terminal"
    );
    insta::assert_snapshot!(text);
}

#[test]
fn a_bad_run_as_markdown() {
    let transport = Scripted::new(|_, n| {
        Answer::Respond(if n == 3 {
            refusal(500, "a | b\n<i>")
        } else {
            answer()
        })
    });
    insta::assert_snapshot!(markdown(&run(&[("gates", GATES)], &transport).report()));
}

#[test]
fn colours_are_asked_for() {
    let report = run(&[("gates", GATES)], &always(answer())).report();
    assert!(!console(&report, false).contains('\x1b'));
    assert!(console(&report, true).contains('\x1b'));
}

#[test]
fn gates_on_the_bill_count_either_way_and_need_the_whole_of_it() {
    // Of 20: 5 billed half, 5 without a cost, 10 as they should be.
    let transport = Scripted::new(|_, n| {
        Answer::Respond(match n % 4 {
            1 => answer_of(8, "0.000016"),
            2 => answer_of(8, "null"),
            _ => answer(),
        })
    });
    for (gate, actual, status) in [
        ("cost.bias < 1%", "16.67%", GateStatus::Failed),
        ("cost.bias < 20%", "16.67%", GateStatus::Inconclusive),
        ("cost.mismatched == 0", "5", GateStatus::Failed),
        ("cost.mismatched == 5", "5", GateStatus::Inconclusive),
        ("cost.not_recorded == 5", "5", GateStatus::Passed),
        ("cost.pending == 0", "0", GateStatus::Passed),
    ] {
        let report = run(&[("gates", &format!("[\"{gate}\"]"))], &transport).report();
        let shown = &report.verdict.gates[0];
        assert_eq!(
            (shown.actual.as_deref(), shown.status),
            (Some(actual), status),
            "{gate}"
        );
        let text = console(&report, false);
        assert!(
            text.contains(
                "bill: 10 of 20 attempts matched, 5 mismatched, 5 not recorded; arithmetic only"
            ),
            "{text}"
        );
    }
}
