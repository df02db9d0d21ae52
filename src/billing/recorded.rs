//! Which recorded cost stands for an attempt.
//!
//! In: an attempt: the cost surfaces of its record, each a place and its digits, its look-ups and its
//! rows in a ledger. Out: the one amount that stands, what contradicts it, and what could not be read.
//!
//! What the answer says stands, else the look-up, else the ledger; all of them are held against each
//! other.
//!
//! A whole body's cost is in the body or in a header, the body first. A stream's cost is in its
//! events: a header left before the stream was priced (`LiteLLM` sends 0 there), so it is evidence
//! only where no event holds a number, and only if it is not zero.
//!
//! Every amount is taken to be in the price table's currency; no surface says another.

use crate::late::LedgerRow;
use crate::money::Money;

use super::Attempt;

/// The surface that a ledger is.
pub const LEDGER: &str = "ledger";

/// Off by less than this, two amounts are the same but for a float's noise: doubles carry 16
/// digits, and a request costs less than a thousand.
pub const FLOAT_NOISE_BELOW: Money = Money::new(1, 12).expect("in range");

/// A cost that a gateway recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The amount, half-even at 28 places.
    pub amount: Money,
    /// Where it stood.
    pub surface: String,
    /// Its digits, as received.
    pub digits: String,
    /// Whether the digits say more than the amount.
    pub beyond_28_places: bool,
}

/// What an attempt's cost surfaces say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The cost that stands.
    pub stands: Option<Recorded>,
    /// The first cost that says something else.
    pub disagrees: Option<Recorded>,
    /// The first surface whose digits are no amount: the surface and the digits.
    pub unreadable: Option<(String, String)>,
}

/// Whether two amounts differ by no more than a float's noise; `false` also where their difference
/// is beyond an amount.
pub fn same_but_for_noise(a: Money, b: Money) -> bool {
    a.checked_sub(b).is_ok_and(|d| d.abs() < FLOAT_NOISE_BELOW)
}

/// Reads what is said of the cost of `attempt`.
pub fn evidence(attempt: &Attempt<'_>) -> Evidence {
    let record = attempt.record;
    let mut unreadable = None;
    let mut read = |surface: &str, digits: &str| {
        let cost = read(surface, digits);
        if cost.is_none() && unreadable.is_none() {
            unreadable = Some((surface.to_owned(), digits.to_owned()));
        }
        cost
    };
    let (mut inside, mut headers) = (Vec::new(), Vec::new());
    for (surface, digits) in &record.costs {
        match read(surface, digits) {
            Some(cost) if surface.starts_with("header:") => headers.push(cost),
            Some(cost) => inside.push(cost),
            None => {}
        }
    }
    // The answer's form decides, not the one asked for: a gateway may answer either with the other.
    let has = |kind: &str| {
        record
            .costs
            .iter()
            .any(|(surface, _)| surface.starts_with(kind))
    };
    let is_stream = has("stream:") || (record.streaming && !has("body:"));
    if is_stream {
        headers.retain(|h| inside.is_empty() && !h.amount.is_zero());
    }
    let mut looked_up = Vec::new();
    for lookup in attempt.lookups {
        if let Some(digits) = &lookup.digits {
            looked_up.extend(read(&lookup.surface, digits));
        }
    }
    let mut rows = Vec::new();
    for row in attempt.ledger.unwrap_or_default() {
        if let Some(digits) = &row.cost {
            rows.extend(read(LEDGER, digits));
        }
    }
    let billed = sum(&rows, attempt.ledger.unwrap_or_default());
    let mut counted = inside.into_iter().chain(headers).chain(looked_up);
    let Some(stands) = counted.next() else {
        return Evidence {
            stands: billed,
            disagrees: None,
            unreadable,
        };
    };
    let differs = |other: &Recorded| !same_but_for_noise(stands.amount, other.amount);
    let disagrees = counted
        .find(differs)
        .or_else(|| billed.filter(differs).filter(|_| rows.iter().all(differs)));
    Evidence {
        stands: Some(stands),
        disagrees,
        unreadable,
    }
}

