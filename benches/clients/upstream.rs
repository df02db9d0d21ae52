//! The upstream: the mock as a process of its own, in direct mode, pinned to a core.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::Context as _;
use mock_upstream::config::Config;

use crate::client::Job;
use crate::process::{self, Part, Used};

/// The core of the upstream.
pub const CORE: usize = 0;

/// A request to the upstream's own endpoints takes no longer.
const LIMIT: Duration = Duration::from_secs(60);

/// When the upstream's content comes. All fixed, so that what differs is the client's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// From the request to the first content event.
    pub ttft_ms: u32,
    /// Between content events.
    pub gap_ms: u32,
    /// Whether the journal shall have the time of each frame.
    pub frame_times: bool,
}

/// The key that asks for the time of each frame.
const FRAME_TIMES: &str = "journal_frames = true\n";

/// Whether the upstream knows the key.
static HAS_FRAME_TIMES: LazyLock<bool> =
    LazyLock::new(|| Config::from_toml(FRAME_TIMES, "bench").is_ok());

/// A running upstream.
#[derive(Debug)]
pub struct Upstream {
    part: Part,
    /// `127.0.0.1:port`.
    pub address: String,
}

impl Upstream {
    /// Starts one; its files go to `folder`.
    pub fn start(pace: Pace, folder: &Path) -> anyhow::Result<Self> {
        let config = folder.join("mock.toml");
        let stderr = folder.join("mock.txt");
        let frames = if pace.frame_times && *HAS_FRAME_TIMES {
            FRAME_TIMES
        } else {
            ""
        };
        std::fs::write(
            &config,
            format!(
                "direct = true\n{frames}[timing]\nttft_ms = {{ fixed = {}.0 }}\ngap_ms = {{ fixed = {}.0 }}\n",
                pace.ttft_ms, pace.gap_ms
            ),
        )?;
        let config = config.to_str().context("a path that is no text")?;
        let arguments = ["mock", "--config", config].map(str::to_owned);
        let job = Job {
            core: CORE,
            bare: None,
            report: None,
        };
        let mut part = Part::start(&job, &arguments, Stdio::piped(), &stderr)?;
        let mut line = String::new();
        BufReader::new(part.stdout()).read_line(&mut line)?;
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .with_context(|| format!("no upstream: {}", process::last_words(&stderr)))?
            .to_owned();
        Ok(Self { part, address })
    }

    /// What it has used by now.
    pub fn used(&self) -> anyhow::Result<Used> {
        self.part.used()
    }

    /// Forgets what was journaled.
    pub fn reset(&self) -> anyhow::Result<()> {
        self.ask("POST", "/__mock/reset").map(drop)
    }

    /// The body of one of its own endpoints.
    pub fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.ask("GET", path)
    }

    fn ask(&self, method: &str, path: &str) -> anyhow::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        // Of HTTP 1.0, so that the body ends with the connection and comes in no chunks.
        write!(stream, "{method} {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let head_end = memchr::memmem::find(&answer, b"\r\n\r\n").context("no HTTP answer")?;
        let head = String::from_utf8_lossy(&answer[..head_end]).into_owned();
        let status = head.split(' ').nth(1).unwrap_or_default();
        anyhow::ensure!(status.starts_with('2'), "{path} answered {head}");
        Ok(answer.split_off(head_end + 4))
    }
}
