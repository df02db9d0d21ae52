//! Each way in which gateways break, by itself: every fourth of forty sessions has the fault, and the
//! harness names it on these and no others, as often as it was planted, and names nothing else.

use std::collections::BTreeSet;

use weighbridge::record::Outcome;

use crate::cases::{Case, cases};
use crate::drive::{Seen, World, failing, upstream};
use crate::gateway::{Gateway, Wire};
use crate::judge::{Found, findings};

const SESSIONS: u64 = 40;
const PLANTED: u64 = 10;

/// Whether a session has the fault. The first one has none: it fills caches.
const fn is_planted(session: u64) -> bool {
    session % 4 == 1
}

/// Drives the sessions of a case, in two turns where its fault needs them.
fn drive(case: &Case, plants: bool) -> Vec<Seen> {
    let mut config = upstream(case.talk, case.wire.unwrap_or(Wire::OpenAi));
    if let Some(kind) = case.fails {
        config = failing(config, kind);
    }
    let gateway = case.wire.map(Gateway::new);
    let mut world = World::new(case.talk, config, gateway, "matrix");
    world.plant = case.plant;
    world.stream = case.stream;
    let mut seen = Vec::new();
    for session in 0..SESSIONS {
        let first = world.session(session, case.client, plants && is_planted(session));
        if case.number == 16 {
            seen.push(world.second_turn(&first, case.client));
        }
        seen.push(first);
    }
    seen
}

/// What is found of what was planted, in a case: found = expected, in the same order.
fn check(case: &Case) -> Result<(), String> {
    let mut seen = drive(case, true);
    let (planted, sound): (Vec<Seen>, Vec<Seen>) = seen.drain(..).partition(|seen| seen.planted);
    let none = findings(sound.iter(), case.client);
    if !none.is_empty() {
        return Err(format!("found where nothing was planted: {none:#?}"));
    }
    let whole = |seen: &&Seen| seen.record().turn == 0 && seen.record().outcome != Outcome::Ok;
    if let Some(broken) = planted.iter().chain(&sound).find(whole) {
        return Err(format!("an answer broke: {:#?}", broken.record()));
    }
    let found = findings(planted.iter().chain(&sound), case.client);
    let is_expected = |(found, (code, each)): (&Found, &(&str, u64))| {
        let count = match each {
            0 => found.count >= PLANTED,
            each => found.count == PLANTED * each,
        };
        found.code == *code && found.attempts == PLANTED && count
    };
    let mut expected = case.codes.to_vec();
    expected.sort_unstable();
    if found.len() == expected.len() && found.iter().zip(&expected).all(is_expected) {
        return Ok(());
    }
    Err(format!("found {found:#?}"))
}

#[test]
fn each_fault_is_found_and_named_where_it_was_planted_and_nowhere_else() {
    let mut wrong = Vec::new();
    for case in cases() {
        if let Err(what) = check(&case) {
            wrong.push(format!("{case:?}: {what}"));
        }
    }
    let count = wrong.len();
    assert!(wrong.is_empty(), "{count} cases:\n{}", wrong.join("\n"));
}

#[test]
fn no_fault_is_found_where_none_is_planted() {
    let mut ways = BTreeSet::new();
    for case in cases() {
        // What stays when nothing is planted is the same for many faults.
        let way = format!(
            "{:?} {:?} {:?} {}",
            case.talk, case.client, case.wire, case.stream
        );
        if !ways.insert((way, case.number == 16)) {
            continue;
        }
        let seen = drive(&case, false);
        let found = findings(seen.iter(), case.client);
        assert!(found.is_empty(), "{case:?}: {found:#?}");
    }
}

#[test]
fn every_fault_of_the_table_is_planted() {
    let numbers: BTreeSet<u8> = cases().iter().map(|case| case.number).collect();
    assert_eq!(numbers, (0..=22).collect());
}
