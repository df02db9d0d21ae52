//! Attempts -> the report, with and without the upstream's journal.

use std::collections::BTreeMap;

use serde_json::json;
use weighbridge::billing::Attempt;
use weighbridge::billing::finding::Finding;
use weighbridge::billing::prices::PriceTable;
use weighbridge::manifest::Manifest;
use weighbridge::record::FACTS_SCHEMA;
use weighbridge::report::{Assembly, Report};
use weighbridge::scenario::Scenario;

use crate::drive::Driven;

/// What is known beside the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// What the gateway says, and nothing else: token counts are its own.
    Gateway,
    /// The upstream's journal as well.
    Journal,
}

impl Sight {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Gateway, Self::Journal];
}

/// The report on what was driven.
pub fn report(driven: &Driven, scenario: &Scenario, prices: &PriceTable, sight: Sight) -> Report {
    let truth = (sight == Sight::Journal).then_some("journal");
    let manifest = json!({
        "schema": FACTS_SCHEMA, "id": "matrix", "scenario": scenario.name,
        "started_at": "2026-07-05T10:00:00Z", "duration_ns": 1, "seed": scenario.seed, "version": "0",
        "target": "simulation", "endpoints": scenario.target.endpoints, "open_loop": false,
        "load": "", "models": scenario.target.models, "slice": [0, 1], "workers": 1,
        "config_sha256": "", "prices_sha256": prices.sha256(), "windows": {}, "truth": truth,
        "interrupted": false, "partial": false, "warnings": [],
        "environment": {"platform": "", "cpus": 1, "precise_timer": false},
        "connects": {"count": 0, "sum_ns": 0},
    });
    let manifest: Manifest = serde_json::from_value(manifest).expect("a manifest");
    let mut assembly = Assembly::new(
        &manifest,
        &scenario.gates,
        scenario.limits.as_ref(),
        prices,
        scenario.pricing.policy,
        &BTreeMap::new(),
    );
    assembly.journal_has_texts(truth.is_some());
    assembly.late_after(scenario.pricing.late_after);
    if let Some(summary) = &driven.ledger {
        assembly.ledger(summary);
    }
    for seen in &driven.attempts {
        // Which attempts are held against the journal is the harness's to say.
        let truths = if Assembly::wants_truth(&seen.record) {
            seen.truths.as_slice()
        } else {
            &[]
        };
        let attempt = Attempt {
            lookups: &seen.lookups,
            ledger: seen.ledger.as_deref(),
            truth: truth.map(|_| truths),
            ..Attempt::seen(&seen.record)
        };
        assembly
            .add(&attempt)
            .expect("planned endpoints and small amounts");
    }
    assembly.finish().expect("the sums hold")
}

/// Every finding of a report.
pub fn findings(report: &Report) -> impl Iterator<Item = &Finding> {
    report
        .endpoints
        .values()
        .flat_map(|endpoint| &endpoint.cost.findings)
}

/// Findings in words, for a person who reads why a test failed.
pub fn told(findings: &[&Finding]) -> String {
    let line = |finding: &&Finding| {
        let causes: Vec<_> = finding
            .causes
            .iter()
            .map(|cause| cause.code.name())
            .collect();
        let mode = if finding.streaming { "stream" } else { "whole" };
        format!(
            "  {} {causes:?} {}/{}/{mode}: {} of {}: {}\n",
            finding.code,
            finding.endpoint,
            finding.model,
            finding.count,
            finding.of,
            finding.message
        )
    };
    findings.iter().map(line).collect()
}
