//! Discrepancies against load: is the bill worse where more requests were in flight, or later?
//!
//! In: judged attempts that may cost something. Out: what is wrong, missing and double by the requests
//! in flight and by the time in the run, and a finding where the share of discrepancies is another
//! under more load than under less. Memory does not grow with the run.
//!
//! The two halves are compared by the Mantel-Haenszel test: model by model and mode by mode, so that
//! another mix of models under more load is no difference. Integers only, rounded against a finding.

use std::collections::BTreeMap;

use super::Attempt;
use super::account::add;
use super::finding::{Code, EXAMPLES_MAX, Finding, Key, Scope, key};
use super::policy::Charge;
use super::reconcile::{Judged, Status};
use crate::endpoint::Endpoint;
use crate::money::{Money, MoneyError};

/// Discrepancies of one kind below this many are never a finding.
const FEWEST: u64 = 5;

/// Below so many expected discrepancies, or attempts without one, in either half the test does not hold.
const FEWEST_EXPECTED: i128 = 5;

/// Standard deviations that two shares must be apart: 1 in 16,000 by chance.
const SIGMAS: i128 = 4;

/// Intervals of time at most; where there are more, two become one.
const INTERVALS_MAX: u64 = 24;

/// What is off among some attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discrepancies {
    /// Attempts that may cost something, or are recorded to have cost something.
    pub attempts: u64,
    /// Those whose recorded cost is not the predicted one.
    pub wrong: u64,
    /// Those whose cost is not recorded, or which have no row in the ledger.
    pub missing: u64,
    /// Those with more than one row in the ledger; `None` without a ledger.
    pub double: Option<u64>,
    /// Sum of recorded minus predicted, over those with both.
    pub delta: Option<Money>,
}

/// The attempts sent while so many were in flight at their endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// At least so many.
    pub min: u64,
    /// At most so many.
    pub max: u64,
    /// What is off among them.
    pub of: Discrepancies,
}

/// The attempts sent in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Its begin in seconds since the run's start.
    pub from_s: u64,
    /// Its length in seconds.
    pub length_s: u64,
    /// What is off in it.
    pub of: Discrepancies,
}

/// What is off at one endpoint, by load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByLoad {
    /// By the requests in flight, in powers of two; those that occurred.
    pub in_flight: Vec<InFlight>,
    /// By the time of sending; those that occurred.
    pub time: Vec<Interval>,
}

/// One kind of discrepancy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Wrong,
    Missing,
    Double,
}

/// The attempts of one scope in one bucket of requests in flight.
#[derive(Clone, Debug, Default)]
struct Bucket {
    attempts: u64,
    /// Those with a discrepancy, by its kind.
    found: [u64; 3],
    /// Of the missing ones, those that have a cost elsewhere and no row in the ledger.
    without_row: u64,
    /// The first few of each kind.
    examples: [Vec<Key>; 3],
}

/// Discrepancies by load in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    /// By the power of two that the requests in flight do not exceed.
    in_flight: BTreeMap<u32, Discrepancies>,
    /// The same by scope.
    buckets: BTreeMap<(u32, Scope), Bucket>,
    time: Intervals,
}

impl Load {
    /// Takes up an attempt of the measured phase.
    pub fn take(
        &mut self,
        attempt: &Attempt<'_>,
        charge: Charge,
        judged: &Judged,
    ) -> Result<(), MoneyError> {
        let record = attempt.record;
        let billable = charge != Charge::Free;
        let wrong = judged.status == Status::Mismatched;
        let without_row = billable && attempt.ledger.is_some_and(<[_]>::is_empty);
        let missing = judged.status == Status::NotRecorded || without_row;
        let double = attempt.ledger.map(|rows| rows.len() > 1);
        if !billable && !wrong && double != Some(true) {
            return Ok(());
        }
        let one = Discrepancies {
            attempts: 1,
            wrong: u64::from(wrong),
            missing: u64::from(missing),
            double: double.map(u64::from),
            delta: judged.delta,
        };
        if let Some(sent) = record.sent {
            self.time.add(sent.nanos() / 1_000_000_000, &one)?;
        }
        if let Some(in_flight) = record.in_flight {
            let power = power(in_flight);
            self.in_flight.entry(power).or_default().merge(&one)?;
            let group = (power, Scope::of(record));
            let bucket = self.buckets.entry(group).or_default();
            bucket.attempts += 1;
            bucket.without_row += u64::from(without_row);
            for (kind, found) in [
                (Kind::Wrong, wrong),
                (Kind::Missing, missing),
                (Kind::Double, double == Some(true)),
            ] {
                if found {
                    bucket.found[kind as usize] += 1;
                    keep_first(&mut bucket.examples[kind as usize], [key(record)]);
                }
            }
        }
        Ok(())
    }

