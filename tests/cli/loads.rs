use std::path::Path;

use crate::facts::{add_up, report};
use crate::program::{OFFLINE, SCENARIO, Sandbox};

/// `quick.toml` with another `[load]`.
fn with_load(load: &str) -> String {
    let head = SCENARIO.split("[load]").next().expect("a first part");
    format!("{head}[load]\n{load}\n{OFFLINE}")
}

/// Checks `quick.toml` with this `[load]`, which is refused for each of these reasons, and the line
/// of the first one.
#[track_caller]
fn refused(load: &str, line: &str, reasons: &[&str]) {
    let sandbox = Sandbox::new();
    let text = with_load(load);
    sandbox.write("wrong.toml", &text);
    let at = text.lines().position(|l| l == line).expect("a line of it") + 1;
    let first = format!("wrong.toml:{at}: {}", reasons[0]);
    sandbox
        .weighbridge(["check", "wrong.toml"])
        .exits(2)
        .says(&[&first])
        .says(reasons);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a flat list of cases")]
fn keys_of_other_arrivals() {
    let open = "arrivals = \"poisson\"\nrate = 5.0\ncount = 3\n";
    let closed = "concurrency = 2\ncount = 3\n";
    let replay = "arrivals = \"replay\"\nreplay = \"a.csv\"\n";
    for (load, line, reasons) in [
        (
            open,
            "think_time = \"2s\"",
            [
                "load.think_time: is for a closed loop",
                "whether the last one was answered",
            ],
        ),
        (
            open,
            "stagger = \"2s\"",
            ["load.stagger: is for a closed loop", "[[load.stages]]"],
        ),
        (
            open,
            "concurrency = 2",
            [
                "load.concurrency: is for a closed loop",
                "load.max_in_flight",
            ],
        ),
        (
            open,
            "burstiness = 0.5",
            ["load.burstiness: is for", "load.arrivals = \"gamma\""],
        ),
        (
            open,
            "replay = \"a.csv\"",
            ["load.replay: is for", "load.arrivals = \"replay\""],
        ),
        (
            open,
            "replay_speed = 2.0",
            ["load.replay_speed: is for", "load.arrivals = \"replay\""],
        ),
        (
            open,
            "stages = [{ duration = \"1s\", rate = 5 }]",
            [
                "load.rate: and `load.stages` exclude each other",
                "as a stage of its own",
            ],
        ),
        (
            closed,
            "stages = [{ duration = \"1s\", users = 5 }]",
            [
                "load.concurrency: and `load.stages` exclude each other",
                "users = 20",
            ],
        ),
        (
            "count = 3\nstagger = \"1s\"\n",
            "stages = [{ duration = \"1s\", users = 5 }]",
            [
                "load.stagger: and `load.stages` exclude each other",
                "in a ramp",
            ],
        ),
        (
            closed,
            "rate = 5.0",
            ["load.rate: is for an open loop", "`load.concurrency`"],
        ),
        (
            closed,
            "burstiness = 0.5",
            ["load.burstiness: is for", "gamma"],
        ),
        (
            replay,
            "rate = 5.0",
            ["load.rate: does not go with a replay", "load.replay_speed"],
        ),
        (
            replay,
            "stages = [{ duration = \"1s\", rate = 5 }]",
            ["load.stages: do not go with a replay", "load.replay_speed"],
        ),
        (
            replay,
            "concurrency = 5",
            [
                "load.concurrency: is for a closed loop",
                "load.max_in_flight",
            ],
        ),
    ] {
        // Of two that exclude each other, the first is not the last line here.
        let at = match reasons[0] {
            reason if reason.starts_with("load.rate: and") => "rate = 5.0",
            reason if reason.starts_with("load.concurrency: and") => "concurrency = 2",
            reason if reason.starts_with("load.stagger: and") => "stagger = \"1s\"",
            _ => line,
        };
        refused(&format!("{load}{line}"), at, &reasons);
    }
}

#[test]
fn keys_that_are_missing_or_out_of_range() {
    for (load, line, reason) in [
        (
            "arrivals = \"gamma\"\nrate = 5.0\ncount = 3",
            "[load]",
            "load.burstiness: is missing: the shape",
        ),
        (
            "arrivals = \"gamma\"\nrate = 5.0\ncount = 3\nburstiness = 0.0",
            "burstiness = 0.0",
            "load.burstiness: must be from 0.01 to 10000, not 0",
        ),
        (
            "arrivals = \"gamma\"\nburstiness = 2.0\ncount = 3",
            "[load]",
            "load.rate: is missing: sessions per second of the open loop, such as 50; or give them in `[[load.stages]]`",
        ),
        (
            "arrivals = \"replay\"",
            "[load]",
            "load.replay: is missing: the CSV file with the due times",
        ),
        (
            "arrivals = \"replay\"\nreplay = \"a.csv\"\nreplay_speed = 0.0",
            "replay_speed = 0.0",
            "load.replay_speed: must be from 0.001 to 1000, not 0",
        ),
        (
            "concurrency = 2\ncount = 3\nthink_time = \"soon\"",
            "think_time = \"soon\"",
            "load.think_time: `soon` is not a duration; write `800ms`",
        ),
        (
            "concurrency = 2\ncount = 3\nthink_time = 2",
            "think_time = 2",
            "load.think_time: invalid type: integer `2`, expected a time such as \"2s\", or a distribution such as { exponential",
        ),
        (
            "concurrency = 2\ncount = 3\nthink_time = { gamma = { mean = \"2s\" } }",
            "think_time = { gamma = { mean = \"2s\" } }",
            "load.think_time.gamma: unknown variant `gamma`, expected one of `uniform`",
        ),
        (
            "concurrency = 2\ncount = 3\nthink_time = { uniform = { min = \"2s\", max = \"1s\" } }",
            "think_time = { uniform = { min = \"2s\", max = \"1s\" } }",
            "load.think_time.uniform.max: must not be below `min`",
        ),
        (
            "concurrency = 2\ncount = 3\nthink_time = { exponential = { mean = \"0s\" } }",
            "think_time = { exponential = { mean = \"0s\" } }",
            "load.think_time.exponential.mean: must be above zero",
        ),
        (
            "concurrency = 2\ncount = 3\nthink_time = { lognormal = { median = \"1s\", sigma = -1.0, max = \"9s\" } }",
            "think_time = { lognormal = { median = \"1s\", sigma = -1.0, max = \"9s\" } }",
            "load.think_time.lognormal.sigma: must be zero or above, not -1",
        ),
        (
            "concurrency = 2\nduration = \"3s\"\nwarmup = \"1s\"\nstagger = \"5s\"",
            "stagger = \"5s\"",
            "load.stagger: is longer than `load.warmup` and `load.duration` together",
        ),
    ] {
        refused(load, line, &[reason]);
    }
}

#[test]
fn stages_that_make_no_profile() {
    let stages = |rest: &str| format!("arrivals = \"constant\"\n{rest}");
    for (rest, line, reason) in [
        (
            "[[load.stages]]\nduration = \"1s\"\nusers = 5",
            "users = 5",
            "load.stages[0].users: is for a closed loop; a stage here has `rate`",
        ),
        (
            "[[load.stages]]\nduration = \"1s\"\nrate = -5.0",
            "rate = -5.0",
            "load.stages[0].rate: must be zero or more sessions per second, not -5",
        ),
        (
            "[[load.stages]]\nduration = \"1s\"\nrate = 5\n[[load.stages]]\nduration = \"0s\"\nrate = 6",
            "duration = \"0s\"",
            "load.stages[1].duration: must be above zero",
        ),
        (
            "[[load.stages]]\nduration = \"1s\"\nto = 5",
            "[[load.stages]]",
            "load.stages[0].from: is missing",
        ),
        (
            "[[load.stages]]\nduration = \"1s\"",
            "[[load.stages]]",
            "load.stages[0]: has no level",
        ),
        (
            "[[load.stages]]\nduration = \"1s\"\nfrom = 5",
            "[[load.stages]]",
            "load.stages[0]: has no level",
        ),
        (
            "[[load.stages]]\nduration = \"1s\"\nrate = 5\nto = 6",
            "rate = 5",
            "load.stages[0].rate: is for a flat stage; a ramp has `from` and `to`",
        ),
        (
            "[[load.stages]]\nduration = \"1s\"\nrate = 0",
            "[[load.stages]]",
            "load.stages: send nothing",
        ),
        (
            "[[load.stages]]\nduration = \"1s\"\nrates = 5",
            "rates = 5",
            "load.stages[0].rates: unknown field `rates`",
        ),
        (
            "[[load.stages]]\nrate = 5",
            "[[load.stages]]",
            "load.stages: missing field `duration`",
        ),
        (
            "stages = [\n{ duration = \"1s\", rate = 5 },\n{ duration = \"1s\", rate = \"x\" },\n]",
            "{ duration = \"1s\", rate = \"x\" },",
            "load.stages[1].rate: invalid type",
        ),
        (
            "stages = [\n{ duration = \"1s\", rate = 5 },\n{ duration = \"1s\", rate = -1 },\n]",
            "{ duration = \"1s\", rate = -1 },",
            "load.stages[1].rate: must be zero or more",
        ),
        (
            "duration = \"5s\"\n[[load.stages]]\nduration = \"1s\"\nrate = 5",
            "duration = \"5s\"",
            "load.duration: and `load.stages` exclude each other",
        ),
        (
            "warmup = \"5s\"\n[[load.stages]]\nduration = \"1s\"\nfrom = 0\nto = 5",
            "warmup = \"5s\"",
            "load.warmup: keeps the rate that the first stage begins with, which is 0; begin it above zero",
        ),
    ] {
        refused(&stages(rest), line, &[reason]);
    }
}

#[test]
fn stages_of_users_that_make_no_load() {
    for (load, line, reason) in [
        (
            "[[load.stages]]\nduration = \"1s\"\nrate = 5",
            "rate = 5",
            "load.stages[0].rate: is for an open loop; a stage here has `users`",
        ),
        (
            "[[load.stages]]\nduration = \"1s\"\nfrom = 0\nto = 2.5",
            "to = 2.5",
            "load.stages[0].to: must be zero or more whole users, not 2.5",
        ),
        (
            "[[load.stages]]\nduration = \"1s\"\nusers = 0",
            "[[load.stages]]",
            "load.stages: send nothing: give at least one of them whole users above zero",
        ),
        (
            "max_in_flight = 20\n[[load.stages]]\nduration = \"1s\"\nusers = 21",
            "[[load.stages]]",
            "load.stages: is above `load.max_in_flight` = 20 with 21 users; raise that as well",
        ),
        (
            "warmup = \"1s\"\n[[load.stages]]\nduration = \"1s\"\nfrom = 0\nto = 5",
            "warmup = \"1s\"",
            "load.warmup: keeps the users that the first stage begins with, which is 0",
        ),
    ] {
        refused(load, line, &[reason]);
    }
}

#[test]
fn stages_can_be_overridden() {
    let sandbox = Sandbox::new();
    sandbox
        .program(["check", "quick.toml", "--set", "load.arrivals=gamma"])
        .args(["--set", "load.concurrency=", "--set", "load.burstiness=0.5"])
        .args([
            "--set",
            "load.stages=[{duration=\"1s\",rate=9},{duration=\"2s\",to=20}]",
        ])
        .output()
        .exits(0)
        .shows(&["open loop, gamma (0.5) 9 to 20/s (2 stages), 3 requests, 3s per endpoint"]);
    sandbox
        .program([
            "check",
            "quick.toml",
            "--set",
            "load.think_time={exponential={mean=\"1s\"}}",
        ])
        .args(["--set", "load.stagger=500ms"])
        .output()
        .exits(0)
        .shows(&[
            "closed loop, 2 users who think for 1s on average and begin within 500ms, 3 requests",
        ]);
    sandbox
        .program(["check", "quick.toml", "--set", "load.stages=[{duration=\"1s\",rate=-9}]"])
        .args(["--set", "load.arrivals=constant", "--set", "load.concurrency="])
        .output()
        .exits(2)
        .says(&["--set load.stages=[{duration=\"1s\",rate=-9}]: load.stages[0].rate: must be zero or more"]);
}

#[test]
fn a_file_of_due_times_with_a_bad_line() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "replay.toml",
        &with_load("arrivals = \"replay\"\nreplay = \"due.csv\""),
    );
    let check = |text: &str| {
        sandbox.write("due.csv", text);
        sandbox.weighbridge(["check", "replay.toml"]).exits(2)
    };
    check("due_s\n0\n2.5\n1.5\n").says(&[
        "due.csv:4:1: column `due_s`: `1.5` is earlier than `2.5`",
        "sort the file",
    ]);
    check("due_s\n0\n-1\n").says(&["due.csv:3:1: column `due_s`: `-1` is before the begin"]);
    check("due_s\nNaN\n").says(&["due.csv:2:1: column `due_s`: `NaN` is not a number of seconds"]);
    check("due_ms\n1\n").says(&["due.csv:1:1: unknown column `due_ms`, did you mean `due_s`?"]);
    check("due_s,input_tokens\n1,2\n")
        .says(&["due.csv:1:2: unknown column `input_tokens`", "`due_s`"]);
    check("due_s\n").says(&["due.csv:2:1: the file has no due time"]);
    check("").says(&["due.csv:1:1: column `due_s` is missing"]);
    std::fs::remove_file(sandbox.path("due.csv")).expect("it was there");
    sandbox
        .weighbridge(["check", "replay.toml"])
        .exits(2)
        .says(&["load.replay: due.csv: there is no such file"]);
}

