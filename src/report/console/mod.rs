//! The report for a terminal of 100 columns: verdict first, endpoints side by side.

mod answers;
mod blocks;
mod cost;
mod lists;
pub(crate) mod text;

use super::bill::{self, Came};
use super::tables;
use super::{EndpointReport, Report};
use crate::endpoint::Endpoint;
use crate::verdict::{GateStatus, Status};
use answers::{answers, loops, streams};
use blocks::{classes, latencies, requests, throughput, tokens, tool_calls};
use cost::{cost, draw};
use lists::lists;
use text::{Paint, WIDTH, item, line, title, wrap};

pub(super) use lists::basis;

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
    draw(&mut out, tables::calls_by_load(report).into_iter(), paint);
    loops(&mut out, &each, paint);
    streams(&mut out, &endpoints, &each, paint);
    cost(&mut out, report, &each, paint);
    answers(&mut out, report, paint);
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
    if let Some((came, bill)) = bill::headline(report) {
        for text in wrap(&bill, WIDTH) {
            let text = match came {
                Came::Verified => paint.good(&text),
                Came::Wrong => paint.bad(&text),
                Came::Matched | Came::Open => paint.unsure(&text),
            };
            line(out, &text);
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
