//! Records and amounts for this module's tests.

use crate::endpoint::Endpoint;
use crate::money::Money;
use crate::record::{Class, Outcome, Phase, Record};
use crate::time::Offset;
use crate::usage::Usage;

/// The amount that `text` stands for.
pub fn money(text: &str) -> Money {
    text.parse().expect(text)
}

/// Input and output tokens and nothing else.
pub fn usage(input: u64, output: u64) -> Usage {
    Usage {
        input: Some(input),
        output: Some(output),
        ..Usage::default()
    }
}

/// A complete streamed answer of `model` at the OpenAI-compatible endpoint, without a cost.
pub fn record(model: &str, usage: Usage) -> Record {
    let mut record = Record::new(
        "0".repeat(32),
        Phase::Measured,
        Endpoint::OpenAi,
        Class::Chat,
    );
    record.streaming = true;
    model.clone_into(&mut record.requested_model);
    record.sent_utc = Some("2026-08-01T12:00:00.000000Z".to_owned());
    record.sent = Some(Offset::ZERO);
    record.outcome = Outcome::Ok;
    record.status = Some(200);
    record.finish = Some("stop".to_owned());
    record.first_usage = usage;
    record.last_usage = usage;
    record
}
