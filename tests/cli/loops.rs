//! Sessions of several turns: the shipped scenarios, what their facts say, and tools that are none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::facts::{ENDPOINTS, Row, add_up, measured, rows};
use crate::program::Sandbox;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/{name}.toml"))
}

/// Runs a shipped scenario with fewer sessions, and gives back its measured rows.
fn run(sandbox: &Sandbox, name: &str, count: &str) -> Vec<Row> {
    let out = sandbox.path("out");
    sandbox
        .program([
            "run".as_ref(),
            shipped(name).as_os_str(),
            "--out".as_ref(),
            out.as_os_str(),
        ])
        .args(["--set", &format!("load.count={count}")])
        .output()
        .exits(0);
    measured(&out)
}

fn number(row: &Row, column: &str) -> u64 {
    row[column].parse().unwrap_or(0)
}

/// The rows of each session at an endpoint, turn by turn.
fn sessions(rows: Vec<Row>) -> BTreeMap<(String, u64), Vec<Row>> {
    let mut sessions: BTreeMap<_, Vec<Row>> = BTreeMap::new();
    for row in rows {
        let session = (row["endpoint"].clone(), number(&row, "session"));
        sessions.entry(session).or_default().push(row);
    }
    for turns in sessions.values_mut() {
        turns.sort_by_key(|row| number(row, "turn"));
    }
    sessions
}

/// Each measured request is in the journal under its own name, with the usage that it reported.
#[track_caller]
fn is_verified(folder: &Path, requests: usize) {
    let report = crate::facts::report(folder);
    let verified: u64 = report["endpoints"]
        .as_object()
        .expect("endpoints")
        .values()
        .map(|endpoint| endpoint["truth"]["verified"].as_u64().expect("a count"))
        .sum();
    assert_eq!(verified, requests as u64);
}

#[test]
fn a_coding_agent_reads_in_each_turn_what_the_last_one_wrote() {
    let sandbox = Sandbox::new();
    let rows = run(&sandbox, "claude-code", "4");
    add_up(&sandbox.path("out"));
    is_verified(&sandbox.path("out"), rows.len());
    let sessions = sessions(rows);
    assert_eq!(sessions.len(), 4);
    for turns in sessions.values() {
        assert_eq!(turns.len(), 10, "nine turns of calls, and the answer");
        let names: BTreeSet<&str> = turns.iter().map(|row| row["trace_id"].as_str()).collect();
        assert_eq!(names.len(), 10);
        let mut before = None;
        for (n, row) in turns.iter().enumerate() {
            let is_last = n == 9;
            assert_eq!(number(row, "turn"), n as u64);
            assert_eq!(row["session_sent_ns"], turns[0]["sent_ns"]);
            assert_eq!(row["session_end"], if is_last { "answered" } else { "" });
            assert_eq!(number(row, "calls") == 0, is_last);
            let (read, written) = (
                number(row, "last_cache_read"),
                number(row, "last_cache_write"),
            );
            assert!(written > 0, "{row:?}");
            match before {
                // The prefix, which the preflight or another session wrote.
                None => assert!(read >= 4_000, "{read}"),
                Some(kept) => assert_eq!(read, kept),
            }
            before = Some(read + written);
        }
    }
    // The folder holds the tools too, so that it can be read and run again.
    sandbox
        .weighbridge(["check", "out/scenario.toml"])
        .exits(0)
        .shows(&[
            "sessions of up to 10 turns",
            "requests (up to 10 turns a session) and 1 before the load",
        ]);
    sandbox.weighbridge(["report", "out"]).exits(0);
}

