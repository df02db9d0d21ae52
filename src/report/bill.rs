//! The bill in sentences: its headline, its findings, its worst requests, what rounding explains.

use super::format::{amount, count};
use std::collections::BTreeMap;

use super::{Cost, CostRounding, Explained, Ledger, Report, Resolution, Verified};
use crate::billing::finding::{Cause, Code, Finding, Severity};
use crate::billing::load::SEVERAL;
use crate::money::Money;

/// How a bill came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Every cost is as predicted, and so are the token counts those of an independent count.
    Verified,
    /// Every cost is as predicted, from the gateway's own usage.
    Matched,
    /// Not every cost is known, or whose a row of the ledger is.
    Open,
    /// A cost is wrong, or another thing on the bill.
    Wrong,
}

/// Whether the bill is right, and what that rests on, in one sentence. `None` where no attempt may cost
/// anything.
pub(super) fn headline(report: &Report) -> Option<(Came, String)> {
    let costs = || report.endpoints.values().map(|e| &e.cost);
    let status = |name: &str| -> u64 { costs().filter_map(|cost| cost.statuses.get(name)).sum() };
    let all: u64 = costs().flat_map(|cost| cost.statuses.values()).sum();
    let of = all - status("no_charge_expected");
    if of == 0 {
        return None;
    }
    let rounded = status("matched_rounding");
    let matched = status("matched") + rounded;
    let others: Vec<String> = [
        "mismatched",
        "not_recorded",
        "no_usage",
        "unpriced",
        "pending",
    ]
    .into_iter()
    .map(|name| (name, status(name)))
    .filter(|(_, n)| *n > 0)
    .map(|(name, n)| format!("{} {}", count(n), name.replace('_', " ")))
    .collect();
    let after_rounding = if rounded > 0 {
        format!(" ({} after the declared rounding)", count(rounded))
    } else {
        String::new()
    };
    let mismatched = status("mismatched") > 0;
    let (besides, wrong) = besides(report, mismatched);
    let numbers = if others.is_empty() {
        let matched_as = if besides.is_empty() {
            "matched"
        } else {
            "every cost as predicted"
        };
        format!(
            "{matched_as}, {} of {} attempts{after_rounding}",
            count(matched),
            count(of)
        )
    } else {
        let others = others.join(", ");
        format!(
            "{} of {} attempts matched{after_rounding}, {others}",
            count(matched),
            count(of)
        )
    };
    let (basis, verified) = basis(report);
    let but = if besides.is_empty() {
        String::new()
    } else {
        format!(", but {}", besides.join(", "))
    };
    let came = if mismatched || wrong {
        Came::Wrong
    } else if !others.is_empty() || !besides.is_empty() {
        Came::Open
    } else if verified {
        Came::Verified
    } else {
        Came::Matched
    };
    Some((came, format!("bill: {numbers}{but}; {basis}")))
}

/// What is wrong and no status of an attempt says: rows of a ledger, and what was found on attempts whose
/// cost is as predicted. With whether any of it is wrong for certain.
fn besides(report: &Report, mismatched: bool) -> (Vec<String>, bool) {
    let of_ledger = |code| {
        use Code::{LedgerDuplicate, LedgerMissing, LedgerOrphan};
        matches!(code, LedgerDuplicate | LedgerMissing | LedgerOrphan)
    };
    let findings = report.endpoints.values().flat_map(|e| &e.cost.findings);
    let mut counts: BTreeMap<Code, u64> = BTreeMap::new();
    let mut any_wrong = false;
    for finding in findings {
        let wrong = finding.severity == Severity::Wrong;
        if !of_ledger(finding.code) && (mismatched || !wrong) {
            continue;
        }
        any_wrong |= wrong;
        *counts.entry(finding.code).or_default() += finding.count;
    }
    let words = |(code, n): (Code, u64)| match (code, billed_again(report)) {
        (Code::LedgerDuplicate, Some(much)) => format!("{code} ({}, {much} too much)", count(n)),
        _ => format!("{code} ({})", count(n)),
    };
    (counts.into_iter().map(words).collect(), any_wrong)
}

/// What further rows of the ledger bill, over all endpoints.
fn billed_again(report: &Report) -> Option<String> {
    let costs = || report.endpoints.values().map(|e| &e.cost);
    let amounts = costs().filter_map(|cost| cost.billed_again.as_ref()?.parse::<Money>().ok());
    let sum = amounts.map(Ok).reduce(|a, b| a?.checked_add(b?))?.ok()?;
    Some(amount(&sum.to_string(), &costs().next()?.currency))
}

