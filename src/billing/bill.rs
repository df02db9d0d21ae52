//! The bill: what the attempts of a run add up to.
//!
//! In: a price table and records, in any order. Out: per endpoint the sums, the coverage, the
//! statuses, the findings and the worst requests. Memory does not grow with the run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::late::Orphans;
use crate::money::{Money, MoneyError};
use crate::record::{Outcome, Phase};

use super::Attempt;
use super::account::Account;
use super::diagnose::features::Features;
use super::diagnose::groups::Groups;
use super::finding::{Code, Findings, Scope, Tally};
use super::ledger::Checks;
use super::policy::Policy;
use super::prices::PriceTable;
use super::reconcile::{Judged, Judgement, is_free_hit, judge, rounding};
use super::words::{Amounts, diagnosed, message};

pub use super::account::{Coverage, EndpointBill, Group, Sums, SurfaceSum, WORST_MAX, Worst};

/// What the gateway was paid, as far as is known, over every phase of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// The sum of the recorded costs; where none is recorded, of the predicted ones.
    pub amount: Money,
    /// Attempts that may have cost something and have neither.
    pub unknown: u64,
}

/// The bill of a run, as a fold over its records.
#[derive(Clone, Debug)]
pub struct Bill<'t> {
    table: &'t PriceTable,
    policy: Policy,
    accounts: BTreeMap<Endpoint, Account>,
    findings: Findings<Amounts>,
    groups: Groups<'t>,
    /// Streams whose cost is known, and not by themselves. That is a finding where other answers of the
    /// endpoint have theirs, in streams or in whole bodies. Where none ever has, that is how the gateway works,
    /// and nothing is missing: a look-up or a ledger says what they cost.
    silent: Findings<Amounts>,
    /// Where answers say what they cost.
    says_costs: BTreeSet<Endpoint>,
    checks: Checks,
    spent: Spent,
}

impl<'t> Bill<'t> {
    /// An empty bill at the prices of `table` and by `policy`.
    pub fn new(table: &'t PriceTable, policy: Policy) -> Self {
        Self {
            table,
            policy,
            accounts: BTreeMap::new(),
            findings: Findings::default(),
            groups: Groups::default(),
            silent: Findings::default(),
            says_costs: BTreeSet::new(),
            checks: Checks::default(),
            spent: Spent::default(),
        }
    }

    /// A cost that a look-up does not know so long after an attempt's end is late. It goes before the
    /// attempts.
    pub fn late_after(&mut self, late_after: Option<Duration>) {
        self.checks.late_after(late_after);
    }

    /// Takes up rows of a ledger that join no attempt, at the endpoint that they name or may be of; `of`
    /// is how many rows are in the run's scope.
    pub fn orphans(&mut self, endpoint: Endpoint, orphans: &Orphans, of: u64) {
        self.checks.orphans(endpoint, orphans, of);
    }

    /// Judges an attempt and takes it up. Attempts outside the measured phase count in what was spent
    /// only. The error is a sum beyond what an amount can be; the bill is then of no use.
    pub fn add(&mut self, attempt: &Attempt<'_>) -> Result<Judged, MoneyError> {
        let Judgement {
            judged,
            observations,
            served,
            fits,
            row,
            counted_reasoning,
        } = judge(self.table, self.policy, attempt)?;
        let record = attempt.record;
        let recorded = judged.recorded.as_ref().map(|r| r.amount);
        match recorded.or(judged.predicted) {
            Some(amount) => self.spent.amount = self.spent.amount.checked_add(amount)?,
            None => self.spent.unknown += 1,
        }
        if record.phase != Phase::Measured {
            return Ok(judged);
        }

        self.accounts.entry(record.endpoint).or_default().take(
            attempt,
            self.policy.charge(record),
            &judged,
            rounding(self.table, record),
        )?;
        let scope = Scope::of(record);
        self.findings.saw(&scope);
        self.checks
            .add(attempt, self.policy.charge(record), &judged)?;
        let sums = Amounts::of(&judged, served);
        for (code, words) in observations {
            self.findings.found(code, record, &sums, words)?;
        }
        if judged.delta.is_some() {
            let is_hit = is_free_hit(self.policy, record);
            let features = Features::of(attempt, is_hit, counted_reasoning);
            self.groups.saw(&scope, &features);
        }
        if let Some(fits) = fits {
            let explained = match row {
                Some(amount) => sums.with_recorded(amount)?,
                None => sums.clone(),
            };
            self.groups.found(record, &fits, &explained)?;
        }
        // An answer that broke off did not come to the place of its cost.
        let whole_stream = record.streaming && record.outcome == Outcome::Ok;
        if whole_stream {
            self.silent.saw(&scope);
        }
        // What is no amount was said, and is found by itself.
        let is_unreadable = judged.findings.contains(&Code::CostUnreadable);
        if judged.recorded.as_ref().is_some_and(|r| is_own(&r.surface)) {
            self.says_costs.insert(record.endpoint);
        } else if whole_stream
            && !is_unreadable
            && judged.recorded.is_some()
            && judged.predicted != Some(Money::ZERO)
        {
            self.silent
                .found(Code::StreamCostMissing, record, &sums, None)?;
        }
        Ok(judged)
    }

