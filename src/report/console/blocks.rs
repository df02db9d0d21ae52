//! The blocks of numbers: requests, latencies, rates, tokens, tool calls.

use super::Each;
use super::text::{Paint, line, row, row_painted, title};
use crate::endpoint::Endpoint;
use crate::metrics::Metric;
use crate::record::Class;
use crate::report::format::{NOTHING, count, ms, number};
use crate::report::{ClassReport, Connects, EndpointReport, InclusiveMs, Latency, Mode};

pub(super) fn requests(out: &mut String, each: &Each<'_>, connects: Connects, paint: Paint) {
    row(
        out,
        "requests",
        &each(&|e| {
            let r = &e.requests;
            format!("{} ok of {} planned", count(r.ok), count(r.planned))
        }),
    );
    let others = each(&|e| {
        e.requests
            .outcomes
            .iter()
            .filter(|(name, _)| *name != "ok")
            .map(|(name, n)| format!("{} {name}", count(*n)))
            .collect::<Vec<_>>()
            .join(", ")
    });
    if others.iter().any(|o| !o.is_empty()) {
        row_painted(out, "", &others, |text| paint.bad(text));
    }
    let retried = each(&|e| {
        let r = &e.requests;
        let retries = (r.attempts + r.dropped).saturating_sub(r.planned);
        if retries > 0 {
            format!("{} attempts", count(r.attempts))
        } else {
            String::new()
        }
    });
    if retried.iter().any(|text| !text.is_empty()) {
        row(out, "with retries", &retried);
    }
    let connected = each(&|e| count(e.requests.connected));
    if connected.iter().any(|n| n != "0") {
        row(out, "met a connect", &connected);
        let slowest = connects
            .max_ms
            .map(|max| format!(", {} ms at most", ms(max)))
            .unwrap_or_default();
        let text = format!(
            "  their latency holds a new connection; of {} connects, each took {} ms{slowest}",
            count(connects.count),
            connects.mean_ms.map_or_else(|| NOTHING.to_owned(), ms)
        );
        line(out, &paint.dim(&text));
    }
    out.push('\n');
}

pub(super) fn latencies(
    out: &mut String,
    endpoints: &[(&Endpoint, &EndpointReport)],
    paint: Paint,
) {
    let heads = vec![format!("{:>8}{:>8}{:>8}{:>9}", "p50", "p95", "p99", "max"); endpoints.len()];
    title(out, "latency, ms", &heads, paint);
    let of = |metric: Metric| -> Vec<Option<Latency>> {
        let get = |e: &EndpointReport| e.latency_ms.get(metric.name()).copied().flatten();
        endpoints.iter().map(|(_, e)| get(e)).collect()
    };
    for metric in Metric::ALL {
        let values = of(metric);
        if values.iter().all(Option::is_none) {
            continue;
        }
        let cell = |latency: &Option<Latency>| match latency {
            Some(l) => format!(
                "{:>8}{:>8}{:>8}{:>9}",
                ms(l.p50),
                ms(l.p95),
                ms(l.p99),
                ms(l.max)
            ),
            None => NOTHING.to_owned(),
        };
        row(
            out,
            metric.name(),
            &values.iter().map(cell).collect::<Vec<_>>(),
        );
    }
    let mut begun = false;
    for metric in [
        Metric::Ttft,
        Metric::TtftFromDue,
        Metric::Tpot,
        Metric::E2e,
        Metric::E2eFromDue,
    ] {
        let values = of(metric);
        if !values.iter().flatten().any(is_worse_with_all) {
            continue;
        }
        if !begun {
            let text = "  with failed requests, which gates count as over any limit, and cut ones";
            line(out, &paint.dim(text));
            begun = true;
        }
        let cells: Vec<String> = values.iter().map(|latency| with_all(*latency)).collect();
        row(out, metric.name(), &cells);
    }
    out.push('\n');
}

