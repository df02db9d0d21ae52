//! The half that decides what is answered: a wiremock server on loopback, renewed every thousand requests or so.
//!
//! wiremock matches requests against the stubs that a test's author mounted, and, at the lowest priority, against a
//! catch-all whose answer is a script. The script does not travel through the socket: it waits in [`Slots`] under
//! the request's number, which goes to wiremock as a header and comes back as one. An answer without that header
//! is the author's, and is passed through as it is.
//!
//! wiremock keeps a clone of each matched request, even with recording off, so a fresh server takes over after
//! `rotate_after` requests and the old one is dropped once its last answer is out. The next server stands by, so
//! that no request waits for it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Respond, ResponseTemplate};

use crate::config::Config;
use crate::player::BODY_BYTES_MAX;
use crate::responder::{self, Arrival, Received, State};
use crate::script::Script;
use crate::stats::Counters;

/// Makes the stubs that a test's author wants, anew for every server that takes over.
pub(crate) type Mount = dyn Fn() -> Vec<Mock> + Send + Sync;

/// The number of the request, on its way to wiremock.
const REQUEST_HEADER: HeaderName = HeaderName::from_static("x-mock-request");

/// The number of the request, on the way back, where a script waits under it.
const SCRIPT_HEADER: HeaderName = HeaderName::from_static("x-mock-script");

/// Requests that are with wiremock at a time; it answers at once, so more connections would only cost.
const CONCURRENT_MAX: usize = 64;

/// Descriptors that a wiremock server's thread and the first connection to it take, with some to spare.
const DESCRIPTORS_OF_ONE: usize = 12;

/// What wiremock decided.
pub(crate) enum Decision {
    /// The mock's own answer.
    Script(Box<Script>),
    /// The answer of a stub that the author mounted.
    Stub {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
}

/// Why wiremock did not decide.
#[derive(Debug, thiserror::Error)]
#[error("the wiremock server did not answer: {0}")]
pub(crate) struct NoDecision(String);

/// The current wiremock server and the one that follows it.
pub(crate) struct Stubs {
    config: Arc<Config>,
    state: Arc<State>,
    mount: Option<Arc<Mount>>,
    slots: Arc<Slots>,
    permits: Semaphore,
    turn: tokio::sync::Mutex<Turn>,
}

struct Turn {
    current: Arc<Server>,
    used: u64,
    /// It did not answer. wiremock accepts no more connections once there was no descriptor for one.
    broken: bool,
    next: Option<JoinHandle<io::Result<Server>>>,
}

/// One wiremock server, and the connections to it.
struct Server {
    /// Taken when dropped.
    wiremock: Option<MockServer>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Stubs {
    pub(crate) async fn start(
        config: Arc<Config>,
        state: Arc<State>,
        mount: Option<Arc<Mount>>,
    ) -> io::Result<Self> {
        let slots = Arc::new(Slots::default());
        let (config_, state_) = (Arc::clone(&config), Arc::clone(&state));
        let current = Server::start(config_, state_, Arc::clone(&slots)).await?;
        current.mount(mount.as_deref()).await;
        let stubs = Self {
            turn: tokio::sync::Mutex::new(Turn {
                current: Arc::new(current),
                used: 0,
                broken: false,
                next: None,
            }),
            config,
            state,
            mount,
            slots,
            permits: Semaphore::new(CONCURRENT_MAX),
        };
        stubs.turn.lock().await.next = stubs.prepare_next();
        Ok(stubs)
    }

    /// Whether a test's author has a say in what is answered.
    pub(crate) fn has_author(&self) -> bool {
        self.mount.is_some()
    }

    /// Asks wiremock what is answered to a request.
    pub(crate) async fn decide(
        &self,
        parts: &Parts,
        body: Bytes,
        arrival: Arrival,
        counters: &Counters,
    ) -> Result<Decision, NoDecision> {
        let _permit = self.permits.acquire().await.map_err(no_decision)?;
        let server = self.server(counters).await;
        let slot = Slot::open(&self.slots, arrival, parts.uri.path());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = parts.method.clone();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = server.uri(path)?;
        *request.headers_mut() = parts.headers.clone();
        strip_connection_headers(request.headers_mut());
        request
            .headers_mut()
            .insert(REQUEST_HEADER, HeaderValue::from(arrival.seq));
        let response = match server.client.request(request).await {
            Ok(response) => response,
            Err(error) => {
                self.turn.lock().await.broken = true;
                return Err(no_decision(error));
            }
        };
        let (mut parts, body) = response.into_parts();
        if parts.headers.contains_key(SCRIPT_HEADER) {
            let script = slot.take().ok_or_else(|| no_decision("no script waits"))?;
            return Ok(Decision::Script(script));
        }
        let body = Limited::new(body, BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(no_decision)?;
        strip_connection_headers(&mut parts.headers);
        Ok(Decision::Stub {
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes(),
        })
    }

    /// The server whose turn it is.
    async fn server(&self, counters: &Counters) -> Arc<Server> {
        let mut turn = self.turn.lock().await;
        let is_used_up = self.config.rotate_after > 0 && turn.used >= self.config.rotate_after;
        if turn.broken || is_used_up {
            // No request waits for a server that may not come up either; without one the present goes on.
            let is_ready = |next: &JoinHandle<_>| is_used_up || next.is_finished();
            let prepared = match turn.next.take_if(|next| is_ready(next)) {
                Some(next) => next.await.ok().and_then(Result::ok),
                None => None,
            };
            if turn.next.is_none() {
                turn.next = Some(tokio::spawn(self.start_server()));
            }
            turn.used = 0;
            if let Some(fresh) = prepared {
                fresh.mount(self.mount.as_deref()).await;
                turn.current = Arc::new(fresh);
                turn.broken = false;
                counters.count_rotation();
            }
        }
        turn.used += 1;
        Arc::clone(&turn.current)
    }

    fn start_server(&self) -> impl Future<Output = io::Result<Server>> + use<> {
        let (config, state) = (Arc::clone(&self.config), Arc::clone(&self.state));
        Server::start(config, state, Arc::clone(&self.slots))
    }

    /// Starts the next server. The author's stubs are mounted when its turn comes: their expectations are checked
    /// when a server is dropped, and one whose turn never came could not meet them.
    fn prepare_next(&self) -> Option<JoinHandle<io::Result<Server>>> {
        (self.config.rotate_after > 0).then(|| tokio::spawn(self.start_server()))
    }

    /// Drops the current server, which panics here if an expectation of the author's stubs is not met.
    pub(crate) async fn finish(&self) {
        let mut turn = self.turn.lock().await;
        if let Some(next) = turn.next.take() {
            next.abort();
        }
        if let Some(server) = Arc::get_mut(&mut turn.current) {
            drop(server.wiremock.take());
        }
    }
}

impl fmt::Debug for Stubs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stubs").finish_non_exhaustive()
    }
}

impl Server {
    async fn start(config: Arc<Config>, state: Arc<State>, slots: Arc<Slots>) -> io::Result<Self> {
        // wiremock panics where it cannot listen, or make a runtime for its thread.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let spare = (0..DESCRIPTORS_OF_ONE).map(|_| listener.try_clone());
        drop(spare.collect::<io::Result<Vec<_>>>()?);
        let wiremock = MockServer::builder()
            .listener(listener)
            .disable_request_recording()
            .start()
            .await;
        let catch_all = Mock::given(any())
            .respond_with(ScriptWriter {
                config,
                state,
                slots,
            })
            .with_priority(u8::MAX);
        wiremock.register(catch_all).await;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let server = Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            wiremock: Some(wiremock),
        };
        server.probe().await?;
        Ok(server)
    }

