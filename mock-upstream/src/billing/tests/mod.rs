//! Each mistake against amounts that were computed by hand. `prices` has what is right, and how it is written.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::mistakes::{Facts, Planted, Reports};
use super::price::{Deal, digits};
use super::recorded::Recorded;
use super::settlement::{Bill, Delivery, Progress, Settlement};
use crate::config::{Aborts, Class, ContextTier, Cost, Factor, FaultKind, Rate, Surface};
use crate::journal::Usage;

mod prices;

fn decimal(text: &str) -> Decimal {
    Decimal::from_str_exact(text).expect("a decimal")
}

/// Two models, of which `m` has all there is.
fn cost() -> Cost {
    let mut rate = Rate::new(decimal("1"), decimal("4"));
    rate.cache_read = Some(decimal("0.25"));
    rate.cache_write_5m = Some(decimal("1.25"));
    rate.cache_write_1h = Some(decimal("2"));
    rate.context_tier = Some(ContextTier {
        above: 5_000,
        input: decimal("2"),
        output: decimal("8"),
        cache_read: Some(decimal("0.5")),
        cache_write_5m: None,
        cache_write_1h: None,
    });
    rate.service_tiers = BTreeMap::from([
        ("default".to_owned(), Factor(Decimal::ONE)),
        ("flex".to_owned(), Factor(decimal("0.5"))),
        ("priority".to_owned(), Factor(Decimal::TWO)),
    ]);
    let other = Rate::new(decimal("3"), decimal("7"));
    Cost {
        surfaces: vec![
            Surface::Usage,
            Surface::Metadata,
            Surface::Header,
            Surface::AfterTerminator,
        ],
        rates: BTreeMap::from([("m".to_owned(), rate), ("other".to_owned(), other)]),
        ..Cost::default()
    }
}

/// 1000 + 100 + 250 + 200 + 2000 millionths: 0.00355.
const USAGE: Usage = Usage {
    input: 1_000,
    cache_read: 400,
    cache_write: 300,
    cache_write_1h: 100,
    output: 500,
    reasoning: 120,
};

const END_US: u64 = 1_700_000_000_000_000;

/// An answer that was written to its end.
const WHOLE: Delivery = Delivery {
    started: true,
    cost_written: true,
    completed: true,
    token_events: 500,
    ended_unix_us: END_US,
};

/// Ten token events of fifty tokens and of 330 characters each, reasoning first.
fn progress() -> Vec<Progress> {
    let event = |event: u64| Progress {
        tokens: event * 50,
        reasoning: (event * 50).min(USAGE.reasoning),
        characters: event * 330,
    };
    (1..=10).map(event).collect()
}

/// A placeholder and the truth, as in Anthropic's streams.
fn reports() -> Option<Reports> {
    let placeholder = Usage {
        output: 1,
        reasoning: 0,
        ..USAGE
    };
    Reports::of([placeholder, USAGE])
}

fn bill(cost: &Cost, classes: &[Class], stream: bool, service_tier: Option<&str>) -> Bill {
    let mut bill = Bill {
        model: "m".to_owned(),
        service_tier: service_tier.map(str::to_owned),
        usage: USAGE,
        reports: reports().filter(|_| stream),
        planted: Planted::new(classes.to_vec()),
        stream,
        progress: if stream { progress() } else { Vec::new() },
        has_event_after: stream,
        ..Bill::default()
    };
    bill.record(cost);
    bill
}

/// What a mistake makes of the answer.
struct Expected {
    /// In the body of a stream; empty is nothing.
    stream: &'static str,
    /// In a whole body.
    whole: &'static str,
    /// In the ledger for a stream; empty is no row.
    ledger: &'static str,
    rows: u32,
}

/// The same amount everywhere.
const fn everywhere(amount: &'static str) -> Expected {
    Expected {
        stream: amount,
        whole: amount,
        ledger: amount,
        rows: 1,
    }
}

/// Only streams are concerned.
const fn in_streams(amount: &'static str) -> Expected {
    Expected {
        whole: RIGHT,
        ..everywhere(amount)
    }
}

const RIGHT: &str = "0.00355";