/// Whether the quantiles that are shown are others over all requests.
fn is_worse_with_all(latency: &Latency) -> bool {
    latency.inclusive.is_some_and(|all| {
        [
            (all.p50, latency.p50),
            (all.p95, latency.p95),
            (all.p99, latency.p99),
        ]
        .iter()
        .any(|(all, successful)| *all != InclusiveMs::Known(*successful))
    })
}

fn with_all(latency: Option<Latency>) -> String {
    let shown = |quantile: InclusiveMs| match quantile {
        InclusiveMs::Known(value) => ms(value),
        InclusiveMs::AtLeast(value) => format!(">{}", ms(value)),
        InclusiveMs::Failed => "failed".to_owned(),
    };
    match latency.and_then(|latency| latency.inclusive) {
        Some(all) => format!(
            "{:>8}{:>8}{:>8}{:>9}",
            shown(all.p50),
            shown(all.p95),
            shown(all.p99),
            ""
        ),
        None => NOTHING.to_owned(),
    }
}

/// Kinds of requests side by side, where there is more than one.
pub(super) fn classes(out: &mut String, endpoints: &[(&Endpoint, &EndpointReport)], paint: Paint) {
    if endpoints.iter().all(|(_, e)| e.classes.len() < 2) {
        return;
    }
    let head = format!(
        "{:>7}{:>10}{:>10}{:>10}",
        "ok", "ttft p95", "ttfb p95", "e2e p95"
    );
    title(out, "by class", &vec![head; endpoints.len()], paint);
    for (class, mode, name) in [
        (Class::Chat, Mode::Stream, "chat, streamed"),
        (Class::Chat, Mode::Whole, "chat, whole"),
        (Class::Tools, Mode::Stream, "tools, streamed"),
        (Class::Tools, Mode::Whole, "tools, whole"),
    ] {
        let of = |e: &'_ EndpointReport| -> Option<ClassReport> {
            let mut all = e.classes.iter();
            all.find(|c| (c.class, c.mode) == (class, mode)).cloned()
        };
        let cell = |(_, e): &(&Endpoint, &EndpointReport)| match of(e) {
            Some(class) => {
                let p95 = |name: &str| {
                    let latency = class.latency_ms.get(name).copied().flatten();
                    latency.map_or_else(|| NOTHING.to_owned(), |l| ms(l.p95))
                };
                format!(
                    "{:>7}{:>10}{:>10}{:>10}",
                    count(class.requests.ok),
                    p95("ttft"),
                    p95("ttfb"),
                    p95("e2e")
                )
            }
            None => NOTHING.to_owned(),
        };
        if endpoints.iter().any(|(_, e)| of(e).is_some()) {
            row(out, name, &endpoints.iter().map(cell).collect::<Vec<_>>());
        }
    }
    out.push('\n');
}

pub(super) fn throughput(out: &mut String, each: &Each<'_>, paint: Paint) {
    let rate = |value: Option<f64>| value.map_or_else(|| NOTHING.to_owned(), number);
    title(
        out,
        "per second",
        &each(&|e| {
            e.throughput
                .window_s
                .map_or_else(|| "no window".to_owned(), |s| format!("over {s:.1} s"))
        }),
        paint,
    );
    row(
        out,
        "requests",
        &each(&|e| rate(e.throughput.requests_per_s)),
    );
    row(
        out,
        "output tokens",
        &each(&|e| rate(e.throughput.output_tokens_per_s)),
    );
    row(
        out,
        "token events",
        &each(&|e| rate(e.throughput.events_per_s)),
    );
    for (name, get) in [
        (
            "without usage",
            (|e| e.throughput.without_usage) as fn(&EndpointReport) -> u64,
        ),
        ("completed later", |e| e.throughput.drained),
    ] {
        if each(&|e| get(e).to_string()).iter().any(|n| n != "0") {
            row(out, name, &each(&|e| count(get(e))));
        }
    }
    let good = each(&|e| rate(e.throughput.goodput_per_s));
    if good.iter().any(|g| g != NOTHING) {
        row(out, "goodput", &good);
    }
    out.push('\n');
}

