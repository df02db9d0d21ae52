//! What the harness says of what was driven.

use weighbridge::endpoint::Endpoint;

use crate::drive::Seen;

/// The findings on these attempts: code, how often, and in how many.
pub fn findings(seen: &[Seen], endpoint: Endpoint) -> Vec<(String, u64, u64)> {
    let _ = endpoint;
    let mut all = Vec::new();
    for seen in seen {
        for (name, count) in &seen.record().oddities {
            if name != "call_without_index" {
                all.push((name.clone(), *count, 1));
            }
        }
    }
    all
}