/// A class without a case does not compile.
fn expected(class: Class) -> Expected {
    let rows = |rows, ledger| Expected {
        ledger,
        rows,
        ..everywhere(RIGHT)
    };
    match class {
        Class::UnpricedZero | Class::TranslationUsageLost => everywhere("0"),
        // 400 tokens at 1 more.
        Class::CacheDouble => everywhere("0.00395"),
        Class::CacheDropped => everywhere("0.00345"),
        // 400 at 1 and not 0.25, and 100 at 1.25 and not 2.
        Class::CacheTierWrong => everywhere("0.003775"),
        // Twice the input's 0.00155, and 501 tokens of output.
        Class::StreamCumulativeSummed => in_streams("0.005104"),
        Class::StreamPartialKept => in_streams("0.001554"),
        Class::StreamCostMissing => Expected {
            stream: "",
            ..everywhere(RIGHT)
        },
        Class::TerminalEventMissed => Expected {
            // The rule asks for a stream, so that of whole bodies is never drawn; see below.
            whole: "0.00155",
            ..everywhere("0.00155")
        },
        // 120 tokens at 4.
        Class::ReasoningDropped => everywhere("0.00307"),
        Class::ReasoningDouble => everywhere("0.00403"),
        Class::RetryDouble => everywhere("0.0071"),
        // Half of it, as `flex`.
        Class::ServiceTier => everywhere("0.001775"),
        // 1000 and 300 at 2, 400 at 0.5, 500 at 8.
        Class::ContextTier => everywhere("0.0068"),
        // 1700 at 3, 500 at 7.
        Class::ModelAlias => everywhere("0.0086"),
        // 1000 at 4, 500 at 1.
        Class::RatesSwapped => everywhere("0.00505"),
        Class::Unit1k1m => everywhere("3.55"),
        Class::MarkupUndeclared => everywhere("0.0037275"),
        Class::FloatNoise => everywhere("0.0035500000000000002"),
        Class::Rounding => everywhere("0.0036"),
        // 5000 tokens of output.
        Class::TokensImplausible => everywhere("0.02155"),
        Class::SurfaceDisagree => rows(1, "0.01355"),
        Class::LedgerMissing => rows(0, ""),
        Class::LedgerDuplicate | Class::LedgerOrphan => rows(2, RIGHT),
        Class::AbortUnbilled
        | Class::AbortFull
        | Class::AbortEstimated
        | Class::ErrorBilled
        | Class::CacheHitBilled
        | Class::UsageInconsistent
        | Class::Late
        | Class::DayBoundary => everywhere(RIGHT),
    }
}

#[test]
fn every_mistake_is_exact_and_leaves_the_truth_alone() {
    let cost = cost();
    for class in Class::ALL {
        let expected = expected(class);
        for stream in [true, false] {
            let bill = bill(&cost, &[class], stream, None);
            let settlement = bill.settle(&cost, WHOLE);
            let surface = |name: &str| settlement.recorded.get(name).map_or("", String::as_str);
            let body = if stream {
                expected.stream
            } else {
                expected.whole
            };
            assert_eq!(surface("usage"), body, "{class:?} {stream}");
            assert_eq!(surface("after_terminator"), body, "{class:?} {stream}");
            let metadata = match class {
                Class::SurfaceDisagree => "0.01355",
                _ => body,
            };
            assert_eq!(surface("metadata"), metadata, "{class:?} {stream}");
            let header = match (stream, class) {
                (true, Class::StreamCostMissing) => "",
                (true, _) => "0",
                (false, _) => metadata,
            };
            assert_eq!(surface("header"), header, "{class:?} {stream}");
            if stream {
                assert_eq!(surface("ledger"), expected.ledger, "{class:?}");
                assert_eq!(settlement.ledger_rows, expected.rows, "{class:?}");
            }
            assert_eq!(bill.cost(&cost).as_deref(), Some(RIGHT), "{class:?}");
            let charged = match class {
                Class::CacheHitBilled => "0",
                _ => RIGHT,
            };
            assert_eq!(settlement.charged.as_deref(), Some(charged), "{class:?}");
            let late = u64::from(class == Class::Late) * 60_000_000;
            assert_eq!(
                settlement.recorded_unix_us,
                Some(END_US + late),
                "{class:?}"
            );
            let is_about_aborts = matches!(
                class,
                Class::AbortUnbilled | Class::AbortFull | Class::AbortEstimated
            );
            let made: &[Class] = if is_about_aborts { &[] } else { &[class] };
            assert_eq!(settlement.billing_faults, made);
        }
    }
}

#[test]
fn every_mistake_is_listed_and_has_a_line_in_the_readme() {
    let readme = include_str!("../../../README.md");
    for class in Class::ALL {
        let name = serde_json::to_value(class).expect("a name");
        let line = format!("| `{}` |", name.as_str().expect("text"));
        assert_eq!(readme.matches(&line).count(), 1, "{line}");
    }
    // The names that serde knows are all there are.
    let unknown = serde_json::from_str::<Class>("\"?\"").expect_err("no class");
    let message = unknown.to_string();
    let (_, names) = message.split_once("expected one of ").expect("names");
    assert_eq!(names.matches('`').count(), 2 * Class::ALL.len());
}

