//! Chat completions in vLLM's shapes, read back as JSON.

use serde_json::json;

use super::*;
use crate::config::{Fault, FaultKind};

#[test]
fn vllm_stream_has_what_vllm_adds() {
    let mut config = of_dialect(Dialect::Vllm);
    config.behaviour.output.reasoning_share = 0.34;
    let body = prompt(&json!({"stream": true, "stream_options": {"include_usage": true}}));
    let script = ask(CHAT_COMPLETIONS, &body, &config);
    let chunks: Vec<_> = chunks(&script).into_iter().map(|chunk| chunk.2).collect();
    let choice = |i: usize| chunks[i]["choices"].clone();
    let open = |delta: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null, "token_ids": null}]);
    assert_eq!(choice(0), open(json!({"role": "assistant", "content": ""})));
    assert_eq!(
        choice(1),
        open(json!({"reasoning_content": "01234567.r0 "}))
    );
    assert_eq!(choice(2), open(json!({"content": "01234567.0 "})));
    assert_eq!(
        choice(4),
        json!([{"index": 0, "delta": {"content": ""}, "logprobs": null, "finish_reason": "length", "stop_reason": null,
            "token_ids": null}])
    );
    assert!(chunks[..5].iter().all(|chunk| chunk.get("usage").is_none()));
    assert_eq!(choice(5), json!([]));
    assert_eq!(chunks[5]["usage"]["total_tokens"], 14);
    assert_eq!(chunks[6], "[DONE]");
    assert_eq!(chunks.len(), 7);
}

#[test]
fn vllm_whole_body_has_empty_members() {
    let config = of_dialect(Dialect::Vllm);
    let mut body = whole_body(&ask(CHAT_COMPLETIONS, &prompt(&json!({})), &config));
    let expected = json!([{
        "index": 0, "logprobs": null, "finish_reason": "length", "stop_reason": null, "token_ids": null,
        "message": {"role": "assistant", "content": "01234567.0 01234567.1 01234567.2 ", "tool_calls": [],
            "refusal": null, "annotations": null, "audio": null, "function_call": null, "reasoning_content": null},
    }]);
    assert_eq!(body["choices"].take(), expected);
    for name in [
        "prompt_logprobs",
        "prompt_token_ids",
        "kv_transfer_params",
        "service_tier",
    ] {
        assert_eq!(body.get(name), Some(&Value::Null), "{name}");
    }
    assert!(
        body["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("chatcmpl-"))
    );
}

#[test]
fn vllm_errors_have_the_status_as_their_code() {
    let mut config = of_dialect(Dialect::Vllm);
    config.behaviour.faults = vec![Fault::new(FaultKind::ErrorInStream)];
    let script = ask(CHAT_COMPLETIONS, &prompt(&json!({"stream": true})), &config);
    let error = json!({"message": "a planted fault", "type": "InternalServerError", "param": null, "code": 500});
    assert_eq!(
        chunks(&script).pop().expect("chunks").2,
        json!({ "error": error })
    );
}
