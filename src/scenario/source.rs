//! The text of a scenario and the overrides on top: from both, one `File`, and for each key the
//! place where it was set.

use std::fmt;
use std::ops::Range;

use serde::Deserialize as _;
use toml_edit::{Document, Item, TableLike};

use super::file::File;
use crate::suggest;

/// Everything that is wrong with a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// Each problem; not empty.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong: where, which key, what, and the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `file:line`, or the override.
    pub place: String,
    /// The key, dotted; empty for what has none.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl std::error::Error for ScenarioError {}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (
            n,
            Problem {
                place,
                key,
                message,
            },
        ) in self.problems.iter().enumerate()
        {
            let line_break = if n > 0 { "\n" } else { "" };
            let separator = if key.is_empty() { "" } else { ": " };
            write!(f, "{line_break}{place}: {key}{separator}{message}")?;
        }
        Ok(())
    }
}

/// A scenario's text and overrides, read into a [`File`].
#[derive(Debug)]
pub(super) struct Source<'a> {
    origin: &'a str,
    document: Document<&'a str>,
    overrides: &'a [(String, String)],
    /// What was read.
    pub file: File,
}

impl<'a> Source<'a> {
    /// Reads `text`, named `origin` in errors, and then lays each (dotted key, value) over it.
    pub fn read(
        origin: &'a str,
        text: &'a str,
        overrides: &'a [(String, String)],
    ) -> Result<Self, ScenarioError> {
        let document = Document::parse(text).map_err(|error| {
            let line = error.span().map(|span| line_of(text, span.start));
            one(
                place(origin, line),
                String::new(),
                first_line(error.message()),
            )
        })?;
        // The file by itself first: its errors have lines.
        let mut file: File = toml::from_str(text).map_err(|error| {
            let offset = error.span().map(|span| span.start);
            let key = offset
                .map(|at| key_at(document.as_table(), at))
                .unwrap_or_default();
            let line = offset.map(|at| line_of(text, at));
            one(place(origin, line), key, explain(error.message()))
        })?;
        if !overrides.is_empty() {
            let mut table: toml::Table =
                toml::from_str(text).expect("it was read as a File just now");
            for (key, value) in overrides {
                let problem = |message: String| one(set(key, value), key.clone(), message);
                let typed = toml_value(value);
                lay_over(&mut table, key, typed.clone()).map_err(problem)?;
                file = match (File::deserialize(table.clone()), typed) {
                    (Ok(file), _) => file,
                    (Err(error), Some(toml::Value::String(_)) | None) => {
                        return Err(problem(explain(error.message())));
                    }
                    // `target.http=2` means the text "2": where a text is wanted, take it as one.
                    (Err(error), Some(_)) => {
                        let text = toml::Value::String(value.clone());
                        lay_over(&mut table, key, Some(text)).map_err(problem)?;
                        File::deserialize(table.clone())
                            .map_err(|_| problem(explain(error.message())))?
                    }
                };
            }
        }
        Ok(Self {
            origin,
            document,
            overrides,
            file,
        })
    }

    /// The names that were set in this table, by the file or by overrides.
    pub fn keys_of(&self, table: &str) -> Vec<String> {
        let in_file = self.document.get(table).and_then(Item::as_table_like);
        let mut keys: Vec<String> = in_file
            .into_iter()
            .flat_map(TableLike::iter)
            .map(|(key, _)| key.to_owned())
            .collect();
        for (key, value) in self.overrides {
            let Some(name) = key.strip_prefix(table).and_then(|k| k.strip_prefix('.')) else {
                continue;
            };
            keys.retain(|known| known != name);
            if !value.is_empty() {
                keys.push(name.to_owned());
            }
        }
        keys
    }

    /// The problem of `key`, placed where the key was set: an override, a line of the file, or
    /// the table that it is missing from.
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        // `gates[2]` is set where `gates` is, and `load.stages[0].to` where `load.stages` is.
        let path = key.split('[').next().unwrap_or(key);
        let set_by = |(k, _): &&(String, String)| path == k || path.starts_with(&format!("{k}."));
        let place = match self.overrides.iter().rev().find(set_by) {
            Some((k, value)) => set(k, value),
            None => place(self.origin, self.line(key)),
        };
        Problem {
            place,
            key: key.to_owned(),
            message: message.into(),
        }
    }

    /// The line of `key`, or of the deepest table above it that is in the file.
    fn line(&self, key: &str) -> Option<usize> {
        let text = self.document.raw();
        let mut table: &dyn TableLike = self.document.as_table();
        let mut offset = None;
        for segment in key.split('.') {
            let (name, index) = match segment.split_once('[') {
                Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
                None => (segment, None),
            };
            let Some((found, item)) = table.get_key_value(name) else {
                break;
            };
            offset = found
                .span()
                .or_else(|| item.span())
                .map(|span| span.start)
                .or(offset);
            let inner = match index {
                None => item.as_table_like(),
                Some(index) => {
                    let (span, inner) = element(item, index);
                    offset = span.map(|span| span.start).or(offset);
                    inner
                }
            };
            match inner {
                Some(inner) => table = inner,
                None => break,
            }
        }
        offset.map(|at| line_of(text, at))
    }
}

