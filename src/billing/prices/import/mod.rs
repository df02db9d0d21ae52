//! Price lists of others, as rows of ours: LiteLLM's file, OpenRouter's answer, models.dev's.
//!
//! In: JSON bytes and which models are wanted. Out: entries and, for each that our columns cannot say,
//! the reason; never a part of one. Numbers are read as the text that they are, so `5e-07` is that and
//! nothing near it. What a list does not say is unknown, and stays empty: no price is taken from
//! another row unless the list itself says that it is meant so.
//!
//! Prices of what is no text (images, sound, searches) are left out, since the requests that are
//! priced here hold none.

mod litellm;
mod models_dev;
mod openrouter;

use std::borrow::Cow;
use std::fmt;

use jiff::civil::Date;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Rates;
use crate::money::Money;
use crate::suggest;

/// Whose price list it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `model_prices_and_context_window.json`.
    LiteLlm,
    /// The answer of `/api/v1/models`.
    OpenRouter,
    /// `api.json`.
    ModelsDev,
}

/// Which entries are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// By these names; every one if there is none.
    pub models: &'a [String],
    /// Of this provider; of any if `None`.
    pub provider: Option<&'a str>,
}

/// What became of a price list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// What our columns can say, in the order of the list.
    pub entries: Vec<Entry>,
    /// What they cannot.
    pub refused: Vec<Refused>,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the list.
    pub model: String,
    /// Who offers it.
    pub provider: Option<String>,
    /// Price of a request.
    pub per_request: Option<Money>,
    /// One for each service tier and size of prompt.
    pub offers: Vec<Offer>,
}

/// The prices in one service tier and from one size of prompt on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// `None` is the standard.
    pub service_tier: Option<String>,
    /// For prompts of more tokens than this.
    pub tier_above: Option<u64>,
    /// Prices of one token.
    pub rates: Rates,
}

/// An entry that our columns cannot say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name in the list.
    pub model: String,
    /// Why.
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.model, self.why)
    }
}

/// Why there is nothing to import.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Not the JSON that was announced.
    #[error("not {expected}: {problem}")]
    Shape {
        /// What the file should be.
        expected: &'static str,
        /// What the parser says, with line and column.
        problem: String,
    },
    /// A model that was asked for by name.
    #[error("there is no model `{name}`{hint}")]
    NoSuchModel {
        /// The name.
        name: String,
        /// The nearest name, or nothing.
        hint: String,
    },
    /// No entry passes the filters.
    #[error("no entry is of the models and the provider that were asked for")]
    Nothing,
}

/// The entries of `json` that are `wanted`.
pub fn read(format: Format, json: &[u8], wanted: Wanted<'_>) -> Result<Import, ImportError> {
    let shape = |expected| {
        move |e: &dyn fmt::Display| ImportError::Shape {
            expected,
            problem: e.to_string(),
        }
    };
    let text = str::from_utf8(json).map_err(|e| shape("JSON")(&e))?;
    let found = match format {
        Format::LiteLlm => litellm::read(text).map_err(|e| {
            shape("LiteLLM's object of models (model_prices_and_context_window.json)")(&e)
        })?,
        Format::OpenRouter => openrouter::read(text).map_err(|e| {
            shape("OpenRouter's answer, an object with `data` (/api/v1/models)")(&e)
        })?,
        Format::ModelsDev => models_dev::read(text)
            .map_err(|e| shape("models.dev's object of providers (api.json)")(&e))?,
    };
    choose(found, wanted)
}

/// A model of the list: its name, its provider, and what can be said of it.
struct Found {
    model: String,
    provider: Option<String>,
    said: Result<Said, String>,
}

/// What can be said of a model.
#[derive(Default)]
struct Said {
    per_request: Option<Money>,
    offers: Vec<Offer>,
}

fn choose(found: Vec<Found>, wanted: Wanted<'_>) -> Result<Import, ImportError> {
    let of_provider = |f: &Found| {
        wanted
            .provider
            .is_none_or(|name| f.provider.as_deref() == Some(name))
    };
    let found: Vec<Found> = found.into_iter().filter(of_provider).collect();
    if let Some(name) = wanted
        .models
        .iter()
        .find(|name| found.iter().all(|f| f.model != **name))
    {
        return Err(ImportError::NoSuchModel {
            name: name.clone(),
            hint: suggest::clause(name, found.iter().map(|f| f.model.as_str())),
        });
    }
    let is_wanted = |f: &&Found| wanted.models.is_empty() || wanted.models.contains(&f.model);
    let mut times = std::collections::BTreeMap::<&str, u32>::new();
    for f in &found {
        *times.entry(&f.model).or_default() += 1;
    }
    let mut import = Import::default();
    for f in found.iter().filter(is_wanted) {
        let refused = |why: String| Refused {
            model: f.model.clone(),
            why,
        };
        if times[f.model.as_str()] > 1 {
            let of = f.provider.as_deref().unwrap_or("nobody");
            import.refused.push(refused(format!(
                "stands more than once, here of {of}; choose one with --provider"
            )));
            continue;
        }
        match f.said.as_ref().map_err(Clone::clone).and_then(|said| {
            let offers = tidy(said.offers.clone())?;
            Ok((said.per_request, offers))
        }) {
            Ok((per_request, offers)) => import.entries.push(Entry {
                model: f.model.clone(),
                provider: f.provider.clone(),
                per_request,
                offers,
            }),
            Err(why) => import.refused.push(refused(why)),
        }
    }
    if import.entries.is_empty() && import.refused.is_empty() {
        return Err(ImportError::Nothing);
    }
    Ok(import)
}