#[test]
fn every_mistake_needs_what_it_is_made_in() {
    let cost = cost();
    let full = Facts {
        deal: Deal {
            cost: &cost,
            model: "m",
            service_tier: None,
        },
        stream: true,
        attempt: 2,
        usage: USAGE,
        reports: reports(),
        error: None,
    };
    let mut plain = cost.clone();
    let rate = Rate::new(Decimal::ONE, Decimal::ONE);
    plain.rates = BTreeMap::from([("m".to_owned(), rate)]);
    let bare = Facts {
        deal: Deal {
            cost: &plain,
            ..full.deal
        },
        stream: false,
        attempt: 1,
        usage: Usage {
            input: 1_000,
            output: 500,
            ..Usage::default()
        },
        reports: None,
        error: None,
    };
    let unpriced = Facts {
        deal: Deal {
            model: "unlisted",
            ..full.deal
        },
        ..full
    };
    let error = |kind| Facts {
        error: Some(kind),
        ..full
    };
    let allowed = |facts: Facts<'_>| -> Vec<Class> {
        let all = Class::ALL.into_iter();
        all.filter(|class| facts.allow(*class)).collect()
    };
    let but_errors: Vec<_> = Class::ALL
        .into_iter()
        .filter(|class| *class != Class::ErrorBilled)
        .collect();
    assert_eq!(allowed(full), but_errors);
    // Whatever the answer is.
    let always = [
        Class::UnpricedZero,
        Class::TranslationUsageLost,
        Class::AbortUnbilled,
        Class::AbortFull,
        Class::AbortEstimated,
        Class::CacheHitBilled,
        Class::LedgerMissing,
        Class::LedgerDuplicate,
        Class::LedgerOrphan,
        Class::UsageInconsistent,
        Class::TokensImplausible,
        Class::Late,
        Class::DayBoundary,
    ];
    assert_eq!(allowed(unpriced), always);
    let mut on_bare = always.to_vec();
    on_bare.extend([
        Class::Unit1k1m,
        Class::MarkupUndeclared,
        Class::FloatNoise,
        Class::Rounding,
        Class::SurfaceDisagree,
    ]);
    on_bare.sort_unstable();
    assert_eq!(allowed(bare), on_bare);
    assert_eq!(allowed(error(FaultKind::Status)), [Class::ErrorBilled]);
    assert_eq!(allowed(error(FaultKind::Refuse)), []);
    // A single report is neither partial nor summed up.
    assert_eq!(Reports::of([USAGE]), None);
}

#[test]
fn tiers_and_aliases_are_wrong_in_either_direction() {
    let mut cost = cost();
    let right_and_wrong = |cost: &Cost, class, usage, service_tier| {
        let deal = Deal {
            cost,
            model: "m",
            service_tier,
        };
        let recorded = Recorded::new(&deal, usage, &Planted::new(vec![class])).expect("rates");
        let exact = deal.exact(usage).expect("rates");
        (digits(exact), digits(recorded.total))
    };
    let pair = |right: &str, wrong: &str| (right.to_owned(), wrong.to_owned());
    let of = |cost: &Cost, tier| right_and_wrong(cost, Class::ServiceTier, USAGE, tier);
    assert_eq!(of(&cost, Some("flex")), pair("0.001775", RIGHT));
    assert_eq!(of(&cost, Some("priority")), pair("0.0071", RIGHT));
    assert_eq!(of(&cost, Some("default")), pair(RIGHT, "0.001775"));
    assert_eq!(of(&cost, Some("unheard-of")), pair(RIGHT, "0.001775"));
    // The limit itself is below; one more token, and all cost the tier's price.
    let long = |input| Usage {
        input,
        cache_read: 1_000,
        output: 100,
        ..Usage::default()
    };
    assert_eq!(
        right_and_wrong(&cost, Class::ContextTier, long(4_000), None),
        pair("0.00465", "0.0093")
    );
    assert_eq!(
        right_and_wrong(&cost, Class::ContextTier, long(4_001), None),
        pair("0.009302", "0.004651")
    );
    // The model that answers goes before those that come first by name.
    let third = Rate::new(decimal("10"), decimal("10"));
    cost.rates.insert("third".to_owned(), third);
    cost.rates.get_mut("m").expect("listed").served_as = Some("third".to_owned());
    assert_eq!(
        right_and_wrong(&cost, Class::ModelAlias, USAGE, None),
        pair(RIGHT, "0.022")
    );
}

