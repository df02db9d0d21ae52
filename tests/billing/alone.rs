//! Each mistake alone, in every request, in a tenth of them and in one of a thousand, at both endpoints,
//! in streams and in whole bodies: it is found and named, as often as it was planted, and nothing is
//! found beside it that does not follow from it.

use std::collections::BTreeMap;

use mock_upstream::config::{Class, When};
use mock_upstream::{Config, JournalEntry};
use weighbridge::billing::finding::{Code, Finding};
use weighbridge::endpoint::Endpoint;

use crate::classes::{ROWS, Row};
use crate::drive::{Driven, Load, drive, scenario};
use crate::fold::{Sight, findings, report, told};
use crate::world::{at, honest, price_list, wrong};

/// How often a mistake is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rate {
    Always,
    Tenth,
    Rare,
}

impl Rate {
    const ALL: [Self; 3] = [Self::Always, Self::Tenth, Self::Rare];

    /// Sessions that are enough to see it.
    const fn sessions(self) -> u64 {
        match self {
            Self::Always => 60,
            Self::Tenth => 120,
            Self::Rare => 1_000,
        }
    }
}

/// Where requests are looked at together: endpoint, streamed, model.
type Place = (Endpoint, bool, String);

fn place_of(finding: &Finding) -> Place {
    let streaming = finding.streaming && finding.code != Code::LedgerOrphan;
    (finding.endpoint, streaming, finding.model.clone())
}

/// The mistake of a row at this rate.
fn planted(row: &Row, rate: Rate) -> Config {
    let mut config = honest();
    (row.config)(&mut config);
    for endpoint in row.endpoints {
        for stream in row.modes {
            let when = When {
                endpoint: Some(at(*endpoint)),
                stream: Some(*stream),
                share: if rate == Rate::Tenth { 0.1 } else { 1.0 },
                every: if rate == Rate::Rare { row.every } else { 0 },
                ..When::default()
            };
            config.behaviour.cost.wrong.push(wrong(row.class, when));
        }
    }
    config
}

/// How many of a mistake were made, by place.
fn made(driven: &Driven, class: Class) -> BTreeMap<Place, u64> {
    let mut made = BTreeMap::new();
    for seen in &driven.attempts {
        let is_made = seen.entry.billing_faults.contains(&class);
        if is_made && shows(&seen.entry, class) {
            let record = &seen.record;
            // A row of nobody does not say whether it was for a stream.
            let streaming = record.streaming && class != Class::LedgerOrphan;
            let place = (record.endpoint, streaming, record.requested_model.clone());
            *made.entry(place).or_insert(0) += 1;
        }
    }
    made
}

/// Whether a mistake changes the amount: few digits are rounded to themselves, and an estimate may be
/// right.
fn shows(entry: &JournalEntry, class: Class) -> bool {
    match class {
        Class::Rounding => entry.recorded_cost != entry.cost,
        Class::AbortEstimated => entry.recorded.get("lookup") != entry.charged.as_ref(),
        _ => true,
    }
}

/// How many of a mistake were made at an endpoint, in streams or in whole bodies.
fn made_at(driven: &Driven, class: Class, endpoint: Endpoint, stream: bool) -> usize {
    let here = driven.attempts.iter().filter(|seen| {
        (seen.record.endpoint, seen.record.streaming) == (endpoint, stream)
            && seen.entry.billing_faults.contains(&class)
    });
    here.count()
}

/// Whether a finding names the mistake of the row: alone, or with what cannot be told from it.
fn names(finding: &Finding, row: &Row, sight: Sight) -> bool {
    if finding.code == row.code {
        return true;
    }
    let twins = (row.twins)(finding.endpoint, sight);
    let causes: Vec<Code> = finding.causes.iter().map(|cause| cause.code).collect();
    finding.code == Code::CostMismatch
        && causes.contains(&row.code)
        && causes
            .iter()
            .all(|code| *code == row.code || twins.contains(code))
}

/// What is wrong with what is found of a row, if anything is.
fn fault(
    row: &Row,
    made: &BTreeMap<Place, u64>,
    found: &[&Finding],
    sight: Sight,
) -> Option<String> {
    let mut named: BTreeMap<Place, u64> = BTreeMap::new();
    for finding in found {
        let place = place_of(finding);
        let is_hidden = (row.is_hidden)(finding.endpoint, sight);
        let is_mismatch = finding.code == Code::CostMismatch && finding.causes.is_empty();
        let is_twin = (row.twins)(finding.endpoint, sight).contains(&finding.code);
        let is_named = names(finding, row, sight) || is_hidden && (is_mismatch || is_twin);
        let follows = row.companions.contains(&finding.code)
            || sight == Sight::Journal && row.against_truth.contains(&finding.code);
        if is_named {
            *named.entry(place).or_insert(0) += finding.count;
        } else if !follows {
            return Some(format!("{} is found besides", finding.code));
        }
    }
    let is_hidden = |place: &Place| (row.is_hidden)(place.0, sight);
    let shown = |counts: &BTreeMap<Place, u64>| -> BTreeMap<Place, u64> {
        let shown = counts.iter().filter(|(place, _)| !is_hidden(place));
        shown
            .map(|(place, count)| (place.clone(), *count))
            .collect()
    };
    let (made, named) = (shown(made), shown(&named));
    (made != named).then(|| format!("planted {made:?}, named {named:?}"))
}

