//! Marks: what an upstream that names every token tells of what came of its answer.
//!
//! The first eight digits of a request's trace id are its mark. A marked answer's text is made of
//! tokens `{mark}.{i}`, its reasoning of `{mark}.r{i}`, and strings in the arguments of its call
//! `c` of `{mark}.c{c}` or, in later turns, `{mark}.t{turn}.c{c}`; tokens are numbered from 0 and
//! end in a space. So what was lost, repeated, moved or mixed up on the way is counted exactly,
//! however the text was cut into pieces. A live model's answers have no marks, and no tally.
//!
//! Names in a record's tally (absent is 0), each also with `reasoning_` for `text_`:
//!
//! | name | counts |
//! |---|---|
//! | `text` | own tokens in their place, each number once |
//! | `text_next` | the number that would come next |
//! | `text_lost` | numbers that were skipped, and came nowhere later |
//! | `text_head_lost` | the same at the very begin of text, or right after a change between text, reasoning and calls |
//! | `text_repeated` | own tokens whose number had come |
//! | `text_reordered` | own tokens whose number had been skipped |
//! | `text_foreign` | tokens with another mark |
//! | `text_unmarked` | pieces between spaces that are no token |
//! | `reasoning_in_text`, `text_in_reasoning` | own tokens in the other's place; they are not lost |
//! | `call_in_text` | pieces with a string of an own call |
//!
//! Names in a call's tally: `own` (strings of this very call), `other_call` (of another call of the
//! same answer), `foreign` (another mark).

mod call;
#[cfg(test)]
mod tests;

use std::ops::Range;

use memchr::memmem;

use crate::record::Tally;

pub(super) use call::CallMarks;

/// Digits of a mark.
const DIGITS: usize = 8;

/// What tokens may end in, beside nothing: characters of two, three and four bytes.
const UNICODE: &[u8] = "é漢🦀".as_bytes();

/// Bytes of a piece that are looked at: many times the longest token.
const PIECE_MAX: usize = 256;

/// An answer that had no mark in so many pieces has none.
const TRIAL_PIECES: u32 = 16;

/// Gaps that are remembered, so that a token that comes late is told from one that comes twice.
/// Where there are more, the oldest is forgotten.
const GAPS_MAX: usize = 64;

/// A number that leaps further is no number of a token.
const LEAP_MAX: u64 = 1_000_000;

/// What a piece is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Text,
    Reasoning,
    /// The names and arguments of calls.
    Calls,
}

/// What is known of an answer's marks.
#[derive(Debug)]
pub(super) struct Marks {
    own: [u8; DIGITS],
    state: State,
    /// Where the last piece stood.
    last: Option<Place>,
    text: Stream,
    reasoning: Stream,
    calls_in_text: u64,
}

/// Whether the answer is a marked one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not yet known, after so many pieces.
    Trial(u32),
    Marked,
    /// It is not, or there is no mark to look for.
    Off,
}

/// The text or the reasoning.
#[derive(Debug, Default)]
struct Stream {
    /// The begin of a token whose end has not come.
    piece: Vec<u8>,
    /// Whether the piece is longer than what is kept of it.
    is_long: bool,
    /// Whether this is the first token here, or the first after another place.
    is_head: bool,
    numbers: Numbers,
    foreign: u64,
    unmarked: u64,
    /// Own tokens of this stream in the place of the other.
    elsewhere: u64,
}

/// Which numbers came.
#[derive(Debug, Default)]
struct Numbers {
    seen: u64,
    next: u64,
    lost: u64,
    head_lost: u64,
    repeated: u64,
    reordered: u64,
    /// Ranges below `next` that did not come, oldest first, and whether at the head.
    gaps: Vec<(Range<u64>, bool)>,
}

/// What a piece between spaces is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Text(u64),
    Reasoning(u64),
    Foreign,
    /// Something else.
    No,
}

impl Marks {
    /// For the answer to the request of this trace id.
    pub fn new(trace_id: &str) -> Self {
        let own = trace_id.as_bytes().first_chunk::<DIGITS>();
        Self {
            own: own.copied().unwrap_or_default(),
            state: own.map_or(State::Off, |_| State::Trial(0)),
            last: None,
            text: Stream::default(),
            reasoning: Stream::default(),
            calls_in_text: 0,
        }
    }

    /// A call was announced, or a piece of its arguments came.
    pub fn call(&mut self) {
        self.last = Some(Place::Calls);
    }

    /// A piece of text or of reasoning came.
    pub fn push(&mut self, place: Place, text: &str) {
        if self.state == State::Off || text.is_empty() {
            return;
        }
        if self.last != Some(place) {
            self.last = Some(place);
            self.stream(place).is_head = true;
        }
        let mut rest = text.as_bytes();
        // A token's length is a few bytes: a plain loop is the fastest search.
        while let Some(end) = rest.iter().position(u8::is_ascii_whitespace) {
            let (piece, after) = rest.split_at(end);
            rest = &after[1..];
            let stream = self.stream(place);
            if stream.piece.is_empty() && !stream.is_long {
                self.token(place, piece, false);
                continue;
            }
            stream.hold(piece);
            let mut whole = std::mem::take(&mut stream.piece);
            let is_long = std::mem::take(&mut stream.is_long);
            self.token(place, &whole, is_long);
            whole.clear();
            // Its memory is for the next one.
            self.stream(place).piece = whole;
        }
        if self.state != State::Off {
            self.stream(place).hold(rest);
        }
    }

