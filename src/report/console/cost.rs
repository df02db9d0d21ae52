//! The block of costs.

use super::Each;
use super::text::{Paint, row, title};
use crate::report::EndpointReport;
use crate::report::format::{NOTHING, count, percent};

pub(super) fn cost(out: &mut String, each: &Each<'_>, paint: Paint) {
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
