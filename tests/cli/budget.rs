//! The spend guard end to end: a thousand requests at once against one dollar, by the upstream's own
//! journal of what was truly to be paid.

use mock_upstream::Config;
use mock_upstream::config::Rate;
use rust_decimal::Decimal;

use crate::program::Sandbox;
use crate::target::{Upstream, quick};

const MODEL: &str = "magistral-small-latest";

/// A request of 60 + 16 tokens costs about 0.0018 dollars, so that the loads below would cost more than
/// seven.
fn dear() -> Config {
    let mut config = quick();
    let rate = Rate::new(Decimal::from(4), Decimal::from(100));
    config.behaviour.cost.rates.insert(MODEL.to_owned(), rate);
    config
}

/// Runs a load of four thousand requests, which says that the budget ended it, and holds the journal
/// against the budget.
fn check(arrivals: &str, says: &str) {
    let sandbox = Sandbox::new();
    let upstream = Upstream::start(dear());
    sandbox.write(
        "prices.csv",
        &format!("model,currency,per_tokens,input,output\n{MODEL},USD,1000000,4,100\n"),
    );
    sandbox.write(
        "dear.toml",
        &format!(
            "name = \"dear\"\n\
             [target]\nendpoint = \"both\"\nmodel = \"{MODEL}\"\n\
             [workload]\ninput_tokens = {{ fixed = 60 }}\noutput_tokens = {{ fixed = 16 }}\n\
             stream_share = 0.5\n\
             [load]\ncount = 2000\n{arrivals}\n\
             [pricing]\ntable = \"prices.csv\"\n"
        ),
    );
    let output = sandbox
        .program([
            "run",
            "dear.toml",
            "--target",
            &upstream.origin,
            "--out",
            "out",
        ])
        .args(["--budget", "1 USD"])
        .output();
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains(says), "{said}");

    let charged = |digits: &Option<String>| -> Decimal {
        let digits = digits.as_deref().expect("every answer has a price");
        digits.parse().expect("a decimal")
    };
    let journal = upstream.journal();
    let paid: Decimal = journal.iter().map(|entry| charged(&entry.charged)).sum();
    assert!(paid <= Decimal::ONE, "{paid} was to be paid");
    // The guard stops a run, it does not prevent one.
    assert!(paid > Decimal::new(5, 1), "{paid} was to be paid");
    assert!(journal.len() < 4_000, "{} requests", journal.len());
}

#[test]
fn a_tier_without_a_price_is_refused_under_a_budget_by_check_as_by_run() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "tiers.csv",
        &format!(
            "model,currency,per_tokens,input,output,service_tier\n{MODEL},USD,1000000,4,100,\n\
             {MODEL},USD,1000000,2,50,flex\n"
        ),
    );
    sandbox.write(
        "tiers.toml",
        &format!(
            "name = \"tiers\"\n[target]\nmodel = \"{MODEL}\"\n\
             [load]\nconcurrency = 1\ncount = 1\n\
             [pricing]\ntable = \"tiers.csv\"\nbudget = \"1 USD\"\n"
        ),
    );
    for command in [&["check"][..], &["run", "--out", "out"]] {
        let mut args = command.to_vec();
        args.extend(["tiers.toml", "--set", "target.service_tier=priority"]);
        sandbox.weighbridge(args).exits(2).says(&[
            "the budget needs a price",
            "tiers.csv",
            "`priority`",
        ]);
    }
    let flex = ["check", "tiers.toml", "--set", "target.service_tier=flex"];
    sandbox.weighbridge(flex).exits(0);
}

#[test]
fn a_thousand_users_cannot_overshoot_a_dollar() {
    check(
        "arrivals = \"closed\"\nconcurrency = 1000",
        "the budget of $1 ended the run",
    );
}

#[test]
fn a_thousand_arrivals_at_once_cannot_overshoot_a_dollar() {
    check(
        "arrivals = \"constant\"\nrate = 4000.0\nmax_in_flight = 1000",
        "the budget has no room for another request",
    );
}
