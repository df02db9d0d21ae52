//! The inputs of a run: a scenario and the files that it names.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::StoreError;
use crate::billing::prices::PriceTable;
use crate::scenario::{Scenario, ScenarioError};
use crate::schedule::Replay;
use crate::truth::Truth;
use crate::verdict::Limit;
use crate::workload::Given;

/// The scenario that runs when none is named.
const DEFAULT_SCENARIO: &str = include_str!("../../scenarios/magistral-small.toml");

/// Its name in errors.
const DEFAULT_ORIGIN: &str = "the embedded magistral-small.toml";

/// Everything that is read before a run.
#[derive(Debug)]
pub struct Inputs {
    /// The validated scenario.
    pub scenario: Scenario,
    /// The price table.
    pub prices: PriceTable,
    /// Prompts of the user's own.
    pub given: Option<Vec<Given>>,
    /// The file that they stand in.
    pub given_bytes: Option<Vec<u8>>,
    /// Due times of the user's own, at the speed of their file.
    pub replay: Option<Replay>,
    /// The file that they stand in.
    pub replay_bytes: Option<Vec<u8>>,
    /// Certificate authorities of the user's own.
    pub ca_pem: Option<Vec<u8>>,
    /// Folder that relative paths of the scenario start from.
    pub folder: PathBuf,
}

/// Reads a scenario and what it names; without a path, the embedded default.
pub fn load_inputs(
    path: Option<&Path>,
    overrides: &[(String, String)],
) -> Result<Inputs, StoreError> {
    let (origin, text) = match path {
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| StoreError::read(path, &error))?;
            (path.display().to_string(), text)
        }
        None => (DEFAULT_ORIGIN.to_owned(), DEFAULT_SCENARIO.to_owned()),
    };
    let folder = path
        .and_then(Path::parent)
        .unwrap_or(Path::new(""))
        .to_owned();
    let scenario = Scenario::parse(&origin, &text, overrides)?;
    let problem = |key: &str, message: String| -> ScenarioError {
        Scenario::problem(&origin, &text, overrides, key, message)
    };
    let named = |key: &str, name: &str| {
        let path = folder.join(name);
        fs::read(&path).map_err(|error| problem(key, StoreError::read(&path, &error).to_string()))
    };

    let prices = match PriceTable::builtin(&scenario.pricing.table) {
        Some(table) => table,
        None if scenario.pricing.table.starts_with("builtin:") => {
            let message = format!(
                "there is no `{}`; there is `builtin:keeprouter`, or name a CSV file",
                scenario.pricing.table
            );
            return Err(problem("pricing.table", message).into());
        }
        None => {
            let bytes = named("pricing.table", &scenario.pricing.table)?;
            PriceTable::read(
                &folder.join(&scenario.pricing.table).display().to_string(),
                bytes,
            )?
        }
    };
    check_prices(&scenario, &prices, &problem)?;
    let (given, given_bytes) = match &scenario.workload.prompts {
        Some(name) => {
            let bytes = named("workload.prompts", name)?;
            (Some(read_prompts(&folder.join(name), &bytes)?), Some(bytes))
        }
        None => (None, None),
    };
    let (replay, replay_bytes) = match scenario.load.replay() {
        Some(file) => {
            let bytes = named("load.replay", &file.path)?;
            let name = folder.join(&file.path).display().to_string();
            (Some(Replay::read(&name, &bytes)?), Some(bytes))
        }
        None => (None, None),
    };
    let ca_pem = match &scenario.target.ca_file {
        Some(name) => Some(named("target.ca_file", name)?),
        None => None,
    };
    Ok(Inputs {
        scenario,
        prices,
        given,
        given_bytes,
        replay,
        replay_bytes,
        ca_pem,
        folder,
    })
}

