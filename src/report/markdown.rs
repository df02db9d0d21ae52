//! The report as Markdown, for a pull request or a ticket.

use std::fmt::Write as _;

use super::answers as words;
use super::bill;
use super::console::basis;
use super::format::{NOTHING, amount, bias, count, ms, number, percent};
use super::tables::{Table, calls_by_load, discrepancies, parts};
use super::{EndpointReport, InclusiveMs, Report};
use crate::metrics::Metric;
use crate::verdict::{GateStatus, Status};

/// The Markdown form.
pub fn markdown(report: &Report) -> String {
    let mut out = String::new();
    headline(&mut out, report);
    gates(&mut out, report);
    requests_and_latency(&mut out, report);
    throughput_and_cost(&mut out, report);
    bill_tables(&mut out, report);
    calls_and_streams(&mut out, report);
    answers(&mut out, report);
    findings(&mut out, report);
    put(&mut out, &format!("\n{}", basis(report)));
    out
}

fn headline(out: &mut String, report: &Report) {
    let run = &report.run;
    let status = match report.verdict.status {
        Status::Passed => "passed",
        Status::Failed => "failed",
        Status::NoVerdict => "no verdict",
        Status::Interrupted => "interrupted",
    };
    put(out, &format!("# {}: {status}\n", run.scenario));
    let models = run.models.join(", ");
    put(
        out,
        &format!(
            "{models} on {}; {}; started {}; seed {}.\n",
            run.target, run.load, run.started_at, run.seed
        ),
    );
    if let Some((_, bill)) = bill::headline(report) {
        put(out, &format!("{bill}.\n"));
    }
    for reason in report
        .verdict
        .reasons
        .iter()
        .chain(&report.validity.reasons)
    {
        put(out, &format!("- {}", escape(reason)));
    }
}

fn gates(out: &mut String, report: &Report) {
    if report.verdict.gates.is_empty() {
        return;
    }
    put(
        out,
        "\n## Gates\n\n| gate | endpoint | measured | result |\n|---|---|---|---|",
    );
    for gate in &report.verdict.gates {
        let result = match gate.status {
            GateStatus::Passed => "passed",
            GateStatus::Failed => "**failed**",
            GateStatus::Inconclusive => "inconclusive",
            GateStatus::NoData => "no data",
            GateStatus::Invalid => "invalid",
        };
        let reason = gate
            .reason
            .as_ref()
            .map(|r| format!(": {}", escape(r)))
            .unwrap_or_default();
        let actual = gate.actual.as_deref().unwrap_or(NOTHING);
        put(
            out,
            &format!(
                "| `{}` | {} | {actual} | {result}{reason} |",
                gate.expression, gate.endpoint
            ),
        );
    }
}

/// The head of a table with a column for each endpoint.
fn table(out: &mut String, report: &Report, name: &str) {
    let heads: Vec<&str> = report.endpoints.keys().map(|e| e.name()).collect();
    let rule = "---:|".repeat(heads.len());
    put(
        out,
        &format!("\n## {name}\n\n| | {} |\n|---|{rule}", heads.join(" | ")),
    );
}

fn row(out: &mut String, report: &Report, name: &str, cell: impl Fn(&EndpointReport) -> String) {
    let cells: Vec<String> = report.endpoints.values().map(cell).collect();
    put(out, &format!("| {name} | {} |", cells.join(" | ")));
}

fn requests_and_latency(out: &mut String, report: &Report) {
    table(out, report, "Requests");
    row(out, report, "planned", |e| count(e.requests.planned));
    row(out, report, "ok", |e| count(e.requests.ok));
    row(out, report, "failed", |e| count(e.requests.failed));
    row(out, report, "dropped", |e| count(e.requests.dropped));
    row(out, report, "cut", |e| count(e.requests.cut));

    table(out, report, "Latency, ms (p50 / p95 / p99)");
    for metric in Metric::ALL {
        let get = |e: &EndpointReport| e.latency_ms.get(metric.name()).copied().flatten();
        if report.endpoints.values().any(|e| get(e).is_some()) {
            row(out, report, metric.name(), |e| match get(e) {
                Some(l) => format!("{} / {} / {}", ms(l.p50), ms(l.p95), ms(l.p99)),
                None => NOTHING.to_owned(),
            });
        }
    }
    let failed = |e: &EndpointReport| e.requests.failed + e.requests.dropped + e.requests.cut > 0;
    if report.endpoints.values().any(failed) {
        table(
            out,
            report,
            "The same with failed and cut requests, as gates take them",
        );
        for metric in Metric::ALL {
            let get = |e: &EndpointReport| {
                let latency = e.latency_ms.get(metric.name()).copied().flatten();
                latency.and_then(|l| l.inclusive)
            };
            if report.endpoints.values().any(|e| get(e).is_some()) {
                row(out, report, metric.name(), |e| match get(e) {
                    Some(all) => format!(
                        "{} / {} / {}",
                        inclusive(all.p50),
                        inclusive(all.p95),
                        inclusive(all.p99)
                    ),
                    None => NOTHING.to_owned(),
                });
            }
        }
    }
}

