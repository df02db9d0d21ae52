//! The lists: findings, errors, departures from the protocol, warnings.

use super::text::{Paint, WIDTH, item, line, wrap};
use crate::billing::finding::Severity;
use crate::endpoint::Endpoint;
use crate::report::format::count;
use crate::report::{EndpointReport, Report};

/// Findings and errors shown per endpoint; `report.json` has all.
const LIST_MAX: usize = 6;

pub(super) fn lists(
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
pub(in crate::report) fn basis(report: &Report) -> String {
    let tokens = match &report.run.truth {
        Some(truth) => format!("token counts are held against the journal of {truth}"),
        None => "token counts are the gateway's own: what is verified is the arithmetic (recorded = usage x price)".to_owned(),
    };
    format!(
        "Prices {}; {tokens}; tpot and token rates rest on reported usage.",
        &report.run.prices_sha256[..12]
    )
}