/// A budget and the gates on costs need a price for each model, in their currency.
fn check_prices(
    scenario: &Scenario,
    prices: &PriceTable,
    problem: &impl Fn(&str, String) -> ScenarioError,
) -> Result<(), StoreError> {
    let cost_gate = scenario
        .gates
        .iter()
        .position(crate::verdict::Gate::is_about_cost);
    let asked_by = match (&scenario.pricing.budget, cost_gate) {
        (Some(_), _) => Some("the budget".to_owned()),
        (None, Some(n)) => Some(format!("the gate `{}`", scenario.gates[n])),
        (None, None) => None,
    };
    if let Some(asked_by) = asked_by {
        for model in &scenario.target.models {
            if !prices.knows(model) {
                let hint = prices
                    .nearest(model)
                    .map(|m| format!(", did you mean `{m}`?"))
                    .unwrap_or_default();
                let message = format!(
                    "`{model}` has no price in {}{hint}; {asked_by} needs one: add a row for it; the table has {}",
                    prices.name(),
                    prices.models().join(", ")
                );
                let key = if scenario.file.target.model.is_some() {
                    "target.model"
                } else {
                    "target.models"
                };
                return Err(problem(key, message).into());
            }
        }
    }
    let currency = prices.currency();
    if let Some((_, budget)) = &scenario.pricing.budget
        && *budget != currency
    {
        return Err(problem(
            "pricing.budget",
            format!("is in {budget}, but {} is in {currency}", prices.name()),
        )
        .into());
    }
    for (n, gate) in scenario.gates.iter().enumerate() {
        if let Limit::Money(_, gated) = &gate.limit
            && *gated != currency
        {
            let message = format!(
                "`{gate}`: is in {gated}, but {} is in {currency}",
                prices.name()
            );
            return Err(problem(&format!("gates[{n}]"), message).into());
        }
    }
    Ok(())
}

/// A price table from a file or the built-in ones.
pub fn read_prices(name: &str) -> Result<PriceTable, StoreError> {
    if let Some(table) = PriceTable::builtin(name) {
        return Ok(table);
    }
    let path = Path::new(name);
    let bytes = fs::read(path).map_err(|error| StoreError::read(path, &error))?;
    Ok(PriceTable::read(name, bytes)?)
}

/// A line of a prompt file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PromptLine {
    prompt: String,
    system: Option<String>,
    max_output_tokens: Option<u64>,
}

fn read_prompts(path: &Path, bytes: &[u8]) -> Result<Vec<Given>, StoreError> {
    let mut list = Vec::new();
    for (n, line) in bytes.split(|&b| b == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let row = |message: String| StoreError::Row {
            place: format!("{}:{}", path.display(), n + 1),
            message,
        };
        let line: PromptLine = serde_json::from_slice(line).map_err(|error| {
            row(format!("{error}; a line is an object with `prompt` and, if wanted, `system` and `max_output_tokens`"))
        })?;
        if line.prompt.trim().is_empty() {
            return Err(row("`prompt` is empty".to_owned()));
        }
        if line.max_output_tokens == Some(0) {
            return Err(row("`max_output_tokens` must be at least 1".to_owned()));
        }
        list.push(Given {
            system: line.system,
            user: line.prompt,
            max_output_tokens: line.max_output_tokens,
        });
    }
    if list.is_empty() {
        return Err(StoreError::Read(
            path.to_owned(),
            "holds no prompt".to_owned(),
        ));
    }
    Ok(list)
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
    last_write_ns: Option<u64>,
    token_events: u64,
    usage: JournalUsage,
    cost: Option<String>,
    tool_calls: u64,
    #[serde(default)]
    text_sha256: Option<String>,
    #[serde(default)]
    reasoning_sha256: Option<String>,
    finish: Option<String>,
    fault: Option<String>,
    completed: bool,
}

/// Token counts of a journal: the parts of the input are disjoint.
#[derive(Deserialize)]
struct JournalUsage {
    input: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
    reasoning: u64,
}

/// Picks the truths about the requests in `wanted` out of a journal (JSONL) that comes in pieces:
/// a journal may be much larger than a run.
#[derive(Debug)]
pub struct JournalReader<'a> {
    origin: &'a str,
    wanted: &'a BTreeSet<String>,
    /// The begin of a line whose end has not come yet.
    pending: Vec<u8>,
    line: usize,
    truths: Vec<Truth>,
}

