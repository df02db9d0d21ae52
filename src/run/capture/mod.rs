//! Captured examples: the bytes of a few exchanges that show what a finding is about.
//!
//! A process has a few slots. A request that gets one keeps the raw bytes of its answer while they
//! arrive, up to a limit; at its end they are written if something departs in it of which its
//! endpoint has too few examples, or if it is one of the first answers of their kind. Keys are
//! taken out before. Most requests of a load get no slot, and cost nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::protocol::{Decoder, Encoded, Mode, Surfaces};
use crate::record::{CallRecord, Class, Example, OutcomeGroup, Record};

/// Exchanges whose bytes are kept at the same time.
const SLOTS: usize = 16;

/// Bytes of an answer, and of a request, that are kept.
const BYTES_MAX: usize = 64 * 1024;

/// Examples of each name at each endpoint.
const EXAMPLES: u8 = 3;

/// Answers of each endpoint, class and mode that are kept, whatever is in them: what only the
/// upstream's journal tells of them is then shown, too.
const SAMPLES: u8 = 4;

/// Names that are counted. There are fewer; a limit all the same.
const NAMES_MAX: usize = 512;

/// Marks that are no damage.
const SOUND_MARKS: [&str; 5] = ["text", "text_next", "reasoning", "reasoning_next", "own"];

/// So many bytes of a key in a row give it away; a shorter key is taken out whole.
const KEY_PART_MIN: usize = 8;

/// A shorter part of a key at the end of what is kept gives nothing away.
const KEY_BEGIN_MIN: usize = 4;

/// What stands in place of a key.
const REDACTED: &[u8] = b"[key]";

/// The slots of a process, and which examples it has.
#[derive(Debug)]
pub(super) struct Examples {
    free: Mutex<Vec<Vec<u8>>>,
    had: Mutex<Had>,
}

#[derive(Debug, Default)]
struct Had {
    names: HashMap<(Endpoint, String), u8>,
    samples: HashMap<(Endpoint, Class, bool), u8>,
}

/// A slot that is taken: what is kept of one exchange. Given back when dropped.
pub(super) struct Capture {
    examples: Arc<Examples>,
    path: &'static str,
    request: Bytes,
    content_type: Option<String>,
    answer: Vec<u8>,
    /// Bytes of the answer that found no room.
    left_out: u64,
}

impl Default for Examples {
    fn default() -> Self {
        Self {
            free: Mutex::new(vec![Vec::new(); SLOTS]),
            had: Mutex::default(),
        }
    }
}

impl Examples {
    /// A slot for this request, if one is free.
    pub fn capture(self: &Arc<Self>, request: &Encoded) -> Option<Capture> {
        let mut free = self.free.lock().expect("no one panics while holding it");
        Some(Capture {
            answer: free.pop()?,
            examples: self.clone(),
            path: request.path,
            request: request.body.clone(),
            content_type: None,
            left_out: 0,
        })
    }

    /// Whether an example of any of these names is wanted, or a sample of this answer's kind; what
    /// is wanted is then had. Returns the names of the example.
    fn want(&self, record: &Record, mut names: Vec<String>) -> Option<Vec<String>> {
        let mut had = self.had.lock().expect("no one panics while holding it");
        let mut wanted = false;
        let kind = (record.endpoint, record.class, record.streaming);
        let samples = had.samples.entry(kind).or_default();
        if *samples < SAMPLES {
            *samples += 1;
            names.push(Example::SAMPLE.to_owned());
            wanted = true;
        }
        let room = had.names.len() < NAMES_MAX;
        for name in &names {
            match had.names.entry((record.endpoint, name.clone())) {
                Entry::Occupied(mut count) if *count.get() < EXAMPLES => {
                    *count.get_mut() += 1;
                    wanted = true;
                }
                Entry::Vacant(count) if room && name != Example::SAMPLE => {
                    count.insert(1);
                    wanted = true;
                }
                _ => {}
            }
        }
        wanted.then_some(names)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let mut answer = std::mem::take(&mut self.answer);
        answer.clear();
        let free = self.examples.free.lock();
        free.expect("no one panics while holding it").push(answer);
    }
}

impl Capture {
    /// The head of the answer.
    pub fn head(&mut self, content_type: Option<&str>) {
        self.content_type = content_type.map(str::to_owned);
    }

    /// Bytes of the answer's body.
    pub fn body(&mut self, bytes: &[u8]) {
        let room = BYTES_MAX - self.answer.len();
        let (kept, left) = bytes.split_at(bytes.len().min(room));
        self.answer.extend_from_slice(kept);
        self.left_out += left.len() as u64;
    }

