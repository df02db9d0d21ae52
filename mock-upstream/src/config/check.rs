//! What a value may be, beyond its type.

use http::HeaderName;

/// A value that cannot be.
#[derive(Debug)]
pub(super) struct Problem {
    /// The dotted key; an element of a list is named by its index.
    pub(super) key: String,
    pub(super) message: String,
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }

    /// The same problem of something inside of `parent`.
    pub(super) fn within(self, parent: &str) -> Self {
        Self {
            key: format!("{parent}.{}", self.key),
            ..self
        }
    }
}

/// A wait longer than an hour is a mistake in the unit.
const MILLISECONDS_MAX: f64 = 3_600_000.0;

pub(super) fn is_time(ms: f64) -> bool {
    (0.0..=MILLISECONDS_MAX).contains(&ms)
}

pub(super) fn milliseconds(key: impl Into<String>, value: f64) -> Result<(), Problem> {
    if is_time(value) {
        return Ok(());
    }
    let message = "expected milliseconds from 0 to 3600000 (an hour)";
    Err(Problem::new(key, message))
}

pub(super) fn at_least_one(key: impl Into<String>, value: u64) -> Result<(), Problem> {
    if value == 0 {
        return Err(Problem::new(key, "must be at least 1"));
    }
    Ok(())
}

pub(super) fn at_most(key: impl Into<String>, value: u64, limit: u64) -> Result<(), Problem> {
    if value > limit {
        let message = format!("{value} is too many, at most {limit}");
        return Err(Problem::new(key, message));
    }
    Ok(())
}

/// Headers that the server or the upstream writes itself: another value would break the framing of a message, or would
/// not be seen by anyone.
const RESERVED_HEADERS: [&str; 14] = [
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "proxy-connection",
    "request-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-mock-cache",
    "x-request-id",
];

/// Checks the name of a header that an answer gets.
pub(super) fn header_name(key: impl Into<String>, name: &str) -> Result<(), Problem> {
    let Ok(parsed) = HeaderName::try_from(name) else {
        return Err(Problem::new(key, format!("`{name}` is no header name")));
    };
    if RESERVED_HEADERS.contains(&parsed.as_str()) {
        let message = format!("`{name}` is a header that the upstream writes itself");
        return Err(Problem::new(key, message));
    }
    Ok(())
}

pub(super) fn share(key: impl Into<String>, value: f64) -> Result<(), Problem> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    let message = format!("{value} is no share, expected 0 to 1");
    Err(Problem::new(key, message))
}
