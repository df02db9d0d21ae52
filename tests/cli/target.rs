//! What the program is pointed at.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mock_upstream::config::{Distribution, Fault, FaultKind};
use mock_upstream::{Config, JournalEntry, MockUpstream, Stats};
use tokio::runtime::Runtime;

/// An upstream whose answers begin at once and have a token a millisecond.
pub fn quick() -> Config {
    let mut config = Config::default();
    config.behaviour.timing.ttft_ms = Distribution::Fixed(1.0);
    config.behaviour.timing.gap_ms = Distribution::Fixed(1.0);
    config
}

/// The same, failing every time.
pub fn failing(kind: FaultKind, status: u16) -> Config {
    let mut config = quick();
    config.behaviour.faults = vec![Fault {
        status,
        ..Fault::new(kind)
    }];
    config
}

/// `mock_upstream` on a free loopback port, with a thread of its own.
pub struct Upstream {
    pub origin: String,
    mock: Option<MockUpstream>,
    runtime: Option<Runtime>,
}

impl Upstream {
    pub fn start(config: Config) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let mock = runtime
            .block_on(MockUpstream::builder().config(config).start())
            .expect("an upstream");
        Self {
            origin: mock.base_url(),
            mock: Some(mock),
            runtime: Some(runtime),
        }
    }

    pub fn stats(&self) -> Stats {
        self.mock().stats()
    }

    pub fn journal(&self) -> Vec<JournalEntry> {
        self.mock().journal().expect("a journal")
    }

    pub fn journal_url(&self) -> String {
        self.mock().journal_url()
    }

    fn mock(&self) -> &MockUpstream {
        self.mock.as_ref().expect("runs until it is dropped")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.mock.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A port that refuses connections, held so that nobody else listens on it meanwhile.
pub fn refusing() -> (tokio::net::TcpSocket, String) {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .expect("a free port");
    let address = socket.local_addr().expect("bound");
    (socket, format!("http://{address}"))
}

/// A request as it came.
pub struct Request {
    /// The request line.
    pub line: String,
    /// The header lines.
    pub headers: Vec<String>,
}

impl Request {
    /// The credential that it carries; empty without one.
    pub fn key(&self) -> &str {
        self.header("authorization")
            .map(|value| value.trim_start_matches("Bearer "))
            .or_else(|| self.header("x-api-key"))
            .unwrap_or_default()
    }

    pub fn is_anthropic(&self) -> bool {
        self.line.contains("/v1/messages")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A server for what a decent upstream would never say: `answer` writes the bytes of each response,
/// after which the connection is closed.
pub struct Scripted {
    pub origin: String,
    address: SocketAddr,
    accepted: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    pub fn start(answer: impl Fn(&Request) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (accepted, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let thread = std::thread::spawn({
            let (accepted, stop) = (accepted.clone(), stop.clone());
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    accepted.fetch_add(1, Ordering::SeqCst);
                    // A client that goes away is its own business.
                    let _ = stream.and_then(|stream| serve(stream, &answer));
                }
            }
        });
        Self {
            origin: format!("http://{address}"),
            address,
            accepted,
            stop,
            thread: Some(thread),
        }
    }

    /// Connections so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread where it waits for the next connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: TcpStream, answer: impl Fn(&Request) -> Vec<u8>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let mut lines = lines.into_iter();
    let request = Request {
        line: lines.next().unwrap_or_default(),
        headers: lines.collect(),
    };
    let length: u64 = request
        .header("content-length")
        .and_then(|value| value.parse().ok())
        .unwrap_or(0);
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    stream.write_all(&answer(&request))
}

/// A whole response, after which the connection closes.
pub fn response(status: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let headers: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let headers = headers.concat();
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
