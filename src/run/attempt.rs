//! One request, from its due time to its records: one for each attempt.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::Conduct;
use super::capture::Capture;
use super::interrupt::{Interrupted, Interrupts};
use super::retry::{self, retry_after};
use super::shared::{OpenWindow, Place};
use crate::billing::budget::Reservation;
use crate::client::{Body, Connects, Failure, Head, Transport};
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::gateway::Said;
use crate::money::Money;
use crate::plan::{Follows, Planned};
use crate::protocol::{self, Decoder, Encoded, Mode};
use crate::record::{CallRecord, Fact, Outcome, OutcomeGroup, Phase, Record, SessionEnd};
use crate::surface::Surface;
use crate::time::Offset;
use crate::timeline::{Answer, Ending, Finished, Frame, Keep, Timeline};
use crate::workload::HangUp;

/// How long a connection is read on after the terminator: some gateways put the cost there.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// How much of an error body is kept for its message.
const ERROR_BODY_MAX: usize = 16 * 1024;

/// Whether a request got as far as the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    Target,
    /// The connection was refused.
    Nobody,
}

/// What a request's end means to whoever waits for it.
pub(super) struct Reply {
    pub reached: Reached,
    /// The terminator, or the failure.
    pub at: Offset,
    /// The answer, where its session goes on from it.
    pub answer: Option<Box<Answer>>,
    /// When the first turn of its session was sent.
    pub session_sent: Option<Offset>,
}

impl Reply {
    /// To a turn that was not sent.
    pub const fn unsent(at: Offset) -> Self {
        Self {
            reached: Reached::Target,
            at,
            answer: None,
            session_sent: None,
        }
    }
}

/// Everything that a request in flight holds.
pub(super) struct Ticket {
    pub place: Place,
    pub reservation: Option<Reservation>,
}

/// The moments at which waiting for an attempt's next step ends.
struct Deadlines {
    first_token: Option<Offset>,
    total: Offset,
    /// When the workload hangs up, if it does so at a time.
    hang_up: Option<Offset>,
}

