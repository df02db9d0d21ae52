//! Where a gateway records the cost of a request: the surfaces, and reading them.
//!
//! A surface is written `header:NAME`, `body:/json/pointer` (whole bodies) or
//! `stream:/json/pointer` (any event of a stream, also after its terminator; the last one
//! counts). A cost is taken as text, digit for digit: `5e-07` read as a float is not `5e-07`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::value::RawValue;

/// One place where a gateway may record a request's cost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// A response header, lower case.
    Header(String),
    /// A JSON pointer (RFC 6901) into a whole body.
    Body(Pointer),
    /// A JSON pointer into the data of a stream's events.
    Stream(Pointer),
}

/// Surfaces of the gateways that are known to record costs, tried on every response unless the
/// scenario names its own.
pub const DEFAULT_SURFACES: [&str; 11] = [
    // OpenRouter, and LiteLLM's streams with `include_cost_in_streaming_usage`.
    "body:/usage/cost",
    "stream:/usage/cost",
    // LiteLLM, whole bodies. Its streams send the header too, before the cost is known.
    "header:x-litellm-response-cost",
    // Perplexity; Bifrost's object form.
    "body:/usage/cost/total_cost",
    "stream:/usage/cost/total_cost",
    // xAI: an integer of 10^-10 dollars.
    "body:/usage/cost_in_usd_ticks",
    "stream:/usage/cost_in_usd_ticks",
    // Vercel.
    "body:/provider_metadata/gateway/cost",
    "stream:/provider_metadata/gateway/cost",
    // UiPath, in an event after the terminator.
    "body:/associated_dollar_cost",
    "stream:/associated_dollar_cost",
];

/// A JSON pointer, kept in its unescaped segments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pointer(Vec<String>);

/// Why a text names no surface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SurfaceError {
    /// Neither of the known kinds.
    #[error(
        "unknown cost surface `{0}`; write `header:NAME`, `body:/json/pointer` or `stream:/json/pointer`"
    )]
    UnknownKind(String),
    /// The header's name cannot be one.
    #[error("`{0}` is not a header name")]
    HeaderName(String),
    /// A JSON pointer begins with a slash.
    #[error("`{0}` is not a JSON pointer; it begins with `/`, as in `/usage/cost`")]
    Pointer(String),
}

impl Surface {
    /// The default list, parsed.
    pub fn defaults() -> Vec<Self> {
        DEFAULT_SURFACES
            .iter()
            .map(|text| text.parse().expect("the built-in surfaces are valid"))
            .collect()
    }
}

impl FromStr for Surface {
    type Err = SurfaceError;

    fn from_str(text: &str) -> Result<Self, SurfaceError> {
        match text.split_once(':') {
            Some(("header", name)) => http::HeaderName::from_bytes(name.as_bytes())
                .map(|name| Self::Header(name.as_str().to_owned()))
                .map_err(|_| SurfaceError::HeaderName(name.to_owned())),
            Some(("body", pointer)) => pointer.parse().map(Self::Body),
            Some(("stream", pointer)) => pointer.parse().map(Self::Stream),
            _ => Err(SurfaceError::UnknownKind(text.to_owned())),
        }
    }
}

impl fmt::Display for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Body(pointer) => write!(f, "body:{pointer}"),
            Self::Stream(pointer) => write!(f, "stream:{pointer}"),
        }
    }
}

impl FromStr for Pointer {
    type Err = SurfaceError;

    fn from_str(text: &str) -> Result<Self, SurfaceError> {
        let rest = text
            .strip_prefix('/')
            .ok_or_else(|| SurfaceError::Pointer(text.to_owned()))?;
        Ok(Self(
            rest.split('/')
                .map(|s| s.replace("~1", "/").replace("~0", "~"))
                .collect(),
        ))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|s| write!(f, "/{}", s.replace('~', "~0").replace('/', "~1")))
    }
}

impl Pointer {
    /// The last segment: a text without it cannot hold the value, which is cheap to find out.
    pub fn last_segment(&self) -> &str {
        self.0.last().expect("a pointer has at least one segment")
    }

    /// The digits of the number, or of the decimal string, that this pointer leads to in the JSON
    /// text `json`. `None` where it leads nowhere, to `null`, or to anything else.
    pub fn digits<'a>(&self, json: &'a str) -> Option<&'a str> {
        let mut here = json.trim_ascii();
        for segment in &self.0 {
            here = if here.starts_with('[') {
                let items: Vec<&'a RawValue> = serde_json::from_str(here).ok()?;
                items.get(segment.parse::<usize>().ok()?)?.get()
            } else {
                let fields: BTreeMap<std::borrow::Cow<'a, str>, &'a RawValue> =
                    serde_json::from_str(here).ok()?;
                fields.get(segment.as_str())?.get()
            };
        }
        let digits = here
            .strip_prefix('"')
            .and_then(|s| s.strip_suffix('"'))
            .unwrap_or(here);
        let numeric = digits
            .starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+' || c == '.')
            && digits
                .bytes()
                .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
        numeric.then_some(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits<'a>(pointer: &str, json: &'a str) -> Option<&'a str> {
        pointer.parse::<Pointer>().expect("valid").digits(json)
    }

    #[test]
    fn digits_come_out_as_they_stand() {
        assert_eq!(
            digits("/usage/cost", r#"{"usage":{"cost":5e-07}}"#),
            Some("5e-07")
        );
        assert_eq!(
            digits("/usage/cost", r#" {"usage": {"cost" : 0.00125000 }} "#),
            Some("0.00125000")
        );
        assert_eq!(
            digits("/usage/cost", r#"{"usage":{"cost":"0.1"}}"#),
            Some("0.1")
        );
        assert_eq!(digits("/a/1/b~1c", r#"{"a":[0,{"b/c":7}]}"#), Some("7"));
        assert_eq!(digits("/usage/cost", r#"{"usage":{"cost":0}}"#), Some("0"));
    }

    #[test]
    fn anything_else_is_not_a_cost() {
        for json in [
            r#"{"usage":{"cost":null}}"#,
            r#"{"usage":{"cost":{"total_cost":1}}}"#,
            r#"{"usage":{"cost":"free"}}"#,
            r#"{"usage":{"cost":""}}"#,
            r#"{"usage":null}"#,
            r"[]",
            "not json",
        ] {
            assert_eq!(digits("/usage/cost", json), None, "{json}");
        }
    }

    #[test]
    fn every_default_surface_survives_a_round_trip() {
        for (surface, text) in Surface::defaults().iter().zip(DEFAULT_SURFACES) {
            assert_eq!(surface.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_surface_says_what_one_is() {
        for bad in ["cost", "header:bad name", "body:usage/cost", "lookup:x"] {
            let error = bad.parse::<Surface>().expect_err(bad).to_string();
            assert!(error.contains('`'), "{error}");
        }
    }
}
