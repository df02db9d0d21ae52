//! The run folder: what is written can be read back, whole rows only.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::RunFolder;
use crate::endpoint::Endpoint;
use crate::late::Lookup;
use crate::metrics::gap_histogram;
use crate::record::{
    Class, Counts, Example, Fact, FactSink as _, Health, Outcome, Phase, Record, SessionEnd,
};
use crate::time::Offset;
use crate::truth::Truth;
use crate::usage::Usage;

/// A record in which no two numbers are alike, so that a swapped column shows.
fn record() -> Record {
    let mut next = 0;
    let mut n = || {
        next += 1;
        next
    };
    let mut record = Record::new(
        "ab".repeat(16),
        Phase::Measured,
        Endpoint::Anthropic,
        Class::Tools,
    );
    record.attempt = 1;
    record.last = false;
    record.session = n();
    record.turn = 3;
    record.streaming = true;
    record.requested_model = "m, with \"quotes\"\nand a line".to_owned();
    record.planned_input = n();
    record.output_limit = Some(n());
    record.in_flight = Some(7);
    record.sent_utc = Some("2026-08-01T00:00:00.000001Z".to_owned());
    let mut at = || Some(Offset::from_nanos(n()));
    record.due = at();
    record.sent = at();
    record.first_byte = at();
    record.first_token = at();
    record.first_reasoning = at();
    record.first_visible = at();
    record.last_token = at();
    record.terminator = at();
    record.ended = at();
    record.connected = true;
    record.outcome = Outcome::Truncated;
    record.status = Some(200);
    record.error = Some("closed".to_owned());
    record.response_id = Some("r".to_owned());
    record.request_id = Some("q".to_owned());
    record.served_model = Some("s".to_owned());
    record.call_id = Some("c".to_owned());
    record.requested_tier = Some("flex".to_owned());
    record.served_tier = Some("default".to_owned());
    record.gateway_cache = Some("x-cache: HIT".to_owned());
    record.body_bytes = Some(n());
    record.counts = Counts {
        bytes: n(),
        frames: n(),
        events: n(),
        token_events: n(),
        token_batches: n(),
        reasoning_events: n(),
        visible_events: n(),
        call_events: n(),
        characters: n(),
        window_token_events: n(),
        gap_count: n(),
        gap_sum_ns: n(),
        gap_min_ns: n(),
        gap_max_ns: n(),
        silence_max_ns: n(),
        calls: 101,
        calls_valid: 102,
        calls_schema_valid: Some(101),
    };
    let mut usage = || Usage {
        input: Some(n()),
        cache_read: Some(n()),
        cache_write: Some(n()),
        cache_write_5m: Some(n()),
        cache_write_1h: Some(n()),
        output: Some(n()),
        reasoning: Some(n()),
        total: Some(n()),
    };
    record.first_usage = usage();
    record.last_usage = usage();
    record.summed_usage = usage();
    record.usage_reports = 103;
    record.costs = vec![("stream:/usage/cost".to_owned(), "5e-07".to_owned())];
    record.text_sha256 = Some("t".to_owned());
    record.reasoning_sha256 = Some("u".to_owned());
    record.finish = Some("stop".to_owned());
    record.oddities = vec![("foreign_event".to_owned(), 2)];
    record.marks.add("text", 7);
    record.call_names_sha256 = Some("v".to_owned());
    record.call_arguments_sha256 = Some("w".to_owned());
    record.tool_choice = Some("auto".to_owned());
    record.parallel_tool_calls = Some(false);
    record.session_sent = Some(Offset::from_nanos(104));
    record.session_end = Some(SessionEnd::Answered);
    record.first_call = Some(Offset::from_nanos(105));
    record.all_calls = Some(Offset::from_nanos(106));
    record
}

fn health() -> Health {
    Health {
        at_ns: Offset::from_nanos(9),
        interval_ns: 8,
        worker: 7,
        cpu_ns: 6,
        lag_max_ns: 5,
        stalls: 4,
        stalled_ns: 3,
        waited_ns: Some(10),
        turns: Some(13),
        throttled_ns: Some(11),
        drift_ns: Some(-12),
        in_flight: 2,
    }
}

/// A folder with these facts in it.
fn written(facts: Vec<Fact>) -> (TempDir, RunFolder) {
    let dir = TempDir::new().expect("a temporary folder");
    let folder = RunFolder::create(dir.path()).expect("empty");
    let writer = folder
        .start_writer(SystemTime::UNIX_EPOCH, false)
        .expect("writable");
    let queue = writer.queue();
    for fact in facts {
        queue.put(fact);
    }
    drop(queue);
    writer.finish().expect("written");
    (dir, folder)
}

fn requests(folder: &RunFolder) -> (Vec<Record>, bool) {
    let mut records = Vec::new();
    let torn = folder
        .each_request(|record| {
            records.push(record);
            Ok(())
        })
        .expect("readable");
    (records, torn)
}

