//! One level of load: the blocks and requests of both arms -> what the gateway adds.
//!
//! Only blocks that both arms have done count. All intervals resample whole blocks, the same ones at
//! both arms. Pure: it is given what was read.

use std::collections::HashSet;

use crate::metrics::Metric;
use crate::record::{Block, OutcomeGroup, Phase, Record};
use crate::report::InclusiveMs;
use crate::stats::{Interval, Samples, bootstrap_blocks, samples_needed};

use super::report::{Comparison, Delta, Quantiles, Seen, Times};

/// One in so many streams may have come at once: more would move the 95th percentile.
const LEFT_OUT_MAX: usize = 20;

/// One request of an arm: what its last attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its session.
    pub session: u64,
    /// Turn of the session, from 0.
    pub turn: u32,
    /// How it ended.
    pub outcome: OutcomeGroup,
    /// Whether its connection was made for it.
    pub connected: bool,
    /// Its times, by `Time`.
    pub times: [Sample; 4],
}

/// What a request says of one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// It took so long, in ns.
    Took(u64),
    /// It failed, or was not let end: beyond any time.
    Beyond,
    /// It should have had one, and has none: a stream that came as a whole body.
    Missing,
    /// It has none, and needs none.
    Nothing,
    /// What was measured is not this time: the gaps of a stream that came at once.
    LeftOut,
}

/// The times that are compared; their numbers are their places in [`Request::times`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Sending to first token.
    Ttft = 0,
    /// Mean gap.
    MeanGap = 1,
    /// Longest gap.
    LongestGap = 2,
    /// Sending to terminator.
    E2e = 3,
}

impl Request {
    /// What `record` says; `None` if it is not the last attempt of a measured request.
    pub fn of(record: &Record) -> Option<Self> {
        if record.phase != Phase::Measured || !record.last {
            return None;
        }
        let outcome = record.outcome.group();
        let counts = &record.counts;
        let gaps = counts.gap_count;
        let of = |expected: bool, value: Option<u64>| match (outcome, value) {
            (OutcomeGroup::Ok, Some(ns)) => Sample::Took(ns),
            (OutcomeGroup::Ok, None) if expected && counts.token_events > 0 => Sample::Missing,
            (OutcomeGroup::Failed | OutcomeGroup::Dropped | OutcomeGroup::Cut, _) if expected => {
                Sample::Beyond
            }
            _ => Sample::Nothing,
        };
        // An answer of one event has no gap, whoever sent it; one that failed might have had some.
        let gap = |ns: Option<u64>| match of(record.streaming, ns) {
            Sample::Missing if record.first_token.is_some() => Sample::Nothing,
            // Events of one write have the gaps of the harness's own decoder.
            Sample::Took(_) if counts.token_batches < 2 => Sample::LeftOut,
            sample => sample,
        };
        Some(Self {
            session: record.session,
            turn: record.turn,
            outcome,
            connected: record.connected,
            times: [
                of(record.streaming, Metric::Ttft.sample(record)),
                gap(counts.gap_sum_ns.checked_div(gaps)),
                gap((gaps > 0).then_some(counts.gap_max_ns)),
                of(true, Metric::E2e.sample(record)),
            ],
        })
    }
}

/// What one arm did at one level.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Its blocks.
    pub blocks: Vec<Block>,
    /// Its requests, those of unfinished blocks too.
    pub requests: Vec<Request>,
}

/// One arm's requests, by the blocks that both arms have done.
#[derive(Clone, Debug)]
pub struct Side {
    /// Length of each block in ns.
    pub lengths: Vec<u64>,
    /// Successful requests of each block.
    pub ok: Vec<u64>,
    failed: Vec<u64>,
    ended: Vec<u64>,
    /// All of them.
    pub requests: u64,
    /// Those for which a connection was made.
    pub connected: u64,
    times: [Option<Samples>; 4],
}

/// Both arms, cut down to the blocks that both have done.
pub fn sides(direct: &Done, via: &Done) -> [Side; 2] {
    let both: Vec<(&Block, &Block)> = direct
        .blocks
        .iter()
        .filter_map(|block| {
            let other = via.blocks.iter().find(|other| other.block == block.block)?;
            Some((block, other))
        })
        .collect();
    // An arm whose connections are closed while the other has its turn makes new ones: that is the
    // turns', not the gateway's. Left out at both arms, so that both are of the same work.
    let requests = direct.requests.iter().chain(&via.requests);
    let connected: HashSet<(u64, u32)> = requests
        .filter(|request| request.connected)
        .map(|request| (request.session, request.turn))
        .collect();
    let of = |done: &Done, blocks: Vec<&Block>| Side::new(done, &blocks, &connected);
    [
        of(direct, both.iter().map(|(block, _)| *block).collect()),
        of(via, both.iter().map(|(_, block)| *block).collect()),
    ]
}

