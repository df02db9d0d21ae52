//! The report for a terminal of 100 columns: verdict first, endpoints side by side.

use std::fmt::Write as _;

use super::format::{NOTHING, count, ms, number, percent};
use super::{ClassReport, Connects, EndpointReport, InclusiveMs, Latency, Mode, Report};
use crate::billing::finding::Severity;
use crate::endpoint::Endpoint;
use crate::metrics::Metric;
use crate::record::Class;
use crate::verdict::{GateStatus, Status};

/// Width of the names at the left.
const LABEL: usize = 19;

/// Width of an endpoint's column.
const COLUMN: usize = 38;

/// Widest line; longer texts are wrapped.
const WIDTH: usize = 100;

/// Findings and errors shown per endpoint; `report.json` has all.
const LIST_MAX: usize = 6;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    fn unsure(self, text: &str) -> String {
        self.with("33", text)
    }
}

/// The console form; with colours if `color`.
pub fn console(report: &Report, color: bool) -> String {
    let paint = Paint(color);
    let mut out = String::new();
    headline(&mut out, report, paint);
    gates(&mut out, report, paint);
    let endpoints: Vec<(&Endpoint, &EndpointReport)> = report.endpoints.iter().collect();
    title(
        &mut out,
        "",
        &endpoints
            .iter()
            .map(|(e, _)| e.name().to_owned())
            .collect::<Vec<_>>(),
        paint,
    );
    let each = |f: &dyn Fn(&EndpointReport) -> String| -> Vec<String> {
        endpoints.iter().map(|(_, e)| f(e)).collect()
    };
    requests(&mut out, &each, report.run.connects, paint);
    latencies(&mut out, &endpoints, paint);
    classes(&mut out, &endpoints, paint);
    throughput(&mut out, &each, paint);
    tokens(&mut out, &each, paint);
    tool_calls(&mut out, &endpoints, &each, paint);
    cost(&mut out, &each, paint);
    lists(&mut out, report, &endpoints, paint);
    out
}

fn headline(out: &mut String, report: &Report, paint: Paint) {
    let run = &report.run;
    let status = match report.verdict.status {
        Status::Passed => paint.with("1;32", "PASSED"),
        Status::Failed => paint.with("1;31", "FAILED"),
        Status::NoVerdict => paint.with("1;33", "NO VERDICT"),
        Status::Interrupted => paint.with("1;33", "INTERRUPTED"),
    };
    let target = if run.target == "offline" {
        "the offline upstream"
    } else {
        run.target.as_str()
    };
    line(
        out,
        &format!("{status}  {} on {target}", paint.bold(&run.scenario)),
    );
    let duration = run
        .duration_s
        .map_or_else(|| "unknown time".to_owned(), |s| format!("{s:.1} s"));
    let about = format!(
        "{}; {}; {duration}; seed {}",
        run.models.join(", "),
        run.load,
        run.seed
    );
    for text in wrap(&about, WIDTH) {
        line(out, &paint.dim(&text));
    }
    for reason in &report.verdict.reasons {
        for text in wrap(reason, WIDTH - 2) {
            line(out, &format!("  {text}"));
        }
    }
    if !report.validity.valid {
        line(
            out,
            &paint.with(
                "1;33",
                "INVALID: the latencies and rates below are not the target's",
            ),
        );
        for reason in &report.validity.reasons {
            item(out, reason);
        }
    }
    out.push('\n');
}

