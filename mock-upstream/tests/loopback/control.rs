//! The upstream's own endpoints.

use mock_upstream::stats::Lateness;
use mock_upstream::{Config, MockUpstream};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Exchange, get, post};
use crate::{
    CHAT_COMPLETIONS, MESSAGES, endless, nonce, on_each_runtime, prompt, quick, run, start,
};

#[test]
fn control_endpoints_answer() {
    run(async {
        let mock = start(quick()).await;
        let address = mock.address();
        assert_eq!(
            get(address, "/health").await.json(),
            json!({"status": "ok"})
        );
        assert_eq!(get(address, "/v1/models").await.json()["object"], "list");
        assert_eq!(get(address, "/__mock/else").await.status, 404);
        assert_eq!(get(address, "/__mock/reset").await.status, 405);
        post(address, MESSAGES, &prompt(1, true)).await;
        post(address, CHAT_COMPLETIONS, &prompt(2, false)).await;
        let stats = get(address, "/__mock/stats").await.json();
        assert_eq!(
            (&stats["requests"], &stats["streams"]),
            (&json!(2), &json!(1))
        );
        assert_eq!(stats["statuses"], json!({"200": 2}));
        let lateness = &stats["lateness"];
        assert_eq!(lateness["count"], stats["frames"]);
        let quantiles = ["ns_p50", "ns_p99", "ns_p999", "ns_max"].map(|key| lateness[key].as_u64());
        assert!(
            quantiles[0].is_some() && quantiles.is_sorted(),
            "{lateness}"
        );
        assert_eq!(
            post(address, "/__mock/reset", &json!(null)).await.status,
            204
        );
        assert_eq!(mock.stats().requests, 0);
        assert_eq!(mock.stats().lateness, Lateness::default());
        assert_eq!(get(address, "/__mock/journal").await.text(), "");
        mock.shutdown().await;
    });
}

#[test]
fn whoever_opens_it_in_a_browser_is_told_what_it_is() {
    run(async {
        let mock = start(quick()).await;
        for path in ["/", "/__mock", "/__mock/"] {
            let reply = get(mock.address(), path).await;
            assert_eq!((reply.status, reply.complete), (200, true));
            assert!(reply.headers["content-type"].starts_with("text/plain"));
            let text = reply.text();
            assert!(text.contains("POST /v1/messages") && text.contains("/__mock/journal"));
        }
        mock.shutdown().await;
    });
}

#[test]
fn head_is_get_without_a_body() {
    run(async {
        let mock = start(quick()).await;
        post(mock.address(), MESSAGES, &prompt(1, false)).await;
        for path in [
            "/__mock",
            "/health",
            "/metrics",
            "/__mock/stats",
            "/__mock/journal",
        ] {
            let whole = get(mock.address(), path).await;
            let mut exchange = Exchange::open(mock.address(), "HEAD", path, "", "").await;
            let (status, headers) = exchange.head().await;
            assert_eq!((status, whole.status), (200, 200), "{path}");
            assert_eq!(
                headers.get("content-length"),
                whole.headers.get("content-length")
            );
            assert_eq!(headers["content-type"], whole.headers["content-type"]);
            assert_eq!(exchange.chunk().await, None, "{path} has no body");
        }
        mock.shutdown().await;
    });
}

#[test]
fn mistakes_in_queries_and_methods_name_what_is_valid() {
    run(async {
        let mock = start(quick()).await;
        for (method, path, status, reason) in [
            (
                "GET",
                "/__mock/journal?nonse=1",
                400,
                "unknown parameter `nonse`, expected one of `nonce`, `since`, `follow`",
            ),
            (
                "GET",
                "/__mock/journal?since=x",
                400,
                "since=x: expected a request's number, from 0",
            ),
            (
                "GET",
                "/__mock/stats?format=csv",
                400,
                "unknown parameter `format`, /__mock/stats takes none",
            ),
            (
                "GET",
                "/__mock/jornal",
                404,
                "unknown path, expected one of /__mock, /health, /metrics, /__mock/journal, /__mock/ledger, /__mock/stats, /__mock/reset",
            ),
            (
                "GET",
                "/__mock/reset",
                405,
                "/__mock/reset does not take GET, use POST",
            ),
            (
                "DELETE",
                "/__mock/journal",
                405,
                "/__mock/journal does not take DELETE, use GET, HEAD",
            ),
        ] {
            let reply = Exchange::open(mock.address(), method, path, "", "")
                .await
                .finish()
                .await;
            assert_eq!(
                (reply.status, reply.text()),
                (status, format!("{reason}\n")),
                "{path}"
            );
            if status == 405 {
                let (_, allowed) = reason.split_once("use ").expect("the methods");
                assert_eq!(reply.headers["allow"], allowed);
            }
        }
        // Machines that check health or scrape may add parameters of their own.
        assert_eq!(
            get(mock.address(), "/health?from=balancer").await.status,
            200
        );
        mock.shutdown().await;
    });
}

