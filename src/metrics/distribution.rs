//! A mergeable distribution: an HDR histogram with exact count, sum, minimum and maximum beside.

use hdrhistogram::Histogram;

/// Significant decimal digits of every histogram.
const SIGNIFICANT_DIGITS: u8 = 3;

/// The longest time that is recorded as itself: one hour, in ns. Longer ones are counted as over.
pub const NANOS_MAX: u64 = 3_600_000_000_000;

/// The finest step of times: 1 us, in ns.
const NANOS_STEP: u64 = 1_000;

/// Values of one quantity (ns or tokens), and how many attempts have none because they failed.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    step: u64,
    histogram: Option<Box<Histogram<u64>>>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
    over_range: u64,
    failed: u64,
    missing: u64,
}

/// A quantile over values and failures together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantile {
    /// This value.
    Value(u64),
    /// A failed attempt: over any limit.
    Failed,
}

impl Distribution {
    /// Of times in ns, with steps of 1 us at least.
    pub fn of_nanos() -> Self {
        Self {
            step: NANOS_STEP,
            ..Self::default()
        }
    }

    /// Of counts, such as tokens.
    pub fn of_counts() -> Self {
        Self {
            step: 1,
            ..Self::default()
        }
    }

    /// Records one value.
    pub fn record(&mut self, value: u64) {
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        } else {
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
        self.count += 1;
        self.sum += u128::from(value);
        if value > NANOS_MAX {
            self.over_range += 1;
        }
        // `saturating_record` would clamp to the range of the moment instead of resizing.
        self.histogram()
            .record(value.min(NANOS_MAX))
            .expect("the histogram resizes");
    }

    /// Counts an attempt that has no value because it failed.
    pub fn record_failure(&mut self) {
        self.failed += 1;
    }

    /// Counts an attempt that succeeded and has no value all the same.
    pub fn record_missing(&mut self) {
        self.missing += 1;
    }

    /// Takes quantiles from a histogram and the exact numbers from elsewhere (the gap log and the
    /// request rows).
    pub fn add_histogram(&mut self, values: &Histogram<u64>, exact: Exact) {
        self.histogram().add(values).expect("the histogram resizes");
        self.add_exact(exact);
    }

    /// Adds exact numbers whose values stand in the histogram already.
    pub fn add_exact(&mut self, exact: Exact) {
        if exact.count == 0 {
            return;
        }
        self.min = if self.count == 0 {
            exact.min
        } else {
            self.min.min(exact.min)
        };
        self.max = self.max.max(exact.max);
        self.count += exact.count;
        self.sum += u128::from(exact.sum);
    }

    /// Adds all of `other`: merging parts in any order gives the whole.
    pub fn merge(&mut self, other: &Self) {
        if let Some(histogram) = &other.histogram {
            self.histogram()
                .add(histogram.as_ref())
                .expect("the histogram resizes");
        }
        if other.count > 0 {
            self.min = if self.count == 0 {
                other.min
            } else {
                self.min.min(other.min)
            };
            self.max = self.max.max(other.max);
        }
        self.count += other.count;
        self.sum += other.sum;
        self.over_range += other.over_range;
        self.failed += other.failed;
        self.missing += other.missing;
    }

    /// How many values.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many failures beside them.
    pub const fn failed(&self) -> u64 {
        self.failed
    }

    /// How many successes without a value that they should have had.
    pub const fn missing(&self) -> u64 {
        self.missing
    }

    /// How many values were beyond [`NANOS_MAX`].
    pub const fn over_range(&self) -> u64 {
        self.over_range
    }

    /// The sum of the values.
    pub const fn sum(&self) -> u128 {
        self.sum
    }

    /// The mean; `None` without values.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The smallest; `None` without values.
    pub fn min(&self) -> Option<u64> {
        (self.count > 0).then_some(self.min)
    }

