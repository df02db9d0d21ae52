//! The load second by second, for charts: constant in memory however long the run is.
//!
//! Workers' seconds begin when their worker happens to begin, and are not of equal length. They are
//! put onto one grid, whose zero is the begin of the measured window: what a worker counted in an
//! interval is spread evenly over it. Once a run has more than [`POINTS_MAX`] steps, two of them
//! become one, and again, so that a day has as many points as an hour.

use std::collections::BTreeMap;

use super::Metric;
use crate::endpoint::Endpoint;
use crate::record::{Outcome, Phase, Record, Second};
use crate::time::Offset;

/// Most points that an endpoint has: half an hour of seconds, more than a chart can show.
pub const POINTS_MAX: i128 = 1_800;

const SECOND_NS: i128 = 1_000_000_000;

/// Ratio of one step of the quantiles' scale to the one before: a value is known to 1 %.
const STEP: f64 = 1.02;

/// One step of the grid at one endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its begin, in seconds from the begin of the measured window; negative in the warm-up.
    pub offset_s: i64,
    /// Its length in seconds.
    pub length_s: u64,
    /// What the workers counted; `None` where they wrote nothing.
    pub load: Option<Load>,
    /// First tokens of successful requests that arrived in it.
    pub ttft_count: u64,
    /// Median of their time to first token, in ms, to 1 %; `None` without any.
    pub ttft_ms_p50: Option<f64>,
    /// Its 99th percentile, in ms.
    pub ttft_ms_p99: Option<f64>,
}

/// What the workers counted in a step: parts of a second are parts of its counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Attempts sent.
    pub sent: f64,
    /// Attempts that ended in success.
    pub ok: f64,
    /// Attempts that ended otherwise, drops included.
    pub not_ok: f64,
    /// Token-bearing events that arrived.
    pub token_events: f64,
    /// Body bytes that arrived.
    pub bytes: f64,
    /// Requests in flight, on average over the step.
    pub in_flight: f64,
}

impl Load {
    /// Adds `share` of `other`.
    fn add(&mut self, other: &Self, share: f64) {
        self.sent += other.sent * share;
        self.ok += other.ok * share;
        self.not_ok += other.not_ok * share;
        self.token_events += other.token_events * share;
        self.bytes += other.bytes * share;
        self.in_flight += other.in_flight * share;
    }
}

/// A series under construction.
#[derive(Clone, Debug)]
pub struct Series {
    zero: Offset,
    /// Seconds a step has: a power of two.
    step_s: i128,
    cells: BTreeMap<(Endpoint, i128), Cell>,
    /// The first and last step with anything in it.
    span: Option<(i128, i128)>,
}

#[derive(Clone, Debug, Default)]
struct Cell {
    /// `in_flight` is a sum over seconds as long as the step may still grow.
    load: Option<Load>,
    ttft: Sketch,
}

impl Series {
    /// Nothing yet; `zero` is the begin of the measured window.
    pub fn new(zero: Offset) -> Self {
        Self {
            zero,
            step_s: 1,
            cells: BTreeMap::new(),
            span: None,
        }
    }

    /// Folds in an attempt: its first token, at its own time.
    pub fn add(&mut self, record: &Record) {
        if let (Outcome::Ok, Phase::Warmup | Phase::Measured) = (record.outcome, record.phase)
            && let (Some(at), Some(ttft)) = (record.first_token, Metric::Ttft.sample(record))
        {
            let at = self.since_zero(at);
            self.make_room(at, at);
            let index = at.div_euclid(self.step_ns());
            self.cell(record.endpoint, index).ttft.record(ttft);
        }
    }

    /// Folds in a worker's second.
    pub fn add_second(&mut self, row: &Second) {
        let length = i128::from(row.interval_ns.max(1));
        let end = self.since_zero(row.at_ns);
        let begin = end - length;
        self.make_room(begin, end - 1);
        let step = self.step_ns();
        let load = Load {
            sent: row.sent as f64,
            ok: row.ok as f64,
            not_ok: row.not_ok as f64,
            token_events: row.token_events as f64,
            bytes: row.bytes as f64,
            in_flight: row.in_flight_ns as f64 / SECOND_NS as f64,
        };
        for index in begin.div_euclid(step)..=(end - 1).div_euclid(step) {
            let overlap = end.min((index + 1) * step) - begin.max(index * step);
            self.cell(row.endpoint, index)
                .load
                .get_or_insert_default()
                .add(&load, overlap as f64 / length as f64);
        }
    }