fn gates(out: &mut String, report: &Report, paint: Paint) {
    let gates = &report.verdict.gates;
    let mut shown: Vec<&str> = Vec::new();
    for gate in gates {
        if shown.contains(&gate.expression.as_str()) {
            continue;
        }
        shown.push(&gate.expression);
        let same: Vec<_> = gates
            .iter()
            .filter(|g| g.expression == gate.expression)
            .collect();
        let worst = same
            .iter()
            .map(|g| g.status)
            .max_by_key(|s| gravity(*s))
            .expect("at least this one");
        let mark = match worst {
            GateStatus::Passed => paint.good("pass"),
            GateStatus::Failed => paint.bad("FAIL"),
            GateStatus::Inconclusive | GateStatus::NoData | GateStatus::Invalid => {
                paint.unsure(" ?? ")
            }
        };
        let actual: Vec<String> = same
            .iter()
            .map(|g| {
                let value = g.actual.as_deref().unwrap_or("nothing measured");
                let text = format!("{} {value}", g.endpoint);
                let text = format!("{text:<26}");
                match g.status {
                    GateStatus::Passed => text,
                    GateStatus::Failed => paint.bad(&text),
                    _ => paint.unsure(&text),
                }
            })
            .collect();
        line(
            out,
            &format!("  {mark}  {:<34}  {}", gate.expression, actual.join("  ")),
        );
        for gate in same.iter().filter(|g| g.status != GateStatus::Passed) {
            if let Some(reason) = &gate.reason {
                for text in wrap(&format!("{}: {reason}", gate.endpoint), WIDTH - 8) {
                    line(out, &format!("        {}", paint.dim(&text)));
                }
            }
        }
    }
    if !gates.is_empty() {
        out.push('\n');
    }
}

fn gravity(status: GateStatus) -> u8 {
    match status {
        GateStatus::Passed => 0,
        GateStatus::NoData => 1,
        GateStatus::Inconclusive => 2,
        GateStatus::Invalid => 3,
        GateStatus::Failed => 4,
    }
}

type Each<'a> = dyn Fn(&dyn Fn(&EndpointReport) -> String) -> Vec<String> + 'a;

