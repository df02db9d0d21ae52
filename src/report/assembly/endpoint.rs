//! What was measured at one endpoint, as its part of the report.

use std::collections::BTreeMap;

use super::AgainstTruth;
use super::latency::{latency, latency_of, ms};
use super::tools::{loops, tool_calls};
use crate::billing::verify::Verification;
use crate::endpoint::Endpoint;
use crate::manifest::ConnectTotals;
use crate::metrics::{
    Counts, Distribution, EndpointSummary, Kind, KindSummary, Metric, UsageTotals,
};
use crate::record::Outcome;
use crate::report::{
    ClassReport, ClassRequests, Conformance, Connects, Cost, EndpointReport, Gaps, Mode, Quantiles,
    Requests, Size, Sizes, Smoothness, Throughput, Truth as TruthReport, Usage,
};

/// Planned and achieved sizes may differ by this share before the report warns.
const SIZE_TOLERANCE: f64 = 0.1;

/// What answers were held against, beside the price list.
pub(super) struct Held<'a> {
    pub verification: Option<&'a Verification>,
    pub against: Option<&'a AgainstTruth>,
    pub conformance: Conformance,
    pub smoothness: Option<Smoothness>,
}

pub(super) fn endpoint_report(
    summary: &EndpointSummary,
    planned: Option<u64>,
    limited: bool,
    cost: Cost,
    held: Held<'_>,
) -> EndpointReport {
    let counts = &summary.counts;
    let Held {
        verification,
        against,
        conformance,
        smoothness,
    } = held;
    let truth = verification.map(|verification| TruthReport {
        verified: verification.verified,
        of: verification.of,
        ttft_error_ms: against.and_then(|a| latency(&a.ttft_error)),
    });
    EndpointReport {
        requests: Requests {
            planned: planned.unwrap_or(counts.planned),
            ok: counts.ok,
            failed: counts.failed,
            dropped: counts.dropped,
            cut: counts.cut,
            cancelled: counts.cancelled,
            attempts: counts.attempts,
            outcomes: outcomes(counts),
            connected: summary.connected,
            errors: summary.errors.clone(),
            oddities: summary.oddities.clone(),
        },
        latency_ms: Metric::ALL
            .into_iter()
            .map(|metric| {
                let shown = latency_of(metric, &summary.latency(metric));
                (metric.name().to_owned(), shown)
            })
            .collect(),
        throughput: Throughput {
            window_s: summary.window().seconds(),
            requests_per_s: summary.requests_per_s(),
            output_tokens_per_s: summary.output_tokens_per_s(),
            events_per_s: summary.events_per_s(),
            goodput_per_s: summary.goodput_per_s().filter(|_| limited),
            without_usage: summary.without_usage,
            drained: summary.drained,
        },
        usage: usage(summary.usage()),
        classes: classes(summary),
        sizes: Sizes {
            input: Size {
                planned: quantiles(&summary.planned_input),
                achieved: quantiles(&summary.achieved_input),
            },
            output: Size {
                planned: quantiles(&summary.planned_output),
                achieved: quantiles(&summary.achieved_output),
            },
        },
        tool_calls: tool_calls(summary, against),
        loops: loops(&summary.loops),
        cost,
        truth,
        conformance,
        smoothness,
    }
}

/// By class, streams first.
fn classes(summary: &EndpointSummary) -> Vec<ClassReport> {
    let mut kinds: Vec<(&Kind, &KindSummary)> = summary.kinds.iter().collect();
    kinds.sort_by_key(|(kind, _)| (kind.class, !kind.streaming));
    let class = |(kind, of_kind): (&Kind, &KindSummary)| {
        let counts = &of_kind.counts;
        ClassReport {
            class: kind.class,
            mode: if kind.streaming {
                Mode::Stream
            } else {
                Mode::Whole
            },
            requests: ClassRequests {
                planned: counts.planned,
                ok: counts.ok,
                failed: counts.failed,
                dropped: counts.dropped,
                cut: counts.cut,
                cancelled: counts.cancelled,
                attempts: counts.attempts,
                outcomes: outcomes(counts),
            },
            latency_ms: Metric::ALL
                .into_iter()
                .filter_map(|metric| {
                    let shown = latency_of(metric, of_kind.latency(metric)?);
                    Some((metric.name().to_owned(), shown))
                })
                .collect(),
            gaps_ms: gaps(&of_kind.gaps),
            usage: usage(of_kind.usage),
        }
    };
    kinds.into_iter().map(class).collect()
}

fn gaps(gaps: &Distribution) -> Option<Gaps> {
    Some(Gaps {
        count: gaps.count(),
        mean: ms(gaps.mean()?),
        min: ms(gaps.min()? as f64),
        max: ms(gaps.max()? as f64),
    })
}

fn outcomes(counts: &Counts) -> BTreeMap<String, u64> {
    Outcome::ALL
        .into_iter()
        .map(|o| (o.name().to_owned(), counts.outcome(o)))
        .filter(|(_, n)| *n > 0)
        .collect()
}

fn usage(totals: UsageTotals) -> Usage {
    Usage {
        input: totals.input,
        cache_read: totals.cache_read,
        cache_write: totals.cache_write,
        output: totals.output,
        reasoning: totals.reasoning,
    }
}

pub(super) fn connects(totals: ConnectTotals) -> Connects {
    let mean = totals.sum_ns as f64 / totals.count as f64;
    Connects {
        count: totals.count,
        mean_ms: (totals.count > 0).then(|| ms(mean)),
        max_ms: totals.max_ns.map(|ns| ms(ns as f64)),
    }
}

fn quantiles(sizes: &Distribution) -> Option<Quantiles> {
    Some(Quantiles {
        mean: sizes.mean()?,
        p50: sizes.quantile(0.5)?,
        p95: sizes.quantile(0.95)?,
    })
}

/// A load that was not of the planned size measured something else.
pub(super) fn size_warnings(endpoint: Endpoint, sizes: &Sizes) -> Vec<String> {
    let warning = |(what, size): (&str, &Size)| {
        let (planned, achieved) = size.planned.zip(size.achieved)?;
        let off = |planned: f64, achieved: f64| achieved / planned - 1.0;
        // The mean first: it is what the rates and the bill go by.
        let (name, planned, achieved) = [
            ("on average", planned.mean, achieved.mean),
            ("at the median", planned.p50 as f64, achieved.p50 as f64),
            ("at p95", planned.p95 as f64, achieved.p95 as f64),
        ]
        .into_iter()
        .find(|(_, planned, achieved)| off(*planned, *achieved).abs() > SIZE_TOLERANCE)?;
        Some(format!(
            "{endpoint}: {what} was {achieved:.0} tokens {name} where {planned:.0} were planned ({:+.0} %)",
            off(planned, achieved) * 100.0
        ))
    };
    [("input", &sizes.input), ("output", &sizes.output)]
        .into_iter()
        .filter_map(warning)
        .collect()
}
