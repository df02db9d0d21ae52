//! Times to wait: how long people think, and how long tools take.

use std::time::Duration;

use rand_distr::{Distribution as _, Exp1, LogNormal, StandardUniform};

/// A time to wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wait {
    /// Always so long; zero for not at all.
    Fixed(Duration),
    /// Anything between two, equally likely.
    Uniform {
        /// The shortest.
        min: Duration,
        /// The longest; not below `min`.
        max: Duration,
    },
    /// Exponential, without an upper limit.
    Exponential {
        /// The mean.
        mean: Duration,
    },
    /// Log-normal, cut at `max`.
    Lognormal {
        /// The median.
        median: Duration,
        /// Standard deviation of the logarithm; finite and not negative.
        sigma: f64,
        /// The longest; a draw beyond it becomes it.
        max: Duration,
    },
}

/// An exponential draw is beyond so many times its mean once in 5 x 10^8.
const MEANS_MAX: u32 = 20;

impl Wait {
    /// No wait.
    pub const NONE: Self = Self::Fixed(Duration::ZERO);

    /// Draw `index` of the stream called `stream`.
    pub fn draw(self, seed: u64, stream: &str, index: u64) -> Duration {
        let rng = || super::rng(seed, stream, index);
        let seconds = |s: f64| Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX);
        match self {
            Self::Fixed(time) => time,
            Self::Uniform { min, max } => {
                let share: f64 = StandardUniform.sample(&mut rng());
                min + max.saturating_sub(min).mul_f64(share)
            }
            Self::Exponential { mean } => {
                let drawn: f64 = Exp1.sample(&mut rng());
                seconds(mean.as_secs_f64() * drawn)
            }
            Self::Lognormal { median, sigma, max } => {
                let drawn = LogNormal::new(0.0, sigma)
                    .expect("sigma is finite and not negative")
                    .sample(&mut rng());
                seconds(median.as_secs_f64() * drawn).min(max)
            }
        }
    }

    /// The longest that is to be expected; of an exponential one, 20 times its mean.
    pub fn longest(self) -> Duration {
        match self {
            Self::Fixed(time) => time,
            Self::Uniform { max, .. } | Self::Lognormal { max, .. } => max,
            Self::Exponential { mean } => mean.saturating_mul(MEANS_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_draw_is_beyond_the_longest() {
        let [low, high] = [1, 3].map(Duration::from_secs);
        for wait in [
            Wait::NONE,
            Wait::Fixed(high),
            Wait::Uniform {
                min: low,
                max: high,
            },
            Wait::Exponential { mean: low },
            Wait::Lognormal {
                median: low,
                sigma: 2.0,
                max: high,
            },
        ] {
            let draws: Vec<_> = (0..1_000).map(|n| wait.draw(1, "wait", n)).collect();
            assert!(draws.iter().all(|d| *d <= wait.longest()), "{wait:?}");
            assert_eq!(draws[7], wait.draw(1, "wait", 7));
        }
    }
}
