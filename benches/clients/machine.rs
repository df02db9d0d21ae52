//! What else the machine did: a number that was measured beside a build is worth nothing.

use std::fs;

use anyhow::Context as _;

use crate::{client, upstream};

/// Others may use this share of the two cores before the reader is warned.
pub const OTHERS_MAX: f64 = 0.05;

/// The time of the two cores that the bench uses, in ticks since the machine started.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    busy: u64,
    total: u64,
}

impl Cores {
    /// Up to now.
    pub fn now() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let mut cores = Self { busy: 0, total: 0 };
        for core in [upstream::CORE, client::CORE] {
            let name = format!("cpu{core} ");
            let fields = text
                .lines()
                .find_map(|line| line.strip_prefix(&name))
                .with_context(|| format!("the machine has no core {core}; two are needed"))?;
            // user, nice, system, idle, waiting for disks, interrupts of two kinds, stolen by another machine
            let ticks = fields.split_ascii_whitespace().take(8).map(str::parse);
            for (kind, ticks) in ticks.enumerate() {
                let ticks: u64 = ticks?;
                cores.total += ticks;
                if !matches!(kind, 3 | 4) {
                    cores.busy += ticks;
                }
            }
        }
        Ok(cores)
    }

    /// The share of both cores since `earlier`, in which `wall_s` went by, that nobody of the bench used.
    pub fn others_since(self, earlier: Self, bench_cpu_s: f64, wall_s: f64) -> f64 {
        let total = self.total.saturating_sub(earlier.total).max(1);
        let busy = self.busy.saturating_sub(earlier.busy) as f64 / total as f64;
        (busy - bench_cpu_s / (2.0 * wall_s)).max(0.0)
    }
}
