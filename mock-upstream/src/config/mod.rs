//! What the upstream is told to be: a TOML file or a [`Config`] value.
//!
//! Every key has a default, so an empty file is a working upstream. Unknown keys and impossible values are errors
//! that name the file, the line, the key and what would have been valid.
//!
//! In a file the keys of the [`Behaviour`] stand beside those of the [`Config`]. A profile, `[profiles.NAME]`, says what
//! is different for some requests: its sections are laid over the file's.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

mod behaviour;
mod check;
mod cost;
mod fault;
mod mistake;
#[cfg(test)]
mod tests;

pub use behaviour::{
    Arguments, Behaviour, Cache, Delivery, Dialect, Distribution, LineEnding, Output, Silence,
    Split, Timing, Tools, UsageInStream,
};
pub use cost::{
    Aborts, ContextTier, Cost, Factor, Rate, Rounding, RoundingMode, RoundingStage, Surface,
};
pub use fault::{Fault, FaultKind, MARKER_HEADER, When};
pub use mistake::{Class, Wrong};

use check::Problem;

/// Everything that decides how the upstream answers.
///
/// Equal configurations with equal seeds answer a request with the same nonce alike, where nothing is asked for that
/// depends on the requests before: slots, a prompt cache, `every` and `attempts` of faults. The answer's ids end in its
/// `seq`, and its `created` is the wall clock. A request without a nonce has its `seq` in place of one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[must_use]
pub struct Config {
    /// Every draw (times, faults, ids) comes from this, the request's nonce, and the draw's purpose.
    pub seed: u64,
    /// Answer without wiremock in between: for benches. Stubs are not consulted.
    pub direct: bool,
    /// Requests a wiremock server answers before a fresh one takes over, since it keeps a copy of each; 0 is never.
    pub rotate_after: u64,
    /// Whether the journal has the planned and the written time of each frame: some 15 bytes each.
    pub journal_frames: bool,
    /// Whether the journal has the bodies of requests, as far as they are JSON.
    pub journal_bodies: bool,
    /// If set, requests without this key are answered with 401.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
    /// If set, requests for other models are answered with 404.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// How requests are answered that no profile is for.
    #[serde(flatten)]
    pub behaviour: Behaviour,
    /// How some requests are answered, by name.
    pub profiles: BTreeMap<String, Profile>,
}

/// A behaviour for some requests: those with the header `x-mock-profile: NAME`, and those without that header for one
/// of its models.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Profile {
    /// The models that it is for: names, or the begin of names before a `*`.
    pub models: Vec<String>,
    /// How they are answered.
    #[serde(flatten)]
    pub behaviour: Behaviour,
}

/// The request header that chooses a profile.
pub const PROFILE_HEADER: &str = "x-mock-profile";

impl Default for Config {
    fn default() -> Self {
        let server = Server::default();
        Self {
            seed: server.seed,
            direct: server.direct,
            rotate_after: server.rotate_after,
            journal_frames: server.journal_frames,
            journal_bodies: server.journal_bodies,
            api_key: server.api_key,
            models: server.models,
            behaviour: Behaviour::default(),
            profiles: BTreeMap::new(),
        }
    }
}

/// The keys of a file that are for all requests.
#[derive(Deserialize)]
#[serde(default)]
struct Server {
    seed: u64,
    direct: bool,
    rotate_after: u64,
    journal_frames: bool,
    journal_bodies: bool,
    api_key: Option<String>,
    models: Option<Vec<String>>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            seed: 0,
            direct: false,
            rotate_after: 1000,
            journal_frames: false,
            journal_bodies: false,
            api_key: None,
            models: None,
        }
    }
}

/// The names of [`Server`]'s keys.
const SERVER_KEYS: [&str; 7] = [
    "seed",
    "direct",
    "rotate_after",
    "journal_frames",
    "journal_bodies",
    "api_key",
    "models",
];

/// The keys of a file, so that an unknown one is held against all of them.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    seed: IgnoredAny,
    direct: IgnoredAny,
    rotate_after: IgnoredAny,
    journal_frames: IgnoredAny,
    journal_bodies: IgnoredAny,
    api_key: IgnoredAny,
    models: IgnoredAny,
    dialect: IgnoredAny,
    strict: IgnoredAny,
    timing: IgnoredAny,
    output: IgnoredAny,
    tools: IgnoredAny,
    cache: IgnoredAny,
    delivery: IgnoredAny,
    cost: IgnoredAny,
    faults: IgnoredAny,
    profiles: IgnoredAny,
}

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}{}{}: {message}", at_line(*.line), at_key(.key.as_ref()))]
pub struct ConfigError {
    /// Where the configuration came from, as given to [`Config::from_toml`].
    pub origin: String,
    /// The line, from 1; absent for a value that did not come from a file.
    pub line: Option<usize>,
    /// The dotted key, if the mistake is within one.
    pub key: Option<String>,
    /// What is wrong and what would be valid.
    pub message: String,
}

