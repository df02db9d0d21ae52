//! Two mistakes at once, on different requests and on the same one: both are named.

use std::collections::BTreeSet;

use mock_upstream::config::{Class, When};
use weighbridge::billing::finding::{Code, Finding};

use crate::classes::{ROWS, Row};
use crate::drive::{Load, drive, large_scenario, scenario};
use crate::fold::{Sight, findings, report, told};
use crate::world::{honest, price_list, wrong};

/// Words in a header that plant the first and the second.
const MARKERS: [&str; 2] = ["plant-first", "plant-second"];

/// Sessions: a quarter has neither, a quarter each one, a quarter both.
const SESSIONS: u64 = 120;

/// The first row of a class.
fn row(class: Class) -> &'static Row {
    let mut rows = ROWS.iter();
    rows.find(|row| row.class == class)
        .expect("every class has a row")
}

/// Every cause that a finding names.
fn named(found: &[&Finding]) -> BTreeSet<Code> {
    let of = |finding: &&Finding| {
        let causes: Vec<Code> = finding.causes.iter().map(|cause| cause.code).collect();
        std::iter::once(finding.code)
            .chain(causes)
            .collect::<Vec<_>>()
    };
    found.iter().flat_map(of).collect()
}

/// Plants both, and says what is wrong with what is found.
fn fault(classes: [Class; 2]) -> Option<String> {
    let rows = classes.map(row);
    let mut config = honest();
    let mut load = Load {
        markers: Some(MARKERS),
        ..Load::of(SESSIONS)
    };
    for (row, marker) in rows.iter().zip(MARKERS) {
        (row.config)(&mut config);
        (row.load)(&mut load);
        let when = When {
            marker: Some(marker.to_owned()),
            ..When::default()
        };
        config.behaviour.cost.wrong.push(wrong(row.class, when));
    }
    let more = [rows[0].scenario, rows[1].scenario].join("\n");
    // Of four decimals of a small amount, any two mistakes may be the cause.
    let scenario = if classes.contains(&Class::Rounding) {
        large_scenario(&more)
    } else {
        scenario(&more)
    };
    let prices = price_list(&config.behaviour.cost, None);
    let driven = drive(&config, &scenario, &load);
    let counts = |wanted: [bool; 2]| {
        let is_it =
            |classes_made: &[Class]| classes.map(|class| classes_made.contains(&class)) == wanted;
        let entries = driven
            .attempts
            .iter()
            .map(|seen| &seen.entry.billing_faults);
        entries.filter(|made| is_it(made)).count()
    };
    for wanted in [[true, false], [false, true], [true, true]] {
        assert!(
            counts(wanted) > 0,
            "{classes:?}: nothing was planted as {wanted:?}"
        );
    }
    let report = report(&driven, &scenario, &prices, Sight::Journal);
    let found: Vec<_> = findings(&report).collect();
    let named = named(&found);
    let known = |code: &Code| {
        let of_row = |row: &&Row| {
            row.code == *code || row.companions.contains(code) || row.against_truth.contains(code)
        };
        rows.iter().any(of_row) || *code == Code::CostMismatch
    };
    let missed = rows.iter().find(|row| !named.contains(&row.code));
    let other = named.iter().find(|code| !known(code));
    let unexplained = found
        .iter()
        .find(|finding| finding.code == Code::CostMismatch && finding.causes.is_empty());
    let fault = match (missed, other, unexplained) {
        (Some(row), ..) => format!("{} is not named", row.code),
        (_, Some(code), _) => format!("{code} is named"),
        (.., Some(finding)) => format!("{} are not explained", finding.count),
        _ => return None,
    };
    Some(format!("{classes:?}: {fault}\n{}", told(&found)))
}

fn check(pairs: &[[Class; 2]]) {
    let faults: Vec<String> = pairs.iter().filter_map(|pair| fault(*pair)).collect();
    assert!(
        faults.is_empty(),
        "{} pairs:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn a_kind_of_token_and_a_factor() {
    check(&[
        [Class::CacheDouble, Class::MarkupUndeclared],
        [Class::CacheDropped, Class::MarkupUndeclared],
        [Class::CacheTierWrong, Class::Rounding],
        [Class::CacheDropped, Class::FloatNoise],
        [Class::ReasoningDouble, Class::MarkupUndeclared],
        [Class::ReasoningDropped, Class::Rounding],
    ]);
}

#[test]
fn two_kinds_of_token() {
    check(&[
        [Class::CacheDouble, Class::ReasoningDropped],
        [Class::CacheDropped, Class::ReasoningDouble],
        [Class::CacheTierWrong, Class::TerminalEventMissed],
        [Class::CacheDouble, Class::RatesSwapped],
        [Class::CacheDropped, Class::ServiceTier],
    ]);
}

#[test]
fn rates_and_factors() {
    check(&[
        [Class::RatesSwapped, Class::MarkupUndeclared],
        [Class::ModelAlias, Class::MarkupUndeclared],
        [Class::ModelAlias, Class::Rounding],
        [Class::ServiceTier, Class::Rounding],
        [Class::ContextTier, Class::MarkupUndeclared],
        [Class::Unit1k1m, Class::MarkupUndeclared],
        [Class::MarkupUndeclared, Class::FloatNoise],
        [Class::MarkupUndeclared, Class::Rounding],
    ]);
}

#[test]
fn streams_and_another() {
    check(&[
        [Class::TerminalEventMissed, Class::MarkupUndeclared],
        [Class::StreamCumulativeSummed, Class::MarkupUndeclared],
        [Class::StreamCumulativeSummed, Class::CacheDropped],
        [Class::StreamCostMissing, Class::MarkupUndeclared],
        [Class::TranslationUsageLost, Class::MarkupUndeclared],
    ]);
}

#[test]
fn what_is_said_after_the_fact_and_another() {
    check(&[
        [Class::LedgerDuplicate, Class::MarkupUndeclared],
        [Class::LedgerMissing, Class::RatesSwapped],
        [Class::DayBoundary, Class::LedgerDuplicate],
        [Class::LedgerOrphan, Class::CacheDropped],
        [Class::Late, Class::MarkupUndeclared],
        [Class::SurfaceDisagree, Class::MarkupUndeclared],
    ]);
}
