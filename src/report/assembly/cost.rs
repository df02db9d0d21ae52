//! The bill of one endpoint, as a report shows it.

use crate::billing::bill::EndpointBill;
use crate::money::{Currency, Money};
use crate::report::{Cost, Worst};

pub(super) fn cost(currency: Currency, bill: Option<&EndpointBill>) -> Cost {
    let text = |amount: Option<Money>| amount.map(|a| a.to_string());
    Cost {
        currency: currency.code().to_owned(),
        predicted: text(bill.and_then(|b| b.predicted)),
        recorded: text(bill.and_then(|b| b.recorded)),
        delta: text(bill.and_then(|b| b.delta)),
        delta_abs: text(bill.and_then(|b| b.delta_abs)),
        coverage: bill
            .and_then(|b| b.coverage)
            .map(|c| c.both as f64 / c.billable as f64),
        statuses: bill
            .map(|b| {
                b.statuses
                    .iter()
                    .map(|(s, n)| (s.name().to_owned(), *n))
                    .collect()
            })
            .unwrap_or_default(),
        findings: bill.map(|b| b.findings.clone()).unwrap_or_default(),
        worst: bill
            .map(|b| {
                b.worst
                    .iter()
                    .map(|w| Worst {
                        trace_id: w.trace_id.clone(),
                        predicted: w.predicted.to_string(),
                        recorded: w.recorded.to_string(),
                        delta: w.delta.to_string(),
                    })
                    .collect()
            })
            .unwrap_or_default(),
    }
}
