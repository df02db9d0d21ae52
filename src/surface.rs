//! Where a gateway records the cost of a request: the surfaces, and reading them.
//!
//! A surface is written `header:NAME`, `body:/json/pointer` (whole bodies) or
//! `stream:/json/pointer` (any event of a stream, also after its terminator; the last one
//! counts). A cost is taken as text, digit for digit: `5e-07` read as a float is not `5e-07`.
//!
//! What no answer says may be asked for afterwards: [`LookupUrl`].

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::value::RawValue;

/// What begins a look-up where surfaces are listed.
pub const LOOKUP: &str = "lookup:";

/// Parts of the name of a header, or of a value in a URL's query, that say that it carries a
/// credential, which must not stand in a scenario: it is copied into every run folder.
const CREDENTIAL_PARTS: [&str; 7] = [
    "auth",
    "key",
    "token",
    "secret",
    "cookie",
    "passw",
    "signature",
];

/// Whether what has this name seems to carry a credential.
pub fn is_credential(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    CREDENTIAL_PARTS.iter().any(|part| lower.contains(part))
}

/// Whether the query of `url` seems to carry a credential. An id of a request in braces is none.
pub fn query_has_credential(url: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    query.split(['&', ';']).any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_decode_str(name).decode_utf8_lossy();
        let is_id = value.starts_with('{') && value.ends_with('}');
        !is_id && is_credential(&name)
    })
}

/// What is wrong with a URL whose query carries a credential, and the fix.
pub const CREDENTIAL_IN_QUERY: &str = "seems to carry a credential in its query, which must not stand in a file; send it in a header by `target.headers_env`, which goes to the target's own host";

/// What is escaped of an id in a URL: all but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

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
        "unknown cost surface `{0}`; write `header:NAME`, `body:/json/pointer`, `stream:/json/pointer`, `lookup:URL#/json/pointer`, or `default` for the places of the known gateways"
    )]
    UnknownKind(String),
    /// The header's name cannot be one.
    #[error("`{0}` is not a header name")]
    HeaderName(String),
    /// A JSON pointer begins with a slash.
    #[error("`{0}` is not a JSON pointer; it begins with `/`, as in `/usage/cost`")]
    Pointer(String),
    /// A look-up's URL.
    #[error(
        "`{0}` {1}; write it like `lookup:{{base_url}}/api/v1/generation?id={{response_id}}#/data/total_cost`"
    )]
    Lookup(String, &'static str),
}

/// A place that is asked for a cost after the fact: a URL with the ids of an attempt in it, and where
/// in its JSON answer the cost stands. Written `lookup:URL#/json/pointer`: a fragment never leaves the
/// client, so none is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupUrl {
    text: String,
    parts: Vec<Part>,
    pointer: Pointer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(Name),
}

/// What can stand in braces in a look-up's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// The target's origin.
    BaseUrl,
    /// The provider's id of the response.
    ResponseId,
    /// The provider's or gateway's id of the request.
    RequestId,
    /// The gateway's id of the call.
    CallId,
    /// The harness's own id of the request.
    TraceId,
}

impl Name {
    /// Every name.
    pub const ALL: [Self; 5] = [
        Self::BaseUrl,
        Self::ResponseId,
        Self::RequestId,
        Self::CallId,
        Self::TraceId,
    ];

    /// As it stands in the braces.
    pub const fn text(self) -> &'static str {
        match self {
            Self::BaseUrl => "base_url",
            Self::ResponseId => "response_id",
            Self::RequestId => "request_id",
            Self::CallId => "call_id",
            Self::TraceId => "trace_id",
        }
    }
}

impl LookupUrl {
    /// The URL of one attempt, whose values `value` gives; `None` if it lacks one. Ids are escaped.
    pub fn url<'a>(&self, value: impl Fn(Name) -> Option<&'a str>) -> Option<String> {
        let mut url = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => url.push_str(text),
                Part::Name(Name::BaseUrl) => url.push_str(value(Name::BaseUrl)?),
                Part::Name(name) => {
                    let id = value(*name).filter(|id| !id.is_empty())?;
                    url.extend(utf8_percent_encode(id, RESERVED));
                }
            }
        }
        Some(url)
    }

    /// Where the cost stands in the answer.
    pub const fn pointer(&self) -> &Pointer {
        &self.pointer
    }

    /// The ids that it needs of an attempt.
    pub fn ids(&self) -> impl Iterator<Item = Name> {
        self.parts.iter().filter_map(|part| match part {
            Part::Name(Name::BaseUrl) | Part::Text(_) => None,
            Part::Name(name) => Some(*name),
        })
    }
}

