//! The account of one endpoint: what its attempts add up to, by every part that a report shows.
//!
//! Its memory grows with the models and the surfaces of a scenario, and not with the run.

use std::collections::BTreeMap;

use crate::endpoint::Endpoint;
use crate::money::{Currency, Money, MoneyError, RoundMode};
use crate::record::{Class, Record};

use super::Attempt;
use super::finding::{Code, Finding, Key, Severity, key, sort};
use super::ledger::billed_again;
use super::load::{ByLoad, Load};
use super::policy::Charge;
use super::prices::Rounding;
use super::reconcile::{Judged, Status};
use super::recorded::{self, LEDGER};
use super::rounding::{Rounded, RoundingTotal};

/// How many requests an endpoint's list of the worst holds.
pub const WORST_MAX: usize = 5;

/// Decimal places of a bias in per cent.
const BIAS_PLACES: u32 = 6;

/// Models and service tiers that are told apart: a gateway can name tiers as it likes.
const TIERS_MAX: usize = 64;

/// A share as the whole numbers that it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Billable attempts with both a predicted and a recorded cost.
    pub both: u64,
    /// Billable attempts; at least one.
    pub billable: u64,
}

impl Coverage {
    /// Whether no billable attempt is left out.
    pub const fn is_full(self) -> bool {
        self.both == self.billable
    }
}

/// What some attempts add up to. Sums are `None` where no attempt has the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// Attempts judged: what the statuses add up to.
    pub attempts: u64,
    /// Sum over all attempts with a predicted cost.
    pub predicted: Option<Money>,
    /// Sum over all attempts with a recorded cost.
    pub recorded: Option<Money>,
    /// Sum of recorded minus predicted, over attempts with both.
    pub delta: Option<Money>,
    /// The same with every difference counted as positive, and with what further rows of a ledger bill:
    /// an attempt whose answer says the right cost is not billed right if it is billed twice.
    pub delta_abs: Option<Money>,
    /// What further rows of a ledger bill of attempts that have one; `None` if there are none.
    pub billed_again: Option<Money>,
    /// What is recorded for attempts without a predicted cost, and how many these are. It is in
    /// `recorded`, and in no difference. `None` without any.
    pub unpredicted: Option<(Money, u64)>,
    /// `delta` in per cent of what is predicted for the same attempts; `None` if that is nothing.
    pub bias_pct: Option<Money>,
    /// Share of the billable attempts with both; `None` without billable attempts.
    pub coverage: Option<Coverage>,
    /// Every status and how many attempts it has.
    pub statuses: [(Status, u64); 8],
    /// Decimal places of the finest recorded amount; `None` if none but zero is recorded.
    pub places: Option<u32>,
}

impl Sums {
    /// Attempts of this status.
    pub fn status(&self, status: Status) -> u64 {
        let of = |(s, n): &(Status, u64)| if *s == status { *n } else { 0 };
        self.statuses.iter().map(of).sum()
    }
}

/// The attempts that are summed up together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The model asked for.
    pub model: String,
    /// Whether a stream was asked for.
    pub streaming: bool,
    /// What was asked for.
    pub class: Class,
}

/// How fine the recorded amounts of a model are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finest {
    /// The model asked for.
    pub model: String,
    /// The service tier that answered, or else the one asked for; `None` for the standard one.
    pub service_tier: Option<String>,
    /// Decimal places of the finest recorded amount that is not zero.
    pub places: u32,
}

/// What one surface records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurfaceSum {
    /// The surface, as the scenario writes it; `ledger` for the rows of a ledger.
    pub surface: String,
    /// Attempts with an amount there.
    pub attempts: u64,
    /// The sum of these amounts, whether they stand or not.
    pub recorded: Money,
    /// Decimal places of the finest one that is not zero.
    pub places: Option<u32>,
}

