//! The decoder of one response: frames the bytes, and hands each event of the wire to the reader
//! of its protocol.

use std::borrow::Cow;
use std::mem;
use std::sync::Arc;

use memchr::memmem::Finder;

use super::failure::{Failure, one_line};
use super::lenient::{Lenient, Object, read_repaired};
use super::template::{Said, Seen, Template};
use super::{anthropic, openai, sse};
use crate::endpoint::Endpoint;
use crate::event::{Event, FinishReason, Oddity};
use crate::surface::{Pointer, Surface};

/// Most bytes that one event of a stream, or a whole body, may have: 16 MiB, which is far above
/// the longest answer of any model. A longer one is [`Event::Malformed`], and nothing after it is
/// read.
pub const MAX_EVENT_BYTES: usize = 16 << 20;

/// Most calls of one response, and most blocks open at once: far above what providers allow, and
/// few enough to be searched one by one.
pub(super) const MAX_CALLS: usize = 1024;

/// Most bytes of arguments that the calls of one response may have, together: as many as they
/// could have in one event.
const MAX_ARGUMENT_BYTES: usize = MAX_EVENT_BYTES;

/// How much of a stream's body is kept while no event came, to say what it is instead.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Where the reader of a protocol puts what it reads.
pub(super) type Sink<'s> = dyn FnMut(Event<'_>) + 's;

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Server-sent events.
    Stream,
    /// One JSON document.
    Whole,
}

/// How to read a body of this content type, and whether that is odd: the type is neither of the
/// two, or not the one that was asked for. An unknown type is read as what was asked for.
pub fn mode_of(content_type: Option<&str>, asked_stream: bool) -> (Mode, Option<Oddity>) {
    let asked = if asked_stream {
        Mode::Stream
    } else {
        Mode::Whole
    };
    let essence = content_type.and_then(|text| text.split(';').next());
    let told = match essence.map(str::trim_ascii) {
        Some(text) if text.eq_ignore_ascii_case("text/event-stream") => Some(Mode::Stream),
        Some(text) if text.eq_ignore_ascii_case("application/json") => Some(Mode::Whole),
        _ => None,
    };
    let odd = (told != Some(asked)).then_some(Oddity::ContentType);
    (told.unwrap_or(asked), odd)
}

/// Decodes one response body: bytes in, events out.
///
/// How the bytes are cut makes no difference to the events. Every event of the wire ends with
/// [`Event::EndOfChunk`]; a whole body is one, and is read at [`Decoder::finish`]. Within an event
/// of the wire the order is: `Opened`, `Reasoning`, `Text`, `Call` and its `Arguments`, `Usage`,
/// `Error`, `Finish`, `Cost`, `Terminator`; an oddity stands before what it is about, and lists of
/// content keep their own order. A body that is an error has no `Terminator`.
///
/// ```
/// use weighbridge::endpoint::Endpoint;
/// use weighbridge::event::Event;
/// use weighbridge::protocol::{Decoder, Mode, Surfaces};
///
/// let mut text = String::new();
/// let mut sink = |event: Event<'_>| {
///     if let Event::Text(piece) = event {
///         text.push_str(piece);
///     }
/// };
/// let mut decoder = Decoder::new(Endpoint::OpenAi, Mode::Stream, Surfaces::new(&[]));
/// decoder.push(b"data: {\"choices\":[{\"delta\":{\"con", &mut sink);
/// decoder.push(b"tent\":\"Hi\"}}]}\n\ndata: [DONE]\n\n", &mut sink);
/// decoder.finish(&mut sink);
/// assert_eq!(text, "Hi");
/// ```
#[derive(Debug)]
pub struct Decoder {
    input: Input,
    reader: Reader,
}

#[derive(Debug)]
enum Input {
    Stream {
        parser: sse::Parser,
        /// The body's first bytes, while no event came.
        head: Vec<u8>,
    },
    Whole {
        body: Vec<u8>,
        limit: usize,
    },
    /// The body ended, or is not worth reading on.
    Over,
}

/// What lies behind the framing.
#[derive(Debug)]
struct Reader {
    protocol: Protocol,
    surfaces: Surfaces,
    /// The last event, if others may be like it. Only tests do without.
    template: Option<Template>,
    progress: Progress,
    /// Events of the wire so far.
    events: u64,
    /// Comment lines so far.
    comments: u64,
}

#[derive(Debug)]
enum Protocol {
    OpenAi(openai::State),
    Anthropic(anthropic::State),
}

