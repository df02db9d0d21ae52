//! A gateway that rounds every amount: one size that always rounds up, ten thousand times.

use mock_upstream::Config;
use mock_upstream::config::{Rounding, RoundingMode, RoundingStage};
use weighbridge::billing::finding::Code;
use weighbridge::billing::prices::PriceTable;
use weighbridge::billing::reconcile::Status;
use weighbridge::report::Report;
use weighbridge::scenario::Scenario;

use crate::drive::{Driven, Load, Seen, drive};
use crate::fold::{Sight, findings, report, told};
use crate::world::price_list;

/// Attempts at each endpoint.
const ATTEMPTS: u64 = 10_000;

/// 1,000 + 500 tokens at 0.50 and 1.50 dollars a million are 0.00125 dollars, recorded as 0.0013.
fn driven(scenario: &Scenario, config: &Config) -> Driven {
    let load = Load {
        modes: &[false],
        ..Load::of(1)
    };
    let mut driven = drive(config, scenario, &load);
    let one_each = std::mem::take(&mut driven.attempts);
    for seen in one_each {
        assert_eq!(
            (seen.entry.usage.prompt(), seen.entry.usage.output),
            (1_000, 500)
        );
        // The same bytes under other names.
        driven.attempts.extend((0..ATTEMPTS).map(|session| {
            let name = format!(
                "{:031x}{}",
                session,
                u8::from(seen.record.endpoint.name() == "openai")
            );
            let mut copy = Seen {
                record: seen.record.clone(),
                lookups: Vec::new(),
                ledger: None,
                truths: seen.truths.clone(),
                entry: seen.entry.clone(),
                before: Vec::new(),
            };
            copy.record.trace_id.clone_from(&name);
            copy.record.session = session;
            copy.truths
                .iter_mut()
                .for_each(|truth| truth.nonce.clone_from(&name));
            copy
        }));
    }
    driven
}

fn setting() -> (Config, Scenario) {
    let mut config = Config::default();
    config.behaviour.cost.rounding = Some(Rounding {
        scale: 4,
        mode: RoundingMode::HalfUp,
        stage: RoundingStage::Request,
    });
    let text = r#"
        name = "rounding"
        [target]
        base_url = "http://127.0.0.1:9"
        model = "magistral-small-latest"
        [workload]
        input_tokens = { fixed = 1000 }
        output_tokens = { fixed = 500 }
        [load]
        arrivals = "closed"
        concurrency = 1
        count = 1
    "#;
    let scenario = Scenario::parse("rounding.toml", text, &[]);
    (config, scenario.unwrap_or_else(|error| panic!("{error}")))
}

/// The sums that hold whether the rule is declared or not.
fn check_sums(report: &Report) {
    for (endpoint, report) in &report.endpoints {
        let cost = &report.cost;
        let sums = [
            &cost.predicted,
            &cost.recorded,
            &cost.delta,
            &cost.delta_abs,
        ];
        let sums = sums.map(|sum| sum.as_deref().unwrap_or("unknown"));
        assert_eq!(sums, ["12.5", "13", "0.5", "0.5"], "{endpoint}");
    }
}

/// The one finding at each endpoint is of this code, and says by how much in all.
fn check_findings(report: &Report, code: Code, prices: &PriceTable) {
    for (endpoint, report) in &report.endpoints {
        let found: Vec<_> = report.cost.findings.iter().collect();
        let words = told(&found);
        assert_eq!(found.len(), 1, "{endpoint} at {}:\n{words}", prices.name());
        assert_eq!((found[0].code, found[0].count), (code, ATTEMPTS), "{words}");
        assert!(found[0].message.contains("4.0"), "{words}");
    }
}

#[test]
fn a_rounding_that_nobody_declared_is_one_finding_with_its_rule() {
    let (config, scenario) = setting();
    let prices = price_list(&config.behaviour.cost, None);
    let driven = driven(&scenario, &config);
    let report = report(&driven, &scenario, &prices, Sight::Gateway);
    check_sums(&report);
    check_findings(&report, Code::Rounding, &prices);
    for finding in findings(&report) {
        let causes = &finding.causes;
        let detail = causes.first().and_then(|cause| cause.detail.as_deref());
        let detail = detail.unwrap_or_default();
        assert_eq!(causes.first().map(|cause| cause.code), Some(Code::Rounding));
        assert!(detail.starts_with("half_up at 4 decimals"), "{detail}");
    }
    for report in report.endpoints.values() {
        let statuses = &report.cost.statuses;
        assert_eq!(
            statuses.get(Status::Mismatched.name()),
            Some(&ATTEMPTS),
            "{statuses:?}"
        );
    }
}

#[test]
fn a_rounding_that_is_declared_explains_amounts_and_still_shows_its_bias() {
    let (config, scenario) = setting();
    let prices = price_list(&config.behaviour.cost, Some((4, "half_up", "request")));
    let driven = driven(&scenario, &config);
    let report = report(&driven, &scenario, &prices, Sight::Gateway);
    check_sums(&report);
    check_findings(&report, Code::RoundingDeclared, &prices);
    for report in report.endpoints.values() {
        let statuses = &report.cost.statuses;
        let rounded = statuses.get(Status::MatchedRounding.name());
        assert_eq!(rounded, Some(&ATTEMPTS), "{statuses:?}");
    }
}
