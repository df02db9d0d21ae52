//! The hard limit on what a run may spend.
//!
//! Each request reserves its worst case before it is sent and settles when it has ended, so that a
//! thousand in flight cannot overshoot together. Spent and reserved never exceed the limit as long
//! as no request costs more than the worst case that it reserved. Shared between threads by
//! cloning; the lock is taken twice a request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::money::Money;

/// A limit, and what has been spent and reserved of it. Clones share one account.
#[derive(Clone, Debug)]
pub struct Budget {
    limit: Money,
    account: Arc<Mutex<Account>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    spent: Money,
    reserved: Money,
}

/// The worst case of one request, held until it is settled. Dropped unsettled (a cancelled task),
/// it counts as spent: the request may have been billed.
#[derive(Debug)]
#[must_use = "dropping a reservation spends its worst case"]
pub struct Reservation {
    worst: Money,
    account: Arc<Mutex<Account>>,
    settled: bool,
}

/// There is not enough left for the worst case of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the budget of {limit} does not allow another {worst}: {spent} spent, {reserved} reserved")]
pub struct Exhausted {
    /// The limit.
    pub limit: Money,
    /// What was asked for.
    pub worst: Money,
    /// What had been spent.
    pub spent: Money,
    /// What was reserved.
    pub reserved: Money,
}

impl Budget {
    /// Nothing spent yet, of `limit`.
    pub fn new(limit: Money) -> Self {
        Self {
            limit,
            account: Arc::default(),
        }
    }

    /// The limit.
    pub const fn limit(&self) -> Money {
        self.limit
    }

    /// Sets `worst` aside, if that much is left. Less than nothing counts as nothing.
    pub fn reserve(&self, worst: Money) -> Result<Reservation, Exhausted> {
        let worst = worst.max(Money::ZERO);
        let mut account = lock(&self.account);
        let fits = account
            .spent
            .checked_add(account.reserved)
            .and_then(|taken| taken.checked_add(worst))
            .is_ok_and(|taken| taken <= self.limit);
        if !fits {
            return Err(Exhausted {
                limit: self.limit,
                worst,
                spent: account.spent,
                reserved: account.reserved,
            });
        }
        account.reserved = add(account.reserved, worst);
        Ok(Reservation {
            worst,
            account: Arc::clone(&self.account),
            settled: false,
        })
    }

    /// What has been settled.
    pub fn spent(&self) -> Money {
        lock(&self.account).spent
    }

    /// What is set aside for requests that have not ended.
    pub fn reserved(&self) -> Money {
        lock(&self.account).reserved
    }
}

impl Reservation {
    /// The amount that is set aside.
    pub const fn worst(&self) -> Money {
        self.worst
    }

    /// Ends the reservation: `actual` is spent, or the worst case where that is unknown. A credit
    /// does not refill the budget.
    pub fn settle(mut self, actual: Option<Money>) {
        self.close(actual.unwrap_or(self.worst));
    }

    fn close(&mut self, actual: Money) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let mut account = lock(&self.account);
        account.reserved = account
            .reserved
            .checked_sub(self.worst)
            .expect("what is settled was reserved");
        account.spent = add(account.spent, actual.max(Money::ZERO));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.close(self.worst);
    }
}

/// The sum; beyond the largest amount, that amount, which no budget can exceed.
fn add(a: Money, b: Money) -> Money {
    a.checked_add(b).unwrap_or(Money::MAX)
}

/// Amounts are copied in whole, so an account is sound even after a panic elsewhere.
fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str) -> Money {
        text.parse().expect(text)
    }

    #[test]
    fn a_reservation_ends_as_what_was_spent() {
        let budget = Budget::new(money("1"));
        let a = budget.reserve(money("0.6")).expect("fits");
        let b = budget.reserve(money("0.4")).expect("fits exactly");
        let exhausted = budget.reserve(money("0.1")).expect_err("nothing is left");
        assert_eq!(exhausted.reserved, money("1"));
        a.settle(Some(money("0.2")));
        assert_eq!(
            (budget.spent(), budget.reserved()),
            (money("0.2"), money("0.4"))
        );
        b.settle(None);
        assert_eq!(
            (budget.spent(), budget.reserved()),
            (money("0.6"), Money::ZERO)
        );
    }

    #[test]
    fn a_dropped_reservation_counts_as_spent() {
        let budget = Budget::new(money("1"));
        drop(budget.reserve(money("0.3")).expect("fits"));
        assert_eq!(
            (budget.spent(), budget.reserved()),
            (money("0.3"), Money::ZERO)
        );
    }

    #[test]
    fn neither_credits_nor_nonsense_refill_it() {
        let budget = Budget::new(money("1"));
        budget
            .reserve(money("1"))
            .expect("fits")
            .settle(Some(money("-5")));
        assert_eq!(budget.spent(), Money::ZERO);
        budget.reserve(money("-5")).expect("nothing").settle(None);
        assert_eq!(budget.spent(), Money::ZERO);
        budget
            .reserve(money("1"))
            .expect("fits")
            .settle(Some(Money::MAX));
        drop(budget.reserve(Money::ZERO));
        assert_eq!(budget.spent(), Money::MAX);
        assert!(
            budget.reserve(Money::ZERO).is_err(),
            "overspent: not even a free request"
        );
    }

    #[test]
    fn threads_together_never_pass_the_limit() {
        let budget = Budget::new(money("1"));
        let cent = money("0.01");
        let refused: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|worker| {
                    let budget = budget.clone();
                    scope.spawn(move || {
                        let mut refused = 0;
                        for i in 0..200 {
                            match budget.reserve(cent) {
                                Err(_) => refused += 1,
                                Ok(held) => {
                                    let account = *lock(&budget.account);
                                    assert!(add(account.spent, account.reserved) <= budget.limit());
                                    match (worker + i) % 3 {
                                        0 => held.settle(Some(money("0.005"))),
                                        1 => held.settle(None),
                                        _ => drop(held),
                                    }
                                }
                            }
                        }
                        refused
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|w| w.join().expect("no panic"))
                .sum()
        });
        assert!(refused > 0);
        assert_eq!(budget.reserved(), Money::ZERO);
        assert!(budget.spent() <= budget.limit());
        assert!(
            budget.spent() > money("0.98"),
            "the limit is used: {}",
            budget.spent()
        );
    }
}
