//! What is wrong with what was said after the fact: rows of a ledger that are missing, twice, on
//! another day or of nobody, and costs that were late or never known.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::super::Attempt;
use super::super::account::add;
use super::super::finding::{Code, Finding, Findings, Scope, Sums, Tally};
use super::super::load::SEVERAL;
use super::super::policy::Charge;
use super::super::reconcile::{Judged, Status};
use super::super::recorded::{LEDGER, amount_of};
use crate::endpoint::Endpoint;
use crate::late::{LedgerRow, Lookup, Orphans};
use crate::money::{Currency, Money, MoneyError};
use crate::record::Record;

/// The checks of a run, as a fold over its attempts.
#[derive(Clone, Debug, Default)]
pub(in crate::billing) struct Checks {
    late_after: Option<Duration>,
    findings: Findings<Amounts>,
    /// Rows of nobody, and of how many rows.
    orphans: Vec<(Endpoint, Orphans, u64)>,
}

#[derive(Clone, Debug, Default)]
struct Amounts {
    predicted: Option<Money>,
    /// What the further rows of an attempt bill.
    again: Money,
}

impl Sums for Amounts {
    fn merge(&mut self, other: &Self) -> Result<(), MoneyError> {
        add(&mut self.predicted, other.predicted)?;
        self.again = self.again.checked_add(other.again)?;
        Ok(())
    }
}

impl Checks {
    /// A cost that is not known so long after an attempt's end is late.
    pub fn late_after(&mut self, late_after: Option<Duration>) {
        self.late_after = late_after;
    }

    /// Takes up an attempt that may be charged as `charge` says.
    pub fn add(
        &mut self,
        attempt: &Attempt<'_>,
        charge: Charge,
        judged: &Judged,
    ) -> Result<(), MoneyError> {
        let record = attempt.record;
        self.findings.saw(&Scope::of(record));
        let mut sums = Amounts {
            predicted: judged.predicted,
            again: Money::ZERO,
        };
        let mut seen: Vec<(Code, Option<String>)> = Vec::new();
        let expected = judged.predicted.is_some_and(|cost| !cost.is_zero());
        let without_row = attempt.ledger.is_some_and(<[_]>::is_empty);
        let without_row = without_row && charge != Charge::Free && expected;
        // A gateway that answers a look-up and does not know the cost has not written its row yet.
        let is_late_too = attempt.lookups.iter().any(is_unknown);
        if judged.status == Status::Pending || (without_row && is_late_too) {
            seen.push((Code::CostPending, attempt.lookups.iter().find_map(pending)));
        }
        let late = |lookup: &Lookup| is_late(lookup, self.late_after);
        if charge != Charge::Free
            && let Some(words) = attempt.lookups.iter().find_map(late)
        {
            seen.push((Code::Late, Some(words)));
        }
        if let Some(rows) = attempt.ledger {
            if without_row && !is_late_too {
                seen.push((Code::LedgerMissing, None));
            }
            // Each attempt of a gateway's own may have its row and be due: then they add up.
            let adds_up = judged.status == Status::Matched
                && judged
                    .recorded
                    .as_ref()
                    .is_some_and(|r| r.surface == LEDGER);
            if let Some(again) = billed_again(rows)?.filter(|_| !adds_up) {
                sums.again = again;
                let lines: Vec<String> = rows.iter().map(|row| row.line.to_string()).collect();
                seen.push((Code::LedgerDuplicate, Some(lines.join(", "))));
            }
            let other_day = |row: &LedgerRow| on_another_day(record, row);
            if let Some(words) = rows.iter().find_map(other_day) {
                seen.push((Code::DayBoundary, Some(words)));
            }
        }
        for (code, words) in seen {
            self.findings.found(code, record, &sums, words)?;
        }
        Ok(())
    }

    /// Takes up rows that join no attempt, at the endpoint that they name, or at one of the run's if they
    /// name none; `of` is how many rows are in the run's scope.
    pub fn orphans(&mut self, endpoint: Endpoint, orphans: &Orphans, of: u64) {
        self.orphans.push((endpoint, orphans.clone(), of));
    }

    /// The findings at `endpoint`.
    pub fn at(&self, endpoint: Endpoint, currency: Currency) -> Vec<Finding> {
        let words =
            |code, _: &Scope, tally: &Tally<Amounts>, of| self.message(code, tally, of, currency);
        let mut findings = self.findings.at(endpoint, words);
        let here = self.orphans.iter().filter(|(at, _, _)| *at == endpoint);
        findings.extend(here.map(|(_, orphans, of)| orphaned(endpoint, orphans, *of, currency)));
        findings
    }

