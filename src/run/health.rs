//! The worker's own pulse: how late its runtime wakes, and how much CPU it uses.

use std::sync::Arc;
use std::time::Duration;

use super::Conduct;
use crate::client::Transport;
use crate::clock::thread_cpu;
use crate::record::{Fact, Health};

/// Time between heartbeats.
const BEAT: Duration = Duration::from_millis(10);

/// A heartbeat later than this is a stall: the only sign of overload that a closed loop shows.
const STALL: Duration = Duration::from_millis(50);

/// Time between rows.
const INTERVAL: Duration = Duration::from_secs(1);

impl<T: Transport> Conduct<T> {
    /// Writes a row a second, and the gaps of that second, until `over` is dropped or told.
    pub async fn pulse(self: Arc<Self>, worker: u32, mut over: tokio::sync::oneshot::Receiver<()>) {
        let mut from = self.clock.now();
        let mut cpu_before = thread_cpu();
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
            if !last && u128::from(now.nanos_since(from)) < INTERVAL.as_nanos() {
                continue;
            }
            let cpu = thread_cpu();
            self.shared.put(Fact::Health(Health {
                at_ns: now,
                interval_ns: now.nanos_since(from),
                worker,
                cpu_ns: u64::try_from(cpu.saturating_sub(cpu_before).as_nanos())
                    .unwrap_or(u64::MAX),
                lag_max_ns: lag_max,
                stalls,
                stalled_ns: stalled,
                waited_ns: None,
                throttled_ns: None,
                drift_ns: None,
                in_flight: self.shared.in_flight(),
            }));
            self.shared.put_gaps(from, now);
            (from, cpu_before, lag_max, stalls, stalled) = (now, cpu, 0, 0, 0);
        }
    }
}
