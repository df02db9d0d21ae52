//! What the harness costs and how well it measures, held against two clients that do nothing but receive.
//!
//! The upstream (this crate's mock, direct mode) is a process of its own on core 0. Each client is a process of its
//! own on core 1: the harness from its command line to its report, a bare reqwest loop, and a loop over raw sockets.
//! The three take turns, so that a slow minute of the machine meets all of them, and what is printed are medians and
//! their ratios. The truth about times is the upstream's journal. See `benches/README.md`.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench reads the clock, waits for processes, and prints"
)]

mod answer;
mod client;
mod journal;
mod load;
mod machine;
mod measure;
mod process;
mod program;
mod raw_loop;
mod reqwest_loop;
mod table;
mod upstream;

use std::process::ExitCode;

use clap::Parser;

use client::Client;
use measure::Bench;

/// Compares the harness with a bare reqwest loop and a loop over raw sockets
#[derive(Debug, Parser)]
struct Options {
    /// Measures to take, by a part of their names; all but the million if absent
    names: Vec<String>,
    /// Runs of each client in each measure; the medians are printed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    reps: u32,
    /// One run each: to see that it works
    #[arg(long)]
    quick: bool,
    /// Also a million burst requests, which takes minutes
    #[arg(long)]
    million: bool,
    /// Clients to run, separated by commas: a ratio to one that is left out is not printed
    #[arg(long, value_delimiter = ',', default_values_t = Client::ALL)]
    clients: Vec<Client>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    if let Some(job) = process::job() {
        return client::work(job);
    }
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    process::raise_descriptor_limit();
    let bench = Bench::new(options)?;
    let measures = measure::chosen(&options.names, options.million)?;
    bench.start_up()?;
    for measure in &measures {
        bench.take(measure)?;
    }
    Ok(())
}
