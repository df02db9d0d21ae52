//! Distributions of times, as a report shows them.

use crate::metrics::{Bounds, Distribution, Metric};
use crate::report::{Inclusive, InclusiveMs, Latency};

/// ns to ms, to the microsecond that a histogram resolves.
pub(super) fn ms(nanos: f64) -> f64 {
    (nanos / 1e3).round() / 1e3
}

pub(super) fn latency(times: &Distribution) -> Option<Latency> {
    let q = |q| times.quantile(q).map(|ns| ms(ns as f64));
    Some(Latency {
        count: times.count(),
        failed: times.failed(),
        inclusive: None,
        mean: ms(times.mean()?),
        min: ms(times.min()? as f64),
        max: ms(times.max()? as f64),
        p50: q(0.5)?,
        p90: q(0.9)?,
        p95: q(0.95)?,
        p99: q(0.99)?,
        p999: q(0.999)?,
    })
}

/// A latency, and what it is with the requests in it that did not succeed.
pub(super) fn latency_of(metric: Metric, times: &Distribution) -> Option<Latency> {
    let latency = latency(times)?;
    // Gaps are of every stream, and the harness's own lateness of every request, as it is.
    let all = !matches!(metric, Metric::Icl | Metric::ScheduleLag);
    Some(Latency {
        inclusive: all.then(|| inclusive(times)).flatten(),
        ..latency
    })
}

fn inclusive(times: &Distribution) -> Option<Inclusive> {
    let q = |q| -> Option<InclusiveMs> {
        let Bounds { low, high } = times.inclusive_quantile(q)?;
        let known = ms(low);
        Some(if low.is_infinite() {
            InclusiveMs::Failed
        } else if ms(high) > known {
            InclusiveMs::AtLeast(known)
        } else {
            InclusiveMs::Known(known)
        })
    };
    Some(Inclusive {
        count: times.inclusive_count(),
        failed: times.failed(),
        cut: times.cut(),
        p50: q(0.5)?,
        p90: q(0.9)?,
        p95: q(0.95)?,
        p99: q(0.99)?,
        p999: q(0.999)?,
    })
}
