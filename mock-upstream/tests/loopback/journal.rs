//! The journal against what a client saw.

use std::collections::BTreeMap;

use mock_upstream::config::Surface;
use mock_upstream::journal::Endpoint;
use mock_upstream::{JournalEntry, MockUpstream};

use crate::client::{Exchange, Reply, get, post};
use crate::{
    CHAT_COMPLETIONS, LIMIT, MESSAGES, endless, nonce, on_each_runtime, prompt, quick, run, start,
};

fn entries(reply: &Reply) -> Vec<JournalEntry> {
    reply
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).expect("an entry"))
        .collect()
}

#[test]
fn the_entry_of_a_stream_tells_what_was_written() {
    on_each_runtime(|| async {
        let mock = start(quick()).await;
        let headers = "traceparent: 00-abcdef0123456789abcdef0123456789-0123456789abcdef-01\r\n";
        let body = prompt(7, true).to_string();
        let reply = Exchange::open(mock.address(), "POST", MESSAGES, headers, &body)
            .await
            .finish()
            .await;
        // At once: the entry was written before the last frame left.
        let journal = mock.journal().expect("readable");
        let [entry] = journal.as_slice() else {
            panic!("one entry, not {journal:?}");
        };
        assert_eq!(entry.nonce, nonce(7));
        assert_eq!(
            entry.trace_id.as_deref(),
            Some("abcdef0123456789abcdef0123456789")
        );
        assert_eq!(
            (entry.endpoint, entry.path.as_str()),
            (Endpoint::Anthropic, MESSAGES)
        );
        assert_eq!(
            (entry.model.as_str(), entry.stream),
            ("magistral-small-latest", true)
        );
        assert_eq!(
            (entry.status, entry.completed, entry.fault.as_deref()),
            (200, true, None)
        );
        assert_eq!(entry.frames, reply.chunks.len() as u64);
        assert_eq!(entry.frames_written, entry.frames);
        assert_eq!(entry.token_events, 5);
        assert_eq!((entry.usage.input, entry.usage.output), (11, 5));
        assert_eq!(entry.cost.as_deref(), Some("0.000013"));
        assert_eq!(entry.recorded_cost, entry.cost);
        assert!(reply.text().contains("\"cost\":0.000013}"));
        assert_eq!(entry.finish.as_deref(), Some("max_tokens"));
        // sha256sum of "00000000.0 00000000.1 00000000.2 00000000.3 00000000.4 ".
        assert_eq!(entry.text_sha256.as_deref(), Some("00d29ee165d55f36"));
        assert_eq!(entry.reasoning_sha256, None);
        assert_eq!(entry.body_bytes, body.len() as u64);
        // Nothing is written before its time: 2 ms to the opening, 4 to the first token, 1 between tokens.
        let after = |moment: Option<u64>| moment.expect("written") - entry.received_ns;
        assert!(after(entry.first_write_ns) >= 2_000_000);
        assert!(after(entry.first_token_write_ns) >= 4_000_000);
        assert!(after(entry.last_write_ns) >= 8_000_000);
        mock.shutdown().await;
    });
}

