//! The two endpoints side by side, as a report shows them.

use std::collections::BTreeMap;

use super::latency::ms;
use crate::endpoint::Endpoint;
use crate::parity::{self, Pairs};
use crate::report::parity::Tokens;
use crate::report::{Parity, Shift};
use crate::verdict::Looked;

pub(super) fn parity(held: &parity::Parity) -> Parity {
    let pairs = held.pairs();
    let (mode, basis) = basis(pairs);
    let tokens: BTreeMap<Endpoint, Tokens> = Endpoint::ALL
        .into_iter()
        .filter_map(|endpoint| Some((endpoint, tokens(held.tokens(endpoint)?))))
        .collect();
    let latency = held.latency();
    Parity {
        mode: mode.to_owned(),
        basis: basis.to_owned(),
        pairs: pairs.compared,
        exact: pairs.exact,
        left_out: pairs.left_out,
        unpaired: pairs.unpaired,
        uncompared: pairs.uncompared,
        findings: held.differences(),
        latency_ms: [("ttft", latency.ttft()), ("e2e", latency.e2e())]
            .into_iter()
            .map(|(name, shift)| (name.to_owned(), shift.map(shown)))
            .collect(),
        tokens: Some(tokens).filter(|tokens| !tokens.is_empty()),
    }
}

/// The same as a gate sees it.
pub(super) fn looked(parity: &Parity) -> Looked {
    Looked {
        findings: parity.findings.len() as u64,
        of: parity.pairs,
        unread: parity.uncompared,
    }
}

const fn basis(pairs: Pairs) -> (&'static str, &'static str) {
    match (pairs.compared, pairs.exact) {
        (0, _) => ("nothing", "no pair of requests was there to compare"),
        (all, exact) if all == exact => (
            "exact",
            "answers identify themselves: texts, arguments, token counts and costs must be the same",
        ),
        (_, 0) => (
            "structure",
            "a live model says something else each time: whether there is text, reasoning or calls, which tools, why it stopped, and whether the cost is what the price list says; a difference of structure is a finding only if it leans to one side further than chance would (4 sigma); no claim about texts, arguments or token counts",
        ),
        _ => (
            "mixed",
            "pairs whose answers identify themselves were compared token by token, the others by their price and their structure, of which a difference is a finding only if it leans to one side further than chance would (4 sigma)",
        ),
    }
}

fn shown(shift: parity::Shift) -> Shift {
    Shift {
        count: shift.samples,
        median: ms(shift.median_ns),
        low: shift.interval_ns.map(|(low, _)| ms(low)),
        high: shift.interval_ns.map(|(_, high)| ms(high)),
    }
}

const fn tokens(tokens: parity::Tokens) -> Tokens {
    let parity::Tokens {
        own,
        lost,
        repeated,
        reordered,
        foreign,
    } = tokens;
    Tokens {
        own,
        lost,
        repeated,
        reordered,
        foreign,
    }
}
