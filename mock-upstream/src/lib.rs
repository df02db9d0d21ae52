//! An offline LLM upstream: speaks OpenAI-compatible chat completions and Anthropic-compatible messages, paces its
//! streams to tens of microseconds, and writes down the truth about each answer.
//!
//! It has two halves. wiremock decides *what* is answered ([`responder`], and the stubs a test's author mounts);
//! a small server performs that decision, a [`script::Script`], *in time*, and keeps a [`journal`]. The wire
//! formats are written by hand here, apart from any client's code, so that a wrong encoder and a wrong decoder
//! cannot agree by sharing a type.
//!
//! The path of one request: `player` stamps its receipt and reads it; `stubs` asks wiremock, whose last word is
//! [`responder::respond`]; that reads and checks the request, decides on a reply and its bill (`billing`), writes it in the
//! API's shape, breaks it by a fault and cuts it for delivery; `player` performs the script, settles the bill with what was
//! really written, and journals it. [`config`] says what can be asked for.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use mock_upstream::{Config, MockUpstream};
//!
//! let mut config = Config::default();
//! config.behaviour.output.tokens = 16;
//! let mock = MockUpstream::builder().config(config).start().await?;
//! println!("POST {}/v1/chat/completions", mock.base_url());
//! assert!(mock.journal()?.is_empty());
//! mock.shutdown().await;
//! # Ok(()) }
//! ```

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use precise_timer::Timer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use config::{Config, ConfigError};
pub use journal::JournalEntry;
pub use stats::Stats;
/// For stubs: the version of wiremock that [`Builder::stubs`] takes them from.
pub use wiremock;

pub mod config;
pub mod tokens;

mod billing;
mod books;
#[cfg(test)]
mod coverage;
mod draw;
pub mod journal;
pub mod responder;
pub mod script;
pub mod simulation;
pub mod stats;

mod player;
mod stubs;

pub mod cli;

use config::Behaviour;
use journal::{Journal, Selection};
use player::{Door, Player};
use responder::State;
use stats::Counters;
use stubs::{Mount, Stubs};

/// How long answers may go on after [`MockUpstream::shutdown`] unless the builder says otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// A running upstream. Dropping it stops it at once; [`MockUpstream::shutdown`] lets streams end.
#[derive(Debug)]
pub struct MockUpstream {
    player: Arc<Player>,
    address: SocketAddr,
    stop: watch::Sender<()>,
    server: Option<JoinHandle<()>>,
}

/// Why an upstream did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address is reachable from other machines, and nobody said that this is wanted.
    #[error(
        "{0} is no loopback address; say allow_remote (--allow-remote) to be reachable by other machines"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}{}", listen_hint(.source.kind()))]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// There is no tokio runtime.
    #[error("cannot make a timer: {0}")]
    Timer(io::Error),
    /// The wiremock server that is asked first does not come up.
    #[error("cannot start wiremock: {0}")]
    Stubs(io::Error),
    /// The journal's temporary file cannot be made.
    #[error("cannot make a temporary file for the journal: {0}")]
    Journal(io::Error),
}

/// What helps against a reason for which an address cannot be listened on.
fn listen_hint(reason: io::ErrorKind) -> &'static str {
    match reason {
        io::ErrorKind::AddrInUse => {
            "; another program listens there: stop it, or choose another port (0 takes a free one)"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        io::ErrorKind::PermissionDenied => "; choose a port from 1024 on",
        _ => "",
    }
}

impl MockUpstream {
    /// An upstream with the default configuration on a free port of the loopback interface.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS`, to which the paths of both APIs are appended.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the journal can be fetched.
    pub fn journal_url(&self) -> String {
        format!("{}/__mock/journal", self.base_url())
    }

    /// All journal entries so far. For runs with very many requests, stream the journal's URL instead.
    pub fn journal(&self) -> io::Result<Vec<JournalEntry>> {
        self.player.journal.lines(Selection::default())?.parse()
    }

    /// The entries so far of the requests with a nonce.
    pub fn journal_of(&self, nonce: &str) -> io::Result<Vec<JournalEntry>> {
        let selection = Selection {
            nonce: Some(nonce.to_owned()),
            ..Selection::default()
        };
        self.player.journal.lines(selection)?.parse()
    }

    /// Waits until the journal has at least `count` entries since the start or the last reset, and returns all of them.
    ///
    /// Where fewer come it waits for ever, so a test puts a limit around it:
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # let mock = mock_upstream::MockUpstream::builder().start().await?;
    /// let entries = tokio::time::timeout(Duration::from_secs(10), mock.wait_for(0)).await??;
    /// assert!(entries.is_empty());
    /// # Ok(()) }
    /// ```
    pub async fn wait_for(&self, count: u64) -> io::Result<Vec<JournalEntry>> {
        self.player.journal.reach(count).await;
        self.journal()
    }

    /// Counts so far.
    pub fn stats(&self) -> Stats {
        self.player.stats()
    }

    /// Forgets the journal and the counts.
    pub fn reset(&self) -> io::Result<()> {
        self.player.reset()
    }

    /// Waits until no request is being answered, so that every request so far is in the journal, aborted ones too.
    pub async fn idle(&self) {
        self.player.counters.idle().await;
    }

    /// Waits until a connection cannot be accepted, for want of descriptors or memory, and says why the first could not.
    pub async fn accept_failed(&self) -> &io::Error {
        self.player.counters.first_accept_error().await
    }