/// The bill of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointBill {
    /// Currency of every amount.
    pub currency: Currency,
    /// All of its attempts.
    pub sums: Sums,
    /// The same by group.
    pub groups: Vec<(Group, Sums)>,
    /// By surface, in the order of their names.
    pub surfaces: Vec<SurfaceSum>,
    /// By model and service tier, in the order of their names.
    pub finest: Vec<Finest>,
    /// What a declared rounding explains; `None` where none is declared.
    pub rounding: Option<RoundingTotal>,
    /// Discrepancies by load.
    pub load: ByLoad,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
    /// The attempts that are furthest off, the worst first.
    pub worst: Vec<Worst>,
}

/// An attempt whose recorded cost is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worst {
    /// Trace id of its request.
    pub trace_id: String,
    /// Which attempt of it.
    pub attempt: u32,
    /// The model asked for.
    pub model: String,
    /// What it should have cost.
    pub predicted: Money,
    /// What is recorded.
    pub recorded: Money,
    /// Recorded minus predicted.
    pub delta: Money,
    /// What is wrong with it.
    pub codes: Vec<Code>,
}

/// Sums in the making.
#[derive(Clone, Debug, Default)]
struct Tally {
    attempts: u64,
    predicted: Option<Money>,
    recorded: Option<Money>,
    delta: Option<Money>,
    delta_abs: Option<Money>,
    billed_again: Option<Money>,
    unpredicted: Option<Money>,
    /// How many attempts `unpredicted` is of.
    without_prediction: u64,
    /// What is predicted for the attempts of `delta`.
    compared: Option<Money>,
    both: u64,
    billable: u64,
    statuses: BTreeMap<Status, u64>,
    places: Option<u32>,
}

/// A surface's sum in the making.
#[derive(Clone, Copy, Debug, Default)]
struct OnSurface {
    attempts: u64,
    recorded: Money,
    places: Option<u32>,
}

/// An endpoint's account in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    all: Tally,
    groups: BTreeMap<Group, Tally>,
    surfaces: BTreeMap<String, OnSurface>,
    /// Decimal places by model and service tier.
    finest: BTreeMap<(String, Option<String>), u32>,
    rounded: Rounded,
    load: Load,
    worst: Vec<(Key, Worst)>,
}

impl Account {
    /// Takes up an attempt of the measured phase, which may be charged as `charge` says, and whose
    /// price declares `rounding`, of so many amounts each.
    pub fn take(
        &mut self,
        attempt: &Attempt<'_>,
        charge: Charge,
        judged: &Judged,
        rounding: Option<(Rounding, u64)>,
    ) -> Result<(), MoneyError> {
        let record = attempt.record;
        let group = Group {
            model: record.requested_model.clone(),
            streaming: record.streaming,
            class: record.class,
        };
        let one = Tally::of(attempt, charge, judged)?;
        if let Some(places) = one.places {
            let tier = record.served_tier.as_ref();
            let tier = tier.or(record.requested_tier.as_ref());
            let of = (record.requested_model.clone(), tier.cloned());
            if self.finest.len() < TIERS_MAX || self.finest.contains_key(&of) {
                let known = self.finest.entry(of).or_default();
                *known = places.max(*known);
            }
        }
        self.all.merge(&one)?;
        self.groups.entry(group).or_default().merge(&one)?;
        self.load.take(attempt, charge, judged)?;
        self.take_surfaces(attempt)?;
        if let (Some((rounding, amounts)), Some(delta), true) =
            (rounding, judged.delta, charge != Charge::Free)
        {
            self.rounded.take(rounding, amounts, delta)?;
        }
        self.take_if_worst(record, judged);
        Ok(())
    }

