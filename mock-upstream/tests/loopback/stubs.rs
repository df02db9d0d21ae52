//! wiremock's half: stubs of the author, and the change of servers.

use mock_upstream::journal::Usage;
use mock_upstream::wiremock::matchers::{header, path};
use mock_upstream::wiremock::{Mock, ResponseTemplate};
use mock_upstream::{Config, MockUpstream};
use serde_json::json;

use crate::client::{Exchange, post};
use crate::{CHAT_COMPLETIONS, MESSAGES, nonce, on_each_runtime, prompt, quick, run};

fn stub() -> Vec<Mock> {
    let teapot = ResponseTemplate::new(418)
        .insert_header("x-stub", "yes")
        .set_body_json(json!({"stub": true}));
    vec![
        Mock::given(path("/v1/embeddings")).respond_with(teapot.clone()),
        Mock::given(path(MESSAGES))
            .and(header("x-want", "stub"))
            .respond_with(teapot),
        Mock::given(path(MESSAGES))
            .and(header("x-want", "answer"))
            .respond_with(
                ResponseTemplate::new(200)
                    .set_body_json(json!({"usage": {"output_tokens": 9, "cost": 1}})),
            ),
    ]
}

#[test]
fn stubs_of_the_author_answer_first_and_pass_through_as_they_are() {
    on_each_runtime(|| async {
        let mock = MockUpstream::builder()
            .config(quick())
            .stubs(stub)
            .start()
            .await
            .expect("starts");
        let address = mock.address();
        let reply = post(address, "/v1/embeddings?x=1", &json!({})).await;
        assert_eq!(
            (reply.status, reply.headers["x-stub"].as_str()),
            (418, "yes")
        );
        assert_eq!(reply.headers["content-type"], "application/json");
        assert_eq!(reply.json(), json!({"stub": true}));
        // On a completion's path, a stub's answer is journaled as far as there is a truth about it.
        let body = prompt(5, true).to_string();
        let reply = Exchange::open(address, "POST", MESSAGES, "x-want: stub\r\n", &body)
            .await
            .finish()
            .await;
        assert_eq!(reply.status, 418);
        let journal = mock.journal().expect("readable");
        assert_eq!(journal.len(), 1);
        assert_eq!(
            (journal[0].nonce.as_str(), journal[0].status),
            (nonce(5).as_str(), 418)
        );
        assert_eq!(journal[0].usage.output, 0);
        // Nothing is known of what one costs, whatever it says; an error costs nothing.
        assert_eq!(journal[0].charged.as_deref(), Some("0"));
        let reply = Exchange::open(address, "POST", MESSAGES, "x-want: answer\r\n", &body)
            .await
            .finish()
            .await;
        assert_eq!(reply.json()["usage"]["cost"], 1);
        let entry = &mock.journal().expect("readable")[1];
        assert_eq!((entry.status, &entry.usage), (200, &Usage::default()));
        assert_eq!((&entry.charged, &entry.recorded_cost), (&None, &None));
        assert_eq!((&entry.finish, &entry.response_id), (&None, &None));
        assert_eq!(post(address, MESSAGES, &prompt(6, true)).await.status, 200);
        mock.shutdown().await;
    });
}

#[test]
fn direct_mode_does_not_ask_stubs() {
    run(async {
        let config = Config {
            direct: true,
            ..quick()
        };
        let mock = MockUpstream::builder()
            .config(config)
            .stubs(stub)
            .start()
            .await
            .expect("starts");
        assert_eq!(
            post(mock.address(), "/v1/embeddings", &json!({}))
                .await
                .status,
            404
        );
        mock.shutdown().await;
    });
}

#[test]
fn fresh_servers_take_over_without_losing_a_request_or_a_stub() {
    on_each_runtime(|| async {
        let config = Config {
            rotate_after: 3,
            ..quick()
        };
        let mock = MockUpstream::builder()
            .config(config)
            .stubs(stub)
            .start()
            .await
            .expect("starts");
        let address = mock.address();
        let tasks: Vec<_> = (0..30)
            .map(|number| {
                tokio::spawn(async move {
                    if number % 5 == 4 {
                        assert_eq!(
                            post(address, "/v1/embeddings", &json!({})).await.status,
                            418
                        );
                    } else {
                        let reply = post(address, CHAT_COMPLETIONS, &prompt(number, true)).await;
                        assert_eq!((reply.status, reply.complete), (200, true));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no assertion failed");
        }
        // Requests 4, 7, 10 ... 28 found three behind them.
        assert_eq!(mock.stats().rotations, 9);
        let mut nonces: Vec<_> = mock
            .journal()
            .expect("readable")
            .into_iter()
            .map(|entry| entry.nonce)
            .collect();
        nonces.sort_unstable();
        assert!(
            nonces
                .into_iter()
                .eq((0..30).filter(|number| number % 5 != 4).map(nonce))
        );
        mock.shutdown().await;
    });
}

#[test]
fn met_expectations_let_it_shut_down() {
    run(async {
        let config = Config {
            rotate_after: 0,
            ..quick()
        };
        let expected = || {
            vec![
                Mock::given(path("/once"))
                    .respond_with(ResponseTemplate::new(204))
                    .expect(1),
            ]
        };
        let mock = MockUpstream::builder()
            .config(config)
            .stubs(expected)
            .start()
            .await
            .expect("starts");
        assert_eq!(post(mock.address(), "/once", &json!({})).await.status, 204);
        mock.shutdown().await;
    });
}

#[test]
#[should_panic(expected = "Verifications failed")]
fn unmet_expectations_fail_the_test_at_shutdown() {
    run(async {
        let expected = || {
            vec![
                Mock::given(path("/once"))
                    .respond_with(ResponseTemplate::new(204))
                    .expect(1),
            ]
        };
        let mock = MockUpstream::builder()
            .config(quick())
            .stubs(expected)
            .start()
            .await
            .expect("starts");
        mock.shutdown().await;
    });
}
