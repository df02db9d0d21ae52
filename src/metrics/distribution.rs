//! A mergeable distribution: an HDR histogram with exact count, sum, minimum and maximum beside.

use hdrhistogram::Histogram;

/// Significant decimal digits of every histogram.
const SIGNIFICANT_DIGITS: u8 = 3;

/// The longest time that is recorded as itself: one hour, in ns. Longer ones are counted as over.
pub const NANOS_MAX: u64 = 3_600_000_000_000;

/// The finest step of times: 1 us, in ns.
const NANOS_STEP: u64 = 1_000;

/// Values of one quantity (ns or tokens) of what succeeded, how many requests have none because they
/// failed, and what is known of those that the harness cut.
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
    cut: Option<Box<Cut>>,
}

/// Requests that the harness cut: they did not succeed, and are no failures of the target.
#[derive(Clone, Debug)]
struct Cut {
    /// Values that were there before the cut.
    known: Distribution,
    /// How long the others had waited: their values are at least this.
    at_least: Distribution,
}

/// What is known of a statistic over successful, failed and cut requests together. A failed one is
/// infinite; one that was cut is at least the time that it had waited, and may be infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// It is at least this; infinite if it falls on a failed request.
    pub low: f64,
    /// It is at most this; infinite if nothing bounds it.
    pub high: f64,
}

impl Bounds {
    /// Over any limit, since a failed request is.
    pub const FAILED: Self = Self {
        low: f64::INFINITY,
        high: f64::INFINITY,
    };

    /// It is this.
    pub const fn exactly(value: f64) -> Self {
        Self {
            low: value,
            high: value,
        }
    }

    /// At least this, and perhaps any more.
    pub const fn at_least(low: f64) -> Self {
        Self {
            low,
            high: f64::INFINITY,
        }
    }
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

    /// Counts a request that has no value because it failed.
    pub fn record_failure(&mut self) {
        self.failed += 1;
    }

    /// Records the value of a request that was cut after it had it.
    pub fn record_cut(&mut self, value: u64) {
        self.cut_mut().known.record(value);
    }

    /// Records that a request was cut before it had a value, which is at least this.
    pub fn record_censored(&mut self, at_least: u64) {
        self.cut_mut().at_least.record(at_least);
    }

