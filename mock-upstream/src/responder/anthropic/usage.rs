//! What a message says that it used, and what that cost.

use crate::config::Class;
use crate::journal::Usage;
use crate::responder::bill::PLACEHOLDER_TOKENS;
use crate::responder::reply::Reply;

/// The usage in `message_start`: nothing is known of the output yet.
pub(super) fn start_usage(reply: &Reply) -> String {
    let is_lost = reply.bill.planted.has(Class::TranslationUsageLost);
    let usage = Usage {
        output: if is_lost { 0 } else { PLACEHOLDER_TOKENS },
        ..reply.usage
    };
    object(usage, excess(reply), "")
}

/// The usage object, with the cost's digits as they are, and the members that stand beside it.
pub(super) fn usage(reply: &Reply) -> String {
    let cost = reply.bill.usage_members();
    object(reply.usage, excess(reply), &cost) + &reply.bill.members_beside_usage()
}

/// By how much the parts of the cache's tokens exceed their sum, which is right.
fn excess(reply: &Reply) -> u64 {
    u64::from(reply.bill.planted.has(Class::UsageInconsistent))
}

/// The parts of the input are disjoint; `cost` is the object's last members, with a comma before, or empty.
fn object(usage: Usage, excess: u64, cost: &str) -> String {
    let write_1h = usage.cache_write_1h.min(usage.cache_write);
    let creation = if usage.cache_write + excess == 0 {
        String::new()
    } else {
        format!(
            ",\"cache_creation\":{{\"ephemeral_5m_input_tokens\":{},\"ephemeral_1h_input_tokens\":{write_1h}}}",
            usage.cache_write - write_1h + excess,
        )
    };
    format!(
        "{{\"input_tokens\":{},\"cache_creation_input_tokens\":{},\"cache_read_input_tokens\":{}{creation},\
         \"output_tokens\":{}{cost}}}",
        usage.input, usage.cache_write, usage.cache_read, usage.output,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_are_beside_the_input_and_split_by_how_long_they_are_kept() {
        let usage = Usage {
            input: 1_000,
            cache_read: 400,
            cache_write: 300,
            cache_write_1h: 100,
            output: 500,
            reasoning: 120,
        };
        assert_eq!(
            object(usage, 0, ",\"cost\":0.00355"),
            "{\"input_tokens\":1000,\"cache_creation_input_tokens\":300,\"cache_read_input_tokens\":400,\
             \"cache_creation\":{\"ephemeral_5m_input_tokens\":200,\"ephemeral_1h_input_tokens\":100},\
             \"output_tokens\":500,\"cost\":0.00355}"
        );
    }
}
