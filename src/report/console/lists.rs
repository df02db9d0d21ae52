//! The lists: findings about the bill, errors, warnings.

use super::cost::discrepancies;
use super::text::{Paint, WIDTH, item, line, wrap};
use crate::billing::finding::{Finding, Severity};
use crate::endpoint::Endpoint;
use crate::report::format::count;
use crate::report::{EndpointReport, Report, bill};

/// Kinds of findings and errors shown per endpoint; `report.json` has all.
const LIST_MAX: usize = 6;

/// Findings of one kind shown; `report.json` has all.
const SCOPES_MAX: usize = 4;

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

/// Findings of one kind stand together, each with the attempts that it is about.
fn findings(out: &mut String, endpoints: &[(&Endpoint, &EndpointReport)], paint: Paint) {
    let all = endpoints.iter().flat_map(|(_, e)| &e.cost.findings);
    let mut findings: Vec<&Finding> = all.collect();
    if findings.is_empty() {
        return;
    }
    findings.sort_by_key(|f| (f.severity, f.code));
    line(out, &paint.bold("findings"));
    let kinds: Vec<&[&Finding]> = findings.chunk_by(|a, b| a.code == b.code).collect();
    let most = LIST_MAX * endpoints.len();
    let mut shown = 0;
    for kind in kinds.iter().take(most) {
        let code = kind[0].code.to_string();
        let code = match kind[0].severity {
            Severity::Wrong => paint.bad(&code),
            Severity::Unknown => paint.unsure(&code),
            Severity::Info => paint.dim(&code),
        };
        if let [only] = kind {
            line(out, &format!("  {code}  {}", bill::about(only)));
        } else {
            line(
                out,
                &format!("  {code}  {} times", count(kind.len() as u64)),
            );
        }
        for finding in kind.iter().take(SCOPES_MAX) {
            shown += 1;
            if kind.len() > 1 {
                line(out, &format!("    {}", bill::about(finding)));
            }
            for text in wrap(&finding.message, WIDTH - 6) {
                line(out, &format!("      {text}"));
            }
            let causes = bill::causes(finding);
            for text in causes.iter().flat_map(|text| wrap(text, WIDTH - 6)) {
                line(out, &format!("      {text}"));
            }
            let examples = bill::examples(finding);
            for text in examples.iter().flat_map(|text| wrap(text, WIDTH - 6)) {
                line(out, &format!("      {}", paint.dim(&text)));
            }
        }
    }
    let more = findings.len() - shown;
    if more > 0 {
        line(out, &format!("  ... {more} more in report.json"));
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
