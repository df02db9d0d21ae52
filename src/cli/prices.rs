//! `weighbridge prices`: price tables and the lists of others.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use jiff::civil::Date;

use super::{Exit, say, show, today};
use crate::billing::prices::PriceTable;
use crate::billing::prices::diff::diff;
use crate::billing::prices::import::{self, Wanted};
use crate::billing::prices::show::{show as table, summary};
use crate::store;

#[derive(Debug, Subcommand)]
pub(super) enum PricesCommand {
    /// Say what is in a price table, or everything that is wrong with it (exit code 2)
    Check {
        /// CSV file, or a built-in table
        file: String,
    },
    /// Show a price table, or one model's prices, for a million tokens
    Show(ShowArgs),
    /// Make a price table of another's list, which must lie in a file; downloads nothing
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
    /// Say what changed between two price tables: exit code 0 if nothing did, 1 if something did
    Diff(DiffArgs),
}

const IMPORT_HELP: &str = "\
The table goes to stdout, or to the file of --out. With --diff the changes go to stdout instead, and
without --out nothing is written. What our columns cannot say is listed on stderr with the reason, and
left out as a whole. A price that the list does not give is unknown and stays empty.

Examples:
  from=https://raw.githubusercontent.com/BerriAI/litellm/main
  curl -o list.json $from/model_prices_and_context_window.json
  weighbridge prices import list.json --format litellm \\
      --provider mistral --out prices.csv
  curl -o models.json https://openrouter.ai/api/v1/models
  weighbridge prices import models.json --format openrouter \\
      --model mistralai/mistral-small --diff prices.csv

Exit codes: 0 imported   1 nothing, or not every --model, could be   2 wrong command line or file";

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Model id; every one if absent
    model: Option<String>,
    /// Only prices that hold on this date, YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    at: Option<Date>,
    /// Price table: a CSV file or a built-in one
    #[arg(long, value_name = "TABLE", default_value = "builtin:keeprouter")]
    prices: String,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// JSON file
    file: PathBuf,
    /// Whose list it is
    #[arg(long, value_enum)]
    format: Format,
    /// Only this model, by its name in the list; may be repeated
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// Only this provider's models, by its name in the list
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// First day on which the prices hold, YYYY-MM-DD; without it they hold on any day
    #[arg(long, value_name = "DATE")]
    effective_from: Option<Date>,
    /// Where the list is from, for the column `source`; default: the file's name
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
    /// Write the table to this file, in place of what it holds
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show what the import would change of this price table today
    #[arg(long, value_name = "TABLE")]
    diff: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// `model_prices_and_context_window.json`
    #[value(name = "litellm")]
    LiteLlm,
    /// The answer of `/api/v1/models`
    #[value(name = "openrouter")]
    OpenRouter,
    /// `api.json`
    #[value(name = "models-dev")]
    ModelsDev,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// CSV file or built-in table
    old: String,
    /// CSV file or built-in table
    new: String,
    /// Date of the prices, YYYY-MM-DD; default: today, UTC
    #[arg(long, value_name = "DATE")]
    at: Option<Date>,
}

pub(super) fn run(command: &PricesCommand) -> anyhow::Result<Exit> {
    match command {
        PricesCommand::Check { file } => check(file),
        PricesCommand::Show(args) => show_table(args),
        PricesCommand::Import(args) => import_list(args),
        PricesCommand::Diff(args) => diff_tables(args),
    }
}

fn check(file: &str) -> anyhow::Result<Exit> {
    let read = match PriceTable::builtin(file) {
        Some(table) => Ok(table),
        None => PriceTable::read_all(file, store::read_file(file.as_ref())?),
    };
    match read {
        Ok(table) => {
            show(&summary(&table))?;
            Ok(Exit::Passed)
        }
        Err(errors) => {
            for error in &errors {
                say(&format!("error: {error}"));
            }
            Ok(Exit::Wrong)
        }
    }
}

fn show_table(args: &ShowArgs) -> anyhow::Result<Exit> {
    let prices = store::read_prices(&args.prices)?;
    let text = table(&prices, args.model.as_deref(), args.at).with_context(|| {
        let of = args
            .model
            .as_ref()
            .map_or(String::new(), |m| format!(" for `{m}`"));
        let on = args.at.map_or(String::new(), |day| format!(" on {day}"));
        let known = args.model.as_ref().is_none_or(|m| prices.knows(m));
        let nearest = args.model.as_ref().filter(|_| !known);
        let nearest = nearest.and_then(|m| prices.nearest(m));
        let hint = nearest.map_or(String::new(), |name| format!(", did you mean `{name}`?"));
        format!("no price{of}{on} in {}{hint}", prices.name())
    })?;
    show(&text)?;
    Ok(Exit::Passed)
}

fn import_list(args: &ImportArgs) -> anyhow::Result<Exit> {
    let name = args.file.display().to_string();
    let in_use = args.diff.as_deref().map(store::read_prices).transpose()?;
    let json = store::read_file(&args.file)?;
    let format = match args.format {
        Format::LiteLlm => import::Format::LiteLlm,
        Format::OpenRouter => import::Format::OpenRouter,
        Format::ModelsDev => import::Format::ModelsDev,
    };
    let wanted = Wanted {
        models: &args.model,
        provider: args.provider.as_deref(),
    };
    let import = import::read(format, &json, wanted).with_context(|| name.clone())?;
    for refused in &import.refused {
        say(&format!("left out: {refused}"));
    }
    say(&format!(
        "{} of {} models imported",
        import.entries.len(),
        import.entries.len() + import.refused.len()
    ));
    if import.entries.is_empty() {
        return Ok(Exit::Failed);
    }
    let (source, day) = (args.source.as_deref().unwrap_or(&name), today());
    let csv = import.csv(source, day, args.effective_from);
    // What is written must be what `run` reads.
    let new = PriceTable::read("the import", csv.clone())?;
    if let Some(path) = &args.out {
        store::write_file(path, &csv)?;
    }
    match (&in_use, &args.out) {
        (Some(old), _) => show(&diff(old, &new, day).to_string())?,
        (None, None) => show(&csv)?,
        (None, Some(_)) => {}
    }
    let missing = !args.model.is_empty() && !import.refused.is_empty();
    Ok(if missing { Exit::Failed } else { Exit::Passed })
}

fn diff_tables(args: &DiffArgs) -> anyhow::Result<Exit> {
    let (old, new) = (
        store::read_prices(&args.old)?,
        store::read_prices(&args.new)?,
    );
    let diff = diff(&old, &new, args.at.unwrap_or_else(today));
    show(&diff.to_string())?;
    Ok(if diff.is_empty() {
        Exit::Passed
    } else {
        Exit::Failed
    })
}
