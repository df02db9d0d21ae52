//! The account of one endpoint: what its attempts add up to, by every part that a report shows.

use std::collections::BTreeMap;

use crate::money::{Currency, Money, MoneyError};
use crate::record::Record;

use super::finding::{Finding, Key, key};
use super::policy::Charge;
use super::reconcile::{Judged, Status};

/// How many requests an endpoint's list of the worst holds.
pub const WORST_MAX: usize = 5;

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

/// The bill of one endpoint. Sums are `None` where no attempt has the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointBill {
    /// Currency of every amount.
    pub currency: Currency,
    /// Attempts judged: what the statuses add up to.
    pub attempts: u64,
    /// Sum over all attempts with a predicted cost.
    pub predicted: Option<Money>,
    /// Sum over all attempts with a recorded cost.
    pub recorded: Option<Money>,
    /// Sum of recorded minus predicted, over attempts with both.
    pub delta: Option<Money>,
    /// The same with every difference counted as positive.
    pub delta_abs: Option<Money>,
    /// Share of the billable attempts with both; `None` without billable attempts.
    pub coverage: Option<Coverage>,
    /// Every status and how many attempts it has.
    pub statuses: [(Status, u64); 8],
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
}

/// An endpoint's account in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    attempts: u64,
    predicted: Option<Money>,
    recorded: Option<Money>,
    delta: Option<Money>,
    delta_abs: Option<Money>,
    both: u64,
    billable: u64,
    statuses: BTreeMap<Status, u64>,
    worst: Vec<(Key, Worst)>,
}

impl Account {
    /// Takes up an attempt of the measured phase, which may be charged as `charge` says.
    pub fn take(
        &mut self,
        record: &Record,
        charge: Charge,
        judged: &Judged,
    ) -> Result<(), MoneyError> {
        let recorded = judged.recorded.as_ref().map(|r| r.amount);
        self.attempts += 1;
        *self.statuses.entry(judged.status).or_default() += 1;
        add(&mut self.predicted, judged.predicted)?;
        add(&mut self.recorded, recorded)?;
        add(&mut self.delta, judged.delta)?;
        add(&mut self.delta_abs, judged.delta.map(Money::abs))?;
        if charge != Charge::Free {
            self.billable += 1;
            self.both += u64::from(judged.delta.is_some());
        }
        if let (Some(predicted), Some(recorded), Some(delta)) =
            (judged.predicted, recorded, judged.delta)
            && judged.status == Status::Mismatched
        {
            let worst = Worst {
                trace_id: record.trace_id.clone(),
                attempt: record.attempt,
                model: record.requested_model.clone(),
                predicted,
                recorded,
                delta,
            };
            self.take_worst([(key(record), worst)]);
        }
        Ok(())
    }

    /// The bill of the endpoint, in `currency`, with what was found on it.
    pub fn bill(&self, currency: Currency, findings: Vec<Finding>) -> EndpointBill {
        EndpointBill {
            currency,
            attempts: self.attempts,
            predicted: self.predicted,
            recorded: self.recorded,
            delta: self.delta,
            delta_abs: self.delta_abs,
            coverage: (self.billable > 0).then_some(Coverage {
                both: self.both,
                billable: self.billable,
            }),
            statuses: Status::ALL.map(|s| (s, self.statuses.get(&s).copied().unwrap_or(0))),
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

pub(super) fn add(sum: &mut Option<Money>, amount: Option<Money>) -> Result<(), MoneyError> {
    if let Some(amount) = amount {
        *sum = Some(sum.unwrap_or_default().checked_add(amount)?);
    }
    Ok(())
}
