//! Counts by name, in one cell of a row.

use std::collections::BTreeMap;
use std::collections::btree_map;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Counts by name, none of which is zero. In a row it is one cell: a JSON object, or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    /// Adds to the count of this name.
    pub fn add(&mut self, name: &str, count: u64) {
        if count == 0 {
            return;
        }
        match self.0.get_mut(name) {
            Some(known) => *known = known.saturating_add(count),
            None => {
                self.0.insert(name.to_owned(), count);
            }
        }
    }

    /// The count of this name; 0 for one that is not there.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The counts by name.
    pub fn iter(&self) -> btree_map::Iter<'_, String, u64> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Tally {
    type Item = (&'a String, &'a u64);
    type IntoIter = btree_map::Iter<'a, String, u64>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_empty() {
            return serializer.serialize_str("");
        }
        let text = serde_json::to_string(&self.0).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Tally {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(&text)
            .map(Self)
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_a_cell_and_back() {
        let mut tally = Tally::default();
        let cell = |tally: &Tally| serde_json::to_value(tally).expect("a text");
        assert_eq!(cell(&tally), "");
        tally.add("text", 3);
        tally.add("text", 2);
        tally.add("lost", 0);
        assert_eq!((tally.get("text"), tally.get("lost")), (5, 0));
        assert_eq!(cell(&tally), r#"{"text":5}"#);
        let back: Tally = serde_json::from_value(cell(&tally)).expect("what was written");
        assert_eq!(back, tally);
    }
}
