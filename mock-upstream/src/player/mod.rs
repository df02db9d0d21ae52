//! The half that performs scripts in time, and writes down what it did.
//!
//! A hyper server reads each request and has its script decided. The frames of an HTTP/1.1 stream are then written to
//! the socket by the [`conductor`], each as a chunk of its own, past hyper; those of other answers are handed to
//! hyper one by one. *Written* in the journal means: the clock read right before the system call that took the last
//! byte of the frame. There are two exceptions. The last frames of a stream, those that are due when it ends, bear
//! the moment at which they were first offered to the socket together with the terminator. And where hyper writes
//! (HTTP/2, HTTP/1.0, whole bodies), it is the moment at which hyper got the frame, which it flushes at once. The
//! socket's buffer and the network come after that. A client that does not read holds frames back, and they count as
//! late.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use precise_timer::Timer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::billing::ledger::Ledger;
use crate::billing::lookup;
use crate::config::Config;
use crate::journal::{Journal, Lines};
use crate::responder::{self, Arrival, State};
use crate::script::{Content, Ending, Frames, Script};
use crate::stats::{Counters, Stats};
use crate::stubs::{Decision, Stubs};

mod bills;
mod conductor;
mod control;
mod door;
mod line;
mod metrics;
mod performance;
mod reading;

pub(crate) use door::Door;

use conductor::Conductor;
use control::Page;
use door::Entrance;
use line::{Line, StagedBody};
use performance::{PacedBody, Performance, Presence, Receipt};
use reading::Reading;

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
    pub(crate) state: Arc<State>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) counters: Counters,
    pub(crate) door: Door,
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
    let conductor = Arc::new(Conductor::default());
    // Aborted with this function's end.
    let mut conducting = JoinSet::new();
    conducting.spawn(Arc::clone(&conductor).conduct(player.timer.clone()));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut entrance = Entrance::new(&player, listener);
    loop {
        let stream: TcpStream = tokio::select! {
            biased;
            // An error means that the handle is gone: nobody can stop this server any more, so it stops.
            _ = stop.changed() => break,
            Some(_) = connections.join_next() => continue,
            accepted = entrance.accept() => {
                match accepted {
                    Ok(stream) => stream,
                    Err(error) => {
                        player.counters.count_accept_error(error);
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                }
            }
        };
        // Fails only if the client is gone already, which the connection finds out itself.
        let _ = stream.set_nodelay(true);
        let (transport, line) = Line::open(stream, Arc::clone(&conductor));
        let counting = Arc::clone(&player);
        let player = Arc::clone(&player);
        let service = service_fn(move |request| {
            let player = Arc::clone(&player);
            let line = Arc::clone(&line);
            async move { player.answer(request, &line).await }
        });
        let connection = http
            .serve_connection(TokioIo::new(transport), service)
            .into_owned();
        let watched = graceful.watch(connection);
        connections.spawn(async move {
            // A broken connection is the client's business; the journal has what was written.
            if let Err(error) = watched.await
                && is_no_http(error.as_ref())
            {
                counting.counters.count_protocol_error();
            }
        });
    }
    drop(entrance);
    let farewell = async {
        // Whoever follows the journal gets to see how the last answers end.
        player.counters.idle().await;
        player.journal.close();
    };
    // Past the limit the rest is aborted, which journals it as not completed.
    let _ =
        tokio::time::timeout(grace, async { tokio::join!(farewell, graceful.shutdown()) }).await;
    connections.shutdown().await;
}

