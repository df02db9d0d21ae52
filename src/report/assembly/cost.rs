//! The bill of one endpoint, as a report shows it.

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::billing::Finest;
use crate::billing::bill::{EndpointBill, Group, Sums, Worst as BillWorst};
use crate::billing::diagnose::resolution::resolution as resolve;
use crate::billing::finding::Code;
use crate::billing::load::Discrepancies;
use crate::billing::prices::PriceTable;
use crate::billing::rounding::{self, RoundingTotal};
use crate::billing::verify::{self, Verification};
use crate::money::{Currency, Money};
use crate::report::{
    ByInFlight, ByTime, Cost, CostGroup, CostLoad, CostRounding, CostSurface, Explained, Mode,
    OffByLoad, Resolution, Unpredicted, Verified, Worst,
};

/// Prices of a `day` say how many tokens a unit is. No bill: nothing was measured there.
pub(super) fn cost(
    prices: &PriceTable,
    day: Option<Date>,
    bill: Option<&EndpointBill>,
    verification: Option<&Verification>,
) -> Cost {
    let currency = prices.currency();
    let Some(bill) = bill else {
        return nothing(currency);
    };
    let sums = &bill.sums;
    Cost {
        currency: currency.code().to_owned(),
        verified: verified(sums, verification),
        predicted: text(sums.predicted),
        recorded: text(sums.recorded),
        delta: text(sums.delta),
        delta_abs: text(sums.delta_abs),
        billed_again: text(sums.billed_again),
        unpredicted: sums.unpredicted.map(|(recorded, attempts)| Unpredicted {
            attempts,
            recorded: recorded.to_string(),
        }),
        bias_pct: number(sums.bias_pct),
        coverage: coverage(sums),
        statuses: statuses(sums),
        groups: bill.groups.iter().map(|(g, s)| group(g, s)).collect(),
        surfaces: bill
            .surfaces
            .iter()
            .map(|on| CostSurface {
                surface: on.surface.clone(),
                attempts: on.attempts,
                recorded: on.recorded.to_string(),
                places: on.places,
            })
            .collect(),
        rounding: bill.rounding.as_ref().map(rounding),
        resolution: resolution(prices, day, &bill.finest),
        load: load(bill),
        findings: bill.findings.clone(),
        worst: bill.worst.iter().map(worst).collect(),
    }
}

fn nothing(currency: Currency) -> Cost {
    Cost {
        currency: currency.code().to_owned(),
        verified: Verified::Nothing,
        predicted: None,
        recorded: None,
        delta: None,
        delta_abs: None,
        billed_again: None,
        unpredicted: None,
        bias_pct: None,
        coverage: None,
        statuses: BTreeMap::new(),
        groups: Vec::new(),
        surfaces: Vec::new(),
        rounding: None,
        resolution: Vec::new(),
        load: None,
        findings: Vec::new(),
        worst: Vec::new(),
    }
}

fn text(amount: Option<Money>) -> Option<String> {
    amount.map(|a| a.to_string())
}

/// A percentage, which is rounded already, as a number.
fn number(percent: Option<Money>) -> Option<f64> {
    percent?.to_string().parse().ok()
}

fn verified(sums: &Sums, verification: Option<&Verification>) -> Verified {
    let compared = u64::from(sums.delta.is_some());
    match verify::Verified::of(compared, verification) {
        verify::Verified::TokenCounts => Verified::TokenCounts,
        verify::Verified::Arithmetic => Verified::Arithmetic,
        verify::Verified::Nothing => Verified::Nothing,
    }
}

fn coverage(sums: &Sums) -> Option<f64> {
    sums.coverage.map(|c| c.both as f64 / c.billable as f64)
}

fn statuses(sums: &Sums) -> BTreeMap<String, u64> {
    sums.statuses
        .iter()
        .map(|(s, n)| (s.name().to_owned(), *n))
        .collect()
}

fn group(group: &Group, sums: &Sums) -> CostGroup {
    CostGroup {
        model: group.model.clone(),
        mode: if group.streaming {
            Mode::Stream
        } else {
            Mode::Whole
        },
        class: group.class,
        attempts: sums.attempts,
        predicted: text(sums.predicted),
        recorded: text(sums.recorded),
        delta: text(sums.delta),
        delta_abs: text(sums.delta_abs),
        bias_pct: number(sums.bias_pct),
        coverage: coverage(sums),
        statuses: statuses(sums),
    }
}

fn rounding(total: &RoundingTotal) -> CostRounding {
    CostRounding {
        attempts: total.attempts,
        delta: total.delta.to_string(),
        bound: total.bound.to_string(),
        expected: text(total.expected),
        explained: match total.explained() {
            rounding::Explained::Expected => Explained::Expected,
            rounding::Explained::Possible => Explained::Possible,
            rounding::Explained::No => Explained::No,
        },
    }
}

fn resolution(prices: &PriceTable, day: Option<Date>, finest: &[Finest]) -> Vec<Resolution> {
    let of = |seen: &Finest| {
        let tariff = prices.tariff(&seen.model, seen.service_tier.as_deref(), day?)?;
        let fine = resolve(&tariff, seen.places)?;
        Some(Resolution {
            model: seen.model.clone(),
            service_tier: seen.service_tier.clone(),
            places: seen.places,
            unit: fine.unit.to_string(),
            input_tokens: fine.input_tokens,
            output_tokens: fine.output_tokens,
        })
    };
    finest.iter().filter_map(of).collect()
}

fn load(bill: &EndpointBill) -> Option<CostLoad> {
    let (in_flight, time) = (&bill.load.in_flight, &bill.load.time);
    let in_flight = in_flight.iter().map(|row| ByInFlight {
        in_flight_min: row.min,
        in_flight_max: row.max,
        off: off(&row.of),
    });
    let time = time.iter().map(|row| ByTime {
        from_s: row.from_s,
        length_s: row.length_s,
        off: off(&row.of),
    });
    let load = CostLoad {
        by_in_flight: in_flight.collect(),
        by_time: time.collect(),
    };
    let any = !load.by_in_flight.is_empty() || !load.by_time.is_empty();
    any.then_some(load)
}

fn off(of: &Discrepancies) -> OffByLoad {
    OffByLoad {
        attempts: of.attempts,
        wrong: of.wrong,
        missing: of.missing,
        double: of.double,
        delta: text(of.delta),
    }
}

fn worst(worst: &BillWorst) -> Worst {
    let codes = worst.codes.iter().copied();
    Worst {
        trace_id: worst.trace_id.clone(),
        attempt: worst.attempt,
        model: worst.model.clone(),
        predicted: worst.predicted.to_string(),
        recorded: worst.recorded.to_string(),
        delta: worst.delta.to_string(),
        // That it is off is no cause of it.
        causes: codes.filter(|code| *code != Code::CostMismatch).collect(),
    }
}
