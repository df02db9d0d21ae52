//! Sums over records.

use std::time::Duration;

use super::*;
use crate::metrics::Bounds;
use crate::metrics::testing::{at, ok};
use crate::usage::Usage;

fn window() -> Window {
    Window {
        start_ns: at(1_000),
        end_ns: at(3_000),
        idle_ns: 0,
    }
}

fn summary(records: &[Record], limits: &Limits) -> EndpointSummary {
    let mut summary = EndpointSummary::new(window());
    for record in records {
        summary.add(record, limits);
    }
    summary
}

#[test]
fn failures_are_beside_the_latencies_and_in_the_gated_quantiles() {
    let mut failed = ok(1_000, 1_001, 1_002, 1_003);
    failed.outcome = Outcome::RateLimited;
    let summary = summary(
        &[ok(1_000, 1_100, 1_200, 1_210), failed],
        &Limits::default(),
    );
    let ttft = summary.latency(Metric::Ttft);
    assert_eq!((ttft.count(), ttft.failed()), (1, 1));
    assert_eq!(ttft.inclusive_quantile(0.5), Some(Bounds::exactly(1e8)));
    assert_eq!(ttft.inclusive_quantile(0.95), Some(Bounds::FAILED));
    assert_eq!(summary.error_rate(), Some(0.5));
}

/// Cut at this millisecond, before anything of it had arrived.
fn cut(sent: u64, at_ms: u64) -> Record {
    let mut record = ok(sent, 0, 0, 0);
    record.outcome = Outcome::Cut;
    (record.first_byte, record.first_token, record.first_visible) = (None, None, None);
    (record.last_token, record.terminator) = (None, None);
    record.last_usage = Usage::default();
    record.ended = Some(at(at_ms));
    record
}

#[test]
fn a_cut_request_is_at_least_what_it_had_waited_and_keeps_what_it_had() {
    let mut before = cut(1_000, 1_700);
    before.due = Some(at(900));
    let mut after = cut(1_000, 1_900);
    after.first_token = Some(at(1_050));
    let mut hung_up = cut(1_000, 1_001);
    hung_up.outcome = Outcome::Cancelled;
    let records = [ok(1_000, 1_100, 1_200, 1_210), before, after, hung_up];
    let summary = summary(&records, &Limits::default());
    let at_most = |metric, q| summary.latency(metric).inclusive_quantile(q);
    // 50 (known), 100, and 700 or more.
    let ttft = summary.latency(Metric::Ttft);
    assert_eq!((ttft.count(), ttft.cut(), ttft.censored()), (1, 2, 1));
    let best = at_most(Metric::Ttft, 0.1).expect("three requests");
    assert!((best.low - 5e7).abs() < 1e5 && (best.high - 5e7).abs() < 1e5);
    assert_eq!(at_most(Metric::Ttft, 0.5), Some(Bounds::exactly(1e8)));
    let worst = at_most(Metric::Ttft, 0.99).expect("three requests");
    assert!((worst.low - 7e8).abs() < 1e6 && worst.high.is_infinite());
    let from_due = at_most(Metric::TtftFromDue, 0.5).expect("one request");
    assert!((from_due.low - 8e8).abs() < 1e6, "{from_due:?}");
    assert_eq!(
        at_most(Metric::Tpot, 0.99),
        Some(Bounds {
            low: 1e8 / 20.0,
            high: f64::INFINITY
        }),
        "the pace of tokens that never came is not known"
    );
    let counts = &summary.counts;
    assert_eq!((counts.cut, counts.cancelled, counts.planned), (2, 1, 4));
    assert_eq!(summary.error_rate(), Some(0.0));
}

#[test]
fn a_request_that_was_retried_is_counted_by_its_last_attempt() {
    let mut first = ok(1_001, 0, 0, 0);
    (first.outcome, first.last) = (Outcome::RateLimited, false);
    (first.first_token, first.terminator) = (None, None);
    first.finish = Some("error".to_owned());
    let mut second = ok(1_500, 1_600, 1_700, 1_710);
    second.attempt = 1;
    for attempt in [&mut first, &mut second] {
        attempt.due = Some(at(1_000));
    }
    let retried = [first.clone(), second.clone()];
    let good = summary(&retried, &Limits::default());
    let counts = &good.counts;
    assert_eq!((counts.planned, counts.ok, counts.failed), (1, 1, 0));
    assert_eq!((counts.attempts, counts.sent, counts.begun), (2, 1, 1));
    assert_eq!(counts.outcome(Outcome::RateLimited), 1);
    assert_eq!((good.error_rate(), good.broken_sum()), (Some(0.0), None));
    let ttft = good.latency(Metric::Ttft);
    assert_eq!((ttft.inclusive_count(), ttft.max()), (1, Some(100_000_000)));
    let from_due = good.latency(Metric::TtftFromDue);
    assert_eq!(from_due.max(), Some(600_000_000), "with the wait between");
    let lag = good.latency(Metric::ScheduleLag);
    assert_eq!((lag.count(), lag.max()), (1, Some(1_000_000)));
    assert_eq!(good.usage().output, Some(42), "each attempt may be billed");

    second.outcome = Outcome::HttpError;
    let failed = summary(&[first.clone(), second], &Limits::default());
    assert_eq!((failed.counts.planned, failed.counts.failed), (1, 1));
    assert_eq!(failed.latency(Metric::Ttft).failed(), 1);

    // Of a run that was killed before the second attempt ended.
    let torn = summary(&[first], &Limits::default());
    assert_eq!((torn.counts.begun, torn.counts.planned), (1, 0));
}

