//! When to send: arrival processes under a rate profile, closed loops and replays, as state machines.
//!
//! In: a [`Spec`], the seed and a slice. Out: the due times of an open loop, or the tickets and
//! think times of a closed one. It reads no clock: the caller says what time it is. Warm-up and the
//! measured load are two phases with streams of draws of their own, one right after the other; only
//! a replay is one list of due times, whose first `warmup` is the warm-up.
//!
//! An open loop is an arrival [`Process`] (how regular) times a [`Profile`] (how many a second, over
//! time). The process is drawn at a rate of one and stretched by the inverse of the profile's
//! integral, which is exact for every process: nothing is drawn and thrown away.
//!
//! A closed loop draws sessions by ticket, not by (user, turn): whatever the timing, a run of
//! `count` sessions sends exactly the sessions `0..count`, so two runs and both endpoints do the
//! same work. Memory does not grow with the run; a replay holds its file's due times.

mod process;
mod profile;
mod replay;
mod users;

use std::time::Duration;

use crate::seed;
use crate::slice::Slice;
use crate::time::Offset;

pub use process::{Burstiness, Process};
pub use profile::{Profile, Stage, Stages};
pub use replay::{Replay, ReplayError};
pub use users::{Presence, Tickets, Users};

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
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// Closed loop: a user that was answered.
    Closed(Users),
    /// Open loop: time alone.
    Open {
        /// How regularly.
        process: Process,
        /// How many a second.
        profile: Profile,
    },
    /// Open loop: the due times of a file.
    Replay(Replay),
}

