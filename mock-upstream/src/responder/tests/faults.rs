//! What planted failures make of an answer.

use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::*;
use crate::config::{Fault, FaultKind};
use crate::journal::Usage;

fn faulty(kind: FaultKind, path: &str, stream: bool) -> Script {
    let mut config = config();
    config.behaviour.faults = vec![Fault {
        status: 529,
        ..Fault::new(kind)
    }];
    ask(path, &prompt(&json!({"stream": stream})), &config)
}

#[test]
fn faults_replace_or_break_the_answer() {
    for path in [CHAT_COMPLETIONS, MESSAGES] {
        for stream in [false, true] {
            let script = faulty(FaultKind::Status, path, stream);
            assert_eq!(
                (script.status.as_u16(), &script.headers["retry-after"]),
                (529, &HeaderValue::from_static("1"))
            );
            assert_eq!(truth(&script).usage, Usage::default());
            let script = faulty(FaultKind::ErrorIn200, path, stream);
            assert_eq!(script.status, StatusCode::OK);
            assert!(whole_body(&script).get("error").is_some());
            let script = faulty(FaultKind::Html200, path, stream);
            assert_eq!(script.headers["content-type"], "text/html; charset=utf-8");
            let right = ask(path, &prompt(&json!({"stream": stream})), &config());
            for (kind, text) in [
                (FaultKind::Cut, &None),
                (FaultKind::Stall, &None),
                (FaultKind::Garbage, &truth(&right).text_sha256),
            ] {
                let script = faulty(kind, path, stream);
                assert_eq!(truth(&script).fault, Some(kind));
                assert_eq!(truth(&script).text_sha256, *text);
            }
        }
        let last = |kind| {
            let script = faulty(kind, path, true);
            assert_eq!(truth(&script).fault, Some(kind));
            let (_, bytes) = script.frames.iter().last().expect("frames");
            String::from_utf8_lossy(bytes).into_owned()
        };
        let without = last(FaultKind::NoTerminator);
        assert!(
            !without.contains("[DONE]") && !without.contains("message_stop"),
            "{without}"
        );
        assert!(last(FaultKind::ErrorInStream).contains("\"error\""));
        // A whole body has no terminator to lose.
        assert_eq!(
            truth(&faulty(FaultKind::NoTerminator, path, false)).fault,
            None
        );
    }
}

#[test]
fn statuses_have_the_headers_that_are_set_or_else_a_wait() {
    for path in [CHAT_COMPLETIONS, MESSAGES] {
        for (status, own, wait) in [
            (429, None, Some("1")),
            (500, None, None),
            (503, None, Some("1")),
            (529, None, Some("1")),
            (429, Some(("Retry-After", "7")), Some("7")),
            (429, Some(("x-should-retry", "false")), None),
        ] {
            let mut fault = Fault::new(FaultKind::Status);
            fault.status = status;
            fault.headers = own
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let mut config = config();
            config.behaviour.faults = vec![fault];
            let script = ask(path, &prompt(&json!({})), &config);
            let header = |name| {
                script
                    .headers
                    .get(name)
                    .map(|value| value.to_str().expect("text"))
            };
            assert_eq!(script.status.as_u16(), status);
            assert_eq!(header("retry-after"), wait, "{path} {status} {own:?}");
            if let Some((name, value)) = own {
                assert_eq!(header(name), Some(value));
            }
            assert!(whole_body(&script)["error"].is_object());
        }
    }
}

#[test]
fn faults_strike_their_share_of_nonces() {
    let mut config = config();
    let mut fault = Fault::new(FaultKind::Status);
    fault.when.share = 0.25;
    config.behaviour.faults = vec![fault];
    let struck = (0..400)
        .filter(|i| {
            let body = json!({"messages": [{"role": "user", "content": format!("{i:032x}")}]});
            let script = ask(CHAT_COMPLETIONS, &prompt(&body), &config);
            script.status == StatusCode::TOO_MANY_REQUESTS
        })
        .count();
    assert!((60..140).contains(&struck), "{struck}");
}
