//! What the harness says of what was driven.

use weighbridge::conformance::Checker;
use weighbridge::endpoint::Endpoint;

use crate::drive::Seen;

/// A finding, without its words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub code: &'static str,
    pub count: u64,
    pub attempts: u64,
}

/// The findings on these attempts, by code.
pub fn findings<'a>(seen: impl Iterator<Item = &'a Seen>, endpoint: Endpoint) -> Vec<Found> {
    let mut checker = Checker::new();
    for seen in seen {
        checker.add(seen.record(), Some(&seen.truths));
        seen.calls().iter().for_each(|call| checker.add_call(call));
    }
    let found = checker.findings(endpoint).into_iter();
    let mut found: Vec<Found> = found
        .map(|finding| Found {
            code: finding.code.name(),
            count: finding.count,
            attempts: finding.attempts,
        })
        .collect();
    found.sort_unstable();
    found
}