impl Deadlines {
    /// The nearest, for a step that has waited since `since`, and which outcome it is.
    fn next(&self, timeline: &Timeline, idle: Option<Offset>) -> (Offset, Outcome) {
        // Before its first token a stream may think in silence as long as that limit says.
        let begun = timeline.has_begun();
        let first = self.first_token.filter(|_| !begun);
        let idle = idle.filter(|_| begun || first.is_none());
        [
            Some((self.total, Outcome::TimeoutTotal)),
            first.map(|at| (at, Outcome::TimeoutFirstToken)),
            idle.map(|at| (at, Outcome::TimeoutIdle)),
            self.hang_up.map(|at| (at, Outcome::Cancelled)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
        .expect("the total limit is always there")
    }
}

impl<T: Transport> Conduct<T> {
    /// Sends `turn` and follows it to its end, attempt by attempt. `answered` is called once, at
    /// the moment from which a user, or its session, goes on: the terminator, or the failure. Returns
    /// the last attempt's record.
    pub(super) async fn request(
        self: Arc<Self>,
        turn: Box<Planned>,
        ticket: Ticket,
        answered: impl FnOnce(Reply) + Send,
    ) -> Arc<Record> {
        let Ticket {
            place,
            mut reservation,
        } = ticket;
        let endpoint = turn.record.endpoint;
        let in_flight = place.taken;
        self.meter.enter(endpoint, self.clock.now());
        let mut holding = Some((place, answered));
        // The place is free, and the user goes on.
        let mut release = |reply: Reply| {
            let (place, answered) = holding.take().expect("a request is released once");
            drop(place);
            self.meter.leave(endpoint, self.clock.now());
            answered(reply);
        };
        let retries = self
            .retries
            .filter(|_| turn.record.phase != Phase::Preflight);
        let mut next = turn;
        loop {
            let spare = retries.map(|retries| (retries, next.clone()));
            let (mut exchange, request) = Exchange::begin(&self, *next, in_flight);
            let (ending, body) = exchange.run(request).await;
            let reply = exchange.reply(&ending);
            let goes_on = reply.answer.is_some();
            if let Some((body, decoder)) = body {
                // What follows is off the clock.
                release(reply);
                if let Some(_place) = self.shared.drain(endpoint) {
                    exchange.drain(body, decoder).await;
                }
                let never = |_: &Record| None::<()>;
                return self.over(exchange, ending, reservation, goes_on, never).0;
            }
            let asked = exchange.retry_after;
            let (record, again) = self.over(exchange, ending, reservation, goes_on, |record| {
                let (retries, spare) = spare?;
                let wait = retry::wait(&retries, record, asked, self.plan.seed)?;
                // What the budget has no room for is not tried again.
                Some((wait, self.reserve(&spare).ok()?, spare))
            });
            let Some((wait, reserved, mut spare)) = again else {
                release(reply);
                return record;
            };
            spare.record.attempt += 1;
            spare.record.session_sent = reply.session_sent;
            tokio::select! {
                biased;
                () = self.shared.cut() => {
                    if let Some(reserved) = reserved {
                        reserved.settle(Some(Money::ZERO));
                    }
                    release(reply);
                    return self.cut_before(*spare);
                }
                () = self.clock.coarse_sleep_until(self.clock.now() + wait) => {}
            }
            (next, reservation) = (spare, reserved);
        }
    }

    /// An attempt is over: its row is written, and its cost settled. `goes_on` says whether its session has another
    /// turn, `again` what the next attempt takes, if there is to be one.
    fn over<N>(
        &self,
        exchange: Box<Exchange<'_, T>>,
        ending: Ending,
        reservation: Option<Reservation>,
        goes_on: bool,
        again: impl FnOnce(&Record) -> Option<N>,
    ) -> (Arc<Record>, Option<N>) {
        let Exchange {
            timeline,
            error_body,
            sent,
            capture,
            follows,
            ..
        } = *exchange;
        let Finished {
            mut record,
            mut calls,
            trace,
            ..
        } = timeline.finish(self.clock.now(), ending, error_body);
        self.redact(&mut record, &mut calls);
        let example = capture.and_then(|capture| capture.end(&record, &calls, &self.secrets));
        if let Some((example, bytes)) = example {
            self.shared.put(Fact::Example(example, bytes));
        }
        if let Some(spend) = &self.shared.spend {
            spend.settle(reservation, &record, self.date(sent));
            // More than one user may fit into what is free now.
            self.shared.settled.notify_waiters();
        }
        let next = again(&record);
        record.last = next.is_none();
        if record.last && !goes_on {
            record.session_end = session_end(follows, &record);
        }
        if let Some(events) = trace {
            self.shared.put(Fact::Trace {
                trace_id: record.trace_id.clone(),
                attempt: record.attempt,
                events,
            });
        }
        (self.put(record, calls), next)
    }

    /// The run was stopped while a request waited for its next attempt, or a session for its next turn, which was not
    /// sent.
    pub(super) fn cut_before(&self, turn: Planned) -> Arc<Record> {
        self.not_sent(
            turn,
            Outcome::Cut,
            "the run was stopped before this was sent",
        )
    }

    /// A turn that came due and is not sent.
    pub(super) fn drop_turn(&self, turn: Planned, why: &str) -> Arc<Record> {
        self.not_sent(turn, Outcome::Dropped, why)
    }

    fn not_sent(&self, turn: Planned, outcome: Outcome, why: &str) -> Arc<Record> {
        let mut record = turn.record;
        record.outcome = outcome;
        record.error = Some(why.to_owned());
        record.ended = Some(self.clock.now());
        record.session_end = session_end(turn.follows, &record);
        self.put(record, Vec::new())
    }

    /// An attempt is over, and this is what happened.
    fn put(&self, record: Record, calls: Vec<CallRecord>) -> Arc<Record> {
        let record = Arc::new(record);
        let mut counts = self.meter.counts();
        counts.ended(record.endpoint, record.outcome);
        counts.progress.ended(&record);
        drop(counts);
        self.shared.put(Fact::Attempt(record.clone(), calls));
        record
    }
}

/// How the session of an attempt ended with it, where it could have had several turns.
fn session_end(follows: Follows, record: &Record) -> Option<SessionEnd> {
    if follows == Follows::Never {
        return None;
    }
    Some(match record.outcome.group() {
        OutcomeGroup::Ok if follows == Follows::NoMore && record.counts.calls > 0 => {
            SessionEnd::TurnLimit
        }
        OutcomeGroup::Ok => SessionEnd::Answered,
        OutcomeGroup::Failed => SessionEnd::Failed,
        OutcomeGroup::Dropped | OutcomeGroup::Cut | OutcomeGroup::Cancelled => SessionEnd::Stopped,
    })
}

/// The transport's part of an attempt.
struct Exchange<'a, T: Transport> {
    conduct: &'a Conduct<T>,
    endpoint: Endpoint,
    window: &'a OpenWindow,
    deadlines: Deadlines,
    hang_up: Option<HangUp>,
    timeline: Timeline,
    sent: Offset,
    /// As they were before sending.
    connects: Connects,
    error_body: Option<(String, String)>,
    /// How long the target asked to wait before another attempt.
    retry_after: Option<Duration>,
    /// What is kept of its bytes, if there was a slot for it.
    capture: Option<Capture>,
    follows: Follows,
    interrupts: Interrupts<'a>,
}

impl<'a, T: Transport> Exchange<'a, T> {
    /// `turn` is about to be sent, as what is returned beside.
    fn begin(conduct: &'a Conduct<T>, turn: Planned, in_flight: u32) -> (Box<Self>, Encoded) {
        let Planned {
            record,
            request,
            offered,
            hang_up,
            follows,
        } = turn;
        let endpoint = record.endpoint;
        let streaming = record.streaming;
        // The preflight is no part of the load.
        let capture = (record.phase != Phase::Preflight)
            .then(|| conduct.shared.examples.capture(&request))
            .flatten();
        let mut timeline = Timeline::new(
            record,
            offered,
            Keep {
                trace: conduct.trace,
                // What no turn repeats is not kept.
                answer: follows == Follows::IfCalled,
            },
        );
        let mut counts = conduct.meter.counts();
        counts.progress.begun();
        counts.at(endpoint).sent += 1;
        drop(counts);
        let connects = conduct.transport.connects();
        let sent = conduct.clock.now();
        timeline.sent(sent, conduct.clock.utc(sent), in_flight);
        let limits = &conduct.timeouts;
        let exchange = Self {
            conduct,
            endpoint,
            window: conduct.shared.window(endpoint),
            deadlines: Deadlines {
                first_token: streaming.then(|| sent + limits.first_token),
                total: sent + limits.total,
                hang_up: match hang_up {
                    Some(HangUp::After(time)) => Some(sent + time),
                    Some(HangUp::AfterEvents(_)) | None => None,
                },
            },
            hang_up,
            timeline,
            sent,
            connects,
            error_body: None,
            retry_after: None,
            capture,
            follows,
            interrupts: Interrupts::new(&conduct.shared, &conduct.clock),
        };
        // Thousands wait at once: what only a part of the time needs must not be held all of it.
        (Box::new(exchange), request)
    }

