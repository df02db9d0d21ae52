//! How high the load is over time: one rate, or stages that are flat or rise and fall linearly.
//! Stages are levels over time: the rate of an open loop, or the users of a closed one.

use std::time::Duration;

use super::Part;

/// Sessions are counted in billionths: rates and durations are decimals, and their product as a
/// binary fraction may be off by its last digit.
const GRAINS_PER_SESSION: f64 = 1e9;

/// The rate of an open loop over time.
#[derive(Clone, Debug, PartialEq)]
pub enum Profile {
    /// The same rate without an end.
    Flat {
        /// Mean sessions per second and endpoint; above zero.
        rate: f64,
    },
    /// Stages one after the other; nothing starts after the last.
    Staged(Stages),
}

impl Profile {
    /// The profile of `part`: a warm-up keeps the rate that the measured load begins with.
    #[must_use]
    pub fn of(&self, part: Part) -> Self {
        match (self, part) {
            (Self::Staged(stages), Part::Warmup) => Self::Flat {
                rate: stages.first(),
            },
            _ => self.clone(),
        }
    }

    /// Sessions in the unit that [`Self::when`] counts in. A flat profile counts seconds at its
    /// rate, so that gaps add up in time; a staged one counts sessions.
    pub(super) fn sessions_per_unit(&self) -> f64 {
        match self {
            Self::Flat { rate } => *rate,
            Self::Staged(_) => 1.0,
        }
    }

    /// Sessions in this time on average; without one, in all of it.
    pub(super) fn sessions(&self, length: Option<Duration>) -> f64 {
        let seconds = length.map_or(f64::INFINITY, |length| length.as_secs_f64());
        match self {
            Self::Flat { rate } => rate * seconds,
            Self::Staged(stages) => stages.sessions(length.unwrap_or(Duration::MAX)),
        }
    }

    /// When the profile has reached so many units; `None` if it never does.
    pub(super) fn when(&self, reached: f64) -> Option<Duration> {
        match self {
            Self::Flat { .. } => Duration::try_from_secs_f64(reached).ok(),
            Self::Staged(stages) => stages.when(reached),
        }
    }
}

/// One stage as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// Its length; above zero.
    pub duration: Duration,
    /// Level at its begin, in sessions per second or in users; zero or above.
    pub from: f64,
    /// Level at its end; in between, it is linear.
    pub to: f64,
}

/// Stages one after the other. Where the level is a rate, their integral is the number of sessions
/// that are reached: exactly for evenly spaced arrivals, on average for drawn ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Stages(Vec<Placed>);

/// A stage in its place.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Placed {
    stage: Stage,
    begins: Duration,
    /// Sessions reached at its begin and at its end.
    sessions: (f64, f64),
}

impl Stages {
    /// From the stages in order; `None` unless each is as [`Stage`] says and together they reach
    /// at least the beginning of one session.
    pub fn new(list: &[Stage]) -> Option<Self> {
        let (mut begins, mut sessions) = (Duration::ZERO, 0.0);
        let mut placed = Vec::with_capacity(list.len());
        for &stage in list {
            let is_rate = |rate: f64| rate.is_finite() && rate >= 0.0;
            if stage.duration.is_zero() || !is_rate(stage.from) || !is_rate(stage.to) {
                return None;
            }
            let area = f64::midpoint(stage.from, stage.to) * stage.duration.as_secs_f64();
            let reached = ((sessions + area) * GRAINS_PER_SESSION).round() / GRAINS_PER_SESSION;
            placed.push(Placed {
                stage,
                begins,
                sessions: (sessions, reached),
            });
            begins = begins.checked_add(stage.duration)?;
            sessions = reached;
        }
        (sessions > 0.0).then_some(Self(placed))
    }

    /// The stages, in order.
    pub fn iter(&self) -> impl Iterator<Item = Stage> {
        self.0.iter().map(|placed| placed.stage)
    }

    /// The level at the begin.
    pub fn first(&self) -> f64 {
        self.0.first().expect("there is a stage").stage.from
    }