/// Where in a response an event of the wire stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Whether the protocol's end came before it.
    pub terminated: bool,
    /// Whether the end of the body cut it off.
    pub cut: bool,
}

impl Decoder {
    /// A decoder of one body. `Event::Cost` names surfaces by their position in `surfaces`, of
    /// which it reads those that the mode can have; headers are not its business.
    pub fn new(endpoint: Endpoint, mode: Mode, surfaces: Surfaces) -> Self {
        Self::with_limit(endpoint, mode, surfaces, MAX_EVENT_BYTES)
    }

    pub(super) fn with_limit(
        endpoint: Endpoint,
        mode: Mode,
        surfaces: Surfaces,
        limit: usize,
    ) -> Self {
        Self {
            input: match mode {
                Mode::Stream => Input::Stream {
                    parser: sse::Parser::new(limit),
                    head: Vec::new(),
                },
                Mode::Whole => Input::Whole {
                    body: Vec::new(),
                    limit,
                },
            },
            reader: Reader {
                protocol: match endpoint {
                    Endpoint::OpenAi => Protocol::OpenAi(openai::State::default()),
                    Endpoint::Anthropic => Protocol::Anthropic(anthropic::State::default()),
                },
                surfaces,
                template: Some(Template::default()),
                progress: Progress::default(),
                events: 0,
                comments: 0,
            },
        }
    }

    /// The same decoder, of a stream that was asked for token counts
    /// (`stream_options.include_usage`): that they never come is then a departure. Anthropic's
    /// streams and whole bodies always have them.
    #[must_use]
    pub fn expecting_usage(mut self) -> Self {
        if let Protocol::OpenAi(state) = &mut self.reader.protocol {
            state.expect_usage();
        }
        self
    }

    /// The same decoder, which parses every event.
    #[cfg(test)]
    pub(super) fn parsing_all(mut self) -> Self {
        self.reader.template = None;
        self
    }

