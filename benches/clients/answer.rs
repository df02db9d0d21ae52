//! What a bare client sees of an answer: when content came, and how often.

use std::sync::LazyLock;
use std::time::Instant;

use memchr::memmem::Finder;

/// Stands before the text of every content event; the first event's text is empty.
const NEEDLE: &[u8] = b"\"content\":\"";

/// What ends a chunked body.
const END: &[u8] = b"\r\n0\r\n\r\n";

/// One byte less than a needle and the first character of its text.
const TAIL: usize = NEEDLE.len();

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(NEEDLE));

/// The stamps of one answer.
#[derive(Debug)]
pub struct Answer {
    /// From sending to the first content.
    pub ttft_ns: u64,
    /// Content events.
    pub events: u64,
    /// Between successive content events; 0 within a piece.
    pub gaps_ns: Vec<u32>,
}

/// Takes in an answer piece by piece.
#[derive(Debug)]
pub struct Reader {
    sent: Instant,
    last: Option<Instant>,
    answer: Answer,
    tail: [u8; TAIL],
}

impl Reader {
    /// For a request that is sent now and whose answer has this many events.
    pub fn new(sent: Instant, events: u64) -> Self {
        Self {
            sent,
            last: None,
            answer: Answer {
                ttft_ns: 0,
                events: 0,
                gaps_ns: Vec::with_capacity(usize::try_from(events).unwrap_or(0)),
            },
            tail: [0; TAIL],
        }
    }

    /// Takes in the next piece, which came at `at`.
    pub fn take(&mut self, piece: &[u8], at: Instant) {
        // A piece that ends with a line holds its events whole.
        let across = if self.tail.ends_with(b"\n") {
            0
        } else {
            count_across(&self.tail, piece)
        };
        let events = across + count(piece);
        self.keep_tail(piece);
        if events == 0 {
            return;
        }
        match self.last.replace(at) {
            Some(last) => self.answer.gaps_ns.push(nanos32(last, at)),
            None => self.answer.ttft_ns = u64::from(nanos32(self.sent, at)),
        }
        self.answer
            .gaps_ns
            .extend(std::iter::repeat_n(0, events - 1));
        self.answer.events += events as u64;
    }

    /// Whether the last bytes were those that end a chunked body.
    pub fn is_over(&self) -> bool {
        self.tail.ends_with(END)
    }

    /// What was seen.
    pub fn finish(self) -> Answer {
        self.answer
    }

    fn keep_tail(&mut self, piece: &[u8]) {
        if let Some(end) = piece.last_chunk() {
            self.tail = *end;
        } else {
            self.tail.rotate_left(piece.len());
            self.tail[TAIL - piece.len()..].copy_from_slice(piece);
        }
    }
}

/// Content events that lie whole in `bytes`.
fn count(bytes: &[u8]) -> usize {
    FINDER
        .find_iter(bytes)
        .filter(|at| {
            bytes
                .get(at + NEEDLE.len())
                .is_some_and(|first| *first != b'"')
        })
        .count()
}

/// Content events that begin in `tail` and end in `piece`.
fn count_across(tail: &[u8; TAIL], piece: &[u8]) -> usize {
    let mut joined = [0; 2 * TAIL];
    joined[..TAIL].copy_from_slice(tail);
    let more = piece.len().min(TAIL);
    joined[TAIL..TAIL + more].copy_from_slice(&piece[..more]);
    count(&joined[..TAIL + more])
}

/// Nanoseconds, up to the four seconds that 32 bits hold.
fn nanos32(from: Instant, to: Instant) -> u32 {
    u32::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u32::MAX)
}