    /// The tally, once the answer is over. `is_whole` says that it came to its end: only then is
    /// what stands at the very end, without a space, a token.
    pub fn finish(mut self, is_whole: bool) -> Tally {
        for place in [Place::Reasoning, Place::Text] {
            let stream = self.stream(place);
            let piece = std::mem::take(&mut stream.piece);
            let is_long = stream.is_long;
            if is_whole {
                self.token(place, &piece, is_long);
            }
        }
        let mut tally = Tally::default();
        if self.state != State::Marked {
            return tally;
        }
        let streams = [("text", &self.text), ("reasoning", &self.reasoning)];
        for (name, stream) in streams {
            let numbers = &stream.numbers;
            tally.add(name, numbers.seen - stream.elsewhere);
            for (of, count) in [
                ("next", numbers.next),
                ("lost", numbers.lost),
                ("head_lost", numbers.head_lost),
                ("repeated", numbers.repeated),
                ("reordered", numbers.reordered),
                ("foreign", stream.foreign),
                ("unmarked", stream.unmarked),
            ] {
                tally.add(&format!("{name}_{of}"), count);
            }
        }
        tally.add("text_in_reasoning", self.text.elsewhere);
        tally.add("reasoning_in_text", self.reasoning.elsewhere);
        tally.add("call_in_text", self.calls_in_text);
        tally
    }

    /// `place` is not that of calls.
    fn stream(&mut self, place: Place) -> &mut Stream {
        match place {
            Place::Reasoning => &mut self.reasoning,
            Place::Text | Place::Calls => &mut self.text,
        }
    }

    /// A piece between spaces.
    fn token(&mut self, place: Place, piece: &[u8], is_long: bool) {
        if piece.is_empty() || self.state == State::Off {
            return;
        }
        let token = if is_long { Token::No } else { self.read(piece) };
        if let State::Trial(pieces) = self.state {
            let is_own = matches!(token, Token::Text(_) | Token::Reasoning(_));
            let foreign = self.text.foreign + self.reasoning.foreign;
            if is_own || token == Token::Foreign && foreign > 0 {
                self.state = State::Marked;
            } else if pieces + 1 == TRIAL_PIECES {
                self.state = State::Off;
                (self.text, self.reasoning) = Default::default();
                return;
            } else {
                self.state = State::Trial(pieces + 1);
            }
        }
        match token {
            Token::Text(number) => {
                let is_head = std::mem::take(&mut self.stream(place).is_head);
                let is_new = self.text.numbers.take(number, is_head);
                self.text.elsewhere += u64::from(is_new && place == Place::Reasoning);
            }
            Token::Reasoning(number) => {
                let is_head = std::mem::take(&mut self.stream(place).is_head);
                let is_new = self.reasoning.numbers.take(number, is_head);
                self.reasoning.elsewhere += u64::from(is_new && place != Place::Reasoning);
            }
            Token::Foreign => self.stream(place).foreign += 1,
            Token::No if place == Place::Text && self.has_call(piece) => self.calls_in_text += 1,
            Token::No => self.stream(place).unmarked += 1,
        }
    }

    fn read(&self, piece: &[u8]) -> Token {
        let token = || {
            let (mark, rest) = piece.split_first_chunk::<DIGITS>()?;
            let rest = rest.strip_prefix(b".")?;
            let (is_reasoning, rest) = match rest.strip_prefix(b"r") {
                Some(rest) => (true, rest),
                None => (false, rest),
            };
            let (number, end) = number(rest)?;
            if !(end.is_empty() || end == UNICODE) {
                return None;
            }
            if *mark != self.own {
                return is_mark(*mark).then_some(Token::Foreign);
            }
            let numbers = if is_reasoning {
                &self.reasoning.numbers
            } else {
                &self.text.numbers
            };
            (number < numbers.next.saturating_add(LEAP_MAX)).then_some(if is_reasoning {
                Token::Reasoning(number)
            } else {
                Token::Text(number)
            })
        };
        token().unwrap_or(Token::No)
    }

    /// Whether a string of an own call is in the piece.
    fn has_call(&self, piece: &[u8]) -> bool {
        memmem::find_iter(piece, &self.own).any(|at| {
            let after = &piece[at + DIGITS..];
            after.starts_with(b".c") || after.starts_with(b".t")
        })
    }
}

impl Stream {
    fn hold(&mut self, bytes: &[u8]) {
        let room = PIECE_MAX - self.piece.len();
        self.is_long |= bytes.len() > room;
        self.piece
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Numbers {
    /// A number came; whether for the first time.
    fn take(&mut self, number: u64, is_head: bool) -> bool {
        if number < self.next {
            let Some(at) = (self.gaps.iter()).position(|(gap, _)| gap.contains(&number)) else {
                self.repeated += 1;
                return false;
            };
            let (gap, at_head) = self.gaps.remove(at);
            *(if at_head {
                &mut self.head_lost
            } else {
                &mut self.lost
            }) -= 1;
            self.reordered += 1;
            for part in [gap.start..number, number + 1..gap.end] {
                if !part.is_empty() {
                    self.remember(part, at_head);
                }
            }
            self.seen += 1;
            return true;
        }
        if number > self.next {
            let lost = number - self.next;
            *(if is_head {
                &mut self.head_lost
            } else {
                &mut self.lost
            }) += lost;
            self.remember(self.next..number, is_head);
        }
        self.next = number + 1;
        self.seen += 1;
        true
    }

    fn remember(&mut self, gap: Range<u64>, at_head: bool) {
        if self.gaps.len() == GAPS_MAX {
            self.gaps.remove(0);
        }
        self.gaps.push((gap, at_head));
    }
}

/// Whether these may be the first digits of a trace id.
fn is_mark(bytes: [u8; DIGITS]) -> bool {
    bytes
        .iter()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The number at the begin, as it is written without zeros in front, and what follows it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    let (digits, rest) = bytes.split_at(digits.count());
    if digits.len() > 1 && digits[0] == b'0' || digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })?;
    Some((number, rest))
}
