//! A place in a request's body, and what is wrong with the value there, in the words of the API that is emulated.
//!
//! The checks say *what* is wrong, a [`Problem`]; how that is put is the [`Voice`]'s. Three APIs have words of their own:
//! `OpenAI`'s, and two that speak pydantic's, Mistral's with a list of details and status 422, Anthropic's with a path
//! before the sentence.

use http::StatusCode;
use serde_json::{Value, json};

use super::refusal::Refusal;

/// Unknown fields that a refusal names at most.
const UNKNOWN_NAMED_MAX: usize = 16;

/// Whose words are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    OpenAi,
    Mistral,
    Anthropic,
}

/// What a value has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Text,
    Flag,
    Integer,
    Number,
    List,
    Object,
    TextOrList,
    TextOrObject,
}

impl Kind {
    fn takes(self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Text => value.is_string(),
            Self::Flag => value.is_boolean(),
            Self::Integer => value.is_u64() || value.is_i64(),
            Self::Number => value.is_number(),
            Self::List => value.is_array(),
            Self::Object => value.is_object(),
            Self::TextOrList => value.is_string() || value.is_array(),
            Self::TextOrObject => value.is_string() || value.is_object(),
        }
    }

    /// In `OpenAI`'s words.
    fn expected(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Text => "a string",
            Self::Flag => "a boolean",
            Self::Integer => "an integer",
            Self::Number => "a decimal",
            Self::List => "an array",
            Self::Object => "an object",
            Self::TextOrList => "one of a string or array of objects",
            Self::TextOrObject => "one of a string or an object",
        }
    }

    /// In pydantic's: the type of the error and its sentence.
    fn pydantic(self) -> (&'static str, &'static str) {
        match self {
            Self::Any => ("missing", "Field required"),
            Self::Text | Self::TextOrObject => ("string_type", "Input should be a valid string"),
            Self::Flag => ("bool_type", "Input should be a valid boolean"),
            Self::Integer => ("int_type", "Input should be a valid integer"),
            Self::Number => ("float_type", "Input should be a valid number"),
            Self::List | Self::TextOrList => ("list_type", "Input should be a valid list"),
            Self::Object => ("dict_type", "Input should be a valid dictionary"),
        }
    }
}

/// What is wrong with a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Problem {
    /// It is not there.
    Missing,
    /// It is of another type.
    NotA(Kind),
    /// It is a list without elements.
    Empty,
    /// It is a list of more elements than this.
    MoreThan(usize),
    /// It is a number below this.
    Below(u64),
    /// It is a number, whole or not, that is not from 0 to this.
    NotUpTo(u64),
    /// It is a text of more characters than this.
    LongerThan(usize),
    /// It does not match this pattern.
    NotLike(&'static str),
    /// It is none of these.
    NoneOf(&'static [&'static str]),
    /// It is the type of an object, and none of these.
    NoTypeOf(&'static [&'static str]),
}

/// A value in a body, and the way to it.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    voice: Voice,
    /// The names and indexes from the body on, with dots between.
    path: String,
    /// Null if there is none.
    pub(super) value: &'a Value,
}

impl<'a> Place<'a> {
    /// The body itself, which is an object.
    pub(super) fn body(voice: Voice, value: &'a Value) -> Result<Self, Refusal> {
        if !value.is_object() {
            return Err(Refusal::bad_request("the body is no JSON object"));
        }
        Ok(Self {
            voice,
            path: String::new(),
            value,
        })
    }

    /// The member called `name`, which may be missing.
    pub(super) fn field(&self, name: &str) -> Self {
        self.below(name, &self.value[name])
    }

    /// The elements, none if it is no list.
    pub(super) fn items(&self) -> impl Iterator<Item = Self> {
        let items = self.value.as_array().into_iter().flatten().enumerate();
        items.map(|(index, value)| self.below(&index.to_string(), value))
    }