    fn take_surfaces(&mut self, attempt: &Attempt<'_>) -> Result<(), MoneyError> {
        let costs = attempt.record.costs.iter();
        let looked_up = attempt.lookups.iter();
        let amounts = costs
            .map(|(surface, digits)| (surface, digits))
            .chain(looked_up.filter_map(|l| Some((&l.surface, l.digits.as_ref()?))));
        for (surface, digits) in amounts {
            if let Some(cost) = recorded::read(surface, digits) {
                self.on_surface(surface, 1).take(cost.amount)?;
            }
        }
        let rows = attempt.ledger.into_iter().flatten();
        let amounts = rows.filter_map(|row| recorded::read(LEDGER, row.cost.as_ref()?));
        for (n, cost) in amounts.enumerate() {
            self.on_surface(LEDGER, u64::from(n == 0))
                .take(cost.amount)?;
        }
        Ok(())
    }

    fn on_surface(&mut self, surface: &str, attempts: u64) -> &mut OnSurface {
        if !self.surfaces.contains_key(surface) {
            let nothing = OnSurface::default();
            self.surfaces.insert(surface.to_owned(), nothing);
        }
        let entry = self.surfaces.entry(surface.to_owned());
        let on = entry.or_default();
        on.attempts += attempts;
        on
    }

    fn take_if_worst(&mut self, record: &Record, judged: &Judged) {
        let recorded = judged.recorded.as_ref().map(|r| r.amount);
        if let (Some(predicted), Some(recorded), Some(delta)) =
            (judged.predicted, recorded, judged.delta)
            && judged.status == Status::Mismatched
        {
            let wrong = |code: &&Code| code.severity() == Severity::Wrong;
            let worst = Worst {
                trace_id: record.trace_id.clone(),
                attempt: record.attempt,
                model: record.requested_model.clone(),
                predicted,
                recorded,
                delta,
                codes: judged.findings.iter().filter(wrong).copied().collect(),
            };
            self.take_worst([(key(record), worst)]);
        }
    }

    /// The bill of `endpoint`, in `currency`, with what was found on it.
    pub fn bill(
        &self,
        endpoint: Endpoint,
        currency: Currency,
        mut findings: Vec<Finding>,
    ) -> EndpointBill {
        findings.extend(self.load.findings(endpoint));
        sort(&mut findings);
        let groups = self.groups.iter().map(|(g, t)| (g.clone(), t.sums()));
        let surfaces = self.surfaces.iter().map(|(surface, on)| SurfaceSum {
            surface: surface.clone(),
            attempts: on.attempts,
            recorded: on.recorded,
            places: on.places,
        });
        EndpointBill {
            currency,
            sums: self.all.sums(),
            groups: groups.collect(),
            surfaces: surfaces.collect(),
            finest: self
                .finest
                .iter()
                .map(|((model, service_tier), places)| Finest {
                    model: model.clone(),
                    service_tier: service_tier.clone(),
                    places: *places,
                })
                .collect(),
            rounding: self.rounded.total(),
            load: self.load.tables(),
            findings,
            worst: self.worst.iter().map(|(_, w)| w.clone()).collect(),
        }
    }

    fn take_worst(&mut self, more: impl IntoIterator<Item = (Key, Worst)>) {
        self.worst.extend(more);
        self.worst
            .sort_by(|(ka, a), (kb, b)| b.delta.abs().cmp(&a.delta.abs()).then_with(|| ka.cmp(kb)));
        self.worst.truncate(WORST_MAX);
    }
}

impl Tally {
    fn of(attempt: &Attempt<'_>, charge: Charge, judged: &Judged) -> Result<Self, MoneyError> {
        let recorded = judged.recorded.as_ref().map(|r| r.amount);
        let both = judged.delta.is_some();
        let billable = charge != Charge::Free;
        let billed_again = billed_again(attempt.ledger.unwrap_or_default())?;
        let mut delta_abs = judged.delta.map(Money::abs);
        // Where the ledger alone records a cost, that is the sum of its rows.
        if judged.recorded.as_ref().is_none_or(|r| r.surface != LEDGER) {
            add(&mut delta_abs, billed_again)?;
        }
        let unpredicted = recorded.filter(|_| judged.predicted.is_none());
        Ok(Self {
            attempts: 1,
            predicted: judged.predicted,
            recorded,
            delta: judged.delta,
            delta_abs,
            billed_again,
            unpredicted,
            without_prediction: u64::from(unpredicted.is_some()),
            compared: judged.predicted.filter(|_| both),
            both: u64::from(billable && both),
            billable: u64::from(billable),
            statuses: BTreeMap::from([(judged.status, 1)]),
            places: recorded.and_then(places),
        })
    }

