//! The upstream without sockets and clocks: bytes in, bytes and the truth about them out.
//!
//! A [`Simulation`] answers as [`MockUpstream`](crate::MockUpstream) does, by the same responder, settles the bill with
//! the same code, and keeps a journal of which its look-up and its ledgers are made. Whoever asks says what time it is, and
//! when it hangs up; every frame is written at its planned moment. So a hundred thousand answers take seconds, and are the
//! same every time: for tests of decoders and of bills, of any client.
//!
//! Of what only a server does there is nothing here: no stubs, no connections (a fault that refuses some leaves the next
//! request alone), none of the upstream's own endpoints under `/__mock`.
//!
//! ```
//! use http::{HeaderMap, Method};
//! use mock_upstream::Config;
//! use mock_upstream::simulation::{HangUp, LedgerFormat, Request, Simulation};
//!
//! let mut upstream = Simulation::new(Config::default())?;
//! let request = Request {
//!     method: &Method::POST,
//!     path: "/v1/chat/completions",
//!     headers: &HeaderMap::new(),
//!     body: br#"{"model": "magistral-small-latest", "stream": true, "max_tokens": 3,
//!         "messages": [{"role": "user", "content": "0123456789abcdef0123456789abcdef hello"}]}"#,
//! };
//! let now_unix_us = 1_700_000_000_000_000;
//! let whole = upstream.ask(&request, now_unix_us, None);
//! assert!(whole.body().ends_with(b"data: [DONE]\n\n"));
//! let entry = whole.entry.expect("a completion");
//! assert_eq!((entry.usage.output, entry.completed), (3, true));
//!
//! // The client goes away after two tokens, and the bill is by `cost.aborts`.
//! let broken = upstream.ask(&request, now_unix_us, Some(HangUp::AfterTokenEvents(2)));
//! let entry = broken.entry.expect("a completion");
//! assert_eq!((entry.token_events, entry.completed), (2, false));
//! assert_eq!(upstream.ledger(LedgerFormat::LiteLlm, now_unix_us + 60_000_000).lines().count(), 3);
//! # Ok::<(), mock_upstream::ConfigError>(())
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::billing::{ledger, lookup};
use crate::books::Books;
use crate::config::{Config, ConfigError};
use crate::journal::JournalEntry;
use crate::responder::{Arrival, Received, State, respond};
use crate::script::{Ending, Script};

pub use crate::billing::ledger::Format as LedgerFormat;

/// A request, as the upstream receives it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, without the query.
    pub path: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

/// When the client goes away: it has what was written by then, and nothing is written after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HangUp {
    /// After so many frames. After 0 it has no head either.
    AfterFrames(usize),
    /// With the frame in which this many token events are complete. After 0 it has the head alone.
    AfterTokenEvents(u64),
}

impl HangUp {
    /// Whether it goes away now.
    fn is_now(self, frames: usize, books: &Books) -> bool {
        match self {
            Self::AfterFrames(after) => frames >= after,
            Self::AfterTokenEvents(after) => books.token_events() >= after,
        }
    }
}

/// What the client gets, and what is true.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status; `None` where no head leaves: the fault resets the connection before, or the client went away.
    pub status: Option<StatusCode>,
    /// The headers; none without a head.
    pub headers: HeaderMap,
    /// What is written, and when, counted from the receipt of the request.
    pub frames: Vec<(Duration, Bytes)>,
    /// How the answer ends after the last of these frames, if the client is still there to see it.
    pub ending: Ending,
    /// The journal's entry; `None` for what is no completion.
    pub entry: Option<JournalEntry>,
}

impl Answer {
    /// All that is written, in one piece.
    pub fn body(&self) -> Vec<u8> {
        let frames = self.frames.iter().map(|(_, bytes)| bytes.as_ref());
        frames.collect::<Vec<_>>().concat()
    }
}

/// An upstream that is asked in process. Its journal is in memory: about a kilobyte an entry.
#[derive(Debug)]
pub struct Simulation {
    config: Arc<Config>,
    state: State,
    next_seq: u64,
    /// The moment of the first request: monotonic time begins with it.
    started_unix_us: Option<u64>,
    journal: Vec<JournalEntry>,
    /// Where the entry of each answer stands, by the answer's id without prefix.
    places: HashMap<String, usize>,
}