fn requests(out: &mut String, each: &Each<'_>, connects: Connects, paint: Paint) {
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

fn latencies(out: &mut String, endpoints: &[(&Endpoint, &EndpointReport)], paint: Paint) {
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
fn classes(out: &mut String, endpoints: &[(&Endpoint, &EndpointReport)], paint: Paint) {
    if endpoints.iter().all(|(_, e)| e.classes.len() < 2) {
        return;
    }
    let head = format!(
        "{:>8}{:>10}{:>10}{:>10}",
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
                    "{:>8}{:>10}{:>10}{:>10}",
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

fn throughput(out: &mut String, each: &Each<'_>, paint: Paint) {
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

fn tokens(out: &mut String, each: &Each<'_>, paint: Paint) {
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

fn tool_calls(
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
    let missing = each(&|e| {
        e.tool_calls
            .missing
            .map_or_else(|| NOTHING.to_owned(), count)
    });
    if missing.iter().any(|m| m != NOTHING) {
        row(out, "missing", &missing);
    }
    out.push('\n');
}

fn cost(out: &mut String, each: &Each<'_>, paint: Paint) {
    let amount = |e: &EndpointReport, value: &Option<String>| {
        value.as_ref().map_or_else(
            || NOTHING.to_owned(),
            |v| format!("{v} {}", e.cost.currency),
        )
    };
    title(out, "cost", &each(&|_| String::new()), paint);
    row(out, "predicted", &each(&|e| amount(e, &e.cost.predicted)));
    row(out, "recorded", &each(&|e| amount(e, &e.cost.recorded)));
    row(out, "delta", &each(&|e| amount(e, &e.cost.delta)));
    let differ = each(&|e| amount(e, &e.cost.delta_abs));
    if differ != each(&|e| amount(e, &e.cost.delta)) {
        row(out, "delta, absolute", &differ);
    }
    row(
        out,
        "coverage",
        &each(&|e| e.cost.coverage.map_or_else(|| NOTHING.to_owned(), percent)),
    );
    row(
        out,
        "statuses",
        &each(&|e| {
            let shown: Vec<String> = e
                .cost
                .statuses
                .iter()
                .filter(|(_, n)| **n > 0)
                .map(|(s, n)| format!("{} {s}", count(*n)))
                .collect();
            if shown.is_empty() {
                NOTHING.to_owned()
            } else {
                shown.join(", ")
            }
        }),
    );
    out.push('\n');
}

fn lists(
    out: &mut String,
    report: &Report,
    endpoints: &[(&Endpoint, &EndpointReport)],
    paint: Paint,
) {
    let findings: Vec<_> = endpoints
        .iter()
        .flat_map(|(_, e)| &e.cost.findings)
        .collect();
    if !findings.is_empty() {
        line(out, &paint.bold("findings"));
        for finding in findings.iter().take(LIST_MAX * endpoints.len()) {
            let code = finding.code.to_string();
            let code = match finding.severity {
                Severity::Wrong => paint.bad(&code),
                Severity::Unknown => paint.unsure(&code),
                Severity::Info => paint.dim(&code),
            };
            let mode = if finding.streaming {
                "streams"
            } else {
                "whole bodies"
            };
            line(
                out,
                &format!(
                    "  {code}  {} {mode}, {} of {}",
                    finding.endpoint,
                    count(finding.count),
                    count(finding.of)
                ),
            );
            for text in wrap(&finding.message, WIDTH - 6) {
                line(out, &format!("      {text}"));
            }
        }
        if findings.len() > LIST_MAX * endpoints.len() {
            line(
                out,
                &format!(
                    "  ... {} more in report.json",
                    findings.len() - LIST_MAX * endpoints.len()
                ),
            );
        }
        out.push('\n');
    }
    let errors: Vec<(&Endpoint, &String, &u64)> = endpoints
        .iter()
        .flat_map(|(endpoint, e)| {
            e.requests
                .errors
                .iter()
                .map(move |(text, n)| (*endpoint, text, n))
        })
        .collect();
    if !errors.is_empty() {
        line(out, &paint.bold("errors"));
        for (endpoint, text, n) in errors.iter().take(LIST_MAX * endpoints.len()) {
            item(out, &format!("{} x {endpoint}: {text}", count(**n)));
        }
        out.push('\n');
    }
    let oddities: Vec<String> = endpoints
        .iter()
        .flat_map(|(endpoint, e)| {
            e.requests
                .oddities
                .iter()
                .map(move |(name, n)| format!("{} x {endpoint}: {name}", count(*n)))
        })
        .collect();
    if !oddities.is_empty() {
        line(out, &paint.bold("departures from the protocol"));
        for text in &oddities {
            item(out, text);
        }
        out.push('\n');
    }
    if !report.run.warnings.is_empty() {
        line(out, &paint.bold("warnings"));
        for text in &report.run.warnings {
            item(out, text);
        }
        out.push('\n');
    }
    for text in wrap(&basis(report), WIDTH) {
        line(out, &paint.dim(&text));
    }
}

/// What the numbers rest on: a bill can only be as true as its token counts.
pub(super) fn basis(report: &Report) -> String {
    let tokens = match &report.run.truth {
        Some(truth) => format!("token counts are held against the journal of {truth}"),
        None => "token counts are the gateway's own: what is verified is the arithmetic (recorded = usage x price)".to_owned(),
    };
    format!(
        "Prices {}; {tokens}; tpot and token rates rest on reported usage.",
        &report.run.prices_sha256[..12]
    )
}

fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{}", text.trim_end());
}

fn title(out: &mut String, label: &str, cells: &[String], paint: Paint) {
    let mut text = paint.bold(&format!("{label:<LABEL$}"));
    for cell in cells {
        text.push_str(&paint.dim(&format!("{cell:>COLUMN$}")));
    }
    line(out, &text);
}

fn row(out: &mut String, label: &str, cells: &[String]) {
    row_painted(out, label, cells, str::to_owned);
}

/// Cells longer than their column go on in the next line.
fn row_painted(out: &mut String, label: &str, cells: &[String], paint: impl Fn(&str) -> String) {
    let wrapped: Vec<Vec<String>> = cells.iter().map(|cell| wrap_cell(cell)).collect();
    let lines = wrapped.iter().map(Vec::len).max().unwrap_or(0).max(1);
    for n in 0..lines {
        let mut text = if n == 0 {
            format!("  {label:<width$}", width = LABEL - 2)
        } else {
            " ".repeat(LABEL)
        };
        for cell in &wrapped {
            let part = cell.get(n).map_or("", String::as_str);
            text.push_str(&paint(&format!("{part:>COLUMN$}")));
        }
        line(out, &text);
    }
}

fn wrap_cell(cell: &str) -> Vec<String> {
    // A row of numbers is aligned by its own blanks.
    if cell.len() <= COLUMN {
        vec![cell.to_owned()]
    } else {
        wrap(cell, COLUMN - 2)
    }
}

fn item(out: &mut String, text: &str) {
    for (n, part) in wrap(text, WIDTH - 4).into_iter().enumerate() {
        line(out, &format!("  {} {part}", if n == 0 { "-" } else { " " }));
    }
}

/// Breaks at blanks; a word longer than the width stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