    /// How many events were read without parsing them.
    #[cfg(test)]
    pub(super) fn template_hits(&self) -> u64 {
        self.reader.template.as_ref().map_or(0, |t| t.hits)
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, bytes: &[u8], sink: &mut impl FnMut(Event<'_>)) {
        let reader = &mut self.reader;
        let fits = match &mut self.input {
            Input::Over => true,
            Input::Stream { parser, head } => {
                let fits = parser
                    .push(bytes, |frame| reader.frame(frame, sink))
                    .is_ok();
                reader.comments = parser.comments();
                if reader.events > 0 {
                    *head = Vec::new();
                } else {
                    let room = MAX_HEAD_BYTES - head.len();
                    head.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                fits
            }
            Input::Whole { body, limit } => {
                let fits = body.len() + bytes.len() <= *limit;
                if fits {
                    body.extend_from_slice(bytes);
                }
                fits
            }
        };
        if !fits {
            self.input = Input::Over;
            sink(Event::Malformed("longer than an event or a body may be"));
            sink(Event::EndOfChunk);
        }
    }

    /// Comment lines of the stream so far: keep-alives, mostly.
    pub fn comments(&self) -> u64 {
        self.reader.comments
    }

    /// The body ended. Later calls do nothing.
    pub fn finish(&mut self, sink: &mut impl FnMut(Event<'_>)) {
        let reader = &mut self.reader;
        match mem::replace(&mut self.input, Input::Over) {
            Input::Over => {}
            Input::Stream { mut parser, head } => {
                parser.finish(|frame| reader.frame(frame, sink));
                // Comments alone are a stream that was cut; other lines are no stream.
                if reader.events == 0 && parser.foreign_lines() > 0 {
                    reader.no_stream(&head, sink);
                    sink(Event::EndOfChunk);
                }
            }
            Input::Whole { body, .. } => {
                reader.body(&body, sink);
                sink(Event::EndOfChunk);
            }
        }
    }
}

impl Reader {
    fn frame(&mut self, frame: sse::Frame<'_>, sink: &mut Sink<'_>) {
        self.events += 1;
        match &mut self.template {
            Some(template) if frame.terminated => match template.read(frame.event, frame.data) {
                Some((said, text)) => self.protocol.say(said, text, sink),
                None => self.parse_and_learn(frame, sink),
            },
            _ => {
                self.parse(frame, sink);
            }
        }
        sink(Event::EndOfChunk);
    }

    /// Parses an event, and makes it the template if others may be like it.
    fn parse_and_learn(&mut self, frame: sse::Frame<'_>, sink: &mut Sink<'_>) {
        let held = self.protocol.held();
        let mut seen = Seen::default();
        let may_have_cost = self.parse(frame, &mut |event| {
            seen.see(&event);
            sink(event);
        });
        let Some(template) = &mut self.template else {
            return;
        };
        match str::from_utf8(frame.data) {
            Ok(data) if !may_have_cost && self.protocol.held() == held => {
                template.learn(frame.event, data, seen, |key| self.protocol.ignores(key));
            }
            _ => template.forget(),
        }
    }

    /// Reads an event; whether a cost surface may be in it.
    fn parse(&mut self, frame: sse::Frame<'_>, sink: &mut Sink<'_>) -> bool {
        self.progress.cut = !frame.terminated;
        let event = String::from_utf8_lossy(frame.event);
        let data = utf8(frame.data, sink);
        if self.progress.cut {
            sink(Event::Oddity(Oddity::UnterminatedEvent));
        }
        let ended = self.event(&event, data.trim_ascii(), sink);
        let may_have_cost = self.costs(&data, Mode::Stream, sink);
        if ended {
            self.progress.terminated = true;
            sink(Event::Terminator);
        }
        may_have_cost
    }

    fn event(&mut self, event: &str, data: &str, sink: &mut Sink<'_>) -> bool {
        if data.is_empty() {
            sink(Event::Oddity(Oddity::UnknownEvent));
            return false;
        }
        let progress = self.progress;
        match &mut self.protocol {
            Protocol::OpenAi(state) => state.chunk(event, data, progress, sink),
            Protocol::Anthropic(state) => state.event(event, data, progress, sink),
        }
    }

    fn body(&mut self, body: &[u8], sink: &mut Sink<'_>) {
        let body = body.strip_prefix(sse::BOM).unwrap_or(body);
        if body.trim_ascii().is_empty() {
            sink(Event::Malformed("an empty body"));
            return;
        }
        let data = utf8(body, sink);
        let complete = match &mut self.protocol {
            Protocol::OpenAi(state) => state.body(&data, sink),
            Protocol::Anthropic(state) => state.body(&data, sink),
        };
        self.costs(&data, Mode::Whole, sink);
        if complete {
            sink(Event::Terminator);
        }
    }

    /// A body without a single event, though a stream was expected.
    fn no_stream(&self, head: &[u8], sink: &mut Sink<'_>) {
        let text = String::from_utf8_lossy(head);
        // Some gateways send comments to keep the connection alive before they fail.
        let comments = text
            .split_inclusive('\n')
            .take_while(|line| line.starts_with(':') || line.trim().is_empty())
            .map(str::len)
            .sum::<usize>();
        let text = &text[comments..];
        let endpoint = match self.protocol {
            Protocol::OpenAi(_) => Endpoint::OpenAi,
            Protocol::Anthropic(_) => Endpoint::Anthropic,
        };
        match Failure::in_json(text) {
            Some(failure) => report_failure(&failure, endpoint, sink),
            None => sink(Event::Malformed(&format!(
                "no event stream: {}",
                one_line(text)
            ))),
        }
    }

    /// Reports costs; whether a surface may be in the text at all.
    fn costs(&self, data: &str, mode: Mode, sink: &mut Sink<'_>) -> bool {
        let mut may_have_cost = false;
        for (at, (surface, needle)) in self.surfaces.0.iter().enumerate() {
            let Some(pointer) = pointer(surface, mode) else {
                continue;
            };
            let may_hold = needle
                .as_ref()
                .is_none_or(|needle| needle.find(data.as_bytes()).is_some());
            may_have_cost |= may_hold;
            if may_hold && let Some(digits) = pointer.digits(data) {
                sink(Event::Cost {
                    surface: at,
                    digits,
                });
            }
        }
        may_have_cost
    }
}

impl Protocol {
    /// Bytes that earlier events left in memory for later ones to be read by. An event that says
    /// no more than a text leaves nothing if this stays.
    fn held(&self) -> usize {
        match self {
            Self::OpenAi(state) => state.held(),
            Self::Anthropic(state) => state.held(),
        }
    }

    /// Whether the value of this key of an event's object means nothing.
    fn ignores(&self, key: &str) -> bool {
        let known = match self {
            Self::OpenAi(_) => openai::State::KEYS,
            Self::Anthropic(_) => anthropic::State::KEYS,
        };
        !known.contains(&key)
    }

    /// Reports what an event said that is like one which was parsed.
    fn say(&mut self, said: Said, text: &str, sink: &mut Sink<'_>) {
        match said {
            Said::Text => sink(Event::Text(text)),
            Said::Reasoning => sink(Event::Reasoning(text)),
            Said::Arguments(index) => match self {
                Self::OpenAi(state) => state.arguments.say(index, text, sink),
                Self::Anthropic(state) => state.arguments.say(index, text, sink),
            },
        }
    }
}

/// The arguments of all calls of a response, which whoever puts them together has to hold.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    bytes: usize,
}

impl Arguments {
    /// Reports a fragment, if it is not empty and the response may have so many.
    pub fn say(&mut self, index: u32, fragment: &str, sink: &mut Sink<'_>) {
        if fragment.is_empty() {
            return;
        }
        if self.bytes + fragment.len() > MAX_ARGUMENT_BYTES {
            sink(Event::Malformed("more arguments than a response may have"));
            return;
        }
        self.bytes += fragment.len();
        sink(Event::Arguments { index, fragment });
    }
}

/// Parses the JSON object of an event or body; what is none is reported.
pub(super) fn parse<'a, T: Lenient<'a>>(
    data: &'a str,
    spare: &'a mut String,
    progress: Progress,
    sink: &mut Sink<'_>,
) -> Option<T> {
    match read_repaired::<Object<T>>(data, spare) {
        Some((Object(Some(value)), repaired)) => {
            if repaired {
                sink(Event::Oddity(Oddity::InvalidUtf8));
            }
            Some(value)
        }
        _ if progress.terminated => {
            sink(Event::Oddity(Oddity::AfterTerminator));
            None
        }
        // That it is half an event was said, and why is the connection's business.
        _ if progress.cut => None,
        _ => {
            let what = format!("not a JSON object: {}", one_line(data));
            sink(Event::Malformed(&what));
            None
        }
    }
}

/// Reports an error, and whether it has the shape that the endpoint's errors have.
pub(super) fn report_failure(failure: &Failure, endpoint: Endpoint, sink: &mut Sink<'_>) {
    if failure.is_foreign_to(endpoint) {
        sink(Event::Oddity(Oddity::FlatError));
    }
    sink(Event::Error {
        kind: &failure.kind,
        message: &failure.message,
    });
}

/// Reports why the model stopped, if that was said.
pub(super) fn report_finish(raw: &str, sink: &mut Sink<'_>) -> Option<FinishReason> {
    if raw.is_empty() {
        return None;
    }
    let reason = FinishReason::of(raw);
    sink(Event::Finish { reason, raw });
    Some(reason)
}

/// Reports a piece of text or reasoning, if it is not empty.
pub(super) fn say<'t>(event: fn(&'t str) -> Event<'t>, text: &'t str, sink: &mut Sink<'_>) {
    if !text.is_empty() {
        sink(event(text));
    }
}

