//! The counts in `OpenMetrics`' text format, for Prometheus and whatever else scrapes.
//!
//! All series come from the snapshot that `/__mock/stats` shows, so the two never tell different stories. A reset sets
//! them to 0, which a scraper takes for a restart.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use crate::stats::{Breakdown, Counters, Histogram};

/// The media type of what [`exposition`] writes.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The model that stands for those beyond the limit.
const OTHER_MODELS: &str = "(other)";

/// All metrics at this moment.
pub(super) fn exposition(counters: &Counters) -> Result<String, fmt::Error> {
    let (breakdown, lateness) = counters.breakdown();
    let mut registry = Registry::with_prefix("mock_upstream");
    registry.register_collector(Box::new(Snapshot {
        breakdown,
        lateness,
    }));
    let mut written = String::new();
    text::encode(&mut written, &registry)?;
    Ok(written)
}

#[derive(Debug)]
struct Snapshot {
    breakdown: Breakdown,
    lateness: Histogram,
}

/// The values of labels, by their names.
type Labels = Vec<(&'static str, String)>;

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        encoder
            .encode_descriptor("build", "The program", None, MetricType::Info)?
            .encode_info(&version)?;
        self.encode_requests(&mut encoder)?;
        self.encode_totals(&mut encoder)?;
        encoder
            .encode_descriptor(
                "in_flight",
                "Requests being answered at this moment",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&self.breakdown.stats.in_flight)?;
        self.encode_lateness(&mut encoder)
    }
}

impl Snapshot {
    /// What is told apart by labels.
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let stats = &self.breakdown.stats;
        counters(
            encoder,
            "requests",
            "Completion requests whose answer is over",
            None,
            self.breakdown.kinds.iter().map(|(kind, count)| {
                let labels = vec![
                    ("endpoint", kind.endpoint.to_owned()),
                    ("status", kind.status.to_string()),
                    ("stream", kind.stream.to_string()),
                    ("fault", kind.fault.clone()),
                ];
                (labels, *count)
            }),
        )?;
        let models = self.breakdown.models.iter();
        let others = self.breakdown.other_models;
        counters(
            encoder,
            "model_requests",
            "Completion requests by model; (other) is what came after the first 64 models",
            None,
            models
                .map(|(model, count)| (model.as_str(), *count))
                .chain((others > 0).then_some((OTHER_MODELS, others)))
                .map(|(model, count)| (vec![("model", model.to_owned())], count)),
        )?;
        counters(
            encoder,
            "answers",
            "Answers by whether they were written whole",
            None,
            [("true", stats.completed), ("false", stats.aborted)]
                .map(|(completed, count)| (vec![("completed", completed.to_owned())], count)),
        )?;
        let usage = stats.usage;
        counters(
            encoder,
            "tokens",
            "Tokens of the whole answers, delivered or not; reasoning is part of output, cache_write_1h of cache_write",
            None,
            [
                ("input", usage.input),
                ("cache_read", usage.cache_read),
                ("cache_write", usage.cache_write),
                ("cache_write_1h", usage.cache_write_1h),
                ("output", usage.output),
                ("reasoning", usage.reasoning),
            ]
            .map(|(kind, count)| (vec![("kind", kind.to_owned())], count)),
        )
    }

    /// What is one number each.
    fn encode_totals(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let stats = &self.breakdown.stats;
        for (name, help, unit, count) in [
            (
                "token_events",
                "Token events written",
                None,
                stats.token_events,
            ),
            ("frames", "Frames written", None, stats.frames),
            (
                "request_body",
                "Size of the bodies of completion requests",
                Some(Unit::Bytes),
                self.breakdown.body_bytes,
            ),
            (
                "journal_errors",
                "Entries that the journal's file could not take",
                None,
                stats.journal_errors,
            ),
            (
                "accept_errors",
                "Connections that could not be accepted, for want of descriptors or memory",
                None,
                stats.accept_errors,
            ),
            (
                "listen_errors",
                "Times that the port could not be listened on again after connections were refused",
                None,
                stats.listen_errors,
            ),
            (
                "protocol_errors",
                "Connections that ended because what came was no HTTP",
                None,
                stats.protocol_errors,
            ),
            (
                "rotations",
                "Fresh wiremock servers that have taken over",
                None,
                stats.rotations,
            ),
        ] {
            counters(encoder, name, help, unit.as_ref(), [(Labels::new(), count)])?;
        }
        Ok(())
    }

    fn encode_lateness(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let buckets: Vec<_> = self
            .lateness
            .buckets
            .iter()
            .map(|(limit, count)| (limit.map_or(f64::INFINITY, seconds), *count))
            .collect();
        encoder
            .encode_descriptor(
                "lateness",
                "Time by which frames were written later than planned",
                Some(&Unit::Seconds),
                MetricType::Histogram,
            )?
            .encode_histogram::<Labels>(
                seconds(self.lateness.sum_ns),
                self.lateness.count,
                &buckets,
                None,
            )
    }
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    series: impl IntoIterator<Item = (Labels, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for (labels, count) in series {
        let exemplar = None::<&Exemplar<Labels, u64>>;
        if labels.is_empty() {
            metric.encode_counter(&count, exemplar)?;
        } else {
            let mut one = metric.encode_family(&labels)?;
            one.encode_counter(&count, exemplar)?;
        }
    }
    Ok(())
}
