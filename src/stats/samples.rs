//! Samples by block, sorted once, so that a quantile of a resample is one walk.

/// Times of requests and the blocks that they belong to. A request that failed is beyond any time.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Ascending by time.
    sorted: Vec<(u64, u32)>,
    /// Failed requests of each block.
    failed: Vec<u64>,
    /// All requests of each block.
    all: Vec<u64>,
}

impl Samples {
    /// Of `blocks` blocks: the block of each request, from 0, and its time in ns; `None` for one that
    /// failed.
    ///
    /// # Panics
    /// If a block is not below `blocks`.
    pub fn new(blocks: usize, requests: impl IntoIterator<Item = (u32, Option<u64>)>) -> Self {
        let mut samples = Self {
            sorted: Vec::new(),
            failed: vec![0; blocks],
            all: vec![0; blocks],
        };
        for (block, time) in requests {
            samples.all[block as usize] += 1;
            match time {
                Some(ns) => samples.sorted.push((ns, block)),
                None => samples.failed[block as usize] += 1,
            }
        }
        samples.sorted.sort_unstable();
        samples
    }

    /// Requests, the failed ones included.
    pub fn count(&self) -> u64 {
        self.all.iter().sum()
    }

    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// The `q` quantile, 0 to 1, of the blocks by these weights, in ns: the smallest time that at
    /// least this share of the requests does not exceed. `None` without requests, and where it falls
    /// on one that failed.
    ///
    /// # Panics
    /// If there are not as many weights as blocks.
    pub fn quantile(&self, q: f64, weights: &[u32]) -> Option<u64> {
        assert_eq!(weights.len(), self.all.len(), "a weight for each block");
        let all: u64 = self
            .all
            .iter()
            .zip(weights)
            .map(|(n, weight)| n * u64::from(*weight))
            .sum();
        if all == 0 {
            return None;
        }
        let rank = rank(q, all);
        let mut passed = 0;
        for (ns, block) in &self.sorted {
            passed += u64::from(weights[*block as usize]);
            if passed >= rank {
                return Some(*ns);
            }
        }
        None
    }
}

/// The place of the quantile among `n` sorted values, from 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a count"
)]
fn rank(q: f64, n: u64) -> u64 {
    // 0.07 x 100 is a little above 7.
    let exact = q * n as f64;
    ((exact - exact * 1e-12).ceil() as u64).clamp(1, n)
}
