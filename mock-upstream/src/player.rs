//! The half that performs scripts in time, and writes down what it did.
//!
//! A hyper server reads each request, has its script decided, and hands every frame over at its moment as a chunk
//! of its own. *Written* in the journal means: handed to hyper, which flushes it to the socket as soon as this body
//! has nothing more that is due. The socket's buffer and the network come after that. A client that does not read
//! holds frames back, and they count as late.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use precise_timer::{Sleep, Timer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::journal::{Journal, JournalEntry, Lines};
use crate::responder::{self, Received};
use crate::script::{Content, Ending, Frame as ScriptFrame, Frames, Script, Truth};
use crate::stats::{Counters, Stats};
use crate::stubs::{Decision, Stubs};

/// The largest request body, and the largest answer of an author's stub, that is read into memory.
pub(crate) const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long accepting pauses when the system has no descriptor or memory left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Streams on one HTTP/2 connection; hyper's default of 200 is less than a gateway under load multiplexes.
const HTTP2_STREAMS_MAX: u32 = 10_000;

/// Everything that the connections share.
#[derive(Debug)]
pub(crate) struct Player {
    pub(crate) config: Arc<Config>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) counters: Counters,
    /// `None` where scripts are decided directly.
    pub(crate) stubs: Option<Stubs>,
    pub(crate) timer: Timer,
    pub(crate) started: Instant,
    pub(crate) next_seq: AtomicU64,
}

/// Serves until `stop` changes, then lets the answers that are being written end for at most `grace`.
pub(crate) async fn serve(
    player: Arc<Player>,
    listener: TcpListener,
    mut stop: watch::Receiver<()>,
    grace: Duration,
) {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http2().max_concurrent_streams(HTTP2_STREAMS_MAX);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let stream: TcpStream = tokio::select! {
            biased;
            // An error means that the handle is gone: nobody can stop this server any more, so it stops.
            _ = stop.changed() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                stream
            }
        };
        // Fails only if the client is gone already, which the connection finds out itself.
        let _ = stream.set_nodelay(true);
        let player = Arc::clone(&player);
        let service = service_fn(move |request| {
            let player = Arc::clone(&player);
            async move { Ok::<_, Infallible>(player.answer(request).await) }
        });
        let connection = http
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let watched = graceful.watch(connection);
        connections.spawn(async move {
            // A broken connection is the client's business; the journal has what was written.
            let _ = watched.await;
        });
    }
    drop(listener);
    // Past the limit the rest is aborted, which journals it as not completed.
    let _ = tokio::time::timeout(grace, graceful.shutdown()).await;
    connections.shutdown().await;
}

/// Makes the kernel grow the process's table of descriptors now, instead of under load.
///
/// In a process with several threads, and wiremock has one of its own, the open that outgrows the table waits for
/// every CPU to pass through the scheduler: 10 to 30 ms were measured at 128, 350 and 860 concurrent streams, in
/// which no frame leaves. The table never shrinks, so taking a high number once is enough.
#[cfg(target_os = "linux")]
pub(crate) fn widen_descriptor_table(listener: &TcpListener) {
    // The highest number that the process's limit allows wins; without any, it is as it would have been.
    let _ = [65_535, 16_383, 4_095, 1_023]
        .into_iter()
        .find_map(|number| rustix::io::fcntl_dupfd_cloexec(listener, number).ok());
}

impl Player {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Answer> {
        let path = request.uri().path();
        if path == "/health" || path.starts_with("/__mock/") {
            return self.control(&request);
        }
        self.complete(request).await
    }

    /// The upstream's own endpoints, which no API has.
    fn control<B>(&self, request: &Request<B>) -> Response<Answer> {
        let uri = request.uri();
        let allowed = match uri.path() {
            "/health" | "/__mock/journal" | "/__mock/stats" => Method::GET,
            "/__mock/reset" => Method::POST,
            _ => return text(StatusCode::NOT_FOUND, "unknown path\n"),
        };
        if *request.method() != allowed {
            return text(StatusCode::METHOD_NOT_ALLOWED, &format!("use {allowed}\n"));
        }
        let answered = match uri.path() {
            "/health" => Ok(json(&serde_json::json!({"status": "ok"}))),
            "/__mock/stats" => Ok(json(&self.counters.snapshot())),
            "/__mock/reset" => self.reset().map(|()| text(StatusCode::NO_CONTENT, "")),
            _ => {
                let nonce = uri.query().and_then(|query| query_value(query, "nonce"));
                self.journal.lines(nonce.map(str::to_owned)).map(|lines| {
                    let mut response = Response::new(Answer::Journal(lines));
                    content_type(&mut response, "application/x-ndjson");
                    response
                })
            }
        };
        answered.unwrap_or_else(|error| {
            let reason = format!("failed to use the journal's file: {error}\n");
            text(StatusCode::INTERNAL_SERVER_ERROR, &reason)
        })
    }

