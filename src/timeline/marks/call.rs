//! Marks in the arguments of a call, and the arguments without them.

use std::fmt::Write as _;

use serde_json::{Number, Value};

use super::{DIGITS, is_mark, number};
use crate::record::Tally;

/// Digits of the number of a call: a response may have a thousand.
const CALL_DIGITS_MAX: usize = 4;

/// Fewer digits of a mark, where a schema allows no longer text, are not told from a text.
const CUT_MARK_MIN: usize = 6;

/// Beyond this, numbers of JSON are not exact in every reader.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Reads the marks of one call's arguments.
#[derive(Clone, Copy, Debug)]
pub(in crate::timeline) struct CallMarks<'a> {
    trace_id: &'a [u8],
    /// Position of the call in its answer.
    call: u64,
}

/// A mark in a text.
struct Found {
    /// Where it ends.
    end: usize,
    is_own: bool,
    call: u64,
}

impl<'a> CallMarks<'a> {
    /// For the call at this position of the answer to the request of this trace id.
    pub fn new(trace_id: &'a str, call: u32) -> Self {
        Self {
            trace_id: trace_id.as_bytes(),
            call: u64::from(call),
        }
    }

    /// The own mark.
    fn own(&self) -> &[u8] {
        &self.trace_id[..self.trace_id.len().min(DIGITS)]
    }

    /// What the marks in the arguments say: of each string one, or, where the arguments are no
    /// JSON (`None`), of each that stands in their text.
    pub fn tally(&self, arguments: &str, value: Option<&Value>) -> Tally {
        let mut tally = Tally::default();
        match value {
            Some(value) => self.tally_value(value, &mut tally),
            None => {
                let text = arguments.as_bytes();
                let mut at = 0;
                while at < text.len() {
                    match self.at(&text[at..]) {
                        Some(found) => {
                            self.count(&found, &mut tally);
                            at += found.end;
                        }
                        None => at += 1,
                    }
                }
            }
        }
        tally
    }

    fn tally_value(&self, value: &Value, tally: &mut Tally) {
        match value {
            Value::String(text) => {
                let text = text.as_bytes();
                let found = (0..text.len()).find_map(|at| self.at(&text[at..]));
                if let Some(found) = found {
                    self.count(&found, tally);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.tally_value(item, tally)),
            Value::Object(members) => {
                for member in members.values() {
                    self.tally_value(member, tally);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn count(&self, found: &Found, tally: &mut Tally) {
        let name = match found.is_own {
            true if found.call == self.call => "own",
            true => "other_call",
            false => "foreign",
        };
        tally.add(name, 1);
    }

    /// The mark at the begin of a text. Where a schema asks for a longer text, the mark is
    /// repeated, and the digits after its last one may be those of the next.
    fn at(&self, text: &[u8]) -> Option<Found> {
        let (mark, rest) = text.split_first_chunk::<DIGITS>()?;
        if !is_mark(*mark) {
            return None;
        }
        let mut rest = rest.strip_prefix(b".")?;
        if let Some(turn) = rest.strip_prefix(b"t") {
            rest = number(turn)?.1.strip_prefix(b".")?;
        }
        let digits = rest.strip_prefix(b"c")?;
        let begin = text.len() - digits.len();
        let run = digits.iter().take_while(|b| b.is_ascii_digit()).count();
        let ends = (1..=run.min(CALL_DIGITS_MAX)).filter_map(|len| {
            let (call, _) = number(&digits[..len])?;
            let end = begin + len;
            (len == run || is_repeated(text, end)).then_some(Found {
                end,
                is_own: mark == self.own(),
                call,
            })
        });
        // Of several ways to read it, the one that is right, or else the longest.
        ends.max_by_key(|found| (found.call == self.call, found.end))
    }

    /// The arguments as a JSON value in one way of writing it: keys in order, whole numbers
    /// without a fraction, and neutral words in place of the own mark, so that equal answers to
    /// two requests are equal.
    pub fn canonical(&self, value: &Value) -> String {
        let mut out = String::new();
        self.write(value, &mut out);
        out
    }

    fn write(&self, value: &Value, out: &mut String) {
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by_key(|(name, _)| *name);
                out.push('{');
                for (at, (name, member)) in members.into_iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    push_quoted(name, out);
                    out.push(':');
                    self.write(member, out);
                }
                out.push('}');
            }
            Value::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    self.write(item, out);
                }
                out.push(']');
            }
            Value::String(text) => push_quoted(&self.neutral(text), out),
            Value::Number(number) => push_number(number, out),
            Value::Null | Value::Bool(_) => {
                let _ = write!(out, "{value}");
            }
        }
    }

    /// A string with neutral words in place of own marks, whole, repeated or cut off.
    fn neutral(&self, text: &str) -> String {
        let (bytes, own) = (text.as_bytes(), self.own());
        if (CUT_MARK_MIN..DIGITS).contains(&bytes.len()) && own.starts_with(bytes) {
            return format!("{} digits of the mark", bytes.len());
        }
        let mut neutral = String::new();
        let mut at = 0;
        while let Some(character) = text[at..].chars().next() {
            let rest = &bytes[at..];
            if let Some(found) = self.at(rest).filter(|found| found.is_own) {
                let _ = write!(neutral, "mark.c{}", found.call);
                at += found.end;
                // Where it is repeated to the end, only how far says anything.
                let (marked, more) = rest.split_at(found.end);
                if !more.is_empty() && more.iter().eq(marked.iter().cycle().take(more.len())) {
                    let _ = write!(neutral, " and {} bytes", more.len());
                    at = bytes.len();
                }
            } else if rest.starts_with(self.trace_id) {
                neutral.push_str("nonce");
                at += self.trace_id.len();
            } else if rest.starts_with(own) && rest.get(DIGITS).is_none_or(|b| *b == b'.') {
                neutral.push_str("mark");
                at += DIGITS;
            } else {
                neutral.push(character);
                at += character.len_utf8();
            }
        }
        neutral
    }
}

/// Whether what follows the mark at the begin, as far as it can be of one, repeats it.
fn is_repeated(text: &[u8], end: usize) -> bool {
    let rest = text[end..]
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b'c' | b't'));
    rest.zip(text[..end].iter().cycle()).all(|(a, b)| a == b)
}

fn push_quoted(text: &str, out: &mut String) {
    let _ = write!(out, "{}", Value::from(text));
}

/// A number: 1.0 and 1 are the same.
fn push_number(number: &Number, out: &mut String) {
    let whole = number
        .as_f64()
        .filter(|n| number.is_f64() && n.fract() == 0.0 && n.abs() < EXACT_MAX);
    let _ = match whole {
        Some(whole) => write!(out, "{whole:.0}"),
        None => write!(out, "{number}"),
    };
}