    /// Stops accepting, lets the answers that are being written end up to the builder's grace, and stops.
    ///
    /// Panics if an expectation of a mounted stub is not met.
    pub async fn shutdown(mut self) {
        // The server is gone if its runtime is.
        let _ = self.stop.send(());
        if let Some(server) = self.server.take() {
            let _ = server.await;
        }
        if let Some(stubs) = &self.player.stubs {
            stubs.finish().await;
        }
    }
}

impl Drop for MockUpstream {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

/// Makes a [`MockUpstream`].
#[derive(Clone)]
#[must_use]
pub struct Builder {
    config: Config,
    listen: SocketAddr,
    allow_remote: bool,
    grace: Duration,
    mount: Option<Arc<Mount>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: Config::default(),
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            allow_remote: false,
            grace: DEFAULT_GRACE,
            mount: None,
        }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Builder")
            .field("config", &self.config)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// What the upstream is told to be.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How requests are answered that no profile is for: the part of the configuration that most tests are about.
    ///
    /// ```
    /// use mock_upstream::MockUpstream;
    /// use mock_upstream::config::{Behaviour, Dialect, Fault, FaultKind};
    ///
    /// let builder = MockUpstream::builder().behaviour(Behaviour {
    ///     dialect: Dialect::Mistral,
    ///     faults: vec![Fault::new(FaultKind::Cut)],
    ///     ..Behaviour::default()
    /// });
    /// ```
    pub fn behaviour(mut self, behaviour: Behaviour) -> Self {
        self.config.behaviour = behaviour;
        self
    }

    /// Where it listens: 127.0.0.1 and a free port by default.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Whether it may listen where other machines can reach it.
    pub fn allow_remote(mut self, allow: bool) -> Self {
        self.allow_remote = allow;
        self
    }

    /// Whether the journal has the times of each frame, see [`Config::journal_frames`].
    pub fn journal_frames(mut self, journal: bool) -> Self {
        self.config.journal_frames = journal;
        self
    }

    /// How long [`MockUpstream::shutdown`] lets answers go on.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Stubs that answer before the upstream does, in wiremock's terms; their answers are passed through unpaced. Only
    /// the upstream's own endpoints (`/`, `/health`, `/metrics`, `/__mock/...`) come before them.
    ///
    /// They are made anew for each wiremock server, see [`Config::rotate_after`]: set that to 0 where a stub
    /// expects a number of calls, since each server counts for itself. With [`Config::direct`] they are not consulted.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// use mock_upstream::wiremock::matchers::path;
    /// use mock_upstream::wiremock::{Mock, ResponseTemplate};
    /// use mock_upstream::{Config, MockUpstream};
    ///
    /// let mock = MockUpstream::builder()
    ///     .config(Config { rotate_after: 0, ..Config::default() })
    ///     .stubs(|| {
    ///         let embeddings = Mock::given(path("/v1/embeddings"));
    ///         vec![embeddings.respond_with(ResponseTemplate::new(501)).expect(1)]
    ///     })
    ///     .start()
    ///     .await?;
    /// // ... the code under test calls mock.base_url() ...
    /// # let mut client = tokio::net::TcpStream::connect(mock.address()).await?;
    /// # client.write_all(b"POST /v1/embeddings HTTP/1.0\r\n\r\n").await?;
    /// # let mut answer = String::new();
    /// # client.read_to_string(&mut answer).await?;
    /// # assert!(answer.contains(" 501 "));
    /// mock.shutdown().await;
    /// # Ok(()) }
    /// ```
    ///
    /// An expectation that is not met fails the test when the upstream is shut down:
    ///
    /// ```should_panic
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use mock_upstream::wiremock::matchers::path;
    /// # use mock_upstream::wiremock::{Mock, ResponseTemplate};
    /// # use mock_upstream::{Config, MockUpstream};
    /// # let stub = || vec![Mock::given(path("/x")).respond_with(ResponseTemplate::new(501)).expect(1)];
    /// let mock = MockUpstream::builder().stubs(stub).start().await?;
    /// // Nobody calls it.
    /// mock.shutdown().await; // panics: "Verifications failed"
    /// # Ok(()) }
    /// ```
    pub fn stubs(
        mut self,
        mount: impl Fn() -> Vec<wiremock::Mock> + Send + Sync + 'static,
    ) -> Self {
        self.mount = Some(Arc::new(mount));
        self
    }

    /// Starts it in the current tokio runtime, which may have one thread or several.
    pub async fn start(self) -> Result<MockUpstream, StartError> {
        self.config.validate("config")?;
        if !self.listen.ip().is_loopback() && !self.allow_remote {
            return Err(StartError::NotLoopback(self.listen));
        }
        let listen_error = |source| StartError::Listen {
            address: self.listen,
            source,
        };
        let listener = TcpListener::bind(self.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        #[cfg(target_os = "linux")]
        player::widen_descriptor_table(&listener);
        let config = Arc::new(self.config);
        let state = Arc::new(State::default());
        let stubs = if config.direct {
            None
        } else {
            let stubs = Stubs::start(Arc::clone(&config), Arc::clone(&state), self.mount);
            Some(stubs.await.map_err(StartError::Stubs)?)
        };
        let player = Arc::new(Player {
            config,
            state,
            journal: Arc::new(Journal::new().map_err(StartError::Journal)?),
            counters: Counters::new(),
            door: Door::new(address),
            stubs,
            timer: Timer::new().map_err(StartError::Timer)?,
            started: Instant::now(),
            next_seq: AtomicU64::new(0),
        });
        let (stop, stopped) = watch::channel(());
        let server = tokio::spawn(player::serve(
            Arc::clone(&player),
            listener,
            stopped,
            self.grace,
        ));
        Ok(MockUpstream {
            player,
            address,
            stop,
            server: Some(server),
        })
    }
}
