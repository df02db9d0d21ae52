//! Records and amounts for this module's tests.

use crate::endpoint::Endpoint;
use crate::late::{LedgerRow, Lookup};
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

/// A look-up that came to these digits.
pub fn lookup(digits: Option<&str>) -> Lookup {
    Lookup {
        trace_id: "0".repeat(32),
        attempt: 0,
        surface: "lookup:u#/c".to_owned(),
        digits: digits.map(str::to_owned),
        unknown_ns: None,
        known_ns: digits.map(|_| 1),
        tries: 1,
        error: None,
    }
}

/// A row of a ledger with this cost; empty for none.
pub fn ledger_row(cost: &str) -> LedgerRow {
    LedgerRow {
        line: 2,
        id: "r".to_owned(),
        trace_id: Some("0".repeat(32)),
        attempt: Some(0),
        joined_by: Some("id".to_owned()),
        endpoint: None,
        model: Some("m".to_owned()),
        cost: (!cost.is_empty()).then(|| cost.to_owned()),
        started_utc: Some("2026-08-01T12:00:00Z".to_owned()),
        input: None,
        output: None,
    }
}
