//! What every script has to be, whatever the request was.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use mock_upstream::script::{Ending, Script};
use serde_json::Value;

/// Panics unless the script can be performed, and reads back as what its headers say.
pub fn assert_whole(script: &Script) {
    let body = script.frames.bytes();
    let pieces: usize = script.frames.iter().map(|(_, piece)| piece.len()).sum();
    assert_eq!(pieces, body.len());
    let Some(media_type) = script.headers.get(CONTENT_TYPE) else {
        // Only where there is no answer at all.
        assert!(matches!(
            script.ending,
            Ending::Unanswered { .. } | Ending::Reset | Ending::Cut
        ));
        return;
    };
    let media_type = media_type.to_str().expect("ASCII");
    if let Some(length) = script.headers.get(CONTENT_LENGTH) {
        let length: usize = length.to_str().expect("ASCII").parse().expect("a number");
        // What breaks off has promised more.
        let broken = script.ending != Ending::Clean;
        assert!(
            length == body.len() || (broken && length > body.len()),
            "{length}"
        );
    }
    let fault = script.truth.as_ref().and_then(|truth| truth.fault);
    if fault.is_some() || script.ending != Ending::Clean {
        return;
    }
    match media_type {
        "application/json" => {
            serde_json::from_slice::<Value>(body).expect("the body is JSON");
        }
        "text/event-stream; charset=utf-8" | "text/event-stream" => assert_events(body),
        other => panic!("nothing is answered as {other}"),
    }
}

/// Panics unless the bytes are events whose data is JSON or `[DONE]`, of which there is at least one, and nothing is left.
fn assert_events(body: &[u8]) {
    let text = std::str::from_utf8(body).expect("UTF-8");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    assert!(
        text.ends_with("\n\n"),
        "the last event is dispatched: {text:?}"
    );
    let mut events = 0;
    for block in text.split_terminator("\n\n") {
        let mut data = Vec::new();
        for line in block.split('\n').filter(|line| !line.is_empty()) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            match field {
                "data" => data.push(value.strip_prefix(' ').unwrap_or(value)),
                "" | "event" | "id" => {}
                _ => panic!("no field is called {field:?}"),
            }
        }
        let data = data.join("\n");
        if data.is_empty() || data == "[DONE]" {
            continue;
        }
        serde_json::from_str::<Value>(&data).unwrap_or_else(|error| panic!("{error}: {data:?}"));
        events += 1;
    }
    assert!(events > 0, "a stream has an event");
}