/// Checks the rows of these classes at all rates; tells of every cell that is wrong.
fn check(classes: &[Class]) {
    let mut faults = Vec::new();
    for row in ROWS.iter().filter(|row| classes.contains(&row.class)) {
        for rate in Rate::ALL {
            let config = planted(row, rate);
            let scenario = scenario(row.scenario);
            let prices = price_list(&config.behaviour.cost, None);
            let mut load = Load {
                modes: row.modes,
                ..Load::of(rate.sessions())
            };
            (row.load)(&mut load);
            let driven = drive(&config, &scenario, &load);
            let made = made(&driven, row.class);
            for endpoint in row.endpoints {
                for stream in row.modes {
                    let count = made_at(&driven, row.class, *endpoint, *stream);
                    let most = if rate == Rate::Rare { 3 } else { usize::MAX };
                    assert!(
                        (1..=most).contains(&count),
                        "{:?} {rate:?}: {count} planted at {endpoint}, stream {stream}",
                        row.class
                    );
                }
            }
            for sight in Sight::BOTH {
                let report = report(&driven, &scenario, &prices, sight);
                let found: Vec<_> = findings(&report).collect();
                if let Some(fault) = fault(row, &made, &found, sight) {
                    let policy = row.scenario.lines().last().unwrap_or_default();
                    faults.push(format!(
                        "{:?} {policy} {rate:?} {sight:?}: {fault}\n{}",
                        row.class,
                        told(&found)
                    ));
                }
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} cells:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

macro_rules! families {
    ($($family:ident: $($class:ident),+;)+) => {
        $(#[test]
        fn $family() {
            check(&[$(Class::$class),+]);
        })+

        /// Every class that tests above are of.
        const TESTED: &[Class] = &[$($(Class::$class),+),+];
    };
}

families! {
    cached_tokens_double_and_dropped: CacheDouble, CacheDropped;
    cached_tokens_of_another_kind: CacheTierWrong;
    usage_reports_of_streams: StreamCumulativeSummed, StreamPartialKept, TerminalEventMissed;
    streams_without_a_cost: StreamCostMissing;
    reasoning: ReasoningDropped, ReasoningDouble;
    usage_that_cannot_be: TranslationUsageLost, UsageInconsistent, TokensImplausible;
    answers_that_broke_off_unbilled_or_whole: AbortUnbilled, AbortFull;
    answers_that_broke_off_estimated: AbortEstimated;
    retries_and_errors: RetryDouble, ErrorBilled;
    hits_in_the_gateways_cache: CacheHitBilled;
    tiers: ServiceTier, ContextTier;
    rates_of_something_else: ModelAlias, RatesSwapped;
    factors: UnpricedZero, Unit1k1m, MarkupUndeclared;
    digits: FloatNoise, Rounding;
    surfaces_that_disagree: SurfaceDisagree;
    costs_that_come_late: Late;
    rows_of_the_ledger: LedgerMissing, LedgerDuplicate, LedgerOrphan;
    rows_of_another_day: DayBoundary;
}

#[test]
fn every_class_has_a_row_and_a_test() {
    for class in Class::ALL {
        assert!(ROWS.iter().any(|row| row.class == class), "{class:?}");
        assert!(TESTED.contains(&class), "{class:?}");
    }
}

/// Half of the output is reasoning, which Anthropic's usage does not count: nobody can know why a fifth of the
/// bills are wrong, and no name may be found by chance.
#[test]
fn what_nobody_counts_has_no_name() {
    let mut config = honest();
    config.behaviour.output.reasoning_share = 0.5;
    let when = When {
        share: 0.2,
        ..When::default()
    };
    for class in [Class::ReasoningDouble, Class::ReasoningDropped] {
        let mut config = config.clone();
        config.behaviour.cost.wrong.push(wrong(class, when.clone()));
        let scenario = scenario("");
        let prices = price_list(&config.behaviour.cost, None);
        let driven = drive(&config, &scenario, &Load::of(400));
        let report = report(&driven, &scenario, &prices, Sight::Gateway);
        let all: Vec<_> = findings(&report).collect();
        let at_anthropic = |f: &&&Finding| f.endpoint == Endpoint::Anthropic;
        let found: Vec<_> = all.iter().filter(at_anthropic).copied().collect();
        let is_unknown = |f: &&Finding| f.code == Code::CostMismatch && f.causes.is_empty();
        assert!(
            !found.is_empty() && found.iter().all(is_unknown),
            "{}",
            told(&found)
        );
    }
}