    /// Fails unless it answers: wiremock's thread may have ended for want of a descriptor.
    async fn probe(&self) -> io::Result<()> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = self.uri("/").map_err(io::Error::other)?;
        let answer = self.client.request(request).await;
        answer.map(drop).map_err(io::Error::other)
    }

    async fn mount(&self, mount: Option<&Mount>) {
        if let (Some(wiremock), Some(mount)) = (&self.wiremock, mount) {
            for mock in mount() {
                wiremock.register(mock).await;
            }
        }
    }

    fn uri(&self, path: &str) -> Result<http::Uri, NoDecision> {
        let wiremock = self
            .wiremock
            .as_ref()
            .ok_or_else(|| no_decision("shut down"))?;
        format!("{}{path}", wiremock.uri())
            .parse()
            .map_err(no_decision)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Dropping it checks expectations, which blocks: not on the thread that paces streams.
        if let Some(wiremock) = self.wiremock.take() {
            std::thread::spawn(move || drop(wiremock));
        }
    }
}

/// Headers that belong to one connection and not to the message.
fn strip_connection_headers(headers: &mut HeaderMap) {
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::HOST,
        header::TE,
        header::UPGRADE,
        header::EXPECT,
    ] {
        headers.remove(name);
    }
}

fn no_decision(reason: impl fmt::Display) -> NoDecision {
    NoDecision(reason.to_string())
}

/// The catch-all's answer: a script, left in the request's slot.
struct ScriptWriter {
    config: Arc<Config>,
    state: Arc<State>,
    slots: Arc<Slots>,
}

impl Respond for ScriptWriter {
    fn respond(&self, request: &wiremock::Request) -> ResponseTemplate {
        let seq = request
            .headers
            .get(REQUEST_HEADER)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        let waiting = seq.and_then(|seq| self.slots.request(seq));
        let Some((arrival, path)) = waiting else {
            return ResponseTemplate::new(500);
        };
        let received = Received {
            method: &request.method,
            path: &path,
            headers: &request.headers,
            body: &request.body,
            arrival,
        };
        let script = responder::respond(&received, &self.config, &self.state);
        self.slots.put(arrival.seq, script);
        ResponseTemplate::new(200).insert_header(SCRIPT_HEADER, HeaderValue::from(arrival.seq))
    }
}

/// Requests that are with wiremock, and the scripts that it decided on.
#[derive(Debug, Default)]
struct Slots {
    waiting: Mutex<HashMap<u64, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    arrival: Arrival,
    /// As it was received: wiremock's has its dots resolved and its odd characters encoded.
    path: String,
    script: Option<Box<Script>>,
}

impl Slots {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, seq: u64) -> Option<(Arrival, String)> {
        let waiting = self.lock();
        let waiting = waiting.get(&seq)?;
        Some((waiting.arrival, waiting.path.clone()))
    }

    fn put(&self, seq: u64, script: Script) {
        // Nobody waits any more if the client hung up.
        if let Some(waiting) = self.lock().get_mut(&seq) {
            waiting.script = Some(Box::new(script));
        }
    }
}

/// One request's slot; closed when dropped, so that a client who hangs up leaves nothing behind.
struct Slot<'a> {
    slots: &'a Slots,
    seq: u64,
}

impl<'a> Slot<'a> {
    fn open(slots: &'a Slots, arrival: Arrival, path: &str) -> Self {
        let waiting = Waiting {
            arrival,
            path: path.to_owned(),
            script: None,
        };
        let seq = arrival.seq;
        slots.lock().insert(seq, waiting);
        Self { slots, seq }
    }

    fn take(self) -> Option<Box<Script>> {
        self.slots.lock().remove(&self.seq)?.script
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.slots.lock().remove(&self.seq);
    }
}