    /// The tables.
    pub fn tables(&self) -> ByLoad {
        let in_flight = self.in_flight.iter().map(|(power, of)| InFlight {
            min: from(*power),
            max: 1 << power,
            of: *of,
        });
        ByLoad {
            in_flight: in_flight.collect(),
            time: self.time.rows(),
        }
    }

    /// Where the share of discrepancies of a kind is another under more load.
    pub fn findings(&self, endpoint: Endpoint) -> Vec<Finding> {
        let Some(split) = self.split() else {
            return Vec::new();
        };
        [Kind::Wrong, Kind::Missing, Kind::Double]
            .into_iter()
            .filter_map(|kind| self.finding(endpoint, kind, split))
            .collect()
    }

    /// The bucket from which on it is the upper half: so that the halves are as equal as can be,
    /// whatever was found in them.
    fn split(&self) -> Option<u32> {
        let attempts = self
            .in_flight
            .iter()
            .map(|(power, of)| (power, of.attempts));
        let all: u64 = attempts.clone().map(|(_, n)| n).sum();
        let mut below = 0;
        let halves = attempts.map(|(power, n)| {
            let half = (all.abs_diff(2 * below), *power);
            below += n;
            half
        });
        halves.skip(1).min().map(|(_, power)| power)
    }

    fn finding(&self, endpoint: Endpoint, kind: Kind, split: u32) -> Option<Finding> {
        let mut strata: BTreeMap<&Scope, Halves> = BTreeMap::new();
        let (mut all, mut examples, mut without_row) = (Halves::default(), Vec::new(), 0);
        for ((power, scope), bucket) in &self.buckets {
            for halves in [strata.entry(scope).or_default(), &mut all] {
                let half = usize::from(*power >= split);
                halves.attempts[half] += bucket.attempts;
                halves.found[half] += bucket.found[kind as usize];
            }
            without_row += bucket.without_row;
            let more = bucket.examples[kind as usize].iter().cloned();
            keep_first(&mut examples, more);
        }
        if !differ(strata.values()) {
            return None;
        }
        let count: u64 = all.found.iter().sum();
        let what = match kind {
            Kind::Wrong => "wrong costs",
            Kind::Missing if without_row == count => "missing ledger rows",
            Kind::Missing => "missing costs",
            Kind::Double => "double ledger rows",
        };
        let from = from(split);
        let mut models: Vec<&str> = strata.keys().map(|scope| scope.model.as_str()).collect();
        models.dedup();
        Some(Finding {
            code: Code::LoadDependent,
            severity: Code::LoadDependent.severity(),
            endpoint,
            streaming: strata.keys().any(|scope| scope.streaming),
            model: match models[..] {
                [model] => model.to_owned(),
                _ => SEVERAL.to_owned(),
            },
            count,
            of: all.attempts.iter().sum(),
            message: format!(
                "{what}: {} of {} below {from} in flight, {} of {} from {from} on",
                all.found[0], all.attempts[0], all.found[1], all.attempts[1]
            ),
            causes: Vec::new(),
            examples: examples.into_iter().map(|key| key.3).collect(),
        })
    }
}

/// Stands for the model in a finding about several.
pub const SEVERAL: &str = "*";

