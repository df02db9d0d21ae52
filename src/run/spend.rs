//! What a run spends, by the price table, and the hard limit on it.
//!
//! Before a request is sent its worst case is set aside: an input token for each byte of its body,
//! since no tokenizer makes more, and the whole output limit. It settles at what its usage comes
//! to, or, where that is not known, at the worst case.

use std::sync::{Arc, Mutex};

use crate::billing::budget::{Budget, Exhausted, Reservation};
use crate::billing::policy::{Charge, Policy};
use crate::billing::predict::{predict, worst_case};
use crate::billing::prices::PriceTable;
use crate::money::Money;
use crate::record::Record;

/// The account of a run.
#[derive(Debug)]
pub struct Spend {
    prices: Arc<PriceTable>,
    policy: Policy,
    budget: Option<Budget>,
    spent: Mutex<Option<Money>>,
}

impl Spend {
    /// Nothing spent yet, by `prices` and `policy`, under `limit` if there is one.
    pub fn new(prices: Arc<PriceTable>, policy: Policy, limit: Option<Money>) -> Self {
        Self {
            prices,
            policy,
            budget: limit.map(Budget::new),
            spent: Mutex::new(None),
        }
    }

    /// Sets the worst case of a request aside, where there is a limit. What has no price that day
    /// never fits.
    pub fn reserve(
        &self,
        record: &Record,
        body_bytes: usize,
        date: jiff::civil::Date,
    ) -> Result<Option<Reservation>, Exhausted> {
        let Some(budget) = &self.budget else {
            return Ok(None);
        };
        let tier = record.requested_tier.as_deref();
        let model = &record.requested_model;
        // A gateway may serve, and bill, another tier than the one that was asked for.
        let tariffs = self.prices.tariffs(model, date);
        let worst = self
            .prices
            .tariff(model, tier, date)
            .and(record.output_limit)
            .and_then(|output| worst_case(&tariffs, body_bytes as u64, output).ok()?);
        budget.reserve(worst.unwrap_or(Money::MAX)).map(Some)
    }

    /// The request of `record` is over.
    pub fn settle(
        &self,
        reservation: Option<Reservation>,
        record: &Record,
        date: jiff::civil::Date,
    ) {
        let tier = record.requested_tier.as_deref();
        let tariff = self.prices.tariff(&record.requested_model, tier, date);
        let actual = tariff
            .and_then(|tariff| predict(&tariff, &record.final_usage(), record.endpoint).ok())
            .map(|prediction| prediction.total);
        // What was refused or never sent costs nothing; of anything else without a usage we cannot
        // know, and the worst case stays spent.
        let actual = actual.or((self.policy.charge(record) == Charge::Free).then_some(Money::ZERO));
        if let Some(reservation) = reservation {
            reservation.settle(actual);
        }
        if let Some(actual) = actual {
            let mut spent = self
                .spent
                .lock()
                .expect("no one panics while holding the account");
            *spent = spent
                .unwrap_or(Money::ZERO)
                .checked_add(actual)
                .ok()
                .or(*spent);
        }
    }

    /// What is known to be spent; `None` while nothing is.
    pub fn spent(&self) -> Option<Money> {
        *self
            .spent
            .lock()
            .expect("no one panics while holding the account")
    }
}
