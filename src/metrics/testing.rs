//! Records for this module's tests.

use crate::endpoint::Endpoint;
use crate::record::{Class, Outcome, Phase, Record};
use crate::time::Offset;
use crate::usage::Usage;

/// So many ms after the start.
pub fn at(ms: u64) -> Offset {
    Offset::from_nanos(ms * 1_000_000)
}

/// A streamed success: sent, first token, last token and terminator at these milliseconds.
pub fn ok(sent: u64, first: u64, last: u64, end: u64) -> Record {
    let mut record = Record::new(
        "0".repeat(32),
        Phase::Measured,
        Endpoint::OpenAi,
        Class::Chat,
    );
    record.streaming = true;
    record.outcome = Outcome::Ok;
    record.sent = Some(at(sent));
    record.first_byte = Some(at(first));
    record.first_token = Some(at(first));
    record.first_visible = Some(at(first));
    record.last_token = Some(at(last));
    record.terminator = Some(at(end));
    record.counts.token_events = 10;
    record.counts.token_batches = 10;
    record.counts.window_token_events = 10;
    record.last_usage = Usage {
        input: Some(100),
        output: Some(21),
        ..Usage::default()
    };
    record
}
