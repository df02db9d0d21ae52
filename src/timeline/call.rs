//! A tool call on its way: its arguments, and the moment at which they are complete.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::marks::CallMarks;
use crate::prompt::{Call, Toolbox};
use crate::record::{CallRecord, Record};
use crate::seed;
use crate::time::Offset;

/// A tool call on its way.
#[derive(Debug, Default)]
pub(super) struct CallState {
    pub id: String,
    pub name: String,
    pub announced: Option<Offset>,
    arguments: String,
    scan: ObjectScan,
    complete: Option<Offset>,
}

impl CallState {
    /// A fragment of the arguments arrived.
    pub fn push(&mut self, fragment: &str, at: Offset) {
        self.arguments.push_str(fragment);
        self.scan.push(fragment);
        // A later fragment takes back what looked complete.
        self.complete = self.scan.is_complete().then_some(at);
    }

    /// What came of the arguments is void; how many characters that was.
    pub fn clear(&mut self) -> u64 {
        let characters = self.arguments.chars().count();
        self.arguments.clear();
        self.scan = ObjectScan::default();
        self.complete = None;
        characters as u64
    }

    /// The protocol says that the call is complete: a call without arguments is, from here on.
    pub fn close(&mut self, at: Offset) {
        if self.arguments.is_empty() && self.complete.is_none() {
            self.complete = Some(at);
        }
    }

    /// The call itself, as the next turn's request repeats it.
    pub fn call(&self) -> Call {
        Call {
            id: self.id.clone(),
            name: self.name.clone(),
            arguments: self.arguments.clone(),
        }
    }

    /// The call's row, once its request is over.
    pub fn finish(
        self,
        index: u32,
        record: &Record,
        offered: &Toolbox,
        streamed: bool,
    ) -> CallRecord {
        // No arguments at all is how a tool without parameters is called.
        let text = match self.arguments.as_str() {
            "" => "{}",
            text => text,
        };
        let value: Option<Value> = serde_json::from_str(text).ok();
        let object = value.as_ref().filter(|value| value.is_object());
        let marks = CallMarks::new(&record.trace_id, index);
        let valid_json = object.is_some();
        CallRecord {
            trace_id: record.trace_id.clone(),
            attempt: record.attempt,
            phase: record.phase,
            endpoint: record.endpoint,
            outcome: record.outcome,
            sent_ns: record.sent,
            turn: record.turn,
            in_flight: record.in_flight,
            index,
            id: self.id,
            offered: offered.has(&self.name),
            argument_bytes: self.arguments.len() as u64,
            valid_json,
            arguments_sha256: digest(&self.arguments),
            schema_valid: Some(object.is_some_and(|value| offered.fits(&self.name, value))),
            value_sha256: (value.as_ref()).map(|value| digest(&marks.canonical(value))),
            marks: marks.tally(&self.arguments, value.as_ref()),
            announced_ns: self.announced,
            complete_ns: self.complete.filter(|_| valid_json && streamed),
            name: self.name,
        }
    }
}

/// The first 16 hex digits of the SHA-256 of a text.
fn digest(text: &str) -> String {
    seed::hex(&Sha256::digest(text)[..8])
}

/// Finds the end of a JSON object in text that comes in pieces, looking at each byte once.
#[derive(Debug, Default)]
struct ObjectScan {
    depth: u32,
    in_string: bool,
    escaped: bool,
    state: Object,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Object {
    #[default]
    Before,
    Inside,
    Complete,
    Broken,
}

impl ObjectScan {
    fn push(&mut self, fragment: &str) {
        for byte in fragment.bytes() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match (&self.state, byte) {
                (Object::Before, b'{') => (self.state, self.depth) = (Object::Inside, 1),
                (Object::Inside, b'"') => self.in_string = true,
                (Object::Inside, b'{' | b'[') => self.depth += 1,
                (Object::Inside, b'}' | b']') => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.state = Object::Complete;
                    }
                }
                (Object::Inside, _) | (_, b' ' | b'\t' | b'\n' | b'\r') => {}
                _ => self.state = Object::Broken,
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.state == Object::Complete
    }
}
