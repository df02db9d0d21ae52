//! Statistics of paired samples: intervals by resampling whole blocks, and quantiles over samples
//! that failures stand beyond.
//!
//! A *block* is a stretch of work that both sides did one after the other. Requests of one block
//! share whatever the machines and the network did meanwhile, so they are no independent samples;
//! blocks are as near to that as one can get. A resample draws as many blocks as there are, with
//! replacement, and takes each with everything that both sides did in it. A statistic sees the
//! resample as weights: how often each block was drawn.
//!
//! In: times and counts. No money goes in here, since all is in floating point.

mod samples;

#[cfg(test)]
mod tests;

use rand::RngExt as _;

use crate::seed;

pub use samples::Samples;

/// Resamples of an interval.
pub const RESAMPLES: usize = 2_000;

/// Fewer blocks than this make no interval.
pub const BLOCKS_MIN: usize = 8;

/// A statistic and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Of the samples as they are.
    pub estimate: f64,
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

impl Interval {
    /// Whether zero lies in it: no difference was seen.
    pub fn holds_zero(&self) -> bool {
        self.low <= 0.0 && 0.0 <= self.high
    }
}

/// The 95 % interval of `statistic` by resampling `blocks` whole blocks 2,000 times. `statistic` is
/// given the weight of each block, all 1 for the estimate.
///
/// Bounds are percentiles of the resamples, taken so much further out that few blocks do not make
/// the interval too short: at `Phi(-sqrt(n / (n - 1)) * t)` and its counterpart, where `t` is
/// Student's 97.5 % quantile at n - 1 degrees of freedom (the expanded percentile interval: T.
/// Hesterberg, What Teachers Should Know About the Bootstrap, 2015, section 4.3).
///
/// A resample without a value, such as a quantile that falls on a failed request, counts as below
/// every other for the lower bound, and as above for the upper one. `None` with fewer than 8 blocks,
/// or where the estimate or a bound has no value.
pub fn bootstrap_blocks(
    blocks: usize,
    seed: u64,
    statistic: impl Fn(&[u32]) -> Option<f64>,
) -> Option<Interval> {
    bootstrap_groups(&[blocks], seed, |weights| statistic(&weights[0]))
}

/// The same over several groups of blocks that have nothing to do with each other, such as two levels
/// of load: each is resampled by itself. `statistic` is given the weights of each group's blocks. The
/// smallest group says how far out the bounds are.
pub fn bootstrap_groups(
    groups: &[usize],
    seed: u64,
    statistic: impl Fn(&[Vec<u32>]) -> Option<f64>,
) -> Option<Interval> {
    let finite = |weights: &[Vec<u32>]| statistic(weights).filter(|value| value.is_finite());
    let fewest = *groups.iter().min()?;
    if fewest < BLOCKS_MIN {
        return None;
    }
    let mut weights: Vec<Vec<u32>> = groups.iter().map(|&blocks| vec![1; blocks]).collect();
    let estimate = finite(&weights)?;
    let mut rng = seed::rng(seed, "bootstrap", groups.iter().sum::<usize>() as u64);
    let mut values = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        for weights in &mut weights {
            let blocks = weights.len();
            weights.fill(0);
            for _ in 0..blocks {
                weights[rng.random_range(0..blocks)] += 1;
            }
        }
        values.extend(finite(&weights));
    }
    values.sort_unstable_by(f64::total_cmp);
    let missing = RESAMPLES - values.len();
    let beyond = beyond(fewest);
    // Those without a value come first for one bound and last for the other.
    let low = *values.get(beyond.checked_sub(missing)?)?;
    let high = *values.get(RESAMPLES - 1 - beyond)?;
    Some(Interval {
        estimate,
        low,
        high,
    })
}

/// The fewest samples whose largest bounds quantile `q` from above with 95 % confidence:
/// `ln 0.05 / ln q`, after Wilks (1941). 5 for the median, 59 for p95, 299 for p99.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive and small"
)]
pub fn samples_needed(q: f64) -> u64 {
    (0.05_f64.ln() / q.ln()).ceil() as u64
}

/// How many of the resamples lie beyond a bound.
fn beyond(blocks: usize) -> usize {
    let n = blocks as f64;
    let share = below(-(n / (n - 1.0)).sqrt() * student(n - 1.0));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share below 1/40 of 2,000"
    )]
    let beyond = (share * RESAMPLES as f64).round() as usize;
    beyond
}

/// The 97.5 % quantile of Student's distribution at `freedom` degrees, at least 7: within 0.001.
/// Abramowitz and Stegun 26.7.5.
fn student(freedom: f64) -> f64 {
    let z = 1.959_964_f64;
    let terms = [
        z,
        (z.powi(3) + z) / 4.0,
        (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
        (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
    ];
    let by_power = terms.iter().zip(0..);
    by_power
        .map(|(term, power)| term / freedom.powi(power))
        .sum()
}

/// The share of a normal distribution below `x`, which is negative: within 1e-7. Abramowitz and
/// Stegun 26.2.17.
fn below(x: f64) -> f64 {
    let t = 1.0 / (1.0 - 0.231_641_9 * x);
    let terms = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let polynomial = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
    (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt() * polynomial
}
