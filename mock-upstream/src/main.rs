//! The upstream as a program of its own. The library's `cli` has all of it.

use std::process::ExitCode;

use clap::Parser;
use mock_upstream::cli;

/// An offline LLM upstream that speaks both protocols, paces its streams and writes down the truth
#[derive(Debug, Parser)]
#[command(version, after_help = cli::EXAMPLES)]
struct Command {
    #[command(flatten)]
    args: cli::Args,
}

fn main() -> ExitCode {
    cli::main_with(Command::parse().args)
}
