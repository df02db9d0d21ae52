//! The findings of a bill in plain words, with sums and direction.

use crate::money::{Money, MoneyError};

use super::account::add;
use super::finding::{Code, Scope, Sums, Tally};
use super::prices::PriceTable;
use super::reconcile::Judged;

/// What a finding on costs sums up.
#[derive(Clone, Debug, Default)]
pub(super) struct Amounts {
    predicted: Option<Money>,
    recorded: Option<Money>,
    /// At the served model's price.
    served: Option<Money>,
    over: Money,
    over_count: u64,
    under: Money,
    under_count: u64,
}

impl Amounts {
    pub fn of(judged: &Judged, served: Option<Money>) -> Self {
        // The difference as it is, noise included: the judged delta leaves that out.
        let recorded = judged.recorded.as_ref().map(|r| r.amount);
        let raw = recorded
            .zip(judged.predicted)
            .and_then(|(r, p)| r.checked_sub(p).ok());
        let delta = raw.unwrap_or_default();
        let nothing = Money::ZERO;
        Self {
            predicted: judged.predicted,
            recorded,
            served,
            over: delta.max(nothing),
            over_count: u64::from(delta > nothing),
            under: delta.min(nothing).abs(),
            under_count: u64::from(delta < nothing),
        }
    }
}

impl Sums for Amounts {
    fn merge(&mut self, other: &Self) -> Result<(), MoneyError> {
        add(&mut self.predicted, other.predicted)?;
        add(&mut self.recorded, other.recorded)?;
        add(&mut self.served, other.served)?;
        self.over = self.over.checked_add(other.over)?;
        self.over_count += other.over_count;
        self.under = self.under.checked_add(other.under)?;
        self.under_count += other.under_count;
        Ok(())
    }
}

/// A finding in plain words, with sums and direction.
pub(super) fn message(
    table: &PriceTable,
    code: Code,
    scope: &Scope,
    tally: &Tally<Amounts>,
    of: u64,
) -> String {
    let sums = &tally.sums;
    let show = |amount: Money| amount.display(table.currency()).to_string();
    let sum = |amount: Option<Money>| show(amount.unwrap_or_default());
    let on = format!("{} of {of} attempts", tally.count);
    let (predicted, recorded) = (sum(sums.predicted), sum(sums.recorded));
    let (over, under) = (show(sums.over), show(sums.under));
    let words = tally.words();
    match code {
        Code::CostMismatch => {
            let off = match (sums.over_count, sums.under_count) {
                (_, 0) => format!("{over} too much"),
                (0, _) => format!("{under} too little"),
                (a, b) => format!("{over} too much on {a} and {under} too little on {b}"),
            };
            format!("recorded {recorded} for {predicted} predicted, {off}, on {on}")
        }
        Code::ErrorBilled => {
            format!("recorded {recorded} for {on} that were refused or never sent")
        }
        Code::CostNotRecorded => {
            format!("no cost recorded on {on}, for which {predicted} is predicted")
        }
        Code::CostUnreadable => format!("a cost that is no amount on {on}: {words}"),
        Code::UsageMissing => match sums.recorded {
            Some(_) => format!("no usage on {on}, for which {recorded} is recorded"),
            None => format!("no usage and no cost on {on}: they may have been charged"),
        },
        Code::Unpriced => match sums.recorded {
            Some(_) => format!("{words}: {on}, for which {recorded} is recorded"),
            None => format!("{words}: {on}"),
        },
        Code::ServedModelDiffers => format!(
            "`{}` was answered by `{words}` on {on}: {predicted} at the price of the model asked for, {} at that of the one that answered",
            scope.model,
            sum(sums.served)
        ),
        Code::SurfaceDisagree => format!("{words}; the first stands. So on {on}"),
        Code::FloatNoise => format!(
            "recorded as predicted but for a float's noise on {on}: {over} too much and {under} too little in all"
        ),
        Code::RoundingDeclared => format!(
            "recorded as predicted after the declared rounding on {on}: {over} too much and {under} too little in all"
        ),
        Code::UsageInconsistent => format!("the usage contradicts itself on {on}: {words}"),
        other => unreachable!("{other} is no finding of a bill"),
    }
}
