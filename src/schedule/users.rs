//! A closed loop: users that start a session when their last one was answered.

use std::time::Duration;

use super::{Part, Stages};
use crate::seed::Wait;
use crate::slice::Slice;
use crate::time::Offset;

/// The users of one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Users {
    /// How many there are at once, at most; at least one.
    pub concurrency: u32,
    /// How long a user waits between an answer and its next session.
    pub think_time: Wait,
    /// Who is at work when.
    pub presence: Presence,
}

/// Which users are at work at a moment; they are numbered from 0 over the whole load.
#[derive(Clone, Debug, PartialEq)]
pub enum Presence {
    /// Each one to the end. User `i` of `n` begins `stagger * i / n` after the load does.
    Stay {
        /// The time over which they begin; zero for all at once.
        stagger: Duration,
    },
    /// User `i` while the stages' level is above `i`. One that no longer is ends its session, and
    /// starts no other. The warm-up keeps the level that the stages begin with.
    Staged(Stages),
}

impl Users {
    /// Users that all start at once and never wait.
    pub const fn busy(concurrency: u32) -> Self {
        Self {
            concurrency,
            think_time: Wait::Fixed(Duration::ZERO),
            presence: Presence::Stay {
                stagger: Duration::ZERO,
            },
        }
    }

    /// When user `number` may start a session, from `from` on; `None` if never again. Times are
    /// from the begin of the load, whose measured part begins at `measured`.
    pub fn at_work(&self, number: u64, from: Offset, measured: Offset) -> Option<Offset> {
        match &self.presence {
            Presence::Stay { stagger } => {
                let nanos = stagger.as_nanos() * u128::from(number) / u128::from(self.concurrency);
                let begins = Offset::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
                Some(from.max(begins))
            }
            Presence::Staged(stages) => {
                let level = number as f64;
                if from < measured && stages.first() > level {
                    return Some(from);
                }
                let within = Duration::from_nanos(from.nanos_since(measured));
                stages.above(level, within).map(|at| measured + at)
            }
        }
    }

    /// How long a user waits after `session` of `part`: the same whoever sent it, and when.
    pub fn think(&self, part: Part, seed: u64, session: u64) -> Duration {
        self.think_time
            .draw(seed, &format!("{}.think", part.stream()), session)
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
    use super::super::Stage;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn users(think_time: Wait) -> Users {
        Users {
            think_time,
            ..Users::busy(3)
        }
    }

    #[test]
    fn users_begin_evenly_over_the_stagger_whoever_drives_them() {
        let staggered = Users {
            presence: Presence::Stay { stagger: SECOND },
            ..Users::busy(3)
        };
        let begin = |users: &Users, number: u64| {
            let begins = users.at_work(number, Offset::ZERO, Offset::ZERO);
            begins.expect("each begins").nanos()
        };
        let begins: Vec<_> = (0..3).map(|i| begin(&staggered, i)).collect();
        assert_eq!(begins, [0, 333_333_333, 666_666_666]);
        assert_eq!(begin(&Users::busy(3), 2), 0);
        let later = Offset::from_nanos(400_000_000);
        assert_eq!(staggered.at_work(1, later, Offset::ZERO), Some(later));
        // Slices number their users as the whole does.
        let mut union: Vec<_> = (0..2)
            .map(|i| (Slice::new(i, 2).expect("i < 2"), &staggered))
            .flat_map(|(slice, staggered)| {
                (0..slice.count(3)).map(move |n| begin(staggered, slice.session(n)))
            })
            .collect();
        union.sort_unstable();
        assert_eq!(union, begins);
    }

    #[test]
    fn users_come_and_go_with_the_level_of_the_stages() {
        let stage = |seconds, from, to| Stage {
            duration: Duration::from_secs(seconds),
            from,
            to,
        };
        // Up to 4 in 4 s, 2 for 2 s, nobody for 1 s, 1 for 1 s.
        let stages = [
            stage(4, 0.0, 4.0),
            stage(2, 2.0, 2.0),
            stage(1, 0.0, 0.0),
            stage(1, 1.0, 1.0),
        ];
        let users = Users {
            presence: Presence::Staged(Stages::new(&stages).expect("sound stages")),
            ..Users::busy(4)
        };
        let at = |number: u64, from_ms: u64| {
            let [from, measured] = [from_ms, 1_000].map(|ms| Offset::from_nanos(ms * 1_000_000));
            let at = users.at_work(number, from, measured);
            at.map(|at| at.nanos() / 1_000_000)
        };
        // Nobody in the second of warm-up, then one a second.
        assert_eq!(
            [0, 1, 2, 3].map(|i| at(i, 0)),
            [1_000, 2_000, 3_000, 4_000].map(Some)
        );
        assert_eq!(at(3, 4_999), Some(4_999));
        assert_eq!([2, 3].map(|i| at(i, 5_000)), [None, None]);
        assert_eq!(at(1, 6_999), Some(6_999));
        assert_eq!([0, 1].map(|i| at(i, 7_000)), [Some(8_000), None]);
        assert_eq!(at(0, 9_000), None);

        // A level that is only touched is not above.
        let touched = [stage(1, 0.0, 1.0), stage(1, 0.0, 0.0), stage(1, 2.0, 2.0)];
        let touched = Users {
            presence: Presence::Staged(Stages::new(&touched).expect("sound stages")),
            ..Users::busy(2)
        };
        assert_eq!(
            touched.at_work(1, Offset::ZERO, Offset::ZERO),
            Some(Offset::from_duration(2 * SECOND))
        );

        // A warm-up keeps the first level; on the way down, the last to come goes first.
        let down = Users {
            presence: Presence::Staged(Stages::new(&[stage(4, 4.0, 0.0)]).expect("sound stages")),
            ..Users::busy(4)
        };
        let at = |number: u64, from_ms: u64| {
            let [from, measured] = [from_ms, 1_000].map(|ms| Offset::from_nanos(ms * 1_000_000));
            down.at_work(number, from, measured) == Some(from)
        };
        assert_eq!([0, 1, 2, 3].map(|i| at(i, 500)), [true; 4]);
        assert_eq!(
            [0, 1, 2, 3].map(|i| at(i, 3_500)),
            [true, true, false, false]
        );
    }

    #[test]
    fn think_times_depend_on_seed_part_and_session_alone() {
        let users = users(Wait::Exponential { mean: SECOND });
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
            (Wait::Fixed(2 * SECOND), 2.0, 0.0),
            (
                Wait::Uniform {
                    min: low,
                    max: high,
                },
                2.0,
                2.0 / 12.0_f64.sqrt(),
            ),
            (Wait::Exponential { mean: 2 * SECOND }, 2.0, 2.0),
            (
                Wait::Lognormal {
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
            if let Wait::Uniform { min, max } = think_time {
                assert!(draws.iter().all(|d| (min..=max).contains(d)));
            }
        }
        let cut = users(Wait::Lognormal {
            median: SECOND,
            sigma: 2.0,
            max: low,
        });
        assert!((0..100).all(|k| cut.think(Part::Measured, 5, k) <= low));
    }
}