/// What the rows of one attempt bill together; `None` if any of their costs cannot be read, or there
/// are none.
fn sum(costs: &[Recorded], rows: &[LedgerRow]) -> Option<Recorded> {
    if costs.len() < rows.iter().filter(|row| row.cost.is_some()).count() {
        return None;
    }
    if let [one] = costs {
        return Some(one.clone());
    }
    let mut amount = costs.first()?.amount;
    for cost in &costs[1..] {
        amount = amount.checked_add(cost.amount).ok()?;
    }
    let digits: Vec<&str> = costs.iter().map(|cost| cost.digits.as_str()).collect();
    Some(Recorded {
        amount,
        surface: LEDGER.to_owned(),
        digits: digits.join(" + "),
        beyond_28_places: costs.iter().any(|cost| cost.beyond_28_places),
    })
}

/// The amount that `digits` stand for; `None` if they are no amount.
pub(super) fn amount_of(digits: &str) -> Option<Money> {
    Some(Money::read(digits.trim_ascii()).ok()?.amount)
}

/// The amount that `digits` stand for on `surface`; `None` if they are no amount.
pub(super) fn read(surface: &str, digits: &str) -> Option<Recorded> {
    let reading = Money::read(digits.trim_ascii()).ok()?;
    let amount = if surface.ends_with("cost_in_usd_ticks") {
        // xAI: an integer of 10^-10 dollars.
        let ticks = reading.amount;
        if reading.beyond_28_places || ticks.places() > 0 {
            return None;
        }
        ticks.checked_shift(10).ok()?
    } else {
        reading.amount
    };
    Some(Recorded {
        amount,
        surface: surface.to_owned(),
        digits: digits.to_owned(),
        beyond_28_places: reading.beyond_28_places,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ledger_row, lookup, money, record, usage};
    use super::*;
    use crate::record::Record;

    fn of(streaming: bool, costs: &[(&str, &str)]) -> Evidence {
        let costs = costs
            .iter()
            .map(|(surface, digits)| ((*surface).to_owned(), (*digits).to_owned()));
        evidence(&Attempt::seen(&Record {
            streaming,
            costs: costs.collect(),
            ..record("m", usage(1, 1))
        }))
    }

    const BODY: &str = "body:/usage/cost";
    const STREAM: &str = "stream:/usage/cost";
    const HEADER: &str = "header:x-litellm-response-cost";

    #[test]
    fn which_cost_stands_and_what_contradicts_it() {
        // (a stream was asked for, surfaces, the cost that stands, the one that disagrees)
        for (streaming, costs, stands, disagrees) in [
            (false, &[][..], None, None),
            (false, &[(BODY, "0.1")][..], Some("0.1"), None),
            (false, &[(HEADER, "0.1")], Some("0.1"), None),
            (false, &[(HEADER, "0")], Some("0"), None),
            (
                false,
                &[(HEADER, "0.1"), (BODY, "0.2")],
                Some("0.2"),
                Some("0.1"),
            ),
            (
                false,
                &[(HEADER, "1e-1"), (BODY, "0.10")],
                Some("0.1"),
                None,
            ),
            (
                false,
                &[(BODY, "0.30000000000000004"), (HEADER, "0.3")],
                Some("0.30000000000000004"),
                None,
            ),
            (
                false,
                &[(BODY, "0.1"), ("body:/cost", "0.2")],
                Some("0.1"),
                Some("0.2"),
            ),
            // A stream's header was sent before its cost was known.
            (true, &[(HEADER, "0"), (STREAM, "0.1")], Some("0.1"), None),
            (true, &[(HEADER, "0.2"), (STREAM, "0.1")], Some("0.1"), None),
            (true, &[(HEADER, "0.0")], None, None),
            (true, &[(HEADER, "0.2")], Some("0.2"), None),
            (
                true,
                &[(STREAM, "0.1"), ("stream:/cost", "0.3")],
                Some("0.1"),
                Some("0.3"),
            ),
            // The form of the answer counts, not the one asked for.
            (true, &[(HEADER, "0"), (BODY, "0")], Some("0"), None),
            (false, &[(HEADER, "0"), (STREAM, "0.1")], Some("0.1"), None),
        ] {
            let found = of(streaming, costs);
            let amount = |r: Option<Recorded>| r.map(|r| r.amount);
            assert_eq!(amount(found.stands), stands.map(money), "{costs:?}");
            assert_eq!(amount(found.disagrees), disagrees.map(money), "{costs:?}");
            assert_eq!(found.unreadable, None, "{costs:?}");
        }
    }

    #[test]
    fn every_place_is_held_against_the_others() {
        // (the answer, look-ups, rows of the ledger, the cost that stands and where, what disagrees)
        for (answer, lookups, ledger, stands, disagrees) in [
            (
                None,
                &[Some("0.2")][..],
                &[][..],
                Some(("lookup:u#/c", "0.2")),
                None,
            ),
            (
                Some("0.1"),
                &[Some("1e-1")],
                &["0.10"],
                Some((BODY, "0.1")),
                None,
            ),
            (
                Some("0.1"),
                &[Some("0.2")],
                &["0.1"],
                Some((BODY, "0.1")),
                Some("0.2"),
            ),
            (
                Some("0.1"),
                &[Some("0.1")],
                &["0.3"],
                Some((BODY, "0.1")),
                Some("0.3"),
            ),
            (
                None,
                &[Some("0.2")],
                &["0.3"],
                Some(("lookup:u#/c", "0.2")),
                Some("0.3"),
            ),
            (None, &[None], &["0.3"], Some((LEDGER, "0.3")), None),
            (None, &[None], &[], None, None),
            // Twice the same bills twice, and contradicts nobody.
            (
                None,
                &[],
                &["0.3", "0.3"],
                Some((LEDGER, "0.3 + 0.3")),
                None,
            ),
            (Some("0.3"), &[], &["0.3", "0.3"], Some((BODY, "0.3")), None),
            (Some("0.3"), &[], &["0", "0.3"], Some((BODY, "0.3")), None),
            (Some("0.3"), &[], &["0.1", "0.2"], Some((BODY, "0.3")), None),
            (
                Some("0.3"),
                &[],
                &["0.2", "0.2"],
                Some((BODY, "0.3")),
                Some("0.4"),
            ),
            // No cost is none.
            (Some("0.3"), &[], &[""], Some((BODY, "0.3")), None),
            (None, &[], &[""], None, None),
        ] {
            let costs = answer.map(|digits| (BODY.to_owned(), digits.to_owned()));
            let record = Record {
                streaming: false,
                costs: costs.into_iter().collect(),
                ..record("m", usage(1, 1))
            };
            let lookups: Vec<_> = lookups.iter().map(|digits| lookup(*digits)).collect();
            let rows: Vec<_> = ledger.iter().map(|cost| ledger_row(cost)).collect();
            let found = evidence(&Attempt {
                lookups: &lookups,
                ledger: Some(&rows),
                ..Attempt::seen(&record)
            });
            let case = format!("{answer:?} {lookups:?} {ledger:?}");
            let place = found.stands.map(|r| (r.surface, r.digits));
            let expected = stands.map(|(s, d): (&str, &str)| (s.to_owned(), d.to_owned()));
            assert_eq!(place, expected, "{case}");
            let other = found.disagrees.map(|r| r.amount);
            assert_eq!(other, disagrees.map(money), "{case}");
        }
    }

    #[test]
    fn a_ledger_whose_cost_cannot_be_read_says_so() {
        let rows = [ledger_row("0.1"), ledger_row("free")];
        let record = record("m", usage(1, 1));
        let found = evidence(&Attempt {
            ledger: Some(&rows),
            ..Attempt::seen(&record)
        });
        assert_eq!(found.stands, None);
        let expected = (LEDGER.to_owned(), "free".to_owned());
        assert_eq!(found.unreadable, Some(expected));
    }

    #[test]
    fn digits_are_kept_beside_the_amount() {
        let digits = "1.2345678901234567e-15";
        let stands = of(true, &[(STREAM, digits)]).stands.expect("recorded");
        assert_eq!(stands.digits, digits);
        assert_eq!(stands.surface, STREAM);
        assert!(stands.beyond_28_places);
        assert_eq!(stands.amount, money("0.0000000000000012345678901235"));
    }

    #[test]
    fn ticks_are_ten_billionths_of_a_dollar() {
        const TICKS: &str = "stream:/usage/cost_in_usd_ticks";
        let amount = |digits| of(true, &[(TICKS, digits)]).stands.map(|r| r.amount);
        assert_eq!(amount("12500000"), Some(money("0.00125")));
        assert_eq!(amount("1"), Some(money("1e-10")));
        assert_eq!(amount("1.5"), None);
    }

    #[test]
    fn what_is_no_amount_is_named_and_does_not_stand() {
        for bad in ["1-2", "", "1e99", "--1"] {
            let found = of(false, &[(BODY, bad), (HEADER, "0.1")]);
            assert_eq!(found.unreadable, Some((BODY.to_owned(), bad.to_owned())));
            assert_eq!(found.stands.map(|r| r.amount), Some(money("0.1")));
        }
    }
}