    /// The level at the end.
    pub fn last(&self) -> f64 {
        self.0.last().expect("there is a stage").stage.to
    }

    /// The length of all.
    pub fn length(&self) -> Duration {
        let last = self.0.last().expect("there is a stage");
        last.begins + last.stage.duration
    }

    /// What the level comes to in the first `length` of them: sessions, where it is a rate.
    fn sessions(&self, length: Duration) -> f64 {
        let until = |&Placed { stage, begins, .. }: &Placed| {
            let within = length.saturating_sub(begins).min(stage.duration);
            let share = within.as_secs_f64() / stage.duration.as_secs_f64();
            let level = stage.from + (stage.to - stage.from) * share;
            f64::midpoint(stage.from, level) * within.as_secs_f64()
        };
        self.0.iter().map(until).sum()
    }

    /// The highest level.
    pub fn highest(&self) -> f64 {
        let ends = self.iter().flat_map(|stage| [stage.from, stage.to]);
        ends.fold(0.0, f64::max)
    }

    /// The first moment from `from` on from which the level is above `level`; `None` if it never
    /// is again.
    pub fn above(&self, level: f64, from: Duration) -> Option<Duration> {
        self.0.iter().find_map(|&Placed { stage, begins, .. }| {
            if begins + stage.duration <= from {
                return None;
            }
            let within = from.saturating_sub(begins);
            let seconds = stage.duration.as_secs_f64();
            let slope = (stage.to - stage.from) / seconds;
            if stage.from + slope * within.as_secs_f64() > level {
                Some(begins + within)
            } else if stage.to > level {
                let crossing = Duration::try_from_secs_f64((level - stage.from) / slope).ok()?;
                Some(begins + crossing.clamp(within, stage.duration))
            } else {
                None
            }
        })
    }

