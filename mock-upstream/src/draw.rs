//! Seeded draws: each stream of random numbers comes from (seed, nonce or sequence, turn, purpose) and nothing else.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Gamma, LogNormal};
use sha2::{Digest, Sha256};

use crate::config::{Distribution, Timing};

/// The source of all draws for one request.
pub(crate) struct Draws<'a> {
    seed: u64,
    nonce: &'a str,
    seq: u64,
    turn: u64,
}

impl<'a> Draws<'a> {
    /// Requests with a nonce draw by it, so that the order of arrival does not matter; others by their sequence.
    pub(crate) fn new(seed: u64, nonce: &'a str, seq: u64) -> Self {
        Self {
            seed,
            nonce,
            seq,
            turn: 0,
        }
    }

    /// The same for another turn of the conversation that the nonce names: 0 is the first.
    pub(crate) fn of_turn(self, turn: u64) -> Self {
        Self { turn, ..self }
    }

    /// The stream of one purpose.
    pub(crate) fn stream(&self, purpose: &str) -> ChaCha8Rng {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        if self.nonce.is_empty() {
            hash.update(self.seq.to_le_bytes());
        } else {
            hash.update(self.nonce.as_bytes());
        }
        if self.turn > 0 {
            hash.update(self.turn.to_le_bytes());
        }
        hash.update(purpose.as_bytes());
        ChaCha8Rng::from_seed(hash.finalize().into())
    }

    /// True for `share` of all requests.
    pub(crate) fn happens(&self, purpose: &str, share: f64) -> bool {
        // A draw is below 1, so a share of 1 is always and a share of 0 never.
        self.stream(purpose).random::<f64>() < share
    }
}

/// The moments of successive token events, counted from receipt.
pub(crate) struct Pace {
    ttft: Duration,
    gap: Sampler,
    rng: ChaCha8Rng,
    latest: Option<Duration>,
}

impl Pace {
    /// For a prompt of which `prefilled` tokens are in no cache.
    pub(crate) fn new(timing: &Timing, draws: &Draws<'_>, prefilled: u64) -> Self {
        let mut rng = draws.stream("timing");
        let prefill_ms = timing.prefill_us_per_token * prefilled as f64 / 1_000.0;
        let ttft = Sampler::new(timing.ttft_ms).draw(&mut rng) + duration_of(prefill_ms);
        Self {
            ttft,
            gap: Sampler::new(timing.gap_ms),
            rng,
            latest: None,
        }
    }

    /// When the frames before the first token leave.
    pub(crate) fn opening(&self) -> Duration {
        self.ttft / 2
    }

    /// When the next token event leaves.
    pub(crate) fn next_event(&mut self) -> Duration {
        let at = match self.latest {
            None => self.ttft,
            Some(latest) => latest + self.gap.draw(&mut self.rng),
        };
        self.latest = Some(at);
        at
    }
}

enum Sampler {
    Fixed(f64),
    Uniform(f64, f64),
    LogNormal(LogNormal<f64>),
    Gamma(Gamma<f64>),
}

impl Sampler {
    fn new(distribution: Distribution) -> Self {
        const CHECKED: &str = "the configuration was checked";
        match distribution {
            Distribution::Fixed(value) => Self::Fixed(value),
            Distribution::Uniform { min, max } => Self::Uniform(min, max),
            Distribution::LogNormal { median, sigma } => {
                Self::LogNormal(LogNormal::new(median.ln(), sigma).expect(CHECKED))
            }
            Distribution::Gamma { mean, shape } => {
                Self::Gamma(Gamma::new(shape, mean / shape).expect(CHECKED))
            }
        }
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Duration {
        let ms = match self {
            Self::Fixed(value) => *value,
            Self::Uniform(min, max) => rng.random_range(*min..=*max),
            Self::LogNormal(distribution) => distribution.sample(rng),
            Self::Gamma(distribution) => distribution.sample(rng),
        };
        duration_of(ms)
    }
}

/// Milliseconds as a duration: a day at most, so that a tail beyond all reason cannot overflow a sum of offsets.
pub(crate) fn duration_of(ms: f64) -> Duration {
    Duration::from_secs_f64(ms.clamp(0.0, 86_400_000.0) / 1_000.0)
}

#[cfg(test)]
mod tests {
    use rand::Rng as _;

    use super::*;

    fn events(timing: &Timing, seed: u64, nonce: &str, seq: u64) -> Vec<Duration> {
        let mut pace = Pace::new(timing, &Draws::new(seed, nonce, seq), 0);
        (0..1_000).map(|_| pace.next_event()).collect()
    }

    #[test]
    fn draws_depend_on_seed_and_nonce_and_only_without_a_nonce_on_the_sequence() {
        let timing = Timing::default();
        let one = events(&timing, 1, "n", 1);
        assert_eq!(one, events(&timing, 1, "n", 2));
        assert_ne!(one, events(&timing, 2, "n", 1));
        assert_ne!(one, events(&timing, 1, "m", 1));
        assert_ne!(events(&timing, 1, "", 1), events(&timing, 1, "", 2));
        let draw = |turn| {
            Draws::new(1, "n", 1)
                .of_turn(turn)
                .stream("timing")
                .next_u64()
        };
        assert_ne!(draw(0), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn gaps_follow_their_distribution() {
        for (gap_ms, mean_ms) in [
            (Distribution::Fixed(8.0), 8.0),
            (
                Distribution::Uniform {
                    min: 4.0,
                    max: 12.0,
                },
                8.0,
            ),
            (
                Distribution::LogNormal {
                    median: 8.0,
                    sigma: 0.1,
                },
                8.04,
            ),
            (
                Distribution::Gamma {
                    mean: 8.0,
                    shape: 16.0,
                },
                8.0,
            ),
        ] {
            let timing = Timing {
                gap_ms,
                ..Timing::default()
            };
            let times = events(&timing, 0, "n", 0);
            assert_eq!(times[0], Duration::from_millis(40));
            let mean = (times[999].as_secs_f64() - times[0].as_secs_f64()) * 1e3 / 999.0;
            assert!((mean - mean_ms).abs() < 0.4, "{gap_ms:?}: {mean}");
        }
    }

    #[test]
    fn shares_of_nothing_and_everything_are_exact() {
        for seq in 0..1_000 {
            let draws = Draws::new(0, "", seq);
            assert!(draws.happens("fault", 1.0));
            assert!(!draws.happens("fault", 0.0));
        }
    }
}
