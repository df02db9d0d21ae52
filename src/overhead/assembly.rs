//! What was read of all levels -> the [`Overhead`]. Pure.

use std::collections::BTreeMap;

use super::level::{self, Done, Side, Time};
use super::report::{
    Arm, EndpointOverhead, Level, OVERHEAD_SCHEMA, Overhead, Run, Target, Verdict,
};
use super::saturation::saturation;
use crate::endpoint::Endpoint;
use crate::manifest::{Pairs, PairsArm};
use crate::record::OutcomeGroup;
use crate::verdict::Status;

/// One level of one endpoint, as it was read.
#[derive(Clone, Debug)]
pub struct ReadLevel {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its place among the levels.
    pub level: usize,
    /// Direct and via.
    pub arms: [ReadArm; 2],
}

/// One arm of a level, as it was read.
#[derive(Clone, Debug)]
pub struct ReadArm {
    /// What is shown of it; its counts and seconds are filled in here.
    pub arm: Arm,
    /// Whether a signal ended it.
    pub interrupted: bool,
    /// Its blocks and requests.
    pub done: Done,
}

/// The names of the arms, in their order.
pub const ARMS: [&str; 2] = ["direct", "via"];

/// Makes the report.
pub fn assemble(pairs: &Pairs, read: Vec<ReadLevel>) -> Overhead {
    let mut reasons = Reasons::default();
    let mut levels: BTreeMap<Endpoint, Vec<(Level, [Side; 2])>> = BTreeMap::new();
    for endpoint in &pairs.endpoints {
        levels.insert(*endpoint, Vec::new());
    }
    for read in read {
        let sides = level::sides(&read.arms[0].done, &read.arms[1].done);
        let place = format!(
            "{}, {} in flight",
            read.endpoint, pairs.levels[read.level].concurrency
        );
        reasons.of_level(&place, pairs, &read, sides[0].lengths.len());
        let level = self::level(pairs, &read, &sides);
        levels
            .entry(read.endpoint)
            .or_default()
            .push((level, sides));
    }
    for (endpoint, levels) in &levels {
        if levels.len() < pairs.levels.len() {
            let missing = pairs.levels[levels.len()..].iter();
            let missing: Vec<String> = missing.map(|l| l.concurrency.to_string()).collect();
            reasons.said.push(format!(
                "{endpoint}: nothing was measured at {} in flight",
                missing.join(" and ")
            ));
        }
    }
    let endpoints = levels.into_iter().map(|(endpoint, levels)| {
        let at: Vec<_> = levels
            .iter()
            .map(|(l, sides)| (l.concurrency, sides))
            .collect();
        let saturation = saturation(&at, pairs.seed);
        let levels = levels.into_iter().map(|(level, _)| level).collect();
        (endpoint, EndpointOverhead { levels, saturation })
    });
    let target = |arm: &PairsArm| Target {
        origin: arm.origin.clone(),
        models: arm.models.clone(),
    };
    let [direct, via] = &pairs.arms;
    Overhead {
        schema: OVERHEAD_SCHEMA.to_owned(),
        endpoints: endpoints.collect(),
        run: Run {
            scenario: pairs.scenario.clone(),
            started_at: pairs.started_at.clone(),
            version: pairs.version.clone(),
            seed: pairs.seed,
            direct: target(direct),
            via: target(via),
            concurrency: pairs.levels.iter().map(|l| l.concurrency).collect(),
            blocks: pairs.blocks,
        },
        verdict: reasons.verdict(),
    }
}

fn level(pairs: &Pairs, read: &ReadLevel, sides: &[Side; 2]) -> Level {
    let planned = &pairs.levels[read.level];
    let seed = pairs.seed;
    let arm = |n: usize| {
        let side: &Side = &sides[n];
        Arm {
            requests: side.requests,
            connected: side.connected,
            ok: side.ok.iter().sum(),
            seconds: side.seconds(),
            ..read.arms[n].arm.clone()
        }
    };
    let quantiles = |time, p99| level::quantiles(sides, time, p99, seed);
    Level {
        concurrency: planned.concurrency,
        sessions_per_block: planned.sessions_per_block,
        blocks_planned: pairs.blocks,
        blocks: sides[0].lengths.len() as u64,
        direct: arm(0),
        via: arm(1),
        ttft_ms: quantiles(Time::Ttft, true),
        mean_gap_ms: quantiles(Time::MeanGap, false),
        longest_gap_ms: quantiles(Time::LongestGap, false),
        e2e_ms: quantiles(Time::E2e, true),
        requests_per_s: level::requests_per_s(sides, seed),
        failures: level::failures(sides, seed),
    }
}

/// Why there is no clean result.
#[derive(Debug, Default)]
struct Reasons {
    interrupted: bool,
    failed: bool,
    said: Vec<String>,
}

impl Reasons {
    fn of_level(&mut self, place: &str, pairs: &Pairs, read: &ReadLevel, blocks: usize) {
        for (name, arm) in ARMS.iter().zip(&read.arms) {
            self.interrupted |= arm.interrupted;
            let requests = &arm.done.requests;
            let succeeded = requests.iter().any(|r| r.outcome == OutcomeGroup::Ok);
            if !requests.is_empty() && !succeeded {
                self.failed = true;
                self.said
                    .push(format!("{place}, {name}: nothing succeeded"));
            }
            for reason in &arm.arm.reasons {
                self.said.push(format!("{place}, {name}: {reason}"));
            }
            if arm.arm.partial {
                self.said
                    .push(format!("{place}, {name}: its facts are not whole"));
            }
        }
        if (blocks as u64) < pairs.blocks {
            self.said.push(format!(
                "{place}: both arms have done {blocks} of {} blocks",
                pairs.blocks
            ));
            // Why is in what the arms warn of: the budget, say.
            for (name, arm) in ARMS.iter().zip(&read.arms) {
                let warnings = arm.arm.warnings.iter();
                self.said
                    .extend(warnings.map(|warning| format!("{place}, {name}: {warning}")));
            }
        }
    }

    fn verdict(self) -> Verdict {
        let status = match () {
            () if self.interrupted => Status::Interrupted,
            () if self.failed => Status::Failed,
            () if !self.said.is_empty() => Status::NoVerdict,
            () => Status::Passed,
        };
        Verdict {
            status,
            reasons: self.said,
        }
    }
}
