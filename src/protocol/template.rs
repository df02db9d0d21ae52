//! Reading an event like the one before it without parsing it.
//!
//! The events of a stream mostly repeat each other to the byte, except for the string that holds
//! the next piece of text. A [`Template`] is an event that was parsed and turned out to be such a
//! piece and nothing else, with holes where the string stood and where values stood that the
//! protocol's reader does not look at (`created`, the padding of `obfuscation`). An event with
//! other strings in the holes, and otherwise the same bytes, has the same JSON structure; what is
//! remembered of the response is the same too, because whatever is parsed replaces the template.
//! So it says the same, with its own text, and needs no parser.
//!
//! This knows no keys, so it holds for every gateway's dialect; what does not fit is parsed. The
//! conditions that this rests on:
//!
//! - the parsed event was one [`Event::Text`], [`Event::Reasoning`] or [`Event::Arguments`], and
//!   changed nothing that later events are read by (the caller sees to it);
//! - no cost surface may be in it. Its fixed bytes have no escapes, so that a key of a surface
//!   would stand there as it is written, and no text in a hole makes a key;
//! - readers make no difference between two texts, except for empty ones, which do not fit.

use std::ops::Range;

use crate::event::Event;

/// Longest event that is learned: what providers send for a token is a tenth of it, and each
/// stream keeps one.
const MAX_LEARNED_BYTES: usize = 4 << 10;

/// An event to compare others with. Empty at first.
#[derive(Debug, Default)]
pub(super) struct Template {
    event: Vec<u8>,
    data: Vec<u8>,
    /// In the order of their places. Without any, nothing is learned.
    holes: Vec<Hole>,
    said: Said,
    /// The text of an event that has escapes.
    text: String,
    /// How many events fitted.
    #[cfg(test)]
    pub hits: u64,
}

/// What the text of an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Said {
    #[default]
    Text,
    Reasoning,
    /// Of the call with this index.
    Arguments(u32),
}

/// A place in the data whose bytes may differ.
#[derive(Clone, Debug)]
struct Hole {
    /// Of a string, what is between the quotes.
    span: Range<usize>,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// The string that is said.
    Said,
    /// A string that no reader looks at.
    Text,
    /// A whole number that no reader looks at.
    Digits,
}

/// What an event that was parsed said, as far as that can be learned.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Seen {
    #[default]
    Nothing,
    /// One text, by address and length.
    One(Said, usize, usize),
    /// Something that has to be parsed.
    Other,
}

impl Seen {
    /// Takes note of one thing that the event said.
    pub fn see(&mut self, event: &Event<'_>) {
        let one = |said, text: &str| Self::One(said, text.as_ptr().addr(), text.len());
        *self = match (&self, event) {
            (Self::Nothing, Event::Text(text)) => one(Said::Text, text),
            (Self::Nothing, Event::Reasoning(text)) => one(Said::Reasoning, text),
            (Self::Nothing, Event::Arguments { index, fragment }) => {
                one(Said::Arguments(*index), fragment)
            }
            _ => Self::Other,
        };
    }
}

impl Template {
    /// What an event says, if it differs from the learned one in the holes alone.
    pub fn read<'a>(&'a mut self, event: &[u8], data: &'a [u8]) -> Option<(Said, &'a str)> {
        // Two empty slices must not be compared: their pointers lead nowhere, and glibc's `memcmp`
        // with AVX-512 loads from there all the same, behind a mask. That took 70 ns an event.
        if event.len() != self.event.len() || !event.is_empty() && event != self.event {
            return None;
        }
        let mut said = None;
        let mut rest = data;
        let mut fixed = 0;
        for hole in &self.holes {
            rest = rest.strip_prefix(&self.data[fixed..hole.span.start])?;
            fixed = hole.span.end;
            rest = match hole.value {
                Value::Said => match plain(rest)? {
                    (text, after @ [b'"', ..]) => {
                        said = Some(Ok(text));
                        after
                    }
                    _ => {
                        said = Some(Err(()));
                        unescape(rest, &mut self.text)?
                    }
                },
                Value::Text => plain(rest)?.1,
                Value::Digits => after_digits(rest)?,
            };
        }
        if rest != &self.data[fixed..] {
            return None;
        }
        let text = said?.unwrap_or(&self.text);
        #[cfg(test)]
        {
            self.hits += u64::from(!text.is_empty());
        }
        (!text.is_empty()).then_some((self.said, text))
    }

    /// Nothing is learned any more.
    pub fn forget(&mut self) {
        self.holes.clear();
    }

    /// Learns an event whose data is one JSON object and said `seen`. `ignored` are the keys of
    /// the object whose values mean nothing.
    pub fn learn(&mut self, event: &[u8], data: &str, seen: Seen, ignored: impl Fn(&str) -> bool) {
        self.forget();
        let Seen::One(said, address, len) = seen else {
            return;
        };
        if event.len() + data.len() > MAX_LEARNED_BYTES {
            return;
        }
        // A text without escapes is borrowed from the data. Any other has one in the data, and if
        // only one string there has escapes, that is it.
        let start = address.wrapping_sub(data.as_ptr().addr());
        let borrowed = (start < data.len()).then_some(start..start + len);
        if holes(data, borrowed.as_ref(), ignored, &mut self.holes).is_none() {
            self.forget();
            return;
        }
        self.said = said;
        self.event.clear();
        self.event.extend_from_slice(event);
        self.data.clear();
        self.data.extend_from_slice(data.as_bytes());
    }
}

