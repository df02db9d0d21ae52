//! The journal of an upstream: a line a request, of which those of this run are picked out.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::StoreError;
use crate::truth::Truth;

/// The nonces of a run, of which there may be millions: 16 bytes each, sorted.
#[derive(Debug, Default)]
pub struct Nonces(Vec<u128>);

impl Nonces {
    /// Of these texts; what is not 32 hex digits is no nonce.
    pub fn new(mut nonces: Vec<u128>) -> Self {
        nonces.sort_unstable();
        Self(nonces)
    }

    /// The number that a nonce is.
    pub fn parse(text: &str) -> Option<u128> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        digits
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten()
    }

    fn contains(&self, text: &str) -> bool {
        Self::parse(text).is_some_and(|nonce| self.0.binary_search(&nonce).is_ok())
    }
}

/// What is read of a line of an upstream's journal; more may stand in it.
#[derive(Deserialize)]
struct JournalLine {
    nonce: String,
    endpoint: String,
    model: String,
    stream: bool,
    status: u16,
    received_ns: u64,
    first_write_ns: Option<u64>,
    first_token_write_ns: Option<u64>,
    #[serde(default)]
    last_token_write_ns: Option<u64>,
    #[serde(default)]
    token_writes: Option<u64>,
    #[serde(default)]
    keep_alives: Option<u64>,
    last_write_ns: Option<u64>,
    token_events: u64,
    #[serde(default)]
    usage: JournalUsage,
    cost: Option<String>,
    #[serde(default)]
    charged: Option<String>,
    #[serde(default)]
    delivered_output: Option<u64>,
    #[serde(default)]
    served_model: Option<String>,
    #[serde(default)]
    service_tier: Option<String>,
    #[serde(default)]
    silence_ns_max: Option<u64>,
    #[serde(default)]
    tools: Option<u64>,
    #[serde(default)]
    tool_choice: Option<String>,
    #[serde(default)]
    parallel_tool_calls: Option<bool>,
    tool_calls: u64,
    #[serde(default)]
    text_tokens: Option<u64>,
    #[serde(default)]
    text_tokens_after: Option<u64>,
    #[serde(default)]
    reasoning_tokens: Option<u64>,
    #[serde(default)]
    text_sha256: Option<String>,
    #[serde(default)]
    reasoning_sha256: Option<String>,
    finish: Option<String>,
    fault: Option<String>,
    completed: bool,
}

/// Token counts of a journal: the parts of the input are disjoint. What another upstream's journal
/// leaves out is unknown.
#[derive(Default, Deserialize)]
#[serde(default)]
struct JournalUsage {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_1h: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
}

impl JournalUsage {
    /// All input tokens; unknown if a part is.
    fn total_input(&self) -> Option<u64> {
        Some(
            self.input?
                .saturating_add(self.cache_read?)
                .saturating_add(self.cache_write?),
        )
    }

    /// Whether nothing was counted.
    fn is_zero(&self) -> bool {
        let counts = [self.input, self.cache_read, self.cache_write, self.output];
        counts.iter().all(|count| count.unwrap_or(0) == 0)
    }
}

/// Picks the truths about the requests in `wanted` out of a journal (JSONL) that comes in pieces,
/// and hands each on at once: a journal may be much larger than a run.
#[derive(Debug)]
pub struct JournalReader<'a, F> {
    origin: &'a str,
    wanted: &'a Nonces,
    /// The begin of a line whose end has not come yet.
    pending: Vec<u8>,
    line: usize,
    each: F,
}

impl<'a, F: FnMut(Truth) -> Result<(), StoreError>> JournalReader<'a, F> {
    /// For the journal called `origin` in errors; `each` takes the truths.
    pub const fn new(origin: &'a str, wanted: &'a Nonces, each: F) -> Self {
        Self {
            origin,
            wanted,
            pending: Vec::new(),
            line: 0,
            each,
        }
    }

    /// Takes the next piece.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = &after[1..];
            if self.pending.is_empty() {
                self.take(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.pending);
                whole.extend_from_slice(line);
                self.take(&whole)?;
            }
        }
        self.pending.extend_from_slice(rest);
        Ok(())
    }

    /// Takes the last line.
    pub fn finish(mut self) -> Result<(), StoreError> {
        let last = std::mem::take(&mut self.pending);
        self.take(&last)
    }

    fn take(&mut self, line: &[u8]) -> Result<(), StoreError> {
        self.line += 1;
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let line: JournalLine = serde_json::from_slice(line).map_err(|error| StoreError::Row {
            place: format!("{}:{}", self.origin, self.line),
            message: format!("no line of an upstream's journal: {error}"),
        })?;
        if self.wanted.contains(&line.nonce) {
            (self.each)(line.into())?;
        }
        Ok(())
    }
}

