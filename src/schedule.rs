//! When to send: arrival processes and closed loops as state machines.
//!
//! In: a [`Spec`], the seed and a slice. Out: the due times of an open loop, or the tickets of a
//! closed one. It reads no clock: the caller says what time it is. Warm-up and the measured load
//! are two phases with streams of draws of their own, one right after the other.
//!
//! A closed loop draws sessions by ticket, not by (user, turn): whatever the timing, a run of
//! `count` sessions sends exactly the sessions `0..count`, so two runs and both endpoints do the
//! same work.

use std::time::Duration;

use rand_distr::{Distribution as _, Exp1};

use crate::seed;
use crate::slice::Slice;
use crate::time::Offset;

/// The load of one endpoint: arrivals, how long, and how many at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// What makes a session start.
    pub arrivals: Arrivals,
    /// Length of the warm-up; zero for none.
    pub warmup: Duration,
    /// Measured sessions, at most. At least one of `count` and `duration` is set.
    pub count: Option<u64>,
    /// Length of the measured arrivals, at most.
    pub duration: Option<Duration>,
    /// Requests in flight at one endpoint, at most; an arrival beyond is dropped.
    pub max_in_flight: u32,
}

/// What makes a session start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// Closed loop: this many users, each starting its next session when the last one ended.
    Closed {
        /// Users of one endpoint.
        concurrency: u32,
    },
    /// Open loop, evenly spaced.
    Constant {
        /// Sessions per second and endpoint; above zero.
        rate: f64,
    },
    /// Open loop, exponential gaps.
    Poisson {
        /// Mean sessions per second and endpoint; above zero.
        rate: f64,
    },
}

impl Arrivals {
    /// Whether sessions start whatever the upstream does.
    pub const fn is_open(self) -> bool {
        !matches!(self, Self::Closed { .. })
    }
}

/// One of the two parts of a run that a schedule knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The warm-up: from 0 to `warmup`.
    Warmup,
    /// The measured load: from `warmup` on.
    Measured,
}

impl Part {
    /// The prefix of this part's streams of draws.
    pub const fn stream(self) -> &'static str {
        match self {
            Self::Warmup => "warmup",
            Self::Measured => "measured",
        }
    }
}

impl Spec {
    /// When `part` begins.
    pub fn begins(&self, part: Part) -> Offset {
        match part {
            Part::Warmup => Offset::ZERO,
            Part::Measured => Offset::from_duration(self.warmup),
        }
    }

    /// The moment from which `part` starts no more sessions; `None` if only the count ends it.
    pub fn ends(&self, part: Part) -> Option<Offset> {
        match part {
            Part::Warmup => Some(Offset::from_duration(self.warmup)),
            Part::Measured => self.duration.map(|length| self.begins(part) + length),
        }
    }

    fn count(&self, part: Part) -> u64 {
        match part {
            Part::Warmup => u64::MAX,
            Part::Measured => self.count.unwrap_or(u64::MAX),
        }
    }

    /// Sessions of `part` in the whole load, exactly; `None` where only time will tell (a closed
    /// loop that ends by duration).
    pub fn sessions(&self, part: Part, seed: u64) -> Option<u64> {
        if part == Part::Warmup && self.warmup.is_zero() {
            return Some(0);
        }
        match (self.arrivals, part) {
            (Arrivals::Closed { .. }, Part::Warmup) => None,
            (Arrivals::Closed { .. }, Part::Measured) if self.duration.is_some() => None,
            (Arrivals::Closed { .. }, Part::Measured) => self.count,
            _ => Some(self.due_times(part, seed, Slice::WHOLE).count() as u64),
        }
    }

    /// The sessions of an open loop that belong to `slice`, in order of due time.
    ///
    /// # Panics
    /// If the arrivals are a closed loop's.
    pub fn due_times(&self, part: Part, seed: u64, slice: Slice) -> DueTimes {
        assert!(self.arrivals.is_open(), "a closed loop has no due times");
        DueTimes {
            arrivals: self.arrivals,
            begins: self.begins(part),
            ends: self.ends(part),
            count: self.count(part),
            seed,
            stream: format!("{}.arrivals", part.stream()),
            slice,
            next: 0,
            elapsed_s: 0.0,
        }
    }

    /// The tickets of a closed loop that belong to `slice`.
    pub fn tickets(&self, part: Part, slice: Slice) -> Tickets {
        Tickets {
            ends: self.ends(part),
            left: slice.count(self.count(part)),
            taken: 0,
            slice,
        }
    }
}

/// The arrivals of an open loop: an iterator of (session, due).
#[derive(Clone, Debug)]
pub struct DueTimes {
    arrivals: Arrivals,
    begins: Offset,
    ends: Option<Offset>,
    count: u64,
    seed: u64,
    stream: String,
    slice: Slice,
    next: u64,
    elapsed_s: f64,
}

