//! The inputs of a run: a scenario and the files that it names.

use std::fs;
use std::path::{Path, PathBuf};

use mock_upstream::config::Config;
use serde::Deserialize;
use serde_json::Value;

use super::StoreError;
use super::ledger::{LedgerFile, check_ledger};
use crate::billing::prices::PriceTable;
use crate::prompt::Tool;
use crate::scenario::{LedgerSource, Scenario, ScenarioError, ToolDefinition};
use crate::schedule::Replay;
use crate::verdict::Limit;
use crate::workload::Given;

/// The scenario that runs when none is named.
const DEFAULT_SCENARIO: &str = include_str!("../../scenarios/magistral-small.toml");

/// Its name in errors.
const DEFAULT_ORIGIN: &str = "the embedded magistral-small.toml";

/// Everything that is read before a run.
#[derive(Clone, Debug)]
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
    /// The file that the tools stand in.
    pub tools_bytes: Option<Vec<u8>>,
    /// How the offline upstream behaves, where a file says it, and that file.
    pub upstream: Option<(Box<Config>, Vec<u8>)>,
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
    let mut scenario = Scenario::parse(&origin, &text, overrides)?;
    let problem = |key: &str, message: String| -> ScenarioError {
        Scenario::problem(&origin, &text, overrides, key, message)
    };
    let named = |key: &str, name: &str| {
        let path = folder.join(name);
        fs::read(&path).map_err(|error| problem(key, StoreError::read(&path, &error).to_string()))
    };
    let tools_bytes = match &scenario.workload.tools_file {
        Some(name) => {
            let key = "workload.tools.file";
            let bytes = named(key, name)?;
            let tools = read_tools(&bytes).map_err(|error| {
                let path = folder.join(name);
                problem(key, format!("{}: {error}", path.display()))
            })?;
            scenario = Scenario::parse_with_tools(&origin, &text, overrides, &tools)?;
            Some(bytes)
        }
        None => None,
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
    check_ledger_file(&scenario, &folder, &problem)?;
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
    let upstream = match &scenario.target.offline.config {
        Some(name) => {
            let bytes = named("offline.config", name)?;
            let config = read_upstream(&folder.join(name), &bytes)?;
            Some((Box::new(config), bytes))
        }
        None => None,
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
        tools_bytes,
        upstream,
        ca_pem,
        folder,
    })
}

/// A ledger that stands in a file must be one before the run.
fn check_ledger_file(
    scenario: &Scenario,
    folder: &Path,
    problem: &impl Fn(&str, String) -> ScenarioError,
) -> Result<(), StoreError> {
    let Some(ledger) = &scenario.pricing.ledger else {
        return Ok(());
    };
    let LedgerSource::File(name) = &ledger.source else {
        return Ok(());
    };
    let path = folder.join(name);
    let file = LedgerFile {
        path: &path,
        name: &path.display().to_string(),
        format: ledger.format,
        columns: ledger.columns.as_ref(),
    };
    check_ledger(file).map_err(|error| {
        let message = format!(
            "{error}; a ledger that comes after the run is joined by `weighbridge report DIR --ledger FILE`"
        );
        problem("pricing.ledger.source", message)
    })?;
    Ok(())
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

/// The bytes of a file that the user names.
pub fn read_file(path: &Path) -> Result<Vec<u8>, StoreError> {
    fs::read(path).map_err(|error| StoreError::read(path, &error))
}

/// Writes a file that the user names, in place of what it held.
pub fn write_file(path: &Path, text: &str) -> Result<(), StoreError> {
    fs::write(path, text).map_err(|error| StoreError::write(path, &error))
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

fn read_upstream(path: &Path, bytes: &[u8]) -> Result<Config, StoreError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| StoreError::Read(path.to_owned(), format!("is no text: {error}")))?;
    Ok(Config::from_toml(text, &path.display().to_string())?)
}

impl Inputs {
    /// The same files with another scenario, which names no replay and no offline upstream.
    pub fn with_scenario(&self, origin: &str, text: &str) -> Result<Self, ScenarioError> {
        let scenario = match &self.tools_bytes {
            Some(bytes) => {
                let tools = read_tools(bytes).expect("they were read when the inputs were");
                Scenario::parse_with_tools(origin, text, &[], &tools)?
            }
            None => Scenario::parse(origin, text, &[])?,
        };
        Ok(Self {
            scenario,
            replay: None,
            replay_bytes: None,
            upstream: None,
            ..self.clone()
        })
    }
}

/// The tools of a file, unchecked; or what is no tool.
fn read_tools(bytes: &[u8]) -> Result<Vec<Tool>, String> {
    let shape = "it is a list of objects with `name`, `description` and `schema`";
    let json: Value = serde_json::from_slice(bytes)
        .map_err(|error| format!("this is no JSON: {error}; {shape}"))?;
    let Value::Array(list) = json else {
        return Err(format!("this is JSON, but no list; {shape}"));
    };
    let tools = list.into_iter().zip(1..).map(|(value, n)| {
        let name = value["name"].as_str();
        let name = name.map(|name| format!(" (`{name}`)")).unwrap_or_default();
        let tool: ToolDefinition = serde_json::from_value(value)
            .map_err(|error| format!("tool {n}{name}: {error}; {shape}"))?;
        Ok(Tool {
            name: tool.name,
            description: tool.description,
            schema: tool.schema,
        })
    });
    tools.collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tools_file_that_is_no_json_says_where_and_one_that_is_no_list_says_so() {
        for (text, problem) in [
            (
                "{",
                "this is no JSON: EOF while parsing an object at line 1 column 1; it is a list of objects",
            ),
            (
                "[\n  {]",
                "this is no JSON: key must be a string at line 2 column 4; it is",
            ),
            ("{}", "this is JSON, but no list; it is a list of objects"),
            ("[{}]", "tool 1: missing field `name`"),
        ] {
            let error = read_tools(text.as_bytes()).expect_err(text);
            assert!(error.contains(problem), "{problem} in {error}");
        }
        assert_eq!(read_tools(b"[]"), Ok(Vec::new()));
    }
}