#[test]
fn a_row_comes_back_as_it_went() {
    let mut bare = Record::new("0".repeat(32), Phase::Warmup, Endpoint::OpenAi, Class::Chat);
    bare.outcome = Outcome::Dropped;
    let facts = vec![
        Fact::Attempt(Arc::new(record()), Vec::new()),
        Fact::Health(health()),
        Fact::Attempt(Arc::new(bare.clone()), Vec::new()),
    ];
    let (_dir, folder) = written(facts);
    assert_eq!(requests(&folder), (vec![record(), bare], false));
    let mut rows = Vec::new();
    folder.each_health(|row| rows.push(row)).expect("readable");
    assert_eq!(rows, [health()]);
}

#[test]
fn the_gap_log_comes_back_by_endpoint() {
    let mut gaps = gap_histogram();
    for ms in [1_u64, 8, 8, 900] {
        gaps.record(ms * 1_000_000).expect("it resizes");
    }
    let interval = |endpoint, from| Fact::Gaps {
        endpoint,
        worker: 3,
        from: Offset::from_duration(Duration::from_secs(from)),
        to: Offset::from_duration(Duration::from_secs(from + 1)),
        histogram: Box::new(gaps.clone()),
    };
    let facts = vec![
        interval(Endpoint::OpenAi, 0),
        interval(Endpoint::Anthropic, 0),
        interval(Endpoint::OpenAi, 1),
    ];
    let (_dir, folder) = written(facts);
    let mut seen = Vec::new();
    folder
        .each_gaps(|endpoint, histogram| {
            seen.push((endpoint, histogram.len(), histogram.value_at_quantile(0.5)));
        })
        .expect("readable");
    let median = gaps.value_at_quantile(0.5);
    assert_eq!(
        seen,
        [
            (Endpoint::OpenAi, 4, median),
            (Endpoint::Anthropic, 4, median),
            (Endpoint::OpenAi, 4, median)
        ]
    );
}

#[test]
fn a_torn_last_row_is_left_out_and_said_wherever_it_is_torn() {
    let facts = || {
        vec![
            Fact::Attempt(Arc::new(record()), Vec::new()),
            Fact::Attempt(Arc::new(record()), Vec::new()),
        ]
    };
    let (_dir, folder) = written(facts());
    let path = folder.path().join("requests.csv");
    let whole = fs::read(&path).expect("readable");
    let first_row_ends = {
        let (_one_dir, one) = written(facts().drain(..1).collect());
        fs::read(one.path().join("requests.csv"))
            .expect("readable")
            .len()
    };
    for cut in first_row_ends + 1..whole.len() {
        fs::write(&path, &whole[..cut]).expect("writable");
        let (records, torn) = requests(&folder);
        assert_eq!(
            (records.len(), torn),
            (1, true),
            "cut at {cut} of {}",
            whole.len()
        );
    }
    fs::write(&path, &whole[..first_row_ends]).expect("writable");
    assert!(!requests(&folder).1);
}

#[test]
fn damage_in_the_middle_is_an_error_with_its_line() {
    let (_dir, folder) = written(vec![
        Fact::Attempt(Arc::new(record()), Vec::new()),
        Fact::Attempt(Arc::new(record()), Vec::new()),
    ]);
    let path = folder.path().join("requests.csv");
    let text = fs::read_to_string(&path)
        .expect("readable")
        .replacen("truncated", "shortened", 1);
    fs::write(&path, text).expect("writable");
    let error = folder
        .each_request(|_| Ok(()))
        .expect_err("damaged")
        .to_string();
    assert!(error.contains("requests.csv:2"), "{error}");
}

#[test]
fn a_folder_with_something_in_it_is_refused() {
    let (_dir, folder) = written(Vec::new());
    let error = RunFolder::create(folder.path())
        .expect_err("not empty")
        .to_string();
    assert!(error.contains("--out"), "{error}");
}

fn truth(nonce: &str, input: u64, text: Option<&str>) -> Truth {
    Truth {
        nonce: nonce.to_owned(),
        endpoint: "openai".to_owned(),
        model: "m, \"n\"".to_owned(),
        stream: true,
        status: 200,
        first_write_ns: None,
        first_token_write_ns: Some(5),
        last_write_ns: None,
        token_events: 3,
        input: Some(input),
        cache_read: None,
        cache_write: None,
        output: Some(2),
        reasoning: None,
        cost: Some("0.1".to_owned()),
        tool_calls: 0,
        text_sha256: text.map(str::to_owned),
        reasoning_sha256: None,
        finish: Some("stop".to_owned()),
        fault: None,
        completed: true,
        ..Truth::default()
    }
}

