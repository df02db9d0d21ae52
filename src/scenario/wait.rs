//! Times to wait as a scenario writes them: `2s`, or a distribution.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::check::Check;
use crate::seed;

/// A time to wait.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Wait {
    /// Always so long, as in `2s`.
    Fixed(String),
    /// Drawn.
    Drawn(Waits),
}

/// A distribution of times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Waits {
    /// Any time between two, equally likely.
    Uniform {
        /// The shortest.
        min: String,
        /// The longest.
        max: String,
    },
    /// Exponential.
    Exponential {
        /// The mean.
        mean: String,
    },
    /// Log-normal, cut at `max`.
    Lognormal {
        /// The median.
        median: String,
        /// Standard deviation of the logarithm.
        sigma: f64,
        /// The longest; a draw beyond it becomes it.
        max: String,
    },
}

/// By hand, since an untagged enum's errors do not say what would be right.
impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTable;
        impl<'de> Visitor<'de> for TextOrTable {
            type Value = Wait;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a time such as \"2s\", or a distribution such as { exponential = { mean = \"2s\" } }",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Wait, E> {
                Ok(Wait::Fixed(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Wait, A::Error> {
                Waits::deserialize(MapAccessDeserializer::new(table)).map(Wait::Drawn)
            }
        }
        deserializer.deserialize_any(TextOrTable)
    }
}

impl Check<'_> {
    /// The wait that `table` says.
    pub(super) fn wait(&mut self, table: &str, time: &Wait) -> Option<seed::Wait> {
        let key = |name: &str| format!("{table}.{name}");
        match time {
            Wait::Fixed(text) => self.duration(table, text).map(seed::Wait::Fixed),
            Wait::Drawn(Waits::Uniform { min, max }) => {
                let bounds = (
                    self.duration(&key("uniform.min"), min),
                    self.duration(&key("uniform.max"), max),
                );
                let (min, max) = (bounds.0?, bounds.1?);
                if min > max {
                    self.say(&key("uniform.max"), "must not be below `min`");
                    return None;
                }
                Some(seed::Wait::Uniform { min, max })
            }
            Wait::Drawn(Waits::Exponential { mean }) => self
                .positive_duration(&key("exponential.mean"), mean)
                .map(|mean| seed::Wait::Exponential { mean }),
            Wait::Drawn(Waits::Lognormal { median, sigma, max }) => {
                let times = (
                    self.positive_duration(&key("lognormal.median"), median),
                    self.positive_duration(&key("lognormal.max"), max),
                );
                if !(sigma.is_finite() && *sigma >= 0.0) {
                    self.say(
                        &key("lognormal.sigma"),
                        format!("must be zero or above, not {sigma}"),
                    );
                    return None;
                }
                Some(seed::Wait::Lognormal {
                    median: times.0?,
                    sigma: *sigma,
                    max: times.1?,
                })
            }
        }
    }
}
