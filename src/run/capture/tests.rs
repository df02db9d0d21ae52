use http::HeaderMap;

use super::*;
use crate::record::{Outcome, Phase};

const KEY: &str = "sk-very/secret-123";

fn request(body: &str) -> Encoded {
    Encoded {
        path: "/v1/chat/completions",
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn record(session: u64) -> Record {
    let trace_id = crate::seed::trace_id("run", "openai", session, 0);
    let mut record = Record::new(trace_id, Phase::Measured, Endpoint::OpenAi, Class::Chat);
    record.status = Some(200);
    record.outcome = Outcome::Ok;
    record
}

/// The text of the example of an answer in these pieces.
fn example(examples: &Arc<Examples>, record: &Record, pieces: &[&str]) -> Option<String> {
    let mut capture = examples.capture(&request("{\"ask\":1}"))?;
    capture.head(Some("text/event-stream"));
    for piece in pieces {
        capture.body(piece.as_bytes());
    }
    let (_, text) = capture.end(record, &[], &[KEY.to_owned()])?;
    Some(String::from_utf8(text).expect("made of text"))
}

#[test]
fn an_example_has_the_request_the_head_and_the_answer() {
    let examples = Arc::default();
    let text = example(&examples, &record(0), &["data: a", "\n\n"]).expect("a sample");
    assert_eq!(
        text,
        "POST /v1/chat/completions\ncontent-type: application/json\n\n{\"ask\":1}\n\n\
         HTTP 200\ncontent-type: text/event-stream\n\ndata: a\n\n\n\n"
    );
}

#[test]
fn a_name_has_three_examples_and_a_kind_four_samples() {
    let examples = Arc::default();
    let mut kept = Vec::new();
    for session in 0..20 {
        let mut record = record(session);
        if session >= 10 {
            record.oddities = vec![("delta_after_stop".to_owned(), 2)];
        }
        if session == 19 {
            record.marks.add("text", 5);
            record.marks.add("text_lost", 1);
        }
        if example(&examples, &record, &["x"]).is_some() {
            kept.push(session);
        }
    }
    assert_eq!(kept, [0, 1, 2, 3, 10, 11, 12, 19]);
    // Nothing was answered, so there is nothing to show.
    let mut refused = record(30);
    refused.status = None;
    refused.outcome = Outcome::ConnectFailed;
    assert_eq!(example(&examples, &refused, &[]), None);
}

#[test]
fn what_departs_is_named_once() {
    let mut record = record(0);
    record.outcome = Outcome::Truncated;
    record.oddities = vec![("id_changed".to_owned(), 7)];
    record.marks.add("text_foreign", 1);
    record.marks.add("text_next", 1);
    let names = departures(&record, &[]);
    assert_eq!(names, ["id_changed", "text_foreign", "truncated"]);
}

#[test]
fn slots_and_bytes_are_bounded() {
    let examples: Arc<Examples> = Arc::default();
    let mut held: Vec<Capture> = (0..SLOTS)
        .map(|_| examples.capture(&request("")).expect("a free slot"))
        .collect();
    assert!(examples.capture(&request("")).is_none());
    let mut capture = held.pop().expect("one of them");
    for _ in 0..BYTES_MAX / 1000 + 5 {
        capture.body(&[b'x'; 1000]);
    }
    assert_eq!(capture.answer.len(), BYTES_MAX);
    let (_, text) = capture.end(&record(0), &[], &[]).expect("a sample");
    assert!(text.ends_with(b"[4464 bytes more are left out]\n\n"));
    assert!(examples.capture(&request("")).is_some(), "given back");
}

#[test]
fn keys_are_taken_out_of_all_of_it() {
    let examples = Arc::default();
    let leaks = |pieces: &[&str], session| {
        let text = example(&examples, &record(session), pieces).expect("a sample");
        assert!(!text.contains("secret"), "{text}");
        text
    };
    // Whole, written as some JSON writers do, in part, and cut off at the end.
    let whole = leaks(&["{\"error\":\"bad key sk-very/sec", "ret-123\"}"], 0);
    assert!(whole.contains("bad key [key]\""), "{whole}");
    leaks(&["\"sk-very\\/secret-123\" and ery/secret-1 too"], 1);
    let cut = leaks(&["bad key sk-ver"], 2);
    assert!(cut.contains("bad key [key]"), "{cut}");
    // Token by token, so that no piece shows it.
    let delta =
        |text| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let stream: String = ["sk-", "very", "/", "sec", "ret", "-123"]
        .map(delta)
        .concat();
    let text = leaks(&[&stream], 3);
    assert!(text.contains("a piece at a time"), "{text}");
}