fn inclusive(quantile: InclusiveMs) -> String {
    match quantile {
        InclusiveMs::Known(value) => ms(value),
        InclusiveMs::AtLeast(value) => format!("{} or more", ms(value)),
        InclusiveMs::Failed => "failed".to_owned(),
    }
}

fn throughput_and_cost(out: &mut String, report: &Report) {
    let rate = |value: Option<f64>| value.map_or_else(|| NOTHING.to_owned(), number);
    table(out, report, "Throughput, per second");
    row(out, report, "requests", |e| {
        rate(e.throughput.requests_per_s)
    });
    row(out, report, "output tokens", |e| {
        rate(e.throughput.output_tokens_per_s)
    });
    row(out, report, "goodput", |e| rate(e.throughput.goodput_per_s));

    let known = |value: Option<u64>| value.map_or_else(|| NOTHING.to_owned(), count);
    let amount = |e: &EndpointReport, v: &Option<String>| match v {
        Some(digits) => amount(digits, &e.cost.currency),
        None => NOTHING.to_owned(),
    };
    table(out, report, "Tokens and cost");
    row(out, report, "input tokens", |e| known(e.usage.input));
    row(out, report, "output tokens", |e| known(e.usage.output));
    row(out, report, "predicted", |e| amount(e, &e.cost.predicted));
    row(out, report, "recorded", |e| amount(e, &e.cost.recorded));
    row(out, report, "delta", |e| amount(e, &e.cost.delta));
    row(out, report, "delta, absolute", |e| {
        amount(e, &e.cost.delta_abs)
    });
    if (report.endpoints.values()).any(|e| e.cost.billed_again.is_some()) {
        row(out, report, "billed again by the ledger", |e| {
            amount(e, &e.cost.billed_again)
        });
    }
    if (report.endpoints.values()).any(|e| e.cost.unpredicted.is_some()) {
        row(out, report, "recorded without a prediction", |e| {
            match &e.cost.unpredicted {
                Some(of) => {
                    let recorded = amount(e, &Some(of.recorded.clone()));
                    format!("{recorded} on {} attempts", count(of.attempts))
                }
                None => NOTHING.to_owned(),
            }
        });
    }
    row(out, report, "bias", |e| {
        e.cost.bias_pct.map_or_else(|| NOTHING.to_owned(), bias)
    });
    row(out, report, "coverage", |e| {
        e.cost.coverage.map_or_else(|| NOTHING.to_owned(), percent)
    });
    if report.endpoints.values().any(|e| e.cost.rounding.is_some()) {
        row(out, report, "declared rounding", |e| {
            match &e.cost.rounding {
                Some(rounding) => bill::rounding(rounding).to_owned(),
                None => NOTHING.to_owned(),
            }
        });
    }
}

