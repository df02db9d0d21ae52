//! What a message says that it used, and what that cost.

use crate::config::Class;
use crate::responder::bill::PLACEHOLDER_TOKENS;
use crate::responder::reply::Reply;

/// The usage in `message_start`: nothing is known of the output yet.
pub(super) fn start_usage(reply: &Reply) -> String {
    let is_lost = reply.bill.planted.has(Class::TranslationUsageLost);
    object(reply, if is_lost { 0 } else { PLACEHOLDER_TOKENS }, "")
}

/// The usage object, with the cost's digits as they are, and the members that stand beside it.
pub(super) fn usage(reply: &Reply) -> String {
    let cost = reply.bill.usage_members();
    object(reply, reply.usage.output, &cost) + &reply.bill.members_beside_usage()
}

/// The parts of the input are disjoint; `cost` is the object's last members, with a comma before, or empty.
fn object(reply: &Reply, output_tokens: u64, cost: &str) -> String {
    let usage = reply.usage;
    let write_1h = usage.cache_write_1h.min(usage.cache_write);
    // The sum is right, and its parts are one too many.
    let excess = u64::from(reply.bill.planted.has(Class::UsageInconsistent));
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
         \"output_tokens\":{output_tokens}{cost}}}",
        usage.input, usage.cache_write, usage.cache_read,
    )
}