/// Where element `index` of an array or of an array of tables stands, and the element if it is a
/// table.
fn element(item: &Item, index: usize) -> (Option<Range<usize>>, Option<&dyn TableLike>) {
    if let Some(table) = item.as_array_of_tables().and_then(|list| list.get(index)) {
        return (table.span(), Some(table));
    }
    match item.as_array().and_then(|list| list.get(index)) {
        Some(value) => (
            value.span(),
            value.as_inline_table().map(|table| table as &dyn TableLike),
        ),
        None => (None, None),
    }
}

fn one(place: String, key: String, message: String) -> ScenarioError {
    ScenarioError {
        problems: vec![Problem {
            place,
            key,
            message,
        }],
    }
}

fn place(origin: &str, line: Option<usize>) -> String {
    line.map_or_else(|| origin.to_owned(), |line| format!("{origin}:{line}"))
}

/// An override as it was written, without the value where that may be a key in the wrong place:
/// errors end up in logs.
fn set(key: &str, value: &str) -> String {
    let delicate = [
        "target.api_key_env",
        "target.base_url",
        "target.truth",
        "pricing.recorded",
        "pricing.ledger.source",
    ]
    .contains(&key)
        || key.starts_with("target.headers.");
    let value = if delicate { "..." } else { value };
    format!("--set {key}={value}")
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&b| b == b'\n').count() + 1
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// The dotted key whose name or value stands at `offset`.
fn key_at(table: &dyn TableLike, offset: usize) -> String {
    fn walk(table: &dyn TableLike, offset: usize, path: &mut Vec<String>) -> bool {
        for (name, item) in table.iter() {
            path.push(name.to_owned());
            let key = table.get_key_value(name).and_then(|(key, _)| key.span());
            if key.is_some_and(|span| span.contains(&offset)) {
                return true;
            }
            if item
                .as_table_like()
                .is_some_and(|inner| walk(inner, offset, path))
            {
                return true;
            }
            for index in 0.. {
                match element(item, index) {
                    (None, None) => break,
                    (_, Some(inner)) => {
                        let last = path.len() - 1;
                        path[last] = format!("{name}[{index}]");
                        if walk(inner, offset, path) {
                            return true;
                        }
                        name.clone_into(&mut path[last]);
                    }
                    (Some(_), None) => {}
                }
            }
            if item.span().is_some_and(|span| span.contains(&offset))
                && !matches!(item, Item::Table(_))
            {
                return true;
            }
            path.pop();
        }
        false
    }
    let mut path = Vec::new();
    walk(table, offset, &mut path);
    path.join(".")
}

/// serde's message, with the nearest match where a name is unknown.
fn explain(message: &str) -> String {
    let message = first_line(message);
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = ["unknown field", "unknown variant"]
        .iter()
        .any(|m| message.starts_with(m));
    match (unknown, quoted.next()) {
        (true, Some(name)) => format!("{message}{}", suggest::clause(name, quoted)),
        _ => message,
    }
}

/// A value as it is written after `--set KEY=`: TOML, or else a string as it stands; nothing
/// removes the key.
fn toml_value(text: &str) -> Option<toml::Value> {
    if text.is_empty() {
        return None;
    }
    let parsed = toml::from_str::<toml::Table>(&format!("v = {text}"));
    let value = parsed.ok().and_then(|mut table| table.remove("v"));
    Some(value.unwrap_or_else(|| toml::Value::String(text.to_owned())))
}

/// Sets a dotted key of `table`, or removes it.
fn lay_over(table: &mut toml::Table, key: &str, value: Option<toml::Value>) -> Result<(), String> {
    let mut segments: Vec<&str> = key.split('.').collect();
    let last = segments
        .pop()
        .filter(|s| !s.is_empty())
        .ok_or("a key is missing before `=`")?;
    let mut here = table;
    for segment in segments {
        let inner = here
            .entry(segment)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        here = inner
            .as_table_mut()
            .ok_or_else(|| format!("`{segment}` is a value, not a table"))?;
    }
    match value {
        Some(value) => here.insert(last.to_owned(), value),
        None => here.remove(last),
    };
    Ok(())
}
