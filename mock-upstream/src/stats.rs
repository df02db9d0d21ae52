//! Running counts of what the upstream has done, for `/__mock/stats` and for tests that wait for it to be idle.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, SetOnce};

use crate::journal::{Endpoint, JournalEntry, Usage};

/// Counts since the start or the last reset. All but `in_flight` and `rotations` are of journaled requests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Completion requests whose answer is over.
    pub requests: u64,
    /// Those to `/v1/chat/completions`.
    pub openai: u64,
    /// Those to `/v1/messages`.
    pub anthropic: u64,
    /// Those that asked for a stream.
    pub streams: u64,
    /// Answers that were written whole.
    pub completed: u64,
    /// Answers that were not, because of a planted fault or since the client hung up.
    pub aborted: u64,
    /// Answers with a planted fault.
    pub faults: u64,
    /// Answers by status; 0 is no answer.
    pub statuses: BTreeMap<u16, u64>,
    /// Frames written.
    pub frames: u64,
    /// Token events written.
    pub token_events: u64,
    /// Tokens of the whole answers, delivered or not.
    pub usage: Usage,
    /// How late frames were written.
    pub lateness: Lateness,
    /// Requests being answered at this moment.
    pub in_flight: u64,
    /// Fresh wiremock servers that have taken over.
    pub rotations: u64,
    /// Entries that the journal's file could not take.
    pub journal_errors: u64,
    /// Times that a connection could not be accepted, for want of descriptors or memory.
    #[serde(default)]
    pub accept_errors: u64,
    /// Connections that ended because what came was no HTTP. Broken frames of HTTP/2 are not among them.
    #[serde(default)]
    pub protocol_errors: u64,
    /// Times that the port could not be listened on again after connections were refused, as planted.
    #[serde(default)]
    pub listen_errors: u64,
}

/// Models that are counted by name; those after them are counted as one. Names come from outside, and a series for each
/// would let any client grow what is kept.
const MODELS_MAX: usize = 64;

/// A longer name is counted among the others.
const MODEL_BYTES_MAX: usize = 128;

/// What requests are told apart by in `/metrics`: closed sets only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) endpoint: &'static str,
    pub(crate) status: u16,
    pub(crate) stream: bool,
    /// Empty without one.
    pub(crate) fault: String,
}

/// The counts, and what they consist of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Breakdown {
    pub(crate) stats: Stats,
    pub(crate) kinds: BTreeMap<Kind, u64>,
    /// Requests by model, at most [`MODELS_MAX`].
    pub(crate) models: BTreeMap<String, u64>,
    /// Those of all other models.
    pub(crate) other_models: u64,
    /// Bytes of the bodies of requests.
    pub(crate) body_bytes: u64,
}

impl Breakdown {
    fn count_model(&mut self, model: &str) {
        if let Some(count) = self.models.get_mut(model) {
            *count += 1;
        } else if self.models.len() < MODELS_MAX && model.len() <= MODEL_BYTES_MAX {
            self.models.insert(model.to_owned(), 1);
        } else {
            self.other_models += 1;
        }
    }
}

/// The distribution of the time by which frames were written later than planned. Quantiles are upper bounds
/// within an eighth of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lateness {
    /// Frames measured.
    pub count: u64,
    /// Median, in nanoseconds.
    pub ns_p50: u64,
    /// 99th percentile, in nanoseconds.
    pub ns_p99: u64,
    /// 99.9th percentile, in nanoseconds.
    #[serde(default)]
    pub ns_p999: u64,
    /// Maximum, in nanoseconds.
    pub ns_max: u64,
}

