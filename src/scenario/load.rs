//! The checks of `[load]`: each arrival process has keys of its own, and refuses the others'.

use std::time::Duration;

use super::check::Check;
use super::{Arrivals, Load, Replay, file};
use crate::schedule::{self, Burstiness, Presence, Process, Profile, Stage, Stages, Users};
use crate::seed;

/// What the level of a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Rate,
    Users,
}

impl Level {
    /// The key of a flat stage.
    const fn key(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Users => "users",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Rate => "sessions per second",
            Self::Users => "whole users",
        }
    }

    const fn loop_kind(self) -> &'static str {
        match self {
            Self::Rate => "an open loop",
            Self::Users => "a closed loop",
        }
    }

    fn allows(self, value: f64) -> bool {
        value.is_finite()
            && value >= 0.0
            && match self {
                Self::Rate => true,
                Self::Users => value.fract() == 0.0 && value <= f64::from(u32::MAX),
            }
    }
}

/// A level of users, which is a whole number: [`Level::allows`].
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole, not negative and within 32 bits"
)]
const fn whole(users: f64) -> u32 {
    users as u32
}

fn stages_of(arrivals: &schedule::Arrivals) -> Option<&Stages> {
    match arrivals {
        schedule::Arrivals::Open {
            profile: Profile::Staged(stages),
            ..
        }
        | schedule::Arrivals::Closed(Users {
            presence: Presence::Staged(stages),
            ..
        }) => Some(stages),
        _ => None,
    }
}

