//! Quantiles over all requests, not only the successful ones, as gates take them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Quantiles over successful, failed, dropped and cut requests; a failed or dropped one is over any
/// limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Inclusive {
    /// Requests that should have had it: the successful ones with it, and those below.
    pub count: u64,
    /// Failed and dropped ones.
    pub failed: u64,
    /// Those that the harness cut.
    pub cut: u64,
    /// Median.
    pub p50: InclusiveMs,
    /// 90th percentile.
    pub p90: InclusiveMs,
    /// 95th percentile.
    pub p95: InclusiveMs,
    /// 99th percentile.
    pub p99: InclusiveMs,
    /// 99.9th percentile.
    pub p999: InclusiveMs,
}

/// A quantile over all requests. In JSON a number only where it is known: a comparison with a text
/// is an error or false in most languages, and `null` would be less than any limit in some.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InclusiveMs {
    /// In ms.
    Known(f64),
    /// At least this many ms: it may fall on a request that was cut. In JSON `">= 812.5"`.
    AtLeast(f64),
    /// It falls on a failed request, over any limit. In JSON `"failed"`.
    Failed,
}

const FAILED: &str = "failed";
const AT_LEAST: &str = ">= ";

impl Serialize for InclusiveMs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(ms) => serializer.serialize_f64(*ms),
            Self::AtLeast(ms) => serializer.collect_str(&format_args!("{AT_LEAST}{ms}")),
            Self::Failed => serializer.serialize_str(FAILED),
        }
    }
}

impl<'de> Deserialize<'de> for InclusiveMs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = InclusiveMs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number, `{FAILED}` or `{AT_LEAST}` and a number")
            }

            fn visit_f64<E: Error>(self, ms: f64) -> Result<InclusiveMs, E> {
                Ok(InclusiveMs::Known(ms))
            }

            fn visit_u64<E: Error>(self, ms: u64) -> Result<InclusiveMs, E> {
                Ok(InclusiveMs::Known(ms as f64))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<InclusiveMs, E> {
                if text == FAILED {
                    return Ok(InclusiveMs::Failed);
                }
                text.strip_prefix(AT_LEAST)
                    .and_then(|ms| ms.parse().ok())
                    .map(InclusiveMs::AtLeast)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl JsonSchema for InclusiveMs {
    fn schema_name() -> Cow<'static, str> {
        "InclusiveMs".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A quantile over all requests. In ms where it is known; `failed` where it falls on a failed request, which is over any limit; `>= 812.5` where it may fall on a request that was cut, and is at least that.",
            "oneOf": [
                { "type": "number" },
                { "type": "string", "pattern": "^(failed|>= [0-9]+(\\.[0-9]+)?)$" }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_back() {
        for (value, json) in [
            (InclusiveMs::Known(812.5), "812.5"),
            (InclusiveMs::Known(3.0), "3.0"),
            (InclusiveMs::AtLeast(812.5), "\">= 812.5\""),
            (InclusiveMs::AtLeast(0.0), "\">= 0\""),
            (InclusiveMs::Failed, "\"failed\""),
        ] {
            assert_eq!(serde_json::to_string(&value).expect("plain"), json);
            let back: InclusiveMs = serde_json::from_str(json).expect(json);
            assert_eq!(back, value);
        }
        for wrong in ["null", "\"fine\"", "\">= x\"", "true"] {
            assert!(
                serde_json::from_str::<InclusiveMs>(wrong).is_err(),
                "{wrong}"
            );
        }
    }
}
