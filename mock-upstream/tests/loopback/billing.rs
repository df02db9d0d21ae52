//! Money over real sockets: surfaces, the look-up, ledgers, and answers that break off.

use std::collections::BTreeMap;

use mock_upstream::config::{Aborts, Class, Fault, FaultKind, Surface, When, Wrong};
use mock_upstream::{Config, JournalEntry, MockUpstream};
use serde_json::json;

use crate::client::{Exchange, get, post};
use crate::{CHAT_COMPLETIONS, MESSAGES, endless, on_each_runtime, prompt, quick, run, start};

fn wrong(class: Class) -> Vec<Wrong> {
    vec![Wrong {
        class,
        when: When::default(),
    }]
}

fn only_entry(mock: &MockUpstream) -> JournalEntry {
    let mut journal = mock.journal().expect("readable");
    assert_eq!(journal.len(), 1, "{journal:?}");
    journal.remove(0)
}

/// The rows of a ledger, by column.
async fn ledger(mock: &MockUpstream, format: &str) -> Vec<BTreeMap<String, String>> {
    let reply = get(mock.address(), &format!("/__mock/ledger?format={format}")).await;
    assert_eq!((reply.status, reply.complete), (200, true));
    assert_eq!(reply.headers["content-type"], "text/csv; charset=utf-8");
    let text = reply.text();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows = reader.deserialize();
    rows.map(|row| row.expect("a row")).collect()
}

#[test]
fn a_stream_is_whole_with_its_cost_after_the_terminator() {
    on_each_runtime(|| async {
        let mut config = quick();
        config.behaviour.cost.surfaces = vec![Surface::AfterTerminator, Surface::Header];
        let mock = start(config).await;
        for path in [CHAT_COMPLETIONS, MESSAGES] {
            let reply = post(mock.address(), path, &prompt(1, true)).await;
            assert!(reply.complete);
            let last = reply.chunks.last().expect("a chunk");
            assert!(
                last.contains("\"associated_dollar_cost\":0.000013}"),
                "{last}"
            );
            assert_eq!(reply.headers["x-mock-response-cost"], "0");
        }
        for entry in mock.journal().expect("readable") {
            assert!(entry.completed);
            assert_eq!(entry.recorded_cost.as_deref(), Some("0.000013"));
            let expected = [
                ("after_terminator", "0.000013"),
                ("header", "0"),
                ("ledger", "0.000013"),
                ("lookup", "0.000013"),
            ];
            let expected = expected.map(|(name, digits)| (name.to_owned(), digits.to_owned()));
            assert_eq!(entry.recorded, BTreeMap::from(expected));
        }
        mock.shutdown().await;
    });
}

#[test]
fn an_answer_is_looked_up_by_the_id_that_its_client_saw() {
    run(async {
        let mut config = quick();
        config.behaviour.cost.wrong = wrong(Class::FloatNoise);
        let mock = start(config).await;
        for (path, stream) in [(CHAT_COMPLETIONS, true), (MESSAGES, false)] {
            let reply = post(mock.address(), path, &prompt(1, stream)).await;
            let id = if stream {
                reply.events()[0]["id"].clone()
            } else {
                reply.json()["id"].clone()
            };
            let id = id.as_str().expect("an id");
            let path = format!("/api/v1/generation?id={id}");
            let found = get(mock.address(), &path).await;
            assert_eq!(found.status, 200);
            let text = found.text();
            assert!(
                text.contains("\"total_cost\":0.0000130000000000002,"),
                "{text}"
            );
            let data = &found.json()["data"];
            assert_eq!(data["id"], id);
            assert_eq!(data["model"], "magistral-small-latest");
            assert_eq!(
                (&data["tokens_prompt"], &data["tokens_completion"]),
                (&json!(11), &json!(5))
            );
            assert_eq!(
                (&data["streamed"], &data["cancelled"]),
                (&json!(stream), &json!(false))
            );
        }
        mock.shutdown().await;
    });
}

