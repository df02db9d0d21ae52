//! Which column of a ledger holds what.

use std::fmt;

use csv::StringRecord;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use crate::endpoint::Endpoint;

/// Hex digits of a nonce.
const NONCE_DIGITS: usize = 32;

/// The format of a ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `csv` where columns are named, else told by the names of the columns.
    #[default]
    Auto,
    /// `LiteLLM`'s spend logs.
    LiteLlm,
    /// `OpenRouter`'s generations.
    OpenRouter,
    /// Any CSV, by the names of its columns.
    Csv,
}

/// Which columns of a CSV hold what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// Ids of the request: one column, or a list of several.
    #[serde(deserialize_with = "one_or_more", serialize_with = "as_written")]
    #[schemars(with = "OneOrMore")]
    pub id: Vec<String>,
    /// What it cost.
    pub cost: String,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// When the request began; UTC unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// Input tokens, cached ones included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// Only for the schema.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "its shape is all that counts")]
enum OneOrMore {
    /// One column.
    One(String),
    /// Several.
    More(Vec<String>),
}

/// By hand, since an untagged enum's errors do not say what would be right.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct TextOrList;
    impl<'de> Visitor<'de> for TextOrList {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a column's name such as \"request_id\", or a list of them")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut names = Vec::new();
            while let Some(name) = list.next_element()? {
                names.push(name);
            }
            Ok(names)
        }
    }
    deserializer.deserialize_any(TextOrList)
}

fn as_written<S: serde::Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    match names {
        [one] => one.serialize(serializer),
        more => more.serialize(serializer),
    }
}

/// The columns of a ledger do not say what is needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// No known format has these columns.
    #[error(
        "no known format has the columns {0}; say which of them hold what: `format = \"csv\"` and `columns = {{ id = \"...\", cost = \"...\" }}`"
    )]
    Unknown(String),
    /// FOCUS and the like.
    #[error(
        "its rows are sums of many requests (FOCUS), which cannot be joined to requests; name a ledger with a row a request"
    )]
    Aggregated,
    /// A column is missing.
    #[error("has no column `{name}`{hint}; there are {known}")]
    Missing {
        /// Which.
        name: String,
        /// The nearest name, as a clause.
        hint: String,
        /// Those that there are.
        known: String,
    },
    /// `csv` without names.
    #[error("is missing: `csv` needs `columns = {{ id = \"...\", cost = \"...\" }}`")]
    ColumnsNeeded,
    /// Names of columns beside a format that has its own.
    #[error("are only for the format `csv`; remove them, or say `format = \"csv\"`")]
    ColumnsNotWanted,
    /// No column of an id.
    #[error("names no column with an id")]
    NoId,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Auto, Self::LiteLlm, Self::OpenRouter, Self::Csv];

    /// The name in scenarios and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::LiteLlm => "litellm",
            Self::OpenRouter => "openrouter",
            Self::Csv => "csv",
        }
    }

    /// The format of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Whether `columns` are what this format needs.
    pub fn check(self, columns: Option<&Columns>) -> Result<(), LayoutError> {
        match (self, columns) {
            (Self::Csv, None) => Err(LayoutError::ColumnsNeeded),
            (Self::LiteLlm | Self::OpenRouter, Some(_)) => Err(LayoutError::ColumnsNotWanted),
            (_, Some(columns)) if columns.id.is_empty() => Err(LayoutError::NoId),
            _ => Ok(()),
        }
    }
}

/// Where in a row what stands.
#[derive(Clone, Debug)]
pub struct Layout {
    format: Format,
    names: Vec<String>,
    ids: Vec<usize>,
    /// Columns that may hold the harness's own id.
    nonces: Vec<usize>,
    cost: usize,
    models: Vec<usize>,
    started: Option<usize>,
    endpoint: Option<usize>,
    input: Option<usize>,
    output: Option<usize>,
}

/// One row of a ledger, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its line, from 1.
    pub line: u64,
    /// Its ids: (column's name, id).
    pub ids: Vec<(String, String)>,
    /// The digits of what may be the harness's own ids: (column's name, 32 hex digits).
    pub nonces: Vec<(String, String)>,
    /// The digits of the cost.
    pub cost: Option<String>,
    /// The names of its model.
    pub models: Vec<String>,
    /// When the request began.
    pub started: Option<Timestamp>,
    /// The endpoint that it names.
    pub endpoint: Option<Endpoint>,
    /// Input tokens, cached ones included.
    pub input: Option<u64>,
    /// Output tokens.
    pub output: Option<u64>,
}

