//! The lists: findings, errors, departures from the protocol, warnings.

use super::cost::discrepancies;
use super::text::{Paint, WIDTH, item, line, wrap};
use crate::billing::finding::Severity;
use crate::endpoint::Endpoint;
use crate::report::format::count;
use crate::report::{EndpointReport, Report, bill};

/// Findings and errors shown per endpoint; `report.json` has all.
const LIST_MAX: usize = 6;

pub(super) fn lists(
    out: &mut String,
    report: &Report,
    endpoints: &[(&Endpoint, &EndpointReport)],
    paint: Paint,
) {
    findings(out, endpoints, paint);
    discrepancies(out, report, paint);
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

fn findings(out: &mut String, endpoints: &[(&Endpoint, &EndpointReport)], paint: Paint) {
    let findings: Vec<_> = endpoints
        .iter()
        .flat_map(|(_, e)| &e.cost.findings)
        .collect();
    if findings.is_empty() {
        return;
    }
    line(out, &paint.bold("findings"));
    let most = LIST_MAX * endpoints.len();
    for finding in findings.iter().take(most) {
        let code = finding.code.to_string();
        let code = match finding.severity {
            Severity::Wrong => paint.bad(&code),
            Severity::Unknown => paint.unsure(&code),
            Severity::Info => paint.dim(&code),
        };
        line(out, &format!("  {code}  {}", bill::about(finding)));
        for text in wrap(&finding.message, WIDTH - 6) {
            line(out, &format!("      {text}"));
        }
        for text in bill::causes(finding)
            .iter()
            .flat_map(|text| wrap(text, WIDTH - 6))
        {
            line(out, &format!("      {text}"));
        }
        for text in bill::examples(finding)
            .iter()
            .flat_map(|text| wrap(text, WIDTH - 6))
        {
            line(out, &format!("      {}", paint.dim(&text)));
        }
    }
    if findings.len() > most {
        line(
            out,
            &format!("  ... {} more in report.json", findings.len() - most),
        );
    }
    out.push('\n');
}

/// What the numbers rest on, beside what the headline says.
pub(in crate::report) fn basis(report: &Report) -> String {
    let journal = match &report.run.truth {
        Some(truth) => format!("token counts are held against the journal of {truth}; "),
        None => String::new(),
    };
    format!(
        "Prices {}; a bill's arithmetic is recorded = usage x price; {journal}tpot and token rates rest on reported usage.",
        &report.run.prices_sha256[..12]
    )
}
