//! `weighbridge quote`: what a request costs by a price table.

use clap::Args;

use super::{Exit, show, today};
use crate::billing::quote::{Asked, quote};
use crate::store;

#[derive(Debug, Args)]
pub(super) struct QuoteArgs {
    /// Model id
    model: String,
    /// Input tokens, cached ones included
    #[arg(long, value_name = "TOKENS")]
    input: u64,
    /// Output tokens
    #[arg(long, value_name = "TOKENS")]
    output: u64,
    /// Input tokens that are read from a cache
    #[arg(long, value_name = "TOKENS")]
    cache_read: Option<u64>,
    /// Input tokens that are written to a cache for five minutes
    #[arg(long, value_name = "TOKENS")]
    cache_write: Option<u64>,
    /// Input tokens that are written to a cache for an hour
    #[arg(long, value_name = "TOKENS")]
    cache_write_1h: Option<u64>,
    /// Reasoning tokens: of the output, or beside it where the table says that it is additive
    #[arg(long, value_name = "TOKENS")]
    reasoning: Option<u64>,
    /// Service tier, as in `priority`; default: the standard
    #[arg(long, value_name = "TIER")]
    service_tier: Option<String>,
    /// Price table: a CSV file or a built-in one
    #[arg(long, value_name = "TABLE", default_value = "builtin:keeprouter")]
    prices: String,
    /// Date of the prices, YYYY-MM-DD; default: today, UTC
    #[arg(long, value_name = "DATE")]
    at: Option<jiff::civil::Date>,
}

pub(super) fn run(args: &QuoteArgs) -> anyhow::Result<Exit> {
    let prices = store::read_prices(&args.prices)?;
    let date = args.at.unwrap_or_else(today);
    let asked = Asked {
        input: args.input,
        cache_read: args.cache_read,
        cache_write: args.cache_write,
        cache_write_1h: args.cache_write_1h,
        output: args.output,
        reasoning: args.reasoning,
        service_tier: args.service_tier.clone(),
    };
    let quote = quote(&prices, &args.model, date, &asked)?;
    show(&format!("{}\n", quote.to_string().trim_end()))?;
    Ok(Exit::Passed)
}
