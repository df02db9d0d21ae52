//! What a run spends, by the price table, and the hard limit on it.
//!
//! Before a request is sent its worst case is set aside: an input token for each byte of its body,
//! since no tokenizer makes more, and the whole output limit. It settles at what its usage comes
//! to or at what the gateway recorded, whichever is more; or, where its usage is not known, at the
//! worst case. The scenario's policy has no say here: it is the claim under test, and money is spent
//! whatever it says. Only what was never sent, or was refused with a status of 4xx, costs nothing.

use std::sync::{Arc, Mutex};

use crate::billing::Attempt;
use crate::billing::budget::{Budget, Exhausted, Reservation};
use crate::billing::predict::{predict, worst_case};
use crate::billing::prices::PriceTable;
use crate::billing::recorded::evidence;
use crate::money::{Currency, Money};
use crate::record::{Outcome, Record};
use crate::usage::Usage;

/// The account of a run.
#[derive(Debug)]
pub struct Spend {
    prices: Arc<PriceTable>,
    budget: Option<Budget>,
    spent: Mutex<Option<Money>>,
}

impl Spend {
    /// Nothing spent yet by this run, by `prices`. A `budget` is shared with whatever else spends of
    /// it: the other runs of a command.
    pub fn new(prices: Arc<PriceTable>, budget: Option<Budget>) -> Self {
        Self {
            prices,
            budget,
            spent: Mutex::new(None),
        }
    }

    /// The currency of its amounts.
    pub fn currency(&self) -> Currency {
        self.prices.currency()
    }

