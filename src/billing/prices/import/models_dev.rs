//! models.dev's `api.json`: providers, their models, `cost` in dollars for a million tokens.
//!
//! `cost.tiers` are whole price lists for prompts above `tier.size`; the older `context_over_200k` is
//! one for prompts above 200,000 tokens and is read where there are no `tiers`.

use serde_json::value::RawValue;

use super::{Found, Members, Offer, Said, object, price};
use crate::billing::prices::Rates;

/// The older key's limit.
const OVER_200K: u64 = 200_000;

/// Prices are for 10 to this power tokens.
const POWER: u32 = 6;

pub(super) fn read(text: &str) -> Result<Vec<Found>, serde_json::Error> {
    let providers: Members<'_> = serde_json::from_str(text)?;
    let mut all = Vec::new();
    for (name, value) in &providers.0 {
        let provider: Members<'_> = serde_json::from_str(value.get())?;
        let models: Members<'_> = match provider.get("models") {
            Some(models) => serde_json::from_str(models.get())?,
            None => continue,
        };
        all.extend(models.0.into_iter().map(|(model, value)| Found {
            model: model.into_owned(),
            provider: Some(name.clone().into_owned()),
            said: of_model(value),
        }));
    }
    Ok(all)
}

fn of_model(value: &RawValue) -> Result<Said, String> {
    let model = object("model", value)?;
    let cost = model.get("cost").ok_or("has no `cost`")?;
    said(&object("cost", cost)?)
}

fn said(cost: &Members<'_>) -> Result<Said, String> {
    let mut offers = vec![Offer {
        rates: rates(cost, &["tiers", "context_over_200k"])?,
        ..Offer::default()
    }];
    let mut above = |limit: u64, rates: Rates| {
        offers.push(Offer {
            service_tier: None,
            tier_above: Some(limit),
            rates,
        });
    };
    if let Some(tiers) = cost.get("tiers") {
        let tiers: Vec<Members<'_>> = serde_json::from_str(tiers.get())
            .map_err(|_| "`tiers` is no list of objects".to_owned())?;
        for tier in &tiers {
            let of = tier.get("tier").ok_or("a tier without `tier`")?;
            let of = object("tier", of)?;
            let size = of.get("size").map(RawValue::get);
            let size = size.and_then(|text| text.parse::<u64>().ok());
            match (of.string("type").as_deref(), size.filter(|&n| n > 0)) {
                (Some("context"), Some(size)) => above(size, rates(tier, &["tier"])?),
                _ => return Err("a tier that does not depend on the size of the prompt".to_owned()),
            }
        }
    } else if let Some(over) = cost.get("context_over_200k") {
        above(OVER_200K, rates(&object("context_over_200k", over)?, &[])?);
    }
    let mut limits: Vec<_> = offers.iter().map(|offer| offer.tier_above).collect();
    limits.sort_unstable();
    limits.dedup();
    if limits.len() < offers.len() {
        return Err("two tiers have the same size".to_owned());
    }
    Ok(Said {
        per_request: None,
        offers,
    })
}

/// The prices of tokens in `cost`, which has no other keys but those of `besides`.
fn rates(cost: &Members<'_>, besides: &[&str]) -> Result<Rates, String> {
    let mut rates = Rates::default();
    for (key, value) in &cost.0 {
        let rate = match key.as_ref() {
            "input" => &mut rates.input,
            "output" => &mut rates.output,
            "cache_read" => &mut rates.cache_read,
            "cache_write" => &mut rates.cache_write_5m,
            "cache_write_1h" => &mut rates.cache_write_1h,
            "reasoning" => &mut rates.reasoning,
            other if other.contains("audio") || besides.contains(&other) => continue,
            _ if value.get() == "null" => continue,
            other => return Err(format!("`{other}` is a price that no column can say")),
        };
        *rate = match value.get() {
            "null" => None,
            _ => Some(price(key, value, POWER)?),
        };
    }
    Ok(rates)
}
