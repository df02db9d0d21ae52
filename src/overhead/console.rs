//! `overhead.json` for a terminal. Lines fit 80 columns, but for texts, which wrap at 100.

use crate::report::InclusiveMs;
use crate::report::console::text::{Paint, WIDTH, line, wrap};
use crate::report::format::NOTHING;
use crate::verdict::Status;

use super::report::{Arm, Level, Overhead, Seen};
use super::rows::{Row, rows};

/// Width of the names at the left.
const LABEL: usize = 20;

/// Width of a number.
const NUMBER: usize = 9;

/// Width of an interval.
const INTERVAL: usize = 18;

/// The console form.
pub fn console(overhead: &Overhead, color: bool) -> String {
    let paint = Paint(color);
    let mut out = String::new();
    headline(&mut out, overhead, paint);
    for (endpoint, found) in &overhead.endpoints {
        for level in &found.levels {
            line(&mut out, "");
            table(
                &mut out,
                &format!("{endpoint}, {} in flight", level.concurrency),
                level,
                paint,
            );
        }
        line(&mut out, "");
        for text in wrap(&format!("{endpoint}: {}", found.saturation.says), WIDTH) {
            line(&mut out, &paint.bold(&text));
        }
    }
    line(&mut out, "");
    for text in wrap(LEGEND, WIDTH) {
        line(&mut out, &paint.dim(&text));
    }
    out
}

/// What the numbers mean.
pub(super) const LEGEND: &str = "Added is via less direct; its 95 % interval resamples whole blocks of both arms. No difference: the interval holds 0, none was seen. A request that failed is beyond any time. `-`: not measured, or too few samples (59 for p95, 299 for p99).";

/// The status in words.
pub(super) const fn status(status: Status) -> &'static str {
    match status {
        Status::Passed => "measured",
        Status::Failed => "FAILED",
        Status::NoVerdict => "NO VERDICT",
        Status::Interrupted => "INTERRUPTED",
    }
}

fn headline(out: &mut String, overhead: &Overhead, paint: Paint) {
    let run = &overhead.run;
    let verdict = &overhead.verdict;
    let word = status(verdict.status);
    let word = match verdict.status {
        Status::Passed => paint.good(word),
        Status::Failed => paint.bad(word),
        Status::NoVerdict | Status::Interrupted => paint.unsure(word),
    };
    line(
        out,
        &format!(
            "{} {word}",
            paint.bold(&format!("overhead of {}:", run.scenario))
        ),
    );
    for (name, target) in [("direct", &run.direct), ("via", &run.via)] {
        let models = target.models.join(", ");
        line(out, &format!("  {name:<8}{} ({models})", target.origin));
    }
    for reason in &verdict.reasons {
        for (n, text) in wrap(reason, WIDTH - 4).iter().enumerate() {
            let mark = if n == 0 { "-" } else { " " };
            line(out, &paint.unsure(&format!("  {mark} {text}")));
        }
    }
}

fn table(out: &mut String, name: &str, level: &Level, paint: Paint) {
    let heads = format!(
        "{:>NUMBER$}{:>NUMBER$}{:>NUMBER$}",
        "direct", "via", "added"
    );
    line(
        out,
        &format!(
            "{}{}",
            paint.bold(&format!("{name:<LABEL$}")),
            paint.dim(&format!("{heads}{:>INTERVAL$}", "95 % interval"))
        ),
    );
    for row in rows(level) {
        let Row {
            name,
            direct,
            via,
            added,
            interval,
            seen,
        } = row;
        let numbers =
            format!("{direct:>NUMBER$}{via:>NUMBER$}{added:>NUMBER$}{interval:>INTERVAL$}");
        let seen = match seen {
            Some(Seen::NoDifference) => paint.dim("  no difference"),
            Some(Seen::More | Seen::Less) | None => String::new(),
        };
        line(
            out,
            &format!("  {name:<width$}{numbers}{seen}", width = LABEL - 2),
        );
    }
    let made_of = format!(
        "{} blocks of {} sessions; {} and {} requests in {:.1} and {:.1} s",
        level.blocks,
        level.sessions_per_block,
        level.direct.requests,
        level.via.requests,
        level.direct.seconds,
        level.via.seconds
    );
    line(out, &paint.dim(&format!("  {made_of}")));
    let connected = [level.direct.connected, level.via.connected];
    if connected != [0, 0] {
        let [direct, via] = connected;
        let text = format!(
            "{direct} and {via} of them met a connect: their sessions are not in ttft and e2e"
        );
        line(out, &paint.dim(&format!("  {text}")));
    }
    for (name, arm) in [("direct", &level.direct), ("via", &level.via)] {
        if let Some(text) = doubt(name, arm) {
            line(out, &paint.unsure(&format!("  {text}")));
        }
    }
}

/// What is to be known of an arm whose times cannot be believed.
pub(super) fn doubt(name: &str, arm: &Arm) -> Option<String> {
    (!arm.valid).then(|| format!("INVALID: the harness could not measure {name}; see above"))
}

/// A quantile in words.
pub(super) fn time(value: InclusiveMs) -> String {
    match value {
        InclusiveMs::Known(ms) => crate::report::format::ms(ms),
        InclusiveMs::AtLeast(ms) => format!(">= {}", crate::report::format::ms(ms)),
        InclusiveMs::Failed => "failed".to_owned(),
    }
}

/// What stands where nothing was measured.
pub(super) fn nothing() -> String {
    NOTHING.to_owned()
}