/// The power of two that `in_flight` does not exceed.
const fn power(in_flight: u32) -> u32 {
    32 - in_flight.saturating_sub(1).leading_zeros()
}

/// The fewest in flight of the bucket of 2^`power`.
const fn from(power: u32) -> u64 {
    if power == 0 {
        1
    } else {
        (1 << (power - 1)) + 1
    }
}

/// Puts in `more` and keeps the first few.
fn keep_first(keys: &mut Vec<Key>, more: impl IntoIterator<Item = Key>) {
    keys.extend(more);
    keys.sort_unstable();
    keys.truncate(EXAMPLES_MAX);
}

impl Discrepancies {
    /// Whether anything is off.
    pub fn any(&self) -> bool {
        self.wrong + self.missing + self.double.unwrap_or(0) > 0
    }

    fn merge(&mut self, other: &Self) -> Result<(), MoneyError> {
        self.attempts += other.attempts;
        self.wrong += other.wrong;
        self.missing += other.missing;
        if let Some(double) = other.double {
            self.double = Some(self.double.unwrap_or(0) + double);
        }
        add(&mut self.delta, other.delta)
    }
}

/// Attempts and discrepancies of the lower and the upper half.
#[derive(Clone, Copy, Debug, Default)]
struct Halves {
    attempts: [u64; 2],
    found: [u64; 2],
}

/// Whether the halves' shares are further apart than chance explains, over all strata: the square of
/// (found in the upper half - expected there) against the sum of the hypergeometric variances. In
/// billionths, each rounded so that it speaks against a difference.
fn differ<'h>(strata: impl Iterator<Item = &'h Halves>) -> bool {
    const UNIT: i128 = 1_000_000_000;
    let (mut found, mut deviation, mut variance, mut lost) = (0, 0_i128, 0_i128, 0_i128);
    // If the halves were alike: found below, found above, not found below, not found above.
    let mut expected = [0_i128; 4];
    for halves in strata {
        let [below, above] = halves.attempts.map(i128::from);
        let [fewer, more] = halves.found.map(i128::from);
        let (n, d) = (below + above, fewer + more);
        if below == 0 || above == 0 {
            continue;
        }
        found += d;
        let cells = [(d, below), (d, above), (n - d, below), (n - d, above)];
        for (sum, (of, half)) in expected.iter_mut().zip(cells) {
            *sum += of * half * UNIT / n;
        }
        deviation += (more * n - d * above) * UNIT / n;
        lost += 1;
        let ceil = |a: i128, b: i128| (a + b - 1) / b;
        let of_found = ceil(d * (n - d) * UNIT, n);
        let of_halves = ceil(below * above * UNIT, n);
        variance += ceil(of_found * of_halves, n - 1);
    }
    let deviation = (deviation.abs() - lost).max(0);
    let enough = expected.iter().all(|cell| *cell >= FEWEST_EXPECTED * UNIT);
    enough && found >= i128::from(FEWEST) && deviation * deviation > SIGMAS * SIGMAS * variance
}

/// Sums by time: steps of 1 s, doubled while there are too many.
#[derive(Clone, Debug)]
struct Intervals {
    step_s: u64,
    /// By the number of the step since the run's start.
    sums: BTreeMap<u64, Discrepancies>,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            step_s: 1,
            sums: BTreeMap::new(),
        }
    }
}

impl Intervals {
    fn add(&mut self, second: u64, one: &Discrepancies) -> Result<(), MoneyError> {
        self.sums
            .entry(second / self.step_s)
            .or_default()
            .merge(one)?;
        self.coarsen()
    }

    /// Doubles the step until there are few enough: the same steps whatever the order.
    fn coarsen(&mut self) -> Result<(), MoneyError> {
        let span = |sums: &BTreeMap<u64, Discrepancies>| {
            let first = sums.first_key_value().map_or(0, |(n, _)| *n);
            let last = sums.last_key_value().map_or(0, |(n, _)| *n);
            last - first
        };
        while span(&self.sums) >= INTERVALS_MAX {
            self.step_s *= 2;
            for (n, sums) in std::mem::take(&mut self.sums) {
                self.sums.entry(n / 2).or_default().merge(&sums)?;
            }
        }
        Ok(())
    }

