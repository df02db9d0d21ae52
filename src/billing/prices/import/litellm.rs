//! LiteLLM's `model_prices_and_context_window.json`: an object of models, prices for one token.
//!
//! A key is a price's name and what it is for: `input_cost_per_token_above_200k_tokens_priority`. A size or
//! service tier for which a price is not given is unknown here. LiteLLM itself then takes the price of
//! shorter prompts or of the standard tier, which is its guess at another's price list.

use serde_json::value::RawValue;

use super::{Found, Members, Offer, Said, object, price};
use crate::billing::prices::Rates;

/// Prices of something that a request of text does not have.
const NOT_TEXT: [&str; 13] = [
    "audio",
    "image",
    "video",
    "pixel",
    "search",
    "query",
    "per_page",
    "per_session",
    "per_gb",
    "gb_per_day",
    "computer_use",
    // The same prices in Databricks' units.
    "dbu",
    "vector_store",
];

/// What answers with text by the token.
const MODES: [&str; 4] = ["chat", "completion", "responses", "embedding"];

pub(super) fn read(text: &str) -> Result<Vec<Found>, serde_json::Error> {
    let models: Members<'_> = serde_json::from_str(text)?;
    let models = models.0.into_iter();
    // The first entry explains the keys.
    let models = models.filter(|(name, _)| name != "sample_spec");
    Ok(models.map(|(name, value)| found(&name, value)).collect())
}

fn found(model: &str, value: &RawValue) -> Found {
    let entry = object("entry", value);
    let provider = entry
        .as_ref()
        .ok()
        .and_then(|entry| entry.string("litellm_provider"));
    Found {
        model: model.to_owned(),
        provider,
        said: entry.and_then(|entry| said(&entry)),
    }
}

fn said(entry: &Members<'_>) -> Result<Said, String> {
    if let Some(mode) = entry
        .string("mode")
        .filter(|m| !MODES.contains(&m.as_str()))
    {
        return Err(format!("its mode `{mode}` is not priced by tokens of text"));
    }
    let mut said = Said::default();
    for (key, value) in &entry.0 {
        if value.get() == "null" {
            continue;
        }
        match meaning(key)? {
            Meaning::Nothing => {}
            Meaning::Request => said.per_request = Some(price(key, value, 0)?),
            Meaning::Price {
                kind,
                service_tier,
                tier_above,
            } => {
                let amount = price(key, value, 0)?;
                let same = |o: &Offer| {
                    o.service_tier.as_deref() == service_tier && o.tier_above == tier_above
                };
                let at = said.offers.iter().position(same).unwrap_or_else(|| {
                    said.offers.push(Offer {
                        service_tier: service_tier.map(str::to_owned),
                        tier_above,
                        rates: Rates::default(),
                    });
                    said.offers.len() - 1
                });
                let rate = kind(&mut said.offers[at].rates);
                if rate.is_some_and(|earlier| earlier != amount) {
                    return Err(format!(
                        "`{key}` contradicts another key for the same price"
                    ));
                }
                *rate = Some(amount);
            }
        }
    }
    Ok(said)
}

/// Where a kind of token's price stands.
type Kind = fn(&mut Rates) -> &mut Option<crate::money::Money>;

enum Meaning<'k> {
    Nothing,
    Request,
    Price {
        kind: Kind,
        service_tier: Option<&'k str>,
        tier_above: Option<u64>,
    },
}

fn meaning(key: &str) -> Result<Meaning<'_>, String> {
    let unknown = || Err(format!("`{key}` is a price that no column can say"));
    let kinds: [(&str, Kind); 6] = [
        ("input_cost_per_token_cache_hit", |r| &mut r.cache_read),
        ("input_cost_per_token", |r| &mut r.input),
        ("output_cost_per_token", |r| &mut r.output),
        ("output_cost_per_reasoning_token", |r| &mut r.reasoning),
        ("cache_read_input_token_cost", |r| &mut r.cache_read),
        ("cache_creation_input_token_cost", |r| &mut r.cache_write_5m),
    ];
    if key == "input_cost_per_request" {
        return Ok(Meaning::Request);
    }
    let named = kinds
        .into_iter()
        .find_map(|(name, kind)| Some((name, kind, key.strip_prefix(name)?)));
    let Some((name, mut kind, mut rest)) = named else {
        let price = ["cost", "pricing", "price"].iter().any(|w| key.contains(w));
        return if !price || NOT_TEXT.iter().any(|w| key.contains(w)) {
            Ok(Meaning::Nothing)
        } else {
            unknown()
        };
    };
    let (mut service_tier, mut tier_above) = (None, None);
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix("_above_1hr")
            && name == "cache_creation_input_token_cost"
        {
            kind = |r| &mut r.cache_write_1h;
            rest = behind;
        } else if let Some((thousands, behind)) = rest
            .strip_prefix("_above_")
            .and_then(|r| r.split_once("k_tokens"))
            && let Ok(thousands) = thousands.parse::<u32>()
            && tier_above.is_none()
        {
            tier_above = Some(u64::from(thousands) * 1000);
            rest = behind;
        } else if let Some((tier, behind)) = [
            ("priority", "_priority"),
            ("flex", "_flex"),
            ("batch", "_batches"),
        ]
        .into_iter()
        .find_map(|(tier, suffix)| Some((tier, rest.strip_prefix(suffix)?)))
            && service_tier.is_none()
        {
            service_tier = Some(tier);
            rest = behind;
        } else if NOT_TEXT.iter().any(|w| rest.contains(w)) {
            return Ok(Meaning::Nothing);
        } else {
            return unknown();
        }
    }
    Ok(Meaning::Price {
        kind,
        service_tier,
        tier_above,
    })
}
