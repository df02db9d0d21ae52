//! An upstream that bills honestly: nothing is found, whoever looks.

use weighbridge::billing::reconcile::Status;

use crate::drive::{Load, drive, scenario};
use crate::fold::{Sight, findings, report, told};
use crate::world::{honest, price_list};

/// Sessions of each test below, at two endpoints: together more than 100,000 requests.
const SESSIONS: u64 = 12_600;

/// Sends a load of which nothing may be said.
fn check(load: &Load) {
    let config = honest();
    let scenario = scenario("");
    let prices = price_list(&config.behaviour.cost, None);
    let driven = drive(&config, &scenario, load);
    let requests = load.sessions * 2 * load.modes.len() as u64;
    assert_eq!(driven.attempts.len() as u64, requests);
    if let Some(ledger) = &driven.ledger {
        assert_eq!((ledger.joined, ledger.rows), (requests, requests));
    }
    for sight in Sight::BOTH {
        let report = report(&driven, &scenario, &prices, sight);
        let found: Vec<_> = findings(&report).collect();
        assert!(found.is_empty(), "{sight:?}:\n{}", told(&found));
        for (endpoint, report) in &report.endpoints {
            let statuses = &report.cost.statuses;
            let matched = statuses.get(Status::Matched.name()).copied();
            assert_eq!(matched, Some(requests / 2), "{endpoint}: {statuses:?}");
            assert_eq!(report.cost.delta_abs.as_deref(), Some("0"), "{endpoint}");
        }
    }
}

#[test]
fn streams_of_which_only_the_usage_is_known() {
    check(&Load {
        modes: &[true],
        ..Load::of(SESSIONS)
    });
}

#[test]
fn whole_bodies_of_which_only_the_usage_is_known() {
    check(&Load {
        modes: &[false],
        ..Load::of(SESSIONS)
    });
}

#[test]
fn streams_from_caches_in_tiers_with_a_look_up() {
    check(&Load {
        modes: &[true],
        prefixes: true,
        tiers: true,
        looks_up: true,
        ..Load::of(SESSIONS)
    });
}

#[test]
fn whole_bodies_from_caches_in_tiers_with_a_ledger() {
    check(&Load {
        modes: &[false],
        prefixes: true,
        tiers: true,
        ledger: Some(mock_upstream::simulation::LedgerFormat::LiteLlm),
        ..Load::of(SESSIONS)
    });
}
