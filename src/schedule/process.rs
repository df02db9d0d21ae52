//! How regularly sessions start, whatever their rate.

use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp1, Gamma};

/// An arrival process: the gaps between sessions at a rate of one a second. Every process has a
/// mean gap of one second, so the rate is the profile's alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Process {
    /// Evenly spaced: session `n` starts where the profile has reached `n` sessions.
    Constant,
    /// Exponential gaps: independent users without number.
    Poisson,
    /// Gamma-distributed gaps: bursts, or more regular than Poisson.
    Gamma(Burstiness),
}

impl Process {
    /// The gap before a session, in seconds at one session a second; `None` if nothing is drawn.
    pub(super) fn draw(self, rng: impl FnOnce() -> ChaCha8Rng) -> Option<f64> {
        match self {
            Self::Constant => None,
            Self::Poisson => Some(Exp1.sample(&mut rng())),
            Self::Gamma(burstiness) => Some(burstiness.gaps().sample(&mut rng())),
        }
    }
}

/// The shape of gamma-distributed gaps, by the convention of vLLM's serving benchmark: 1 is a
/// Poisson process, below is burstier, above more regular. The coefficient of variation of the gaps
/// (standard deviation / mean) is `1 / sqrt(shape)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burstiness(f64);

impl Burstiness {
    /// The smallest: gaps vary ten times as much as those of a Poisson process.
    pub const MIN: f64 = 0.01;

    /// The largest: gaps vary by a hundredth of their mean, which is as good as `constant`.
    pub const MAX: f64 = 10_000.0;

    /// From the shape; `None` unless it is between [`Self::MIN`] and [`Self::MAX`].
    pub fn new(shape: f64) -> Option<Self> {
        (Self::MIN..=Self::MAX)
            .contains(&shape)
            .then_some(Self(shape))
    }

    /// The shape.
    pub const fn shape(self) -> f64 {
        self.0
    }

    /// The distribution of the gaps: mean 1, variance 1 / shape.
    fn gaps(self) -> Gamma<f64> {
        Gamma::new(self.0, 1.0 / self.0).expect("shape and scale are above zero: Burstiness::new")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;

    #[test]
    fn gamma_gaps_have_the_mean_and_the_variance_of_their_shape() {
        let n = 40_000_u64;
        for shape in [0.1, 0.5, 1.0, 4.0, 100.0] {
            let process = Process::Gamma(Burstiness::new(shape).expect("in range"));
            let gaps: Vec<f64> = (0..n)
                .map(|k| process.draw(|| seed::rng(11, "gaps", k)).expect("drawn"))
                .collect();
            let mean = gaps.iter().sum::<f64>() / n as f64;
            let variance = gaps.iter().map(|g| (g - 1.0).powi(2)).sum::<f64>() / n as f64;
            // Five standard errors, with a fixed seed. The fourth central moment of a gamma
            // distribution of mean 1 is 3 / shape^2 + 6 / shape^3.
            let mean_error = (1.0 / shape / n as f64).sqrt();
            let fourth = 3.0 / shape.powi(2) + 6.0 / shape.powi(3);
            let variance_error = ((fourth - 1.0 / shape.powi(2)) / n as f64).sqrt();
            assert!((mean - 1.0).abs() < 5.0 * mean_error, "{shape}: {mean}");
            assert!(
                (variance - 1.0 / shape).abs() < 5.0 * variance_error,
                "{shape}: {variance}"
            );
        }
    }

    #[test]
    fn a_burstiness_of_one_is_poisson() {
        let gamma = Process::Gamma(Burstiness::new(1.0).expect("in range"));
        for k in 0..100 {
            let [a, b] = [gamma, Process::Poisson].map(|p| p.draw(|| seed::rng(3, "gaps", k)));
            assert_eq!(a, b);
        }
    }

    #[test]
    fn a_burstiness_that_no_load_has_is_none() {
        for shape in [0.0, -1.0, 0.001, 1e9, f64::NAN, f64::INFINITY] {
            assert_eq!(Burstiness::new(shape), None);
        }
    }
}
