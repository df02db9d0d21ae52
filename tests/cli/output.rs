use mock_upstream::config::FaultKind;

use crate::program::{OFFLINE, SCENARIO, Sandbox};
use crate::target::{Upstream, failing};

#[test]
fn stdout_is_the_report_and_stderr_the_talk() {
    let sandbox = Sandbox::new();
    let output = sandbox
        .weighbridge(["run", "quick.toml", "--out", "out"])
        .exits(0)
        .says(&["6 requests", "facts and reports: out"]);
    let report = std::fs::read_to_string(sandbox.path("out/report.txt")).expect("report.txt");
    assert_eq!(output.stdout, report);
    assert!(output.stdout.starts_with("PASSED"));
}

#[test]
fn quiet_says_no_more_than_where_the_facts_are() {
    let sandbox = Sandbox::new();
    let output = sandbox
        .weighbridge(["run", "quick.toml", "--out", "out", "--quiet"])
        .exits(0);
    assert_eq!(output.stderr, "facts and reports: out\n");
}

#[test]
fn a_folder_is_made_up_where_none_is_named() {
    let sandbox = Sandbox::new();
    sandbox.weighbridge(["run", "quick.toml"]).exits(0);
    let names: Vec<String> = std::fs::read_dir(sandbox.path("reports"))
        .expect("reports")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    let [name] = &names[..] else {
        panic!("{names:?}")
    };
    assert!(name.ends_with("Z-quick"), "{name}");
    assert!(
        sandbox
            .path("reports")
            .join(name)
            .join("report.json")
            .is_file()
    );
}

#[test]
fn no_escape_codes_where_no_terminal_is() {
    let sandbox = Sandbox::new();
    let upstream = Upstream::start(failing(FaultKind::Status, 500));
    for color in [None, Some("1"), Some("")] {
        let failing = ["--target", upstream.origin.as_str()];
        for (n, (code, args)) in [(0, ["quick.toml", "--quiet"].as_slice()), (1, &failing)]
            .into_iter()
            .enumerate()
        {
            let out = format!("out{}{n}", color.unwrap_or("none"));
            let mut program = sandbox.program(["run", "--out", &out]).args(args);
            if code == 1 {
                program = program.args(["live.toml"]);
            }
            if let Some(value) = color {
                program = program.env("NO_COLOR", value).env("TERM", "xterm-256color");
            }
            let output = program.output().exits(code);
            assert!(!output.stdout.contains('\x1b'), "{}", output.stdout);
            assert!(!output.stderr.contains('\x1b'), "{}", output.stderr);
        }
    }
}

#[test]
fn a_reader_that_has_gone_away_is_no_error() {
    let sandbox = Sandbox::new();
    let output = sandbox
        .program(["run", "quick.toml", "--out", "out"])
        .closed_stdout()
        .output()
        .exits(0);
    assert!(!output.stderr.contains("error"), "{}", output.stderr);
    assert!(sandbox.path("out/report.json").is_file());
    for args in [
        &["report", "out"][..],
        &["report", "out", "--json"],
        &["check", "quick.toml"],
        &["check", "--schema"],
        &[
            "quote",
            "magistral-small-latest",
            "--input",
            "1",
            "--output",
            "1",
        ],
        &["--help"],
        &["--version"],
    ] {
        let output = sandbox.program(args).closed_stdout().output();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert_eq!(output.stderr, "", "{args:?}");
    }
}

#[test]
fn a_verdict_outlives_the_readers_of_both_streams() {
    let sandbox = Sandbox::new();
    let upstream = Upstream::start(failing(FaultKind::Status, 500));
    sandbox
        .run_against(&upstream.origin)
        .closed_stdout()
        .closed_stderr()
        .output()
        .exits(1);
    assert!(sandbox.path("out/report.json").is_file());
}

#[test]
fn progress_to_a_reader_that_has_gone_away_does_not_end_the_run() {
    let sandbox = Sandbox::new();
    // Long enough for a line of progress, which comes every few seconds.
    let slow = SCENARIO.replacen(
        "concurrency = 2\ncount = 3",
        "arrivals = \"constant\"\nrate = 1\ncount = 7",
        1,
    );
    sandbox.write("slow.toml", &format!("{slow}{OFFLINE}"));
    sandbox
        .program(["run", "slow.toml", "--endpoint", "openai", "--out", "out"])
        .closed_stderr()
        .output()
        .exits(0);
}

#[test]
fn help_has_examples_and_exit_codes() {
    let sandbox = Sandbox::new();
    sandbox.weighbridge(["--help"]).exits(0).shows(&[
        "Examples:",
        "weighbridge run",
        "130",
        "a gate failed, or nothing succeeded",
    ]);
    for command in ["run", "check", "report", "quote", "mock"] {
        sandbox
            .weighbridge([command, "--help"])
            .exits(0)
            .shows(&["Usage:"]);
    }
}