/// The offers in order, if they make tariffs.
fn tidy(mut offers: Vec<Offer>) -> Result<Vec<Offer>, String> {
    offers.sort_by(|a, b| (&a.service_tier, a.tier_above).cmp(&(&b.service_tier, b.tier_above)));
    let standard = offers.first();
    let base = standard.filter(|o| o.service_tier.is_none() && o.tier_above.is_none());
    let Some(base) = base.filter(|base| base.rates.input.is_some()) else {
        return Err("has no price for input tokens".to_owned());
    };
    let answers = base.rates.output.is_some();
    for group in offers.chunk_by_mut(|a, b| a.service_tier == b.service_tier) {
        let tier = group[0].service_tier.clone();
        let tier = tier.map_or(String::new(), |name| {
            format!(" in the service tier `{name}`")
        });
        if group[0].tier_above.is_some() {
            return Err(format!("has prices for long prompts only{tier}"));
        }
        for offer in group.iter() {
            let size = offer
                .tier_above
                .map_or(String::new(), |n| format!(" above {n} tokens"));
            for (kind, rate) in [("input", offer.rates.input), ("output", offer.rates.output)] {
                if rate.is_none() && (kind == "input" || answers) {
                    return Err(format!("has no price for {kind} tokens{size}{tier}"));
                }
            }
        }
        // A price of reasoning that is the output's says nothing, and need not be said of all sizes.
        if group
            .iter()
            .all(|o| o.rates.reasoning.is_none_or(|r| Some(r) == o.rates.output))
        {
            for offer in group.iter_mut() {
                offer.rates.reasoning = None;
            }
        }
        let apart = |o: &Offer| o.rates.reasoning.is_some();
        if group.iter().any(apart) && !group.iter().all(apart) {
            return Err(format!(
                "prices reasoning apart for some sizes of prompt only{tier}"
            ));
        }
    }
    Ok(offers)
}

impl Import {
    /// The entries as a price table in CSV. `source` and `checked_at` stand in every row;
    /// `effective_from` too if it is said, else the prices hold on any day.
    pub fn csv(&self, source: &str, checked_at: Date, effective_from: Option<Date>) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut write = |row: &[String]| {
            writer
                .write_record(row)
                .expect("rows of one length are written to memory");
        };
        write(&COLUMNS.map(str::to_owned));
        let cell = |amount: Option<Money>| amount.map_or(String::new(), |m| m.to_string());
        // What was read is at most 28 places fine and in range for a million tokens: `price` saw to it.
        let million = |rate: Option<Money>| cell(rate.and_then(|r| r.checked_mul(MILLION).ok()));
        for entry in &self.entries {
            for offer in &entry.offers {
                let r = &offer.rates;
                let above = offer.tier_above;
                write(&[
                    entry.model.clone(),
                    entry.provider.clone().unwrap_or_default(),
                    "USD".to_owned(),
                    MILLION.to_string(),
                    million(r.input),
                    million(r.output),
                    million(r.cache_read),
                    million(r.cache_write_5m),
                    million(r.cache_write_1h),
                    million(r.reasoning),
                    cell(entry.per_request),
                    above.map_or(String::new(), |n| n.to_string()),
                    above.map_or(String::new(), |_| "whole".to_owned()),
                    offer.service_tier.clone().unwrap_or_default(),
                    effective_from.map_or(String::new(), |d| d.to_string()),
                    source.to_owned(),
                    checked_at.to_string(),
                ]);
            }
        }
        let bytes = writer.into_inner().expect("memory takes it");
        String::from_utf8(bytes).expect("made of text")
    }
}

/// Tokens that the written prices are for.
const MILLION: u64 = 1_000_000;

/// The columns that are written.
const COLUMNS: [&str; 17] = [
    "model",
    "provider",
    "currency",
    "per_tokens",
    "input",
    "output",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "reasoning",
    "per_request",
    "tier_above",
    "tier_mode",
    "service_tier",
    "effective_from",
    "source",
    "checked_at",
];

/// The members of a JSON object, in order, each value as its text.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// The value of `key`: the last, if it stands more than once; none if it is `null`.
    fn get(&self, key: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().rfind(|(name, _)| name == key);
        found.map(|(_, value)| *value).filter(|v| v.get() != "null")
    }

    /// The text of the string `key`.
    fn string(&self, key: &str) -> Option<String> {
        serde_json::from_str(self.get(key)?.get()).ok()
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((Cow::Owned(key), value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The object that `value` is; `name` is what the reason calls it.
fn object<'a>(name: &str, value: &'a RawValue) -> Result<Members<'a>, String> {
    serde_json::from_str(value.get()).map_err(|_| format!("`{name}` is no object"))
}

/// The price that `value`, a number or its text, stands for, divided by 10^`power` tokens.
fn price(key: &str, value: &RawValue, power: u32) -> Result<Money, String> {
    let text: String = match serde_json::from_str(value.get()) {
        Ok(text) => text,
        Err(_) => value.get().to_owned(),
    };
    let amount: Money = text.parse().map_err(|e| format!("`{key}`: {e}"))?;
    if amount.is_negative() {
        return Err(format!(
            "`{key}`: `{text}` is no price, but says that it depends"
        ));
    }
    let one = amount
        .checked_shift(power)
        .map_err(|_| format!("`{key}`: `{text}` is finer than 28 decimal places for one token"))?;
    match one.checked_mul(MILLION) {
        Ok(_) => Ok(one),
        Err(_) => Err(format!(
            "`{key}`: `{text}` is too much for a million tokens"
        )),
    }
}

#[cfg(test)]
mod tests;
