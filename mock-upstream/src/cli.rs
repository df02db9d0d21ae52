//! The command line of the upstream, as a binary of its own and as a subcommand of another program.

#![expect(
    clippy::print_stderr,
    reason = "this is the program: stderr carries the reason of a failure"
)]

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::config::PROFILE_HEADER;
use crate::{Config, MockUpstream, StartError};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  mock-upstream
      Listen on a free port; the first line of stdout says where.
  mock-upstream --listen 127.0.0.1:8080 --config mock.toml
      Answer as the file says. `mock-upstream --print-config` shows all keys with their defaults.
  mock-upstream --config mock.toml --check
      Say whether the file is right, and which profiles it has.
  curl -s '127.0.0.1:8080/__mock/journal?follow=true'
      See what is received and written as it happens; `&nonce=N` for one request. `/__mock` lists all such paths.
  mock-upstream --listen 0.0.0.0:8080 --allow-remote
      Be reachable by other machines.

In the file:
  [profiles.slow]                            for the header `x-mock-profile: slow`,
  models = [\"slow-*\"]                        and for these models:
  timing.ttft_ms = { fixed = 2000 }          two seconds to the first token
  [[faults]]
  kind = \"status\"                            one request in ten is refused
  when = { share = 0.1 }
  status = 429
  headers = { retry-after = \"1\" }
  [cost]
  surfaces = [\"usage\", \"header\"]            where the cost of an answer is written
  [cost.rates.\"my-model\"]                    a million tokens, as a decimal
  input = \"0.50\"
  output = \"1.50\"";

/// Options of the upstream.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 is a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// What to be: a TOML file, `-` for stdin; every key has a default
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Read the file, say whether it is right and which profiles it has, and exit
    #[arg(long, requires = "config")]
    pub check: bool,
    /// Print the configuration and exit, with keys that have no value as comments; without a file, the defaults
    #[arg(long, conflicts_with = "check")]
    pub print_config: bool,
    /// Allow an address that other machines can reach
    #[arg(long)]
    pub allow_remote: bool,
    /// Answer without wiremock in between, as `direct = true` in the file does
    #[arg(long)]
    pub direct: bool,
    /// Journal the planned and the written time of each frame, as `journal_frames = true` in the file does
    #[arg(long)]
    pub journal_frames: bool,
    /// Seconds for which streams may go on after SIGINT or SIGTERM; a second signal stops at once
    #[arg(long, value_name = "SECONDS", default_value_t = crate::DEFAULT_GRACE.as_secs())]
    pub grace: u64,
}

/// Why the program failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot read {origin}: {source}")]
    Read { origin: String, source: io::Error },
    #[error("{origin}:{line}: not UTF-8, as TOML has to be")]
    NotText { origin: String, line: usize },
    #[error("cannot write the configuration as TOML: {0}")]
    Unwritable(#[from] toml::ser::Error),
    #[error(
        "only {limit} files may be open at a time, at least {DESCRIPTORS_MIN} are needed; raise it with `ulimit -n`"
    )]
    Descriptors { limit: u64 },
    #[error(transparent)]
    Config(#[from] crate::ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot start a runtime: {0}")]
    Runtime(io::Error),
    #[error("cannot wait for signals: {0}")]
    Signal(io::Error),
}

/// Runs the upstream until SIGINT or SIGTERM. Exits with 0, or with 2 if it could not start.
///
/// Prints one line to stdout, `listening on http://ADDRESS:PORT`, as soon as requests are answered.
pub fn main_with(args: Args) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("mock-upstream: {failure}");
            ExitCode::from(2)
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let mut config = match &args.config {
        None => Config::default(),
        Some(path) => read(path)?,
    };
    config.direct |= args.direct;
    config.journal_frames |= args.journal_frames;
    if args.check {
        print(&report(
            &args.config.map(origin).unwrap_or_default(),
            &config,
        ));
        return Ok(());
    }
    if args.print_config {
        print(&printed(&config)?);
        return Ok(());
    }
    let limit = raise_descriptor_limit();
    if let Some(limit) = limit
        && limit < DESCRIPTORS_MIN
    {
        return Err(Failure::Descriptors { limit });
    }
    // One thread with one timer paces best: no wake-up crosses to another core.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    runtime.block_on(async {
        let mock = MockUpstream::builder()
            .config(config)
            .listen(args.listen)
            .allow_remote(args.allow_remote)
            .grace(Duration::from_secs(args.grace))
            .start()
            .await?;
        // Before the address is out, so that whoever reads it may signal at once.
        let mut signals = Signals::new().map_err(Failure::Signal)?;
        print(&format!("listening on {}\n", mock.base_url()));
        tokio::select! {
            () = signals.next() => {}
            error = mock.accept_failed() => {
                // In one piece: a thread of wiremock may have to say something just now.
                let line = format!("mock-upstream: {}\n", accept_failure(error, limit));
                let _ = io::stderr().write_all(line.as_bytes());
                signals.next().await;
            }
        }
        tokio::select! {
            () = mock.shutdown() => {}
            () = signals.next() => {}
        }
        Ok(())
    })
}

/// How a configuration is called in messages.
fn origin(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    if path == Path::new(STDIN) {
        return "<stdin>".to_owned();
    }
    path.display().to_string()
}

