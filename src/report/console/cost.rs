//! The block of costs, and the tables below it.

use super::Each;
use super::text::{Paint, WIDTH, line, row, table, title, wrap};
use crate::report::format::{NOTHING, amount, bias, count, percent};
use crate::report::tables::{self, Table, parts};
use crate::report::{EndpointReport, Report, bill};

pub(super) fn cost(out: &mut String, report: &Report, each: &Each<'_>, paint: Paint) {
    let shown = |e: &EndpointReport, value: &Option<String>| match value {
        Some(digits) => amount(digits, &e.cost.currency),
        None => NOTHING.to_owned(),
    };
    title(out, "cost", &each(&|_| String::new()), paint);
    row(out, "predicted", &each(&|e| shown(e, &e.cost.predicted)));
    row(out, "recorded", &each(&|e| shown(e, &e.cost.recorded)));
    row(out, "delta", &each(&|e| shown(e, &e.cost.delta)));
    let differ = each(&|e| shown(e, &e.cost.delta_abs));
    if differ != each(&|e| shown(e, &e.cost.delta)) {
        row(out, "delta, absolute", &differ);
    }
    let again = each(&|e| shown(e, &e.cost.billed_again));
    if again.iter().any(|text| text != NOTHING) {
        row(out, "billed again", &again);
    }
    let unpredicted = each(&|e| match &e.cost.unpredicted {
        Some(of) => {
            let recorded = amount(&of.recorded, &e.cost.currency);
            format!("{recorded} on {} attempts", count(of.attempts))
        }
        None => NOTHING.to_owned(),
    });
    if unpredicted.iter().any(|text| text != NOTHING) {
        row(out, "not predicted", &unpredicted);
    }
    let biased = each(&|e| e.cost.bias_pct.map_or_else(|| NOTHING.to_owned(), bias));
    if each(&|e| e.cost.bias_pct.unwrap_or(0.0).to_string())
        .iter()
        .any(|b| b != "0")
    {
        row(out, "bias", &biased);
    }
    let rounding = each(&|e| match &e.cost.rounding {
        Some(rounding) => {
            let bound = amount(&rounding.bound, &e.cost.currency);
            format!("{} (+-{bound} at most)", bill::rounding(rounding))
        }
        None => NOTHING.to_owned(),
    });
    if rounding.iter().any(|text| text != NOTHING) {
        row(out, "declared rounding", &rounding);
    }
    let coarse = each(&|e| bill::resolution(&e.cost).unwrap_or_else(|| NOTHING.to_owned()));
    if coarse.iter().any(|text| text != NOTHING) {
        row(out, "resolution", &coarse);
    }
    let covered = |e: &EndpointReport| e.cost.coverage.map_or_else(|| NOTHING.to_owned(), percent);
    row(out, "coverage", &each(&covered));
    row(out, "statuses", &each(&statuses));
    if let Some(ledger) = &report.ledger {
        for text in wrap(&bill::ledger(ledger), WIDTH - 2) {
            line(out, &format!("  {text}"));
        }
    }
    out.push('\n');
    draw(out, parts(report), paint);
}

/// Where the bill is off: what the findings are about.
pub(super) fn discrepancies(out: &mut String, report: &Report, paint: Paint) {
    draw(out, tables::discrepancies(report), paint);
}

pub(super) fn draw(out: &mut String, tables: impl Iterator<Item = Table>, paint: Paint) {
    for Table {
        title,
        heads,
        rows,
        more,
    } in tables
    {
        table(out, title, &heads, &rows, paint);
        if more > 0 {
            line(out, &format!("  ... {more} more in report.json"));
        }
        out.push('\n');
    }
}

fn statuses(e: &EndpointReport) -> String {
    let occurred = e.cost.statuses.iter().filter(|(_, n)| **n > 0);
    let shown: Vec<String> = occurred
        .map(|(status, n)| format!("{} {status}", count(*n)))
        .collect();
    if shown.is_empty() {
        NOTHING.to_owned()
    } else {
        shown.join(", ")
    }
}
