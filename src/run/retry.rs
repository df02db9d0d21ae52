//! Whether an attempt is tried again, and when: pure decisions on its record.
//!
//! Only what a client library would try again is: a refusal that may pass, or a connection that
//! failed before the answer began. An answer that broke off in the middle is not, since it may
//! have been billed.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use rand::RngExt as _;

use crate::record::{Outcome, Record};
use crate::scenario::Retries;
use crate::seed;

/// How long to wait before the attempt after `record`, if there is to be one. `asked` is what the
/// target said in `retry-after`: it is honoured, and one beyond the longest wait ends the request,
/// since trying before that moment would only be refused again.
pub(super) fn wait(
    retries: &Retries,
    record: &Record,
    asked: Option<Duration>,
    seed: u64,
) -> Option<Duration> {
    if record.attempt + 1 >= retries.attempts_max || !may_pass(record) {
        return None;
    }
    if let Some(asked) = asked {
        return (asked <= retries.wait_max).then_some(asked);
    }
    let doubled = retries
        .wait_first
        .saturating_mul(1_u32.checked_shl(record.attempt).unwrap_or(u32::MAX))
        .min(retries.wait_max);
    // Jitter, so that requests that failed together do not come back together.
    let stream = format!("retry.{}.{}", record.endpoint, record.attempt);
    let share: f64 = seed::rng(seed, &stream, record.session).random_range(0.5..=1.0);
    Some(doubled.mul_f64(share))
}

/// Whether the failure may be gone at another attempt, and nothing had been answered.
fn may_pass(record: &Record) -> bool {
    match record.outcome {
        Outcome::RateLimited | Outcome::ConnectFailed | Outcome::TimeoutConnect => true,
        Outcome::HttpError => matches!(record.status, Some(408 | 409 | 425 | 500..=599)),
        Outcome::Reset | Outcome::Truncated => record.status.is_none(),
        _ => false,
    }
}

/// What the target asks to be waited: `retry-after-ms`, or `retry-after` in seconds or as a date
/// (RFC 9110, 10.2.3). `now` is the wall clock.
pub(super) fn retry_after(
    headers: &HeaderMap,
    now: impl FnOnce() -> Timestamp,
) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let of_seconds = |seconds: f64| match Duration::try_from_secs_f64(seconds) {
        Ok(duration) => Some(duration),
        // Longer than any duration is beyond any limit, not unasked.
        Err(_) => (seconds > 0.0).then_some(Duration::MAX),
    };
    let ms = text("retry-after-ms").and_then(|ms| of_seconds(ms.parse::<f64>().ok()? / 1e3));
    ms.or_else(|| {
        let after = text("retry-after")?;
        if let Ok(seconds) = after.parse() {
            return of_seconds(seconds);
        }
        let date = jiff::fmt::rfc2822::parse(after).ok()?.timestamp();
        Some(Duration::try_from(date.duration_since(now())).unwrap_or(Duration::ZERO))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;
    use crate::record::{Class, Phase};

    fn record(outcome: Outcome, status: Option<u16>, attempt: u32) -> Record {
        let mut record = Record::new(
            "0".repeat(32),
            Phase::Measured,
            Endpoint::OpenAi,
            Class::Chat,
        );
        record.outcome = outcome;
        record.status = status;
        record.attempt = attempt;
        record
    }

    const RETRIES: Retries = Retries {
        attempts_max: 4,
        wait_first: Duration::from_millis(100),
        wait_max: Duration::from_secs(2),
    };

    #[test]
    fn what_may_pass_is_tried_again_up_to_the_last_attempt() {
        let tried =
            |outcome, status| wait(&RETRIES, &record(outcome, status, 0), None, 1).is_some();
        assert!(tried(Outcome::RateLimited, Some(429)));
        assert!(tried(Outcome::ConnectFailed, None));
        assert!(tried(Outcome::Reset, None));
        assert!(tried(Outcome::Truncated, None));
        for status in [408, 409, 425, 500, 503, 529] {
            assert!(tried(Outcome::HttpError, Some(status)), "{status}");
        }
        for status in [400, 401, 404, 422] {
            assert!(!tried(Outcome::HttpError, Some(status)), "{status}");
        }
        // An answer that had begun may have been billed.
        assert!(!tried(Outcome::Reset, Some(200)));
        assert!(!tried(Outcome::Truncated, Some(200)));
        assert!(!tried(Outcome::TimeoutTotal, None));
        assert!(!tried(Outcome::Ok, Some(200)));

        let last = record(Outcome::RateLimited, Some(429), 3);
        assert_eq!(wait(&RETRIES, &last, None, 1), None);
    }

    #[test]
    fn waits_double_with_jitter_and_end_at_the_longest() {
        let waited = |attempt| {
            let retries = Retries {
                attempts_max: 99,
                ..RETRIES
            };
            wait(
                &retries,
                &record(Outcome::RateLimited, None, attempt),
                None,
                7,
            )
            .expect("not the last")
            .as_secs_f64()
        };
        for (attempt, whole) in [(0, 0.1), (1, 0.2), (2, 0.4), (10, 2.0), (50, 2.0)] {
            let waited = waited(attempt);
            assert!(
                (whole * 0.5..=whole).contains(&waited),
                "{attempt}: {waited}"
            );
        }
        assert!(
            (waited(0) - waited(0)).abs() < f64::EPSILON,
            "the same seed"
        );
    }

    #[test]
    fn what_the_target_asks_is_honoured_up_to_the_longest_wait() {
        let refused = record(Outcome::RateLimited, Some(429), 0);
        let asked = |ms| wait(&RETRIES, &refused, Some(Duration::from_millis(ms)), 1);
        assert_eq!(asked(1_500), Some(Duration::from_millis(1_500)));
        assert_eq!(asked(2_001), None);
    }

    #[test]
    fn retry_after_is_read_in_each_of_its_forms() {
        let after = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a header"));
            let now = "2026-08-01T00:00:00Z".parse().expect("a timestamp");
            retry_after(&headers, || now)
        };
        assert_eq!(after("retry-after", "3"), Some(Duration::from_secs(3)));
        assert_eq!(
            after("retry-after", "0.25"),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            after("retry-after-ms", "40"),
            Some(Duration::from_millis(40))
        );
        assert_eq!(
            after("retry-after", "Sat, 01 Aug 2026 00:00:05 GMT"),
            Some(Duration::from_secs(5))
        );
        assert_eq!(
            after("retry-after", "Fri, 01 Aug 2025 00:00:05 GMT"),
            Some(Duration::ZERO)
        );
        assert_eq!(
            after("retry-after", "99999999999999999999"),
            Some(Duration::MAX)
        );
        for odd in ["soon", "-1", ""] {
            assert_eq!(after("retry-after", odd), None, "{odd}");
        }
    }
}
