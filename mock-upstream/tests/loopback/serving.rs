//! Both endpoints, streamed and whole, through wiremock and without.

use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mock_upstream::config::Dialect;
use mock_upstream::{Config, MockUpstream, StartError};
use serde_json::json;

use crate::client::{Exchange, get, post};
use crate::{
    CHAT_COMPLETIONS, MESSAGES, endless, nonce, on_each_runtime, prompt, quick, run, start,
};

#[test]
fn both_endpoints_stream_one_event_a_chunk() {
    on_each_runtime(|| async {
        for direct in [false, true] {
            let mock = start(Config { direct, ..quick() }).await;
            for (path, terminator) in [
                (CHAT_COMPLETIONS, "data: [DONE]\n\n"),
                (
                    MESSAGES,
                    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
                ),
            ] {
                let reply = post(
                    mock.address(),
                    &format!("{path}?beta=true"),
                    &prompt(1, true),
                )
                .await;
                assert_eq!((reply.status, reply.complete), (200, true));
                assert!(reply.headers["content-type"].starts_with("text/event-stream"));
                assert!(reply.headers["request-id"].starts_with("req_"));
                assert_eq!(reply.headers["request-id"], reply.headers["x-request-id"]);
                assert_eq!(reply.chunks.last().expect("chunks"), terminator);
                for chunk in &reply.chunks {
                    assert_eq!(chunk.matches("data: ").count(), 1, "{chunk}");
                    assert!(chunk.ends_with("\n\n"));
                }
                assert!(reply.text().contains("00000000.4 "), "{}", reply.text());
            }
            mock.shutdown().await;
        }
    });
}

#[test]
fn both_endpoints_answer_whole_bodies() {
    on_each_runtime(|| async {
        let mock = start(quick()).await;
        let reply = post(mock.address(), CHAT_COMPLETIONS, &prompt(1, false)).await;
        assert_eq!(reply.headers["content-type"], "application/json");
        assert_eq!(reply.json()["usage"]["completion_tokens"], 5);
        let reply = post(mock.address(), MESSAGES, &prompt(1, false)).await;
        assert_eq!(reply.json()["usage"]["output_tokens"], 5);
        mock.shutdown().await;
    });
}

#[test]
fn tools_are_called_on_both_endpoints() {
    run(async {
        let mock = start(quick()).await;
        let mut body = prompt(1, true);
        body["tools"] = json!([{"type": "function", "function": {"name": "now"}}]);
        let reply = post(mock.address(), CHAT_COMPLETIONS, &body).await;
        assert_eq!(reply.text().matches("\"name\":\"now\"").count(), 2);
        body["tools"] = json!([{"name": "now", "input_schema": {}}]);
        let reply = post(mock.address(), MESSAGES, &body).await;
        assert_eq!(reply.text().matches("\"type\":\"tool_use\"").count(), 2);
        let journal = mock.journal().expect("readable");
        assert_eq!([journal[0].tool_calls, journal[1].tool_calls], [2, 2]);
        assert_eq!(journal[0].usage, journal[1].usage);
        assert_eq!(journal[0].token_events, journal[1].token_events);
        mock.shutdown().await;
    });
}

#[test]
fn the_journal_counts_turns_and_results_of_a_conversation() {
    run(async {
        let mock = start(quick()).await;
        let mut body = prompt(1, false);
        body["max_tokens"] = json!(100);
        body["tools"] = json!([{"type": "function", "function": {"name": "now"}}]);
        let answer = post(mock.address(), CHAT_COMPLETIONS, &body).await.json();
        let message = answer["choices"][0]["message"].clone();
        let result = |i: usize| json!({"role": "tool", "tool_call_id": message["tool_calls"][i]["id"], "content": "noon"});
        let results = [result(0), result(1)];
        let messages = body["messages"].as_array_mut().expect("a list");
        messages.push(message.clone());
        messages.extend(results);
        let answer = post(mock.address(), CHAT_COMPLETIONS, &body).await.json();
        assert_eq!(answer["choices"][0]["message"].get("tool_calls"), None);
        body["messages"].as_array_mut().expect("a list").pop();
        assert_eq!(
            post(mock.address(), CHAT_COMPLETIONS, &body).await.status,
            400
        );
        let journal = mock.journal().expect("readable");
        let counted: Vec<_> = journal
            .iter()
            .map(|entry| {
                (
                    entry.status,
                    entry.turn,
                    entry.tool_results,
                    entry.tool_calls,
                )
            })
            .collect();
        assert_eq!(counted, [(200, 0, 0, 2), (200, 1, 2, 0), (400, 0, 0, 0)]);
        mock.shutdown().await;
    });
}

