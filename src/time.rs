//! Points in time of a run. Pure arithmetic: only `clock` reads a clock.

use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the run's start on the monotonic clock; never wall clock.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Offset(u64);

impl Offset {
    /// The run's start.
    pub const ZERO: Self = Self(0);

    /// After every other.
    pub const MAX: Self = Self(u64::MAX);

    /// From nanoseconds since the run's start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From a duration since the run's start; a duration beyond 584 years saturates.
    pub fn from_duration(since_start: Duration) -> Self {
        Self(u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Nanoseconds since the run's start.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// The duration since the run's start.
    pub const fn since_start(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The nanoseconds from `earlier` to here; zero if `earlier` is in fact later.
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Offset {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(Self::from_duration(rhs).0))
    }
}

/// The measured window of one endpoint: [end of warm-up, last due]; in a closed loop, until the
/// first user found nothing left to start. Where two arms take turns it begins with the arm's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its begin.
    pub start_ns: Offset,
    /// Its end.
    pub end_ns: Offset,
    /// How long it was another arm's turn, in ns: 0 where none are taken.
    #[serde(default)]
    pub idle_ns: u64,
}

impl Window {
    /// Whether `at` lies in it.
    pub fn contains(&self, at: Offset) -> bool {
        self.start_ns <= at && at <= self.end_ns
    }

    /// Its length in seconds without the other arm's turns; `None` if it has none, since nothing is a
    /// rate over no time.
    pub fn seconds(&self) -> Option<f64> {
        let nanos = self.end_ns.nanos_since(self.start_ns);
        let nanos = nanos.saturating_sub(self.idle_ns);
        (nanos > 0).then(|| nanos as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_as_long_as_its_own_turns() {
        let window = |idle_ns| Window {
            start_ns: Offset::from_nanos(1_000_000_000),
            end_ns: Offset::from_nanos(4_000_000_000),
            idle_ns,
        };
        assert_eq!(window(0).seconds(), Some(3.0));
        assert_eq!(window(1_000_000_000).seconds(), Some(2.0));
        assert_eq!(window(3_000_000_000).seconds(), None);
        let old: Window = serde_json::from_str(r#"{"start_ns":1,"end_ns":2}"#).expect("facts/3");
        assert_eq!(old.idle_ns, 0);
    }

    #[test]
    fn differences_never_wrap() {
        let (early, late) = (Offset::from_nanos(5), Offset::from_nanos(9));
        assert_eq!(late.nanos_since(early), 4);
        assert_eq!(early.nanos_since(late), 0);
        assert_eq!(
            Offset::from_nanos(u64::MAX) + Duration::from_secs(1),
            Offset::from_nanos(u64::MAX)
        );
    }
}