impl<'a> JournalReader<'a> {
    /// For the journal called `origin` in errors.
    pub const fn new(origin: &'a str, wanted: &'a BTreeSet<String>) -> Self {
        Self {
            origin,
            wanted,
            pending: Vec::new(),
            line: 0,
            truths: Vec::new(),
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

    /// The truths that were found.
    pub fn finish(mut self) -> Result<Vec<Truth>, StoreError> {
        let last = std::mem::take(&mut self.pending);
        self.take(&last)?;
        Ok(self.truths)
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
            self.truths.push(line.into());
        }
        Ok(())
    }
}

impl From<JournalLine> for Truth {
    fn from(line: JournalLine) -> Self {
        let since = |at: Option<u64>| at.map(|at| at.saturating_sub(line.received_ns));
        let usage = &line.usage;
        let completion = line.status < 300;
        let count = |n: u64| completion.then_some(n);
        let input = usage
            .input
            .saturating_add(usage.cache_read)
            .saturating_add(usage.cache_write);
        Self {
            first_write_ns: since(line.first_write_ns),
            first_token_write_ns: since(line.first_token_write_ns),
            last_write_ns: since(line.last_write_ns),
            input: count(input),
            cache_read: count(usage.cache_read),
            cache_write: count(usage.cache_write),
            output: count(usage.output),
            reasoning: count(usage.reasoning),
            nonce: line.nonce,
            endpoint: line.endpoint,
            model: line.model,
            stream: line.stream,
            status: line.status,
            token_events: line.token_events,
            cost: line.cost,
            tool_calls: line.tool_calls,
            text_sha256: line.text_sha256,
            reasoning_sha256: line.reasoning_sha256,
            finish: line.finish,
            fault: line.fault,
            completed: line.completed,
        }
    }
}

/// Reads a journal's file into `journal`, piece by piece.
pub fn read_truth_file(path: &Path, journal: &mut JournalReader<'_>) -> Result<(), StoreError> {
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

    /// Truths of one line about nonce `n`, with `more` among its members.
    fn truths(more: &str) -> Vec<Truth> {
        let line = format!(
            r#"{{"seq":1,"nonce":"n","endpoint":"openai","model":"m","stream":true,"status":200,"received_ns":5,
            "first_write_ns":7,"token_events":2,"usage":{{"input":3,"cache_read":1,"cache_write":0,"output":2,"reasoning":1}},
            "tool_calls":0,{more}"finish":"stop","completed":true}}"#
        )
        .replace('\n', "");
        let wanted = BTreeSet::from(["n".to_owned()]);
        read("j", line.as_bytes(), &wanted, 1_000).expect("a journal's line")
    }

    /// The truths of `journal`, read in pieces of this size.
    fn read(
        origin: &str,
        journal: &[u8],
        wanted: &BTreeSet<String>,
        piece: usize,
    ) -> Result<Vec<Truth>, StoreError> {
        let mut reader = JournalReader::new(origin, wanted);
        journal
            .chunks(piece)
            .try_for_each(|bytes| reader.push(bytes))?;
        reader.finish()
    }

    #[test]
    fn a_journal_in_pieces_is_the_journal() {
        let line = |nonce: &str| {
            format!(
                r#"{{"nonce":"{nonce}","endpoint":"openai","model":"m","stream":true,"status":200,"received_ns":5,"token_events":2,"usage":{{"input":3,"cache_read":0,"cache_write":0,"output":2,"reasoning":0}},"tool_calls":0,"completed":true}}"#
            )
        };
        let wanted = BTreeSet::from(["a".to_owned(), "c".to_owned()]);
        let journal = format!("{}\n\n{}\n{}", line("a"), line("b"), line("c"));
        let whole = read("j", journal.as_bytes(), &wanted, journal.len()).expect("valid");
        assert_eq!(
            whole.iter().map(|t| t.nonce.as_str()).collect::<Vec<_>>(),
            ["a", "c"]
        );
        for piece in 1..journal.len() {
            assert_eq!(
                read("j", journal.as_bytes(), &wanted, piece).expect("valid"),
                whole
            );
        }
        let broken = journal.replacen("\"nonce\":\"b\"", "\"nonce\":7", 1);
        let error = read("j", broken.as_bytes(), &wanted, 10)
            .expect_err("no string")
            .to_string();
        assert!(error.contains("j:3"), "{error}");
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
