//! OpenRouter's answer of `/api/v1/models`: `data[].pricing`, texts, prices for one token.
//!
//! `overrides` are laid over the prices from `min_prompt_tokens` on. `internal_reasoning` is `0` where
//! reasoning is billed as the completion that it is part of, so that zero does not mean free.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Found, Members, Offer, Said, object, price};
use crate::billing::prices::Rates;
use crate::money::Money;

/// Prices of something that a request of text does not have.
const NOT_TEXT: [&str; 4] = ["image", "audio", "video", "web_search"];

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

pub(super) fn read(text: &str) -> Result<Vec<Found>, serde_json::Error> {
    let answer: Answer<'_> = serde_json::from_str(text)?;
    Ok(answer.data.into_iter().map(found).collect())
}

fn found(value: &RawValue) -> Found {
    let entry = object("entry", value);
    let id = entry.as_ref().ok().and_then(|entry| entry.string("id"));
    let provider = id.as_deref().and_then(|id| id.split_once('/'));
    Found {
        provider: provider.map(|(maker, _)| maker.to_owned()),
        said: entry.and_then(|entry| {
            id.as_ref().ok_or("has no `id`")?;
            let pricing = entry.get("pricing").ok_or("has no `pricing`")?;
            said(&object("pricing", pricing)?)
        }),
        model: id.unwrap_or_else(|| "?".to_owned()),
    }
}

fn said(pricing: &Members<'_>) -> Result<Said, String> {
    let base = Offer {
        rates: rates(pricing, &["request", "overrides", "discount"])?,
        ..Offer::default()
    };
    let mut said = Said {
        per_request: amount(pricing, "request")?,
        offers: vec![base],
    };
    if amount(pricing, "discount")?.is_some_and(|d| !d.is_zero()) {
        return Err("`discount` is a price that no column can say".to_owned());
    }
    let overrides: Vec<Members<'_>> = match pricing.get("overrides") {
        None => Vec::new(),
        Some(value) => serde_json::from_str(value.get())
            .map_err(|_| "`overrides` is no list of objects".to_owned())?,
    };
    for over in &overrides {
        let from = over.get("min_prompt_tokens").map(RawValue::get);
        let from = from.and_then(|text| text.parse::<u64>().ok());
        let Some(limit) = from.and_then(|from| from.checked_sub(1)).filter(|&n| n > 0) else {
            return Err("an override that does not depend on `min_prompt_tokens`".to_owned());
        };
        let (base, new) = (said.offers[0].rates, rates(over, &["min_prompt_tokens"])?);
        said.offers.push(Offer {
            service_tier: None,
            tier_above: Some(limit),
            rates: Rates {
                input: new.input.or(base.input),
                cache_read: new.cache_read.or(base.cache_read),
                cache_write_5m: new.cache_write_5m.or(base.cache_write_5m),
                cache_write_1h: new.cache_write_1h.or(base.cache_write_1h),
                output: new.output.or(base.output),
                reasoning: new.reasoning.or(base.reasoning),
            },
        });
    }
    said.offers.sort_by_key(|offer| offer.tier_above);
    let twice = said
        .offers
        .windows(2)
        .any(|two| two[0].tier_above == two[1].tier_above);
    if twice {
        return Err("two overrides have the same `min_prompt_tokens`".to_owned());
    }
    Ok(said)
}

/// The prices of tokens in `pricing`, which has no other keys but those of `besides`.
fn rates(pricing: &Members<'_>, besides: &[&str]) -> Result<Rates, String> {
    const KEYS: [&str; 6] = [
        "prompt",
        "completion",
        "input_cache_read",
        "input_cache_write",
        "input_cache_write_1h",
        "internal_reasoning",
    ];
    for (key, _) in &pricing.0 {
        let known = KEYS.contains(&key.as_ref()) || besides.contains(&key.as_ref());
        if !known && !NOT_TEXT.iter().any(|w| key.contains(w)) && pricing.get(key).is_some() {
            return Err(format!("`{key}` is a price that no column can say"));
        }
    }
    Ok(Rates {
        input: amount(pricing, "prompt")?,
        cache_read: amount(pricing, "input_cache_read")?,
        cache_write_5m: amount(pricing, "input_cache_write")?,
        cache_write_1h: amount(pricing, "input_cache_write_1h")?,
        output: amount(pricing, "completion")?,
        reasoning: amount(pricing, "internal_reasoning")?.filter(|r| !r.is_zero()),
    })
}

fn amount(pricing: &Members<'_>, key: &str) -> Result<Option<Money>, String> {
    pricing.get(key).map(|v| price(key, v, 0)).transpose()
}