#[test]
fn the_look_up_refuses_what_it_does_not_know() {
    run(async {
        let mut config = quick();
        config.api_key = Some("secret".to_owned());
        config.behaviour.cost.recorded_after_ms = 3_600_000.0;
        let mock = start(config).await;
        let key = "authorization: Bearer secret\r\n";
        let body = prompt(1, false).to_string();
        let asked = Exchange::open(mock.address(), "POST", CHAT_COMPLETIONS, key, &body).await;
        let id = asked.finish().await.json()["id"].clone();
        let known = format!("/api/v1/generation?id={}", id.as_str().expect("an id"));
        for (method, path, headers, status) in [
            // In an hour.
            ("GET", known.as_str(), key, 404),
            (
                "GET",
                "/api/v1/generation?id=chatcmpl-0123456789abcdef00000007",
                key,
                404,
            ),
            ("GET", "/api/v1/generation?id=7", key, 404),
            ("GET", "/api/v1/generation", key, 400),
            ("GET", known.as_str(), "", 401),
            ("POST", known.as_str(), key, 405),
        ] {
            let reply = Exchange::open(mock.address(), method, path, headers, "").await;
            let reply = reply.finish().await;
            assert_eq!(reply.status, status, "{method} {path}");
            assert_eq!(reply.json()["error"]["code"], status);
            assert!(reply.json()["error"]["message"].is_string());
        }
        assert_eq!(ledger(&mock, "litellm").await, []);
        // It is no completion, so the journal has only the one.
        assert_eq!(only_entry(&mock).ledger_rows, 1);
        mock.shutdown().await;
    });
}

#[test]
fn ledgers_have_every_request_in_every_format() {
    on_each_runtime(|| async {
        let mock = start(quick()).await;
        let paths = [CHAT_COMPLETIONS, MESSAGES];
        for number in 0..20 {
            let path = paths[usize::from(number % 2 == 0)];
            post(mock.address(), path, &prompt(number, number % 3 == 0)).await;
        }
        // An error costs nothing, and has no row.
        post(mock.address(), MESSAGES, &json!({})).await;
        let per_request = [
            ("litellm", "request_id", "spend"),
            ("openrouter", "generation_id", "cost_total"),
        ];
        for (format, id, amount) in per_request {
            let rows = ledger(&mock, format).await;
            assert!(rows.iter().all(|row| row[amount] == "0.000013"), "{rows:?}");
            let ids: std::collections::BTreeSet<_> = rows.iter().map(|row| &row[id]).collect();
            assert_eq!((rows.len(), ids.len()), (20, 20));
        }
        let focus = ledger(&mock, "focus").await;
        let sum: rust_decimal::Decimal = focus
            .iter()
            .map(|row| {
                row["BilledCost"]
                    .parse::<rust_decimal::Decimal>()
                    .expect("a decimal")
            })
            .sum();
        assert_eq!(sum.to_string().trim_end_matches('0'), "0.00026");
        let unknown = get(mock.address(), "/__mock/ledger?format=excel").await;
        assert_eq!(unknown.status, 400);
        assert!(unknown.text().contains("litellm, openrouter, focus"));
        assert_eq!(get(mock.address(), "/__mock/ledger").await.status, 400);
        mock.reset().expect("reset");
        assert_eq!(ledger(&mock, "focus").await, []);
        mock.shutdown().await;
    });
}

#[test]
fn planted_rows_are_in_the_journal_and_in_the_ledger() {
    run(async {
        for (class, rows) in [
            (Class::LedgerMissing, 0),
            (Class::LedgerDuplicate, 2),
            (Class::LedgerOrphan, 2),
        ] {
            let mut config = quick();
            config.behaviour.cost.wrong = wrong(class);
            let mock = start(config).await;
            post(mock.address(), MESSAGES, &prompt(1, true)).await;
            assert_eq!(ledger(&mock, "openrouter").await.len(), rows, "{class:?}");
            let entry = only_entry(&mock);
            assert_eq!(entry.ledger_rows as usize, rows);
            assert_eq!(entry.billing_faults, [class]);
            assert_eq!(entry.charged.as_deref(), Some("0.000013"));
            mock.shutdown().await;
        }
    });
}

