//! Reports of runs that are put together by hand.

use super::*;
use crate::late::Orphans;
use crate::manifest::{ConnectTotals, Environment};
use crate::record::{Class, FACTS_SCHEMA};
use crate::report::bill;

fn manifest(planned: u64) -> Manifest {
    Manifest {
        schema: FACTS_SCHEMA.to_owned(),
        id: "r".to_owned(),
        scenario: "s".to_owned(),
        started_at: String::new(),
        duration_ns: Some(1),
        seed: 1,
        version: String::new(),
        target: String::new(),
        endpoints: vec![Endpoint::OpenAi],
        open_loop: true,
        load: String::new(),
        models: Vec::new(),
        slice: (0, 1),
        workers: 1,
        config_sha256: String::new(),
        prices_sha256: String::new(),
        windows: BTreeMap::new(),
        planned: BTreeMap::from([(Endpoint::OpenAi, planned)]),
        budget_waits: 0,
        truth_error: None,
        truth: None,
        interrupted: false,
        partial: false,
        warnings: Vec::new(),
        environment: Environment::default(),
        connects: ConnectTotals::default(),
    }
}

/// The report of a run that planned so many requests, from attempts: (number, last, outcome).
fn report(planned: u64, attempts: &[(u32, bool, Outcome)]) -> Result<Report, AssemblyError> {
    let prices = PriceTable::builtin("builtin:keeprouter").expect("built in");
    let manifest = manifest(planned);
    let mut assembly = Assembly::new(
        &manifest,
        &[],
        None,
        &prices,
        Policy::default(),
        &BTreeMap::new(),
    );
    for (number, last, outcome) in attempts {
        let (phase, endpoint) = (Phase::Measured, Endpoint::OpenAi);
        let mut record = Record::new(String::new(), phase, endpoint, Class::Chat);
        (record.attempt, record.last, record.outcome) = (*number, *last, *outcome);
        record.sent = Some(Offset::ZERO);
        assembly.add(&Attempt::seen(&record))?;
    }
    assembly.finish()
}

#[test]
fn a_retried_request_is_one_request() {
    use Outcome::{Ok as Good, RateLimited};
    let attempts = [(0, false, RateLimited), (1, true, Good), (0, true, Good)];
    let whole = report(2, &attempts).expect("it adds up");
    let requests = &whole.endpoints[&Endpoint::OpenAi].requests;
    assert_eq!(
        (requests.planned, requests.ok, requests.attempts),
        (2, 2, 3)
    );
    assert_eq!(requests.outcomes["rate_limited"], 1);
    assert!(!whole.run.partial);
    // Without the row of the retry nobody knows how the request ended.
    let torn = report(2, &[attempts[0], attempts[2]]).expect("rows can be lost");
    assert!(torn.run.partial);
}

#[test]
fn rows_of_nobody_are_found_once_and_in_the_headline() {
    let prices = PriceTable::builtin("builtin:keeprouter").expect("built in");
    let mut manifest = manifest(1);
    manifest.endpoints = Endpoint::ALL.to_vec();
    let gates = [verdict::Gate::parse("cost.findings == 0").expect("a gate")];
    let (policy, none) = (Policy::default(), BTreeMap::new());
    let mut assembly = Assembly::new(&manifest, &gates, None, &prices, policy, &none);
    assembly.ledger(&LedgerSummary {
        joined: 2,
        ledger_only: 1,
        orphans: vec![Orphans {
            count: 1,
            cost: "0.5".parse().ok(),
            ids: vec!["x".to_owned()],
            ..Orphans::default()
        }],
        ..LedgerSummary::default()
    });
    for endpoint in Endpoint::ALL {
        let mut record = Record::new(String::new(), Phase::Measured, endpoint, Class::Chat);
        (record.last, record.outcome) = (true, Outcome::Ok);
        record.sent = Some(Offset::ZERO);
        record.sent_utc = Some("2026-08-01T12:00:00Z".to_owned());
        "magistral-small-latest".clone_into(&mut record.requested_model);
        record.last_usage.input = Some(1_000);
        record.last_usage.output = Some(500);
        record.costs = vec![("body:/usage/cost".to_owned(), "0.00125".to_owned())];
        assembly.add(&Attempt::seen(&record)).expect("small");
    }
    let report = assembly.finish().expect("it adds up");
    let findings: Vec<_> = report
        .endpoints
        .values()
        .flat_map(|e| &e.cost.findings)
        .collect();
    let [finding] = findings[..] else {
        panic!("one finding: {findings:?}")
    };
    assert_eq!(
        finding.message,
        "1 of 3 rows of the ledger, of no endpoint that the row names, join no attempt: $0.5 billed; the first: `x`"
    );
    assert_eq!(bill::about(finding), "1 of 3 rows");
    assert_eq!(bill::examples(finding), None);
    let (came, words) = bill::headline(&report).expect("a bill");
    assert_eq!(came, bill::Came::Open);
    assert_eq!(
        words,
        "bill: every cost as predicted, 2 of 2 attempts, but LEDGER_ORPHAN (1); arithmetic only: token counts are the gateway's own"
    );
}

#[test]
fn sums_that_no_run_can_have_are_an_error() {
    let ok = (0, true, Outcome::Ok);
    let error = report(1, &[ok, ok]).expect_err("one too many").to_string();
    assert!(error.contains("1 came due, and 2 ended"), "{error}");
    assert!(error.contains("bug in weighbridge"), "{error}");
    let error = report(2, &[ok, (1, true, Outcome::Ok)]).expect_err("ended twice");
    assert!(error.to_string().contains("1 were begun"), "{error}");
    assert!(report(3, &[ok]).expect("rows can be lost").run.partial);
}