    /// The largest; `None` without values.
    pub fn max(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max)
    }

    /// The value at quantile `q` of the values alone: the smallest value that at least
    /// `ceil(q * count)` values do not exceed, to 3 significant digits. `None` without values.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        self.at_rank(rank(q, self.count))
    }

    /// The same over values and failures, each failure being over every value. `None` without
    /// either.
    pub fn inclusive_quantile(&self, q: f64) -> Option<Quantile> {
        let all = self.count + self.failed;
        let rank = rank(q, all);
        if all == 0 {
            None
        } else if rank > self.count {
            Some(Quantile::Failed)
        } else {
            self.at_rank(rank).map(Quantile::Value)
        }
    }

    /// The value of this rank, from 1.
    fn at_rank(&self, rank: u64) -> Option<u64> {
        let histogram = self.histogram.as_ref()?;
        if self.count == 0 || histogram.is_empty() {
            return None;
        }
        // The histogram's own rule takes a quantile; half a rank below the wanted one rounds up
        // to it whatever the last bit of the division is.
        let quantile = (rank as f64 - 0.5) / histogram.len() as f64;
        let value = histogram.value_at_quantile(quantile);
        // A bucket's upper edge may lie beyond the largest value that is known exactly.
        Some(value.clamp(self.min, self.max))
    }

    fn histogram(&mut self) -> &mut Histogram<u64> {
        let step = self.step.max(1);
        self.histogram
            .get_or_insert_with(|| Box::new(resizing(step)))
    }
}

/// An empty histogram of times in ns, as the gap log holds them.
pub fn gap_histogram() -> Histogram<u64> {
    resizing(NANOS_STEP)
}

/// A histogram that starts small and grows with its values: a full one takes 184 KB.
fn resizing(step: u64) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(step, step * 2_000, SIGNIFICANT_DIGITS)
        .expect("the bounds are valid");
    histogram.auto(true);
    histogram
}

/// Exact numbers beside a histogram.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exact {
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

/// The rank, from 1, of quantile `q` among `count` values: the smallest that is at least
/// `q * count`. A product that should be whole is taken as whole: 0.95 * 20 is 19.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 1..=count"
)]
fn rank(q: f64, count: u64) -> u64 {
    let exact = q * count as f64;
    ((exact - exact * 1e-12).ceil().max(1.0) as u64).clamp(1, count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sort and index: the independent oracle.
    fn oracle(values: &[u64], failed: usize, q: f64) -> Option<u64> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        sorted.extend(std::iter::repeat_n(u64::MAX, failed));
        let n = sorted.len();
        (1..=n)
            .find(|rank| *rank as f64 >= q * n as f64 - 1e-9)
            .map(|rank| sorted[rank - 1])
    }

    fn close(measured: u64, exact: u64) -> bool {
        measured.abs_diff(exact) as f64 <= (exact as f64 * 1e-3).max(1_000.0)
    }

    proptest! {
        #[test]
        fn quantiles_agree_with_sort_and_index(
            values in prop::collection::vec(0_u64..2_000_000_000, 1..300),
            failed in 0_usize..50,
            q in prop::sample::select(vec![0.5, 0.9, 0.95, 0.99, 0.999]),
            cut in 0_usize..300,
        ) {
            // In two parts, merged, as workers' and machines' are.
            let (mut whole, mut part) = (Distribution::of_nanos(), Distribution::of_nanos());
            let cut = cut.min(values.len());
            values[..cut].iter().for_each(|&v| whole.record(v));
            values[cut..].iter().for_each(|&v| part.record(v));
            (0..failed).for_each(|_| part.record_failure());
            whole.merge(&part);

            let alone = oracle(&values, 0, q).expect("not empty");
            prop_assert!(close(whole.quantile(q).expect("not empty"), alone));
            match (whole.inclusive_quantile(q).expect("not empty"), oracle(&values, failed, q).expect("not empty")) {
                (Quantile::Failed, expected) => prop_assert_eq!(expected, u64::MAX),
                (Quantile::Value(value), expected) => prop_assert!(close(value, expected)),
            }
            prop_assert_eq!(whole.sum(), values.iter().map(|&v| u128::from(v)).sum::<u128>());
            prop_assert_eq!(whole.min(), values.iter().min().copied());
            prop_assert_eq!(whole.max(), values.iter().max().copied());
            prop_assert_eq!(whole.count(), values.len() as u64);
        }
    }

    #[test]
    fn nothing_measured_is_nothing_shown() {
        let mut none = Distribution::of_nanos();
        assert_eq!(
            (
                none.mean(),
                none.min(),
                none.quantile(0.5),
                none.inclusive_quantile(0.5)
            ),
            (None, None, None, None)
        );
        none.record_failure();
        assert_eq!(none.quantile(0.5), None);
        assert_eq!(none.inclusive_quantile(0.5), Some(Quantile::Failed));
    }

    #[test]
    fn a_time_beyond_an_hour_is_counted_as_over() {
        let mut times = Distribution::of_nanos();
        times.record(NANOS_MAX * 2);
        assert_eq!(
            (times.count(), times.over_range(), times.max()),
            (1, 1, Some(NANOS_MAX * 2))
        );
    }
}
