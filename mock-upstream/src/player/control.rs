//! The upstream's own endpoints, which no API has: what it is, how it does, what it wrote.
//!
//! They are answered past wiremock, the queue for slots and the faults, so they answer however busy the upstream is.

use std::fmt;
use std::io;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;

use super::reading::Reading;
use super::{Answer, Player, metrics};
use crate::billing::ledger::Format;
use crate::journal::Selection;

/// One of the upstream's own endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    Index,
    Health,
    Metrics,
    Journal,
    Ledger,
    Stats,
    Reset,
    /// Nothing, where only these endpoints are.
    Unknown,
}

/// What a person sees who opens the address in a browser.
const INDEX: &str = concat!(
    "mock-upstream ",
    env!("CARGO_PKG_VERSION"),
    ": an offline LLM upstream. Nothing it answers comes from a model.

APIs
  POST /v1/chat/completions       as OpenAI and those who imitate it
  POST /v1/messages               as Anthropic
  POST /v1/messages/count_tokens
  GET  /v1/models, /v1/models/ID
  GET  /api/v1/generation?id=ID   what an answer cost, as OpenRouter says it

Its own
  GET  /health                    {\"status\":\"ok\"}
  GET  /metrics                   counts, for Prometheus
  GET  /__mock/journal            what was received and written, one JSON object a completion request and line
         ?nonce=N                 of the requests with this nonce
         &since=SEQ               of this request and those that came after it
         &follow=true             goes on with those to come, until you hang up
  GET  /__mock/ledger?format=F    what was recorded of costs, as CSV: litellm, openrouter or focus
  GET  /__mock/stats              counts, and how late frames left
  POST /__mock/reset              forgets journal, counts, caches and queues
"
);

impl Page {
    const ALL: [Self; 7] = [
        Self::Index,
        Self::Health,
        Self::Metrics,
        Self::Journal,
        Self::Ledger,
        Self::Stats,
        Self::Reset,
    ];

    /// The page at a path; `None` if the path is none of the upstream's own.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/" | "/__mock" | "/__mock/" => Some(Self::Index),
            "/health" => Some(Self::Health),
            "/metrics" => Some(Self::Metrics),
            "/__mock/journal" => Some(Self::Journal),
            "/__mock/ledger" => Some(Self::Ledger),
            "/__mock/stats" => Some(Self::Stats),
            "/__mock/reset" => Some(Self::Reset),
            _ => path.starts_with("/__mock/").then_some(Self::Unknown),
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Index | Self::Unknown => "/__mock",
            Self::Health => "/health",
            Self::Metrics => "/metrics",
            Self::Journal => "/__mock/journal",
            Self::Ledger => "/__mock/ledger",
            Self::Stats => "/__mock/stats",
            Self::Reset => "/__mock/reset",
        }
    }

    /// The methods that it takes.
    fn methods(self) -> &'static [Method] {
        match self {
            Self::Reset => &[Method::POST],
            _ => &[Method::GET, Method::HEAD],
        }
    }

    /// The parameters of its query; `None` if it is asked by machines that add their own, which mean nothing.
    fn parameters(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Index | Self::Health | Self::Metrics | Self::Unknown => None,
            Self::Journal => Some(&["nonce", "since", "follow"]),
            Self::Ledger => Some(&["format"]),
            Self::Stats | Self::Reset => Some(&[]),
        }
    }
}

/// A query that means nothing here.
#[derive(Debug, PartialEq, Eq)]
struct BadQuery(String);

impl fmt::Display for BadQuery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    selection: Selection,
    format: Option<Format>,
}

/// Reads a query. Pages without parameters get what selects all.
fn read(page: Page, query: &str) -> Result<Query, BadQuery> {
    let mut read = Query::default();
    let Some(known) = page.parameters() else {
        return Ok(read);
    };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !known.contains(&name.as_ref()) {
            return Err(unknown(&name, page.path(), known));
        }
        let bad = |expected: &str| BadQuery(format!("{name}={value}: expected {expected}"));
        match name.as_ref() {
            "nonce" => read.selection.nonce = Some(value.into_owned()),
            "since" => {
                let since = value.parse();
                read.selection.since = since.map_err(|_| bad("a request's number, from 0"))?;
            }
            "format" => {
                let format = Format::named(&value);
                read.format = Some(format.ok_or_else(|| bad(&formats()))?);
            }
            _ => read.selection.follow = value.parse().map_err(|_| bad("true or false"))?,
        }
    }
    if page == Page::Ledger && read.format.is_none() {
        return Err(BadQuery(format!("format: expected {}", formats())));
    }
    Ok(read)
}

fn formats() -> String {
    let names = Format::NAMES.map(|(name, _)| name);
    format!("one of {}", names.join(", "))
}

