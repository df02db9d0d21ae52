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
    let usage = Usage {
        output: progress.tokens,
        reasoning: progress.reasoning,
        ..reply.bill.usage
    };
    object(reply.bill.wire(usage), 0, dialect, "")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_are_part_of_the_prompt() {
        let usage = Usage {
            input: 1_000,
            cache_read: 400,
            cache_write: 300,
            cache_write_1h: 100,
            output: 500,
            reasoning: 120,
        };
        let counts = "\"prompt_tokens\":1700,\"completion_tokens\":500,\"total_tokens\":2200";
        let cached = "\"prompt_tokens_details\":{\"cached_tokens\":400}";
        let reasoning = "\"completion_tokens_details\":{\"reasoning_tokens\":120}";
        let cost = "\"cost\":0.00355";
        assert_eq!(
            object(usage, 0, Dialect::OpenAi, ",\"cost\":0.00355"),
            format!("{{{counts},{cached},{reasoning},{cost}}}")
        );
        assert_eq!(
            object(usage, 0, Dialect::Mistral, ",\"cost\":0.00355"),
            format!("{{{counts},{cached},{cost}}}")
        );
    }
}
