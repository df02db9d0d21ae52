//! What a chat completion says that it used, and what that cost.

use crate::billing::Progress;
use crate::config::{Class, Dialect};
use crate::journal::Usage;
use crate::responder::reply::Reply;

/// The usage object, with the cost's digits as they are, and the members that stand beside it in the answer.
///
/// The prompt's tokens include those that were cached.
pub(super) fn usage(reply: &Reply, dialect: Dialect) -> String {
    let bill = &reply.bill;
    let mut cost = bill.usage_members();
    if dialect == Dialect::OpenRouter {
        cost.push_str(&bill.cost_details());
    }
    // The parts are right, and their sum is one too many.
    let excess = u64::from(bill.planted.has(Class::UsageInconsistent));
    object(reply.usage, excess, dialect, &cost) + &bill.members_beside_usage()
}

/// The usage up to an event in the middle of a stream, without a cost.
pub(super) fn running_usage(reply: &Reply, dialect: Dialect, progress: Progress) -> String {
    let wire = bill_wire(reply, progress);
    object(wire, 0, dialect, "")
}

fn bill_wire(reply: &Reply, progress: Progress) -> Usage {
    let usage = Usage {
        output: progress.tokens,
        reasoning: progress.reasoning,
        ..reply.bill.usage
    };
    reply.bill.wire(usage)
}

fn object(usage: Usage, excess: u64, dialect: Dialect, cost: &str) -> String {
    let details = match dialect {
        Dialect::OpenAi | Dialect::Vllm | Dialect::OpenRouter => format!(
            ",\"prompt_tokens_details\":{{\"cached_tokens\":{}}},\"completion_tokens_details\":{{\"reasoning_tokens\":{}}}",
            usage.cache_read, usage.reasoning,
        ),
        Dialect::Mistral if usage.cache_read > 0 => format!(
            ",\"prompt_tokens_details\":{{\"cached_tokens\":{}}}",
            usage.cache_read
        ),
        Dialect::Mistral => String::new(),
    };
    let prompt = usage.prompt();
    format!(
        "{{\"prompt_tokens\":{prompt},\"completion_tokens\":{},\"total_tokens\":{}{details}{cost}}}",
        usage.output,
        prompt.saturating_add(usage.output).saturating_add(excess),
    )
}
