//! One attempt, from its due time to its record.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::Conduct;
use super::shared::{Place, Stop};
use crate::billing::budget::Reservation;
use crate::client::{Body, Connects, Failure, Head, Transport};
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::plan::Planned;
use crate::protocol::{self, Decoder, Encoded, Mode};
use crate::record::{CallRecord, Outcome, Phase, Record};
use crate::surface::Surface;
use crate::time::Offset;
use crate::timeline::{Ending, Frame, Timeline};

/// How long a connection is read on after the terminator: some gateways put the cost there.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// How much of an error body is kept for its message.
const ERROR_BODY_MAX: usize = 16 * 1024;

/// Headers that name a request, the gateway's own first: its spend logs are joined by it.
const REQUEST_IDS: [&str; 3] = ["x-litellm-call-id", "x-request-id", "request-id"];

/// Whether an attempt got as far as the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    Target,
    /// The connection was refused.
    Nobody,
}

/// Everything that a sent attempt holds until it is over.
pub(super) struct Ticket {
    pub place: Place,
    pub reservation: Option<Reservation>,
}

/// The moments at which waiting for an attempt's next step ends.
struct Deadlines {
    first_token: Option<Offset>,
    total: Offset,
}

impl Deadlines {
    /// The nearest, for a step that has waited since `since`, and which outcome it is.
    fn next(&self, timeline: &Timeline, idle: Option<Offset>) -> (Offset, Outcome) {
        // Before its first token a stream may think in silence as long as that limit says.
        let begun = timeline.has_begun();
        let first = self.first_token.filter(|_| !begun);
        let idle = idle.filter(|_| begun);
        [
            Some((self.total, Outcome::TimeoutTotal)),
            first.map(|at| (at, Outcome::TimeoutFirstToken)),
            idle.map(|at| (at, Outcome::TimeoutIdle)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
        .expect("the total limit is always there")
    }
}

impl<T: Transport> Conduct<T> {
    /// Sends `planned` and follows it to its end. `answered` is called once, at the moment from
    /// which a closed-loop user goes on: the terminator, or the failure.
    pub(super) async fn attempt(
        self: Arc<Self>,
        planned: Planned,
        ticket: Ticket,
        answered: impl FnOnce(Reached) + Send,
    ) -> (Record, Vec<CallRecord>) {
        let Planned {
            record,
            request,
            offered,
        } = planned;
        let endpoint = record.endpoint;
        let mut timeline = Timeline::new(record, offered);
        self.shared.begun();
        let connects = self.transport.connects();
        let sent = self.clock.now();
        timeline.sent(sent, self.clock.utc(sent), ticket.place.taken);

        let mut exchange = Exchange {
            conduct: &self,
            endpoint,
            deadlines: Deadlines {
                first_token: timeline
                    .record()
                    .streaming
                    .then(|| sent + self.timeouts.first_token),
                total: sent + self.timeouts.total,
            },
            timeline,
            connects,
            error_body: None,
        };
        let (ending, body) = exchange.run(request).await;
        // The place is free at the terminator, and the user goes on: what follows is off the clock.
        drop(ticket.place);
        answered(match ending {
            Ending::Broken(Outcome::ConnectFailed, _) => Reached::Nobody,
            _ => Reached::Target,
        });
        if let Some((body, decoder)) = body
            && let Some(_place) = self.shared.drain(endpoint)
        {
            exchange.drain(body, decoder).await;
        }
        let Exchange {
            timeline,
            error_body,
            ..
        } = exchange;
        let (mut record, mut calls) = timeline.finish(self.clock.now(), ending, error_body);
        self.redact(&mut record, &mut calls);
        if let Some(spend) = &self.shared.spend {
            spend.settle(ticket.reservation, &record, self.date(sent));
            self.shared.settled.notify_one();
        }
        (record, calls)
    }

    /// A turn that came due and is not sent.
    pub(super) fn drop_turn(&self, mut record: Record, why: &str) -> Record {
        record.outcome = Outcome::Dropped;
        record.error = Some(why.to_owned());
        record.ended = Some(self.clock.now());
        self.shared.ended(record.clone(), Vec::new());
        record
    }

    /// Takes the key out of every text that came from outside: gateways do quote it in errors.
    fn redact(&self, record: &mut Record, calls: &mut [CallRecord]) {
        let of_record = [
            &mut record.error,
            &mut record.response_id,
            &mut record.request_id,
            &mut record.served_model,
            &mut record.finish,
        ];
        let of_calls = calls
            .iter_mut()
            .flat_map(|call| [&mut call.id, &mut call.name]);
        // The digits of an amount stay as they are, also where the key is a number.
        let costs = record.costs.iter_mut().map(|(_, digits)| digits);
        let costs = costs.filter(|digits| digits.parse::<f64>().is_err());
        for text in of_record.into_iter().flatten().chain(of_calls).chain(costs) {
            for secret in &self.secrets {
                *text = without(text, secret);
            }
        }
    }
}

/// `text` without `secret`, also where the text was cut off in the middle of it.
fn without(text: &str, secret: &str) -> String {
    let mut clean = text.replace(secret, REDACTED);
    let cut = secret
        .char_indices()
        .map(|(at, _)| &secret[..at])
        .rev()
        .find(|start| start.len() >= SECRET_START_MIN && clean.ends_with(start));
    if let Some(start) = cut {
        clean.truncate(clean.len() - start.len());
        clean.push_str(REDACTED);
    }
    clean
}

/// What stands in place of a key.
const REDACTED: &str = "[key]";

/// A shorter beginning of a key at the end of a text gives nothing away.
const SECRET_START_MIN: usize = 4;

/// The transport's part of an attempt.
struct Exchange<'a, T: Transport> {
    conduct: &'a Conduct<T>,
    endpoint: Endpoint,
    deadlines: Deadlines,
    timeline: Timeline,
    /// As they were before sending.
    connects: Connects,
    error_body: Option<(String, String)>,
}

impl<T: Transport> Exchange<'_, T> {
    /// Up to the terminator, the end of the body, or a failure. After a terminator, the body is
    /// given back to be drained.
    async fn run(&mut self, request: Encoded) -> (Ending, Option<(T::Body, Decoder)>) {
        let trace_id = self.timeline.record().trace_id.clone();
        let attempt = self.timeline.record().attempt;
        let conduct = self.conduct;
        let sending = conduct.transport.send(request, &trace_id, attempt);
        let answer = self.guarded(sending, None).await;
        self.timeline
            .connected(conduct.transport.connects().overlap(self.connects));
        let (head, mut body) = match answer {
            Ok((Ok(answer), _)) => answer,
            Ok((Err(failure), _)) => return (broken(failure), None),
            Err(ending) => return (ending, None),
        };
        let Some(mut decoder) = self.head(&head) else {
            return (self.refusal(&mut body).await, None);
        };
        let mut idle_since = conduct.clock.now();
        loop {
            let idle = Some(idle_since + conduct.timeouts.idle);
            let (frame, waited) = match self.guarded(body.frame(), idle).await {
                Ok(next) => next,
                Err(ending) => return (ending, None),
            };
            // Stamp, then parse.
            let at = conduct.clock.now();
            match frame {
                Some(Ok(bytes)) => {
                    idle_since = at;
                    self.frame(&mut decoder, &bytes, at, waited);
                    if self.timeline.has_ended() {
                        return (Ending::Complete, Some((body, decoder)));
                    }
                }
                Some(Err(failure)) => return (broken(failure), None),
                None => {
                    self.end_of_body(&mut decoder, at);
                    return (Ending::Complete, None);
                }
            }
        }
    }