pub(super) fn tokens(out: &mut String, each: &Each<'_>, paint: Paint) {
    let known = |value: Option<u64>| value.map_or_else(|| NOTHING.to_owned(), count);
    let per_request = |e: &EndpointReport, total: Option<u64>, mean: Option<f64>| match mean {
        Some(mean) => format!("{}  ({} a request)", known(total), number(mean)),
        None if e.requests.ok == 0 => NOTHING.to_owned(),
        None => known(total),
    };
    title(out, "tokens, as reported", &each(&|_| String::new()), paint);
    row(
        out,
        "input",
        &each(&|e| per_request(e, e.usage.input, e.sizes.input.achieved.map(|q| q.mean))),
    );
    for (name, get) in [
        (
            "cache read",
            (|e| e.usage.cache_read) as fn(&EndpointReport) -> Option<u64>,
        ),
        ("cache write", |e| e.usage.cache_write),
    ] {
        let values = each(&|e| known(get(e)));
        if values.iter().any(|v| v != NOTHING && v != "0") {
            row(out, name, &values);
        }
    }
    row(
        out,
        "output",
        &each(&|e| per_request(e, e.usage.output, e.sizes.output.achieved.map(|q| q.mean))),
    );
    let reasoning = each(&|e| known(e.usage.reasoning));
    if reasoning.iter().any(|v| v != NOTHING && v != "0") {
        row(out, "of it reasoning", &reasoning);
    }
    let verified = each(&|e| match e.truth {
        Some(truth) if truth.of > 0 => format!("{} of {}", count(truth.verified), count(truth.of)),
        _ => NOTHING.to_owned(),
    });
    if verified.iter().any(|v| v != NOTHING) {
        row(out, "verified", &verified);
    }
    out.push('\n');
}

pub(super) fn tool_calls(
    out: &mut String,
    endpoints: &[(&Endpoint, &EndpointReport)],
    each: &Each<'_>,
    paint: Paint,
) {
    if endpoints
        .iter()
        .all(|(_, e)| e.tool_calls.returned == 0 && e.tool_calls.missing.unwrap_or(0) == 0)
    {
        return;
    }
    title(out, "tool calls", &each(&|_| String::new()), paint);
    row(out, "returned", &each(&|e| count(e.tool_calls.returned)));
    row(
        out,
        "valid JSON",
        &each(&|e| count(e.tool_calls.valid_json)),
    );
    let known = |value: Option<u64>| value.map_or_else(|| NOTHING.to_owned(), count);
    let fitting = each(&|e| known(e.tool_calls.schema_valid));
    if fitting.iter().any(|n| n != NOTHING) {
        row(out, "valid by schema", &fitting);
    }
    let unknown = each(&|e| count(e.tool_calls.unknown_name));
    if unknown.iter().any(|n| n != "0") {
        row_painted(out, "of unknown tools", &unknown, |text| paint.bad(text));
    }
    let rates = each(&|e| {
        let rate = e.tool_calls.argument_bytes_per_s;
        rate.map_or_else(
            || NOTHING.to_owned(),
            |r| format!("p50 {}, p5 {}", count(r.p50), count(r.p5)),
        )
    });
    if rates.iter().any(|text| text != NOTHING) {
        row(out, "argument bytes/s", &rates);
    }
    let missing = each(&|e| {
        e.tool_calls
            .missing
            .map_or_else(|| NOTHING.to_owned(), count)
    });
    if missing.iter().any(|m| m != NOTHING) {
        row(out, "missing", &missing);
    }
    let extra = each(&|e| known(e.tool_calls.extra));
    if extra.iter().any(|n| n != NOTHING && n != "0") {
        row_painted(out, "extra", &extra, |text| paint.bad(text));
    }
    out.push('\n');
}