impl Simulation {
    /// One that is told to be `config`, which is checked.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.validate("config")?;
        Ok(Self {
            config: Arc::new(config),
            state: State::default(),
            next_seq: 0,
            started_unix_us: None,
            journal: Vec::new(),
            places: HashMap::new(),
        })
    }

    /// Answers a request that is received at this moment, in microseconds since 1970. A client without a hang-up stays
    /// until the end; a stalled answer is one that it gives up.
    pub fn ask(&mut self, request: &Request<'_>, unix_us: u64, hang_up: Option<HangUp>) -> Answer {
        let started = *self.started_unix_us.get_or_insert(unix_us);
        let arrival = Arrival {
            seq: self.next_seq,
            unix_us,
            at: Duration::from_micros(unix_us.saturating_sub(started)),
        };
        self.next_seq += 1;
        let received = Received {
            method: request.method,
            path: request.path,
            headers: request.headers,
            body: request.body,
            arrival,
        };
        let script = respond(&received, &self.config, &self.state);
        let answer = perform(script, arrival, hang_up, &self.config);
        if let Some(entry) = &answer.entry {
            if let Some(id) = &entry.response_id {
                self.places.insert(id.clone(), self.journal.len());
            }
            self.journal.push(entry.clone());
        }
        answer
    }

    /// The entries so far, in the order of receipt.
    pub fn journal(&self) -> &[JournalEntry] {
        &self.journal
    }

    /// What `GET /api/v1/generation?id=ID` answers at a moment, in microseconds since 1970: `None` is a 404.
    pub fn look_up(&self, id: &str, now_unix_us: u64) -> Option<String> {
        let place = self.places.get(lookup::response_id(id)?)?;
        lookup::generation(id, &self.journal[*place], now_unix_us)
    }

    /// What `GET /__mock/ledger` answers at a moment, in microseconds since 1970.
    pub fn ledger(&self, format: LedgerFormat, now_unix_us: u64) -> String {
        let config = Arc::clone(&self.config);
        ledger::text(&self.journal, config, format, now_unix_us)
            .expect("rows of columns of a fixed number are written to memory")
    }

    /// Forgets the journal, and what caches, queues and faults remember.
    pub fn reset(&mut self) {
        self.state.clear();
        self.journal.clear();
        self.places.clear();
    }
}