    /// The exchange is over: its example and the file's bytes, if one is wanted.
    pub fn end(
        self,
        record: &Record,
        calls: &[CallRecord],
        secrets: &[String],
    ) -> Option<(Example, Vec<u8>)> {
        let status = record.status?;
        let names = self.examples.want(record, departures(record, calls))?;
        let file = format!(
            "examples/{}-{}-{}-{}.http",
            record.endpoint,
            record.trace_id.get(..8).unwrap_or(&record.trace_id),
            record.turn,
            record.attempt
        );
        let mut text = Vec::new();
        let head = format!("POST {}\ncontent-type: application/json\n\n", self.path);
        text.extend_from_slice(head.as_bytes());
        let request = &self.request[..self.request.len().min(BYTES_MAX)];
        let left_out = (self.request.len() - request.len()) as u64;
        push_body(&mut text, &clean(request, secrets), left_out);
        let content_type = self.content_type.as_deref().unwrap_or("(none)");
        let content_type = clean(content_type.as_bytes(), secrets);
        text.extend_from_slice(format!("HTTP {status}\ncontent-type: ").as_bytes());
        text.extend_from_slice(&content_type);
        text.extend_from_slice(b"\n\n");
        let answer = clean(&self.answer, secrets);
        if says_a_key(&answer, record.endpoint, secrets) {
            text.extend_from_slice(
                b"[the answer repeats the key, a piece at a time: it is left out]\n",
            );
        } else {
            push_body(&mut text, &answer, self.left_out);
        }
        let example = Example {
            file,
            trace_id: record.trace_id.clone(),
            attempt: record.attempt,
            endpoint: record.endpoint,
            names,
        };
        Some((example, text))
    }
}

fn push_body(text: &mut Vec<u8>, body: &[u8], left_out: u64) {
    text.extend_from_slice(body);
    if left_out > 0 {
        text.extend_from_slice(format!("[{left_out} bytes more are left out]").as_bytes());
    }
    text.extend_from_slice(b"\n\n");
}

/// The names of what departs in an attempt.
fn departures(record: &Record, calls: &[CallRecord]) -> Vec<String> {
    let mut names: Vec<String> = record.oddities.iter().map(|(n, _)| n.clone()).collect();
    let marks = calls.iter().map(|call| &call.marks);
    for tally in std::iter::once(&record.marks).chain(marks) {
        let damaged = tally.iter().map(|(name, _)| name);
        names.extend(
            damaged
                .filter(|n| !SOUND_MARKS.contains(&n.as_str()))
                .cloned(),
        );
    }
    // What is cut off in the middle of a call is no call that is wrong.
    if record.terminator.is_some() {
        for call in calls {
            let name = if !call.offered {
                Example::NOT_OFFERED
            } else if !call.valid_json {
                Example::INVALID_JSON
            } else if call.schema_valid == Some(false) {
                Example::SCHEMA
            } else {
                continue;
            };
            names.push(name.to_owned());
        }
    }
    if record.outcome.group() == OutcomeGroup::Failed {
        names.push(record.outcome.name().to_owned());
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Bytes without keys, nor longer parts of them, as they are or as JSON writes them.
fn clean(bytes: &[u8], secrets: &[String]) -> Vec<u8> {
    let mut clean = bytes.to_vec();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        clean = without(&clean, secret.as_bytes());
        let json = serde_json::Value::from(secret.as_str()).to_string();
        let inside = json.trim_matches('"');
        for written in [inside.to_owned(), inside.replace('/', "\\/")] {
            if written != *secret {
                clean = without(&clean, written.as_bytes());
            }
        }
    }
    clean
}

/// Bytes without any run that is a part of `secret` of some length.
fn without(bytes: &[u8], secret: &[u8]) -> Vec<u8> {
    let part = secret.len().min(KEY_PART_MIN);
    let mut clean = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let longest = longest_part(&bytes[at..], secret);
        // The bytes may have been cut off in the middle of it.
        let is_cut = at + longest == bytes.len() && longest >= KEY_BEGIN_MIN;
        if longest >= part || is_cut {
            clean.extend_from_slice(REDACTED);
            at += longest;
        } else {
            clean.push(bytes[at]);
            at += 1;
        }
    }
    clean
}

/// How many bytes at the begin are a part of `secret`.
fn longest_part(bytes: &[u8], secret: &[u8]) -> usize {
    let Some(first) = bytes.first() else { return 0 };
    memchr::memchr_iter(*first, secret)
        .map(|at| {
            let pairs = bytes.iter().zip(&secret[at..]);
            pairs.take_while(|(a, b)| a == b).count()
        })
        .max()
        .unwrap_or(0)
}

/// Whether what the answer says, put together, has a key in it, which its bytes do not show.
fn says_a_key(answer: &[u8], endpoint: Endpoint, secrets: &[String]) -> bool {
    if secrets.is_empty() {
        return false;
    }
    [Mode::Stream, Mode::Whole].into_iter().any(|mode| {
        let mut said: [String; 3] = Default::default();
        let mut sink = |event: Event<'_>| match event {
            Event::Text(text) => said[0].push_str(text),
            Event::Reasoning(text) => said[1].push_str(text),
            Event::Arguments { fragment, .. } => said[2].push_str(fragment),
            _ => {}
        };
        let mut decoder = Decoder::new(endpoint, mode, Surfaces::new(&[]));
        decoder.push(answer, &mut sink);
        decoder.finish(&mut sink);
        said.iter()
            .any(|text| clean(text.as_bytes(), secrets) != text.as_bytes())
    })
}

#[cfg(test)]
mod tests;