#[test]
fn kinds_add_up_to_their_endpoint() {
    let mut whole = ok(1_000, 1_300, 1_300, 1_300);
    whole.streaming = false;
    whole.first_token = None;
    let mut tools = ok(1_000, 1_200, 1_250, 1_260);
    tools.class = Class::Tools;
    let mut failed = tools.clone();
    failed.outcome = Outcome::Reset;
    let records = [ok(1_000, 1_100, 1_200, 1_210), whole, tools, failed];
    let mut summary = summary(&records, &Limits::default());
    assert_eq!(summary.broken_sum(), None);
    let kind = |class, streaming| &summary.kinds[&Kind { class, streaming }];
    assert_eq!(summary.kinds.len(), 3);
    assert_eq!(kind(Class::Tools, true).counts.planned, 2);
    let ttft = |class, streaming| kind(class, streaming).latency(Metric::Ttft);
    assert_eq!(ttft(Class::Chat, false).map(Distribution::count), Some(0));
    assert_eq!(
        ttft(Class::Tools, true).map(|d| (d.count(), d.failed())),
        Some((1, 1))
    );
    assert_eq!(summary.latency(Metric::E2e).count(), 3);
    assert_eq!(summary.latency(Metric::E2e).failed(), 1);
    assert_eq!(summary.usage().output, Some(84));

    summary.counts.ok += 1;
    let broken = summary.broken_sum().expect("one too many");
    assert!(broken.contains("4 planned, but 4 ok"), "{broken}");
    summary.counts.planned += 1;
    let broken = summary.broken_sum().expect("not of any kind");
    assert!(broken.contains("over all kinds"), "{broken}");
}

#[test]
fn rates_credit_what_happened_in_the_window_whatever_the_phase() {
    let mut warmup = ok(900, 950, 1_100, 1_110);
    warmup.phase = Phase::Warmup;
    warmup.counts.window_token_events = 5;
    let mut late = ok(2_900, 2_950, 3_100, 3_110);
    late.counts.window_token_events = 2;
    let summary = summary(
        &[warmup, ok(1_000, 1_100, 1_200, 1_210), late],
        &Limits::default(),
    );
    assert_eq!((summary.counts.planned, summary.counts.attempts), (2, 2));
    assert_eq!(
        summary.requests_per_s(),
        Some(1.0),
        "two completed inside two seconds"
    );
    assert_eq!(summary.events_per_s(), Some(17.0 / 2.0));
    let tokens = summary.output_tokens_per_s().expect("usage is known");
    assert!((tokens - (21.0 * 0.5 + 21.0 + 21.0 * 0.2) / 2.0).abs() < 1e-9);
}

#[test]
fn what_broke_off_leaves_the_token_rate_unknown() {
    // What Anthropic's first event says of the output is a placeholder.
    let mut cancelled = ok(1_000, 1_100, 1_200, 1_210);
    cancelled.outcome = Outcome::Cancelled;
    cancelled.terminator = None;
    cancelled.last_usage.output = Some(1);
    let whole = ok(1_000, 1_100, 1_200, 1_210);
    let summary = summary(&[whole, cancelled], &Limits::default());
    assert_eq!(summary.output_tokens_per_s(), None);
    assert_eq!(summary.without_usage, 1);
    assert_eq!(summary.usage().output, Some(21), "of the whole one alone");
    assert_eq!(summary.events_per_s(), Some(10.0));
    assert!(summary.errors.is_empty(), "hanging up is no error");
}

#[test]
fn goodput_takes_every_limit() {
    let limits = Limits(vec![
        (Metric::Ttft, Duration::from_millis(100)),
        (Metric::E2e, Duration::from_millis(300)),
    ]);
    let records = [
        ok(1_000, 1_100, 1_200, 1_210),
        ok(1_000, 1_101, 1_200, 1_210),
        ok(1_000, 1_050, 1_390, 1_400),
    ];
    assert_eq!(summary(&records, &limits).goodput_per_s(), Some(0.5));
}

#[test]
fn unknown_usage_stays_unknown() {
    let mut record = ok(1_000, 1_100, 1_200, 1_210);
    record.last_usage = Usage::default();
    let summary = summary(&[record], &Limits::default());
    assert_eq!(summary.output_tokens_per_s(), None);
    assert_eq!(summary.usage(), UsageTotals::default());
}