    /// The moment from which more than `reached` sessions have been reached; `None` if that never
    /// comes. So a session that falls on the begin of a pause starts at its end, and the sessions
    /// of a stage lie in [its begin, its end).
    fn when(&self, reached: f64) -> Option<Duration> {
        let at = self
            .0
            .partition_point(|placed| placed.sessions.1 <= reached);
        let Placed {
            stage,
            begins,
            sessions,
        } = *self.0.get(at)?;
        // From `from * x + slope * x^2 / 2 = area`, in the form that also holds without a slope.
        let area = reached - sessions.0;
        let seconds = if area > 0.0 {
            let slope = (stage.to - stage.from) / stage.duration.as_secs_f64();
            let root = (stage.from * stage.from + 2.0 * slope * area).max(0.0);
            2.0 * area / (stage.from + root.sqrt())
        } else {
            0.0
        };
        let last = stage.duration.saturating_sub(Duration::from_nanos(1));
        let within = Duration::try_from_secs_f64(seconds).unwrap_or(last);
        Some(begins + within.min(last))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stage(seconds: u64, from: f64, to: f64) -> Stage {
        Stage {
            duration: Duration::from_secs(seconds),
            from,
            to,
        }
    }

    fn stages(list: &[(u64, f64, f64)]) -> Stages {
        let list: Vec<_> = list
            .iter()
            .map(|&(s, from, to)| stage(s, from, to))
            .collect();
        Stages::new(&list).expect("sound stages")
    }

    #[test]
    fn a_ramp_reaches_each_session_where_its_integral_does() {
        // 2 t^2: session n at sqrt(n / 2).
        let ramp = stages(&[(10, 0.0, 40.0)]);
        for n in 0..200_u32 {
            let exact = (f64::from(n) / 2.0).sqrt();
            let when = ramp.when(f64::from(n)).expect("below 200").as_secs_f64();
            assert!((when - exact).abs() < 1e-8, "{n}: {when} {exact}");
        }
        assert_eq!(ramp.when(200.0), None);
        // The same backwards: from the end, the same distances.
        let down = stages(&[(10, 40.0, 0.0)]);
        for n in 1..200_u32 {
            let [up, down] = [ramp.when(f64::from(200 - n)), down.when(f64::from(n))]
                .map(|d| d.expect("below 200").as_secs_f64());
            assert!((up + down - 10.0).abs() < 1e-7, "{n}: {up} {down}");
        }
    }

    #[test]
    fn a_pause_delays_what_falls_on_it() {
        let profile = stages(&[(1, 10.0, 10.0), (5, 0.0, 0.0), (1, 10.0, 10.0)]);
        assert_eq!(profile.when(9.0), Some(Duration::from_millis(900)));
        assert_eq!(profile.when(10.0), Some(Duration::from_secs(6)));
        assert_eq!(profile.when(19.0), Some(Duration::from_millis(6_900)));
        assert_eq!(profile.when(20.0), None);
        let late = stages(&[(5, 0.0, 0.0), (1, 10.0, 10.0)]);
        assert_eq!(late.when(0.0), Some(Duration::from_secs(5)));
    }

    #[test]
    fn decimal_rates_make_whole_counts() {
        // In binary, (0.1 + 0.2) / 2 x 20 is above 3.
        for (list, count) in [
            (&[(20, 0.1, 0.2)][..], 3.0),
            (&[(10, 0.1, 0.7)], 4.0),
            (&[(3, 0.1, 0.1), (7, 0.1, 0.1)], 1.0),
            (&[(10, 0.3, 0.3)], 3.0),
        ] {
            let profile = stages(list);
            assert!(profile.when(count - 1.0).is_some(), "{list:?}");
            assert_eq!(profile.when(count), None, "{list:?}");
        }
    }

    #[test]
    fn a_session_of_a_stage_lies_in_the_stage() {
        // The sixth session is reached 0.2 ns before the end, which is rounded into the stage.
        let profile = stages(&[(1, 5.000_000_001, 5.000_000_001)]);
        assert_eq!(profile.when(5.0), Some(Duration::from_nanos(999_999_999)));
    }

    #[test]
    fn what_sends_nothing_is_no_profile() {
        for list in [
            &[][..],
            &[stage(5, 0.0, 0.0)],
            &[stage(0, 1.0, 1.0)],
            &[stage(5, -1.0, 3.0)],
            &[stage(5, 1.0, f64::INFINITY)],
            &[stage(5, f64::NAN, 1.0)],
        ] {
            assert_eq!(Stages::new(list), None);
        }
    }

    /// Sessions reached at `t`, by the trapezoids themselves.
    fn integral(list: &[(u64, f64, f64)], t: f64) -> f64 {
        let (mut sum, mut begins) = (0.0, 0.0);
        for &(seconds, from, to) in list {
            let length = seconds as f64;
            let x = (t - begins).clamp(0.0, length);
            sum += from * x + (to - from) / length * x * x / 2.0;
            begins += length;
        }
        sum
    }

    proptest! {
        #[test]
        fn when_inverts_the_integral_and_never_goes_back(
            list in proptest::collection::vec(
                (1_u64..20, 0_u32..400, 0_u32..400), 1..6
            )
        ) {
            let list: Vec<_> = list
                .into_iter()
                .map(|(s, from, to)| (s, f64::from(from) / 10.0, f64::from(to) / 10.0))
                .collect();
            let raw: Vec<_> = list.iter().map(|&(s, from, to)| stage(s, from, to)).collect();
            let Some(profile) = Stages::new(&raw) else {
                prop_assert!(list.iter().all(|s| s.1 == 0.0 && s.2 == 0.0));
                return Ok(());
            };
            let total = integral(&list, profile.length().as_secs_f64());
            let mut before = Duration::ZERO;
            let mut count = 0;
            while let Some(when) = profile.when(f64::from(count)) {
                prop_assert!(before <= when && when < profile.length());
                // A nanosecond of rounding, at 40 sessions a second at most.
                let reached = integral(&list, when.as_secs_f64());
                prop_assert!((reached - f64::from(count)).abs() < 1e-6, "{count}: {reached}");
                before = when;
                count += 1;
            }
            // Tenths times whole seconds: an integral is a multiple of a twentieth.
            prop_assert!((f64::from(count) - (total - 0.01).ceil()).abs() < 0.5);
        }
    }
}