    /// The bill of `endpoint`; `None` if nothing was measured there.
    pub fn endpoint(&self, endpoint: Endpoint) -> Option<EndpointBill> {
        let account = self.accounts.get(&endpoint)?;
        let words = |code, scope: &Scope, tally: &Tally<Amounts>, of| {
            message(self.table, code, scope, tally, of)
        };
        let mut findings = self.findings.at(endpoint, words);
        for (scope, features, named) in self.groups.named() {
            if scope.endpoint == endpoint {
                let of = self.findings.of(scope);
                let named = named.iter();
                findings.extend(named.map(|n| diagnosed(self.table, scope, features, n, of)));
            }
        }
        if self.says_costs.contains(&endpoint) {
            findings.extend(self.silent.at(endpoint, words));
        }
        findings.extend(self.checks.at(endpoint, self.table.currency()));
        Some(account.bill(endpoint, self.table.currency(), findings))
    }

    /// What was spent over all phases, warm-up and preflight included.
    pub const fn spent_total(&self) -> Spent {
        self.spent
    }
}

/// Whether a cost stood in the answer itself.
fn is_own(surface: &str) -> bool {
    let kinds = ["header:", "body:", "stream:"];
    kinds.iter().any(|kind| surface.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::super::testing::{money, record, usage};
    use super::*;
    use crate::billing::finding::Finding;
    use crate::billing::reconcile::Status;
    use crate::record::Outcome;
    use crate::record::Record;
    use crate::usage::Usage;
    use proptest::prelude::*;

    fn table() -> PriceTable {
        PriceTable::builtin("builtin:keeprouter").expect("built in")
    }

    /// Session `n`: 1,000 in and 500 out of magistral-small-latest, recorded in `digits` (empty for
    /// none): $0.00125.
    fn attempt(n: u64, digits: &str) -> Record {
        let costs =
            (!digits.is_empty()).then(|| ("stream:/usage/cost".to_owned(), digits.to_owned()));
        Record {
            trace_id: format!("{n:032x}"),
            session: n,
            costs: costs.into_iter().collect(),
            ..record("magistral-small-latest", usage(1000, 500))
        }
    }

    fn bill<'t>(table: &'t PriceTable, records: &[Record]) -> Bill<'t> {
        let mut bill = Bill::new(table, Policy::default());
        for record in records {
            bill.add(&Attempt::seen(record)).expect("small");
        }
        bill
    }

    fn openai(bill: &Bill<'_>) -> EndpointBill {
        bill.endpoint(Endpoint::OpenAi).expect("measured")
    }

    fn lines(bill: &EndpointBill) -> Vec<String> {
        let line = |f: &Finding| format!("{} {}", f.code.name(), f.message);
        bill.findings.iter().map(line).collect()
    }

    #[test]
    fn a_bill_that_is_right_has_nothing_to_say() {
        let table = table();
        let bill = openai(&bill(
            &table,
            &[attempt(0, "0.00125"), attempt(1, "1.25e-3")],
        ));
        assert_eq!(bill.sums.predicted, Some(money("0.0025")));
        assert_eq!(bill.sums.recorded, Some(money("0.0025")));
        assert_eq!(
            (bill.sums.delta, bill.sums.delta_abs),
            (Some(Money::ZERO), Some(Money::ZERO))
        );
        assert!(bill.sums.coverage.expect("billable").is_full());
        assert_eq!(bill.sums.statuses[0], (Status::Matched, 2));
        assert!(bill.findings.is_empty() && bill.worst.is_empty());
    }

    #[test]
    fn over_and_undercharges_do_not_cancel() {
        let table = table();
        let records = [
            attempt(0, "0.00225"),
            attempt(1, "0.00025"),
            attempt(2, "0.00125"),
            attempt(3, ""),
        ];
        let bill = openai(&bill(&table, &records));
        assert_eq!(bill.sums.predicted, Some(money("0.005")));
        assert_eq!(bill.sums.recorded, Some(money("0.00375")));
        assert_eq!(bill.sums.delta, Some(Money::ZERO));
        assert_eq!(bill.sums.delta_abs, Some(money("0.002")));
        assert_eq!(
            bill.sums.coverage,
            Some(Coverage {
                both: 3,
                billable: 4
            })
        );
        assert_eq!(
            lines(&bill),
            [
                "COST_MISMATCH recorded $0.0025 for $0.0025 predicted, $0.001 too much on 1 and $0.001 too little on 1, on 2 of 4 attempts",
                "STREAM_COST_MISSING no cost recorded in the stream on 1 of 4 attempts, for which $0.00125 is predicted",
            ]
        );
        assert_eq!(bill.findings[0].severity, Severity::Wrong);
        assert_eq!(
            bill.findings[0].examples,
            [format!("{:032x}", 0), format!("{:032x}", 1)]
        );
        assert_eq!(bill.findings[1].severity, Severity::Unknown);
        let worst: Vec<_> = bill.worst.iter().map(|w| w.delta).collect();
        assert_eq!(worst, [money("0.001"), money("-0.001")]);
    }

    #[test]
    fn every_finding_is_put_into_words() {
        let table = table();
        let surface = |s: &str, d: &str| (s.to_owned(), d.to_owned());
        let records = [
            attempt(0, "0.0012500000000000002"),
            Record {
                outcome: Outcome::RateLimited,
                last_usage: Usage::default(),
                ..attempt(1, "0.1")
            },
            Record {
                last_usage: Usage::default(),
                ..attempt(2, "0.2")
            },
            Record {
                outcome: Outcome::Cut,
                last_usage: Usage::default(),
                ..attempt(3, "")
            },
            Record {
                served_model: Some("magistral-medium-latest".to_owned()),
                ..attempt(4, "0.00125")
            },
            Record {
                costs: vec![surface("stream:/a", "0.00125"), surface("stream:/b", "7")],
                ..attempt(5, "")
            },
            Record {
                last_usage: Usage {
                    total: Some(8),
                    ..usage(1000, 500)
                },
                ..attempt(6, "0.00125")
            },
            attempt(7, "1-2"),
            Record {
                requested_model: "codestral-late".to_owned(),
                ..attempt(8, "0.3")
            },
            Record {
                last_usage: Usage {
                    cache_read: Some(1),
                    ..usage(1000, 500)
                },
                ..attempt(9, "0.4")
            },
        ];
        let bill = openai(&bill(&table, &records));
        insta::assert_snapshot!(lines(&bill).join("\n"), @r"
        ERROR_BILLED recorded $0.1 for 1 of 9 attempts that were refused or never sent
        USAGE_INCONSISTENT the usage contradicts itself on 1 of 9 attempts: a total of 8 tokens for 1000 in and 500 out
        SURFACE_DISAGREE `stream:/a` says 0.00125 and `stream:/b` says 7; the first stands. So on 1 of 9 attempts
        STREAM_COST_MISSING no cost recorded in the stream on 1 of 9 attempts, for which $0.00125 is predicted
        COST_UNREADABLE a cost that is no amount on 1 of 9 attempts: `stream:/usage/cost` says `1-2`
        USAGE_MISSING no usage on 2 of 9 attempts, for which $0.2 is recorded
        UNPRICED `codestral-late` has no price in builtin:keeprouter (did you mean `codestral-latest`?): 1 of 1 attempts, for which $0.3 is recorded
        UNPRICED the price of tokens read from a cache is unknown; fill in the column `cache_read` on line 2 of builtin:keeprouter: 1 of 9 attempts, for which $0.4 is recorded
        SERVED_MODEL_DIFFERS `magistral-small-latest` was answered by `magistral-medium-latest` on 1 of 9 attempts: $0.00125 at the price of the model asked for, $0.0045 at that of the one that answered
        FLOAT_NOISE the recorded digits end in a float's noise on 1 of 9 attempts: less than $0.000000000001 each
        ");
        assert_eq!(
            bill.sums.statuses.iter().map(|(_, n)| n).sum::<u64>(),
            bill.sums.attempts
        );
        assert_eq!(
            bill.sums.coverage,
            Some(Coverage {
                both: 4,
                billable: 9
            })
        );
    }

    #[test]
    fn sums_without_numbers_are_unknown_not_zero() {
        let table = table();
        let cut = Record {
            outcome: Outcome::Cut,
            last_usage: Usage::default(),
            ..attempt(0, "")
        };
        let bill = bill(&table, &[cut]);
        let here = openai(&bill);
        assert_eq!(
            (here.sums.predicted, here.sums.recorded, here.sums.delta),
            (None, None, None)
        );
        assert_eq!(
            bill.spent_total(),
            Spent {
                amount: Money::ZERO,
                unknown: 1
            }
        );
        assert!(bill.endpoint(Endpoint::Anthropic).is_none());
        let dropped = Record {
            outcome: Outcome::Dropped,
            ..attempt(1, "")
        };
        let only_dropped = openai(&self::bill(&table, &[dropped]));
        assert_eq!(only_dropped.sums.coverage, None, "nothing was billable");
    }

    #[test]
    fn other_phases_are_spent_and_not_billed() {
        let table = table();
        let in_phase = |phase, digits| Record {
            phase,
            ..attempt(0, digits)
        };
        let bill = bill(
            &table,
            &[
                in_phase(Phase::Preflight, "0.5"),
                in_phase(Phase::Warmup, ""),
                in_phase(Phase::Measured, "0.00125"),
            ],
        );
        assert_eq!(openai(&bill).sums.attempts, 1);
        assert_eq!(openai(&bill).sums.recorded, Some(money("0.00125")));
        assert_eq!(
            bill.spent_total(),
            Spent {
                amount: money("0.5025"),
                unknown: 0
            }
        );
    }

    #[test]
    fn a_sum_beyond_an_amount_is_an_error() {
        let table = table();
        let mut bill = Bill::new(&table, Policy::default());
        bill.add(&Attempt::seen(&attempt(0, "1e10"))).expect("fits");
        assert_eq!(
            bill.add(&Attempt::seen(&attempt(1, "1e10"))),
            Err(MoneyError::Overflow)
        );
    }

    proptest! {
        /// The order of the attempts does not matter, whatever is wrong with them.
        #[test]
        fn a_bill_is_the_same_in_any_order(
            kinds in proptest::collection::vec(0_u8..12, 0..40),
            seed in 0_usize..1_000,
        ) {
            let table = table();
            let mut records: Vec<Record> = (0_u64..)
                .zip(&kinds)
                .map(|(n, kind)| match kind {
                    0 => attempt(n, ""),
                    1 => attempt(n, "0.00125"),
                    2 => attempt(n, "0.0013"),
                    3 => Record { outcome: Outcome::HttpError, ..attempt(n, "0.1") },
                    4 => Record { endpoint: Endpoint::Anthropic, ..attempt(n, "0.001") },
                    5 => Record { phase: Phase::Warmup, ..attempt(n, "0.00125") },
                    6 => Record { last_usage: Usage::default(), streaming: false, ..attempt(n, "") },
                    7 => attempt(n, "0.00175"),
                    8 => Record { last_usage: usage(700 + n, 300), ..attempt(n, "0.0009") },
                    9 => Record { last_usage: usage(998, 500), ..attempt(n, "0.0012") },
                    10 => attempt(n, "0.0013125"),
                    _ => Record { requested_model: format!("m{}", n % 3), ..attempt(n, "5e-7") },
                })
                .collect();
            let one = bill(&table, &records);
            let count = records.len().max(1);
            records.rotate_left(seed % count);
            records.sort_by_key(|record| (record.session * 7_919 + seed as u64) % 31);
            let other = bill(&table, &records);
            for endpoint in Endpoint::ALL {
                prop_assert_eq!(one.endpoint(endpoint), other.endpoint(endpoint));
                if let Some(bill) = one.endpoint(endpoint) {
                    prop_assert_eq!(bill.sums.statuses.iter().map(|(_, n)| n).sum::<u64>(), bill.sums.attempts);
                }
            }
            prop_assert_eq!(one.spent_total(), other.spent_total());
        }
    }
}
