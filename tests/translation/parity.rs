//! The two endpoints side by side: through a faithful gateway they give the same answers, and what is
//! planted in one of them is counted token by token.

use weighbridge::billing::reconcile::{Judged, Status};
use weighbridge::endpoint::Endpoint;
use weighbridge::parity::{Parity, Tokens};

use crate::drive::{Seen, Talk, World, upstream};
use crate::faults::Plant;
use crate::gateway::{Gateway, Wire};

const SESSIONS: u64 = 40;
const PLANTED: u64 = 10;

/// Tokens of text in all sessions of a chat: from 8 to 12 in turns.
const TOKENS: u64 = 400;

/// Every session at both endpoints, in turns the one and the other first; every fourth of those at
/// `planted` has the fault.
fn drive(talk: Talk, wire: Wire, planted: Endpoint, plant: Option<Plant>) -> Parity {
    let mut world = World::new(
        talk,
        upstream(talk, wire),
        Some(Gateway::new(wire)),
        "parity",
    );
    world.plant = plant;
    let mut parity = Parity::new();
    for session in 0..SESSIONS {
        let mut order = Endpoint::ALL;
        if session % 2 == 1 {
            order.reverse();
        }
        for client in order {
            let has_it = plant.is_some() && client == planted && session % 4 == 1;
            add(&mut parity, &world.session(session, client, has_it));
        }
    }
    parity
}

fn add(parity: &mut Parity, seen: &Seen) {
    // Nothing is billed here.
    let judged = Judged {
        status: Status::Unpriced,
        predicted: None,
        recorded: None,
        delta: None,
        findings: Vec::new(),
    };
    parity.add(seen.record(), Some(&seen.truths), &judged);
}

/// What differs: code, and in how many pairs.
fn differences(parity: &Parity) -> Vec<(&'static str, u64)> {
    let differences = parity.differences();
    let named =
        |difference: &weighbridge::parity::Difference| (difference.code.name(), difference.count);
    differences.iter().map(named).collect()
}

#[test]
fn through_a_faithful_gateway_the_endpoints_are_alike() {
    for wire in [Wire::OpenAi, Wire::Mistral, Wire::Anthropic] {
        for talk in [
            Talk::Chat,
            Talk::Reasoning,
            Talk::Calls,
            Talk::Bare,
            Talk::TextAfter,
            Talk::Single,
        ] {
            let parity = drive(talk, wire, Endpoint::OpenAi, None);
            let pairs = parity.pairs();
            assert_eq!((pairs.compared, pairs.unpaired), (SESSIONS, 0));
            assert_eq!(differences(&parity), [], "{talk:?} {wire:?}");
        }
    }
}

#[test]
fn what_is_lost_repeated_reordered_and_leaked_is_counted_exactly() {
    let none = Tokens::default();
    let lost = Tokens {
        lost: PLANTED,
        ..none
    };
    let repeated = Tokens {
        repeated: PLANTED,
        ..none
    };
    let reordered = Tokens {
        reordered: PLANTED,
        ..none
    };
    let foreign = Tokens {
        foreign: PLANTED,
        ..none
    };
    for (plant, damage) in [
        (Plant::TextLost, lost),
        (Plant::TextHeadLost, lost),
        (Plant::TextTailLost, lost),
        (Plant::TextRepeated, repeated),
        (Plant::TextReordered, reordered),
        (Plant::Leak, foreign),
    ] {
        for wire in [Wire::OpenAi, Wire::Mistral, Wire::Anthropic] {
            for planted in Endpoint::ALL {
                let parity = drive(Talk::Chat, wire, planted, Some(plant));
                let what = format!("{plant:?} {wire:?} {planted}");
                assert_eq!(parity.pairs().exact, SESSIONS, "{what}");
                assert_eq!(differences(&parity), [("TEXT_DIFFERS", PLANTED)], "{what}");
                for endpoint in Endpoint::ALL {
                    let tokens = parity.tokens(endpoint).expect("exact pairs");
                    let damage = if endpoint == planted { damage } else { none };
                    let own = TOKENS - damage.lost;
                    assert_eq!(tokens, Tokens { own, ..damage }, "{what}");
                }
            }
        }
    }
}
