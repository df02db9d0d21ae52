//! Chat completions in `OpenRouter`'s shapes, read back as JSON.

use serde_json::json;

use super::*;
use crate::config::{Fault, FaultKind};

fn config() -> Config {
    of_dialect(Dialect::OpenRouter)
}

#[test]
fn openrouter_stream_names_the_provider_and_ends_with_usage_and_cost() {
    let mut config = config();
    config.behaviour.output.reasoning_share = 0.34;
    let script = ask(CHAT_COMPLETIONS, &prompt(&json!({"stream": true})), &config);
    let contents: Vec<_> = chunks(&script).iter().map(|chunk| chunk.1).collect();
    let chunks: Vec<_> = chunks(&script).into_iter().map(|chunk| chunk.2).collect();
    let choice = |i: usize| chunks[i]["choices"].clone();
    let open = |delta: Value| json!([{"index": 0, "delta": delta, "finish_reason": null, "native_finish_reason": null, "logprobs": null}]);
    assert_eq!(choice(0), open(json!({"role": "assistant", "content": ""})));
    let details = json!([{"type": "reasoning.text", "text": "01234567.r0 ", "format": "unknown", "index": 0}]);
    assert_eq!(
        choice(1),
        open(json!({"content": "", "reasoning": "01234567.r0 ", "reasoning_details": details}))
    );
    assert_eq!(choice(2), open(json!({"content": "01234567.0 "})));
    assert_eq!(
        choice(4),
        json!([{"index": 0, "delta": {"content": ""}, "finish_reason": "length", "native_finish_reason": "length",
            "logprobs": null}])
    );
    // Without being asked, and with a choice.
    assert_eq!(choice(5), open(json!({"content": ""})));
    assert_eq!(chunks[5]["usage"]["total_tokens"], 14);
    assert_eq!(chunks[5]["usage"]["cost"], json!(0.00001));
    assert_eq!(contents[5], Content::COST);
    assert_eq!((chunks.len(), &chunks[6]), (7, &json!("[DONE]")));
    for chunk in &chunks[..6] {
        assert_eq!(chunk["provider"], "Mock");
        assert!(
            chunk["id"]
                .as_str()
                .is_some_and(|id| id.starts_with("gen-"))
        );
    }
}

#[test]
fn openrouter_whole_body_has_reasoning_with_details() {
    let mut config = config();
    config.behaviour.output.reasoning_share = 0.34;
    let body = whole_body(&ask(CHAT_COMPLETIONS, &prompt(&json!({})), &config));
    let details = json!([{"type": "reasoning.text", "text": "01234567.r0 ", "format": "unknown", "index": 0}]);
    assert_eq!(
        body["choices"],
        json!([{"index": 0, "logprobs": null, "finish_reason": "length", "native_finish_reason": "length", "message": {
            "role": "assistant", "content": "01234567.0 01234567.1 ", "refusal": null, "reasoning": "01234567.r0 ",
            "reasoning_details": details}}])
    );
    assert_eq!(body["provider"], "Mock");
}

#[test]
fn openrouter_streams_break_with_an_error_beside_the_choice() {
    let mut config = config();
    config.behaviour.faults = vec![Fault::new(FaultKind::ErrorInStream)];
    let script = ask(CHAT_COMPLETIONS, &prompt(&json!({"stream": true})), &config);
    let chunks = chunks(&script);
    let last = &chunks.last().expect("chunks").2;
    assert_eq!(
        last["error"],
        json!({"message": "a planted fault", "code": 500})
    );
    assert_eq!(last["choices"][0]["finish_reason"], "error");
    for name in ["id", "model", "created", "provider", "object"] {
        assert_eq!(last[name], chunks[0].2[name], "{name}");
    }
}