/// Where the counts are kept.
#[derive(Debug)]
pub(crate) struct Counters {
    counts: Mutex<Breakdown>,
    lateness: LatenessCounts,
    in_flight: AtomicU64,
    idle: Notify,
    first_accept_error: SetOnce<io::Error>,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            counts: Mutex::new(Breakdown::default()),
            lateness: LatenessCounts::new(),
            in_flight: AtomicU64::new(0),
            idle: Notify::new(),
            first_accept_error: SetOnce::new(),
        }
    }

    /// Counts an entry that went to the journal, or that the journal failed to take.
    pub(crate) fn count(&self, entry: &JournalEntry, journaled: bool) {
        let mut counts = self.lock();
        let kind = Kind {
            endpoint: match entry.endpoint {
                Endpoint::OpenAi => "openai",
                Endpoint::Anthropic => "anthropic",
            },
            status: entry.status,
            stream: entry.stream,
            fault: entry.fault.clone().unwrap_or_default(),
        };
        *counts.kinds.entry(kind).or_default() += 1;
        counts.count_model(&entry.model);
        counts.body_bytes += entry.body_bytes;
        let stats = &mut counts.stats;
        stats.requests += 1;
        match entry.endpoint {
            Endpoint::OpenAi => stats.openai += 1,
            Endpoint::Anthropic => stats.anthropic += 1,
        }
        stats.streams += u64::from(entry.stream);
        stats.completed += u64::from(entry.completed);
        stats.aborted += u64::from(!entry.completed);
        stats.faults += u64::from(entry.fault.is_some());
        *stats.statuses.entry(entry.status).or_default() += 1;
        stats.frames += entry.frames_written;
        stats.token_events += entry.token_events;
        stats.usage.input += entry.usage.input;
        stats.usage.cache_read += entry.usage.cache_read;
        stats.usage.cache_write += entry.usage.cache_write;
        stats.usage.cache_write_1h += entry.usage.cache_write_1h;
        stats.usage.output += entry.usage.output;
        stats.usage.reasoning += entry.usage.reasoning;
        stats.journal_errors += u64::from(!journaled);
    }

    pub(crate) fn count_lateness(&self, ns: u64) {
        self.lateness.count(ns);
    }

    /// Counts a connection that could not be accepted, and keeps the reason of the first.
    pub(crate) fn count_accept_error(&self, error: io::Error) {
        self.lock().stats.accept_errors += 1;
        // Only the first finds it empty.
        let _ = self.first_accept_error.set(error);
    }

    /// Waits until a connection could not be accepted: why the first could not.
    pub(crate) async fn first_accept_error(&self) -> &io::Error {
        self.first_accept_error.wait().await
    }

    pub(crate) fn count_protocol_error(&self) {
        self.lock().stats.protocol_errors += 1;
    }

    pub(crate) fn count_listen_error(&self) {
        self.lock().stats.listen_errors += 1;
    }

    pub(crate) fn count_rotation(&self) {
        self.lock().stats.rotations += 1;
    }

    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn leave(&self) {
        if self.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.idle.notify_waiters();
        }
    }

    /// Waits until no request is being answered.
    pub(crate) async fn idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let mut stats = self.lock().stats.clone();
        stats.lateness = self.lateness.summary();
        stats.in_flight = self.in_flight.load(Ordering::SeqCst);
        stats
    }

    /// The counts with what they consist of, and the distribution of lateness.
    pub(crate) fn breakdown(&self) -> (Breakdown, Histogram) {
        let mut breakdown = self.lock().clone();
        breakdown.stats.in_flight = self.in_flight.load(Ordering::SeqCst);
        (breakdown, self.lateness.histogram())
    }

    pub(crate) fn clear(&self) {
        let mut counts = self.lock();
        let rotations = counts.stats.rotations;
        *counts = Breakdown {
            stats: Stats {
                rotations,
                ..Stats::default()
            },
            ..Breakdown::default()
        };
        self.lateness.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Breakdown> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Eight buckets to each power of two.
const SUB_BUCKET_BITS: u32 = 3;
const SUB_BUCKETS: u64 = 1 << SUB_BUCKET_BITS;
const BUCKETS: usize = ((64 - SUB_BUCKET_BITS as usize) + 1) << SUB_BUCKET_BITS;

#[derive(Debug)]
struct LatenessCounts {
    buckets: Vec<AtomicU64>,
    max: AtomicU64,
    sum: AtomicU64,
}

/// The distribution of lateness in coarse buckets, as a scraper wants it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Histogram {
    pub(crate) sum_ns: u64,
    pub(crate) count: u64,
    /// The largest value of a bucket and how many are in it; the last one, without a limit, is `None`.
    pub(crate) buckets: Vec<(Option<u64>, u64)>,
}

/// The coarse buckets end at powers of two, less one: from 1 microsecond to 2 seconds.
const HISTOGRAM_BITS: std::ops::RangeInclusive<u32> = 10..=31;

impl LatenessCounts {
    fn new() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            max: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    fn count(&self, ns: u64) {
        self.buckets[bucket(ns)].fetch_add(1, Ordering::Relaxed);
        self.max.fetch_max(ns, Ordering::Relaxed);
        self.sum.fetch_add(ns, Ordering::Relaxed);
    }

    fn clear(&self) {
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
        self.max.store(0, Ordering::Relaxed);
        self.sum.store(0, Ordering::Relaxed);
    }