impl Iterator for DueTimes {
    type Item = (u64, Offset);

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.count {
            let session = self.next;
            let since_begin_s = match self.arrivals {
                Arrivals::Constant { rate } => session as f64 / rate,
                Arrivals::Poisson { rate } => {
                    let gap: f64 = Exp1.sample(&mut seed::rng(self.seed, &self.stream, session));
                    self.elapsed_s += gap / rate;
                    self.elapsed_s
                }
                Arrivals::Closed { .. } => unreachable!("asserted in due_times"),
            };
            let due = self.begins + Duration::try_from_secs_f64(since_begin_s).ok()?;
            if self.ends.is_some_and(|end| due >= end) {
                return None;
            }
            self.next += 1;
            if self.slice.owns(session) {
                return Some((session, due));
            }
        }
        None
    }
}

/// The sessions that a closed loop's users draw from, one endpoint's and one slice's.
#[derive(Clone, Debug)]
pub struct Tickets {
    ends: Option<Offset>,
    left: u64,
    taken: u64,
    slice: Slice,
}

impl Tickets {
    /// Whether no session is left, however much time there is.
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The next session, for a user that is free at `now`; `None` when this part has ended.
    pub fn take(&mut self, now: Offset) -> Option<u64> {
        if self.left == 0 || self.ends.is_some_and(|end| now >= end) {
            return None;
        }
        self.left -= 1;
        let session = self.slice.session(self.taken);
        self.taken += 1;
        Some(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(arrivals: Arrivals, count: Option<u64>, seconds: Option<u64>) -> Spec {
        Spec {
            arrivals,
            warmup: Duration::from_secs(1),
            count,
            duration: seconds.map(Duration::from_secs),
            max_in_flight: 10,
        }
    }

    #[test]
    fn constant_arrivals_are_evenly_spaced_and_exactly_counted() {
        let spec = open(Arrivals::Constant { rate: 50.0 }, None, Some(2));
        let due: Vec<_> = spec.due_times(Part::Measured, 1, Slice::WHOLE).collect();
        assert_eq!(due.len(), 100);
        assert_eq!(due[0], (0, Offset::from_nanos(1_000_000_000)));
        assert_eq!(due[99], (99, Offset::from_nanos(2_980_000_000)));
        assert_eq!(spec.sessions(Part::Measured, 1), Some(100));
        assert_eq!(spec.sessions(Part::Warmup, 1), Some(50));
    }

    #[test]
    fn whichever_limit_comes_first_ends_the_arrivals() {
        let rate = Arrivals::Constant { rate: 10.0 };
        assert_eq!(
            open(rate, Some(5), Some(2)).sessions(Part::Measured, 1),
            Some(5)
        );
        assert_eq!(
            open(rate, Some(500), Some(2)).sessions(Part::Measured, 1),
            Some(20)
        );
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_variance_of_their_rate() {
        let spec = open(Arrivals::Poisson { rate: 200.0 }, Some(20_000), None);
        let due: Vec<_> = spec
            .due_times(Part::Measured, 7, Slice::WHOLE)
            .map(|(_, d)| d)
            .collect();
        let gaps: Vec<f64> = due
            .windows(2)
            .map(|w| w[1].nanos_since(w[0]) as f64 / 1e9)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Five standard errors of 20,000 exponential draws, with a fixed seed.
        assert!((mean * 200.0 - 1.0).abs() < 0.036, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{variance}");
    }

    #[test]
    fn the_union_of_the_slices_is_the_whole() {
        for arrivals in [
            Arrivals::Constant { rate: 30.0 },
            Arrivals::Poisson { rate: 30.0 },
        ] {
            let spec = open(arrivals, None, Some(3));
            let whole: Vec<_> = spec.due_times(Part::Measured, 3, Slice::WHOLE).collect();
            for n in 1..5 {
                let mut union: Vec<_> = (0..n)
                    .flat_map(|i| {
                        spec.due_times(Part::Measured, 3, Slice::new(i, n).expect("i < n"))
                    })
                    .collect();
                union.sort_unstable();
                assert_eq!(union, whole);
            }
        }
    }

    #[test]
    fn tickets_stop_at_the_count_and_at_the_end() {
        let closed = Arrivals::Closed { concurrency: 2 };
        let spec = open(closed, Some(5), None);
        let slice = Slice::new(1, 2).expect("1 < 2");
        let mut tickets = spec.tickets(Part::Measured, slice);
        let now = Offset::from_nanos(1);
        assert_eq!(
            [tickets.take(now), tickets.take(now), tickets.take(now)],
            [Some(1), Some(3), None]
        );

        let mut warmup = spec.tickets(Part::Warmup, Slice::WHOLE);
        assert_eq!(warmup.take(Offset::ZERO), Some(0));
        assert_eq!(
            warmup.take(Offset::from_duration(Duration::from_secs(1))),
            None
        );
    }
}
