//! A closed loop: users that start a session when their last one was answered.

use std::time::Duration;

use rand_distr::{Distribution as _, Exp1, LogNormal};

use super::Part;
use crate::seed;
use crate::slice::Slice;
use crate::time::Offset;

/// The users of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Users {
    /// How many; at least one.
    pub concurrency: u32,
    /// How long a user waits between an answer and its next session.
    pub think_time: ThinkTime,
    /// The users' first sessions are spread evenly over this time.
    pub stagger: Duration,
}

impl Users {
    /// Users that all start at once and never wait.
    pub const fn busy(concurrency: u32) -> Self {
        Self {
            concurrency,
            think_time: ThinkTime::Fixed(Duration::ZERO),
            stagger: Duration::ZERO,
        }
    }

    /// When user `number` (from 0) of the whole load begins, from the begin of the load:
    /// `stagger * number / concurrency`, to the nanosecond below.
    pub fn begins(&self, number: u64) -> Offset {
        let nanos = self.stagger.as_nanos() * u128::from(number) / u128::from(self.concurrency);
        Offset::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How long a user waits after `session` of `part`: the same whoever sent it, and when.
    pub fn think(&self, part: Part, seed: u64, session: u64) -> Duration {
        self.think_time
            .draw(seed, &format!("{}.think", part.stream()), session)
    }
}

/// How long a user waits between an answer and its next session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThinkTime {
    /// Always so long; zero for not at all.
    Fixed(Duration),
    /// Anything between two, equally likely.
    Uniform {
        /// The shortest.
        min: Duration,
        /// The longest; not below `min`.
        max: Duration,
    },
    /// Exponential, without an upper limit.
    Exponential {
        /// The mean.
        mean: Duration,
    },
    /// Log-normal, cut at `max`.
    Lognormal {
        /// The median.
        median: Duration,
        /// Standard deviation of the logarithm; finite and not negative.
        sigma: f64,
        /// The longest; a draw beyond it becomes it.
        max: Duration,
    },
}

impl ThinkTime {
    fn draw(self, seed: u64, stream: &str, session: u64) -> Duration {
        let rng = || seed::rng(seed, stream, session);
        let seconds = |s: f64| Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX);
        match self {
            Self::Fixed(time) => time,
            Self::Uniform { min, max } => {
                let share: f64 = rand_distr::StandardUniform.sample(&mut rng());
                min + max.saturating_sub(min).mul_f64(share)
            }
            Self::Exponential { mean } => {
                let drawn: f64 = Exp1.sample(&mut rng());
                seconds(mean.as_secs_f64() * drawn)
            }
            Self::Lognormal { median, sigma, max } => {
                let drawn = LogNormal::new(0.0, sigma)
                    .expect("sigma is finite and not negative")
                    .sample(&mut rng());
                seconds(median.as_secs_f64() * drawn).min(max)
            }
        }
    }
}

/// The sessions that a closed loop's users draw from, one endpoint's and one slice's.
#[derive(Clone, Debug)]
pub struct Tickets {
    pub(super) ends: Option<Offset>,
    pub(super) left: u64,
    pub(super) taken: u64,
    pub(super) slice: Slice,
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

    const SECOND: Duration = Duration::from_secs(1);

    fn users(think_time: ThinkTime) -> Users {
        Users {
            think_time,
            ..Users::busy(3)
        }
    }

    #[test]
    fn users_begin_evenly_over_the_stagger_whoever_drives_them() {
        let staggered = Users {
            stagger: SECOND,
            ..Users::busy(3)
        };
        let begins: Vec<_> = (0..3).map(|i| staggered.begins(i).nanos()).collect();
        assert_eq!(begins, [0, 333_333_333, 666_666_666]);
        assert_eq!(Users::busy(3).begins(2), Offset::ZERO);
        // Slices number their users as the whole does.
        let mut union: Vec<_> = (0..2)
            .map(|i| Slice::new(i, 2).expect("i < 2"))
            .flat_map(|slice| {
                (0..slice.count(3)).map(move |n| staggered.begins(slice.session(n)).nanos())
            })
            .collect();
        union.sort_unstable();
        assert_eq!(union, begins);
    }

    #[test]
    fn think_times_depend_on_seed_part_and_session_alone() {
        let users = users(ThinkTime::Exponential { mean: SECOND });
        let first = users.think(Part::Measured, 1, 7);
        assert_eq!(first, users.think(Part::Measured, 1, 7));
        for other in [
            users.think(Part::Measured, 2, 7),
            users.think(Part::Measured, 1, 8),
            users.think(Part::Warmup, 1, 7),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn think_times_have_the_mean_of_their_distribution() {
        let n = 20_000_u64;
        let (low, high) = (SECOND, 3 * SECOND);
        // (distribution, mean, standard deviation) in seconds.
        for (think_time, mean, deviation) in [
            (ThinkTime::Fixed(2 * SECOND), 2.0, 0.0),
            (
                ThinkTime::Uniform {
                    min: low,
                    max: high,
                },
                2.0,
                2.0 / 12.0_f64.sqrt(),
            ),
            (ThinkTime::Exponential { mean: 2 * SECOND }, 2.0, 2.0),
            (
                ThinkTime::Lognormal {
                    median: 2 * SECOND,
                    sigma: 0.5,
                    max: 1_000 * SECOND,
                },
                2.0 * 0.125_f64.exp(),
                2.0 * 0.125_f64.exp() * (0.25_f64.exp() - 1.0).sqrt(),
            ),
        ] {
            let users = users(think_time);
            let draws: Vec<Duration> = (0..n).map(|k| users.think(Part::Measured, 5, k)).collect();
            let found = draws.iter().map(Duration::as_secs_f64).sum::<f64>() / n as f64;
            // Five standard errors, with a fixed seed.
            let error = 5.0 * deviation / (n as f64).sqrt() + 1e-9;
            assert!((found - mean).abs() < error, "{think_time:?}: {found}");
            if let ThinkTime::Uniform { min, max } = think_time {
                assert!(draws.iter().all(|d| (min..=max).contains(d)));
            }
        }
        let cut = users(ThinkTime::Lognormal {
            median: SECOND,
            sigma: 2.0,
            max: low,
        });
        assert!((0..100).all(|k| cut.think(Part::Measured, 5, k) <= low));
    }
}