    fn rows(&self) -> Vec<Interval> {
        let row = |(n, of): (&u64, &Discrepancies)| Interval {
            from_s: n * self.step_s,
            length_s: self.step_s,
            of: *of,
        };
        self.sums.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ledger_row, money, record, usage};
    use super::*;
    use crate::record::Record;
    use crate::time::Offset;
    use proptest::prelude::*;

    /// An attempt sent at this second with so many in flight.
    fn sent(n: u64, second: u64, in_flight: u32) -> Record {
        Record {
            trace_id: format!("{n:032x}"),
            session: n,
            sent: Some(Offset::from_nanos(second * 1_000_000_000)),
            in_flight: Some(in_flight),
            ..record("m", usage(1, 1))
        }
    }

    fn judged(status: Status) -> Judged {
        Judged {
            status,
            predicted: Some(money("1")),
            recorded: None,
            delta: (status != Status::NotRecorded).then(|| money("0.5")),
            findings: Vec::new(),
        }
    }

    fn take(load: &mut Load, record: &Record, status: Status) {
        let attempt = Attempt::seen(record);
        load.take(&attempt, Charge::AtUsage, &judged(status))
            .expect("small");
    }

    /// Of so many attempts in each bucket, so many are not recorded.
    fn missing(buckets: &[(u32, u64, u64)]) -> Load {
        let mut load = Load::default();
        for (in_flight, attempts, missing) in buckets {
            for n in 0..*attempts {
                let status = if n < *missing {
                    Status::NotRecorded
                } else {
                    Status::Matched
                };
                take(&mut load, &sent(n, 0, *in_flight), status);
            }
        }
        load
    }

    #[test]
    fn requests_in_flight_go_by_powers_of_two() {
        for (in_flight, bucket) in [
            (1, (1, 1)),
            (2, (2, 2)),
            (3, (3, 4)),
            (4, (3, 4)),
            (5, (5, 8)),
            (64, (33, 64)),
            (65, (65, 128)),
            (u32::MAX, (2_147_483_649, 4_294_967_296)),
        ] {
            let rows = missing(&[(in_flight, 1, 0)]).tables();
            let [row] = rows.in_flight[..] else {
                panic!("{rows:?}")
            };
            assert_eq!((row.min, row.max), bucket, "{in_flight}");
        }
    }

    #[test]
    fn more_discrepancies_under_more_load_are_a_finding() {
        let load = missing(&[
            (8, 2_000, 0),
            (32, 2_000, 0),
            (64, 3_000, 12),
            (128, 3_000, 25),
        ]);
        let [finding] = &load.findings(Endpoint::OpenAi)[..] else {
            panic!("one finding")
        };
        assert_eq!(
            finding.message,
            "missing costs: 0 of 4000 below 33 in flight, 37 of 6000 from 33 on"
        );
        assert_eq!((finding.count, finding.of), (37, 10_000));
        assert_eq!((finding.model.as_str(), finding.streaming), ("m", true));
        assert_eq!(finding.examples.len(), EXAMPLES_MAX);
    }

    #[test]
    fn chance_is_no_finding() {
        for buckets in [
            // As many everywhere, none at all, too few, and 3 sigma apart.
            &[(8, 1_000, 10), (32, 1_000, 10)][..],
            &[(8, 1_000, 0), (32, 1_000, 0)],
            &[(8, 1_000, 0), (32, 1_000, 4)],
            &[(8, 1_000, 10), (32, 1_000, 28)],
            // The first have nothing cached yet, and nearly all others are wrong.
            &[(8, 8, 6), (16, 292, 291)],
            // Too few below: 4 are expected there.
            &[(8, 10, 0), (32, 90, 40)],
            // One bucket alone.
            &[(8, 1_000, 100)],
            &[(8, 1, 0), (32, 1, 1)],
        ] {
            assert!(
                missing(buckets).findings(Endpoint::OpenAi).is_empty(),
                "{buckets:?}"
            );
        }
    }