    fn merge(&mut self, other: &Self) -> Result<(), MoneyError> {
        self.attempts += other.attempts;
        add(&mut self.predicted, other.predicted)?;
        add(&mut self.recorded, other.recorded)?;
        add(&mut self.delta, other.delta)?;
        add(&mut self.delta_abs, other.delta_abs)?;
        add(&mut self.billed_again, other.billed_again)?;
        add(&mut self.unpredicted, other.unpredicted)?;
        self.without_prediction += other.without_prediction;
        add(&mut self.compared, other.compared)?;
        self.both += other.both;
        self.billable += other.billable;
        for (status, n) in &other.statuses {
            *self.statuses.entry(*status).or_default() += n;
        }
        self.places = self.places.max(other.places);
        Ok(())
    }

    fn sums(&self) -> Sums {
        let delta = self.delta.zip(self.compared);
        Sums {
            attempts: self.attempts,
            predicted: self.predicted,
            recorded: self.recorded,
            delta: self.delta,
            delta_abs: self.delta_abs,
            billed_again: self.billed_again,
            unpredicted: self.unpredicted.map(|sum| (sum, self.without_prediction)),
            bias_pct: delta.and_then(|(delta, of)| delta.percent_of(of, BIAS_PLACES)),
            coverage: (self.billable > 0).then_some(Coverage {
                both: self.both,
                billable: self.billable,
            }),
            statuses: Status::ALL.map(|s| (s, self.statuses.get(&s).copied().unwrap_or(0))),
            places: self.places,
        }
    }
}

impl OnSurface {
    fn take(&mut self, amount: Money) -> Result<(), MoneyError> {
        self.merge(&Self {
            attempts: 0,
            recorded: amount,
            places: places(amount),
        })
    }

    fn merge(&mut self, other: &Self) -> Result<(), MoneyError> {
        self.attempts += other.attempts;
        self.recorded = self.recorded.checked_add(other.recorded)?;
        self.places = self.places.max(other.places);
        Ok(())
    }
}

/// Digits beyond these are a float's noise: see [`FLOAT_NOISE_BELOW`](super::recorded::FLOAT_NOISE_BELOW).
const NOISE_PLACES: u32 = 12;

/// The decimal places of `amount`; zero says nothing of how fine a surface is.
fn places(amount: Money) -> Option<u32> {
    // A float's noise is no precision.
    let meant = amount.round(NOISE_PLACES, RoundMode::HalfEven);
    let said = if meant.is_zero() { amount } else { meant };
    (!said.is_zero()).then(|| said.places())
}