    fn message(&self, code: Code, tally: &Tally<Amounts>, of: u64, currency: Currency) -> String {
        let show = |amount: Money| amount.display(currency).to_string();
        let on = format!("{} of {of} attempts", tally.count);
        let words = tally.words();
        match code {
            Code::LedgerMissing => format!(
                "no row in the ledger for {on}, for which {} is predicted",
                show(tally.sums.predicted.unwrap_or_default())
            ),
            Code::LedgerDuplicate => format!(
                "billed more than once in the ledger: {on}, {} too much; first on its lines {words}",
                show(tally.sums.again)
            ),
            Code::DayBoundary => {
                format!("billed on another day (UTC) than that of the request: {on}; {words}")
            }
            Code::Late => {
                let limit = self.late_after.unwrap_or_default();
                let limit = humantime::format_duration(limit);
                format!("the cost was not known {limit} after the end of {on}; the first {words}")
            }
            Code::CostPending => {
                format!("the cost of {on} was not known when the asking for it ended: {words}")
            }
            other => unreachable!("{other} is nothing that is said after the fact"),
        }
    }
}

/// Why the cost is not known yet.
fn pending(lookup: &Lookup) -> Option<String> {
    if lookup.digits.is_some() {
        return None;
    }
    let surface = &lookup.surface;
    Some(match (&lookup.error, lookup.unknown_ns) {
        (Some(error), _) => format!("`{surface}`: {error}"),
        (None, Some(ns)) => format!("`{surface}` did not know it {} after its end", time(ns)),
        (None, None) => format!("`{surface}` was not asked"),
    })
}

/// Whether the gateway answered, and did not know the cost to the last.
const fn is_unknown(lookup: &Lookup) -> bool {
    lookup.digits.is_none() && lookup.error.is_none() && lookup.unknown_ns.is_some()
}

/// Words for a cost that was known too late, if it was.
fn is_late(lookup: &Lookup, late_after: Option<Duration>) -> Option<String> {
    let unknown = lookup.unknown_ns?;
    if Duration::from_nanos(unknown) < late_after? {
        return None;
    }
    Some(match lookup.known_ns {
        Some(known) => format!("was known after {}", time(known)),
        None => format!("was not known after {}", time(unknown)),
    })
}

/// A length of time, to the millisecond.
fn time(ns: u64) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(ns / 1_000_000))
}

/// What the rows of one attempt bill beyond the dearest of them; `None` if no more than one bills
/// anything.
pub(in crate::billing) fn billed_again(rows: &[LedgerRow]) -> Result<Option<Money>, MoneyError> {
    let (mut sum, mut most, mut billed) = (Money::ZERO, Money::ZERO, 0);
    for cost in rows
        .iter()
        .filter_map(|row| amount_of(row.cost.as_deref()?))
    {
        sum = sum.checked_add(cost)?;
        most = most.max(cost);
        billed += u32::from(!cost.is_zero());
    }
    Ok((billed > 1).then_some(sum.checked_sub(most)?))
}

/// Words for a row that bills a day on which `record` was neither sent nor ended.
fn on_another_day(record: &Record, row: &LedgerRow) -> Option<String> {
    let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    let sent: Timestamp = record.sent_utc.as_deref()?.parse().ok()?;
    let took = record.sent.zip(record.ended);
    let took = took.map_or(0, |(sent, ended)| ended.nanos_since(sent));
    let took = SignedDuration::from_nanos(i64::try_from(took).unwrap_or(i64::MAX));
    let ended = sent.checked_add(took).unwrap_or(sent);
    let billed: Timestamp = row.started_utc.as_deref()?.parse().ok()?;
    if [day(sent), day(ended)].contains(&day(billed)) {
        return None;
    }
    let (line, billed, sent) = (row.line, day(billed), day(sent));
    Some(format!(
        "line {line} bills on {billed} what was sent on {sent}"
    ))
}

/// The finding that a ledger was asked for and none was held against the `attempts` at `endpoint`.
/// `source` is where it should have come from.
pub fn unread(endpoint: Endpoint, attempts: u64, source: &str, error: &str) -> Finding {
    Finding {
        code: Code::LedgerUnread,
        severity: Code::LedgerUnread.severity(),
        endpoint,
        streaming: false,
        model: SEVERAL.to_owned(),
        count: attempts,
        of: attempts,
        message: format!(
            "the ledger {source} could not be read, so that {attempts} attempts were not held against it: {error}"
        ),
        causes: Vec::new(),
        examples: Vec::new(),
    }
}

/// The finding of rows that join no attempt.
fn orphaned(endpoint: Endpoint, orphans: &Orphans, of: u64, currency: Currency) -> Finding {
    let billed = match orphans.cost {
        Some(cost) => format!("{} billed", cost.display(currency)),
        None => "no cost that can be read".to_owned(),
    };
    let without = match orphans.without_cost {
        0 => String::new(),
        n if n == orphans.count => String::new(),
        n => format!(", and {n} without a cost that can be read"),
    };
    let whose = match orphans.endpoint {
        Some(_) => "",
        None => ", of no endpoint that the row names,",
    };
    let ids: Vec<String> = orphans.ids.iter().map(|id| format!("`{id}`")).collect();
    let count = orphans.count;
    Finding {
        code: Code::LedgerOrphan,
        severity: Code::LedgerOrphan.severity(),
        endpoint,
        streaming: false,
        model: orphans.model.clone().unwrap_or_default(),
        count,
        of: of.max(count),
        message: format!(
            "{count} of {of} rows of the ledger{whose} join no attempt: {billed}{without}; the first: {}",
            ids.join(", ")
        ),
        causes: Vec::new(),
        examples: orphans.ids.clone(),
    }
}