    /// Takes the head in; `None` if the request was refused.
    fn head(&mut self, head: &Head) -> Option<Decoder> {
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        if head.downgraded {
            let warning = "target.http = \"2\" was asked for, but the target speaks HTTP/1.1";
            self.conduct.shared.warn(warning);
        }
        let asked_stream = self.timeline.record().streaming;
        let (mode, oddity) = protocol::mode_of(text("content-type"), asked_stream);
        let request_id = REQUEST_IDS.iter().find_map(|name| text(name));
        self.timeline
            .head(head.status, request_id, mode == Mode::Stream);
        for surface in self.conduct.surfaces.iter() {
            if let Surface::Header(name) = surface
                && let Some(digits) = text(name)
            {
                self.timeline
                    .header_cost(surface.to_string(), digits.trim().to_owned());
            }
        }
        if !(200..300).contains(&head.status) {
            return None;
        }
        if let Some(oddity) = oddity {
            self.timeline.count_oddity(oddity);
        }
        Some(Decoder::new(
            self.endpoint,
            mode,
            self.conduct.surfaces.clone(),
        ))
    }

    /// Reads what a refusal says.
    async fn refusal(&mut self, body: &mut T::Body) -> Ending {
        let mut said = Vec::new();
        let limit = Some(self.conduct.clock.now() + self.conduct.timeouts.idle);
        let ending = loop {
            match self.guarded(body.frame(), limit).await {
                Ok((Some(Ok(bytes)), _)) if said.len() < ERROR_BODY_MAX => {
                    said.extend_from_slice(&bytes);
                }
                Ok((Some(Ok(_)) | None, _)) => break Ending::Complete,
                Ok((Some(Err(failure)), _)) => break broken(failure),
                Err(ending) => break ending,
            }
        };
        self.error_body = Some(protocol::error_body(&said));
        ending
    }