pub(super) fn add(sum: &mut Option<Money>, amount: Option<Money>) -> Result<(), MoneyError> {
    if let Some(amount) = amount {
        *sum = Some(sum.unwrap_or_default().checked_add(amount)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::bill::Bill;
    use super::super::policy::Policy;
    use super::super::prices::PriceTable;
    use super::super::testing::{ledger_row, lookup, money, record, usage};
    use super::*;

    const TABLE: &str = "model,currency,per_tokens,input,output,round_scale,round_mode,round_stage\n\
                         m,USD,1000000,0.5,1.5,,,\n\
                         n,USD,1000000,5,15,,,\n\
                         rounded,USD,1000000,0.5,1.5,4,half_up,request\n";

    /// 1,000 in and 500 out of `model` ($0.00125 of `m`, $0.0125 of `n`), recorded as `digits` on
    /// `surface`; empty digits for none.
    fn attempt(model: &str, streaming: bool, surface: &str, digits: &str) -> Record {
        let costs = (!digits.is_empty()).then(|| (surface.to_owned(), digits.to_owned()));
        Record {
            streaming,
            costs: costs.into_iter().collect(),
            ..record(model, usage(1_000, 500))
        }
    }

    fn bill(attempts: &[Attempt<'_>]) -> EndpointBill {
        let table = PriceTable::read("t.csv", TABLE).expect("valid");
        let mut bill = Bill::new(&table, Policy::default());
        for attempt in attempts {
            bill.add(attempt).expect("small");
        }
        bill.endpoint(Endpoint::OpenAi).expect("measured")
    }

    const STREAM: &str = "stream:/usage/cost";
    const BODY: &str = "body:/usage/cost";

    #[test]
    fn what_is_billed_twice_is_not_billed_right() {
        let (right, alone) = (
            attempt("m", true, STREAM, "0.00125"),
            attempt("m", true, STREAM, ""),
        );
        let rows = [ledger_row("0.00125"), ledger_row("0.00125")];
        let twice = |record| Attempt {
            ledger: Some(&rows),
            ..Attempt::seen(record)
        };
        let of = |attempts: &[Attempt<'_>]| {
            let sums = bill(attempts).sums;
            (sums.delta, sums.delta_abs, sums.billed_again)
        };
        let once = Some(money("0.00125"));
        assert_eq!(of(&[twice(&right)]), (Some(Money::ZERO), once, once));
        // Where the ledger alone records a cost, the rows' sum is the cost: it counts once.
        assert_eq!(of(&[twice(&alone)]), (once, once, once));
        let single = Attempt {
            ledger: Some(&rows[..1]),
            ..Attempt::seen(&right)
        };
        assert_eq!(of(&[single]), (Some(Money::ZERO), Some(Money::ZERO), None));
    }

    #[test]
    fn what_is_recorded_without_a_prediction_is_told_apart() {
        let records = [
            attempt("m", true, STREAM, "0.00125"),
            attempt("unknown", true, STREAM, "0.3"),
            attempt("unknown", true, STREAM, "0.2"),
            attempt("unknown", true, STREAM, ""),
        ];
        let attempts: Vec<_> = records.iter().map(Attempt::seen).collect();
        let all = bill(&attempts);
        assert_eq!(all.sums.unpredicted, Some((money("0.5"), 2)));
        assert_eq!(all.sums.recorded, Some(money("0.50125")));
        assert_eq!(all.sums.delta, Some(Money::ZERO));
        assert_eq!(bill(&attempts[..1]).sums.unpredicted, None);
    }

    #[test]
    fn how_fine_amounts_are_is_told_by_the_tier_that_answered() {
        let of = |requested: Option<&str>, served: Option<&str>, digits| Record {
            requested_tier: requested.map(str::to_owned),
            served_tier: served.map(str::to_owned),
            ..attempt("m", true, STREAM, digits)
        };
        let records = [
            of(None, None, "0.0013"),
            of(None, None, "0.00125"),
            of(Some("flex"), None, "0.1"),
            of(Some("flex"), Some("priority"), "0.25"),
            of(Some("batch"), None, "0"),
        ];
        let attempts: Vec<_> = records.iter().map(Attempt::seen).collect();
        let finest = bill(&attempts).finest;
        let shown: Vec<_> = finest
            .iter()
            .map(|f| (f.service_tier.as_deref(), f.places))
            .collect();
        assert_eq!(shown, [(None, 5), (Some("flex"), 1), (Some("priority"), 2)]);
    }

    #[test]
    fn groups_add_up_to_the_whole() {
        let records = [
            attempt("m", true, STREAM, "0.00125"),
            attempt("m", true, STREAM, "0.0015"),
            attempt("m", false, BODY, "0.001"),
            attempt("n", false, BODY, ""),
        ];
        let attempts: Vec<_> = records.iter().map(Attempt::seen).collect();
        let bill = bill(&attempts);
        let shown: Vec<_> = bill
            .groups
            .iter()
            .map(|(g, s)| {
                let coverage = s.coverage.expect("billable");
                (
                    (g.model.as_str(), g.streaming),
                    (s.attempts, s.status(Status::Mismatched)),
                    s.delta.map(|d| d.to_string()),
                    s.bias_pct.map(|b| b.to_string()),
                    (coverage.both, coverage.billable),
                )
            })
            .collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            shown,
            [
                (("m", false), (1, 1), text("-0.00025"), text("-20"), (1, 1)),
                (("m", true), (2, 1), text("0.00025"), text("10"), (2, 2)),
                (("n", false), (1, 0), None, None, (0, 1)),
            ]
        );
        let of = |get: fn(&Sums) -> u64| bill.groups.iter().map(|(_, s)| get(s)).sum::<u64>();
        assert_eq!(of(|s| s.attempts), bill.sums.attempts);
        assert_eq!(of(|s| s.status(Status::NotRecorded)), 1);
        assert_eq!(bill.sums.delta, Some(Money::ZERO));
        assert_eq!(bill.sums.bias_pct, Some(Money::ZERO));
        assert_eq!(bill.sums.delta_abs, Some(money("0.0005")));
    }

    #[test]
    fn a_bias_is_of_what_was_compared() {
        let not_recorded = attempt("n", true, STREAM, "");
        let dear = attempt("m", true, STREAM, "0.0013");
        let shown = bill(&[Attempt::seen(&not_recorded), Attempt::seen(&dear)]);
        assert_eq!(shown.sums.bias_pct, Some(money("4")));
        let nothing = bill(&[Attempt::seen(&not_recorded)]);
        assert_eq!((nothing.sums.bias_pct, nothing.sums.places), (None, None));
    }

    #[test]
    fn every_surface_has_its_sum_and_its_places() {
        let mut both = attempt("m", false, BODY, "0.00125");
        let header = "header:x-litellm-response-cost";
        both.costs.push((header.to_owned(), "0.0013".to_owned()));
        let unreadable = attempt("m", false, BODY, "1-2");
        let (known, pending) = ([lookup(Some("0"))], [lookup(None)]);
        let rows = [ledger_row("0.1"), ledger_row("0.02"), ledger_row("?")];
        let bill = bill(&[
            Attempt {
                lookups: &known,
                ledger: Some(&rows),
                ..Attempt::seen(&both)
            },
            Attempt {
                lookups: &pending,
                ledger: Some(&[]),
                ..Attempt::seen(&unreadable)
            },
        ]);
        let shown: Vec<_> = bill
            .surfaces
            .iter()
            .map(|s| {
                let sum = s.recorded.to_string();
                (s.surface.as_str(), s.attempts, sum, s.places)
            })
            .collect();
        assert_eq!(
            shown,
            [
                (BODY, 1, "0.00125".to_owned(), Some(5)),
                (header, 1, "0.0013".to_owned(), Some(4)),
                (LEDGER, 1, "0.12".to_owned(), Some(2)),
                ("lookup:u#/c", 1, "0".to_owned(), None),
            ]
        );
    }

    #[test]
    fn a_declared_rounding_is_held_against_its_total() {
        let record = attempt("rounded", true, STREAM, "0.0013");
        let total = bill(&[Attempt::seen(&record); 100]);
        let rounding = total.rounding.expect("declared");
        assert_eq!(rounding.attempts, 100);
        assert_eq!(rounding.bound, money("0.005"));
        assert_eq!(rounding.delta, money("0.005"), "one size goes to the bound");
        let undeclared = attempt("m", true, STREAM, "0.0013");
        assert_eq!(bill(&[Attempt::seen(&undeclared)]).rounding, None);
    }
}