impl Layout {
    /// Finds the columns of `format` among `headers`.
    pub fn find(
        format: Format,
        columns: Option<&Columns>,
        headers: &StringRecord,
    ) -> Result<Self, LayoutError> {
        let at = |name: &str| headers.iter().position(|header| header.trim() == name);
        let has = |names: &[&str]| names.iter().all(|name| at(name).is_some());
        format.check(columns)?;
        let format = match format {
            Format::Auto if columns.is_some() => Format::Csv,
            Format::Auto if has(&["request_id", "spend"]) => Format::LiteLlm,
            Format::Auto if has(&["generation_id", "cost_total"]) => Format::OpenRouter,
            Format::Auto if has(&["BilledCost"]) => return Err(LayoutError::Aggregated),
            Format::Auto => return Err(LayoutError::Unknown(known(headers))),
            named => named,
        };
        let need = |name: &str| {
            at(name).ok_or_else(|| LayoutError::Missing {
                name: name.to_owned(),
                hint: crate::suggest::clause(name, headers.iter()),
                known: known(headers),
            })
        };
        let some = |names: &[&str]| names.iter().filter_map(|name| at(name)).collect();
        let names = headers.iter().map(|name| name.trim().to_owned()).collect();
        Ok(match (format, columns) {
            (Format::OpenRouter, _) => Self {
                format,
                names,
                ids: vec![need("generation_id")?],
                nonces: some(&["user", "session_id"]),
                cost: need("cost_total")?,
                models: some(&["model_permaslug", "model"]),
                started: at("created_at"),
                endpoint: None,
                input: at("tokens_prompt"),
                output: at("tokens_completion"),
            },
            (Format::Csv, Some(columns)) => {
                let optional = |name: &Option<String>| name.as_deref().map(need).transpose();
                Self {
                    format,
                    ids: columns
                        .id
                        .iter()
                        .map(|id| need(id))
                        .collect::<Result<_, _>>()?,
                    nonces: (0..headers.len()).collect(),
                    cost: need(&columns.cost)?,
                    models: optional(&columns.model)?.into_iter().collect(),
                    started: optional(&columns.started)?,
                    endpoint: None,
                    input: optional(&columns.input)?,
                    output: optional(&columns.output)?,
                    names,
                }
            }
            (Format::LiteLlm | Format::Auto | Format::Csv, _) => Self {
                format,
                names,
                ids: vec![need("request_id")?],
                nonces: some(&["metadata", "session_id", "end_user", "user", "request_tags"]),
                cost: need("spend")?,
                models: some(&["model_group", "model"]),
                started: at("startTime"),
                endpoint: at("call_type"),
                input: at("prompt_tokens"),
                output: at("completion_tokens"),
            },
        })
    }

    /// The format that was found.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Reads the row on `line`.
    pub fn entry(&self, line: u64, row: &StringRecord) -> Entry {
        let cell = |at: usize| row.get(at).map(str::trim).filter(|cell| !cell.is_empty());
        let named = |at: &usize| Some((self.names[*at].clone(), cell(*at)?.to_owned()));
        let text = |at: usize| cell(at).map(str::to_owned);
        let count = |at: Option<usize>| cell(at?)?.parse().ok();
        let nonces = self.nonces.iter().flat_map(|at| {
            let found = cell(*at).map(nonces).unwrap_or_default();
            found
                .into_iter()
                .map(|nonce| (self.names[*at].clone(), nonce))
        });
        Entry {
            line,
            ids: self.ids.iter().filter_map(named).collect(),
            nonces: nonces.collect(),
            cost: text(self.cost),
            models: self.models.iter().filter_map(|at| text(*at)).collect(),
            started: self.started.and_then(cell).and_then(moment),
            endpoint: self.endpoint.and_then(cell).and_then(endpoint),
            input: count(self.input),
            output: count(self.output),
        }
    }
}

fn known(headers: &StringRecord) -> String {
    let names: Vec<String> = headers.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// The endpoint of one of `LiteLLM`'s types of calls.
fn endpoint(call_type: &str) -> Option<Endpoint> {
    match call_type {
        "completion" | "acompletion" => Some(Endpoint::OpenAi),
        "anthropic_messages" | "aanthropic_messages" => Some(Endpoint::Anthropic),
        _ => None,
    }
}

/// What in a cell may be a nonce: 32 hex digits that stand by themselves. Of a JSON object, only what
/// the harness's user put there, where `LiteLLM` keeps that.
fn nonces(cell: &str) -> Vec<String> {
    let object = cell.starts_with('{');
    let value = object.then(|| serde_json::from_str::<Value>(cell).ok());
    match value.flatten() {
        Some(value) => {
            let mut found = Vec::new();
            walk(
                value.get("spend_logs_metadata").unwrap_or(&value),
                &mut found,
            );
            found
        }
        None => hex_words(cell),
    }
}

fn walk(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            for word in hex_words(text) {
                if !found.contains(&word) {
                    found.push(word);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
        Value::Object(map) => map.values().for_each(|value| walk(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn hex_words(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in text.split(|c: char| !c.is_ascii_hexdigit()) {
        let nonce = word.to_ascii_lowercase();
        if word.len() == NONCE_DIGITS && !found.contains(&nonce) {
            found.push(nonce);
        }
    }
    found
}

/// The moment that a cell names: RFC 3339; the same without an offset, which is UTC then; or seconds,
/// milliseconds or microseconds since 1970, told apart by their size.
fn moment(cell: &str) -> Option<Timestamp> {
    if let Ok(moment) = cell.parse::<Timestamp>() {
        return Some(moment);
    }
    if let Ok(civil) = cell.parse::<DateTime>() {
        return civil
            .to_zoned(TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp());
    }
    let whole: i64 = cell.split('.').next()?.parse().ok()?;
    match whole {
        0..100_000_000_000 => Timestamp::from_second(whole).ok(),
        100_000_000_000..100_000_000_000_000 => Timestamp::from_millisecond(whole).ok(),
        100_000_000_000_000.. => Timestamp::from_microsecond(whole).ok(),
        _ => None,
    }
}
