//! `overhead.json` as Markdown, for a pull request or a ticket.

use std::fmt::Write as _;

use super::console::{LEGEND, doubt, status};
use super::report::{Level, Overhead, Seen};
use super::rows::rows;

/// The Markdown form.
pub fn markdown(overhead: &Overhead) -> String {
    let mut out = String::new();
    let run = &overhead.run;
    let put = |out: &mut String, text: &str| {
        let _ = writeln!(out, "{text}");
    };
    let word = status(overhead.verdict.status).to_lowercase();
    put(
        &mut out,
        &format!("# Overhead of {}: {word}\n", run.scenario),
    );
    for (name, target) in [("direct", &run.direct), ("via", &run.via)] {
        let models = target.models.join(", ");
        put(&mut out, &format!("- {name}: {} ({models})", target.origin));
    }
    put(
        &mut out,
        &format!("- started {}; seed {}\n", run.started_at, run.seed),
    );
    for reason in &overhead.verdict.reasons {
        put(&mut out, &format!("- **{reason}**"));
    }
    for (endpoint, found) in &overhead.endpoints {
        put(&mut out, &format!("\n## {endpoint}\n"));
        put(&mut out, &format!("{}.", sentence(&found.saturation.says)));
        for level in &found.levels {
            table(&mut out, level);
        }
    }
    put(&mut out, &format!("\n{LEGEND}"));
    out
}

fn table(out: &mut String, level: &Level) {
    let _ = writeln!(
        out,
        "\n### {} in flight\n\n{} blocks of {} sessions; {} and {} requests in {:.1} and {:.1} s.\n",
        level.concurrency,
        level.blocks,
        level.sessions_per_block,
        level.direct.requests,
        level.via.requests,
        level.direct.seconds,
        level.via.seconds
    );
    for (name, arm) in [("direct", &level.direct), ("via", &level.via)] {
        if let Some(text) = doubt(name, arm) {
            let _ = writeln!(out, "**{text}**\n");
        }
    }
    let _ = writeln!(
        out,
        "| | direct | via | added | 95 % interval | |\n|---|---:|---:|---:|---:|---|"
    );
    for row in rows(level) {
        let seen = match row.seen {
            Some(Seen::NoDifference) => "no difference seen",
            Some(Seen::More | Seen::Less) | None => "",
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {seen} |",
            row.name, row.direct, row.via, row.added, row.interval
        );
    }
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}
