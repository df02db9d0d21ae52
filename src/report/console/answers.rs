//! Whether answers are what they should be: streams, departures from the protocol, and how the
//! endpoints compare.

use super::Each;
use super::text::{Paint, WIDTH, line, row, row_painted, title, wrap};
use crate::endpoint::Endpoint;
use crate::report::answers::{self, Item};
use crate::report::format::{NOTHING, count, percent};
use crate::report::{EndpointReport, Report};

/// Kinds of findings shown; `report.json` has all.
const ITEMS_MAX: usize = 24;

/// Sessions of several turns.
pub(super) fn loops(out: &mut String, each: &Each<'_>, paint: Paint) {
    let of = |f: &dyn Fn(&crate::report::Loops) -> Option<String>| {
        each(&|e| {
            e.loops
                .as_ref()
                .and_then(f)
                .unwrap_or_else(|| NOTHING.to_owned())
        })
    };
    let ended = of(&|loops| Some(answers::ended(loops)));
    if ended.iter().all(|text| text == NOTHING) {
        return;
    }
    title(out, "sessions with turns", &each(&|_| String::new()), paint);
    row(out, "ended", &ended);
    row(out, "completed", &of(&|loops| loops.completed.map(percent)));
    row(out, "turns", &of(&answers::turns));
    row(
        out,
        "time, ms",
        &of(&|loops| answers::p50_p95(loops.time_ms.as_ref())),
    );
    out.push('\n');
}

/// Whether streams come as they were written.
pub(super) fn streams(
    out: &mut String,
    endpoints: &[(&Endpoint, &EndpointReport)],
    each: &Each<'_>,
    paint: Paint,
) {
    let judged = |e: &EndpointReport| e.smoothness.filter(|s| s.judged > 0);
    if endpoints.iter().all(|(_, e)| judged(e).is_none()) {
        return;
    }
    let of = |f: &dyn Fn(&crate::report::Smoothness) -> Option<String>| {
        each(&|e| {
            judged(e)
                .and_then(|s| f(&s))
                .unwrap_or_else(|| NOTHING.to_owned())
        })
    };
    title(out, "streams, as written", &each(&|_| String::new()), paint);
    row(
        out,
        "time here / there",
        &of(&|s| answers::ratio(s.span_ratio)),
    );
    let lumps = of(&|s| Some(answers::lumps(s)));
    let any = endpoints.iter().filter_map(|(_, e)| e.smoothness);
    if any
        .into_iter()
        .any(|s| s.fake + s.buffered.unwrap_or(0) > 0)
    {
        row_painted(out, "came", &lumps, |text| paint.bad(text));
    } else {
        row(out, "came", &lumps);
    }
    out.push('\n');
}

/// What departs, and what differs.
pub(super) fn answers(out: &mut String, report: &Report, paint: Paint) {
    if let Some(text) = answers::checked(report) {
        let items = answers::departures(report);
        headed(out, "conformance", &text, items.is_empty(), paint);
        list(out, &items, paint);
    }
    let notes = answers::notes(report);
    if !notes.is_empty() {
        let text = format!("also seen, as real servers do it: {}", notes.join(", "));
        for text in wrap(&text, WIDTH - 2) {
            line(out, &format!("  {}", paint.dim(&text)));
        }
    }
    if let Some(parity) = &report.parity {
        let items = answers::differences(parity);
        let is_good = items.is_empty() && parity.pairs > 0;
        headed(out, "parity", &answers::parity(parity), is_good, paint);
        if let Some(text) = answers::shifts(parity) {
            for text in wrap(&text, WIDTH - 2) {
                line(out, &format!("  {}", paint.dim(&text)));
            }
        }
        list(out, &items, paint);
    }
    out.push('\n');
}

fn headed(out: &mut String, name: &str, text: &str, is_good: bool, paint: Paint) {
    for (n, part) in wrap(&format!("{name}: {text}"), WIDTH - 2)
        .iter()
        .enumerate()
    {
        let painted = if is_good {
            paint.good(part)
        } else {
            paint.bold(part)
        };
        let indent = if n == 0 { "" } else { "  " };
        line(out, &format!("{indent}{painted}"));
    }
}

fn list(out: &mut String, items: &[Item], paint: Paint) {
    for item in items.iter().take(ITEMS_MAX) {
        let text = format!("{} {}", item.code, item.message);
        for (n, part) in wrap(&text, WIDTH - 6).iter().enumerate() {
            match part.strip_prefix(&item.code).filter(|_| n == 0) {
                Some(rest) => line(out, &format!("  {}{rest}", paint.bad(&item.code))),
                None => line(out, &format!("      {part}")),
            }
        }
        for text in item.examples.iter().flat_map(|text| wrap(text, WIDTH - 6)) {
            line(out, &format!("      {}", paint.dim(&text)));
        }
    }
    let more = items.len().saturating_sub(ITEMS_MAX) as u64;
    if more > 0 {
        line(out, &format!("  ... {} more in report.json", count(more)));
    }
}