impl Side {
    fn new(done: &Done, blocks: &[&Block], left_out_of_latencies: &HashSet<(u64, u32)>) -> Self {
        let place = |session: u64| {
            let holds = |block: &&Block| {
                (block.first_session..block.first_session + block.sessions).contains(&session)
            };
            blocks.iter().position(holds)
        };
        let nothing = || vec![0_u64; blocks.len()];
        let (mut ok, mut failed, mut ended) = (nothing(), nothing(), nothing());
        let (mut requests, mut connected) = (0, 0);
        let mut times = [const { Vec::new() }; 4];
        let mut missing = [false; 4];
        let mut left_out = [0_usize; 4];
        for request in &done.requests {
            let Some(block) = place(request.session) else {
                continue;
            };
            requests += 1;
            connected += u64::from(request.connected);
            match request.outcome {
                OutcomeGroup::Ok => {
                    ok[block] += 1;
                    ended[block] += 1;
                }
                OutcomeGroup::Failed | OutcomeGroup::Dropped => {
                    failed[block] += 1;
                    ended[block] += 1;
                }
                OutcomeGroup::Cut | OutcomeGroup::Cancelled => {}
            }
            let block = u32::try_from(block).expect("a command has few blocks");
            let has_connect = left_out_of_latencies.contains(&(request.session, request.turn));
            for (n, sample) in request.times.iter().enumerate() {
                let is_latency = n == Time::Ttft as usize || n == Time::E2e as usize;
                match sample {
                    Sample::Took(_) if has_connect && is_latency => {}
                    Sample::Took(ns) => times[n].push((block, Some(*ns))),
                    Sample::Beyond => times[n].push((block, None)),
                    Sample::Missing => missing[n] = true,
                    Sample::Nothing => {}
                    Sample::LeftOut => left_out[n] += 1,
                }
            }
        }
        // Where many streams came at once, the gaps of the others do not stand for them.
        for time in [Time::MeanGap as usize, Time::LongestGap as usize] {
            missing[time] |= left_out[time] * LEFT_OUT_MAX > times[time].len() + left_out[time];
        }
        let lengths = blocks
            .iter()
            .map(|block| block.end_ns.nanos_since(block.start_ns))
            .collect();
        let mut missing = missing.into_iter();
        Self {
            lengths,
            ok,
            failed,
            ended,
            requests,
            connected,
            times: times.map(|times| {
                let known = !missing.next().unwrap_or_default();
                known.then(|| Samples::new(blocks.len(), times))
            }),
        }
    }

    /// The time of its turns, in seconds.
    pub fn seconds(&self) -> f64 {
        self.lengths.iter().sum::<u64>() as f64 / 1e9
    }

    /// Successful requests a second, of the blocks by these weights.
    pub fn requests_per_s(&self, weights: &[u32]) -> Option<f64> {
        let nanos = weighted(&self.lengths, weights);
        (nanos > 0.0).then(|| weighted(&self.ok, weights) / nanos * 1e9)
    }

    fn failures(&self, weights: &[u32]) -> Option<f64> {
        let ended = weighted(&self.ended, weights);
        (ended > 0.0).then(|| weighted(&self.failed, weights) / ended)
    }
}

fn weighted(values: &[u64], weights: &[u32]) -> f64 {
    let pairs = values.iter().zip(weights);
    pairs
        .map(|(value, weight)| *value as f64 * f64::from(*weight))
        .sum()
}

/// The median and the 95th percentile of a time, and the 99th if `p99`, compared.
pub fn quantiles(sides: &[Side; 2], time: Time, p99: bool, seed: u64) -> Quantiles {
    let at = |q| times(sides, time, q, seed);
    Quantiles {
        p50: at(0.5),
        p95: at(0.95),
        p99: p99.then(|| at(0.99)).flatten(),
    }
}

fn times(sides: &[Side; 2], time: Time, q: f64, seed: u64) -> Option<Times> {
    let [direct, via] = sides
        .each_ref()
        .map(|side| side.times[time as usize].as_ref());
    let (direct, via) = (direct?, via?);
    let needed = samples_needed(q);
    if direct.count().min(via.count()) < needed {
        return None;
    }
    let ms = |samples: &Samples, weights: &[u32]| {
        let ns = samples.quantile(q, weights)?;
        Some(ns as f64 / 1e6)
    };
    let blocks = sides[0].lengths.len();
    let whole = vec![1; blocks];
    let shown = |samples| ms(samples, &whole).map_or(InclusiveMs::Failed, InclusiveMs::Known);
    Some(Times {
        direct: shown(direct),
        via: shown(via),
        delta: delta(blocks, seed, |weights| {
            Some(ms(via, weights)? - ms(direct, weights)?)
        }),
    })
}

/// Successful requests a second, compared.
pub fn requests_per_s(sides: &[Side; 2], seed: u64) -> Comparison {
    compared(sides, seed, Side::requests_per_s)
}

/// The share of failed requests, compared.
pub fn failures(sides: &[Side; 2], seed: u64) -> Comparison {
    compared(sides, seed, Side::failures)
}

fn compared(
    sides: &[Side; 2],
    seed: u64,
    number: impl Fn(&Side, &[u32]) -> Option<f64>,
) -> Comparison {
    let [direct, via] = sides;
    let blocks = direct.lengths.len();
    let whole = vec![1; blocks];
    Comparison {
        direct: number(direct, &whole),
        via: number(via, &whole),
        delta: delta(blocks, seed, |weights| {
            Some(number(via, weights)? - number(direct, weights)?)
        }),
    }
}

/// A difference and its interval; `None` where there is no difference to speak of.
fn delta(blocks: usize, seed: u64, statistic: impl Fn(&[u32]) -> Option<f64>) -> Option<Delta> {
    let estimate = statistic(&vec![1; blocks])?;
    let interval = bootstrap_blocks(blocks, seed, statistic);
    Some(Delta {
        estimate,
        low: interval.map(|i| i.low),
        high: interval.map(|i| i.high),
        seen: interval.as_ref().map(seen),
    })
}

fn seen(interval: &Interval) -> Seen {
    match interval {
        _ if interval.holds_zero() => Seen::NoDifference,
        Interval { low, .. } if *low > 0.0 => Seen::More,
        _ => Seen::Less,
    }
}
