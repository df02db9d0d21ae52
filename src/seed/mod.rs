//! Seeded draws and digests. Each draw comes from (seed, stream name, index), so that the same
//! seed gives the same plan whatever else is drawn, in whatever order, on whichever worker.

mod wait;

use std::fmt::Write as _;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use sha2::{Digest as _, Sha256};

pub use wait::Wait;

/// The random number generator of draw `index` of the stream called `stream`.
pub fn rng(seed: u64, stream: &str, index: u64) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(index.to_le_bytes());
    hash.update(stream.as_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// SHA-256 of `bytes`, as 64 lowercase hex digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The name of one request: 32 lowercase hex digits, unique to (run, arm, session, turn). It is
/// the nonce that the prompt begins with and the trace id of the `traceparent` header.
pub fn trace_id(run_id: &str, arm: &str, session: u64, turn: u32) -> String {
    let mut hash = Sha256::new();
    for part in [run_id.as_bytes(), arm.as_bytes()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(session.to_le_bytes());
    hash.update(turn.to_le_bytes());
    hex(&hash.finalize()[..16])
}

/// Lowercase hex digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            write!(out, "{byte:02x}").expect("writing to a String does not fail");
            out
        })
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::Rng as _;

    use super::*;

    #[test]
    fn draws_depend_on_seed_stream_and_index_alone() {
        assert_eq!(
            rng(1, "arrivals", 7).next_u64(),
            rng(1, "arrivals", 7).next_u64()
        );
        let first = rng(1, "arrivals", 7).next_u64();
        for other in [
            rng(2, "arrivals", 7),
            rng(1, "prompts", 7),
            rng(1, "arrivals", 8),
        ] {
            assert_ne!(first, { other }.next_u64());
        }
    }

    #[test]
    fn trace_ids_are_unique_to_each_part_and_of_equal_length() {
        let id = trace_id("run", "openai", 1, 0);
        assert_eq!(id.len(), 32);
        for other in [
            trace_id("run2", "openai", 1, 0),
            trace_id("run", "anthropic", 1, 0),
            trace_id("run", "openai", 2, 0),
            trace_id("run", "openai", 1, 1),
            trace_id("runo", "penai", 1, 0),
        ] {
            assert_eq!(other.len(), 32);
            assert_ne!(id, other);
        }
    }
}
