//! Each format, read back as CSV, at given moments.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::billing::lookup;
use crate::config::{Class, Config, Rounding, RoundingMode, RoundingStage};
use crate::journal::Journal;

/// 2023-11-14 22:13:20 UTC.
const START_US: u64 = 1_700_000_000_000_000;

const ID: &str = "0123456789abcdef00000007";

/// 1,000 + 500 tokens of magistral-small, with `more` on top.
fn entry(more: &Value) -> JournalEntry {
    let mut entry = json!({
        "seq": 7, "nonce": "0123456789abcdef0123456789abcdef", "trace_id": null, "endpoint": "openai",
        "path": "/v1/chat/completions", "model": "magistral-small-latest", "stream": true, "status": 200,
        "received_unix_us": START_US, "received_ns": 1_000, "first_write_ns": 40_001_000,
        "first_token_write_ns": 80_001_000, "last_write_ns": 1_500_001_000, "frames": 9, "frames_written": 9,
        "token_events": 5, "lateness_ns_max": 0,
        "usage": {"input": 1_000, "cache_read": 0, "cache_write": 0, "output": 500, "reasoning": 100},
        "cost": "0.00125", "recorded_cost": "0.00125", "charged": "0.00125",
        "recorded": {"usage": "0.00125", "ledger": "0.00125", "lookup": "0.00125"},
        "ledger_rows": 1, "recorded_unix_us": START_US + 2_000_000, "tool_calls": 0, "text_sha256": null,
        "reasoning_sha256": null, "finish": "length", "fault": null, "attempt": 1, "profile": null,
        "response_id": ID, "queue_ns": 0, "completed": true, "body_bytes": 1,
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        entry[key] = value.clone();
    }
    serde_json::from_value(entry).expect("an entry")
}

/// The rows of a ledger, by column.
fn read(
    entries: &[JournalEntry],
    config: Config,
    format: Format,
    now_unix_us: u64,
) -> Vec<BTreeMap<String, String>> {
    let journal = Arc::new(Journal::new().expect("a temporary file"));
    for entry in entries {
        journal.append(entry).expect("spooled");
    }
    let lines = journal
        .lines(crate::journal::Selection::default())
        .expect("readable");
    let text = Ledger::new(lines, Arc::new(config), format, now_unix_us).text();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows = reader.deserialize();
    rows.map(|row| row.expect("a row")).collect()
}

const LATER_US: u64 = START_US + 3_600_000_000;

fn only(mut rows: Vec<BTreeMap<String, String>>) -> BTreeMap<String, String> {
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

fn check(row: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (column, value) in expected {
        assert_eq!(row[*column], *value, "{column}");
    }
}

#[test]
fn litellm_rows_have_the_columns_of_its_table() {
    let row = read(
        &[entry(&json!({}))],
        Config::default(),
        Format::LiteLlm,
        LATER_US,
    );
    let row = only(row);
    check(
        &row,
        &[
            ("request_id", "chatcmpl-0123456789abcdef00000007"),
            ("call_type", "acompletion"),
            ("spend", "0.00125"),
            ("total_tokens", "1500"),
            ("prompt_tokens", "1000"),
            ("completion_tokens", "500"),
            ("startTime", "2023-11-14 22:13:20.000"),
            ("completionStartTime", "2023-11-14 22:13:20.080"),
            ("endTime", "2023-11-14 22:13:21.500"),
            ("model", "magistral-small-latest"),
            ("model_group", "magistral-small-latest"),
            ("custom_llm_provider", "mock-upstream"),
            ("cache_hit", "False"),
            ("status", "success"),
        ],
    );
    let metadata: Value = serde_json::from_str(&row["metadata"]).expect("JSON");
    assert_eq!(
        metadata["spend_logs_metadata"]["nonce"],
        "0123456789abcdef0123456789abcdef"
    );
    assert_eq!(
        metadata["additional_usage_values"]["completion_tokens_details"]["reasoning_tokens"],
        100
    );
}

#[test]
fn openrouter_rows_have_the_columns_of_its_export() {
    let entries = [entry(&json!({
        "endpoint": "anthropic", "finish": "max_tokens", "served_model": "quo\"ted, model",
        "billed_usage": {"input": 600, "cache_read": 400, "cache_write": 0, "output": 5, "reasoning": 1},
    }))];
    let row = only(read(
        &entries,
        Config::default(),
        Format::OpenRouter,
        LATER_US,
    ));
    check(
        &row,
        &[
            ("generation_id", "msg_0123456789abcdef00000007"),
            ("created_at", "2023-11-14 22:13:20.000"),
            ("cost_total", "0.00125"),
            ("tokens_prompt", "1000"),
            ("tokens_completion", "5"),
            ("tokens_reasoning", "1"),
            ("tokens_cached", "400"),
            ("model_permaslug", "quo\"ted, model"),
            ("provider_name", "mock-upstream"),
            ("cancelled", "false"),
            ("streamed", "true"),
            ("finish_reason_raw", "max_tokens"),
            ("finish_reason_normalized", "length"),
            ("generation_time_ms", "1500"),
            ("time_to_first_token_ms", "80"),
        ],
    );
}

#[test]
fn focus_rows_add_up_to_the_requests_of_a_day_and_model() {
    let mut config = Config::default();
    config.behaviour.cost.rounding = Some(Rounding {
        scale: 4,
        mode: RoundingMode::HalfUp,
        stage: RoundingStage::Request,
    });
    let rounded = json!({"recorded": {"ledger": "0.0013"}});
    let next_day = json!({
        "recorded": {"ledger": "0.0013"}, "billing_faults": ["DAY_BOUNDARY"],
    });
    let unlisted = json!({"model": "unlisted", "recorded": {"ledger": "0"}});
    let entries = [&rounded, &rounded, &next_day, &unlisted].map(entry);
    let rows = read(&entries, config, Format::Focus, LATER_US);
    let seen: Vec<_> = rows
        .iter()
        .map(|row| {
            [
                "ChargePeriodStart",
                "x_TokenType",
                "ChargeCategory",
                "BilledCost",
                "ConsumedQuantity",
                "PricingQuantity",
                "x_Requests",
            ]
            .map(|column| row[column].as_str())
        })
        .collect();
    let (first, second) = ("2023-11-14T00:00:00Z", "2023-11-15T00:00:00Z");
    assert_eq!(
        seen,
        [
            [first, "adjustment", "Adjustment", "0.0001", "", "", "2"],
            [first, "input", "Usage", "0.001", "2000", "0.002", "2"],
            [first, "output", "Usage", "0.0015", "1000", "0.001", "2"],
            [second, "adjustment", "Adjustment", "0.00005", "", "", "1"],
            [second, "input", "Usage", "0.0005", "1000", "0.001", "1"],
            [second, "output", "Usage", "0.00075", "500", "0.0005", "1"],
        ]
    );
    check(
        &rows[1],
        &[
            ("BillingPeriodStart", "2023-11-01T00:00:00Z"),
            ("BillingPeriodEnd", "2023-12-01T00:00:00Z"),
            ("ChargePeriodEnd", "2023-11-15T00:00:00Z"),
            ("BillingCurrency", "USD"),
            ("ChargeClass", ""),
            ("ConsumedUnit", "Tokens"),
            ("PricingUnit", "1000000 Tokens"),
            ("EffectiveCost", "0.001"),
            ("ListCost", "0.001"),
            ("ProviderName", "mock-upstream"),
            ("ServiceCategory", "AI and Machine Learning"),
            ("SkuId", "magistral-small-latest/input"),
            ("x_Model", "magistral-small-latest"),
        ],
    );
}

#[test]
fn every_kind_of_tokens_has_a_row_of_its_own() {
    let text = r#"
        [cost.rates.m]
        input = "1"
        output = "4"
        cache_read = "0.25"
        cache_write_5m = "1.25"
        cache_write_1h = "2"
        per_request = "0.01"
    "#;
    let config = Config::from_toml(text, "mock.toml").expect("valid");
    let entries = [entry(&json!({
        "model": "m", "recorded": {"ledger": "0.01355"},
        "usage": {"input": 1_000, "cache_read": 400, "cache_write": 300, "cache_write_1h": 100, "output": 500,
            "reasoning": 0},
    }))];
    let rows = read(&entries, config, Format::Focus, LATER_US);
    let costs: BTreeMap<_, _> = rows
        .iter()
        .map(|row| (row["x_TokenType"].as_str(), row["BilledCost"].as_str()))
        .collect();
    let expected = [
        ("input", "0.001"),
        ("cache_read", "0.0001"),
        ("cache_write_5m", "0.00025"),
        ("cache_write_1h", "0.0002"),
        ("output", "0.002"),
        ("request", "0.01"),
    ];
    assert_eq!(costs, BTreeMap::from(expected));
}

#[test]
fn rows_appear_when_they_are_recorded_in_every_format() {
    let recorded_us = START_US + 2_000_000;
    for (_, format) in Format::NAMES {
        let entries = [entry(&json!({}))];
        let at = |now| read(&entries, Config::default(), format, now).len();
        assert_eq!(at(recorded_us - 1), 0, "{format:?}");
        assert!(at(recorded_us) > 0, "{format:?}");
    }
}

#[test]
fn missing_duplicate_orphaned_and_shifted_rows() {
    let ids = |faults: &[Class], rows: u32| -> Vec<(String, String)> {
        let entries = [entry(
            &json!({"billing_faults": faults, "ledger_rows": rows}),
        )];
        let rows = read(&entries, Config::default(), Format::LiteLlm, LATER_US);
        rows.iter()
            .map(|row| (row["request_id"].clone(), row["startTime"].clone()))
            .collect()
    };
    let row = |id: &str, time: &str| (id.to_owned(), time.to_owned());
    let own = row(
        "chatcmpl-0123456789abcdef00000007",
        "2023-11-14 22:13:20.000",
    );
    let orphan = row("chatcmpl-fedcba9876543210fffffff8", &own.1);
    let shifted = row(&own.0, "2023-11-15 00:00:00.000");
    assert_eq!(ids(&[Class::LedgerMissing], 0), []);
    assert_eq!(
        ids(&[Class::LedgerDuplicate], 2),
        [own.clone(), own.clone()]
    );
    assert_eq!(ids(&[Class::LedgerOrphan], 2), [own, orphan]);
    assert_eq!(ids(&[Class::DayBoundary], 1), [shifted]);
}

#[test]
fn hits_errors_and_unpriced_models_have_rows_that_say_so() {
    let read = |more: &Value| {
        only(read(
            &[entry(more)],
            Config::default(),
            Format::LiteLlm,
            LATER_US,
        ))
    };
    let hit = read(&json!({"billing_faults": ["CACHE_HIT_BILLED"]}));
    check(&hit, &[("cache_hit", "True")]);
    let id = "req_0000000000000007";
    let error = read(&json!({"status": 200, "response_id": id, "finish": null}));
    check(&error, &[("status", "failure"), ("request_id", id)]);
    let unpriced = read(&json!({"recorded": {}}));
    check(&unpriced, &[("spend", "")]);
}

#[test]
fn the_look_up_knows_an_answer_once_it_is_recorded() {
    let id = format!("chatcmpl-{ID}");
    let known = entry(&json!({"recorded": {"lookup": "0.0012500000000000002"}}));
    let at = |entry, now| lookup::generation(&id, entry, now);
    assert_eq!(at(&known, START_US + 1_999_999), None);
    let text = at(&known, START_US + 2_000_000).expect("recorded");
    assert!(
        text.contains("\"total_cost\":0.0012500000000000002,"),
        "{text}"
    );
    let data = &serde_json::from_str::<Value>(&text).expect("JSON")["data"];
    assert_eq!(data["id"], id.as_str());
    assert_eq!(data["created_at"], "2023-11-14T22:13:20.000+00:00");
    assert_eq!(
        [
            &data["tokens_prompt"],
            &data["native_tokens_completion"],
            &data["native_tokens_reasoning"]
        ],
        [&json!(1_000), &json!(500), &json!(100)]
    );
    assert_eq!(
        (&data["latency"], &data["generation_time"]),
        (&json!(80), &json!(1_500))
    );
    assert_eq!(
        at(&entry(&json!({"recorded_unix_us": null})), u64::MAX),
        None
    );
}

#[test]
fn ids_are_known_with_any_prefix() {
    for (id, expected) in [
        ("chatcmpl-0123456789abcdef00000007", Some(ID)),
        ("msg_0123456789abcdef00000007", Some(ID)),
        ("gen-0123456789abcdef00000007", Some(ID)),
        (ID, Some(ID)),
        ("req_0000000000000007", Some("req_0000000000000007")),
        ("req_000000000000007", None),
        ("req_000000000000000G", None),
        ("123456789abcdef00000007", None),
        ("chatcmpl-0123456789ABCDEF00000007", None),
        ("ééééééééééééééééé", None),
        ("", None),
    ] {
        assert_eq!(lookup::response_id(id), expected, "{id}");
    }
}
