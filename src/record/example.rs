//! A captured exchange: bytes that show what a finding is about.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::endpoint::Endpoint;

/// The row of `examples.csv`: which file shows what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Its name below the run folder.
    pub file: String,
    /// Of the request.
    pub trace_id: String,
    /// Attempt of that request.
    pub attempt: u32,
    /// Where the request was sent.
    pub endpoint: Endpoint,
    /// What departs in it, by the names of oddities, marks and outcomes, and
    /// [`INVALID_JSON`](Self::INVALID_JSON) and its kin; [`SAMPLE`](Self::SAMPLE) for one of the
    /// first answers of their kind, whether anything departs or not.
    #[serde(serialize_with = "joined", deserialize_with = "split")]
    pub names: Vec<String>,
}

impl Example {
    /// One of the first answers of their kind.
    pub const SAMPLE: &str = "sample";
    /// Arguments of a call that are no JSON object.
    pub const INVALID_JSON: &str = "call_invalid_json";
    /// Arguments of a call of an offered tool that do not fit its schema.
    pub const SCHEMA: &str = "call_schema_invalid";
    /// A call of a tool that was not offered.
    pub const NOT_OFFERED: &str = "call_not_offered";
}

/// Names have no spaces.
fn joined<S: Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&names.join(" "))
}

fn split<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}
