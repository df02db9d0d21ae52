//! The books of one answer: which of its frames have left and when, and the journal entry that comes of it.
//!
//! Times are counted from the receipt of the request, and somebody else reads the clock: the player in life, and a
//! [simulation](crate::simulation) that has none. Both settle bills here, so they settle them alike.

use std::time::Duration;

use http::StatusCode;

use crate::billing::{Delivery, Settlement};
use crate::config::Config;
use crate::journal::{FrameTimes, JournalEntry};
use crate::responder::Arrival;
use crate::script::{Frame, Truth};

/// What is kept of an answer that is on its way out.
#[derive(Debug)]
pub(crate) struct Books {
    arrival: Arrival,
    status: StatusCode,
    frames: Vec<Frame>,
    truth: Option<Box<Truth>>,
    next: usize,
    /// Whether the head was handed out, which leaves with the first frame, or without one where there is none.
    has_head: bool,
    first_write: Option<Duration>,
    first_token_write: Option<Duration>,
    last_token_write: Option<Duration>,
    token_writes: u64,
    keep_alives: u64,
    last_write: Option<Duration>,
    /// The longest time without a byte up to the last write.
    silence_max: Duration,
    token_events: u64,
    cost_written: bool,
    lateness_ns_max: u64,
    /// When each frame was written; `None` if the journal does not want it.
    written_ns: Option<Vec<u64>>,
}

impl Books {
    pub(crate) fn new(
        arrival: Arrival,
        frames: Vec<Frame>,
        status: StatusCode,
        truth: Option<Truth>,
        config: &Config,
    ) -> Self {
        let journals_frames = truth.is_some() && config.journal_frames;
        Self {
            written_ns: journals_frames.then(|| Vec::with_capacity(frames.len())),
            arrival,
            status,
            frames,
            truth: truth.map(Box::new),
            next: 0,
            has_head: false,
            first_write: None,
            first_token_write: None,
            last_token_write: None,
            token_writes: 0,
            keep_alives: 0,
            last_write: None,
            silence_max: Duration::ZERO,
            token_events: 0,
            cost_written: false,
            lateness_ns_max: 0,
        }
    }

    pub(crate) fn arrival(&self) -> Arrival {
        self.arrival
    }

    /// The frames that have not left.
    pub(crate) fn rest(&self) -> &[Frame] {
        &self.frames[self.next..]
    }

    /// Token events that have left.
    pub(crate) fn token_events(&self) -> u64 {
        self.token_events
    }

    /// Notes that the head is handed out now.
    pub(crate) fn note_head(&mut self) {
        self.has_head = true;
    }

    /// Notes that the next frame is written, so long after the receipt. Returns how late it is, in nanoseconds, if
    /// anybody wants to know.
    pub(crate) fn note_written(&mut self, since_receipt: Duration) -> Option<u64> {
        let frame = self.frames[self.next];
        self.next += 1;
        self.first_write.get_or_insert(since_receipt);
        let silence = since_receipt.saturating_sub(self.last_write.unwrap_or_default());
        self.silence_max = self.silence_max.max(silence);
        self.last_write = Some(since_receipt);
        if frame.content.token_events > 0 {
            self.first_token_write.get_or_insert(since_receipt);
            self.last_token_write = Some(since_receipt);
            self.token_writes += 1;
            self.token_events += u64::from(frame.content.token_events);
        }
        self.keep_alives += u64::from(frame.content.keep_alives);
        self.cost_written |= frame.content.has_cost;
        let late = nanoseconds(since_receipt.saturating_sub(frame.at));
        self.lateness_ns_max = self.lateness_ns_max.max(late);
        if let Some(written_ns) = &mut self.written_ns {
            written_ns.push(nanoseconds(since_receipt));
        }
        self.truth.as_ref().map(|_| late)
    }

    /// The moment of the last write by the wall clock: an answer that breaks off ends where it does.
    fn ended_unix_us(&self) -> u64 {
        let took = self.last_write.unwrap_or_default();
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.arrival.unix_us.saturating_add(took_us)
    }

    /// Settles the bill of the answer, which is over; whole if it is `completed`. `None` for what is no completion, and
    /// after the first time.
    pub(crate) fn close(&mut self, completed: bool, config: &Config) -> Option<JournalEntry> {
        let truth = self.truth.take()?;
        let since_start = |since_receipt: Duration| nanoseconds(self.arrival.at + since_receipt);
        let delivery = Delivery {
            started: self.has_head,
            cost_written: self.cost_written,
            completed,
            token_events: self.token_events,
            ended_unix_us: self.ended_unix_us(),
        };
        let settlement = match &truth.bill {
            Some(bill) => {
                let behaviour = config.behaviour_of(truth.profile.as_deref());
                bill.settle(&behaviour.cost, delivery)
            }
            None => Settlement::without_bill(
                truth.fault.is_some()
                    || self.status.is_client_error()
                    || self.status.is_server_error(),
            ),
        };
        let bill = truth.bill.map(|bill| *bill).unwrap_or_default();
        let frame_times = self.written_ns.take().map(|written_ns| FrameTimes {
            planned_ns: self
                .frames
                .iter()
                .map(|frame| nanoseconds(frame.at))
                .collect(),
            written_ns,
        });
        Some(JournalEntry {
            seq: self.arrival.seq,
            nonce: truth.nonce,
            trace_id: truth.trace_id,
            endpoint: truth.endpoint,
            path: truth.path,
            model: truth.model,
            stream: truth.stream,
            status: if self.has_head {
                self.status.as_u16()
            } else {
                0
            },
            received_unix_us: self.arrival.unix_us,
            received_ns: nanoseconds(self.arrival.at),
            first_write_ns: self.first_write.map(since_start),
            first_token_write_ns: self.first_token_write.map(since_start),
            last_token_write_ns: self.last_token_write.map(since_start),
            token_writes: Some(self.token_writes),
            keep_alives: Some(self.keep_alives),
            last_write_ns: self.last_write.map(since_start),
            frames: self.frames.len() as u64,
            frames_written: self.next as u64,
            token_events: self.token_events,
            lateness_ns_max: self.lateness_ns_max,
            usage: truth.usage,
            cost: truth.cost,
            recorded_cost: settlement.recorded_in_answer(),
            charged: settlement.charged,
            delivered_output: settlement.delivered_output,
            recorded: settlement.recorded,
            billing_faults: settlement.billing_faults,
            wire_usage: settlement.wire_usage,
            billed_usage: settlement.billed_usage,
            ledger_rows: settlement.ledger_rows,
            recorded_unix_us: settlement.recorded_unix_us,
            service_tier: bill.service_tier,
            served_model: bill.served_model,
            silence_ns_max: self.last_write.map(|_| nanoseconds(self.silence_max)),
            tools: truth.tools,
            tool_choice: truth.tool_choice.map(str::to_owned),
            parallel_tool_calls: truth.parallel_tool_calls,
            tool_calls: truth.tool_calls,
            tool_results: truth.tool_results,
            turn: truth.turn,
            text_tokens: truth.text_tokens,
            text_tokens_after: truth.text_tokens_after,
            reasoning_tokens: truth.reasoning_tokens,
            text_sha256: truth.text_sha256,
            reasoning_sha256: truth.reasoning_sha256,
            finish: truth.finish,
            fault: truth.fault.map(|fault| fault.name().to_owned()),
            attempt: truth.attempt,
            profile: truth.profile,
            response_id: truth.response_id,
            queue_ns: nanoseconds(truth.queue),
            body: truth.body,
            completed,
            body_bytes: truth.body_bytes,
            frame_times,
        })
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
