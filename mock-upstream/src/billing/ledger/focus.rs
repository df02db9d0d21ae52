//! FOCUS 1.2, the `FinOps` Open Cost and Usage Specification: a row for each day in UTC, model and kind of tokens.
//!
//! Rows of one day and model add up to the amounts of its requests. What the kinds do not explain, as a rounding of
//! whole requests, is a row of the category `Adjustment`. Kept in memory are days times models with rates times kinds.

use std::collections::BTreeMap;
use std::io;

use rust_decimal::Decimal;

use super::{DAY_US, PROVIDER, Row, moment};
use crate::billing::price::{Deal, Kind, digits};
use crate::billing::{Planted, Recorded};
use crate::config::Config;

pub(super) const COLUMNS: [&str; 31] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuPriceId",
    "x_Model",
    "x_Requests",
    "x_TokenType",
];

/// The model of answers whose own has no rates, so that clients cannot make up any number of buckets.
const UNPRICED: &str = "unpriced";

/// Sums so far.
#[derive(Debug, Default)]
pub(super) struct Buckets(BTreeMap<Bucket, Sum>);

/// What is summed up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Bucket {
    /// Days since 1970.
    day: u64,
    model: String,
    /// `None` for what no kind explains.
    kind: Option<Kind>,
    /// The number of tokens that a price is for.
    per_tokens: u64,
}

#[derive(Debug, Default)]
struct Sum {
    cost: Decimal,
    quantity: u64,
    requests: u64,
}

impl Buckets {
    /// Adds a row.
    pub(super) fn add(&mut self, row: &Row<'_>, config: &Config) {
        let entry = row.entry;
        let cost = &config.behaviour_of(entry.profile.as_deref()).cost;
        let Ok(amount) = Decimal::from_str_exact(row.amount) else {
            return;
        };
        let deal = Deal {
            cost,
            model: &entry.model,
            service_tier: entry.service_tier.as_deref(),
        };
        let planted = Planted::new(entry.billing_faults.clone());
        // What is for free as a whole has no parts that cost something.
        let recorded = Recorded::new(&deal, row.usage, &planted);
        let parts = recorded
            .filter(|_| !amount.is_zero())
            .map(|recorded| recorded.parts);
        let model = deal.rate().map_or(UNPRICED, |_| &entry.model);
        let mut rest = amount;
        let mut add = |kind, cost: Decimal, quantity: u64| {
            let bucket = Bucket {
                day: row.times.start / DAY_US,
                model: model.to_owned(),
                kind,
                per_tokens: cost_per(kind, deal.cost.per_tokens),
            };
            let sum = self.0.entry(bucket).or_default();
            sum.cost = sum.cost.saturating_add(cost);
            sum.quantity = sum.quantity.saturating_add(quantity);
            sum.requests += 1;
        };
        for part in parts.into_iter().flatten() {
            let is_there = if part.kind == Kind::Request {
                !part.cost.is_zero()
            } else {
                part.quantity > 0
            };
            if is_there {
                rest = rest.saturating_sub(part.cost);
                add(Some(part.kind), part.cost, part.quantity);
            }
        }
        if !rest.is_zero() {
            add(None, rest, 0);
        }
    }

    /// Writes all sums, in order.
    pub(super) fn write(&mut self, writer: &mut csv::Writer<Vec<u8>>) -> io::Result<()> {
        for (bucket, sum) in std::mem::take(&mut self.0) {
            writer.write_record(record(&bucket, &sum))?;
        }
        Ok(())
    }
}

/// Requests are priced one by one.
fn cost_per(kind: Option<Kind>, per_tokens: u64) -> u64 {
    match kind {
        None | Some(Kind::Request) => 1,
        Some(_) => per_tokens,
    }
}

fn record(bucket: &Bucket, sum: &Sum) -> [String; 31] {
    let day = |days: u64| moment(days.saturating_mul(DAY_US), "%Y-%m-%dT00:00:00Z");
    let (month, next_month) = month_of(bucket.day);
    let cost = digits(sum.cost);
    let (unit, pricing_unit) = match bucket.kind {
        None => (String::new(), String::new()),
        Some(Kind::Request) => ("Requests".to_owned(), "Requests".to_owned()),
        Some(_) => ("Tokens".to_owned(), format!("{} Tokens", bucket.per_tokens)),
    };
    let priced = Decimal::from(sum.quantity).checked_div(Decimal::from(bucket.per_tokens));
    let quantity = |text: String| bucket.kind.map(|_| text).unwrap_or_default();
    let kind = bucket.kind.map_or("adjustment", Kind::name);
    let sku = format!("{}/{kind}", bucket.model);
    [
        cost.clone(),
        PROVIDER.to_owned(),
        PROVIDER.to_owned(),
        "USD".to_owned(),
        next_month,
        month,
        if bucket.kind.is_some() {
            "Usage"
        } else {
            "Adjustment"
        }
        .to_owned(),
        // Empty is what is no correction of an earlier period.
        String::new(),
        format!("{}, {kind}", bucket.model),
        "Usage-Based".to_owned(),
        day(bucket.day + 1),
        day(bucket.day),
        quantity(sum.quantity.to_string()),
        unit,
        cost.clone(),
        cost.clone(),
        PROVIDER.to_owned(),
        cost,
        "Standard".to_owned(),
        quantity(priced.map(digits).unwrap_or_default()),
        pricing_unit,
        PROVIDER.to_owned(),
        PROVIDER.to_owned(),
        "AI and Machine Learning".to_owned(),
        "Chat completions".to_owned(),
        "Generative AI".to_owned(),
        sku.clone(),
        format!("{sku}/{}", bucket.per_tokens),
        bucket.model.clone(),
        sum.requests.to_string(),
        kind.to_owned(),
    ]
}

/// The begin of a day's month, and of the one after that.
fn month_of(days: u64) -> (String, String) {
    const FORMAT: &str = "%Y-%m-01T00:00:00Z";
    let start_us = days.saturating_mul(DAY_US);
    let month = moment(start_us, FORMAT);
    // The next month has begun when the name of the month has changed.
    let mut later = days;
    let next = loop {
        later += 1;
        let name = moment(later.saturating_mul(DAY_US), FORMAT);
        if name != month || later > days + 31 {
            break name;
        }
    };
    (month, next)
}