impl From<JournalLine> for Truth {
    fn from(line: JournalLine) -> Self {
        let since = |at: Option<u64>| at.map(|at| at.saturating_sub(line.received_ns));
        let usage = &line.usage;
        // Nobody counted the answer of a stub, which is neither finished nor charged; status 0 is
        // an answer whose head was not handed out, and an error if it has no tokens.
        let uncounted = usage.is_zero() && line.finish.is_none() && line.charged.is_none();
        let counted = match line.status {
            0 => !usage.is_zero(),
            200..300 => !uncounted,
            _ => false,
        };
        let count = |n: Option<u64>| n.filter(|_| counted);
        Self {
            first_write_ns: since(line.first_write_ns),
            first_token_write_ns: since(line.first_token_write_ns),
            last_token_write_ns: since(line.last_token_write_ns),
            token_writes: line.token_writes,
            keep_alives: line.keep_alives,
            last_write_ns: since(line.last_write_ns),
            input: count(usage.total_input()),
            cache_read: count(usage.cache_read),
            cache_write: count(usage.cache_write),
            cache_write_1h: count(usage.cache_write_1h),
            output: count(usage.output),
            reasoning: count(usage.reasoning),
            nonce: line.nonce,
            endpoint: line.endpoint,
            model: line.model,
            stream: line.stream,
            status: line.status,
            token_events: line.token_events,
            cost: line.cost,
            charged: line.charged,
            delivered_output: line.delivered_output.filter(|_| counted),
            served_model: line.served_model,
            service_tier: line.service_tier,
            silence_ns_max: line.silence_ns_max,
            tools: line.tools,
            tool_choice: line.tool_choice,
            parallel_tool_calls: line.parallel_tool_calls,
            tool_calls: line.tool_calls,
            text_tokens: line.text_tokens,
            text_tokens_after: line.text_tokens_after,
            reasoning_tokens: line.reasoning_tokens,
            text_sha256: line.text_sha256,
            reasoning_sha256: line.reasoning_sha256,
            finish: line.finish,
            fault: line.fault,
            completed: line.completed,
        }
    }
}