#[test]
fn ledgers_have_the_ids_that_clients_saw_in_every_dialect() {
    run(async {
        let text = r#"
            timing.ttft_ms = { fixed = 1 }
            timing.gap_ms = { fixed = 0 }
            dialect = "mistral"
            [profiles.openai]
            dialect = "openai"
            [profiles.vllm]
            dialect = "vllm"
            [profiles.openrouter]
            dialect = "openrouter"
        "#;
        let mock = start(Config::from_toml(text, "mock.toml").expect("valid")).await;
        let mut seen = Vec::new();
        for (profile, path, prefix) in [
            ("", CHAT_COMPLETIONS, ""),
            ("openai", CHAT_COMPLETIONS, "chatcmpl-"),
            ("vllm", CHAT_COMPLETIONS, "chatcmpl-"),
            ("openrouter", CHAT_COMPLETIONS, "gen-"),
            ("", MESSAGES, "msg_"),
            ("openrouter", MESSAGES, "msg_"),
        ] {
            let header = match profile {
                "" => String::new(),
                name => format!("x-mock-profile: {name}\r\n"),
            };
            let body = prompt(1, false).to_string();
            let asked = Exchange::open(mock.address(), "POST", path, &header, &body).await;
            let id = asked.finish().await.json()["id"].clone();
            let id = id.as_str().expect("an id").to_owned();
            let digits = id.strip_prefix(prefix).expect("the dialect's prefix");
            assert_eq!(digits.len(), 24, "{id}");
            seen.push(id);
        }
        for (format, column) in [("litellm", "request_id"), ("openrouter", "generation_id")] {
            let rows = ledger(&mock, format).await;
            let ids: Vec<_> = rows.iter().map(|row| row[column].clone()).collect();
            assert_eq!(ids, seen);
        }
        mock.shutdown().await;
    });
}

#[test]
fn errors_that_are_billed_are_in_the_ledger_and_looked_up() {
    run(async {
        for (kind, status, class) in [
            (FaultKind::Status, 429, None),
            (FaultKind::Status, 429, Some(Class::ErrorBilled)),
            (FaultKind::ErrorIn200, 200, Some(Class::ErrorBilled)),
            (FaultKind::Html200, 200, Some(Class::ErrorBilled)),
        ] {
            let mut config = quick();
            config.behaviour.cost.surfaces = vec![Surface::Header];
            config.behaviour.faults = vec![Fault::new(kind)];
            config.behaviour.cost.wrong = class.map(wrong).unwrap_or_default();
            let mock = start(config).await;
            let reply = post(mock.address(), MESSAGES, &prompt(1, true)).await;
            assert_eq!(reply.status, status);
            let id = &reply.headers["x-request-id"];
            let found = get(mock.address(), &format!("/api/v1/generation?id={id}")).await;
            let entry = only_entry(&mock);
            assert_eq!((entry.charged.as_deref(), &entry.cost), (Some("0"), &None));
            let rows = ledger(&mock, "litellm").await;
            // 11 tokens at 0.50 for a million.
            let amounts: Vec<_> = rows.iter().map(|row| row["spend"].as_str()).collect();
            let expected: &[&str] = class.map_or(&[], |_| &["0.0000055"]);
            assert_eq!(amounts, expected);
            let header = reply.headers.get("x-mock-response-cost");
            assert_eq!(header.map(String::as_str), expected.first().copied());
            assert_eq!(found.status, if class.is_some() { 200 } else { 404 });
            assert_eq!(entry.recorded.contains_key("lookup"), class.is_some());
            for row in rows {
                assert!(found.text().contains("\"total_cost\":0.0000055,"));
                assert_eq!(found.json()["data"]["id"], id.as_str());
                assert_eq!(
                    (&row["request_id"], row["status"].as_str()),
                    (id, "failure")
                );
            }
            assert_eq!(entry.billing_faults, class.as_slice());
            mock.shutdown().await;
        }
    });
}

/// The entry of a stream whose client hangs up after some tokens.
async fn hung_up(mut config: Config, path: &str) -> (JournalEntry, Vec<BTreeMap<String, String>>) {
    config.behaviour.output.tokens_per_event = 2;
    let mock = start(config).await;
    let body = prompt(3, true).to_string();
    let mut exchange = Exchange::open(mock.address(), "POST", path, "", &body).await;
    exchange.head().await;
    while !exchange
        .chunk()
        .await
        .expect("a chunk")
        .contains("00000000.0 ")
    {}
    drop(exchange);
    mock.idle().await;
    let rows = ledger(&mock, "litellm").await;
    let entry = only_entry(&mock);
    mock.shutdown().await;
    (entry, rows)
}