fn at_line(line: Option<usize>) -> String {
    line.map(|line| format!(":{line}")).unwrap_or_default()
}

fn at_key(key: Option<&String>) -> String {
    key.map(|key| format!(": `{key}`")).unwrap_or_default()
}

impl Config {
    /// Reads and checks a configuration. `origin` names the text in errors: the path of the file.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let document = DeTable::parse(text).map_err(|error| ConfigError {
            origin: origin.to_owned(),
            line: error.span().map(|span| line_of(text, span.start)),
            key: None,
            message: error.message().to_owned(),
        })?;
        let document = document.get_ref();
        let config = Self::read(document).map_err(|error| {
            let span = error.span();
            ConfigError {
                origin: origin.to_owned(),
                line: span.as_ref().map(|span| line_of(text, span.start)),
                key: span.and_then(|span| key_at(document, span.start)),
                message: in_words(error.message()),
            }
        })?;
        config.check().map_err(|problem| ConfigError {
            origin: origin.to_owned(),
            line: offset_of(document, &problem.key).map(|offset| line_of(text, offset)),
            key: Some(problem.key),
            message: problem.message,
        })?;
        Ok(config)
    }

    fn read(document: &DeTable<'_>) -> Result<Self, toml::de::Error> {
        parse::<Keys>(document.clone())?;
        let (mut server, mut common) = (DeTable::new(), document.clone());
        let profiles = common.remove("profiles");
        for key in SERVER_KEYS {
            if let Some((name, value)) = common.remove_entry(key) {
                server.insert(name, value);
            }
        }
        let server: Server = parse(server)?;
        let behaviour = parse(common.clone())?;
        let profiles = match profiles {
            Some(profiles) => read_profiles(profiles, &common)?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            seed: server.seed,
            direct: server.direct,
            rotate_after: server.rotate_after,
            journal_frames: server.journal_frames,
            journal_bodies: server.journal_bodies,
            api_key: server.api_key,
            models: server.models,
            behaviour,
            profiles,
        })
    }

    /// Checks a configuration that was made in code; `origin` names it in the error.
    pub fn validate(&self, origin: &str) -> Result<(), ConfigError> {
        self.check().map_err(|problem| ConfigError {
            origin: origin.to_owned(),
            line: None,
            key: Some(problem.key),
            message: problem.message,
        })
    }

    fn check(&self) -> Result<(), Problem> {
        if self.api_key.as_ref().is_some_and(String::is_empty) {
            return Err(Problem::new("api_key", "must not be empty"));
        }
        self.behaviour.check()?;
        for (name, profile) in &self.profiles {
            let is_odd =
                |pattern: &&String| pattern.strip_suffix('*').unwrap_or(pattern).contains('*');
            if let Some(pattern) = profile.models.iter().find(is_odd) {
                let message = format!("`{pattern}`: a `*` stands only at the end");
                return Err(Problem::new(format!("profiles.{name}.models"), message));
            }
            let checked = profile.behaviour.check();
            checked.map_err(|problem| problem.within(&format!("profiles.{name}")))?;
        }
        Ok(())
    }

    /// The profile for a model, if there is one: the first by name.
    pub fn profile_for(&self, model: &str) -> Option<(&str, &Behaviour)> {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(begin) => model.starts_with(begin),
            None => pattern == model,
        };
        self.profiles
            .iter()
            .find(|(_, profile)| profile.models.iter().any(matches))
            .map(|(name, profile)| (name.as_str(), &profile.behaviour))
    }
}

impl Config {
    /// How a profile answers, or without one, what no profile is for.
    pub(crate) fn behaviour_of(&self, profile: Option<&str>) -> &Behaviour {
        profile
            .and_then(|name| self.profiles.get(name))
            .map_or(&self.behaviour, |profile| &profile.behaviour)
    }
}

fn parse<'de, T: Deserialize<'de>>(table: DeTable<'de>) -> Result<T, toml::de::Error> {
    T::deserialize(toml::Deserializer::from(Spanned::new(0..0, table)))
}

