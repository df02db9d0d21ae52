//! What a chat completion says that it used.

use crate::config::Dialect;
use crate::responder::reply::Reply;

/// Usage, with the cost's digits as they are; in the middle of a stream, that of the `output_so_far`, without a cost.
pub(super) fn usage(reply: &Reply, dialect: Dialect, output_so_far: Option<u64>) -> String {
    let mut usage = reply.usage;
    let mut cost = reply.cost_member();
    if let Some(output) = output_so_far {
        usage.output = output;
        // Reasoning comes first.
        usage.reasoning = usage.reasoning.min(output);
        cost.clear();
    }
    let details = match dialect {
        Dialect::OpenAi | Dialect::Vllm | Dialect::OpenRouter => format!(
            ",\"prompt_tokens_details\":{{\"cached_tokens\":{}}},\"completion_tokens_details\":{{\"reasoning_tokens\":{}}}",
            usage.cache_read, usage.reasoning,
        ),
        Dialect::Mistral => String::new(),
    };
    format!(
        "{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{}{details}{cost}}}",
        usage.input,
        usage.output,
        usage.input + usage.output,
    )
}