fn unknown(name: &str, path: &str, known: &[&str]) -> BadQuery {
    if known.is_empty() {
        return BadQuery(format!("unknown parameter `{name}`, {path} takes none"));
    }
    let known = known.join("`, `");
    BadQuery(format!(
        "unknown parameter `{name}`, expected one of `{known}`"
    ))
}

impl Player {
    /// Answers for a page.
    pub(super) fn show(
        &self,
        page: Page,
        method: &Method,
        query: Option<&str>,
    ) -> Response<Answer> {
        if page == Page::Unknown {
            let known = Page::ALL.map(Page::path).join(", ");
            let reason = format!("unknown path, expected one of {known}\n");
            return text(StatusCode::NOT_FOUND, reason);
        }
        let methods = page.methods();
        if !methods.contains(method) {
            let allowed: Vec<_> = methods.iter().map(Method::as_str).collect();
            let allowed = allowed.join(", ");
            let reason = format!("{} does not take {method}, use {allowed}\n", page.path());
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, reason);
            let allowed = HeaderValue::try_from(allowed).expect("methods are a header value");
            response.headers_mut().insert(header::ALLOW, allowed);
            return response;
        }
        let query = match read(page, query.unwrap_or_default()) {
            Ok(query) => query,
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        self.page(page, query).unwrap_or_else(|error| {
            let reason = format!("failed to use the journal's file: {error}\n");
            text(StatusCode::INTERNAL_SERVER_ERROR, reason)
        })
    }

    fn page(&self, page: Page, query: Query) -> io::Result<Response<Answer>> {
        Ok(match page {
            Page::Index | Page::Unknown => text(StatusCode::OK, INDEX),
            Page::Health => json(&serde_json::json!({"status": "ok"})),
            Page::Stats => json(&self.counters.snapshot()),
            Page::Metrics => {
                let exposition = metrics::exposition(&self.counters);
                let exposition = exposition.expect("writing to a string does not fail");
                whole(StatusCode::OK, metrics::MEDIA_TYPE, exposition)
            }
            Page::Reset => {
                self.reset()?;
                let mut response = Response::new(Answer::Whole(Full::default()));
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }
            Page::Journal => typed(
                "application/x-ndjson",
                Answer::Journal(Reading::new(self.journal.lines(query.selection)?)),
            ),
            Page::Ledger => {
                let format = query.format.expect("a ledger's query has one");
                typed("text/csv; charset=utf-8", self.ledger(format)?)
            }
        })
    }
}

pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Answer> {
    whole(status, "text/plain; charset=utf-8", text)
}

pub(super) fn json(value: &impl serde::Serialize) -> Response<Answer> {
    let body = serde_json::to_vec(value).expect("counts serialise");
    whole(StatusCode::OK, "application/json", body)
}

pub(super) fn whole(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Answer> {
    let mut response = typed(media_type, Answer::Whole(Full::new(body.into())));
    *response.status_mut() = status;
    response
}

pub(super) fn typed(media_type: &'static str, answer: Answer) -> Response<Answer> {
    let mut response = Response::new(answer);
    let media_type = HeaderValue::from_static(media_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_a_path_of_its_own_and_a_line_in_the_index() {
        for page in Page::ALL {
            assert_eq!(Page::at(page.path()), Some(page));
            assert!(page == Page::Index || INDEX.contains(page.path()));
        }
        assert_eq!(Page::at("/__mock/else"), Some(Page::Unknown));
        assert_eq!(Page::at("/v1/models"), None);
        assert_eq!(Page::at("/__mocking"), None);
    }

    #[test]
    fn queries_are_decoded_and_held_against_what_there_is() {
        let journal = |query| read(Page::Journal, query).map(|query| query.selection);
        assert_eq!(journal(""), Ok(Selection::default()));
        let expected = Selection {
            nonce: Some("a b&c".to_owned()),
            since: 7,
            follow: true,
        };
        assert_eq!(journal("nonce=a+b%26c&since=7&follow=true"), Ok(expected));
        for (query, reason) in [
            (
                "nonse=1",
                "unknown parameter `nonse`, expected one of `nonce`, `since`, `follow`",
            ),
            ("since=-1", "since=-1: expected a request's number, from 0"),
            ("follow", "follow=: expected true or false"),
            ("follow=1", "follow=1: expected true or false"),
        ] {
            assert_eq!(journal(query), Err(BadQuery(reason.to_owned())));
        }
        let reason = "unknown parameter `x`, /__mock/stats takes none";
        assert_eq!(read(Page::Stats, "x=1"), Err(BadQuery(reason.to_owned())));
        assert_eq!(read(Page::Health, "x=1"), Ok(Query::default()));
        let formats = "expected one of litellm, openrouter, focus";
        for (query, reason) in [("", "format: "), ("format=xml", "format=xml: ")] {
            let reason = format!("{reason}{formats}");
            assert_eq!(read(Page::Ledger, query), Err(BadQuery(reason)));
        }
    }
}