    /// Counts a request that succeeded and has no value all the same.
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
        if let Some(cut) = &other.cut {
            let mine = self.cut_mut();
            mine.known.merge(&cut.known);
            mine.at_least.merge(&cut.at_least);
        }
    }

    /// How many values.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many failures beside them.
    pub const fn failed(&self) -> u64 {
        self.failed
    }

    /// How many requests beside them were cut.
    pub fn cut(&self) -> u64 {
        self.cut
            .as_ref()
            .map_or(0, |cut| cut.known.count + cut.at_least.count)
    }

    /// How many of these had no value yet.
    pub fn censored(&self) -> u64 {
        self.cut.as_ref().map_or(0, |cut| cut.at_least.count)
    }

    /// Values, failures and cut requests together.
    pub fn inclusive_count(&self) -> u64 {
        self.count + self.failed + self.cut()
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

    /// The same over values, failures and cut requests: a failure is over every value, and one
    /// that was cut is taken at the time that it had waited for the lower bound, and as a failure
    /// for the upper one. `None` without any.
    pub fn inclusive_quantile(&self, q: f64) -> Option<Bounds> {
        let all = self.inclusive_count();
        if all == 0 {
            return None;
        }
        let rank = rank(q, all);
        let at = |values: &Self| {
            if rank > values.count {
                f64::INFINITY
            } else {
                values.at_rank(rank).map_or(f64::INFINITY, |ns| ns as f64)
            }
        };
        let Some(cut) = &self.cut else {
            return Some(Bounds::exactly(at(self)));
        };
        let mut values = self.alone();
        values.merge(&cut.known);
        let high = at(&values);
        values.merge(&cut.at_least);
        Some(Bounds {
            // Both in one bucket, each cut off at its own maximum, are the same.
            low: at(&values).min(high),
            high,
        })
    }

    /// The largest over values, failures and cut requests.
    pub fn inclusive_max(&self) -> Option<Bounds> {
        self.inclusive(|values| values.max().map(|max| max as f64))
    }

    /// The mean over values, failures and cut requests: one failure makes it infinite.
    pub fn inclusive_mean(&self) -> Option<Bounds> {
        self.inclusive(Self::mean)
    }

    /// A statistic that a single infinite value makes infinite.
    fn inclusive(&self, statistic: impl Fn(&Self) -> Option<f64>) -> Option<Bounds> {
        if self.failed > 0 {
            return Some(Bounds::FAILED);
        }
        let Some(cut) = &self.cut else {
            return statistic(self).map(Bounds::exactly);
        };
        let mut values = self.alone();
        values.merge(&cut.known);
        values.merge(&cut.at_least);
        let value = statistic(&values)?;
        Some(if cut.at_least.count > 0 {
            Bounds::at_least(value)
        } else {
            Bounds::exactly(value)
        })
    }

    /// The values without what is beside them.
    fn alone(&self) -> Self {
        Self {
            failed: 0,
            missing: 0,
            cut: None,
            ..self.clone()
        }
    }

    fn cut_mut(&mut self) -> &mut Cut {
        let empty = Self {
            step: self.step,
            ..Self::default()
        };
        self.cut.get_or_insert_with(|| {
            Box::new(Cut {
                known: empty.clone(),
                at_least: empty,
            })
        })
    }

    /// The value of this rank, from 1.
    fn at_rank(&self, rank: u64) -> Option<u64> {
        let histogram = self.histogram.as_ref()?;
        // Values that are counted and not in the histogram, or the reverse, as the gaps of a run
        // that was killed: a rank among the ones is none among the others.
        if self.count == 0 || histogram.len() != self.count {
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
pub(super) fn rank(q: f64, count: u64) -> u64 {
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

    /// The same for a bound, which is infinite where the oracle has a failure.
    fn close_to(bound: f64, exact: u64) -> bool {
        let difference = (bound - exact as f64).abs();
        if exact == u64::MAX {
            bound.is_infinite()
        } else {
            difference <= (exact as f64 * 1e-3).max(1_000.0)
        }
    }

    proptest! {
        #[test]
        fn cut_requests_bound_a_quantile_from_both_sides(
            values in prop::collection::vec(0_u64..2_000_000_000, 0..100),
            known in prop::collection::vec(0_u64..2_000_000_000, 0..20),
            waited in prop::collection::vec(0_u64..2_000_000_000, 1..30),
            failed in 0_usize..20,
            q in prop::sample::select(vec![0.5, 0.9, 0.95, 0.99]),
        ) {
            let (mut whole, mut part) = (Distribution::of_nanos(), Distribution::of_nanos());
            for &value in &values {
                whole.record(value);
            }
            for &value in &known {
                part.record_cut(value);
            }
            for &value in &waited {
                part.record_censored(value);
            }
            (0..failed).for_each(|_| part.record_failure());
            whole.merge(&part);

            let happened: Vec<u64> = values.iter().chain(&known).copied().collect();
            let every: Vec<u64> = happened.iter().chain(&waited).copied().collect();
            let bounds = whole.inclusive_quantile(q).expect("not empty");
            let low = oracle(&every, failed, q).expect("not empty");
            let high = oracle(&happened, failed + waited.len(), q).expect("not empty");
            prop_assert!(close_to(bounds.low, low), "{bounds:?} {low}");
            prop_assert!(close_to(bounds.high, high), "{bounds:?} {high}");
            prop_assert_eq!(whole.inclusive_count(), (every.len() + failed) as u64);
            // What was cut is never among the successes.
            prop_assert_eq!(whole.count(), values.len() as u64);
        }

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
            let bounds = whole.inclusive_quantile(q).expect("not empty");
            prop_assert_eq!(bounds.low.to_bits(), bounds.high.to_bits());
            prop_assert!(close_to(bounds.low, oracle(&values, failed, q).expect("not empty")));
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
        assert_eq!(none.inclusive_quantile(0.5), Some(Bounds::FAILED));
    }

    #[test]
    fn the_largest_and_the_mean_take_what_was_cut_at_least_at_its_time() {
        let mut times = Distribution::of_nanos();
        times.record(10_000);
        assert_eq!(times.inclusive_max(), Some(Bounds::exactly(10_000.0)));
        times.record_cut(30_000);
        assert_eq!(times.inclusive_max(), Some(Bounds::exactly(30_000.0)));
        assert_eq!(times.inclusive_mean(), Some(Bounds::exactly(20_000.0)));
        times.record_censored(50_000);
        assert_eq!(times.inclusive_max(), Some(Bounds::at_least(50_000.0)));
        assert_eq!(times.inclusive_mean(), Some(Bounds::at_least(30_000.0)));
        assert_eq!((times.cut(), times.censored(), times.count()), (2, 1, 1));
        times.record_failure();
        assert_eq!(times.inclusive_max(), Some(Bounds::FAILED));
        assert_eq!(times.inclusive_mean(), Some(Bounds::FAILED));
    }

    #[test]
    fn a_log_that_holds_other_values_than_were_counted_has_no_quantile() {
        let mut log = gap_histogram();
        (0..10).for_each(|_| log.record(5_000_000).expect("it resizes"));
        let exact = |count| Exact {
            count,
            sum: 5_000_000 * count,
            min: 5_000_000,
            max: 5_000_000,
        };
        let mut gaps = Distribution::of_nanos();
        gaps.add_histogram(&log, exact(10));
        assert!(close(gaps.quantile(0.5).expect("all are there"), 5_000_000));
        let mut torn = Distribution::of_nanos();
        torn.add_histogram(&log, exact(4));
        assert_eq!((torn.count(), torn.quantile(0.5)), (4, None));
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