    pub(crate) fn reset(&self) -> io::Result<()> {
        self.counters.clear();
        self.journal.clear()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.counters.snapshot()
    }

    /// Has the script of an API request decided, and starts to perform it.
    async fn complete(self: Arc<Self>, request: Request<Incoming>) -> Response<Answer> {
        let receipt = Receipt {
            at: Instant::now(),
            unix_us: unix_us(),
            seq: self.next_seq.fetch_add(1, Ordering::Relaxed),
            presence: Presence::enter(&self),
        };
        let (parts, body) = request.into_parts();
        let script = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => self.decide(&parts, body.to_bytes(), &receipt).await,
            Err(error) if error.is::<LengthLimitError>() => {
                let received = receipt.received(&parts, &[]);
                responder::refuse_as(
                    &received,
                    &self.config,
                    StatusCode::PAYLOAD_TOO_LARGE,
                    &format!("the body is larger than {BODY_BYTES_MAX} bytes"),
                )
            }
            Err(error) => {
                // The client is gone, most likely; the answer is for one that is not.
                let received = receipt.received(&parts, &[]);
                let reason = format!("the body could not be read: {error}");
                responder::refuse_as(&received, &self.config, StatusCode::BAD_REQUEST, &reason)
            }
        };
        let status = script.status;
        let headers = script.headers.clone();
        let mut performance = Performance::new(receipt, script);
        performance.opening().await;
        let mut response = Response::new(Answer::Performance(Box::new(performance)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    async fn decide(&self, parts: &Parts, body: Bytes, receipt: &Receipt) -> Script {
        let received = receipt.received(parts, &body);
        let Some(stubs) = &self.stubs else {
            return responder::respond(&received, &self.config);
        };
        let decided = stubs
            .decide(
                parts,
                body.clone(),
                receipt.seq,
                receipt.unix_us,
                &self.counters,
            )
            .await;
        match decided {
            Ok(Decision::Script(script)) => *script,
            Ok(Decision::Stub {
                status,
                headers,
                body,
            }) => {
                let mut frames = Frames::new();
                frames.push(Duration::ZERO, Content::Frame, &body);
                let mut script = Script {
                    status,
                    headers,
                    frames,
                    ending: Ending::Clean,
                    truth: responder::identify(&received),
                };
                script
                    .headers
                    .insert(header::CONTENT_LENGTH, body.len().into());
                script
            }
            Err(error) => responder::refuse_as(
                &received,
                &self.config,
                StatusCode::INTERNAL_SERVER_ERROR,
                &error.to_string(),
            ),
        }
    }
}

/// One request's arrival.
struct Receipt {
    at: Instant,
    unix_us: u64,
    seq: u64,
    presence: Presence,
}

impl Receipt {
    fn received<'a>(&self, parts: &'a Parts, body: &'a [u8]) -> Received<'a> {
        Received {
            method: &parts.method,
            path: parts.uri.path(),
            headers: &parts.headers,
            body,
            seq: self.seq,
            unix_us: self.unix_us,
        }
    }
}

/// Counts a request as in flight for as long as it lives.
struct Presence {
    player: Arc<Player>,
}

impl Presence {
    fn enter(player: &Arc<Player>) -> Self {
        player.counters.enter();
        Self {
            player: Arc::clone(player),
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.player.counters.leave();
    }
}

/// A script being performed: the body of a response.
///
/// It journals itself when the last frame leaves, or when it is dropped before that.
pub(crate) struct Performance {
    bytes: Bytes,
    frames: Vec<ScriptFrame>,
    ending: Ending,
    truth: Option<Box<Truth>>,
    status: StatusCode,
    receipt: Receipt,
    next: usize,
    sleep: Option<Sleep>,
    /// Whether the connection had a turn to flush the last frame before the cut.
    flushed: bool,
    first_write: Option<Instant>,
    first_token_write: Option<Instant>,
    last_write: Option<Instant>,
    token_events: u64,
    cost_written: bool,
    lateness_ns_max: u64,
}

impl Performance {
    fn new(receipt: Receipt, script: Script) -> Self {
        let (bytes, frames) = script.frames.into_reel();
        Self {
            bytes,
            frames,
            ending: script.ending,
            truth: script.truth.map(Box::new),
            status: script.status,
            receipt,
            next: 0,
            sleep: None,
            flushed: false,
            first_write: None,
            first_token_write: None,
            last_write: None,
            token_events: 0,
            cost_written: false,
            lateness_ns_max: 0,
        }
    }

    /// Waits for the first frame's moment, so that the head leaves with it.
    async fn opening(&mut self) {
        std::future::poll_fn(|context| self.poll_due(context)).await;
    }

    /// Ready when the next frame is due, or at once if there is none.
    fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(frame) = self.frames.get(self.next) else {
            return Poll::Ready(());
        };
        let due = self.receipt.at + frame.at;
        let timer = &self.receipt.presence.player.timer;
        let sleep = self.sleep.get_or_insert_with(|| timer.sleep_until(due));
        ready!(Pin::new(sleep).poll(context));
        Poll::Ready(())
    }

    /// Hands the next frame over: notes the moment, and journals the answer if it was the last.
    fn hand_over(&mut self) -> Bytes {
        let now = Instant::now();
        let frame = self.frames[self.next];
        self.sleep = None;
        self.next += 1;
        self.first_write.get_or_insert(now);
        self.last_write = Some(now);
        if frame.content.has_tokens() {
            self.first_token_write.get_or_insert(now);
            self.token_events += 1;
        }
        self.cost_written |= frame.content.has_cost();
        let late = nanoseconds(now.saturating_duration_since(self.receipt.at + frame.at));
        self.lateness_ns_max = self.lateness_ns_max.max(late);
        if self.truth.is_some() {
            self.receipt.presence.player.counters.count_lateness(late);
        }
        let bytes = self.bytes.split_to(frame.length());
        if self.is_done() {
            self.write_journal(true);
        }
        bytes
    }

    fn is_done(&self) -> bool {
        self.next == self.frames.len() && self.ending == Ending::Clean
    }

    fn write_journal(&mut self, completed: bool) {
        let Some(truth) = self.truth.take() else {
            return;
        };
        let player = &self.receipt.presence.player;
        let since_start =
            |moment: Instant| nanoseconds(moment.saturating_duration_since(player.started));
        let recorded_cost = if self.cost_written {
            truth.cost.clone()
        } else if self.first_write.is_some() {
            truth.header_cost
        } else {
            None
        };
        let entry = JournalEntry {
            seq: self.receipt.seq,
            nonce: truth.nonce,
            trace_id: truth.trace_id,
            endpoint: truth.endpoint,
            path: truth.path,
            model: truth.model,
            stream: truth.stream,
            status: self.status.as_u16(),
            received_unix_us: self.receipt.unix_us,
            received_ns: since_start(self.receipt.at),
            first_write_ns: self.first_write.map(since_start),
            first_token_write_ns: self.first_token_write.map(since_start),
            last_write_ns: self.last_write.map(since_start),
            frames: self.frames.len() as u64,
            frames_written: self.next as u64,
            token_events: self.token_events,
            lateness_ns_max: self.lateness_ns_max,
            usage: truth.usage,
            cost: truth.cost,
            recorded_cost,
            tool_calls: truth.tool_calls,
            text_sha256: truth.text_sha256,
            reasoning_sha256: truth.reasoning_sha256,
            finish: truth.finish,
            fault: truth.fault.map(|fault| fault.name().to_owned()),
            completed,
            body_bytes: truth.body_bytes,
        };
        let journaled = player.journal.append(&entry).is_ok();
        player.counters.count(&entry, journaled);
    }
}

impl Drop for Performance {
    fn drop(&mut self) {
        self.write_journal(false);
    }
}

/// The planted end of a connection.
#[derive(Debug, thiserror::Error)]
#[error("the script cuts the connection here")]
struct Cut;

impl Body for Performance {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.next < self.frames.len() {
            ready!(self.poll_due(context));
            return Poll::Ready(Some(Ok(Frame::data(self.hand_over()))));
        }
        match self.ending {
            Ending::Clean => Poll::Ready(None),
            Ending::Stall => Poll::Pending,
            Ending::Cut if self.flushed => {
                self.write_journal(false);
                Poll::Ready(Some(Err(io::Error::other(Cut))))
            }
            Ending::Cut => {
                // An error drops what hyper still buffers; pending makes it flush first.
                self.flushed = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_done()
    }
}

/// The body of a response.
pub(crate) enum Answer {
    Whole(Full<Bytes>),
    Journal(Lines),
    Performance(Box<Performance>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body)
                .poll_frame(context)
                .map_err(|never| match never {}),
            Self::Journal(lines) => Pin::new(lines).poll_frame(context),
            Self::Performance(performance) => Pin::new(performance.as_mut()).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Journal(lines) => lines.is_end_stream(),
            Self::Performance(performance) => performance.is_end_stream(),
        }
    }
}

fn text(status: StatusCode, text: &str) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(Full::new(Bytes::copy_from_slice(
        text.as_bytes(),
    ))));
    *response.status_mut() = status;
    content_type(&mut response, "text/plain; charset=utf-8");
    response
}

fn json(value: &impl serde::Serialize) -> Response<Answer> {
    let body = serde_json::to_vec(value).expect("counts serialise");
    let mut response = Response::new(Answer::Whole(Full::new(body.into())));
    content_type(&mut response, "application/json");
    response
}

fn content_type(response: &mut Response<Answer>, value: &'static str) {
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
}

/// The value of a query's parameter. Nonces are hexadecimal, so nothing is decoded.
fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Microseconds since 1970, 0 for a clock before that.
fn unix_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
