//! What an answer costs, and where it says so.

use rust_decimal::Decimal;
use serde_json::json;

use super::*;
use crate::config::Surface;

#[test]
fn cost_is_exact_and_stands_where_it_is_asked_to() {
    let mut config = config();
    let body = prompt(&json!({"max_tokens": 500, "messages": [
        // 996 one-token words and 4 for the message.
        {"role": "user", "content": "word ".repeat(996)}]}));
    let script = ask(CHAT_COMPLETIONS, &body, &config);
    assert_eq!(truth(&script).cost.as_deref(), Some("0.00125"));
    assert!(String::from_utf8_lossy(script.frames.bytes()).contains("\"cost\":0.00125}"));
    assert!(!script.headers.contains_key("x-mock-response-cost"));

    config.behaviour.cost.surfaces = vec![Surface::Header];
    let script = ask(CHAT_COMPLETIONS, &body, &config);
    assert_eq!(script.headers["x-mock-response-cost"], "0.00125");
    assert!(!String::from_utf8_lossy(script.frames.bytes()).contains("cost"));
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let script = ask(MESSAGES, &streamed, &config);
    assert_eq!(script.headers["x-mock-response-cost"], "0");
    let bill = truth(&script).bill.as_ref().expect("a bill");
    assert_eq!(bill.surfaces[&Surface::Header], "0");
    assert_eq!(truth(&script).cost.as_deref(), Some("0.00125"));

    let unlisted = prompt(&json!({"model": "another"}));
    let script = ask(CHAT_COMPLETIONS, &unlisted, &config);
    assert_eq!(truth(&script).cost, None);
    assert!(!script.headers.contains_key("x-mock-response-cost"));
}

#[test]
fn the_header_is_called_as_the_configuration_says() {
    let mut config = config();
    config.behaviour.cost.surfaces = vec![Surface::Header];
    config.behaviour.cost.header = "x-litellm-response-cost".to_owned();
    for path in [CHAT_COMPLETIONS, MESSAGES] {
        let script = ask(path, &prompt(&json!({})), &config);
        // 11 tokens at 0.50 for a million, and 3 at 1.50.
        assert_eq!(script.headers["x-litellm-response-cost"], "0.00001");
        assert!(!script.headers.contains_key("x-mock-response-cost"));
    }
}

#[test]
fn tiny_costs_are_written_without_an_exponent() {
    let mut config = config();
    config
        .behaviour
        .cost
        .rates
        .get_mut(MODEL)
        .expect("listed")
        .input = Decimal::new(1, 7);
    config
        .behaviour
        .cost
        .rates
        .get_mut(MODEL)
        .expect("listed")
        .output = Decimal::ZERO;
    let script = ask(CHAT_COMPLETIONS, &prompt(&json!({})), &config);
    assert_eq!(truth(&script).cost.as_deref(), Some("0.0000000000011"));
    let text = String::from_utf8_lossy(script.frames.bytes()).into_owned();
    assert!(text.contains("\"cost\":0.0000000000011}"), "{text}");
}