fn calls_and_streams(out: &mut String, report: &Report) {
    let known = |value: Option<u64>| value.map_or_else(|| NOTHING.to_owned(), count);
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
    let calls = |e: &EndpointReport| e.tool_calls.returned + e.tool_calls.missing.unwrap_or(0);
    if report.endpoints.values().any(|e| calls(e) > 0) {
        table(out, report, "Tool calls");
        row(out, report, "returned", |e| count(e.tool_calls.returned));
        row(out, report, "valid JSON", |e| {
            count(e.tool_calls.valid_json)
        });
        row(out, report, "valid by schema", |e| {
            known(e.tool_calls.schema_valid)
        });
        row(out, report, "of unknown tools", |e| {
            count(e.tool_calls.unknown_name)
        });
        row(out, report, "missing", |e| known(e.tool_calls.missing));
        row(out, report, "extra", |e| known(e.tool_calls.extra));
    }
    draw(out, calls_by_load(report).into_iter());
    if report.endpoints.values().any(|e| e.loops.is_some()) {
        table(out, report, "Sessions with turns");
        row(out, report, "ended", |e| {
            or_nothing(e.loops.as_ref().map(words::ended))
        });
        row(out, report, "completed", |e| {
            or_nothing(e.loops.as_ref().and_then(|l| l.completed).map(percent))
        });
        row(out, report, "turns", |e| {
            or_nothing(e.loops.as_ref().and_then(words::turns))
        });
        row(out, report, "time, ms", |e| {
            or_nothing(words::p50_p95(
                e.loops.as_ref().and_then(|l| l.time_ms.as_ref()),
            ))
        });
    }
    if report
        .endpoints
        .values()
        .any(|e| e.smoothness.is_some_and(|s| s.judged > 0))
    {
        table(out, report, "Streams, against how they were written");
        row(out, report, "time here / there", |e| {
            or_nothing(words::ratio(e.smoothness.and_then(|s| s.span_ratio)))
        });
        row(out, report, "came", |e| {
            or_nothing(e.smoothness.as_ref().map(words::lumps))
        });
    }
}

fn answers(out: &mut String, report: &Report) {
    if let Some(text) = words::checked(report) {
        put(out, &format!("\n## Conformance\n\n{}.", escape(&text)));
        items(out, &words::departures(report));
    }
    let notes = words::notes(report);
    if !notes.is_empty() {
        let text = escape(&notes.join(", "));
        put(out, &format!("\nAlso seen, as real servers do it: {text}."));
    }
    if let Some(parity) = &report.parity {
        let text = escape(&words::parity(parity));
        put(
            out,
            &format!("\n## Parity\n\n{text} ({}).", escape(&parity.basis)),
        );
        if let Some(text) = words::shifts(parity) {
            put(out, &format!("\n{}.", escape(&text)));
        }
        items(out, &words::differences(parity));
    }
}

fn items(out: &mut String, items: &[words::Item]) {
    if !items.is_empty() {
        put(out, "");
    }
    for item in items {
        put(
            out,
            &format!("- **{}**: {}", item.code, escape(&item.message)),
        );
        if let Some(text) = &item.examples {
            put(out, &format!("  {}", escape(text)));
        }
    }
}

fn bill_tables(out: &mut String, report: &Report) {
    draw(out, parts(report));
    if let Some(ledger) = &report.ledger {
        put(out, &format!("\n{}.", escape(&bill::ledger(ledger))));
    }
}

fn draw(out: &mut String, tables: impl Iterator<Item = Table>) {
    for Table {
        title,
        heads,
        rows,
        more,
    } in tables
    {
        let (first, rest) = title.split_at(1);
        let title = first.to_uppercase() + rest;
        let rule = "---:|".repeat(heads.len());
        put(
            out,
            &format!("\n## {title}\n\n| | {} |\n|---|{rule}", heads.join(" | ")),
        );
        for row in rows {
            let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
            put(out, &format!("| {} |", cells.join(" | ")));
        }
        if more > 0 {
            put(out, &format!("\n{more} more in `report.json`."));
        }
    }
}

fn findings(out: &mut String, report: &Report) {
    let findings: Vec<_> = report
        .endpoints
        .values()
        .flat_map(|e| &e.cost.findings)
        .collect();
    if !findings.is_empty() {
        put(out, "\n## Findings\n");
    }
    for finding in findings {
        let message = escape(&finding.message);
        let about = escape(&bill::about(finding));
        put(out, &format!("- **{}**, {about}: {message}", finding.code));
        for text in [bill::causes(finding), bill::examples(finding)]
            .into_iter()
            .flatten()
        {
            put(out, &format!("  {}", escape(&text)));
        }
    }
    draw(out, discrepancies(report));
    if !report.run.warnings.is_empty() {
        put(out, "\n## Warnings\n");
    }
    for warning in &report.run.warnings {
        put(out, &format!("- {}", escape(warning)));
    }
}

fn put(out: &mut String, text: &str) {
    let _ = writeln!(out, "{text}");
}

/// A text from outside must not become a table or a link.
fn escape(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let special = matches!(c, '|' | '<' | '>' | '[' | ']' | '*' | '_' | '`' | '\\');
            special.then_some('\\').into_iter().chain(Some(c))
        })
        .collect()
}