#[test]
fn every_way_to_ask_for_a_tool_stands_side_by_side() {
    let sandbox = Sandbox::new();
    let all = run(&sandbox, "tools-mixed", "60");
    is_verified(&sandbox.path("out"), all.len());
    let column = |name: &str| {
        all.iter()
            .map(|row| row[name].as_str())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        column("tool_choice"),
        ["", "auto", "named", "none", "required"].into()
    );
    assert_eq!(column("parallel_tool_calls"), ["", "false", "true"].into());
    assert_eq!(column("session_end"), ["", "answered"].into());
    assert_eq!(column("turn"), ["0", "1", "2"].into());
    let calls = rows(&sandbox.path("out/calls.csv"));
    let names: BTreeSet<_> = calls.iter().map(|row| row["name"].as_str()).collect();
    let offered = [
        "convert_currency",
        "current_time",
        "get_weather",
        "search_orders",
    ];
    assert_eq!(names, offered.into());
    let sessions = sessions(all);
    for ((endpoint, session), turns) in &sessions {
        let first = &turns[0];
        match first["tool_choice"].as_str() {
            // What offers no tools, or forbids them, has one turn, and no loop that could end.
            "" | "none" => {
                assert_eq!((turns.len(), first["session_end"].as_str()), (1, ""));
                assert_eq!(number(first, "calls"), 0);
            }
            choice => {
                assert_eq!(turns.len(), 3, "{endpoint} {session} {choice}");
                assert_eq!(turns[2]["session_end"], "answered");
                let one = choice == "named" || first["parallel_tool_calls"] == "false";
                assert_eq!(number(first, "calls"), if one { 1 } else { 2 });
                // Only the first turn must call.
                assert_eq!(turns[1]["tool_choice"], "auto");
            }
        }
    }
    // Both endpoints are asked the same.
    let shape = |endpoint: &str| {
        let mine = sessions.iter().filter(|((e, _), _)| e == endpoint);
        let shape = |turns: &[Row]| {
            (
                turns.len(),
                turns[0]["tool_choice"].clone(),
                turns[0]["planned_input"].clone(),
            )
        };
        mine.map(|((_, session), turns)| (*session, shape(turns)))
            .collect::<Vec<_>>()
    };
    let [openai, anthropic] = ENDPOINTS.map(shape);
    assert_eq!(openai, anthropic);
}

#[test]
fn tools_that_are_none_have_file_line_and_tool() {
    let sandbox = Sandbox::new();
    let text = format!(
        "{}tools_share = 1.0\n[workload.tools]\nfile = \"tools.json\"\nturns_max = 2\n[[workload.tools.results]]\ntool = \"read\"\ntext = \"x\"\n[load]\nconcurrency = 1\ncount = 1\n",
        crate::program::SCENARIO
            .split("[load]")
            .next()
            .expect("a first part")
            .trim_end()
            .to_owned()
            + "\n"
    );
    sandbox.write("loops.toml", &text);
    let line = text
        .lines()
        .position(|line| line.starts_with("file ="))
        .expect("a line of it")
        + 1;
    let place = format!("loops.toml:{line}: workload.tools.file: ");
    let refused = |problems: &[&str]| {
        sandbox
            .weighbridge(["check", "loops.toml"])
            .exits(2)
            .says(problems);
    };
    refused(&[&place, "tools.json: there is no such file"]);
    let tool = |name: &str, rest: &str| {
        format!(r#"{{"name": "{name}", "description": "d", "schema": {{"type": "object"{rest}}}}}"#)
    };
    for (json, problem) in [
        (
            "[".to_owned(),
            "tools.json: this is no JSON: EOF while parsing a list at line 1 column 1; it is a list of objects",
        ),
        (
            format!(
                "[{}, {{\"name\": \"write\", \"parameters\": {{}}}}]",
                tool("read", "")
            ),
            "tools.json: tool 2 (`write`): unknown field `parameters`",
        ),
        (
            format!(
                "[{}]",
                tool("read", r#", "properties": {"a": {"type": "text"}}"#)
            ),
            "tools.json: tool 1 (`read`): its schema is no JSON Schema",
        ),
    ] {
        sandbox.write("tools.json", &json);
        refused(&[&place, problem]);
    }
    sandbox.write("tools.json", &format!("[{}]", tool("reed", "")));
    refused(&["workload.tools.results[0].tool: there is no tool `read`, did you mean `reed`?"]);
    sandbox.write("tools.json", &format!("[{}]", tool("read", "")));
    sandbox.weighbridge(["check", "loops.toml"]).exits(0);
}
