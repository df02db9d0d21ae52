//! What a chat completion says that it used.

use crate::config::Dialect;
use crate::responder::reply::Reply;

/// Usage, with the cost's digits as they are.
pub(super) fn usage(reply: &Reply, dialect: Dialect) -> String {
    let usage = reply.usage;
    // Cached tokens are a part of the prompt here, and beside it on the other endpoint.
    let prompt = usage.input + usage.cache_read + usage.cache_write;
    let details = match dialect {
        Dialect::OpenAi | Dialect::Vllm | Dialect::OpenRouter => format!(
            ",\"prompt_tokens_details\":{{\"cached_tokens\":{}}},\"completion_tokens_details\":{{\"reasoning_tokens\":{}}}",
            usage.cache_read, usage.reasoning,
        ),
        Dialect::Mistral => String::new(),
    };
    format!(
        "{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{}{details}{}}}",
        prompt,
        usage.output,
        prompt + usage.output,
        reply.cost_member(),
    )
}