#[test]
fn clients_that_hang_up_are_charged_by_the_policy() {
    on_each_runtime(|| async {
        // 11 tokens of input at 0.50, and 5, 2 and none of output at 1.50.
        for (aborts, charged) in [
            (Aborts::Full, "0.000013"),
            (Aborts::Delivered, "0.0000085"),
            (Aborts::Free, "0"),
        ] {
            for path in [CHAT_COMPLETIONS, MESSAGES] {
                let mut config = endless();
                config.behaviour.cost.aborts = aborts;
                let (entry, rows) = hung_up(config, path).await;
                assert_eq!((entry.completed, entry.token_events), (false, 1));
                // Of an endless answer only the bills that need it count each event.
                let is_counted = aborts == Aborts::Delivered;
                assert_eq!(entry.delivered_output, is_counted.then_some(2));
                assert_eq!(entry.charged.as_deref(), Some(charged), "{aborts:?}");
                assert_eq!(entry.cost.as_deref(), Some("0.000013"));
                assert_eq!((rows.len(), rows[0]["spend"].as_str()), (1, charged));
            }
        }
        let mut config = endless();
        config.behaviour.cost.wrong = wrong(Class::AbortEstimated);
        let (entry, rows) = hung_up(config, MESSAGES).await;
        assert_eq!(entry.charged.as_deref(), Some("0.000013"));
        // Two tokens of 11 characters are six of four: 0.0000055 and 0.000009.
        assert_eq!(rows[0]["spend"], "0.0000145");
        assert_eq!(rows[0]["completion_tokens"], "6");
        assert_eq!(entry.billing_faults, [Class::AbortEstimated]);
    });
}

#[test]
fn answers_that_a_fault_cuts_are_charged_by_the_policy() {
    run(async {
        for (kind, stream, charged) in [
            // Three of five tokens, half of them rounded up.
            (FaultKind::Cut, true, "0.00001"),
            (FaultKind::ErrorInStream, true, "0.00001"),
            (FaultKind::ForeignError, true, "0.00001"),
            // All of them, but no end.
            (FaultKind::NoTerminator, true, "0.000013"),
            // A body that cannot be read.
            (FaultKind::Cut, false, "0.0000055"),
        ] {
            let mut config = quick();
            config.behaviour.cost.aborts = Aborts::Delivered;
            config.behaviour.faults = vec![Fault::new(kind)];
            let mock = start(config).await;
            post(mock.address(), MESSAGES, &prompt(1, stream)).await;
            mock.idle().await;
            let entry = only_entry(&mock);
            assert_eq!(entry.charged.as_deref(), Some(charged), "{kind:?} {stream}");
            let has_usage = kind == FaultKind::NoTerminator;
            assert_eq!(entry.recorded.contains_key("usage"), has_usage, "{kind:?}");
            assert_eq!(entry.recorded_cost.is_some(), has_usage, "{kind:?}");
            mock.shutdown().await;
        }
    });
}

#[test]
fn profiles_bill_by_their_own_rates() {
    run(async {
        let text = r#"
            [timing]
            ttft_ms = { fixed = 1 }
            gap_ms = { fixed = 0 }
            [profiles.dear]
            models = ["magistral-*"]
            cost.per_tokens = 1000
            cost.aborts = "free"
        "#;
        let config = Config::from_toml(text, "mock.toml").expect("valid");
        let mock = start(config).await;
        post(mock.address(), MESSAGES, &prompt(1, true)).await;
        let entry = only_entry(&mock);
        assert_eq!(entry.charged.as_deref(), Some("0.013"));
        let focus = ledger(&mock, "focus").await;
        let units: Vec<_> = focus
            .iter()
            .map(|row| row["PricingUnit"].as_str())
            .collect();
        assert_eq!(units, ["1000 Tokens", "1000 Tokens"]);
        mock.shutdown().await;
    });
}