    fn histogram(&self) -> Histogram {
        let mut buckets = Vec::new();
        let mut next = 0;
        for bits in HISTOGRAM_BITS {
            let end = bucket(1 << bits);
            let counts = self.buckets[next..end].iter();
            let count = counts.map(|bucket| bucket.load(Ordering::Relaxed)).sum();
            buckets.push((Some((1 << bits) - 1), count));
            next = end;
        }
        let counts = self.buckets[next..].iter();
        let above = counts.map(|bucket| bucket.load(Ordering::Relaxed)).sum();
        buckets.push((None, above));
        Histogram {
            sum_ns: self.sum.load(Ordering::Relaxed),
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }

    fn summary(&self) -> Lateness {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .collect();
        let count: u64 = counts.iter().sum();
        let ns_max = self.max.load(Ordering::Relaxed);
        let quantile = |per_mille: u64| {
            let rank = (count * per_mille).div_ceil(1000);
            let mut seen = 0;
            let found = counts.iter().position(|bucket| {
                seen += bucket;
                seen >= rank && *bucket > 0
            });
            found.map_or(0, |index| upper_bound(index).min(ns_max))
        };
        Lateness {
            count,
            ns_p50: quantile(500),
            ns_p99: quantile(990),
            ns_p999: quantile(999),
            ns_max,
        }
    }
}

/// The bucket of a value: values below eight have their own, above that three bits follow the leading one.
fn bucket(ns: u64) -> usize {
    let group = (u64::BITS - ns.leading_zeros()).saturating_sub(SUB_BUCKET_BITS + 1);
    let within = ns >> group;
    let index = u64::from(group) * SUB_BUCKETS + within;
    usize::try_from(index).expect("there are under 500 buckets")
}

/// The largest value of a bucket.
fn upper_bound(index: usize) -> u64 {
    let index = index as u64;
    let group = (index / SUB_BUCKETS).saturating_sub(1);
    let within = index - group * SUB_BUCKETS;
    within
        .saturating_add(1)
        .checked_shl(u32::try_from(group).unwrap_or(0))
        .map_or(u64::MAX, |end| end.wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_bound_their_values() {
        let mut before = 0;
        for ns in (0..10_000).chain([u64::from(u32::MAX), u64::MAX / 3, u64::MAX]) {
            let index = bucket(ns);
            assert!(index >= before && index < BUCKETS, "{ns}");
            assert!(upper_bound(index) >= ns, "{ns} in {index}");
            assert!(upper_bound(index) - ns <= ns / 8, "{ns} in {index}");
            before = index;
        }
    }

    #[test]
    fn coarse_buckets_hold_what_is_not_above_them() {
        let counts = LatenessCounts::new();
        for ns in [
            0,
            1_023,
            1_024,
            2_047,
            2_048,
            (1 << 31) - 1,
            1 << 31,
            1 << 40,
        ] {
            counts.count(ns);
        }
        let histogram = counts.histogram();
        let filled: Vec<_> = histogram
            .buckets
            .iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        let last = Some((1_u64 << 31) - 1);
        let expected = [
            (Some(1_023), 2),
            (Some(2_047), 2),
            (Some(4_095), 1),
            (last, 1),
            (None, 2),
        ];
        assert!(filled.into_iter().eq(&expected), "{histogram:?}");
        assert_eq!(histogram.count, 8);
        assert_eq!(
            histogram.sum_ns,
            1_023 + 1_024 + 2_047 + 2_048 + (1 << 32) - 1 + (1 << 40)
        );
    }

    #[test]
    fn models_are_counted_by_name_up_to_a_limit() {
        let mut breakdown = Breakdown::default();
        let long = "x".repeat(MODEL_BYTES_MAX + 1);
        breakdown.count_model(&long);
        assert_eq!((breakdown.models.len(), breakdown.other_models), (0, 1));
        for number in 0..MODELS_MAX + 5 {
            breakdown.count_model(&format!("m{number}"));
        }
        breakdown.count_model("m1");
        assert_eq!(
            (breakdown.models.len(), breakdown.other_models),
            (MODELS_MAX, 6)
        );
        assert_eq!(breakdown.models["m1"], 2);
    }

    #[test]
    fn quantiles_bound_the_sorted_values() {
        let counts = LatenessCounts::new();
        for ns in 1..=1_000 {
            counts.count(ns);
        }
        let summary = counts.summary();
        assert_eq!((summary.count, summary.ns_max), (1_000, 1_000));
        assert!((500..=563).contains(&summary.ns_p50), "{summary:?}");
        assert!((990..=1_000).contains(&summary.ns_p99), "{summary:?}");
        assert!((999..=1_000).contains(&summary.ns_p999), "{summary:?}");
        assert_eq!(LatenessCounts::new().summary(), Lateness::default());
    }
}
