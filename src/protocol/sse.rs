//! Server-sent events (the WHATWG rules): bytes in, events out, in whatever pieces they come.
//!
//! An event that lies inside one read is handed on without a copy; only what a read leaves
//! unfinished is buffered. Bytes stay bytes: a character may be split across reads, so UTF-8 is
//! the business of whoever sees the whole event. One leniency: where the standard discards an
//! event that the end of the stream cuts off, [`Parser::finish`] hands it on, marked.
//! `id` and `retry` serve reconnecting, which a measurement must not do, and are ignored.

use std::mem;

/// The byte order mark that may stand, once, before everything else.
pub(super) const BOM: &[u8] = b"\xEF\xBB\xBF";

/// One dispatched event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// The last `event:` line; empty if there was none.
    pub event: &'a [u8],
    /// The `data:` lines, joined by line feeds.
    pub data: &'a [u8],
    /// Whether the blank line that ends an event came.
    pub terminated: bool,
}

/// A line or an event is above the limit; everything after it is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overlong;

/// The incremental parser.
#[derive(Debug)]
pub(super) struct Parser {
    /// Most bytes that one event may have.
    limit: usize,
    /// Whether the stream's first bytes, which may be a BOM, are still awaited.
    at_start: bool,
    /// Whether the last byte was a CR, whose LF may be the next one.
    after_cr: bool,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// Data lines of an unfinished event, joined.
    data: Vec<u8>,
    /// Lines that `data` holds; one empty line is not none.
    data_lines: u64,
    /// Event type of an unfinished event.
    event: Vec<u8>,
    /// Comment lines so far.
    comments: u64,
    /// Lines so far that are no field of the format.
    foreign_lines: u64,
    /// Whether the limit was exceeded.
    overlong: bool,
}

/// The part of an unfinished event that still lies in the caller's bytes.
#[derive(Default)]
struct Pending<'b> {
    data: Option<&'b [u8]>,
    event: Option<&'b [u8]>,
}

impl Parser {
    /// A parser of one stream, whose events have at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            at_start: true,
            after_cr: false,
            line: Vec::new(),
            data: Vec::new(),
            data_lines: 0,
            event: Vec::new(),
            comments: 0,
            foreign_lines: 0,
            overlong: false,
        }
    }

    /// Comment lines so far: keep-alives, mostly.
    pub fn comments(&self) -> u64 {
        self.comments
    }

    /// Lines so far whose field name the format does not know: a body of another kind has them.
    pub fn foreign_lines(&self) -> u64 {
        self.foreign_lines
    }

    /// Takes the next bytes. The error comes once, after the events before it.
    pub fn push(&mut self, bytes: &[u8], mut sink: impl FnMut(Frame<'_>)) -> Result<(), Overlong> {
        if self.overlong {
            return Ok(());
        }
        let Some(mut rest) = self.without_bom(bytes) else {
            return Ok(());
        };
        let mut pending = Pending::default();
        loop {
            if self.after_cr && !rest.is_empty() {
                self.after_cr = false;
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else {
                break;
            };
            let line = &rest[..end];
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if self.line.is_empty() {
                self.bound(line.len(), &pending)?;
                self.take_line(line, &mut pending, &mut sink);
            } else {
                // Only a read's first line can be carried over, so nothing else is pending.
                self.bound(self.line.len() + line.len(), &pending)?;
                self.line.extend_from_slice(line);
                self.take_carried_line(&mut sink);
            }
        }
        self.bound(self.line.len() + rest.len(), &pending)?;
        self.line.extend_from_slice(rest);
        self.keep(&pending);
        Ok(())
    }

    /// The stream ended: hands on what it cut off, if that holds data.
    pub fn finish(&mut self, mut sink: impl FnMut(Frame<'_>)) {
        if self.overlong {
            return;
        }
        if !self.line.is_empty() {
            self.take_carried_line(&mut sink);
        }
        self.dispatch(&mut Pending::default(), false, &mut sink);
    }

    /// The bytes after a leading BOM; `None` while they may still be the beginning of one.
    fn without_bom<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        if !self.at_start {
            return Some(bytes);
        }
        // `line` holds the part of a BOM that came with earlier reads.
        let missing = &BOM[self.line.len()..];
        if bytes.len() < missing.len() && missing.starts_with(bytes) {
            self.line.extend_from_slice(bytes);
            return None;
        }
        self.at_start = false;
        match bytes.strip_prefix(missing) {
            Some(rest) => {
                self.line.clear();
                Some(rest)
            }
            None => Some(bytes),
        }
    }

    fn bound(&mut self, line_len: usize, pending: &Pending<'_>) -> Result<(), Overlong> {
        let held = self.data.len() + pending.data.map_or(0, <[u8]>::len);
        if held + line_len <= self.limit {
            return Ok(());
        }
        self.overlong = true;
        self.line = Vec::new();
        self.data = Vec::new();
        Err(Overlong)
    }

    fn take_carried_line(&mut self, sink: &mut impl FnMut(Frame<'_>)) {
        let mut line = mem::take(&mut self.line);
        let mut pending = Pending::default();
        self.take_line(&line, &mut pending, sink);
        self.keep(&pending);
        line.clear();
        self.line = line;
    }

    fn take_line<'b>(
        &mut self,
        line: &'b [u8],
        pending: &mut Pending<'b>,
        sink: &mut impl FnMut(Frame<'_>),
    ) {
        if line.is_empty() {
            self.dispatch(pending, true, sink);
            return;
        }
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" if self.data_lines > 0 || pending.data.is_some() => {
                self.keep_data(pending.data.take());
                self.keep_data(Some(value));
            }
            b"data" => pending.data = Some(value),
            b"event" => pending.event = Some(value),
            b"id" | b"retry" => {}
            b"" => self.comments += 1,
            _ => self.foreign_lines += 1,
        }
    }

    fn dispatch(
        &mut self,
        pending: &mut Pending<'_>,
        terminated: bool,
        sink: &mut impl FnMut(Frame<'_>),
    ) {
        let event = pending.event.take().unwrap_or(&self.event);
        let data = match pending.data.take() {
            Some(data) => Some(data),
            None => (self.data_lines > 0).then_some(&self.data[..]),
        };
        if let Some(data) = data {
            sink(Frame {
                event,
                data,
                terminated,
            });
        }
        self.data.clear();
        self.data_lines = 0;
        self.event.clear();
    }

    /// Copies what a read leaves unfinished.
    fn keep(&mut self, pending: &Pending<'_>) {
        self.keep_data(pending.data);
        if let Some(event) = pending.event {
            self.event.clear();
            self.event.extend_from_slice(event);
        }
    }

    fn keep_data(&mut self, line: Option<&[u8]>) {
        if let Some(line) = line {
            if self.data_lines > 0 {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(line);
            self.data_lines += 1;
        }
    }
}
