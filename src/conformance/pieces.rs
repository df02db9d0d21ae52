//! Whether a stream arrives as it was written: bit by bit, in lumps, or all at once.

use crate::metrics::Distribution;
use crate::record::Record;
use crate::truth::Truth;

/// An upstream that wrote its tokens within less than this says little of how they travel, in ns.
const SPAN_MIN_NS: u64 = 50_000_000;

/// Fewer writes than this say little.
const WRITES_MIN: u64 = 4;

/// Writes that are closer to each other than this on average may meet on the way, in ns.
const APART_NS: u64 = 5_000_000;

/// What a stream was written in, and what it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// From the first token written to the last, in ns.
    upstream_ns: u64,
    /// From the first token that arrived to the last, in ns.
    client_ns: u64,
    /// Token events that were written.
    written: u64,
    /// Writes that they were in; `None` where the journal does not say.
    writes: Option<u64>,
    /// Token events that arrived.
    events: u64,
    /// Batches that they came in: frames that were ready without a wait share one.
    batches: u64,
}

impl Pieces {
    /// Of a stream that the upstream wrote as a stream; `None` where the times are not known, or no
    /// token came.
    pub fn of(record: &Record, truth: &Truth) -> Option<Self> {
        if !record.streaming || !truth.stream {
            return None;
        }
        let last = truth.last_token_write_ns.or(truth.last_write_ns)?;
        let (first_token, last_token) = (record.first_token?, record.last_token?);
        Some(Self {
            upstream_ns: last.saturating_sub(truth.first_token_write_ns?),
            client_ns: last_token.nanos_since(first_token),
            written: truth.token_events,
            writes: truth.token_writes,
            events: record.counts.token_events,
            batches: record.counts.token_batches,
        })
    }

    /// Whether the upstream took long enough for its tokens that they can be told apart.
    fn is_apart(&self) -> bool {
        let writes = self.writes.unwrap_or(self.written);
        self.upstream_ns >= SPAN_MIN_NS && writes >= WRITES_MIN
    }

    /// Whether a stream that was written bit by bit came all at once: in one batch, or in less than a
    /// tenth of the time.
    pub fn is_fake(&self) -> bool {
        self.is_apart()
            && (self.batches <= 1 || self.client_ns.saturating_mul(10) < self.upstream_ns)
    }

    /// Whether it came in fewer than half as many batches as it was written in, though the writes
    /// were apart; `None` where the journal does not know the writes.
    pub fn is_buffered(&self) -> Option<bool> {
        let writes = self.writes?;
        let gap = self.upstream_ns / writes.saturating_sub(1).max(1);
        let in_lumps = self.batches.saturating_mul(2) < writes;
        Some(self.is_apart() && gap >= APART_NS && in_lumps && !self.is_fake())
    }

    /// The two side by side.
    pub(super) fn words(&self) -> String {
        let ms = |ns: u64| ns as f64 / 1e6;
        let written = self.writes.unwrap_or(self.written);
        format!(
            "written over {:.0} ms in {written} pieces, arrived over {:.0} ms in {}",
            ms(self.upstream_ns),
            ms(self.client_ns),
            self.batches
        )
    }
}

/// How the streams of an endpoint travelled.
#[derive(Clone, Debug)]
pub struct Smoothness {
    /// Complete streams that the upstream wrote as streams.
    pub streams: u64,
    /// Those of them that were written slowly enough to be judged.
    pub judged: u64,
    /// Judged ones that came all at once.
    pub fake: u64,
    /// Judged ones that came in lumps; `None` where the journal does not know the writes.
    pub buffered: Option<u64>,
    /// Time from first to last token here by that of the upstream, in thousandths, of judged ones.
    pub span_permille: Distribution,
    /// Token events a batch, in thousandths.
    pub events_per_batch_permille: Distribution,
    /// Token events a write of the upstream, in thousandths.
    pub events_per_write_permille: Distribution,
}

impl Default for Smoothness {
    fn default() -> Self {
        Self {
            streams: 0,
            judged: 0,
            fake: 0,
            buffered: None,
            span_permille: Distribution::of_counts(),
            events_per_batch_permille: Distribution::of_counts(),
            events_per_write_permille: Distribution::of_counts(),
        }
    }
}

impl Smoothness {
    pub(super) fn add(&mut self, pieces: &Pieces) {
        let permille = |part: u64, whole: u64| {
            let value = u128::from(part) * 1_000 / u128::from(whole.max(1));
            u64::try_from(value).unwrap_or(u64::MAX)
        };
        self.streams += 1;
        if pieces.batches > 0 {
            let per_batch = permille(pieces.events, pieces.batches);
            self.events_per_batch_permille.record(per_batch);
        }
        if let Some(writes) = pieces.writes.filter(|writes| *writes > 0) {
            let per_write = permille(pieces.written, writes);
            self.events_per_write_permille.record(per_write);
        }
        if let Some(is_buffered) = pieces.is_buffered() {
            *self.buffered.get_or_insert(0) += u64::from(is_buffered);
        }
        if pieces.is_apart() {
            self.judged += 1;
            self.fake += u64::from(pieces.is_fake());
            self.span_permille
                .record(permille(pieces.client_ns, pieces.upstream_ns));
        }
    }
}
