//! The truth: what the upstream says that it wrote, and when.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

use crate::client::{Quantiles, Request, Seen};
use crate::upstream::Upstream;

/// The part of a journal's line that is needed here.
#[derive(Debug, Deserialize)]
struct Entry {
    nonce: String,
    received_ns: u64,
    first_token_write_ns: Option<u64>,
    #[serde(default)]
    frame_times: Option<FrameTimes>,
}

/// The times of an answer's frames, where the upstream keeps them.
#[derive(Debug, Deserialize)]
struct FrameTimes {
    written_ns: Vec<u64>,
}

/// How far a client's times were from the truth, and how far the upstream's from its plan.
#[derive(Debug, Clone, Copy)]
pub struct Errors {
    /// Measured time to the first content less the upstream's own, in ms.
    pub ttft_ms: Quantiles,
    /// Quantiles of the measured gaps less those of the written ones, or less the planned gap where the journal has no
    /// time of each frame; in ms.
    pub gap_ms: Quantiles,
    /// How late the upstream handed frames over, in ms at the 99th percentile.
    pub upstream_late_ms_p99: Option<f64>,
}

/// Holds `seen` against the journal. Requests due before `from` are left out: they opened their connections.
pub fn errors(
    upstream: &Upstream,
    seen: &Seen,
    events: u64,
    gap: Duration,
    from: Duration,
) -> anyhow::Result<Errors> {
    let text = upstream.get("/__mock/journal")?;
    let mut truth = HashMap::new();
    let mut written_gaps = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()) {
        let entry: Entry = serde_json::from_slice(line)?;
        // A preflight's answer is shorter.
        let whole = |times: &FrameTimes| times.written_ns.len() as u64 > events;
        if let Some(times) = entry.frame_times.filter(whole) {
            // The first frame has the role alone; content follows.
            let content = times.written_ns.iter().skip(1);
            let content: Vec<u64> = content.take(usize::try_from(events)?).copied().collect();
            let gaps = content.windows(2);
            written_gaps.extend(gaps.map(|pair| pair[1].saturating_sub(pair[0]) as f64));
        }
        let first = entry.first_token_write_ns;
        let ttft = first.map(|first| first.saturating_sub(entry.received_ns));
        truth.insert(entry.nonce, ttft);
    }
    let due = |request: &Request| request.due.map_or(0, |due| due.at_ns);
    let begin = seen.requests.iter().map(due).min().unwrap_or(0);
    let from = begin + u64::try_from(from.as_nanos())?;
    let ttft_errors = seen
        .requests
        .iter()
        .filter(|r| due(r) >= from)
        .map(|request| {
            let truth = truth.get(&request.nonce).copied().flatten();
            let truth =
                truth.with_context(|| format!("{} is not in the journal", request.nonce))?;
            Ok((request.ttft_ns as f64 - truth as f64) / 1e6)
        });
    let ttft_errors = ttft_errors.collect::<anyhow::Result<Vec<f64>>>()?;
    let gaps = seen.gap_ns.context("no gaps were seen")?;
    let planned = gap.as_nanos() as f64;
    let written = Quantiles::of(written_gaps).unwrap_or(Quantiles {
        p50: planned,
        p99: planned,
    });
    let stats: serde_json::Value = serde_json::from_slice(&upstream.get("/__mock/stats")?)?;
    Ok(Errors {
        ttft_ms: Quantiles::of(ttft_errors).context("no request on a warm connection")?,
        gap_ms: Quantiles {
            p50: (gaps.p50 - written.p50) / 1e6,
            p99: (gaps.p99 - written.p99) / 1e6,
        },
        upstream_late_ms_p99: stats
            .pointer("/lateness/ns_p99")
            .and_then(serde_json::Value::as_f64)
            .map(|ns| ns / 1e6),
    })
}