#[test]
fn truths_are_found_by_nonce_in_any_order() {
    let (_dir, folder) = written(Vec::new());
    assert!(folder.truths().expect("no file").is_none());
    let nonce = |n: u64| format!("{n:032x}");
    let mut entries: Vec<Truth> = (0..500).map(|n| truth(&nonce(n), n, None)).collect();
    // A gateway that asked twice: in the order in which the upstream received them.
    entries.push(truth(&nonce(7), 1_000, Some("a0")));
    let mut file = folder.start_truth().expect("writable");
    for entry in &entries {
        file.put(entry).expect("written");
    }
    assert!(folder.truths().expect("no file").is_none(), "not whole yet");
    file.finish().expect("written");
    let mut truths = folder.truths().expect("readable").expect("there");
    assert!(truths.has_texts());
    for n in [499, 0, 8, 7, 250, 251] {
        let expected: Vec<Truth> = entries
            .iter()
            .filter(|t| t.nonce == nonce(n))
            .cloned()
            .collect();
        assert_eq!(
            truths.of(&nonce(n), |_| true).expect("readable"),
            expected,
            "{n}"
        );
    }
    assert_eq!(truths.of(&nonce(500), |_| true).expect("readable"), []);
}

#[test]
fn a_truth_that_is_not_finished_leaves_nothing() {
    let (_dir, folder) = written(Vec::new());
    let before = fs::read_dir(folder.path()).expect("a folder").count();
    let mut file = folder.start_truth().expect("writable");
    file.put(&truth("n", 1, None)).expect("written");
    drop(file);
    let after = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(after, before);
}

#[test]
fn look_ups_are_on_the_disk_at_once_and_a_torn_one_is_left_out() {
    let (_dir, folder) = written(Vec::new());
    assert!(folder.lookups().expect("no file").is_none());
    let lookup = |attempt: u32, digits: Option<&str>| Lookup {
        trace_id: "ab".repeat(16),
        attempt,
        surface: "lookup:{base_url}/x?id={trace_id}#/a,b".to_owned(),
        digits: digits.map(str::to_owned),
        unknown_ns: Some(5),
        known_ns: digits.map(|_| 6),
        tries: 2,
        error: None,
    };
    let mut file = folder.start_lookups().expect("writable");
    let id = "ab".repeat(16);
    for (n, digits) in [(0, Some("5e-07")), (1, None), (2, Some("0.10"))] {
        file.put(&lookup(n, digits)).expect("written");
        let mut rows = folder.lookups().expect("readable").expect("there");
        let found = rows.of(&id, |row| row.attempt == n).expect("readable");
        assert_eq!(found, [lookup(n, digits)]);
        assert!(!rows.is_torn());
    }
    let path = folder.path().join("lookups.csv");
    let text = fs::read_to_string(&path).expect("rows");
    fs::write(&path, &text[..text.len() - 3]).expect("written");
    let mut rows = folder.lookups().expect("readable").expect("there");
    assert!(rows.is_torn());
    assert_eq!(rows.of(&id, |_| true).expect("readable").len(), 2);
}

#[test]
fn columns_are_found_by_name_wherever_they_stand() {
    let (_dir, folder) = written(vec![Fact::Attempt(Arc::new(record()), Vec::new())]);
    let path = folder.path().join("requests.csv");
    let mut rows = csv::Reader::from_path(&path).expect("a file");
    let reversed = |row: &csv::StringRecord| row.iter().rev().collect::<csv::StringRecord>();
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(&reversed(rows.headers().expect("names")))
        .expect("in memory");
    for row in rows.records() {
        out.write_record(&reversed(&row.expect("a row")))
            .expect("in memory");
    }
    fs::write(&path, out.into_inner().expect("in memory")).expect("writable");
    assert_eq!(requests(&folder), (vec![record()], false));
}

#[test]
fn an_example_is_a_file_and_a_row() {
    let example = |number: u32, names: &[&str]| Example {
        file: format!("examples/openai-0000000{number}-0-0.http"),
        trace_id: "0".repeat(32),
        attempt: 1,
        endpoint: Endpoint::OpenAi,
        names: names.iter().map(|&name| name.to_owned()).collect(),
    };
    let (first, second) = (
        example(1, &["id_changed", "text_lost"]),
        example(2, &["sample"]),
    );
    let (dir, folder) = written(vec![
        Fact::Example(first.clone(), b"one \xff".to_vec()),
        Fact::Example(second.clone(), b"two".to_vec()),
        // Its name is taken.
        Fact::Example(first.clone(), b"three".to_vec()),
    ]);
    let mut rows = Vec::new();
    let torn = folder.each_example(|row| rows.push(row)).expect("readable");
    assert_eq!((rows, torn), (vec![first.clone(), second], false));
    let bytes = std::fs::read(dir.path().join(first.file)).expect("a file");
    assert_eq!(bytes, b"one \xff");
    let (_dir, none) = written(Vec::new());
    none.each_example(|_| panic!("there is none"))
        .expect("nothing to read");
}