#[test]
fn mistral_dialect_is_served() {
    run(async {
        let mut config = quick();
        config.behaviour.dialect = Dialect::Mistral;
        config.behaviour.output.reasoning_share = 0.4;
        let mock = start(config).await;
        let events = post(mock.address(), CHAT_COMPLETIONS, &prompt(1, true))
            .await
            .events();
        let last = events.last().expect("events");
        assert_eq!(last["choices"][0]["finish_reason"], "length");
        assert_eq!(last["usage"]["completion_tokens"], 5);
        assert!(events[1]["choices"][0]["delta"]["content"].is_array());
        mock.shutdown().await;
    });
}

#[test]
fn a_frame_leaves_before_the_next_is_due() {
    run(async {
        // The second token is due in a minute; the first has to be here long before.
        let mock = start(endless()).await;
        let body = prompt(1, true).to_string();
        let mut exchange =
            Exchange::open(mock.address(), "POST", CHAT_COMPLETIONS, "", &body).await;
        assert_eq!(exchange.head().await.0, 200);
        assert!(
            exchange
                .chunk()
                .await
                .expect("a chunk")
                .contains("assistant")
        );
        assert!(
            exchange
                .chunk()
                .await
                .expect("a chunk")
                .contains("00000000.0 ")
        );
        assert_eq!(mock.stats().in_flight, 1);
    });
}

#[test]
fn http2_with_prior_knowledge_is_served() {
    run(async {
        let mock = start(quick()).await;
        let client = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .build_http();
        let body = prompt(1, true).to_string();
        let request = http::Request::post(format!("{}{MESSAGES}", mock.base_url()))
            .body(Full::new(bytes::Bytes::from(body)))
            .expect("a request");
        let response = client.request(request).await.expect("a response");
        assert_eq!(response.version(), http::Version::HTTP_2);
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        assert!(body.ends_with(b"{\"type\":\"message_stop\"}\n\n"));
        assert_eq!(mock.journal().expect("readable")[0].nonce, nonce(1));
    });
}

#[test]
fn bad_requests_are_refused_and_journaled() {
    run(async {
        let mock = start(Config {
            api_key: Some("right".to_owned()),
            ..quick()
        })
        .await;
        let address = mock.address();
        let with_key = |path, body: &'static str| {
            Exchange::open(address, "POST", path, "x-api-key: right\r\n", body)
        };
        assert_eq!(post(address, MESSAGES, &prompt(1, true)).await.status, 401);
        let reply = with_key(CHAT_COMPLETIONS, "{").await.finish().await;
        assert_eq!(
            (reply.status, &reply.json()["error"]["type"]),
            (400, &json!("invalid_request_error"))
        );
        let reply = with_key(MESSAGES, "{}").await.finish().await;
        assert_eq!(
            (reply.status, &reply.json()["type"]),
            (400, &json!("error"))
        );
        assert_eq!(
            with_key("/v1/completions", "{}")
                .await
                .finish()
                .await
                .status,
            404
        );
        let reply = get(address, CHAT_COMPLETIONS).await;
        assert_eq!(
            (reply.status, reply.headers["allow"].as_str()),
            (405, "POST")
        );
        let statuses: Vec<_> = mock
            .journal()
            .expect("readable")
            .iter()
            .map(|entry| entry.status)
            .collect();
        assert_eq!(statuses, [401, 400, 400]);
        mock.shutdown().await;
    });
}

#[test]
fn addresses_of_other_machines_need_permission() {
    run(async {
        let anywhere = "0.0.0.0:0".parse().expect("an address");
        let refused = MockUpstream::builder().listen(anywhere).start().await;
        assert!(matches!(refused, Err(StartError::NotLoopback(_))));
        let taken = start(quick()).await;
        let refused = MockUpstream::builder()
            .listen(taken.address())
            .start()
            .await;
        assert!(matches!(refused, Err(StartError::Listen { .. })));
        let mut config = quick();
        config.behaviour.output.tokens = 0;
        let refused = MockUpstream::builder()
            .config(config)
            .start()
            .await
            .expect_err("no tokens");
        assert_eq!(
            refused.to_string(),
            "config: `output.tokens`: must be at least 1"
        );
    });
}

#[test]
fn shutdown_lets_streams_end() {
    run(async {
        let mut config = quick();
        config.behaviour.timing.gap_ms = mock_upstream::config::Distribution::Fixed(20.0);
        let mock = start(config).await;
        let address = mock.address();
        let body = prompt(1, true).to_string();
        let mut exchange = Exchange::open(address, "POST", MESSAGES, "", &body).await;
        exchange.head().await;
        exchange.chunk().await.expect("the stream has begun");
        let reading = tokio::spawn(async move {
            let mut text = String::new();
            while let Some(chunk) = exchange.chunk().await {
                text.push_str(&chunk);
            }
            text
        });
        mock.shutdown().await;
        assert!(reading.await.expect("no panic").contains("message_stop"));
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    });
}
