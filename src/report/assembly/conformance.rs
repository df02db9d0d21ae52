//! What was checked of answers, as a report shows it.

use crate::conformance::Checker;
use crate::endpoint::Endpoint;
use crate::report::Conformance;

pub(super) fn conformance(checker: &Checker, endpoint: Endpoint) -> Conformance {
    let looked_at = checker.checked(endpoint);
    Conformance {
        findings: checker.findings(endpoint),
        checked: looked_at.answers,
        checked_by_marks: looked_at.marked,
        checked_by_journal: looked_at.written,
        unread: checker.unread(endpoint),
        sampled: false,
    }
}