impl FromStr for LookupUrl {
    type Err = SurfaceError;

    fn from_str(text: &str) -> Result<Self, SurfaceError> {
        let wrong = |what| SurfaceError::Lookup(text.to_owned(), what);
        let rest = text
            .strip_prefix(LOOKUP)
            .ok_or_else(|| wrong("does not begin with `lookup:`"))?;
        let (url, pointer) = rest
            .split_once('#')
            .ok_or_else(|| wrong("does not say where in the answer the cost stands"))?;
        let pointer = pointer.parse()?;
        let after_scheme = ["{base_url}/", "http://", "https://"]
            .iter()
            .find_map(|begin| url.strip_prefix(begin))
            .ok_or_else(|| wrong("begins with neither `{base_url}/` nor http:// or https://"))?;
        let authority = after_scheme.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            // It is not repeated either.
            return Err(SurfaceError::Lookup(
                "lookup:...".to_owned(),
                "holds a user name or password, which must not stand in a file",
            ));
        }
        if query_has_credential(url) {
            return Err(SurfaceError::Lookup(
                "lookup:...".to_owned(),
                CREDENTIAL_IN_QUERY,
            ));
        }
        let mut parts = Vec::new();
        let mut rest = url;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| wrong("has a `{` without its `}`"))?;
            let known = Name::ALL.into_iter().find(|known| known.text() == name);
            let name = known.ok_or_else(|| {
                wrong("names something unknown in braces; known are `{base_url}`, `{response_id}`, `{request_id}`, `{call_id}` and `{trace_id}`")
            })?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Name(name));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let lookup = Self {
            text: text.to_owned(),
            parts,
            pointer,
        };
        if lookup.ids().next().is_none() {
            return Err(wrong(
                "has no id in it, so it would be the same for every request",
            ));
        }
        Ok(lookup)
    }
}

impl fmt::Display for LookupUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
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
    fn a_look_up_is_made_of_an_attempts_ids() {
        let text =
            "lookup:{base_url}/api/v1/generation?id={response_id}&call={call_id}#/data/total_cost";
        let lookup: LookupUrl = text.parse().expect("valid");
        assert_eq!(lookup.to_string(), text);
        let values = |call: Option<&'static str>| {
            move |name| match name {
                Name::BaseUrl => Some("https://gateway.example"),
                Name::ResponseId => Some("gen-1/2 &#é"),
                Name::CallId => call,
                Name::RequestId | Name::TraceId => None,
            }
        };
        assert_eq!(
            lookup.url(values(Some("c~1"))).as_deref(),
            Some("https://gateway.example/api/v1/generation?id=gen-1%2F2%20%26%23%C3%A9&call=c~1")
        );
        assert_eq!(lookup.url(values(None)), None);
        assert_eq!(lookup.url(values(Some(""))), None);
        let json = r#"{"data":{"total_cost":0.00125}}"#;
        assert_eq!(lookup.pointer().digits(json), Some("0.00125"));
    }

    #[test]
    fn what_is_no_look_up_says_why() {
        for (bad, why) in [
            (
                "lookup:{base_url}/x?id={response_id}",
                "where in the answer",
            ),
            ("lookup:{base_url}/x?id={response_id}#cost", "JSON pointer"),
            ("lookup:/x?id={response_id}#/cost", "begins with neither"),
            ("lookup:{base_url}/x?id={id}#/cost", "known are"),
            (
                "lookup:{base_url}/x?id={response_id#/cost",
                "without its `}`",
            ),
            ("lookup:{base_url}/x#/cost", "no id in it"),
            ("lookup:https://a:b@c/{trace_id}#/cost", "password"),
        ] {
            let error = bad.parse::<LookupUrl>().expect_err(bad).to_string();
            assert!(error.contains(why), "{error}");
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