fn read(path: &Path) -> Result<Config, Failure> {
    let origin = origin(path);
    let bytes = if path == Path::new(STDIN) {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    let bytes = bytes.map_err(|source| Failure::Read {
        origin: origin.clone(),
        source,
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        Failure::NotText {
            origin: origin.clone(),
            line: valid.split(|byte| *byte == b'\n').count(),
        }
    })?;
    Ok(Config::from_toml(&text, &origin)?)
}

/// The keys that have no default, each with its section and its form.
const WITHOUT_DEFAULT: [(&str, &str, &str); 8] = [
    ("", "api_key", "\"secret\""),
    ("", "models", "[\"a\", \"b\"]"),
    ("", "strict", "true"),
    ("delivery", "comment", "\"keep-alive\""),
    ("delivery", "ping_after_ms", "500.0"),
    (
        "delivery",
        "silence",
        "{ ms = 500.0, before_event = 3, share = 1.0 }",
    ),
    (
        "delivery",
        "split",
        "{ bytes_max = 7, random = true, gap_ms = 0.5 }",
    ),
    (
        "cost",
        "rounding",
        "{ scale = 4, mode = \"half_up\", stage = \"request\" }",
    ),
];

/// What `--print-config` says: a file that is read as the same configuration.
fn printed(config: &Config) -> Result<String, toml::ser::Error> {
    let values = toml::Table::try_from(config)?;
    let mut printed = String::new();
    for (section, key, form) in WITHOUT_DEFAULT {
        let table = match section {
            "" => Some(&values),
            section => values.get(section).and_then(toml::Value::as_table),
        };
        if table.is_none_or(|table| !table.contains_key(key)) {
            let place = match section {
                "" => String::new(),
                section => format!(" # in [{section}]"),
            };
            // Writing to a string does not fail.
            let _ = writeln!(printed, "# {key} = {form}{place}");
        }
    }
    printed.push_str(&toml::to_string(config)?);
    Ok(printed)
}

/// What `--check` says of a configuration that is right.
fn report(origin: &str, config: &Config) -> String {
    let mut report = format!("{origin}: ok\n");
    for (name, profile) in &config.profiles {
        // Likewise.
        let _ = write!(report, "profile {name}: for `{PROFILE_HEADER}: {name}`");
        for model in &profile.models {
            let _ = write!(report, ", model {model}");
        }
        report.push('\n');
    }
    report
}

/// What is said, once, when a connection cannot be accepted.
fn accept_failure(error: &io::Error, limit: Option<u64>) -> String {
    let advice = match (error.raw_os_error(), limit) {
        (Some(PROCESS_HAS_NONE), Some(limit)) => {
            format!("; the limit is {limit}, raise it with `ulimit -n`")
        }
        (Some(SYSTEM_HAS_NONE), _) => {
            "; the limit is the whole system's, raise it with `sysctl fs.file-max`".to_owned()
        }
        _ => String::new(),
    };
    format!(
        "cannot accept a connection: {error}{advice}. Clients wait until others are gone; \
         `accept_errors` in /__mock/stats counts on"
    )
}

/// The path that stands for stdin.
const STDIN: &str = "-";

/// Fewer descriptors are not enough for wiremock, the journal and a few connections.
const DESCRIPTORS_MIN: u64 = 32;

/// EMFILE, which is 24 on all systems that are Unix.
const PROCESS_HAS_NONE: i32 = 24;

/// ENFILE, likewise 23.
const SYSTEM_HAS_NONE: i32 = 23;

/// Allows as many open connections as the system lets this process have: its own limit is often 1,024. How many that
/// is, if there is a limit.
#[cfg(target_os = "linux")]
fn raise_descriptor_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // It stays as it was where that is refused; `accept_errors` in the stats tells when it is too low.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current
}

#[cfg(not(target_os = "linux"))]
fn raise_descriptor_limit() -> Option<u64> {
    None
}

fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    // A closed pipe is no error: whoever started this may know the address already.
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

/// SIGINT and, on Unix, SIGTERM.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_without_a_value_are_printed_as_comments_that_can_be_used() {
        let defaults = printed(&Config::default()).expect("printed");
        let forms = defaults.lines().map_while(|line| line.strip_prefix("# "));
        let (top, inner): (Vec<_>, Vec<_>) = forms.partition(|form| !form.contains(" # in ["));
        let mut text = top.join("\n") + "\n";
        for form in inner {
            let (value, section) = form.split_once(" # in [").expect("a section");
            let section = section.strip_suffix(']').expect("its end");
            text.extend([section, ".", value, "\n"]);
        }
        let config = Config::from_toml(&text, "forms").expect("valid");
        let all = printed(&config).expect("printed");
        assert!(!all.contains('#'), "nothing is without a value: {all}");
        // And no other key of the README is missing.
        let readme = include_str!("../README.md");
        let (_, rest) = readme.split_once("```toml\n").expect("an example");
        let (example, _) = rest.split_once("[cost.rates.").expect("lists and rates");
        for line in example.lines().filter(|line| !line.starts_with('[')) {
            let line = line.trim_start_matches("# ");
            if let Some((key, _)) = line.split_once(" = ") {
                assert!(defaults.contains(key), "{key}");
            }
        }
    }
}