    /// What its end means, right after it.
    fn reply(&self, ending: &Ending) -> Reply {
        let answer = match ending {
            Ending::Complete if self.follows == Follows::IfCalled => self.timeline.answer(),
            _ => None,
        };
        let record = self.timeline.record();
        Reply {
            reached: match ending {
                Ending::Broken(Outcome::ConnectFailed, _) => Reached::Nobody,
                _ => Reached::Target,
            },
            at: record
                .terminator
                .unwrap_or_else(|| self.conduct.clock.now()),
            answer: answer
                .filter(|answer| !answer.calls.is_empty())
                .map(Box::new),
            session_sent: record.session_sent,
        }
    }

    /// Up to the terminator, the end of the body, or a failure. After a terminator, the body is
    /// given back to be drained.
    async fn run(&mut self, request: Encoded) -> (Ending, Option<(T::Body, Decoder)>) {
        let conduct = self.conduct;
        // A box: what sending needs is much, and is let go before the body is waited for.
        let (mut body, decoder) = match Box::pin(self.send(request)).await {
            Ok(answer) => answer,
            Err(ending) => return (ending, None),
        };
        let Some(mut decoder) = decoder else {
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
                    if let Some(HangUp::AfterEvents(events)) = self.hang_up
                        && self.timeline.record().counts.token_events >= events
                    {
                        return (ran_into(Outcome::Cancelled), None);
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

    /// Up to the head of the answer. No decoder: the request was refused.
    async fn send(&mut self, request: Encoded) -> Result<(T::Body, Option<Decoder>), Ending> {
        let trace_id = self.timeline.record().trace_id.clone();
        let attempt = self.timeline.record().attempt;
        let transport = &self.conduct.transport;
        let sending = transport.send(request, &trace_id, attempt);
        let answer = self.guarded(sending, None).await;
        self.timeline
            .connected(transport.connects().overlap(self.connects));
        let (head, body) = answer?.0.map_err(broken)?;
        Ok((body, self.head(&head)))
    }

    /// Takes the head in; `None` if the request was refused.
    fn head(&mut self, head: &Head) -> Option<Decoder> {
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        if head.downgraded {
            let warning = "target.http = \"2\" was asked for, but the target speaks HTTP/1.1";
            self.conduct.shared.warn(warning);
        }
        if let Some(capture) = &mut self.capture {
            capture.head(text("content-type"));
        }
        let asked_stream = self.timeline.record().streaming;
        let (mode, oddity) = protocol::mode_of(text("content-type"), asked_stream);
        let said = Said::of(&head.headers);
        self.timeline.head(head.status, &said, mode == Mode::Stream);
        for surface in self.conduct.surfaces.iter() {
            if let Surface::Header(name) = surface
                && let Some(digits) = text(name)
            {
                self.timeline
                    .header_cost(surface.to_string(), digits.trim().to_owned());
            }
        }
        if !(200..300).contains(&head.status) {
            self.retry_after = retry_after(&head.headers, || {
                self.conduct.clock.utc(self.conduct.clock.now())
            });
            return None;
        }
        if let Some(oddity) = oddity {
            self.timeline.count_oddity(oddity);
        }
        let decoder = Decoder::new(self.endpoint, mode, self.conduct.surfaces.clone());
        let asks_usage = self.conduct.plan.dialect.include_usage;
        Some(if asks_usage && asked_stream {
            decoder.expecting_usage()
        } else {
            decoder
        })
    }

    /// Reads what a refusal says.
    async fn refusal(&mut self, body: &mut T::Body) -> Ending {
        let mut said = Vec::new();
        let limit = Some(self.conduct.clock.now() + self.conduct.timeouts.idle);
        let ending = loop {
            match self.guarded(body.frame(), limit).await {
                Ok((Some(Ok(bytes)), _)) if said.len() < ERROR_BODY_MAX => {
                    self.keep(&bytes);
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
        let in_window = self.window.holds(at);
        self.timeline.frame(Frame {
            at,
            waited,
            len: bytes.len(),
            in_window,
        });
        self.keep(bytes);
        self.decode(decoder, Some(bytes));
    }

    fn keep(&mut self, bytes: &Bytes) {
        if let Some(capture) = &mut self.capture {
            capture.body(bytes);
        }
    }

    /// A whole body is decoded at its end, and so is what a stream left unfinished.
    fn end_of_body(&mut self, decoder: &mut Decoder, at: Offset) {
        let in_window = self.window.holds(at);
        self.timeline.end_of_body(at, in_window);
        self.decode(decoder, None);
    }

    /// Hands the events that these bytes complete, or the end of the body, to the timeline, and
    /// what they come to, to the meter.
    fn decode(&mut self, decoder: &mut Decoder, bytes: Option<&Bytes>) {
        let mut counts = self.conduct.meter.counts();
        let interval = counts.at(self.endpoint);
        let timeline = &mut self.timeline;
        let surfaces = &self.conduct.surfaces;
        let before = timeline.record().counts.token_events;
        let measured = timeline.record().phase == Phase::Measured;
        let mut sink = |event: Event<'_>| {
            if let Some(gap) = timeline.event(&event, |at| surfaces.at(at).to_string())
                && measured
            {
                interval.gap(gap);
            }
        };
        match bytes {
            Some(bytes) => decoder.push(bytes, &mut sink),
            None => decoder.finish(&mut sink),
        }
        interval.token_events += timeline.record().counts.token_events - before;
        interval.bytes += bytes.map_or(0, |bytes| bytes.len() as u64);
    }

    /// After the terminator: reads on to the end of the body, within a limit.
    async fn drain(&mut self, mut body: T::Body, mut decoder: Decoder) {
        let limit = self.conduct.clock.now() + DRAIN_LIMIT;
        self.deadlines = Deadlines {
            first_token: None,
            total: limit,
            hang_up: None,
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
        &mut self,
        step: F,
        idle: Option<Offset>,
    ) -> Result<(F::Output, bool), Ending> {
        let mut step = pin!(step);
        let mut limit = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = step.as_mut().poll(cx) {
                return Poll::Ready(Ok((output, limit.is_some())));
            }
            // The common case of a frame that is there already asks for no limit.
            let (deadline, outcome) =
                *limit.get_or_insert_with(|| self.deadlines.next(&self.timeline, idle));
            self.interrupts.poll(cx, deadline).map(|by| {
                Err(match by {
                    Interrupted::Cut => {
                        Ending::Broken(Outcome::Cut, "the run was stopped".to_owned())
                    }
                    Interrupted::Limit => ran_into(outcome),
                })
            })
        })
        .await
    }
}

/// An attempt ended by a limit of ours.
fn ran_into(outcome: Outcome) -> Ending {
    let why = match outcome {
        Outcome::TimeoutFirstToken => "no token within target.timeouts.first_token",
        Outcome::TimeoutIdle => "silence longer than target.timeouts.idle",
        Outcome::Cancelled => "the workload hung up, as planned",
        _ => "not complete within target.timeouts.total",
    };
    Ending::Broken(outcome, why.to_owned())
}

fn broken(failure: Failure) -> Ending {
    Ending::Broken(failure.outcome, failure.message)
}