    fn frame(&mut self, decoder: &mut Decoder, bytes: &Bytes, at: Offset, waited: bool) {
        let in_window = self.conduct.shared.in_window(self.endpoint, at);
        self.timeline.frame(Frame {
            at,
            waited,
            len: bytes.len(),
            in_window,
        });
        let mut sink = Sink {
            conduct: self.conduct,
            endpoint: self.endpoint,
            timeline: &mut self.timeline,
        };
        decoder.push(bytes, &mut |event| sink.take(&event));
    }

    /// A whole body is decoded at its end, and so is what a stream left unfinished.
    fn end_of_body(&mut self, decoder: &mut Decoder, at: Offset) {
        let in_window = self.conduct.shared.in_window(self.endpoint, at);
        self.timeline.end_of_body(at, in_window);
        let mut sink = Sink {
            conduct: self.conduct,
            endpoint: self.endpoint,
            timeline: &mut self.timeline,
        };
        decoder.finish(&mut |event| sink.take(&event));
    }

    /// After the terminator: reads on to the end of the body, within a limit.
    async fn drain(&mut self, mut body: T::Body, mut decoder: Decoder) {
        let limit = self.conduct.clock.now() + DRAIN_LIMIT;
        self.deadlines = Deadlines {
            first_token: None,
            total: limit,
        };
        loop {
            let next = self.guarded(body.frame(), None).await;
            let at = self.conduct.clock.now();
            match next {
                Ok((Some(Ok(bytes)), waited)) => self.frame(&mut decoder, &bytes, at, waited),
                Ok((None, _)) => return self.end_of_body(&mut decoder, at),
                Ok((Some(Err(_)), _)) | Err(_) => return,
            }
        }
    }

    /// Waits for `step`, within the limits and until the run is cut. Says whether it had to wait.
    async fn guarded<F: Future>(
        &self,
        step: F,
        idle: Option<Offset>,
    ) -> Result<(F::Output, bool), Ending> {
        let mut step = pin!(step);
        // The common case of a frame that is there already needs no timer and no stop.
        if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(step.as_mut().poll(cx))).await {
            return Ok((output, false));
        }
        let (deadline, outcome) = self.deadlines.next(&self.timeline, idle);
        tokio::select! {
            biased;
            output = step => Ok((output, true)),
            () = self.conduct.shared.until(Stop::Everything) => {
                Err(Ending::Broken(Outcome::Cut, "the run was stopped".to_owned()))
            }
            () = self.conduct.clock.coarse_sleep_until(deadline) => {
                Err(Ending::Broken(outcome, limit_of(outcome).to_owned()))
            }
        }
    }
}

/// Where the events of an attempt go: its timeline, and the gaps to the log.
struct Sink<'a, T: Transport> {
    conduct: &'a Conduct<T>,
    endpoint: Endpoint,
    timeline: &'a mut Timeline,
}

impl<T: Transport> Sink<'_, T> {
    fn take(&mut self, event: &Event<'_>) {
        let gap = self.timeline.event(event, &self.conduct.surfaces);
        if let Some(gap) = gap
            && self.timeline.record().phase == Phase::Measured
        {
            self.conduct.shared.gap(self.endpoint, gap);
        }
    }
}

/// Which limit an outcome ran into, in words.
fn limit_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::TimeoutFirstToken => "no token within target.timeouts.first_token",
        Outcome::TimeoutIdle => "silence longer than target.timeouts.idle",
        _ => "not complete within target.timeouts.total",
    }
}

fn broken(failure: Failure) -> Ending {
    Ending::Broken(failure.outcome, failure.message)
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn a_key_is_taken_out_whole_and_cut_off() {
        let key = "sk-secret-123";
        assert_eq!(
            without("bad key sk-secret-123, sorry", key),
            "bad key [key], sorry"
        );
        assert_eq!(without("bad key sk-secr", key), "bad key [key]");
        assert_eq!(without("bad key sk-", key), "bad key sk-");
        assert_eq!(without("", key), "");
    }
}