impl Arrivals {
    /// Whether sessions start whatever the upstream does.
    pub const fn is_open(&self) -> bool {
        !matches!(self, Self::Closed(_))
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

/// Sessions that are counted one by one, at most: that takes a second or so.
pub const COUNTED_MAX: u64 = 1_000_000;

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

    /// How long measured sessions start, at most; `None` if only the count ends them.
    pub fn length(&self) -> Option<Duration> {
        match &self.arrivals {
            Arrivals::Replay(replay) => {
                let begins = self.begins(Part::Measured);
                let listed = Duration::from_nanos(replay.last().nanos_since(begins));
                Some(self.duration.map_or(listed, |length| length.min(listed)))
            }
            Arrivals::Closed(_) | Arrivals::Open { .. } => self.duration,
        }
    }

    fn count(&self, part: Part) -> u64 {
        match part {
            Part::Warmup => u64::MAX,
            Part::Measured => self.count.unwrap_or(u64::MAX),
        }
    }

    /// Sessions of `part` in the whole load, exactly up to [`COUNTED_MAX`], and as many as are to be
    /// expected beyond it; `None` where only time will tell (a closed loop that ends by duration).
    pub fn sessions(&self, part: Part, seed: u64) -> Option<u64> {
        if part == Part::Warmup && self.warmup.is_zero() {
            return Some(0);
        }
        match (&self.arrivals, part) {
            (Arrivals::Closed(_), Part::Warmup) => None,
            (Arrivals::Closed(_), Part::Measured) if self.duration.is_some() => None,
            (Arrivals::Closed(_), Part::Measured) => self.count,
            _ => match self.expected(part) {
                Some(many) if many > COUNTED_MAX => Some(many),
                _ => Some(self.due_times(part, seed, Slice::WHOLE).count() as u64),
            },
        }
    }

    /// Sessions of `part` of an open loop, as many as its rate comes to; `None` for a replay.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "zero or above, and it saturates"
    )]
    fn expected(&self, part: Part) -> Option<u64> {
        let Arrivals::Open { profile, .. } = &self.arrivals else {
            return None;
        };
        let length = match part {
            Part::Warmup => Some(self.warmup),
            Part::Measured => self.duration,
        };
        let sessions = profile.of(part).sessions(length);
        Some((sessions as u64).min(self.count(part)))
    }

    /// The sessions of an open loop that belong to `slice`, in order of due time.
    ///
    /// # Panics
    /// If the arrivals are a closed loop's.
    pub fn due_times(&self, part: Part, seed: u64, slice: Slice) -> DueTimes {
        let begins = self.begins(part);
        DueTimes {
            source: match &self.arrivals {
                Arrivals::Closed(_) => panic!("a closed loop has no due times"),
                Arrivals::Open { process, profile } => Source::Drawn(Drawn {
                    process: *process,
                    profile: profile.of(part),
                    begins,
                    seed,
                    stream: format!("{}.arrivals", part.stream()),
                    reached: 0.0,
                }),
                Arrivals::Replay(replay) => Source::Listed {
                    next: replay.before(begins),
                    replay: replay.clone(),
                },
            },
            ends: self.ends(part),
            count: self.count(part),
            slice,
            next: 0,
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
    source: Source,
    ends: Option<Offset>,
    count: u64,
    slice: Slice,
    next: u64,
}

/// Where due times come from, one after the other.
#[derive(Clone, Debug)]
enum Source {
    Drawn(Drawn),
    Listed { replay: Replay, next: usize },
}

/// A process under a profile.
#[derive(Clone, Debug)]
struct Drawn {
    process: Process,
    profile: Profile,
    begins: Offset,
    seed: u64,
    stream: String,
    /// How far the gaps have come, in the profile's units.
    reached: f64,
}

impl Drawn {
    /// The due time of `session`, which follows the one that was asked for before.
    fn due(&mut self, session: u64) -> Option<Offset> {
        let unit = self.profile.sessions_per_unit();
        let rng = || seed::rng(self.seed, &self.stream, session);
        match self.process.draw(rng) {
            Some(gap) => self.reached += gap / unit,
            None => self.reached = session as f64 / unit,
        }
        Some(self.begins + self.profile.when(self.reached)?)
    }
}

impl Iterator for DueTimes {
    type Item = (u64, Offset);

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.count {
            let session = self.next;
            let due = match &mut self.source {
                Source::Drawn(drawn) => drawn.due(session)?,
                Source::Listed { replay, next } => {
                    let due = replay.due(*next)?;
                    *next += 1;
                    due
                }
            };
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn spec(arrivals: Arrivals, count: Option<u64>, seconds: Option<u64>) -> Spec {
        Spec {
            arrivals,
            warmup: Duration::from_secs(1),
            count,
            duration: seconds.map(Duration::from_secs),
            max_in_flight: 10,
        }
    }

    fn flat(process: Process, rate: f64) -> Arrivals {
        Arrivals::Open {
            process,
            profile: Profile::Flat { rate },
        }
    }

    fn constant(rate: f64) -> Arrivals {
        flat(Process::Constant, rate)
    }

    fn gamma(shape: f64) -> Process {
        Process::Gamma(Burstiness::new(shape).expect("in range"))
    }

    /// A process under stages of (seconds, from, to).
    fn staged(process: Process, list: &[(u64, f64, f64)]) -> Arrivals {
        let list: Vec<Stage> = list
            .iter()
            .map(|&(seconds, from, to)| Stage {
                duration: Duration::from_secs(seconds),
                from,
                to,
            })
            .collect();
        Arrivals::Open {
            process,
            profile: Profile::Staged(Stages::new(&list).expect("sound stages")),
        }
    }

    fn replay(text: &str) -> Arrivals {
        Arrivals::Replay(Replay::read("a.csv", text.as_bytes()).expect("a sound file"))
    }

    fn due(spec: &Spec, part: Part, seed: u64) -> Vec<u64> {
        spec.due_times(part, seed, Slice::WHOLE)
            .map(|(_, due)| due.nanos())
            .collect()
    }

    #[test]
    fn constant_arrivals_are_evenly_spaced_and_exactly_counted() {
        let spec = spec(constant(50.0), None, Some(2));
        let due: Vec<_> = spec.due_times(Part::Measured, 1, Slice::WHOLE).collect();
        assert_eq!(due.len(), 100);
        assert_eq!(due[0], (0, Offset::from_nanos(1_000_000_000)));
        assert_eq!(due[99], (99, Offset::from_nanos(2_980_000_000)));
        assert_eq!(spec.sessions(Part::Measured, 1), Some(100));
        assert_eq!(spec.sessions(Part::Warmup, 1), Some(50));
    }

    #[test]
    fn loads_without_end_are_not_counted_one_by_one() {
        let huge = spec(flat(Process::Poisson, 1e9), None, Some(36_000));
        assert_eq!(huge.sessions(Part::Warmup, 1), Some(1_000_000_000));
        assert_eq!(huge.sessions(Part::Measured, 1), Some(36_000_000_000_000));
        let counted = spec(constant(5.0), Some(u64::MAX), None);
        assert_eq!(counted.sessions(Part::Measured, 1), Some(u64::MAX));
        let few = spec(flat(gamma(0.5), 1e9), Some(7), None);
        assert_eq!(few.sessions(Part::Measured, 1), Some(7));
        // 10 s up from nothing, and half of 100 s down to half of that.
        let stages = [(10, 0.0, 2e9), (100, 2e9, 0.0)];
        let ramps = spec(staged(gamma(2.0), &stages), None, Some(60));
        let expected = 10_000_000_000 + 75_000_000_000;
        assert_eq!(ramps.sessions(Part::Measured, 1), Some(expected));
        assert_eq!(ramps.sessions(Part::Warmup, 1), Some(0), "at no rate");
    }

    #[test]
    fn whichever_limit_comes_first_ends_the_arrivals() {
        for (arrivals, count, seconds, expected) in [
            (constant(10.0), Some(5), Some(2), 5),
            (constant(10.0), Some(500), Some(2), 20),
            (
                staged(Process::Constant, &[(3, 10.0, 10.0)]),
                Some(7),
                None,
                7,
            ),
            (
                staged(Process::Constant, &[(3, 10.0, 10.0)]),
                Some(70),
                None,
                30,
            ),
            (replay("due_s\n0\n1\n1\n2\n3"), None, None, 4),
            (replay("due_s\n0\n1\n1\n2\n3"), Some(2), None, 2),
            (replay("due_s\n0\n1\n1\n2\n3"), None, Some(2), 3),
        ] {
            let spec = spec(arrivals, count, seconds);
            assert_eq!(spec.sessions(Part::Measured, 1), Some(expected), "{spec:?}");
        }
    }

    #[test]
    fn the_draws_of_a_seed_stay_what_they_are() {
        // A plan is named by its seed: whoever changes these numbers changes every plan.
        let poisson = spec(flat(Process::Poisson, 40.0), Some(4), None);
        assert_eq!(
            due(&poisson, Part::Measured, 7),
            [1_007_370_446, 1_017_252_238, 1_047_803_738, 1_063_142_710]
        );
        let many = spec(flat(Process::Poisson, 40.0), Some(100_000), None);
        let sum: u64 = due(&many, Part::Measured, 7).iter().sum();
        assert_eq!(
            sum, 124_898_323_810_933_711,
            "each of them to the nanosecond"
        );
        let thirds = spec(constant(3.0), Some(4), None);
        assert_eq!(
            due(&thirds, Part::Measured, 7),
            [SECOND, 1_333_333_333, 1_666_666_667, 2 * SECOND]
        );
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_variance_of_their_rate() {
        let spec = spec(flat(Process::Poisson, 200.0), Some(20_000), None);
        let due = due(&spec, Part::Measured, 7);
        let gaps: Vec<f64> = due.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e9).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Five standard errors of 20,000 exponential draws, with a fixed seed.
        assert!((mean * 200.0 - 1.0).abs() < 0.036, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{variance}");
    }

    #[test]
    fn every_process_keeps_the_rate_of_its_profile() {
        for process in [Process::Poisson, gamma(0.25), gamma(9.0)] {
            let spec = spec(flat(process, 50.0), None, Some(400));
            let found = spec.sessions(Part::Measured, 3).expect("an open loop") as f64;
            // Counts of a renewal process: variance is the mean times the gaps' squared variation.
            let variation = match process {
                Process::Gamma(burstiness) => 1.0 / burstiness.shape(),
                _ => 1.0,
            };
            let error = (20_000.0 * variation).sqrt();
            assert!(
                (found - 20_000.0).abs() < 5.0 * error,
                "{process:?}: {found}"
            );
        }
    }

    #[test]
    fn a_flat_stage_is_a_rate_with_a_duration() {
        for process in [Process::Constant, Process::Poisson, gamma(0.5)] {
            let stage = spec(staged(process, &[(5, 40.0, 40.0)]), None, Some(5));
            let rate = spec(flat(process, 40.0), None, Some(5));
            let [stage, rate] = [stage, rate].map(|spec| due(&spec, Part::Measured, 9));
            assert_eq!(stage.len(), rate.len());
            // Gaps are added up before or after they are divided by the rate.
            let apart = stage.iter().zip(&rate).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(apart <= Some(1), "{apart:?}");
        }
    }

    #[test]
    fn poisson_arrivals_under_a_profile_follow_its_integral() {
        // (seconds, from, to) and the sessions of each stage.
        let list = [
            (40, 0.0, 100.0, 2_000.0),
            (20, 100.0, 100.0, 2_000.0),
            (30, 0.0, 0.0, 0.0),
            (50, 60.0, 20.0, 2_000.0),
        ];
        let stages: Vec<_> = list.iter().map(|&(s, from, to, _)| (s, from, to)).collect();
        let spec = spec(staged(Process::Poisson, &stages), None, Some(140));
        let due = due(&spec, Part::Measured, 21);
        let mut begins = SECOND;
        for (seconds, from, to, expected) in list {
            let ends = begins + seconds * SECOND;
            let found = due.iter().filter(|t| (begins..ends).contains(t)).count() as f64;
            assert!(
                (found - expected).abs() <= 5.0 * f64::sqrt(expected),
                "{from} to {to}: {found}"
            );
            begins = ends;
        }

        // Where the profile's integral is the clock, the gaps are exponential with mean 1: the
        // Kolmogorov-Smirnov distance to that, at one in a thousand.
        let integral = |nanos: u64| {
            let (mut sum, mut t) = (0.0, (nanos - SECOND) as f64 / 1e9);
            for (seconds, from, to, _) in list {
                let length = seconds as f64;
                let x = t.clamp(0.0, length);
                sum += from * x + (to - from) / length * x * x / 2.0;
                t -= length;
            }
            sum
        };
        let mut gaps: Vec<f64> = due
            .windows(2)
            .map(|w| integral(w[1]) - integral(w[0]))
            .collect();
        gaps.sort_by(f64::total_cmp);
        let n = gaps.len() as f64;
        let distance = gaps
            .iter()
            .enumerate()
            .map(|(i, gap)| {
                let below = 1.0 - (-gap).exp();
                (below - i as f64 / n)
                    .abs()
                    .max((below - (i + 1) as f64 / n).abs())
            })
            .fold(0.0, f64::max);
        assert!(distance < 1.95 / n.sqrt(), "{distance}");
    }

    #[test]
    fn a_warm_up_keeps_the_rate_that_the_profile_begins_with() {
        let ramp = [(3, 20.0, 60.0)];
        let spec = spec(staged(Process::Constant, &ramp), None, Some(3));
        let warmup = due(&spec, Part::Warmup, 1);
        assert_eq!(warmup, (0..20).map(|k| k * SECOND / 20).collect::<Vec<_>>());
        assert_eq!(spec.sessions(Part::Measured, 1), Some(120));
        assert_eq!(spec.length(), Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_replay_is_its_file_and_its_beginning_is_the_warm_up() {
        let arrivals = replay("due_s\n0\n0.25\n0.999999999\n1\n1\n2.5\n");
        let spec = spec(arrivals.clone(), None, None);
        assert_eq!(due(&spec, Part::Warmup, 1), [0, 250_000_000, 999_999_999]);
        assert_eq!(
            spec.due_times(Part::Measured, 1, Slice::WHOLE)
                .collect::<Vec<_>>(),
            [(0, SECOND), (1, SECOND), (2, 2_500_000_000)]
                .map(|(session, due)| (session, Offset::from_nanos(due)))
        );
        assert_eq!(spec.length(), Some(Duration::from_millis(1_500)));
        let Arrivals::Replay(replay) = arrivals else {
            unreachable!("made above");
        };
        let quick = Spec {
            arrivals: Arrivals::Replay(replay.at_speed(2.0)),
            warmup: Duration::ZERO,
            ..spec
        };
        assert_eq!(due(&quick, Part::Warmup, 1), [0_u64; 0]);
        assert_eq!(
            due(&quick, Part::Measured, 1)[3..],
            [SECOND / 2, SECOND / 2, 1_250_000_000]
        );
    }

    /// Every process under every kind of profile, and a replay.
    fn every_open_loop() -> Vec<Arrivals> {
        let mut all = vec![replay("due_s\n0\n0.5\n0.5\n1.1\n1.2\n1.2\n2\n3.9\n")];
        for process in [Process::Constant, Process::Poisson, gamma(0.3), gamma(5.0)] {
            all.push(flat(process, 30.0));
            all.push(staged(process, &[(2, 5.0, 50.0)]));
            all.push(staged(
                process,
                &[(1, 20.0, 20.0), (1, 0.0, 0.0), (2, 40.0, 0.0)],
            ));
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn the_union_of_the_slices_is_the_whole(seed: u64, n in 1_u64..=5, count in 1_u64..100) {
            for arrivals in every_open_loop() {
                for part in [Part::Warmup, Part::Measured] {
                    let spec = spec(arrivals.clone(), Some(count), Some(4));
                    let whole: Vec<_> = spec.due_times(part, seed, Slice::WHOLE).collect();
                    prop_assert!(whole.is_sorted());
                    let sessions: Vec<u64> = whole.iter().map(|(session, _)| *session).collect();
                    prop_assert_eq!(sessions, (0..whole.len() as u64).collect::<Vec<_>>());
                    let mut union: Vec<_> = (0..n)
                        .flat_map(|i| {
                            spec.due_times(part, seed, Slice::new(i, n).expect("i < n"))
                        })
                        .collect();
                    union.sort_unstable();
                    prop_assert_eq!(union, whole);
                }
            }
        }
    }

    #[test]
    fn tickets_stop_at_the_count_and_at_the_end() {
        let spec = spec(Arrivals::Closed(Users::busy(2)), Some(5), None);
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
