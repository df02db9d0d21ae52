//! Planted faults, as a client sees them.

use std::time::Duration;

use mock_upstream::config::{Fault, FaultKind};
use mock_upstream::{Config, MockUpstream};

use crate::client::{Exchange, Reply, post};
use crate::{CHAT_COMPLETIONS, MESSAGES, on_each_runtime, prompt, quick, run, start};

fn with_fault(kind: FaultKind) -> Config {
    let mut config = quick();
    config.behaviour.faults = vec![Fault {
        status: 503,
        ..Fault::new(kind)
    }];
    config
}

/// What a client of each endpoint sees, streamed or whole.
async fn replies(mock: &MockUpstream, stream: bool) -> [Reply; 2] {
    [
        post(mock.address(), CHAT_COMPLETIONS, &prompt(1, stream)).await,
        post(mock.address(), MESSAGES, &prompt(1, stream)).await,
    ]
}

#[test]
fn error_statuses_come_with_the_error_body_of_the_api() {
    run(async {
        let mock = start(with_fault(FaultKind::Status)).await;
        for reply in replies(&mock, true).await {
            assert_eq!(
                (reply.status, reply.headers["retry-after"].as_str()),
                (503, "1")
            );
            assert!(reply.json()["error"]["message"].is_string());
        }
        let journal = mock.journal().expect("readable");
        assert!(
            journal
                .iter()
                .all(|entry| entry.fault.as_deref() == Some("status") && entry.cost.is_none())
        );
        mock.shutdown().await;
    });
}

#[test]
fn cut_connections_end_after_the_frames_that_were_written() {
    on_each_runtime(|| async {
        let mock = start(with_fault(FaultKind::Cut)).await;
        for reply in replies(&mock, true).await {
            assert!(!reply.complete);
            // Half of five token events, rounded up.
            assert!(reply.text().contains("00000000.2 "), "{reply:?}");
            assert!(!reply.text().contains("00000000.3 "), "{reply:?}");
        }
        for reply in replies(&mock, false).await {
            assert_eq!((reply.status, reply.complete), (200, false));
        }
        mock.idle().await;
        let journal = mock.journal().expect("readable");
        assert_eq!(journal.len(), 4);
        assert!(
            journal
                .iter()
                .all(|entry| !entry.completed && entry.frames_written == entry.frames)
        );
        mock.shutdown().await;
    });
}

#[test]
fn streams_can_end_without_their_terminator_or_with_an_error() {
    run(async {
        let mock = start(with_fault(FaultKind::NoTerminator)).await;
        for reply in replies(&mock, true).await {
            assert!(reply.complete && reply.text().contains("00000000.4 "));
            assert!(!reply.text().contains("[DONE]") && !reply.text().contains("message_stop"));
        }
        mock.shutdown().await;
        let mock = start(with_fault(FaultKind::ErrorInStream)).await;
        for reply in replies(&mock, true).await {
            let last = reply.events().pop().expect("events");
            assert!(
                reply.complete && last["error"]["message"].is_string(),
                "{last}"
            );
        }
        mock.shutdown().await;
    });
}

#[test]
fn garbage_and_foreign_bodies_have_status_200() {
    run(async {
        for kind in [
            FaultKind::Garbage,
            FaultKind::Html200,
            FaultKind::ErrorIn200,
        ] {
            for stream in [false, true] {
                let mock = start(with_fault(kind)).await;
                for reply in replies(&mock, stream).await {
                    assert_eq!(
                        (reply.status, reply.complete),
                        (200, true),
                        "{kind:?}: {reply:?}"
                    );
                }
                mock.shutdown().await;
            }
        }
    });
}

#[test]
fn a_stalled_stream_ends_when_the_client_hangs_up_or_the_upstream_stops() {
    run(async {
        let mock = MockUpstream::builder()
            .config(with_fault(FaultKind::Stall))
            .grace(Duration::ZERO)
            .start()
            .await
            .expect("starts");
        let address = mock.address();
        let open = async || {
            let body = prompt(1, true).to_string();
            let mut exchange = Exchange::open(address, "POST", CHAT_COMPLETIONS, "", &body).await;
            exchange.head().await;
            // The role and three of five tokens.
            for _ in 0..4 {
                exchange.chunk().await.expect("a chunk");
            }
            exchange
        };
        drop(open().await);
        mock.idle().await;
        let journal = mock.journal().expect("readable");
        assert_eq!(
            (journal[0].fault.as_deref(), journal[0].completed),
            (Some("stall"), false)
        );
        let mut stalled = open().await;
        mock.shutdown().await;
        assert_eq!(stalled.chunk().await, None);
    });
}