/// Whether a connection ended because what the client sent is neither HTTP/1 nor HTTP/2.
fn is_no_http(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<hyper::Error>()
        .is_some_and(hyper::Error::is_parse)
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
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        line: &Arc<Line>,
    ) -> Result<Response<Answer>, Unanswered> {
        let path = request.uri().path();
        if path == lookup::PATH {
            return Ok(self.look_up(&request));
        }
        if let Some(page) = Page::at(path) {
            return Ok(self.show(page, request.method(), request.uri().query()));
        }
        self.complete(request, line).await
    }

    pub(crate) fn reset(&self) -> io::Result<()> {
        self.state.clear();
        self.counters.clear();
        self.journal.clear()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.counters.snapshot()
    }

    /// Has the script of an API request decided, and starts to perform it.
    async fn complete(
        self: Arc<Self>,
        request: Request<Incoming>,
        line: &Arc<Line>,
    ) -> Result<Response<Answer>, Unanswered> {
        let at = Instant::now();
        let receipt = Receipt {
            at,
            arrival: Arrival {
                seq: self.next_seq.fetch_add(1, Ordering::Relaxed),
                unix_us: unix_us(),
                at: at.saturating_duration_since(self.started),
            },
            presence: Presence::enter(&self),
        };
        let (parts, body) = request.into_parts();
        let script = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => self.decide(&parts, body.to_bytes(), &receipt).await,
            Err(error) if error.is::<LengthLimitError>() => {
                let received = receipt.received(&parts, &[]);
                responder::refuse_as(
                    &received,
                    &self.config.behaviour,
                    StatusCode::PAYLOAD_TOO_LARGE,
                    &format!("the body is larger than {BODY_BYTES_MAX} bytes"),
                )
            }
            Err(error) => {
                // The client is gone, most likely; the answer is for one that is not.
                let received = receipt.received(&parts, &[]);
                let reason = format!("the body could not be read: {error}");
                responder::refuse_as(
                    &received,
                    &self.config.behaviour,
                    StatusCode::BAD_REQUEST,
                    &reason,
                )
            }
        };
        let Script {
            status,
            headers,
            frames,
            ending,
            truth,
        } = script;
        let (bytes, frames) = frames.into_reel();
        let mut performance = Performance::new(receipt, frames, status, ending, truth);
        // A connection of HTTP/2 has other streams, too, and their answers.
        let own_line = (parts.version != Version::HTTP_2).then_some(line);
        if let Ending::Unanswered { refuse_for } = ending {
            if !refuse_for.is_zero() {
                self.door.close_until(Instant::now() + refuse_for).await;
            }
            if let Some(line) = own_line {
                line.reset();
            }
            return Err(Unanswered);
        }
        // The head leaves with the first frame.
        performance.opening().await;
        performance.note_head();
        // Where hyper uses chunks, which are what the line writes.
        let is_chunked =
            parts.version == Version::HTTP_11 && !headers.contains_key(header::CONTENT_LENGTH);
        let answer = if is_chunked {
            line.enter(performance, bytes)
                .map_or_else(Answer::Paced, Answer::Staged)
        } else {
            let body = PacedBody::new(performance, bytes, own_line.cloned());
            Answer::Paced(Box::new(body))
        };
        let mut response = Response::new(answer);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    async fn decide(&self, parts: &Parts, body: Bytes, receipt: &Receipt) -> Script {
        let received = receipt.received(parts, &body);
        // `OPTIONS *` and `CONNECT` name no path, so they can be sent to no other server.
        let stubs = self.stubs.as_ref();
        let Some(stubs) = stubs.filter(|_| parts.uri.path().starts_with('/')) else {
            return responder::respond(&received, &self.config, &self.state);
        };
        let decided = stubs
            .decide(parts, body.clone(), receipt.arrival, &self.counters)
            .await;
        match decided {
            Ok(Decision::Script(script)) => *script,
            Ok(Decision::Stub {
                status,
                headers,
                body,
            }) => {
                let mut frames = Frames::new();
                frames.push(Duration::ZERO, Content::NOTHING, &body);
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
            // Nothing could have been decided otherwise.
            Err(_) if !stubs.has_author() => {
                responder::respond(&received, &self.config, &self.state)
            }
            Err(error) => responder::refuse_as(
                &received,
                &self.config.behaviour,
                StatusCode::INTERNAL_SERVER_ERROR,
                &error.to_string(),
            ),
        }
    }
}

/// There is no answer, as planted: hyper then gives up the connection (HTTP/2: resets the stream).
#[derive(Debug, thiserror::Error)]
#[error("the script has no answer")]
pub(crate) struct Unanswered;

/// The body of a response.
pub(crate) enum Answer {
    Whole(Full<Bytes>),
    Journal(Reading<Lines>),
    Ledger(Reading<Ledger>),
    Paced(Box<PacedBody>),
    Staged(StagedBody),
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
            Self::Ledger(ledger) => Pin::new(ledger).poll_frame(context),
            Self::Paced(body) => Pin::new(body.as_mut()).poll_frame(context),
            Self::Staged(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Journal(lines) => lines.is_end_stream(),
            Self::Ledger(ledger) => ledger.is_end_stream(),
            Self::Paced(body) => body.is_end_stream(),
            Self::Staged(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Journal(lines) => lines.size_hint(),
            Self::Ledger(ledger) => ledger.size_hint(),
            Self::Paced(body) => body.size_hint(),
            Self::Staged(body) => body.size_hint(),
        }
    }
}

/// Microseconds since 1970, 0 for a clock before that.
fn unix_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