    /// The points, by endpoint and time.
    pub fn points(&self) -> Vec<Point> {
        let point = |((endpoint, index), cell): (&(Endpoint, i128), &Cell)| Point {
            endpoint: *endpoint,
            offset_s: i64::try_from(index * self.step_s).unwrap_or(i64::MAX),
            length_s: u64::try_from(self.step_s).unwrap_or(u64::MAX),
            load: cell.load.map(|load| Load {
                in_flight: load.in_flight / self.step_s as f64,
                ..load
            }),
            ttft_count: cell.ttft.count(),
            ttft_ms_p50: cell.ttft.quantile_ms(0.5),
            ttft_ms_p99: cell.ttft.quantile_ms(0.99),
        };
        self.cells.iter().map(point).collect()
    }

    fn since_zero(&self, at: Offset) -> i128 {
        i128::from(at.nanos()) - i128::from(self.zero.nanos())
    }

    fn step_ns(&self) -> i128 {
        self.step_s * SECOND_NS
    }

    fn cell(&mut self, endpoint: Endpoint, index: i128) -> &mut Cell {
        self.cells.entry((endpoint, index)).or_default()
    }

    /// Makes the steps so long that these times, in ns since zero, lie in the grid.
    fn make_room(&mut self, from: i128, to: i128) {
        loop {
            let (from, to) = (
                from.div_euclid(self.step_ns()),
                to.div_euclid(self.step_ns()),
            );
            let (first, last) = self
                .span
                .map_or((from, to), |(first, last)| (first.min(from), last.max(to)));
            if last - first < POINTS_MAX {
                self.span = Some((first, last));
                return;
            }
            self.double();
        }
    }

    fn double(&mut self) {
        self.step_s *= 2;
        self.span = self.span.map(|(a, b)| (a.div_euclid(2), b.div_euclid(2)));
        for ((endpoint, index), cell) in std::mem::take(&mut self.cells) {
            let into = self.cell(endpoint, index.div_euclid(2));
            if let Some(load) = cell.load {
                into.load.get_or_insert_default().add(&load, 1.0);
            }
            into.ttft.merge(&cell.ttft);
        }
    }
}

/// Counts of times on a logarithmic scale: a few hundred bytes where a histogram of three digits
/// takes tens of thousands, and there is one for each point.
#[derive(Clone, Debug, Default)]
struct Sketch {
    /// (step of the scale, times in it), sorted.
    counts: Vec<(u16, u32)>,
}

