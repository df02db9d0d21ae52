//! Records -> summary: every metric of a run, per endpoint and kind of request, mergeable.
//!
//! A metric is defined once, in [`Metric::sample`]. Quantiles are kept of successful requests; a
//! failed one is counted beside them, and gates take both together, so that refusing work never
//! makes a gateway look faster. A request that the harness cut is neither: what it had waited
//! bounds what it would have measured.
//!
//! A request is counted by the outcome of its last attempt, and its latencies are that attempt's;
//! attempts that were retried show in the counts of attempts, outcomes, tokens and costs.
mod counts;
mod distribution;
mod metric;
mod series;
mod summary;
mod tools;

#[cfg(test)]
mod testing;

pub use counts::{Counts, UsageTotals};
pub use distribution::{Bounds, Distribution, Exact, NANOS_MAX, gap_histogram};
pub use metric::{Limits, Metric};
pub use series::{Load, Point, Series};
pub use summary::{EndpointSummary, Kind, KindSummary, Summary};
pub use tools::{CallTimes, CallsAtLoad, Loops, ToolCalls};