/// Performs a script at its planned moments.
fn perform(script: Script, arrival: Arrival, hang_up: Option<HangUp>, config: &Config) -> Answer {
    let Script {
        status,
        headers,
        frames,
        ending,
        truth,
    } = script;
    let (mut bytes, frames) = frames.into_reel();
    let mut books = Books::new(arrival, frames, status, truth, config);
    let has_head =
        !matches!(ending, Ending::Unanswered { .. }) && hang_up != Some(HangUp::AfterFrames(0));
    let mut written = Vec::new();
    if has_head {
        books.note_head();
        let mut at = Duration::ZERO;
        while let Some(frame) = books.rest().first().copied()
            && !hang_up.is_some_and(|hang_up| hang_up.is_now(written.len(), &books))
        {
            // Frames are played in order: one with an earlier time than its predecessor waits for it.
            at = at.max(frame.at);
            books.note_written(at);
            written.push((at, bytes.split_to(frame.length())));
        }
    }
    // Whoever has all of an answer that ends well may go: nothing is left that it could miss.
    let is_whole = has_head && books.rest().is_empty() && ending == Ending::Clean;
    let entry = books.close(is_whole, config);
    Answer {
        status: has_head.then_some(status),
        headers: if has_head { headers } else { HeaderMap::new() },
        frames: written,
        ending,
        entry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Class, Fault, FaultKind, Wrong};

    const NOW_US: u64 = 1_700_000_000_000_000;

    const BODY: &[u8] =
        br#"{"model": "magistral-small-latest", "stream": true, "max_tokens": 8, "messages":
            [{"role": "user", "content": "0123456789abcdef0123456789abcdef hello"}]}"#;

    fn simulation(change: impl FnOnce(&mut Config)) -> Simulation {
        let mut config = Config::default();
        change(&mut config);
        Simulation::new(config).expect("a valid configuration")
    }

    fn ask(upstream: &mut Simulation, unix_us: u64, hang_up: Option<HangUp>) -> Answer {
        let request = Request {
            method: &Method::POST,
            path: "/v1/chat/completions",
            headers: &HeaderMap::new(),
            body: BODY,
        };
        upstream.ask(&request, unix_us, hang_up)
    }

    #[test]
    fn who_goes_away_has_what_was_written_and_leaves_a_settled_bill() {
        for (hang_up, frames, tokens, status) in [
            (HangUp::AfterFrames(0), 0, 0, None),
            (HangUp::AfterTokenEvents(0), 0, 0, Some(StatusCode::OK)),
            (HangUp::AfterFrames(1), 1, 0, Some(StatusCode::OK)),
            (HangUp::AfterTokenEvents(3), 4, 3, Some(StatusCode::OK)),
        ] {
            let mut upstream = simulation(|config| {
                config.behaviour.cost.aborts = crate::config::Aborts::Delivered;
            });
            let answer = ask(&mut upstream, NOW_US, Some(hang_up));
            let entry = answer.entry.as_ref().expect("a completion");
            assert_eq!((answer.frames.len(), answer.status), (frames, status));
            assert_eq!((entry.token_events, entry.completed), (tokens, false));
            let input =
                rust_decimal::Decimal::new(5, 7) * rust_decimal::Decimal::from(entry.usage.input);
            let output = rust_decimal::Decimal::new(15, 7) * rust_decimal::Decimal::from(tokens);
            let charged = (input + output).normalize().to_string();
            assert_eq!(
                entry.charged.as_deref(),
                Some(charged.as_str()),
                "{hang_up:?}"
            );
        }
        let mut upstream = simulation(|_| {});
        let whole = ask(&mut upstream, NOW_US, Some(HangUp::AfterFrames(1_000)));
        assert!(whole.entry.expect("a completion").completed);
    }

    #[test]
    fn the_longest_silence_is_that_before_the_first_byte_or_between_two() {
        let silence = |hang_up: Option<HangUp>, ping_after_ms: Option<f64>| {
            let mut upstream = simulation(|config| {
                let behaviour = &mut config.behaviour;
                behaviour.timing.ttft_ms = crate::config::Distribution::Fixed(40.0);
                behaviour.timing.gap_ms = crate::config::Distribution::Fixed(1.0);
                behaviour.delivery.silence = Some(crate::config::Silence {
                    ms: 100.0,
                    before_event: 3,
                    share: 1.0,
                });
                behaviour.delivery.ping_after_ms = ping_after_ms;
            });
            let entry = ask(&mut upstream, NOW_US, hang_up).entry;
            entry.expect("a completion").silence_ns_max
        };
        assert_eq!(silence(None, None), Some(101_000_000));
        assert_eq!(silence(None, Some(30.0)), Some(30_000_000));
        let soon = Some(HangUp::AfterTokenEvents(2));
        assert_eq!(silence(soon, None), Some(20_000_000));
        assert_eq!(silence(Some(HangUp::AfterFrames(0)), None), None);
    }

    #[test]
    fn an_answer_that_breaks_off_is_no_whole_one() {
        for (kind, status) in [
            (FaultKind::Cut, Some(StatusCode::OK)),
            (FaultKind::Stall, Some(StatusCode::OK)),
            (FaultKind::ResetBeforeHeaders, None),
        ] {
            let mut upstream = simulation(|config| {
                config.behaviour.faults = vec![Fault::new(kind)];
            });
            let answer = ask(&mut upstream, NOW_US, None);
            assert_eq!(answer.status, status, "{kind:?}");
            assert_ne!(answer.ending, Ending::Clean, "{kind:?}");
            assert!(!answer.entry.expect("a completion").completed, "{kind:?}");
        }
    }

    #[test]
    fn look_up_and_ledger_know_an_answer_when_it_is_recorded() {
        let mut upstream = simulation(|config| {
            config.behaviour.cost.recorded_after_ms = 500.0;
            config.behaviour.cost.wrong = vec![Wrong {
                class: Class::LedgerDuplicate,
                when: crate::config::When::default(),
            }];
        });
        let answer = ask(&mut upstream, NOW_US, None);
        let entry = answer.entry.expect("a completion");
        let id = format!("chatcmpl-{}", entry.response_id.expect("an id"));
        let recorded = entry.recorded_unix_us.expect("a moment");
        assert_eq!(upstream.look_up(&id, recorded - 1), None);
        let known = upstream.look_up(&id, recorded).expect("known");
        let cost = entry.recorded.get("lookup").expect("recorded");
        assert!(
            known.contains(&format!("\"total_cost\":{cost},")),
            "{known}"
        );
        for format in [LedgerFormat::LiteLlm, LedgerFormat::OpenRouter] {
            let rows = |now| upstream.ledger(format, now).lines().count() - 1;
            assert_eq!((rows(recorded - 1), rows(recorded)), (0, 2));
        }
        upstream.reset();
        assert!(upstream.journal().is_empty());
        assert_eq!(upstream.look_up(&id, recorded), None);
    }

    #[test]
    fn equal_simulations_answer_alike() {
        let answers = || {
            let mut upstream = simulation(|_| {});
            [0, 5, 5].map(|ms| ask(&mut upstream, NOW_US + ms * 1_000, None))
        };
        for (one, other) in answers().iter().zip(&answers()) {
            assert_eq!(one.frames, other.frames);
            assert_eq!(one.entry, other.entry);
        }
    }
}