    /// The hard limit, if there is one.
    pub fn limit(&self) -> Option<Money> {
        self.budget.as_ref().map(Budget::limit)
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
        // Of the tier that was asked for and the one that was served, the dearer.
        let tiers = [&record.requested_tier, &record.served_tier];
        let by_usage = tiers
            .into_iter()
            .filter_map(|tier| {
                let model = &record.requested_model;
                let tariff = self.prices.tariff(model, tier.as_deref(), date)?;
                let p = predict(&tariff, &believable(record), record.endpoint).ok()?;
                Some(p.total.max(p.rounded.unwrap_or(p.total)))
            })
            .max();
        // Of what may have been worked on and has no usage we cannot know, and the worst case stays
        // spent.
        let expected = by_usage.or(cannot_cost(record).then_some(Money::ZERO));
        let recorded = largest_recorded(record);
        let actual = expected.map(|cost| recorded.map_or(cost, |recorded| recorded.max(cost)));
        if let Some(reservation) = reservation {
            let worst = reservation.worst();
            reservation.settle(actual.or(recorded.map(|recorded| recorded.max(worst))));
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

    /// What is known to be spent by this run; `None` while nothing is.
    pub fn spent(&self) -> Option<Money> {
        *self
            .spent
            .lock()
            .expect("no one panics while holding the account")
    }
}

/// The usage of an answer, without an output of zero where it said something: such a count is not
/// known, whatever a gateway says.
fn believable(record: &Record) -> Usage {
    let mut usage = record.final_usage();
    usage.output = usage
        .output
        .filter(|&output| output > 0 || record.counts.characters == 0);
    usage
}

/// Whether no model can have worked for the attempt: it was never sent, never connected, or refused
/// with a status that blames the request. A 5xx can come after the work.
fn cannot_cost(record: &Record) -> bool {
    let never_sent = record.sent.is_none() && record.sent_utc.is_none();
    match record.outcome {
        Outcome::Dropped
        | Outcome::ConnectFailed
        | Outcome::TimeoutConnect
        | Outcome::RateLimited => true,
        Outcome::HttpError => record.status.is_some_and(|s| (400..500).contains(&s)),
        _ => never_sent,
    }
}

/// The most that any surface of the attempt says that it cost.
fn largest_recorded(record: &Record) -> Option<Money> {
    let evidence = evidence(&Attempt::seen(record));
    let recorded = [evidence.stands, evidence.disagrees];
    recorded
        .into_iter()
        .flatten()
        .map(|recorded| recorded.amount)
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;
    use crate::record::{Class, Phase};

    fn money(text: &str) -> Money {
        text.parse().expect(text)
    }

    /// An attempt of 100 bytes and at most 10 tokens: at 1 USD a token, 110 USD at worst.
    fn attempt(outcome: Outcome, output: Option<u64>, recorded: Option<&str>) -> Record {
        let mut record = Record::new("t".into(), Phase::Measured, Endpoint::OpenAi, Class::Chat);
        record.requested_model = "m".to_owned();
        record.output_limit = Some(10);
        record.sent_utc = Some("2026-08-01T00:00:00Z".to_owned());
        record.outcome = outcome;
        record.last_usage = Usage {
            input: output.map(|_| 20),
            output,
            ..Usage::default()
        };
        let cost = |digits: &str| ("body:/usage/cost".to_owned(), digits.to_owned());
        record.costs = recorded.map(cost).into_iter().collect();
        record
    }

    fn refused(status: u16, recorded: Option<&str>) -> Record {
        let mut record = attempt(Outcome::HttpError, None, recorded);
        record.status = Some(status);
        record
    }

    /// An answer with text in it.
    fn talkative(output: Option<u64>) -> Record {
        let mut record = attempt(Outcome::Ok, output, None);
        record.counts.characters = 12;
        record
    }

    /// An answer that says it came from the gateway's own cache.
    fn from_cache(output: Option<u64>) -> Record {
        let mut record = attempt(Outcome::Ok, output, None);
        record.gateway_cache = Some("x-litellm-cache-hit: true".to_owned());
        record
    }

    #[test]
    fn an_attempt_settles_at_the_most_that_it_may_have_cost() {
        let table = "model,currency,per_tokens,input,output\nm,USD,1,1,1\n";
        let prices = Arc::new(PriceTable::read("t.csv", table).expect("valid"));
        let today = "2026-08-01".parse().expect("a date");
        for (record, expected) in vec![
            (attempt(Outcome::Ok, Some(5), Some("25")), "25"),
            (attempt(Outcome::Ok, Some(5), Some("30")), "30"),
            (attempt(Outcome::Ok, Some(5), Some("3")), "25"),
            (attempt(Outcome::Ok, Some(5), None), "25"),
            (attempt(Outcome::Ok, None, None), "110"),
            (attempt(Outcome::Ok, None, Some("3")), "110"),
            (attempt(Outcome::Ok, None, Some("200")), "200"),
            (attempt(Outcome::Cancelled, Some(5), None), "110"),
            (attempt(Outcome::RateLimited, None, None), "0"),
            (refused(404, None), "0"),
            (refused(404, Some("7")), "7"),
            (refused(503, None), "110"),
            (refused(302, None), "110"),
            (refused(500, Some("7")), "110"),
            (attempt(Outcome::StreamError, None, None), "110"),
            (attempt(Outcome::Cut, None, None), "110"),
            (attempt(Outcome::TimeoutFirstToken, None, None), "110"),
            (attempt(Outcome::ConnectFailed, None, None), "0"),
            (from_cache(Some(5)), "25"),
            (from_cache(None), "110"),
            (attempt(Outcome::Ok, Some(0), None), "20"),
            (talkative(Some(0)), "110"),
            (talkative(Some(5)), "25"),
        ] {
            let budget = Budget::new(money("1000"));
            let spend = Spend::new(prices.clone(), Some(budget.clone()));
            let reservation = spend.reserve(&record, 100, today).expect("it fits");
            assert_eq!(budget.reserved(), money("110"));
            spend.settle(reservation, &record, today);
            assert_eq!(budget.reserved(), Money::ZERO);
            let what = format!("{} {:?} {:?}", record.outcome, record.status, record.costs);
            assert_eq!(budget.spent(), money(expected), "{what}");
        }
    }
}