/// Reads a journal's file into `journal`, piece by piece.
pub fn read_truth_file(
    path: &Path,
    journal: &mut JournalReader<'_, impl FnMut(Truth) -> Result<(), StoreError>>,
) -> Result<(), StoreError> {
    let failed = |error: io::Error| StoreError::read(path, &error);
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    loop {
        let piece = file.fill_buf().map_err(failed)?;
        if piece.is_empty() {
            return Ok(());
        }
        let read = piece.len();
        journal.push(piece)?;
        file.consume(read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A nonce of this digit.
    fn nonce(digit: char) -> String {
        digit.to_string().repeat(32)
    }

    fn wanted(digits: &str) -> Nonces {
        let parse = |digit| Nonces::parse(&nonce(digit)).expect("32 digits");
        Nonces::new(digits.chars().map(parse).collect())
    }

    /// Truths of one line about nonce `1`, with `more` among its members.
    fn truths(more: &str) -> Vec<Truth> {
        let line = format!(
            r#"{{"seq":1,"nonce":"{}","endpoint":"openai","model":"m","stream":true,"status":200,"received_ns":5,
            "first_write_ns":7,"token_events":2,"usage":{{"input":3,"cache_read":1,"cache_write":0,"output":2,"reasoning":1}},
            "tool_calls":0,{more}"finish":"stop","completed":true}}"#,
            nonce('1')
        )
        .replace('\n', "");
        read("j", line.as_bytes(), &wanted("1"), 1_000).expect("a journal's line")
    }

    /// The truths of `journal`, read in pieces of this size.
    fn read(
        origin: &str,
        journal: &[u8],
        wanted: &Nonces,
        piece: usize,
    ) -> Result<Vec<Truth>, StoreError> {
        let mut truths = Vec::new();
        let mut reader = JournalReader::new(origin, wanted, |truth| {
            truths.push(truth);
            Ok(())
        });
        journal
            .chunks(piece)
            .try_for_each(|bytes| reader.push(bytes))?;
        reader.finish()?;
        Ok(truths)
    }

    #[test]
    fn a_journal_in_pieces_is_the_journal() {
        let line = |digit: char| {
            format!(
                r#"{{"nonce":"{}","endpoint":"openai","model":"m","stream":true,"status":200,"received_ns":5,"token_events":2,"usage":{{"input":3,"cache_read":0,"cache_write":0,"output":2,"reasoning":0}},"tool_calls":0,"completed":true}}"#,
                nonce(digit)
            )
        };
        let wanted = wanted("ca");
        let journal = format!("{}\n\n{}\n{}", line('a'), line('b'), line('c'));
        let whole = read("j", journal.as_bytes(), &wanted, journal.len()).expect("valid");
        assert_eq!(
            whole.iter().map(|t| t.nonce.as_str()).collect::<Vec<_>>(),
            [nonce('a'), nonce('c')]
        );
        for piece in 1..journal.len() {
            assert_eq!(
                read("j", journal.as_bytes(), &wanted, piece).expect("valid"),
                whole
            );
        }
        let broken = journal.replacen(&format!("\"{}\"", nonce('b')), "7", 1);
        let error = read("j", broken.as_bytes(), &wanted, 10)
            .expect_err("no string")
            .to_string();
        assert!(error.contains("j:3"), "{error}");
    }

    #[test]
    fn what_a_journal_leaves_out_is_unknown() {
        let truth = |status: u16, more: &str| {
            let line = format!(
                r#"{{"nonce":"{}","endpoint":"openai","model":"m","stream":true,"status":{status},"received_ns":5,"token_events":2,"tool_calls":0,{more}"completed":true}}"#,
                nonce('1')
            );
            let truths = read("j", line.as_bytes(), &wanted("1"), 1_000);
            truths.expect("a journal's line").remove(0)
        };
        let bare = truth(200, "");
        assert_eq!((bare.input, bare.output), (None, None));
        let parts = truth(200, r#""usage":{"input":3,"output":2},"#);
        assert_eq!((parts.input, parts.output), (None, Some(2)));

        let zero = r#""usage":{"input":0,"cache_read":0,"cache_write":0,"output":0,"reasoning":0}"#;
        let full = r#""usage":{"input":3,"cache_read":1,"cache_write":2,"cache_write_1h":2,"output":5,"reasoning":4}"#;
        let stub = truth(200, &format!("{zero},"));
        assert_eq!(stub.output, None, "nobody counted it");
        let empty = truth(200, &format!(r#"{zero},"charged":"0","#));
        assert_eq!(empty.output, Some(0), "this one was");
        for status in [302, 400, 500] {
            assert_eq!(truth(status, &format!("{full},")).output, None, "{status}");
        }
        assert_eq!(truth(0, &format!("{zero},")).output, None);
        let hung_up = truth(
            0,
            &format!(
                r#"{full},"charged":"0.5","delivered_output":2,"served_model":"n","service_tier":"flex","#
            ),
        );
        assert_eq!((hung_up.input, hung_up.output), (Some(6), Some(5)));
        assert_eq!(hung_up.cache_write_1h, Some(2));
        assert_eq!(hung_up.delivered_output, Some(2));
        let said = [hung_up.charged, hung_up.served_model, hung_up.service_tier];
        assert_eq!(
            said.each_ref().map(Option::as_deref),
            [Some("0.5"), Some("n"), Some("flex")]
        );
    }

    #[test]
    fn what_a_journal_says_of_tools_tokens_and_silences_is_read() {
        let more = r#""silence_ns_max":40,"tools":2,"tool_choice":"required","parallel_tool_calls":false,"text_tokens":0,"reasoning_tokens":7,"#;
        let [said] = &truths(more)[..] else {
            panic!("one truth");
        };
        assert_eq!(said.silence_ns_max, Some(40));
        assert_eq!(
            (said.tools, said.tool_choice.as_deref()),
            (Some(2), Some("required"))
        );
        assert_eq!(said.parallel_tool_calls, Some(false));
        assert_eq!(
            (said.text_tokens, said.reasoning_tokens),
            (Some(0), Some(7))
        );
        let [silent] = &truths("")[..] else {
            panic!("one truth");
        };
        assert_eq!(silent.silence_ns_max, None);
        assert_eq!((silent.tools, silent.parallel_tool_calls), (None, None));
        assert_eq!((silent.text_tokens, silent.reasoning_tokens), (None, None));
    }

    #[test]
    fn digests_are_read_and_older_journals_have_none() {
        let [with] = &truths(r#""text_sha256":"a0","reasoning_sha256":null,"#)[..] else {
            panic!("one truth");
        };
        assert_eq!(with.text_sha256.as_deref(), Some("a0"));
        assert_eq!((with.input, with.first_write_ns), (Some(4), Some(2)));
        let [without] = &truths("")[..] else {
            panic!("one truth");
        };
        let forgotten = Truth {
            text_sha256: None,
            ..with.clone()
        };
        assert_eq!(*without, forgotten);

        // The same for the rows of earlier runs.
        let mut file = csv::Writer::from_writer(Vec::new());
        file.serialize(with).expect("a row");
        let text = String::from_utf8(file.into_inner().expect("in memory")).expect("UTF-8");
        let older = text
            .replace("text_sha256,reasoning_sha256,", "")
            .replace("a0,,", "");
        let read = |text: &str| -> Truth {
            let mut rows = csv::Reader::from_reader(text.as_bytes());
            rows.deserialize().next().expect("a row").expect("a truth")
        };
        assert_eq!(read(&text), *with);
        assert_eq!(read(&older), forgotten, "{older}");
    }
}