    fn below(&self, name: &str, value: &'a Value) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self {
            voice: self.voice,
            path: [self.path.as_str(), dot, name].concat(),
            value,
        }
    }

    /// The same value, with another name in refusals: pydantic names the member of a union that it tried.
    pub(super) fn named(&self, name: &str) -> Self {
        self.below(name, self.value)
    }

    /// The same place with another value: pydantic names the object whose type is none that it knows.
    pub(super) fn with(&self, value: &'a Value) -> Self {
        Self {
            value,
            ..self.clone()
        }
    }

    /// The value, if it is there and of the kind.
    pub(super) fn required(&self, kind: Kind) -> Result<&'a Value, Refusal> {
        if self.value.is_null() {
            return Err(self.refuse(Problem::Missing));
        }
        self.optional(kind)?;
        Ok(self.value)
    }

    /// Refuses a value of another kind; null is none.
    pub(super) fn optional(&self, kind: Kind) -> Result<(), Refusal> {
        if self.value.is_null() || kind.takes(self.value) {
            return Ok(());
        }
        Err(self.refuse(Problem::NotA(kind)))
    }

    /// The text that has to be here.
    pub(super) fn text(&self) -> Result<&'a str, Refusal> {
        let value = self.required(Kind::Text)?;
        Ok(value.as_str().unwrap_or_default())
    }

    /// A number of at least `least`, if there is one.
    pub(super) fn at_least(&self, least: u64) -> Result<Option<u64>, Refusal> {
        self.optional(Kind::Integer)?;
        match (self.value, self.value.as_u64()) {
            (Value::Null, _) => Ok(None),
            (_, Some(number)) if number >= least => Ok(Some(number)),
            _ => Err(self.refuse(Problem::Below(least))),
        }
    }

    /// Checks that a number, if there is one, is from 0 to `most`.
    pub(super) fn up_to(&self, most: u32) -> Result<(), Refusal> {
        match self.value.as_f64() {
            Some(number) if !(0.0..=f64::from(most)).contains(&number) => {
                Err(self.refuse(Problem::NotUpTo(most.into())))
            }
            _ => Ok(()),
        }
    }

    /// Checks the types of the fields that an API has and, if it is `strict`, that there are no others.
    pub(super) fn fields(&self, known: &[(&str, Kind)], strict: bool) -> Result<(), Refusal> {
        let Value::Object(members) = self.value else {
            return Err(self.refuse(Problem::NotA(Kind::Object)));
        };
        for (name, kind) in known {
            if let Some(value) = members.get(*name)
                && !value.is_null()
                && !kind.takes(value)
            {
                return Err(self.below(name, value).refuse(Problem::NotA(*kind)));
            }
        }
        let is_unknown =
            |(name, _): &(&String, &Value)| !known.iter().any(|(known, _)| known == name);
        let mut unknown = members
            .iter()
            .filter(is_unknown)
            .take(UNKNOWN_NAMED_MAX)
            .peekable();
        if strict && unknown.peek().is_some() {
            let unknown: Vec<_> = unknown
                .map(|(name, value)| self.below(name, value))
                .collect();
            return Err(self.voice.unknown(&unknown));
        }
        Ok(())
    }

    /// `messages.0.role` as `OpenAI` writes it: `messages[0].role`.
    pub(super) fn openai_path(&self) -> String {
        let mut path = String::new();
        for name in self.path.split('.') {
            if name.bytes().all(|byte| byte.is_ascii_digit()) {
                path.extend(["[", name, "]"]);
            } else {
                path.extend([if path.is_empty() { "" } else { "." }, name]);
            }
        }
        path
    }

    /// The names and indexes as pydantic lists them.
    fn location(&self) -> Vec<Value> {
        let names = self.path.split('.').map(|name| match name.parse::<u64>() {
            Ok(index) => index.into(),
            Err(_) => name.into(),
        });
        std::iter::once("body".into()).chain(names).collect()
    }

    /// Refuses the request for what is wrong here.
    pub(super) fn refuse(&self, problem: Problem) -> Refusal {
        match self.voice {
            Voice::OpenAi => self.refuse_as_openai(problem),
            Voice::Mistral => {
                let (kind, sentence) = self.pydantic(problem);
                Refusal::unprocessable(vec![self.detail(kind, &sentence)])
            }
            // A list of messages is all that has to have elements.
            Voice::Anthropic if matches!(problem, Problem::Empty) => {
                self.say("at least one message is required")
            }
            Voice::Anthropic => self.say(&self.pydantic(problem).1),
        }
    }

    /// Refuses the request with a sentence, after the path where the voice is Anthropic's.
    pub(super) fn say(&self, sentence: &str) -> Refusal {
        match self.voice {
            Voice::Anthropic => Refusal::bad_request(format!("{}: {sentence}", self.path)),
            Voice::OpenAi | Voice::Mistral => Refusal::bad_request(sentence).at(self.openai_path()),
        }
    }

    fn detail(&self, kind: &str, sentence: &str) -> Value {
        json!({"type": kind, "loc": self.location(), "msg": sentence, "input": self.value})
    }

    fn refuse_as_openai(&self, problem: Problem) -> Refusal {
        let path = self.openai_path();
        let (code, message) = match problem {
            Problem::Missing => (
                "missing_required_parameter",
                format!("Missing required parameter: '{path}'."),
            ),
            Problem::NotA(kind) => (
                "invalid_type",
                format!(
                    "Invalid type for '{path}': expected {}, but got {} instead.",
                    kind.expected(),
                    type_of(self.value)
                ),
            ),
            Problem::Empty => (
                "empty_array",
                format!(
                    "Invalid '{path}': empty array. Expected an array with minimum length 1, but got an empty array \
                     instead."
                ),
            ),
            Problem::MoreThan(most) => (
                "array_above_max_length",
                format!(
                    "Invalid '{path}': array too long. Expected an array with maximum length {most}, but got an array \
                     with length {} instead.",
                    self.items().count()
                ),
            ),
            Problem::Below(least) => (
                "integer_below_min_value",
                format!(
                    "Invalid '{path}': integer below minimum value. Expected a value >= {least}, but got {} instead.",
                    self.value
                ),
            ),
            Problem::NotUpTo(most) => {
                let (code, word, sign, bound) = if self.value.as_f64() < Some(0.0) {
                    ("decimal_below_min_value", "below minimum", ">=", 0)
                } else {
                    ("decimal_above_max_value", "above maximum", "<=", most)
                };
                let value = self.value;
                let message = format!(
                    "Invalid '{path}': decimal {word} value. Expected a value {sign} {bound}, but got {value} instead."
                );
                (code, message)
            }
            Problem::LongerThan(most) => (
                "string_above_max_length",
                format!(
                    "Invalid '{path}': string too long. Expected a string with maximum length {most}, but got a string \
                     with length {} instead.",
                    self.value.as_str().unwrap_or_default().chars().count()
                ),
            ),
            Problem::NotLike(pattern) => (
                "invalid_value",
                format!(
                    "Invalid '{path}': string does not match pattern. Expected a string that matches the pattern \
                     '{pattern}'."
                ),
            ),
            Problem::NoneOf(values) | Problem::NoTypeOf(values) => (
                "invalid_value",
                format!(
                    "Invalid value: {}. Supported values are: {}.",
                    self.quoted_value(),
                    listed(values, ", ", "and")
                ),
            ),
        };
        Refusal::bad_request(message).at(path).coded(code)
    }

    /// The type of pydantic's error and its sentence.
    fn pydantic(&self, problem: Problem) -> (&'static str, String) {
        match problem {
            Problem::Missing => ("missing", "Field required".to_owned()),
            Problem::NotA(kind) => {
                let (kind, sentence) = kind.pydantic();
                (kind, sentence.to_owned())
            }
            Problem::Empty => (
                "too_short",
                "List should have at least 1 item after validation, not 0".to_owned(),
            ),
            Problem::MoreThan(most) => (
                "too_long",
                format!(
                    "List should have at most {most} items after validation, not {}",
                    self.items().count()
                ),
            ),
            Problem::Below(least) => (
                "greater_than_equal",
                format!("Input should be greater than or equal to {least}"),
            ),
            Problem::NotUpTo(most) => ("range", format!("range: 0..{most}")),
            Problem::LongerThan(most) => (
                "string_too_long",
                format!("String should have at most {most} characters"),
            ),
            Problem::NotLike(pattern) => (
                "string_pattern_mismatch",
                format!("String should match pattern '{pattern}'"),
            ),
            Problem::NoneOf(values) => (
                "literal_error",
                format!("Input should be {}", listed(values, " ", "or")),
            ),
            Problem::NoTypeOf(values) => (
                "union_tag_invalid",
                format!(
                    "Input tag {} found using 'type' does not match any of the expected tags: {}",
                    self.quoted_value(),
                    values
                        .iter()
                        .map(|value| format!("'{value}'"))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            ),
        }
    }

    fn quoted_value(&self) -> String {
        match self.value {
            Value::String(text) => format!("'{text}'"),
            value => format!("'{value}'"),
        }
    }
}