#[expect(
    clippy::zero_sized_map_values,
    reason = "what the tables hold is looked at later"
)]
fn read_profiles<'i>(
    profiles: Spanned<DeValue<'i>>,
    common: &DeTable<'i>,
) -> Result<BTreeMap<String, Profile>, toml::de::Error> {
    // Says so if there is anything but tables. A `toml::Table` would refuse numbers from 2^63 on.
    BTreeMap::<String, BTreeMap<String, IgnoredAny>>::deserialize(ValueDeserializer::from(
        profiles.clone(),
    ))?;
    let mut read = BTreeMap::new();
    let DeValue::Table(profiles) = profiles.into_inner() else {
        unreachable!("it was read as a table of tables");
    };
    for (name, own) in profiles {
        let DeValue::Table(mut own) = own.into_inner() else {
            unreachable!("it was read as a table");
        };
        let models = match own.remove("models") {
            Some(models) => Vec::deserialize(ValueDeserializer::from(models))?,
            None => Vec::new(),
        };
        let mut whole = common.clone();
        lay_over(&mut whole, own, SECTIONS_DEEP);
        let behaviour = parse(whole)?;
        let name = name.into_inner().into_owned();
        read.insert(name, Profile { models, behaviour });
    }
    Ok(read)
}

/// How deep tables are laid over each other: `[cost.rates.MODEL]` is one value, and so is a distribution.
const SECTIONS_DEEP: usize = 1;

/// Lays the values of `over` over those of `base`, section by section.
fn lay_over<'i>(base: &mut DeTable<'i>, over: DeTable<'i>, depth: usize) {
    for (name, value) in over {
        let below = base.get_mut(name.get_ref().as_ref());
        let below = below.filter(|_| depth > 0).map(Spanned::get_mut);
        let (span, value) = (value.span(), value.into_inner());
        match (below, value) {
            (Some(DeValue::Table(below)), DeValue::Table(own)) => {
                let deeper = depth - usize::from(name.get_ref() != "cost");
                lay_over(below, own, deeper);
            }
            (_, value) => {
                base.insert(name, Spanned::new(span, value));
            }
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text[..offset.min(text.len())].matches('\n').count()
}

/// The words that serde has for types, and a user's.
const TYPE_WORDS: [(&str, &str); 9] = [
    ("f64", "a number"),
    ("u64", "a whole number from 0 on"),
    ("u32", "a whole number from 0 to 4294967295"),
    ("u16", "a whole number from 0 to 65535"),
    ("a map", "a table"),
    ("struct Fault", "a table"),
    ("struct Wrong", "a table"),
    ("struct Rate", "a table"),
    ("a sequence", "a list"),
];

/// The message with a user's word for the type that was expected.
fn in_words(message: &str) -> String {
    let word = |(serde, user): &(&str, &str)| {
        let begin = message.strip_suffix(serde)?;
        begin
            .ends_with(", expected ")
            .then(|| [begin, user].concat())
    };
    let found = TYPE_WORDS.iter().find_map(word);
    found.unwrap_or_else(|| message.to_owned())
}

/// The dotted key whose name or value stands at `offset`. An element of a list is named by its index.
fn key_at(table: &DeTable<'_>, offset: usize) -> Option<String> {
    for (name, value) in table {
        if name.span().contains(&offset) {
            return Some(name.get_ref().to_string());
        }
        if let Some(rest) = key_within(value, offset) {
            return Some([name.get_ref(), rest.as_str()].concat());
        }
    }
    None
}

/// What follows the key of a value at `offset`, with its dot.
fn key_within(value: &Spanned<DeValue<'_>>, offset: usize) -> Option<String> {
    let deeper = match value.get_ref() {
        DeValue::Table(inner) => key_at(inner, offset).map(|rest| format!(".{rest}")),
        DeValue::Array(list) => list.iter().enumerate().find_map(|(index, element)| {
            key_within(element, offset).map(|rest| format!(".{index}{rest}"))
        }),
        _ => None,
    };
    deeper.or_else(|| value.span().contains(&offset).then(String::new))
}

/// Where the deepest part of the dotted `key` that is present in the document stands.
fn offset_of(table: &DeTable<'_>, key: &str) -> Option<usize> {
    // A name may have dots itself, as models do.
    let (name, value) = table.iter().find(|(name, _)| {
        let rest = key.strip_prefix(name.get_ref().as_ref());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })?;
    let rest = key[name.get_ref().len()..].trim_start_matches('.');
    let deeper = match value.get_ref() {
        DeValue::Table(inner) => offset_of(inner, rest),
        DeValue::Array(list) => {
            let (index, rest) = rest.split_once('.').unwrap_or((rest, ""));
            let element = index.parse().ok().and_then(|index: usize| list.get(index));
            element.map(|element| {
                let inner = element.get_ref().as_table();
                inner
                    .and_then(|inner| offset_of(inner, rest))
                    .unwrap_or(element.span().start)
            })
        }
        _ => None,
    };
    Some(deeper.unwrap_or(name.span().start))
}
