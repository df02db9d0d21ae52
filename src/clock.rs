//! The only reader of clocks.
//!
//! Two implementations stand behind one type: the monotonic clock with a timerfd in life, and
//! tokio's paused time in tests, where a run of minutes is over in milliseconds and every number
//! is exact.

#![expect(
    clippy::disallowed_methods,
    reason = "the one place that may read a clock"
)]

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use precise_timer::Timer;
use tokio::time::Sleep;

use crate::time::Offset;

/// The moment at which a run starts, on both clocks at once. Shared by all of its workers.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    monotonic: Instant,
    utc: Timestamp,
}

impl Start {
    /// The present moment.
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            utc: Timestamp::now(),
        }
    }

    /// The start in UTC.
    pub fn utc(&self) -> Timestamp {
        self.utc
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.monotonic.elapsed()
    }

    /// How much the wall clock has moved against the monotonic one since the start, in ns: a jump
    /// or a correction.
    pub fn wall_clock_drift_ns(&self) -> i128 {
        let elapsed = i128::try_from(self.monotonic.elapsed().as_nanos()).unwrap_or(i128::MAX);
        (Timestamp::now().as_nanosecond() - self.utc.as_nanosecond()) - elapsed
    }
}

/// A clock of one thread.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Live {
        start: Start,
        timer: Timer,
    },
    Virtual {
        start: tokio::time::Instant,
        utc: Timestamp,
    },
}

impl Clock {
    /// The real clock of this thread's runtime, counting from `start`.
    ///
    /// Fails where the system gives no timer.
    pub fn live(start: Start) -> io::Result<Self> {
        Ok(Self(Source::Live {
            start,
            timer: Timer::new()?,
        }))
    }

    /// tokio's own time, which a test pauses; it starts now, at midnight of 2026-08-01 UTC.
    pub fn virtual_time() -> Self {
        let utc = "2026-08-01T00:00:00Z".parse().expect("a valid timestamp");
        Self(Source::Virtual {
            start: tokio::time::Instant::now(),
            utc,
        })
    }

    /// Whether this is the machine's own time, of which a run can use CPU and lose turns.
    pub const fn is_live(&self) -> bool {
        matches!(self.0, Source::Live { .. })
    }

    /// Whether [`Self::sleep_until`] is precise here.
    pub fn is_precise(&self) -> bool {
        match &self.0 {
            Source::Live { timer, .. } => timer.is_precise(),
            Source::Virtual { .. } => true,
        }
    }

    /// Now.
    pub fn now(&self) -> Offset {
        Offset::from_duration(match &self.0 {
            Source::Live { start, .. } => start.monotonic.elapsed(),
            Source::Virtual { start, .. } => start.elapsed(),
        })
    }

    /// UTC at `offset`, by the wall clock at the start plus monotonic time, so that a corrected
    /// wall clock cannot reorder the facts.
    pub fn utc(&self, offset: Offset) -> Timestamp {
        let start = match &self.0 {
            Source::Live { start, .. } => start.utc,
            Source::Virtual { utc, .. } => *utc,
        };
        start
            .checked_add(offset.since_start())
            .unwrap_or(Timestamp::MAX)
    }

    /// The wall clock's own word for now, jumps and corrections included.
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            Source::Live { .. } => Timestamp::now(),
            Source::Virtual { .. } => self.utc(self.now()),
        }
    }

    /// Waits until `deadline`, as precisely as the machine can. For sending on time.
    pub async fn sleep_until(&self, deadline: Offset) {
        match &self.0 {
            Source::Live { start, timer } => {
                timer
                    .sleep_until(start.monotonic + deadline.since_start())
                    .await;
            }
            Source::Virtual { start, .. } => {
                tokio::time::sleep_until(*start + deadline.since_start()).await;
            }
        }
    }

    /// A limit that is asked for again and again, as each frame of a body does.
    pub fn alarm(&self) -> Alarm {
        Alarm {
            clock: self.clone(),
            sleep: None,
        }
    }

    /// Waits until `deadline`, to the millisecond, at less cost. For limits.
    pub fn coarse_sleep_until(&self, deadline: Offset) -> impl Future<Output = ()> + Send + use<> {
        tokio::time::sleep_until(self.instant(deadline))
    }

    fn instant(&self, deadline: Offset) -> tokio::time::Instant {
        match &self.0 {
            Source::Live { start, .. } => {
                tokio::time::Instant::from_std(start.monotonic) + deadline.since_start()
            }
            Source::Virtual { start, .. } => *start + deadline.since_start(),
        }
    }
}

/// A coarse timer for a deadline that moves, mostly to later: it is set anew only when it fires too
/// early, or when the deadline moves to earlier.
#[derive(Debug)]
pub struct Alarm {
    clock: Clock,
    /// The timer and the deadline that it is set to.
    sleep: Option<(Pin<Box<Sleep>>, Offset)>,
}

impl Alarm {
    /// Ready once `deadline` has come.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Offset) -> Poll<()> {
        let instant = self.clock.instant(deadline);
        let (sleep, set) = self
            .sleep
            .get_or_insert_with(|| (Box::pin(tokio::time::sleep_until(instant)), deadline));
        if deadline < *set {
            sleep.as_mut().reset(instant);
            *set = deadline;
        }
        ready!(sleep.as_mut().poll(cx));
        if *set < deadline {
            sleep.as_mut().reset(instant);
            *set = deadline;
            ready!(sleep.as_mut().poll(cx));
        }
        Poll::Ready(())
    }
}

/// CPU time that this thread has used, user and system.
pub fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