impl Voice {
    /// Refuses fields that the API does not have, of which there is at least one.
    fn unknown(self, fields: &[Place<'_>]) -> Refusal {
        const FORBIDDEN: &str = "Extra inputs are not permitted";
        match self {
            Self::Mistral => Refusal::unprocessable(
                fields
                    .iter()
                    .map(|field| field.detail("extra_forbidden", FORBIDDEN))
                    .collect(),
            ),
            Self::Anthropic => fields[0].say(FORBIDDEN),
            Self::OpenAi => {
                let plural = if fields.len() > 1 { "s" } else { "" };
                let names: Vec<_> = fields.iter().map(Place::openai_path).collect();
                Refusal::bad_request(format!(
                    "Unrecognized request argument{plural} supplied: {}",
                    names.join(", ")
                ))
            }
        }
    }
}

/// What a value is, in `OpenAI`'s words.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// `'a', 'b', and 'c'`: `before_last` stands before the `word`, where there are more than two.
fn listed(values: &[&str], before_last: &str, word: &str) -> String {
    let quoted: Vec<_> = values.iter().map(|value| format!("'{value}'")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, [one])) => format!("{one} {word} {last}"),
        Some((last, before)) => format!("{}{before_last}{word} {last}", before.join(", ")),
        None => String::new(),
    }
}

/// A refusal of what the API would not understand at all, with pydantic's details.
impl Refusal {
    fn unprocessable(details: Vec<Value>) -> Self {
        let mut refusal = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "the request is not valid");
        refusal.details = details;
        refusal
    }
}
