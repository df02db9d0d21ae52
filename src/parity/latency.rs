//! By how much one endpoint is slower than the other, pair by pair.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::stats::{self, Interval};

/// Pairs whose times are kept; of more, an even share by session is.
const SAMPLES_MAX: usize = 20_000;

/// Blocks of successive sessions that are resampled together.
const BLOCKS: usize = 32;

/// Times of pairs.
#[derive(Clone, Debug, Default)]
pub struct Paired {
    /// (session, Anthropic less `OpenAI` in ns: time to first token, time to the end).
    samples: Vec<(u64, [Option<i64>; 2])>,
    /// Every session whose digest this divides is kept.
    stride: u64,
    pairs: u64,
}

/// How much longer the Anthropic endpoint took, at the median of the pairs, in ns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Pairs that it rests on.
    pub samples: u64,
    /// The median of the differences.
    pub median_ns: f64,
    /// Its 95 % interval, by resampling blocks of successive sessions; `None` with too few of them.
    pub interval_ns: Option<(f64, f64)>,
}

impl Paired {
    pub(super) fn add(
        &mut self,
        session: u64,
        openai: [Option<u64>; 2],
        anthropic: [Option<u64>; 2],
    ) {
        self.stride = self.stride.max(1);
        self.pairs += 1;
        if !digest(session).is_multiple_of(self.stride) {
            return;
        }
        let signed = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
        let less = |at: usize| Some(signed(anthropic[at]?) - signed(openai[at]?));
        self.samples.push((session, [less(0), less(1)]));
        while self.samples.len() > SAMPLES_MAX {
            self.stride *= 2;
            let stride = self.stride;
            self.samples
                .retain(|(session, _)| digest(*session).is_multiple_of(stride));
        }
    }

    /// Of the time to first token; `None` without a pair that has one.
    pub fn ttft(&self) -> Option<Shift> {
        self.shift(0)
    }

    /// Of the time to the end.
    pub fn e2e(&self) -> Option<Shift> {
        self.shift(1)
    }

    fn shift(&self, at: usize) -> Option<Shift> {
        let mut samples: Vec<(u64, i64)> = self
            .samples
            .iter()
            .filter_map(|(session, times)| Some((*session, times[at]?)))
            .collect();
        samples.sort_unstable();
        let count = samples.len();
        // Neighbours in the plan ran at about the same time: they are one block.
        let mut by_block: Vec<(i64, usize)> = samples
            .iter()
            .enumerate()
            .map(|(n, (_, difference))| (*difference, n * BLOCKS / count))
            .collect();
        by_block.sort_unstable();
        let plain = median(&by_block, &[1; BLOCKS])?;
        // Fewer than two in a block would make blocks of single requests.
        let interval = (count >= 2 * BLOCKS)
            .then(|| stats::bootstrap_blocks(BLOCKS, 0, |weights| median(&by_block, weights)))
            .flatten();
        Some(Shift {
            samples: count as u64,
            median_ns: plain,
            interval_ns: interval.map(|Interval { low, high, .. }| (low, high)),
        })
    }
}

fn digest(session: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    session.hash(&mut hasher);
    hasher.finish()
}

/// The weighted median of sorted (difference, block): the smallest difference that half of the weight
/// is at or below.
fn median(sorted: &[(i64, usize)], weights: &[u32]) -> Option<f64> {
    let weight = |block: usize| u64::from(weights[block]);
    let all: u64 = sorted.iter().map(|(_, block)| weight(*block)).sum();
    let mut below = 0;
    for (difference, block) in sorted {
        below += weight(*block);
        if below > 0 && below * 2 >= all {
            return Some(*difference as f64);
        }
    }
    None
}
