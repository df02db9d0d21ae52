//! What a message says that it used.

use crate::responder::reply::Reply;

/// Usage; `cost` is its last member, with a comma before, or empty.
pub(super) fn usage(reply: &Reply, output_tokens: u64, cost: &str) -> String {
    let usage = reply.usage;
    format!(
        "{{\"input_tokens\":{},\"cache_creation_input_tokens\":{},\"cache_read_input_tokens\":{},\
         \"output_tokens\":{output_tokens}{cost}}}",
        usage.input, usage.cache_write, usage.cache_read,
    )
}
