//! What is a mistake under one policy is right under another.

use std::collections::BTreeSet;

use mock_upstream::Config;
use mock_upstream::config::{Class, Fault, FaultKind, When};
use weighbridge::billing::finding::{Code, Finding};

use crate::drive::{Driven, Load, drive, scenario};
use crate::fold::{Sight, findings, report, told};
use crate::world::{honest, price_list, wrong};

/// Sessions of each cell.
const SESSIONS: u64 = 40;

fn refusing(when: When) -> Config {
    let mut config = honest();
    config.behaviour.faults = vec![Fault {
        when,
        ..Fault::new(FaultKind::Status)
    }];
    config
}

/// Refuses the first attempt at half of the requests.
fn refusing_once() -> Config {
    refusing(When {
        share: 0.5,
        attempts: Some(1),
        ..When::default()
    })
}

fn with(mut config: Config, class: Class) -> Config {
    let planted = wrong(class, When::default());
    config.behaviour.cost.wrong.push(planted);
    config
}

/// What is found under this policy is exactly this, of cost mismatches those without a cause.
fn check(config: &Config, load: &Load, policy: &str, sight: Sight, expected: &[Code]) {
    let scenario = scenario(&format!("[pricing.policy]\n{policy}"));
    let prices = price_list(&config.behaviour.cost, None);
    let driven: Driven = drive(config, &scenario, load);
    let report = report(&driven, &scenario, &prices, sight);
    let found: Vec<&Finding> = findings(&report).collect();
    let named = found.iter().flat_map(|finding| {
        let causes = finding.causes.iter().map(|cause| cause.code);
        causes.chain([finding.code])
    });
    let named: BTreeSet<Code> = named.collect();
    let expected: BTreeSet<Code> = expected.iter().copied().collect();
    assert_eq!(named, expected, "{policy} {sight:?}:\n{}", told(&found));
}

#[test]
fn each_attempt_at_the_upstream_is_paid_for() {
    let load = Load {
        asks_again: true,
        ..Load::of(SESSIONS)
    };
    let twice = with(refusing_once(), Class::RetryDouble);
    let (each, free) = ("retry = \"each\"", "retry = \"free\"");
    check(
        &twice,
        &load,
        each,
        Sight::Journal,
        &[Code::UpstreamRetried],
    );
    check(
        &twice,
        &load,
        free,
        Sight::Journal,
        &[Code::RetryDouble, Code::UpstreamRetried],
    );
    // Without a journal nobody knows how often it was asked.
    check(&twice, &load, each, Sight::Gateway, &[Code::RetryDouble]);
    let once = refusing_once();
    check(
        &once,
        &load,
        each,
        Sight::Journal,
        &[Code::CostMismatch, Code::UpstreamRetried],
    );
    check(&once, &load, free, Sight::Journal, &[Code::UpstreamRetried]);
}

#[test]
fn errors_are_paid_for_as_they_report() {
    let config = with(
        refusing(When {
            share: 0.5,
            ..When::default()
        }),
        Class::ErrorBilled,
    );
    let load = Load::of(SESSIONS);
    for sight in Sight::BOTH {
        // An error reports no usage, so that nobody knows whether its cost is right.
        let reported = [Code::UsageMissing];
        check(&config, &load, "error = \"reported\"", sight, &reported);
        check(
            &config,
            &load,
            "error = \"free\"",
            sight,
            &[Code::ErrorBilled],
        );
    }
}

#[test]
fn hits_in_the_gateways_cache_are_paid_for() {
    let config = with(honest(), Class::CacheHitBilled);
    let load = Load::of(SESSIONS);
    for sight in Sight::BOTH {
        check(&config, &load, "cache_hit = \"full\"", sight, &[]);
        let billed = [Code::CacheHitBilled];
        check(&config, &load, "cache_hit = \"free\"", sight, &billed);
    }
}
