//! What a client makes of an answer: its bytes through the harness's decoder into a timeline, as a run
//! reads them, and the upstream's journal through the harness's own reader. Shared by the test binaries
//! that ask a simulation.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use mock_upstream::JournalEntry;
use mock_upstream::script::Ending as MockEnding;
use mock_upstream::simulation::Answer;
use weighbridge::endpoint::Endpoint;
use weighbridge::gateway::Said;
use weighbridge::protocol::{self, Decoder, Mode, Surfaces};
use weighbridge::record::Outcome;
use weighbridge::store::{JournalReader, Nonces};
use weighbridge::surface::Surface;
use weighbridge::time::Offset;
use weighbridge::timeline::{Ending, Frame, Timeline};
use weighbridge::truth::Truth;

/// What of a request says how its answer is read.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub endpoint: Endpoint,
    pub streaming: bool,
    /// Whether a stream of chat completions was asked for its usage.
    pub usage: bool,
    pub surfaces: &'a Surfaces,
}

/// Reads an answer into a timeline, as a run does.
pub fn read(
    answer: &Answer,
    timeline: &mut Timeline,
    sent: Offset,
    asked: &Asked<'_>,
) -> (Ending, Option<(String, String)>) {
    let surfaces = asked.surfaces;
    let Some(status) = answer.status else {
        let reset = Ending::Broken(Outcome::Reset, "the connection was reset".to_owned());
        return (reset, None);
    };
    let text = |name: &str| {
        answer
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let (mode, oddity) = protocol::mode_of(text("content-type"), asked.streaming);
    let said = Said::of(&answer.headers);
    timeline.head(status.as_u16(), &said, mode == Mode::Stream);
    for surface in surfaces.iter() {
        if let Surface::Header(name) = surface
            && let Some(digits) = text(name)
        {
            timeline.header_cost(surface.to_string(), digits.trim().to_owned());
        }
    }
    let broken = match answer.ending {
        MockEnding::Clean => Ending::Complete,
        _ => Ending::Broken(Outcome::Reset, "the connection was reset".to_owned()),
    };
    if !status.is_success() {
        return (broken, Some(protocol::error_body(&answer.body())));
    }
    if let Some(oddity) = oddity {
        timeline.count_oddity(oddity);
    }
    let mut decoder = Decoder::new(asked.endpoint, mode, surfaces.clone());
    if asked.usage && asked.streaming {
        decoder = decoder.expecting_usage();
    }
    for (at, bytes) in &answer.frames {
        timeline.frame(Frame {
            at: sent + *at,
            waited: true,
            len: bytes.len(),
            in_window: true,
        });
        decoder.push(bytes, &mut |event| {
            timeline.event(&event, |at| surfaces.at(at).to_string());
        });
    }
    if broken == Ending::Complete && answer.entry.as_ref().is_none_or(|entry| entry.completed) {
        let last = answer.frames.last().map_or(Duration::ZERO, |(at, _)| *at);
        timeline.end_of_body(sent + last, true);
        decoder.finish(&mut |event| {
            timeline.event(&event, |at| surfaces.at(at).to_string());
        });
    }
    (broken, None)
}

/// A moment, in microseconds since 1970.
pub fn utc(unix_us: u64) -> Timestamp {
    Timestamp::from_microsecond(i64::try_from(unix_us).expect("this century")).expect("a moment")
}

/// What a journal says of these requests, by nonce, through the harness's own reader of journals.
pub fn truths_of<'a>(
    nonces: impl Iterator<Item = &'a str>,
    entries: impl Iterator<Item = &'a JournalEntry>,
) -> HashMap<String, Vec<Truth>> {
    let nonces = Nonces::new(nonces.filter_map(Nonces::parse).collect());
    let mut truths: HashMap<String, Vec<Truth>> = HashMap::new();
    let mut journal = JournalReader::new("journal", &nonces, |truth: Truth| {
        truths.entry(truth.nonce.clone()).or_default().push(truth);
        Ok(())
    });
    for entry in entries {
        let mut line = serde_json::to_vec(entry).expect("plain");
        line.push(b'\n');
        journal.push(&line).expect("the upstream's journal");
    }
    journal.finish().expect("nothing is left");
    truths
}