    #[test]
    fn another_mix_of_models_is_no_finding() {
        let mut load = Load::default();
        // Each model is as wrong under any load, and the bad one is asked more often under more.
        for (model, in_flight, attempts, wrong) in [
            ("good", 8, 1_000, 10),
            ("bad", 8, 100, 50),
            ("good", 64, 100, 1),
            ("bad", 64, 1_000, 500),
        ] {
            for n in 0..attempts {
                let mut record = sent(n, 0, in_flight);
                model.clone_into(&mut record.requested_model);
                let status = if n < wrong {
                    Status::Mismatched
                } else {
                    Status::Matched
                };
                take(&mut load, &record, status);
            }
        }
        assert!(load.findings(Endpoint::OpenAi).is_empty());
        // The same counts of one model are one.
        let load = missing(&[(8, 1_100, 60), (64, 1_100, 501)]);
        assert_eq!(load.findings(Endpoint::OpenAi).len(), 1);
    }

    #[test]
    fn the_ledger_is_told_from_other_surfaces() {
        let row = ledger_row("1");
        let (one, two) = ([row.clone()], [row.clone(), row]);
        let mut load = Load::default();
        for (n, in_flight, rows) in (0..200).flat_map(|n| {
            [
                (n, 1, &one[..]),
                (n, 2, if n < 50 { &[] } else { &two[..] }),
            ]
        }) {
            let record = sent(n, 0, in_flight);
            let attempt = Attempt {
                ledger: Some(rows),
                ..Attempt::seen(&record)
            };
            load.take(&attempt, Charge::AtUsage, &judged(Status::Matched))
                .expect("small");
        }
        let messages: Vec<String> = load
            .findings(Endpoint::OpenAi)
            .into_iter()
            .map(|f| f.message)
            .collect();
        assert_eq!(
            messages,
            [
                "missing ledger rows: 0 of 200 below 2 in flight, 50 of 200 from 2 on",
                "double ledger rows: 0 of 200 below 2 in flight, 150 of 200 from 2 on",
            ]
        );
        let tables = load.tables();
        assert_eq!(tables.in_flight[1].of.double, Some(150));
    }

    #[test]
    fn what_is_free_and_not_recorded_is_not_counted() {
        let mut load = Load::default();
        let record = sent(0, 0, 1);
        let attempt = Attempt::seen(&record);
        load.take(&attempt, Charge::Free, &judged(Status::NoChargeExpected))
            .expect("small");
        assert_eq!(load.tables(), ByLoad::default());
        load.take(&attempt, Charge::Free, &judged(Status::Mismatched))
            .expect("small");
        let tables = load.tables();
        let of = tables.in_flight[0].of;
        assert_eq!((of.attempts, of.wrong, of.double), (1, 1, None));
    }

    proptest! {
        /// Steps and sums are the same in whatever order attempts come.
        #[test]
        fn order_changes_nothing(seconds in prop::collection::vec(0_u64..5_000, 1..60)) {
            let fold = |seconds: &[u64]| {
                let mut load = Load::default();
                for second in seconds {
                    take(&mut load, &sent(*second, *second, 3), Status::Mismatched);
                }
                load
            };
            let whole = fold(&seconds).tables();
            let mut backwards = seconds.clone();
            backwards.reverse();
            prop_assert_eq!(&fold(&backwards).tables(), &whole);
            prop_assert!(whole.time.len() <= 24);
            for second in &seconds {
                let inside = |row: &&Interval| (row.from_s..row.from_s + row.length_s).contains(second);
                prop_assert_eq!(whole.time.iter().filter(inside).count(), 1);
            }
            let wrong: u64 = whole.time.iter().map(|row| row.of.wrong).sum();
            prop_assert_eq!(wrong, u64::try_from(seconds.len()).expect("few"));
        }
    }
}