#[test]
fn concurrent_requests_are_told_apart_by_their_nonces() {
    on_each_runtime(|| async {
        let mock = start(quick()).await;
        let address = mock.address();
        let tasks: Vec<_> = (0..40)
            .map(|number| {
                tokio::spawn(async move {
                    let path = if number % 2 == 0 {
                        CHAT_COMPLETIONS
                    } else {
                        MESSAGES
                    };
                    let reply = post(address, path, &prompt(number, true)).await;
                    assert!(reply.complete);
                    let query = format!("/__mock/journal?nonce={}", nonce(number));
                    let found = entries(&get(address, &query).await);
                    assert_eq!(found.len(), 1);
                    assert!(found[0].completed);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no assertion failed");
        }
        let all = entries(&get(address, "/__mock/journal").await);
        assert_eq!(all.len(), 40);
        assert_eq!(all, mock.journal().expect("readable"));
        let mut seqs: Vec<_> = all.iter().map(|entry| entry.seq).collect();
        seqs.sort_unstable();
        assert!(seqs.into_iter().eq(0..40));
        mock.shutdown().await;
    });
}

#[test]
fn a_client_that_hangs_up_is_journaled_as_not_completed() {
    on_each_runtime(|| async {
        let mock = start(endless()).await;
        let body = prompt(3, true).to_string();
        let mut exchange = Exchange::open(mock.address(), "POST", MESSAGES, "", &body).await;
        exchange.head().await;
        for _ in 0..3 {
            exchange.chunk().await.expect("a chunk");
        }
        drop(exchange);
        mock.idle().await;
        let journal = mock.journal().expect("readable");
        assert_eq!(journal.len(), 1);
        assert!(!journal[0].completed);
        assert!(journal[0].frames_written >= 3 && journal[0].frames_written < journal[0].frames);
        assert_eq!(journal[0].recorded_cost, None);
        assert_eq!(journal[0].cost.as_deref(), Some("0.000013"));
        assert_eq!(mock.stats().aborted, 1);
        mock.shutdown().await;
    });
}

#[test]
fn a_client_that_hangs_up_before_the_first_frame_is_journaled_too() {
    run(async {
        for (direct, stream) in [(true, false), (true, true), (false, false)] {
            let mut config = endless();
            config.direct = direct;
            config.behaviour.timing.ttft_ms = config.behaviour.timing.gap_ms;
            config.behaviour.cost.surfaces = vec![Surface::Header];
            let mock = start(config).await;
            let body = prompt(3, stream).to_string();
            let exchange = Exchange::open(mock.address(), "POST", MESSAGES, "", &body).await;
            while mock.stats().in_flight == 0 {
                tokio::task::yield_now().await;
            }
            drop(exchange);
            mock.idle().await;
            // Hung up while wiremock decided, it has no script yet and so no entry; after that, it has one.
            let journal = mock.journal().expect("readable");
            assert!(journal.len() == 1 || !direct && journal.is_empty());
            for entry in journal {
                assert_eq!((entry.completed, entry.status), (false, 0));
                assert_eq!((entry.frames_written, entry.first_write_ns), (0, None));
                assert!(!entry.recorded.contains_key("header"));
                assert_eq!(mock.stats().statuses, BTreeMap::from([(0, 1)]));
            }
            mock.shutdown().await;
        }
    });
}

#[test]
fn a_follower_sees_entries_as_they_come_until_the_upstream_stops() {
    on_each_runtime(|| async {
        // A grace that would outlast the test: stopping waits for answers, not for those who follow.
        let builder = MockUpstream::builder().config(quick());
        let mock = builder.grace(2 * LIMIT).start().await.expect("starts");
        let address = mock.address();
        post(address, MESSAGES, &prompt(1, false)).await;
        let mut all = Exchange::open(address, "GET", "/__mock/journal?follow=true", "", "").await;
        let query = format!("/__mock/journal?follow=true&since=2&nonce={}", nonce(1));
        let mut some = Exchange::open(address, "GET", &query, "", "").await;
        assert_eq!(all.head().await.1["content-type"], "application/x-ndjson");
        // The head is out before there is anything to tell.
        assert_eq!(some.head().await.0, 200);
        let entry = |chunk: Option<String>| -> JournalEntry {
            serde_json::from_str(&chunk.expect("goes on")).expect("an entry")
        };
        assert_eq!(entry(all.chunk().await).seq, 0);
        for number in [2, 1, 3] {
            post(address, CHAT_COMPLETIONS, &prompt(number, true)).await;
            assert_eq!(entry(all.chunk().await).nonce, nonce(number));
        }
        assert_eq!(entry(some.chunk().await).seq, 2);
        // A reset is no end.
        mock.reset().expect("forgotten");
        post(address, MESSAGES, &prompt(4, false)).await;
        assert_eq!(entry(all.chunk().await).seq, 4);
        // An answer that ends while the upstream stops is followed, too.
        let body = prompt(5, true).to_string();
        let mut last = Exchange::open(address, "POST", MESSAGES, "", &body).await;
        last.head().await;
        let reading = tokio::spawn(async move {
            while last.chunk().await.is_some_and(|chunk| !chunk.is_empty()) {}
        });
        mock.shutdown().await;
        reading.await.expect("no panic");
        assert_eq!(entry(all.chunk().await).seq, 5);
        assert_eq!(all.chunk().await.as_deref(), Some(""), "a clean end");
        assert_eq!(some.chunk().await.as_deref(), Some(""), "a clean end");
    });
}
