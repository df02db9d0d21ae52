//! How the events of a stream become the bytes on the wire: one frame is one write.
//!
//! In go a stream's frames, one event each, with lines that end in LF, after a planted fault has broken them; out come
//! the frames as they are written. It is done in this order:
//!
//! 1. a *silence* moves a token event and all that follows;
//! 2. a *comment* line follows every so many token events, at the moment of the last one;
//! 3. *several events* become one write, at the moment of the last of them; comments ride along uncounted;
//! 4. *keep-alives* fill the silences between writes, the one since the receipt of the request included. They are never
//!    held for a write of several events, and there are none after the last frame: a stalled stream is silent;
//! 5. *line endings* are written, and the *byte order mark* before the first frame;
//! 6. writes are *split*, at any byte: within a UTF-8 sequence, between CR and LF. What an event means for the journal
//!    is in its last piece. Pieces that take longer than the gap to the next write delay it: moments never decrease.
//!
//! Everything but the tokens' own moments is planned here, so the player writes what it is given.

use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::config::{Delivery, Dialect, LineEnding, Split};
use crate::draw::{Draws, duration_of};
use crate::journal::Endpoint;
use crate::script::{Content, Frames};

#[cfg(test)]
mod tests;

/// The byte order mark that a decoder has to drop.
const BOM: &[u8] = "\u{feff}".as_bytes();

/// The keep-alive of `/v1/messages`.
const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// What `OpenRouter` says while its upstream is silent.
const OPENROUTER_COMMENT: &str = "OPENROUTER PROCESSING";

/// How often it says so.
const OPENROUTER_COMMENT_AFTER: Duration = Duration::from_millis(500);

/// Keep-alives in one stream, so that a slip in a unit does not fill the memory; after them silences are silent.
const KEEP_ALIVES_MAX: u32 = 10_000;

/// Writes of one stream up to which they are split, for the same reason: a write takes some 50 bytes of memory.
const SPLIT_WRITES_MAX: usize = 1_000_000;

/// The frames of a stream as they are written.
pub(super) fn deliver(
    frames: Frames,
    delivery: &Delivery,
    endpoint: Endpoint,
    dialect: Dialect,
    draws: &Draws<'_>,
) -> Frames {
    let keep_alives = KeepAlives::new(delivery, endpoint, dialect);
    if is_plain(delivery) && keep_alives.after.is_none() {
        return frames;
    }
    let silence = delivery
        .silence
        .as_ref()
        .filter(|silence| draws.happens("silence", silence.share));
    let comment = keep_alives.comment.clone();
    let mut writer = Writer {
        written: Frames::new(),
        line_ending: delivery.line_ending,
        bom: delivery.bom,
        split: delivery
            .split
            .as_ref()
            .map(|split| (split, draws.stream("split"))),
        keep_alives,
        latest: Duration::ZERO,
        bytes: Vec::new(),
    };
    let mut group = Group::default();
    let mut silent_for = Duration::ZERO;
    let mut seen = 0;
    for (frame, bytes) in frames.iter() {
        let tokens = u64::from(frame.content.token_events);
        if let Some(silence) = silence
            && (seen..seen + tokens).contains(&silence.before_event)
        {
            silent_for = duration_of(silence.ms);
        }
        group.add(frame.at + silent_for, frame.content, bytes);
        if group.events >= delivery.events_per_write {
            writer.write(&mut group);
        }
        let every = delivery.comment_every;
        if every > 0 && (seen + tokens) / every > seen / every {
            group.add_comment(frame.at + silent_for, &comment);
            if group.events == 0 {
                writer.write(&mut group);
            }
        }
        seen += tokens;
    }
    writer.write(&mut group);
    writer.written
}

/// Whether the frames stay as they are, keep-alives aside.
fn is_plain(delivery: &Delivery) -> bool {
    let Delivery {
        line_ending,
        bom,
        comment: _,
        comment_every,
        ping_after_ms: _,
        silence,
        events_per_write,
        split,
    } = delivery;
    *line_ending == LineEnding::Lf
        && !bom
        && *comment_every == 0
        && silence.is_none()
        && *events_per_write == 1
        && split.is_none()
}

/// What is said in silences, and in which.
struct KeepAlives {
    /// A comment as it is written.
    comment: Vec<u8>,
    /// What is written in a silence.
    bytes: Vec<u8>,
    /// How long a silence may be; `None` is for ever.
    after: Option<Duration>,
    /// Whether the stream begins with one, and has none from its first token on.
    opens: bool,
    /// How many there may still be.
    left: u32,
}

