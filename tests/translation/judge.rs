//! What the harness says of what was driven.

use weighbridge::endpoint::Endpoint;

use crate::drive::Seen;

/// The findings on these attempts: code, how often, and in how many.
pub fn findings(seen: &[Seen], endpoint: Endpoint) -> Vec<(String, u64, u64)> {
    let _ = endpoint;
    let mut all = Vec::new();
    for seen in seen {
        for (name, count) in &seen.record().oddities {
            // vLLM's whole bodies have an empty list where there are no calls.
            let is_dialect = name == "empty_tool_calls" && !seen.record().streaming;
            if name != "call_without_index" && !is_dialect {
                all.push((name.clone(), *count, 1));
            }
        }
        for (name, count) in &seen.record().marks {
            if !["text", "text_next", "reasoning", "reasoning_next"].contains(&name.as_str()) {
                all.push((name.clone(), *count, 1));
            }
        }
        for call in &seen.finished.calls {
            for (name, count) in call.marks.iter().filter(|(name, _)| *name != "own") {
                all.push((name.clone(), *count, 1));
            }
        }
    }
    all
}
