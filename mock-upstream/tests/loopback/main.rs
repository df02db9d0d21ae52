//! The upstream over real loopback sockets, with a client that knows nothing but HTTP/1.1.

mod billing;
mod binary;
mod client;
mod connections;
mod control;
mod delivery;
mod faults;
mod journal;
mod metrics;
mod observer;
mod serving;
mod simulation;
mod streams;
mod stubs;

use std::future::Future;
use std::time::Duration;

use mock_upstream::config::Distribution;
use mock_upstream::{Config, MockUpstream};
use serde_json::{Value, json};

/// No test waits longer than this for anything.
const LIMIT: Duration = Duration::from_secs(30);

const CHAT_COMPLETIONS: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

/// Short but distinct times.
fn quick() -> Config {
    let mut config = Config::default();
    config.behaviour.timing.ttft_ms = Distribution::Fixed(4.0);
    config.behaviour.timing.gap_ms = Distribution::Fixed(1.0);
    config
}

/// Answers slower than any test waits, after a first frame at once.
fn endless() -> Config {
    let mut config = Config::default();
    config.behaviour.timing.ttft_ms = Distribution::Fixed(0.0);
    config.behaviour.timing.gap_ms = Distribution::Fixed(60_000.0);
    config
}

async fn start(config: Config) -> MockUpstream {
    MockUpstream::builder()
        .config(config)
        .start()
        .await
        .expect("the upstream starts")
}

/// A request for both endpoints whose nonce is `number` in hexadecimal.
fn prompt(number: u64, stream: bool) -> Value {
    json!({
        "model": "magistral-small-latest",
        "max_tokens": 5,
        "stream": stream,
        "messages": [{"role": "user", "content": format!("{} hello", nonce(number))}],
    })
}

fn nonce(number: u64) -> String {
    format!("{number:032x}")
}

/// Runs a test on a runtime of one thread, and on one of two.
fn on_each_runtime<F: Future<Output = ()>>(test: impl Fn() -> F) {
    let mut builders = [
        tokio::runtime::Builder::new_current_thread(),
        tokio::runtime::Builder::new_multi_thread(),
    ];
    for builder in &mut builders {
        let runtime = builder.worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            tokio::time::timeout(LIMIT, test())
                .await
                .expect("the test ends in time");
        });
    }
}

/// Runs a test on a runtime of one thread.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        tokio::time::timeout(LIMIT, test)
            .await
            .expect("the test ends in time");
    });
}