impl Check<'_> {
    pub(super) fn load(&mut self, load: &file::Load) -> Option<Load> {
        self.misplaced(load);
        let warmup = self.duration("load.warmup", &load.warmup);
        let length = match &load.duration {
            Some(text) => Some(self.positive_duration("load.duration", text)?),
            None => None,
        };
        let arrivals = match load.arrivals {
            file::Arrivals::Closed => self.users(load, warmup, length),
            file::Arrivals::Constant => self.open(load, warmup, Some(Process::Constant)),
            file::Arrivals::Poisson => self.open(load, warmup, Some(Process::Poisson)),
            file::Arrivals::Gamma => {
                let burstiness = self.burstiness(load.burstiness);
                self.open(load, warmup, burstiness.map(Process::Gamma))
            }
            file::Arrivals::Replay => self.replay(load).map(Arrivals::File),
        };
        let has_end = !load.stages.is_empty() || load.arrivals == file::Arrivals::Replay;
        if load.count.is_none() && load.duration.is_none() && !has_end {
            self.say("load.count", "is missing: a run ends by `load.count`, by `load.duration`, or by whichever comes first");
        }
        if load.count == Some(0) {
            self.say("load.count", "must be at least 1");
        }
        if load.max_in_flight == 0 {
            self.say("load.max_in_flight", "must be at least 1");
        }
        let stages = match &arrivals {
            Some(Arrivals::Known(arrivals)) => stages_of(arrivals).map(Stages::length),
            Some(Arrivals::File(_)) | None => None,
        };
        Some(Load {
            arrivals: arrivals?,
            warmup: warmup?,
            count: load.count,
            duration: length.or(stages),
            max_in_flight: load.max_in_flight,
        })
    }

    /// Keys that belong to other arrivals.
    fn misplaced(&mut self, load: &file::Load) {
        use file::Arrivals::{Closed, Constant, Gamma, Poisson, Replay};
        let staged = !load.stages.is_empty();
        let arrivals = load.arrivals;
        let rates = matches!(arrivals, Constant | Poisson | Gamma);
        for (key, is_set, belongs, message) in [
            (
                "load.concurrency",
                load.concurrency.is_some(),
                arrivals == Closed,
                "is for a closed loop; an open loop has `load.rate`, and `load.max_in_flight` as its bound",
            ),
            (
                "load.think_time",
                load.think_time.is_some(),
                arrivals == Closed,
                "is for a closed loop; sessions of an open loop start whether the last one was answered or not",
            ),
            (
                "load.stagger",
                load.stagger.is_some(),
                arrivals == Closed,
                "is for a closed loop; an open loop rises slowly by `[[load.stages]]` with `from` and `to`",
            ),
            (
                "load.rate",
                load.rate.is_some(),
                arrivals != Closed,
                "is for an open loop; set `load.arrivals` to `constant` or `poisson`, or `load.concurrency` instead",
            ),
            (
                "load.concurrency",
                load.concurrency.is_some(),
                !(arrivals == Closed && staged),
                "and `load.stages` exclude each other: give the users as a stage of its own, `{ duration = \"30s\", users = 20 }`",
            ),
            (
                "load.stagger",
                load.stagger.is_some(),
                !(arrivals == Closed && staged),
                "and `load.stages` exclude each other: users begin one by one in a ramp, `{ duration = \"30s\", from = 0, to = 20 }`",
            ),
            (
                "load.rate",
                load.rate.is_some(),
                arrivals != Replay,
                "does not go with a replay, whose file says when to send; `load.replay_speed` makes it faster or slower",
            ),
            (
                "load.stages",
                staged,
                arrivals != Replay,
                "do not go with a replay, whose file says when to send; `load.replay_speed` makes it faster or slower",
            ),
            (
                "load.rate",
                load.rate.is_some(),
                !(rates && staged),
                "and `load.stages` exclude each other: give the rate as a stage of its own, `{ duration = \"30s\", rate = 20 }`",
            ),
            (
                "load.duration",
                load.duration.is_some(),
                !(arrivals != Replay && staged),
                "and `load.stages` exclude each other: the stages last as long as their durations say; `load.count` may end them earlier",
            ),
            (
                "load.burstiness",
                load.burstiness.is_some(),
                arrivals == Gamma,
                "is for `load.arrivals = \"gamma\"`",
            ),
            (
                "load.replay",
                load.replay.is_some(),
                arrivals == Replay,
                "is for `load.arrivals = \"replay\"`",
            ),
            (
                "load.replay_speed",
                load.replay_speed.is_some(),
                arrivals == Replay,
                "is for `load.arrivals = \"replay\"`",
            ),
        ] {
            if is_set && !belongs {
                self.say(key, message);
            }
        }
    }

    fn users(
        &mut self,
        load: &file::Load,
        warmup: Option<Duration>,
        length: Option<Duration>,
    ) -> Option<Arrivals> {
        let think_time = match &load.think_time {
            Some(time) => self.wait("load.think_time", time),
            None => Some(seed::Wait::NONE),
        };
        let (key, concurrency, presence) = if load.stages.is_empty() {
            let concurrency = self.concurrency(load.concurrency);
            let presence = self.stagger(load.stagger.as_deref(), warmup, length);
            ("load.concurrency", concurrency, presence)
        } else {
            let stages = self.stages(&load.stages, Level::Users, warmup);
            let highest = stages.as_ref().map(|stages| whole(stages.highest()));
            ("load.stages", highest, stages.map(Presence::Staged))
        };
        let max = load.max_in_flight;
        if let Some(users) = concurrency.filter(|users| *users > max) {
            self.say(
                key,
                format!(
                    "is above `load.max_in_flight` = {max} with {users} users; raise that as well"
                ),
            );
        }
        Some(Arrivals::Known(schedule::Arrivals::Closed(Users {
            concurrency: concurrency?,
            think_time: think_time?,
            presence: presence?,
        })))
    }

    fn concurrency(&mut self, concurrency: Option<u32>) -> Option<u32> {
        match concurrency {
            Some(concurrency @ 1..) => Some(concurrency),
            Some(0) => {
                self.say("load.concurrency", "must be at least 1");
                None
            }
            None => {
                self.say("load.concurrency", "is missing: how many users of the closed loop, such as 20; for an open loop set `load.arrivals` and `load.rate`");
                None
            }
        }
    }

    fn stagger(
        &mut self,
        text: Option<&str>,
        warmup: Option<Duration>,
        length: Option<Duration>,
    ) -> Option<Presence> {
        let stagger = match text {
            Some(text) => self.duration("load.stagger", text),
            None => Some(Duration::ZERO),
        };
        if let (Some(stagger), Some(warmup), Some(length)) = (stagger, warmup, length)
            && stagger > warmup + length
        {
            self.say("load.stagger", "is longer than `load.warmup` and `load.duration` together: the last users would never begin");
        }
        stagger.map(|stagger| Presence::Stay { stagger })
    }

    /// An open loop whose process may have been refused already.
    fn open(
        &mut self,
        load: &file::Load,
        warmup: Option<Duration>,
        process: Option<Process>,
    ) -> Option<Arrivals> {
        let profile = if load.stages.is_empty() {
            self.rate(load.rate).map(|rate| Profile::Flat { rate })
        } else {
            self.stages(&load.stages, Level::Rate, warmup)
                .map(Profile::Staged)
        };
        Some(Arrivals::Known(schedule::Arrivals::Open {
            process: process?,
            profile: profile?,
        }))
    }

    fn rate(&mut self, rate: Option<f64>) -> Option<f64> {
        match rate {
            Some(rate) if rate.is_finite() && rate > 0.0 => Some(rate),
            Some(rate) => {
                self.say(
                    "load.rate",
                    format!("must be above zero sessions per second, not {rate}"),
                );
                None
            }
            None => {
                self.say(
                    "load.rate",
                    "is missing: sessions per second of the open loop, such as 50; or give them in `[[load.stages]]`",
                );
                None
            }
        }
    }

    fn burstiness(&mut self, burstiness: Option<f64>) -> Option<Burstiness> {
        match burstiness {
            Some(shape) => {
                let valid = Burstiness::new(shape);
                if valid.is_none() {
                    let (min, max) = (Burstiness::MIN, Burstiness::MAX);
                    self.say(
                        "load.burstiness",
                        format!("must be from {min} to {max}, not {shape}: 1 is `poisson`, below is burstier, above more regular"),
                    );
                }
                valid
            }
            None => {
                self.say("load.burstiness", "is missing: the shape of the gamma-distributed gaps, such as 0.5; 1 is `poisson`, below is burstier, above more regular");
                None
            }
        }
    }

    fn stages(
        &mut self,
        list: &[file::Stage],
        level: Level,
        warmup: Option<Duration>,
    ) -> Option<Stages> {
        let mut stages = Vec::with_capacity(list.len());
        let mut before = None;
        for (n, stage) in list.iter().enumerate() {
            let checked = self.stage(&format!("load.stages[{n}]"), stage, level, before);
            // After a stage that is wrong, the next one's begin is not held against it.
            before = Some(checked.map_or(0.0, |stage| stage.to));
            stages.push(checked);
        }
        let stages = stages.into_iter().collect::<Option<Vec<Stage>>>()?;
        let valid = Stages::new(&stages);
        match &valid {
            None => self.say(
                "load.stages",
                format!(
                    "send nothing: give at least one of them {} above zero",
                    level.unit()
                ),
            ),
            Some(stages) if warmup.is_some_and(|w| !w.is_zero()) && stages.first() <= 0.0 => {
                self.say("load.warmup", format!("keeps the {} that the first stage begins with, which is 0; begin it above zero, or remove the warm-up", level.key()));
            }
            Some(_) => {}
        }
        valid
    }

    /// A stage that comes after one that ended at the rate `before`.
    fn stage(
        &mut self,
        key: &str,
        stage: &file::Stage,
        level: Level,
        before: Option<f64>,
    ) -> Option<Stage> {
        let duration = self.positive_duration(&format!("{key}.duration"), &stage.duration);
        let (flat, (other, misplaced)) = match level {
            Level::Rate => (stage.rate, (Level::Users, stage.users)),
            Level::Users => (stage.users, (Level::Rate, stage.rate)),
        };
        if misplaced.is_some() {
            let message = format!(
                "is for {}; a stage here has `{}`",
                other.loop_kind(),
                level.key()
            );
            self.say(&format!("{key}.{}", other.key()), message);
            return None;
        }
        let mut are_levels = true;
        for (name, value) in [(level.key(), flat), ("from", stage.from), ("to", stage.to)] {
            if let Some(value) = value.filter(|value| !level.allows(*value)) {
                let message = format!("must be zero or more {}, not {value}", level.unit());
                self.say(&format!("{key}.{name}"), message);
                are_levels = false;
            }
        }
        let (from, to) = match (flat, stage.from.or(before), stage.to) {
            (Some(flat), _, None) if stage.from.is_none() => (flat, flat),
            (Some(_), ..) => {
                self.say(
                    &format!("{key}.{}", level.key()),
                    "is for a flat stage; a ramp has `from` and `to` instead",
                );
                return None;
            }
            (None, Some(from), Some(to)) => (from, to),
            (None, None, Some(_)) => {
                self.say(&format!("{key}.from"), "is missing: the first stage has none before it whose end it could begin with; write `from = 0`, or what it begins with");
                return None;
            }
            (None, _, None) => {
                let flat = level.key();
                self.say(
                    key,
                    format!("has no level: give it `{flat}`, or `from` and `to` for a ramp"),
                );
                return None;
            }
        };
        let duration = duration?;
        are_levels.then_some(Stage { duration, from, to })
    }

    fn replay(&mut self, load: &file::Load) -> Option<Replay> {
        let speed = load.replay_speed.unwrap_or(1.0);
        let is_speed = (1e-3..=1e3).contains(&speed);
        if !is_speed {
            self.say(
                "load.replay_speed",
                format!("must be from 0.001 to 1000, not {speed}; 2 is twice as fast as the file"),
            );
        }
        let path = load.replay.clone();
        if path.is_none() {
            self.say("load.replay", "is missing: the CSV file with the due times, relative to the scenario file; its header is `due_s`");
        }
        let path = path?;
        is_speed.then_some(Replay { path, speed })
    }
}