/// A stream of ten events whose client hung up after four: 200 tokens, 1320 characters.
fn aborted(aborts: Aborts, classes: &[Class], stream: bool) -> Settlement {
    let cost = Cost { aborts, ..cost() };
    let delivery = Delivery {
        cost_written: false,
        completed: false,
        token_events: if stream { 4 } else { 0 },
        ..WHOLE
    };
    bill(&cost, classes, stream, None).settle(&cost, delivery)
}

#[test]
fn aborts_cost_what_the_policy_says_and_are_billed_by_mistake() {
    let (full, delivered, free) = (Aborts::Full, Aborts::Delivered, Aborts::Free);
    // The input's 0.00155, and 200 tokens of output, or 1320 / 4.
    let (part, estimated) = ("0.00235", "0.00287");
    for (aborts, class, charged, ledger, is_made) in [
        (full, None, RIGHT, RIGHT, false),
        (delivered, None, part, part, false),
        (free, None, "0", "0", false),
        (full, Some(Class::AbortUnbilled), RIGHT, "0", true),
        (delivered, Some(Class::AbortUnbilled), part, "0", true),
        (free, Some(Class::AbortUnbilled), "0", "0", false),
        (full, Some(Class::AbortFull), RIGHT, RIGHT, false),
        (delivered, Some(Class::AbortFull), part, RIGHT, true),
        (free, Some(Class::AbortFull), "0", RIGHT, true),
        (full, Some(Class::AbortEstimated), RIGHT, estimated, true),
        (
            delivered,
            Some(Class::AbortEstimated),
            part,
            estimated,
            true,
        ),
        (free, Some(Class::AbortEstimated), "0", estimated, true),
    ] {
        let settlement = aborted(aborts, class.as_slice(), true);
        let context = format!("{aborts:?} {class:?}");
        assert_eq!(settlement.charged.as_deref(), Some(charged), "{context}");
        assert_eq!(settlement.recorded["ledger"], ledger, "{context}");
        assert_eq!(settlement.recorded["lookup"], ledger, "{context}");
        assert_eq!(!settlement.billing_faults.is_empty(), is_made, "{context}");
        // The headers went out; the usage did not.
        assert_eq!(settlement.recorded["header"], "0", "{context}");
        assert_eq!(settlement.recorded_in_answer().as_deref(), Some("0"));
    }
    let usage = aborted(delivered, &[], true).billed_usage.expect("another");
    assert_eq!(
        (usage.input, usage.output, usage.reasoning),
        (1_000, 200, 120)
    );
    // Nothing of a body that is not whole counts.
    let settlement = aborted(delivered, &[], false);
    assert_eq!(settlement.charged.as_deref(), Some("0.00155"));
    // The reports of a stream that broke off were not all made.
    let settlement = aborted(delivered, &[Class::StreamCumulativeSummed], true);
    assert_eq!(settlement.recorded["ledger"], part);
}

#[test]
fn streams_that_a_fault_cuts_short_are_aborted_though_they_end_well() {
    let cost = Cost {
        aborts: Aborts::Delivered,
        ..cost()
    };
    let mut bill = bill(&cost, &[], true, None);
    bill.is_cut = true;
    let delivery = Delivery {
        token_events: 5,
        ..WHOLE
    };
    let settlement = bill.settle(&cost, delivery);
    assert_eq!(settlement.charged.as_deref(), Some("0.00255"));
}

#[test]
fn mistakes_that_fire_together_are_all_made() {
    let cost = cost();
    let classes = [
        Class::ReasoningDropped,
        Class::RatesSwapped,
        Class::Unit1k1m,
        Class::SurfaceDisagree,
        Class::FloatNoise,
        Class::LedgerDuplicate,
        Class::LedgerOrphan,
    ];
    let settlement = bill(&cost, &classes, false, None).settle(&cost, WHOLE);
    // 1000 at 4, 380 at 1, and 550 of the cache, times a thousand.
    assert_eq!(settlement.recorded["usage"], "4.9300000000000000002");
    assert_eq!(settlement.recorded["header"], "4.9400000000000000002");
    assert_eq!(settlement.recorded["ledger"], "4.9400000000000000002");
    assert_eq!(settlement.ledger_rows, 3);
    assert_eq!(settlement.charged.as_deref(), Some(RIGHT));
}

#[test]
fn recording_is_delayed_by_the_configuration() {
    let cost = Cost {
        recorded_after_ms: 1_500.0,
        ..cost()
    };
    let settlement = bill(&cost, &[], true, None).settle(&cost, WHOLE);
    assert_eq!(settlement.recorded_unix_us, Some(END_US + 1_500_000));
}