#[test]
fn a_replay_runs_again_from_its_folder_alone() {
    let sandbox = Sandbox::new();
    let load = "arrivals = \"replay\"\nreplay = \"mine/due.csv\"\nreplay_speed = 2.0";
    sandbox.write("replay.toml", &with_load(load));
    std::fs::create_dir(sandbox.path("mine")).expect("a folder");
    sandbox.write("mine/due.csv", "due_s\n0\n0.1\n0.1\n0.3\n");
    sandbox
        .weighbridge(["run", "replay.toml", "--out", "a"])
        .exits(0)
        .shows(&["open loop, replay of 4 due times at 2 times its speed"]);
    std::fs::remove_dir_all(sandbox.path("mine")).expect("it was there");
    sandbox
        .weighbridge(["run", "a/scenario.toml", "--out", "b"])
        .exits(0);
    for folder in ["a", "b"] {
        let report = report(&sandbox.path(folder));
        for endpoint in ["openai", "anthropic"] {
            assert_eq!(
                report["endpoints"][endpoint]["requests"]["ok"], 4,
                "{folder}"
            );
        }
    }
    // Nothing of the file is left once the warm-up is over.
    sandbox
        .program(["run", "a/scenario.toml", "--out", "c"])
        .args(["--set", "load.warmup=1s"])
        .output()
        .exits(2)
        .says(&["the plan holds no session", "`load.warmup`"]);
}

