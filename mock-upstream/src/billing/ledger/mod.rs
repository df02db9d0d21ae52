//! Ledgers after the fact: CSV made from the journal, piece by piece, in the shapes that gateways export.
//!
//! A row is there as soon as its answer is recorded. In goes the journal, and the configuration for what a bill consists
//! of; nothing else is kept.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;

use crate::config::{Class, Config};
use crate::journal::{Endpoint, JournalEntry, Lines, Pieces, Usage};
use crate::responder::{id_prefix, is_request_id};

mod focus;
mod litellm;
mod openrouter;
#[cfg(test)]
mod tests;

use focus::Buckets;

/// Who bills, in each ledger.
pub(super) const PROVIDER: &str = "mock-upstream";

/// The shape of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `LiteLLM`'s spend logs, a row for each request.
    LiteLlm,
    /// `OpenRouter`'s generations, a row for each request.
    OpenRouter,
    /// FOCUS 1.2, a row for each day, model and kind of tokens.
    Focus,
}

impl Format {
    /// The names in a query.
    pub(crate) const NAMES: [(&str, Self); 3] = [
        ("litellm", Self::LiteLlm),
        ("openrouter", Self::OpenRouter),
        ("focus", Self::Focus),
    ];

    /// The format of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.iter();
        names.find(|format| format.0 == name).map(|format| format.1)
    }

    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::LiteLlm => &litellm::COLUMNS,
            Self::OpenRouter => &openrouter::COLUMNS,
            Self::Focus => &focus::COLUMNS,
        }
    }
}

/// A ledger on its way out: what is made of a journal that is read in pieces.
#[derive(Debug)]
pub(crate) struct Ledger {
    lines: Lines,
    sheet: Sheet,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Columns,
    Rows,
    Over,
}

/// What turns entries into rows, one after the other.
#[derive(Debug)]
struct Sheet {
    config: Arc<Config>,
    format: Format,
    now_unix_us: u64,
    buckets: Buckets,
}

/// Where rows are written.
type Writer = csv::Writer<Vec<u8>>;

impl Sheet {
    fn new(config: Arc<Config>, format: Format, now_unix_us: u64) -> Self {
        Self {
            config,
            format,
            now_unix_us,
            buckets: Buckets::default(),
        }
    }

    fn begin(&self, writer: &mut Writer) -> io::Result<()> {
        writer.write_record(self.format.columns())?;
        Ok(())
    }

    fn add(&mut self, entry: &JournalEntry, writer: &mut Writer) -> io::Result<()> {
        for row in rows(entry, &self.config, self.now_unix_us) {
            match self.format {
                Format::LiteLlm => writer.write_record(litellm::record(&row))?,
                Format::OpenRouter => writer.write_record(openrouter::record(&row))?,
                Format::Focus => self.buckets.add(&row, &self.config),
            }
        }
        Ok(())
    }

    fn end(&mut self, writer: &mut Writer) -> io::Result<()> {
        self.buckets.write(writer)
    }
}

/// The whole ledger of some entries: what is recorded at `now`, in microseconds since 1970.
pub(crate) fn text<'a>(
    entries: impl IntoIterator<Item = &'a JournalEntry>,
    config: Arc<Config>,
    format: Format,
    now_unix_us: u64,
) -> io::Result<String> {
    let mut sheet = Sheet::new(config, format, now_unix_us);
    let mut writer = Writer::from_writer(Vec::new());
    sheet.begin(&mut writer)?;
    for entry in entries {
        sheet.add(entry, &mut writer)?;
    }
    sheet.end(&mut writer)?;
    let text = writer.into_inner().map_err(io::Error::other)?;
    String::from_utf8(text).map_err(io::Error::other)
}

impl Ledger {
    /// What is recorded at `now`, in microseconds since 1970.
    pub(crate) fn new(lines: Lines, config: Arc<Config>, format: Format, now_unix_us: u64) -> Self {
        Self {
            lines,
            sheet: Sheet::new(config, format, now_unix_us),
            stage: Stage::Columns,
        }
    }

    fn write_rows(&mut self, piece: &[u8], writer: &mut Writer) -> io::Result<()> {
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            let entry: JournalEntry = serde_json::from_slice(line).map_err(io::Error::other)?;
            self.sheet.add(&entry, writer)?;
        }
        Ok(())
    }

    /// The whole text.
    #[cfg(test)]
    pub(crate) fn text(mut self) -> String {
        let mut text = Vec::new();
        while let Some(piece) = self.next_piece().expect("readable") {
            text.extend(piece);
        }
        String::from_utf8(text).expect("UTF-8")
    }
}