impl Sketch {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the logarithm of a number of us is small and not negative"
    )]
    fn record(&mut self, ns: u64) {
        let us = (ns as f64 / 1e3).max(1.0);
        self.add((us.ln() / STEP.ln()).round() as u16, 1);
    }

    fn add(&mut self, step: u16, times: u32) {
        match self.counts.binary_search_by_key(&step, |(step, _)| *step) {
            Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(times),
            Err(at) => self.counts.insert(at, (step, times)),
        }
    }

    fn merge(&mut self, other: &Self) {
        for (step, times) in &other.counts {
            self.add(*step, *times);
        }
    }

    fn count(&self) -> u64 {
        self.counts.iter().map(|(_, n)| u64::from(*n)).sum()
    }

    fn quantile_ms(&self, q: f64) -> Option<f64> {
        let rank = super::distribution::rank(q, self.count());
        let mut seen = 0;
        let (step, _) = self.counts.iter().find(|(_, n)| {
            seen += u64::from(*n);
            seen >= rank
        })?;
        Some(STEP.powi(i32::from(*step)) / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Class;

    fn at(ms: u64) -> Offset {
        Offset::from_nanos(ms * 1_000_000)
    }

    fn second(at_ms: u64, worker: u32, sent: u64, in_flight: u32) -> Second {
        Second {
            at_ns: at(at_ms),
            interval_ns: 1_000_000_000,
            worker,
            endpoint: Endpoint::OpenAi,
            sent,
            ok: sent,
            not_ok: 1,
            token_events: 10 * sent,
            bytes: 100,
            in_flight_ns: u64::from(in_flight) * 1_000_000_000,
            in_flight,
        }
    }

    fn answer(first_token_ms: u64, ttft_ms: u64) -> Record {
        let class = Class::Chat;
        let mut record = Record::new(String::new(), Phase::Measured, Endpoint::OpenAi, class);
        record.outcome = Outcome::Ok;
        record.sent = Some(at(first_token_ms - ttft_ms));
        record.first_token = Some(at(first_token_ms));
        record
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= b.abs() * 0.011
    }

    #[test]
    fn workers_seconds_are_spread_over_the_grid_of_the_run() {
        let mut series = Series::new(at(2_000));
        // Two workers, a quarter of a second apart, over the warm-up's last second and two more.
        for n in 0..3 {
            series.add_second(&second(2_000 + n * 1_000, 0, 8, 4));
            series.add_second(&second(2_250 + n * 1_000, 1, 4, 2));
        }
        let points = series.points();
        let seen: Vec<(i64, f64, f64)> = points
            .iter()
            .map(|p| {
                let load = p.load.expect("seconds");
                (p.offset_s, load.sent, load.in_flight)
            })
            .collect();
        assert_eq!(
            seen,
            [
                (-1, 8.0 + 3.0, 4.0 + 1.5),
                (0, 12.0, 6.0),
                (1, 12.0, 6.0),
                (2, 1.0, 0.5)
            ]
        );
        let sum: f64 = points
            .iter()
            .filter_map(|p| p.load)
            .map(|l| l.token_events)
            .sum();
        assert!((sum - 360.0).abs() < 1e-9, "nothing is lost: {sum}");
    }

    #[test]
    fn first_tokens_are_credited_at_their_moment() {
        let mut series = Series::new(at(1_000));
        for ttft in 1..=100 {
            series.add(&answer(1_500, ttft));
        }
        series.add(&answer(2_001, 900));
        let mut failed = answer(2_500, 1);
        failed.outcome = Outcome::Truncated;
        series.add(&failed);
        let points = series.points();
        assert_eq!(points.len(), 2);
        assert_eq!((points[0].offset_s, points[0].ttft_count), (0, 100));
        assert!(close(points[0].ttft_ms_p50.expect("some"), 50.0));
        assert!(close(points[0].ttft_ms_p99.expect("some"), 99.0));
        assert_eq!((points[1].offset_s, points[1].ttft_count), (1, 1));
        assert!(close(points[1].ttft_ms_p50.expect("one"), 900.0));
        assert_eq!(points[0].load, None, "no worker's second, no zeros");
    }

    #[test]
    fn a_day_has_no_more_points_than_an_hour() {
        let mut series = Series::new(at(5_000));
        let (mut sent, seconds) = (0.0, 86_400);
        for n in 1..=seconds {
            series.add_second(&second(n * 1_000, 0, 3, 7));
            series.add(&answer(n * 1_000, 20));
            sent += 3.0;
        }
        let points = series.points();
        assert!((900..=1_800).contains(&points.len()), "{}", points.len());
        assert_eq!(points[1].length_s, 64);
        assert!(points[0].offset_s < 0 && points[0].offset_s % 64 == 0);
        let loads: Vec<Load> = points.iter().filter_map(|p| p.load).collect();
        let all: f64 = loads.iter().map(|l| l.sent).sum();
        assert!((all - sent).abs() < 1e-6, "{all}");
        assert!((loads[500].in_flight - 7.0).abs() < 1e-9);
        let first_tokens: u64 = points.iter().map(|p| p.ttft_count).sum();
        assert_eq!(first_tokens, seconds);
    }

    #[test]
    fn nonsense_from_a_damaged_file_takes_no_memory() {
        let mut series = Series::new(Offset::ZERO);
        series.add_second(&second(1_000, 0, 1, 1));
        let mut row = second(1_000, 0, 1, 1);
        (row.at_ns, row.interval_ns) = (Offset::from_nanos(u64::MAX), u64::MAX);
        series.add_second(&row);
        assert!(series.points().len() <= 1_800);
    }
}