/// The shipped scenario `name`, without claims about time, has `planned` requests an endpoint.
#[track_caller]
fn runs_as_it_is(name: &str, planned: u64) {
    let sandbox = Sandbox::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scenarios")
        .join(name);
    sandbox
        .program(["run".as_ref(), file.as_os_str()])
        .args([
            "--out",
            "out",
            "--set",
            "gates=[\"error_rate == 0%\", \"cost.delta_abs == 0 USD\"]",
        ])
        .output()
        .exits(0);
    let report = add_up(&sandbox.path("out"));
    for endpoint in ["openai", "anthropic"] {
        let requests = &report["endpoints"][endpoint]["requests"];
        assert_eq!(
            (&requests["planned"], &requests["ok"]),
            (&planned.into(), &planned.into())
        );
    }
}

#[test]
fn the_ramp_that_is_shipped() {
    runs_as_it_is("ramp.toml", 140);
}

#[test]
fn the_users_that_are_shipped() {
    runs_as_it_is("users.toml", 120);
}

#[test]
fn users_in_stages_run_and_run_again() {
    let sandbox = Sandbox::new();
    let load = "arrivals = \"closed\"\nstages = [{ duration = \"200ms\", from = 0, to = 4 }, { duration = \"200ms\", users = 2 }]";
    sandbox.write("staged.toml", &with_load(load));
    sandbox
        .weighbridge(["run", "staged.toml", "--out", "a"])
        .exits(0)
        .shows(&["closed loop, 0 to 4 users (2 stages), 400ms"]);
    add_up(&sandbox.path("a"));
    sandbox
        .weighbridge(["run", "a/scenario.toml", "--out", "b"])
        .exits(0);
}

#[test]
fn the_replay_that_is_shipped() {
    runs_as_it_is("replay.toml", 60);
}
