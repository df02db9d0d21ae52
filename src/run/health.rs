//! The worker's own pulse: how late its runtime wakes, how much CPU it uses, and what kept it from
//! running.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Conduct;
use super::machine::{Scheduled, Throttling, thread_scheduled};
use crate::client::Transport;
use crate::clock::thread_cpu;
use crate::record::{Fact, Health};
use crate::time::Offset;

/// Time between heartbeats.
const BEAT: Duration = Duration::from_millis(10);

/// A heartbeat later than this is a stall: the only sign of overload that a closed loop shows.
const STALL: Duration = Duration::from_millis(50);

/// Time between rows.
const INTERVAL: Duration = Duration::from_secs(1);

/// The meters that only grow; a row holds their differences.
struct Reading {
    at: Offset,
    cpu: Duration,
    scheduled: Option<Scheduled>,
    throttled_ns: Option<u64>,
    wall: Timestamp,
}

impl<T: Transport> Conduct<T> {
    /// Writes the facts of each second, until `over` is dropped or told.
    pub async fn pulse(self: Arc<Self>, mut over: tokio::sync::oneshot::Receiver<()>) {
        // In virtual time the machine's own troubles are none of the run's: its numbers are exact.
        let live = self.clock.is_live();
        // The cgroup is the whole process's: one worker reads it.
        let throttling = (live && self.meter.worker() == 0).then(Throttling::find);
        let read = || Reading {
            at: self.clock.now(),
            cpu: if live { thread_cpu() } else { Duration::ZERO },
            scheduled: if live { thread_scheduled() } else { None },
            throttled_ns: throttling.as_ref().and_then(Throttling::ns),
            wall: self.clock.wall(),
        };
        let mut before = read();
        let (mut lag_max, mut stalls, mut stalled) = (0, 0, 0);
        let mut last = false;
        while !last {
            let expected = self.clock.now() + BEAT;
            tokio::select! {
                biased;
                _ = &mut over => last = true,
                () = self.clock.coarse_sleep_until(expected) => {}
            }
            let now = self.clock.now();
            let late = now.nanos_since(expected);
            lag_max = late.max(lag_max);
            if u128::from(late) > STALL.as_nanos() {
                stalls += 1;
                stalled += late;
            }
            if !last && u128::from(now.nanos_since(before.at)) < INTERVAL.as_nanos() {
                continue;
            }
            let now = read();
            for fact in self.meter.take(before.at, now.at) {
                self.shared.put(fact);
            }
            let interval_ns = now.at.nanos_since(before.at);
            let moved = now.wall.as_nanosecond() - before.wall.as_nanosecond();
            self.shared.put(Fact::Health(Health {
                at_ns: now.at,
                interval_ns,
                worker: self.meter.worker(),
                cpu_ns: u64::try_from(now.cpu.saturating_sub(before.cpu).as_nanos())
                    .unwrap_or(u64::MAX),
                lag_max_ns: lag_max,
                stalls,
                stalled_ns: stalled,
                waited_ns: grown(
                    before.scheduled.map(|s| s.waited_ns),
                    now.scheduled.map(|s| s.waited_ns),
                ),
                turns: grown(
                    before.scheduled.map(|s| s.turns),
                    now.scheduled.map(|s| s.turns),
                ),
                throttled_ns: grown(before.throttled_ns, now.throttled_ns),
                drift_ns: i64::try_from(moved - i128::from(interval_ns)).ok(),
                in_flight: self.meter.in_flight(),
            }));
            before = now;
            (lag_max, stalls, stalled) = (0, 0, 0);
        }
    }
}

fn grown(before: Option<u64>, now: Option<u64>) -> Option<u64> {
    Some(now?.saturating_sub(before?))
}