fn utf8<'a>(bytes: &'a [u8], sink: &mut Sink<'_>) -> Cow<'a, str> {
    let text = String::from_utf8_lossy(bytes);
    if let Cow::Owned(_) = text {
        sink(Event::Oddity(Oddity::InvalidUtf8));
    }
    text
}

/// The pointer of a surface that a body of this mode can have.
fn pointer(surface: &Surface, mode: Mode) -> Option<&Pointer> {
    match (surface, mode) {
        (Surface::Stream(pointer), Mode::Stream) | (Surface::Body(pointer), Mode::Whole) => {
            Some(pointer)
        }
        _ => None,
    }
}

/// Cost surfaces, ready to be looked for: made once for all the decoders of a run.
#[derive(Clone, Debug)]
pub struct Surfaces(Arc<[(Surface, Option<Finder<'static>>)]>);

impl Surfaces {
    /// Surfaces, in the order by which `Event::Cost` names them.
    pub fn new(surfaces: &[Surface]) -> Self {
        let ready = |surface: &Surface| (surface.clone(), needle(surface));
        Self(surfaces.iter().map(ready).collect())
    }

    /// They themselves, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Surface> {
        self.0.iter().map(|(surface, _)| surface)
    }

    /// The one at this position.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn at(&self, position: usize) -> &Surface {
        &self.0[position].0
    }
}

/// The key that must stand in a text where the surface's pointer leads somewhere, as it is usually
/// written. `None` for keys that may be array positions, or that JSON may write in several ways.
fn needle(surface: &Surface) -> Option<Finder<'static>> {
    let (Surface::Stream(pointer) | Surface::Body(pointer)) = surface else {
        return None;
    };
    let key = pointer.last_segment();
    let plain = key
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-. ".contains(&b));
    let position = key.bytes().all(|b| b.is_ascii_digit());
    (plain && !position).then(|| Finder::new(&format!("\"{key}\"")).into_owned())
}