/// What the bill rests on, and whether that is an independent count.
fn basis(report: &Report) -> (String, bool) {
    let judged = || {
        let endpoints = report.endpoints.values();
        endpoints.filter(|e| e.cost.verified != Verified::Nothing)
    };
    if judged().next().is_none() {
        let text = "no attempt has both a predicted and a recorded cost";
        return (text.to_owned(), false);
    }
    let truths: Vec<_> = judged().filter_map(|e| e.truth).collect();
    let verified: u64 = truths.iter().map(|t| t.verified).sum();
    let of: u64 = truths.iter().map(|t| t.of).sum();
    if judged().all(|e| e.cost.verified == Verified::TokenCounts) {
        ("token counts verified against the journal".to_owned(), true)
    } else if verified > 0 {
        let (verified, of) = (count(verified), count(of));
        let text = format!(
            "token counts verified for {verified} of {of} answers, the rest are the gateway's own"
        );
        (text, false)
    } else {
        let text = "arithmetic only: token counts are the gateway's own";
        (text.to_owned(), false)
    }
}

/// Which attempts a finding is about.
pub(super) fn about(finding: &Finding) -> String {
    let (n, of) = (count(finding.count), count(finding.of));
    if finding.code == Code::LedgerOrphan {
        // Of no attempt: it has no mode, and its message says whether it has an endpoint.
        let model = Some(finding.model.as_str()).filter(|model| !model.is_empty());
        let model = model.map_or_else(String::new, |model| format!("{model}, "));
        return format!("{model}{n} of {of} rows");
    }
    if finding.model == SEVERAL || finding.code == Code::LoadDependent {
        return format!("{}, {n} of {of}", finding.endpoint);
    }
    let mode = if finding.streaming {
        "streams"
    } else {
        "whole bodies"
    };
    format!(
        "{} {mode}, {}, {n} of {of}",
        finding.endpoint, finding.model
    )
}

/// The causes of a finding where its code and its message do not say them.
pub(super) fn causes(finding: &Finding) -> Option<String> {
    let name = |cause: &Cause| match &cause.detail {
        Some(detail) => format!("{} ({detail})", cause.code),
        None => cause.code.to_string(),
    };
    match &finding.causes[..] {
        [] => None,
        [only] if only.code == finding.code => None,
        [only] => Some(format!("cause: {}", name(only))),
        several => {
            let names: Vec<String> = several.iter().map(name).collect();
            Some(format!("cause: one of {}", names.join(", ")))
        }
    }
}

/// Ids of the first few attempts of a finding.
pub(super) fn examples(finding: &Finding) -> Option<String> {
    // Its message names them.
    let named = finding.code == Code::LedgerOrphan;
    (!named && !finding.examples.is_empty())
        .then(|| format!("e.g. {}", finding.examples.join(", ")))
}

/// What became of the rows of a ledger.
pub(super) fn ledger(ledger: &Ledger) -> String {
    format!(
        "ledger {}: {} rows joined, {} of no attempt, {} double, {} out of scope",
        ledger.source,
        count(ledger.joined),
        count(ledger.ledger_only),
        count(ledger.duplicate),
        count(ledger.out_of_scope)
    )
}

/// What the recorded amounts are too coarse to show; `None` where a token shows.
pub(super) fn resolution(cost: &Cost) -> Option<String> {
    let tokens = |r: &&Resolution| r.input_tokens.max(r.output_tokens).filter(|n| *n > 1);
    let coarsest = cost.resolution.iter().filter(|r| tokens(r).is_some());
    let coarsest = coarsest.max_by_key(tokens)?;
    let side = |n: Option<u64>, name: &str| n.map(|n| format!("{} {name}", count(n)));
    let sides = [
        side(coarsest.input_tokens, "in"),
        side(coarsest.output_tokens, "out"),
    ];
    let sides: Vec<String> = sides.into_iter().flatten().collect();
    let unit = amount(&coarsest.unit, &cost.currency);
    let several = cost.resolution.len() > 1;
    let whose = match &coarsest.service_tier {
        Some(tier) if several => format!(" ({}, {tier})", coarsest.model),
        None if several => format!(" ({})", coarsest.model),
        _ => String::new(),
    };
    Some(format!("{unit}: {} tokens{whose}", sides.join(" or ")))
}

/// Whether the declared rounding explains the difference, in a few words.
pub(super) fn rounding(rounding: &CostRounding) -> &'static str {
    match rounding.explained {
        Explained::Expected => "within what rounding explains",
        Explained::Possible => "as far as rounding goes: equal sizes",
        Explained::No => "more than rounding explains",
    }
}