impl Pieces for Ledger {
    fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut writer = Writer::from_writer(Vec::new());
        match self.stage {
            Stage::Columns => {
                self.sheet.begin(&mut writer)?;
                self.stage = Stage::Rows;
            }
            Stage::Rows => match self.lines.next_piece()? {
                Some(piece) => self.write_rows(&piece, &mut writer)?,
                None => {
                    self.sheet.end(&mut writer)?;
                    self.stage = Stage::Over;
                }
            },
            Stage::Over => return Ok(None),
        }
        writer.into_inner().map(Some).map_err(io::Error::other)
    }
}

/// One line of a bill.
#[derive(Debug, Clone, PartialEq)]
struct Row<'a> {
    entry: &'a JournalEntry,
    /// The answer's id, as a client sees it.
    id: String,
    /// Whether no request has it.
    is_orphan: bool,
    /// The amount's digits; empty for a model without rates.
    amount: &'a str,
    usage: Usage,
    times: Times,
}

/// When an answer was asked for, began and ended, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) start: u64,
    pub(super) first: Option<u64>,
    pub(super) end: u64,
}

/// When an answer was asked for, began and ended.
pub(super) fn when(entry: &JournalEntry) -> Times {
    let start = entry.received_unix_us;
    let after = |ns: u64| start.saturating_add(ns.saturating_sub(entry.received_ns) / 1_000);
    Times {
        start,
        first: entry.first_token_write_ns.map(after),
        end: entry.last_write_ns.map_or(start, after),
    }
}

/// The rows of an entry that are there at `now`: as many as its `ledger_rows`.
fn rows<'a>(entry: &'a JournalEntry, config: &Config, now_unix_us: u64) -> Vec<Row<'a>> {
    let is_recorded = entry.recorded_unix_us.is_some_and(|at| at <= now_unix_us);
    if !is_recorded || entry.ledger_rows == 0 {
        return Vec::new();
    }
    let planted = |class| entry.billing_faults.contains(&class);
    let mut times = when(entry);
    if planted(Class::DayBoundary) {
        times = times.on_the_next_day();
    }
    // What has rows, has an id.
    let response_id = entry.response_id.as_deref().unwrap_or_default();
    let row = Row {
        entry,
        id: client_id(entry, response_id, config),
        is_orphan: false,
        amount: entry.recorded.get("ledger").map_or("", String::as_str),
        usage: entry.billed_usage.unwrap_or(entry.usage),
        times,
    };
    let mut rows = vec![row.clone()];
    if planted(Class::LedgerDuplicate) {
        rows.push(row.clone());
    }
    if planted(Class::LedgerOrphan) {
        rows.push(Row {
            id: client_id(entry, &complement(response_id), config),
            is_orphan: true,
            ..row
        });
    }
    rows
}

impl Times {
    /// The same, from the first moment of the next day on.
    fn on_the_next_day(self) -> Self {
        let by = DAY_US - self.start % DAY_US;
        Self {
            start: self.start.saturating_add(by),
            first: self.first.map(|first| first.saturating_add(by)),
            end: self.end.saturating_add(by),
        }
    }
}

const DAY_US: u64 = 86_400_000_000;

/// An answer's id with the prefix that its client saw. A billed error stands under its request's id, which has one.
fn client_id(entry: &JournalEntry, response_id: &str, config: &Config) -> String {
    let prefix = match entry.endpoint {
        _ if is_request_id(response_id) => "",
        Endpoint::OpenAi => id_prefix(config.behaviour_of(entry.profile.as_deref()).dialect),
        Endpoint::Anthropic => "msg_",
    };
    [prefix, response_id].concat()
}

/// An id that no request has: ids end in the place of the request, and no run gets to the complement of one.
fn complement(id: &str) -> String {
    let digit = |digit: char| {
        digit
            .to_digit(16)
            .and_then(|value| char::from_digit(15 - value, 16))
    };
    id.chars().map(|old| digit(old).unwrap_or(old)).collect()
}

/// A moment in UTC; the last one that can be written for what is beyond.
pub(super) fn moment(unix_us: u64, format: &str) -> String {
    let micros = i64::try_from(unix_us).unwrap_or(i64::MAX);
    let timestamp = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
    timestamp.strftime(format).to_string()
}
