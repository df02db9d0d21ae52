//! What reading a gateway's ledger came to, as a report shows it.

use crate::late::LedgerSummary;
use crate::report::Ledger;

/// `None` if it could not be read.
pub(super) fn ledger(summary: &LedgerSummary) -> Option<Ledger> {
    summary.error.is_none().then(|| Ledger {
        source: summary.source.clone(),
        joined: summary.joined,
        ledger_only: summary.ledger_only,
        duplicate: summary.duplicate,
        out_of_scope: summary.out_of_scope,
    })
}