/// Finds the holes of a JSON object; `None` if the string that is said cannot be told, or if
/// another has escapes.
fn holes(
    data: &str,
    borrowed: Option<&Range<usize>>,
    ignored: impl Fn(&str) -> bool,
    holes: &mut Vec<Hole>,
) -> Option<()> {
    let bytes = data.as_bytes();
    let mut said = 0;
    let mut depth = 0;
    // Whether the value that follows is one of those that mean nothing.
    let mut ignore = false;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                ignore = false;
            }
            b'}' | b']' => depth -= 1,
            b'"' => {
                let (len, escapes) = literal(&bytes[at..])?;
                let span = at..at + len;
                at = span.end + 1;
                if escapes || Some(&span) == borrowed {
                    if escapes && borrowed.is_some() {
                        return None;
                    }
                    said += 1;
                    holes.push(Hole {
                        span,
                        value: Value::Said,
                    });
                } else if ignore {
                    ignore = false;
                    holes.push(Hole {
                        span,
                        value: Value::Text,
                    });
                } else if depth == 1 && data[at..].trim_ascii_start().starts_with(':') {
                    ignore = ignored(&data[span]);
                }
            }
            b'0'..=b'9' if ignore => {
                ignore = false;
                let span = at - 1..bytes.len() - after_digits(&bytes[at - 1..])?.len();
                at = span.end;
                holes.push(Hole {
                    span,
                    value: Value::Digits,
                });
            }
            b',' => ignore = false,
            _ => {}
        }
    }
    (said == 1).then_some(())
}

/// The length of a string's content, of valid JSON, and whether it has escapes.
fn literal(bytes: &[u8]) -> Option<(usize, bool)> {
    let mut at = 0;
    let mut escapes = false;
    loop {
        at += memchr::memchr2(b'"', b'\\', &bytes[at..])?;
        if bytes[at] == b'"' {
            return Some((at, escapes));
        }
        escapes = true;
        at += 2;
    }
}

/// The text up to the first quote or backslash, and the bytes from there on.
fn plain(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (text, rest) = bytes.split_at(memchr::memchr2(b'"', b'\\', bytes)?);
    let control = text.iter().any(|&byte| byte < 0x20);
    (!control).then_some(())?;
    Some((str::from_utf8(text).ok()?, rest))
}

/// Reads a string with escapes into `text`; the bytes from its closing quote on.
fn unescape<'a>(mut bytes: &'a [u8], text: &mut String) -> Option<&'a [u8]> {
    text.clear();
    loop {
        let (piece, rest) = plain(bytes)?;
        text.push_str(piece);
        if rest.starts_with(b"\"") {
            return Some(rest);
        }
        let (character, len) = escape(rest)?;
        text.push(character);
        bytes = &rest[len..];
    }
}

/// The character of the escape at the beginning, and the escape's length. Half a surrogate pair is
/// none.
fn escape(bytes: &[u8]) -> Option<(char, usize)> {
    let character = match bytes.get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let unit = unit(bytes)?;
            if let Some(character) = char::from_u32(u32::from(unit)) {
                return Some((character, 6));
            }
            let pair = [unit, self::unit(&bytes[6..])?];
            let character = char::decode_utf16(pair).next()?.ok()?;
            return Some((character, 12));
        }
        _ => return None,
    };
    Some((character, 2))
}

/// The code unit of the `\uXXXX` at the beginning.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.get(..6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

/// The bytes after a whole number as JSON writes it.
fn after_digits(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = bytes.split_at(end);
    (digits == b"0" || !digits.starts_with(b"0") && !digits.is_empty()).then_some(rest)
}