#[test]
fn own_endpoints_answer_while_every_slot_is_taken() {
    run(async {
        let mut config = endless();
        config.behaviour.timing.slots = 1;
        let mock = start(config).await;
        let body = prompt(1, true).to_string();
        let mut waiting = Vec::new();
        for _ in 0..100 {
            waiting.push(Exchange::open(mock.address(), "POST", MESSAGES, "", &body).await);
        }
        for path in [
            "/health",
            "/metrics",
            "/__mock",
            "/__mock/stats",
            "/__mock/journal",
        ] {
            assert_eq!(get(mock.address(), path).await.status, 200, "{path}");
        }
        // Nor do they wait for the answer on a connection of their own: a reset is as quick.
        assert_eq!(
            post(mock.address(), "/__mock/reset", &json!(null))
                .await
                .status,
            204
        );
        drop(waiting);
        mock.idle().await;
        mock.shutdown().await;
    });
}

#[test]
fn what_is_no_http_is_counted_and_does_no_harm() {
    on_each_runtime(|| async {
        let mock = start(quick()).await;
        let garbage: [&[u8]; 6] = [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
            b"POST /v1/messages HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
            b"POST /v1/messages HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\xff\xfe\xfd \xfc\r\n\r\n",
        ];
        for bytes in garbage {
            let mut stream = TcpStream::connect(mock.address()).await.expect("accepted");
            stream.write_all(bytes).await.expect("taken");
            let mut answer = Vec::new();
            // A reset is an answer, too: bytes were left unread.
            let _ = stream.read_to_end(&mut answer).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
                "{answer}"
            );
        }
        while mock.stats().protocol_errors < garbage.len() as u64 {
            tokio::task::yield_now().await;
        }
        // Who hangs up at once, or in the middle of a head, sent nothing wrong.
        drop(TcpStream::connect(mock.address()).await.expect("accepted"));
        assert!(
            post(mock.address(), MESSAGES, &prompt(1, true))
                .await
                .complete
        );
        assert_eq!(mock.stats().protocol_errors, garbage.len() as u64);
        assert_eq!(mock.journal().expect("readable").len(), 1);
        mock.shutdown().await;
    });
}

#[test]
fn a_test_waits_for_entries_and_finds_those_of_one_request() {
    on_each_runtime(|| async {
        let mock = start(quick()).await;
        let address = mock.address();
        let clients: Vec<_> = (0..6)
            .map(|number| {
                tokio::spawn(
                    async move { post(address, MESSAGES, &prompt(number % 3, true)).await },
                )
            })
            .collect();
        assert!(mock.wait_for(6).await.expect("readable").len() == 6);
        let found = mock.journal_of(&nonce(2)).expect("readable");
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|entry| entry.nonce == nonce(2)));
        for client in clients {
            assert!(client.await.expect("no panic").complete);
        }
        mock.reset().expect("forgotten");
        assert!(mock.wait_for(0).await.expect("readable").is_empty());
        mock.shutdown().await;
    });
}

#[test]
fn a_behaviour_is_enough_for_most_tests() {
    run(async {
        let mut behaviour = quick().behaviour;
        behaviour.output.tokens = 3;
        behaviour.output.obey_limit = false;
        let mock = MockUpstream::builder()
            .behaviour(behaviour)
            .start()
            .await
            .expect("starts");
        let reply = post(mock.address(), MESSAGES, &prompt(1, false)).await;
        assert_eq!(reply.json()["usage"]["output_tokens"], 3);
        mock.shutdown().await;
    });
}

#[test]
fn odd_requests_are_refused_as_the_api_would_and_do_no_harm() {
    on_each_runtime(|| async {
        for direct in [false, true] {
            let mock = start(Config { direct, ..quick() }).await;
            let long = format!("POST /{} HTTP/1.1", "x".repeat(60_000));
            for (line, status) in [
                ("OPTIONS * HTTP/1.1", 404),
                ("CONNECT upstream:443 HTTP/1.1", 404),
                ("GET http://another.example/v1/models HTTP/1.1", 200),
                ("GET //v1/models HTTP/1.1", 404),
                ("GET /v1/models/%ff%zz HTTP/1.1", 404),
                ("GET /v1/models?%ff=%zz&&=? HTTP/1.1", 200),
                ("GET /v1/../v1/models HTTP/1.1", 404),
                ("GET /v1/models/a|b\"{} HTTP/1.1", 404),
                ("BREW /v1/messages HTTP/1.1", 405),
                (&long, 404),
            ] {
                let mut stream = TcpStream::connect(mock.address()).await.expect("accepted");
                let request = format!(
                    "{line}\r\nhost: upstream\r\nconnection: close\r\nx-odd: \u{ff}\r\ncontent-length: 0\r\n\r\n"
                );
                stream.write_all(request.as_bytes()).await.expect("taken");
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).await.expect("an answer");
                let answer = String::from_utf8_lossy(&answer);
                let expected = format!("HTTP/1.1 {status} ");
                assert!(
                    answer.starts_with(&expected),
                    "{direct} {line:.80}: {answer:.300}"
                );
            }
            assert!(
                post(mock.address(), MESSAGES, &prompt(1, true))
                    .await
                    .complete
            );
            assert_eq!(mock.stats().in_flight, 0);
            mock.shutdown().await;
        }
    });
}
