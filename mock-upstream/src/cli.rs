//! The command line of the upstream, as a binary of its own and as a subcommand of another program.

#![expect(
    clippy::print_stderr,
    reason = "this is the program: stderr carries the reason of a failure"
)]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::{Config, MockUpstream, StartError};

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  mock-upstream
      Listen on a free port; the first line of stdout says where.
  mock-upstream --listen 127.0.0.1:8080 --config mock.toml
      Answer as the file says. `curl -s 127.0.0.1:8080/__mock/journal` shows what was written.
  mock-upstream --listen 0.0.0.0:8080 --allow-remote
      Be reachable by other machines.";

/// Options of the upstream.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 is a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// What to be: a TOML file; every key has a default
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
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
    #[error("cannot read {}: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
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
    let mut config = match args.config {
        None => Config::default(),
        Some(path) => {
            let text = std::fs::read_to_string(&path).map_err(|source| Failure::Read {
                path: path.clone(),
                source,
            })?;
            Config::from_toml(&text, &path.display().to_string())?
        }
    };
    config.direct |= args.direct;
    config.journal_frames |= args.journal_frames;
    raise_descriptor_limit();
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
        announce(&mock);
        signals.next().await;
        tokio::select! {
            () = mock.shutdown() => {}
            () = signals.next() => {}
        }
        Ok(())
    })
}

/// Allows as many open connections as the system lets this process have: its own limit is often 1,024.
#[cfg(target_os = "linux")]
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // It stays as it was where that is refused; `accept_errors` in the stats tells when it is too low.
    let _ = setrlimit(Resource::Nofile, limit);
}

#[cfg(not(target_os = "linux"))]
fn raise_descriptor_limit() {}

fn announce(mock: &MockUpstream) {
    let mut stdout = io::stdout().lock();
    // A closed pipe is no error: whoever started this may know the address already.
    let _ = writeln!(stdout, "listening on {}", mock.base_url());
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