impl KeepAlives {
    fn new(delivery: &Delivery, endpoint: Endpoint, dialect: Dialect) -> Self {
        let is_openrouter = endpoint == Endpoint::OpenAi && dialect == Dialect::OpenRouter;
        let usual = if is_openrouter {
            OPENROUTER_COMMENT
        } else {
            "keep-alive"
        };
        let text = delivery.comment.as_deref().unwrap_or(usual);
        let comment = format!(": {text}\n\n").into_bytes();
        let by_default = is_openrouter && delivery.ping_after_ms.is_none();
        let after = delivery.ping_after_ms.map(duration_of);
        Self {
            bytes: match endpoint {
                Endpoint::OpenAi => comment.clone(),
                Endpoint::Anthropic => PING.to_vec(),
            },
            comment,
            after: if by_default {
                Some(OPENROUTER_COMMENT_AFTER)
            } else {
                after.filter(|after| !after.is_zero())
            },
            opens: by_default,
            left: KEEP_ALIVES_MAX,
        }
    }
}

/// The events of a write.
#[derive(Default)]
struct Group {
    at: Duration,
    content: Content,
    events: u64,
    bytes: Vec<u8>,
}

impl Group {
    fn add(&mut self, at: Duration, content: Content, bytes: &[u8]) {
        self.events += 1;
        self.content = self.content.and(content);
        self.add_comment(at, bytes);
    }

    fn add_comment(&mut self, at: Duration, bytes: &[u8]) {
        self.at = self.at.max(at);
        self.bytes.extend_from_slice(bytes);
    }
}

struct Writer<'a> {
    written: Frames,
    line_ending: LineEnding,
    /// Whether the mark is still to come.
    bom: bool,
    split: Option<(&'a Split, ChaCha8Rng)>,
    keep_alives: KeepAlives,
    /// The moment of the last write.
    latest: Duration,
    /// Room for a write.
    bytes: Vec<u8>,
}

impl Writer<'_> {
    /// Writes a group, after the keep-alives of the silence before it, and empties it.
    fn write(&mut self, group: &mut Group) {
        if group.bytes.is_empty() {
            return;
        }
        self.fill_silence(group.at);
        if self.keep_alives.opens {
            if self.written.is_empty() {
                self.keep_alive(group.at);
            }
            if group.content.token_events > 0 {
                self.keep_alives.after = None;
            }
        }
        self.push(group.at, group.content, &group.bytes);
        group.bytes.clear();
        (group.content, group.events) = (Content::NOTHING, 0);
    }

    fn fill_silence(&mut self, until: Duration) {
        while let Some(after) = self.keep_alives.after
            && self.latest + after < until
            && self.keep_alives.left > 0
        {
            self.keep_alives.left -= 1;
            self.keep_alive(self.latest + after);
        }
    }

    fn keep_alive(&mut self, at: Duration) {
        let bytes = std::mem::take(&mut self.keep_alives.bytes);
        self.push(at, Content::KEEP_ALIVE, &bytes);
        self.keep_alives.bytes = bytes;
    }

    /// Writes bytes with LF at `at`, or after what is written later than that.
    fn push(&mut self, at: Duration, content: Content, bytes: &[u8]) {
        self.latest = self.latest.max(at);
        self.bytes.clear();
        if std::mem::take(&mut self.bom) {
            self.bytes.extend_from_slice(BOM);
        }
        let ending: &[u8] = match self.line_ending {
            LineEnding::Lf => b"\n",
            LineEnding::Crlf => b"\r\n",
            LineEnding::Cr => b"\r",
        };
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => self.bytes.extend([line, ending].concat()),
                None => self.bytes.extend_from_slice(line),
            }
        }
        let mut rest = self.bytes.as_slice();
        if let Some((split, rng)) = &mut self.split {
            let bytes_max = usize::try_from(split.bytes_max).unwrap_or(usize::MAX);
            while self.written.len() < SPLIT_WRITES_MAX {
                let size = if split.random {
                    rng.random_range(1..=bytes_max)
                } else {
                    bytes_max
                };
                let Some((piece, after)) = rest.split_at_checked(size) else {
                    break;
                };
                if after.is_empty() {
                    break;
                }
                self.written.push(self.latest, Content::NOTHING, piece);
                self.latest += duration_of(split.gap_ms);
                rest = after;
            }
        }
        self.written.push(self.latest, content, rest);
    }
}
