//! The real transport: reqwest with rustls.
//!
//! Redirects and retries are off: one request asked for is one request sent. A live target honours
//! the proxy variables; the offline one does not. HTTP/1.1 unless the scenario says 2.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{io, mem};

use ::http::{HeaderMap, HeaderName, HeaderValue, Version};
use bytes::Bytes;
use http_body::Body as _;
use reqwest::{Certificate, Client, Method, Url, redirect, retry};
use tower::util::MapFutureLayer;

use super::{Body, Connects, Failure, Head, Transport};
use crate::clock::Start;
use crate::endpoint::Endpoint;
use crate::protocol::Encoded;
use crate::record::Outcome;

/// The credential header of each endpoint, by its path.
pub type Credentials = BTreeMap<&'static str, (HeaderName, HeaderValue)>;

/// What a client is built from.
#[derive(Clone, Debug)]
pub struct Options {
    /// `scheme://host[:port]`.
    pub origin: String,
    /// Whether proxy variables are honoured.
    pub proxy: bool,
    /// HTTP/2 instead of 1.1.
    pub http2: bool,
    /// Further certificate authorities, PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Headers of every request.
    pub headers: HeaderMap,
    /// The credential of each endpoint.
    pub credentials: Credentials,
    /// Limit of a connect.
    pub connect_timeout: Duration,
    /// Connections to keep: the requests in flight, at most.
    pub connections: usize,
    /// The run's start, for timing connects.
    pub start: Start,
}

/// The client cannot be built; before any request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file holds no certificates.
    #[error("`target.ca_file` holds no PEM certificate that can be read: {0}")]
    Certificates(String),
    /// The library refuses the options.
    #[error("the HTTP client cannot be built: {0}")]
    Build(String),
    /// Not enough file descriptors.
    #[error(
        "the plan needs {needed} file descriptors, but the limit is {limit}; raise it with `ulimit -n {needed}` or lower the concurrency or `load.max_in_flight`"
    )]
    Descriptors {
        /// Connections and files of the plan.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
}

/// A client of one worker, with a connection pool of its own.
#[derive(Clone)]
pub struct HttpTransport {
    client: Client,
    /// Where each endpoint is, by its path.
    urls: Arc<BTreeMap<&'static str, Url>>,
    headers: HeaderMap,
    credentials: Arc<Credentials>,
    counters: Arc<Counters>,
    http2: bool,
}

#[derive(Debug, Default)]
struct Counters {
    begun: AtomicU64,
    ended: AtomicU64,
    sum_ns: AtomicU64,
    max_ns: AtomicU64,
}

impl HttpTransport {
    /// A new client.
    pub fn new(options: &Options) -> Result<Self, ClientError> {
        // ring is the one provider that is built in; a second installation is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let counters = Arc::new(Counters::default());
        let mut builder = Client::builder()
            .user_agent(concat!("weighbridge/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .tcp_nodelay(true)
            .connect_timeout(options.connect_timeout)
            .pool_max_idle_per_host(options.connections)
            .pool_idle_timeout(None)
            .connector_layer(counting(counters.clone(), options.start));
        if !options.proxy {
            builder = builder.no_proxy();
        }
        builder = match (options.http2, options.origin.starts_with("https://")) {
            (false, _) => builder.http1_only(),
            // With TLS the version is negotiated; without, it has to be known.
            (true, false) => builder.http2_prior_knowledge(),
            (true, true) => builder,
        };
        if let Some(pem) = &options.ca_pem {
            let certificates = certificates(pem)?;
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder
            .build()
            .map_err(|error| ClientError::Build(chain(&error)))?;
        let mut urls = BTreeMap::new();
        for endpoint in Endpoint::ALL {
            let url = format!("{}{}", options.origin, endpoint.path());
            let url = Url::parse(&url).map_err(|error| ClientError::Build(error.to_string()))?;
            urls.insert(endpoint.path(), url);
        }
        Ok(Self {
            client,
            urls: Arc::new(urls),
            headers: options.headers.clone(),
            credentials: Arc::new(options.credentials.clone()),
            counters,
            http2: options.http2,
        })
    }

    /// The body of a GET of `url`, with the credentials of neither endpoint: for the journal of an
    /// upstream, after the run.
    pub async fn get(&self, url: &str) -> Result<HttpBody, Failure> {
        let response = self.client.get(url).send().await.map_err(|e| failure(&e))?;
        if !response.status().is_success() {
            let message = format!("{url} answered {}", response.status());
            return Err(Failure {
                outcome: Outcome::HttpError,
                message,
            });
        }
        Ok(HttpBody(response.into()))
    }
}

/// An answer to a question that is asked after the load.
pub struct Told {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: HttpBody,
}

impl HttpTransport {
    /// A GET of `url`. Where it is of the target's own origin, it is made with the headers of every
    /// request, and with the credential of the endpoint at `path`, or of any: they are nobody else's.
    pub async fn ask(&self, url: &str, path: Option<&str>) -> Result<Told, Failure> {
        let unsound = |error: &dyn std::fmt::Display| Failure {
            outcome: Outcome::ConnectFailed,
            message: format!("no URL that can be asked: {error}"),
        };
        let url = Url::parse(url).map_err(|error| unsound(&error))?;
        let own = self.urls.values().any(|own| own.origin() == url.origin());
        let mut request = reqwest::Request::new(Method::GET, url);
        if own {
            request.headers_mut().extend(self.headers.clone());
            let credential = match path {
                Some(path) => self.credentials.get(path),
                None => self.credentials.values().next(),
            };
            if let Some((name, value)) = credential {
                request.headers_mut().insert(name.clone(), value.clone());
            }
        }
        let sent = self.client.execute(request).await;
        let response = sent.map_err(|error| failure(&error))?;
        Ok(Told {
            status: response.status().as_u16(),
            body: HttpBody(response.into()),
        })
    }
}

type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Counts and times connects.
fn counting<F, T, E>(
    counters: Arc<Counters>,
    start: Start,
) -> MapFutureLayer<impl Fn(F) -> Connecting<T, E> + Clone>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    MapFutureLayer::new(move |connecting: F| -> Connecting<T, E> {
        let counters = counters.clone();
        Box::pin(async move {
            counters.begun.fetch_add(1, Ordering::Relaxed);
            let begun = start.elapsed();
            let result = connecting.await;
            let took = start.elapsed().saturating_sub(begun);
            let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            counters.sum_ns.fetch_add(nanos, Ordering::Relaxed);
            counters.max_ns.fetch_max(nanos, Ordering::Relaxed);
            counters.ended.fetch_add(1, Ordering::Relaxed);
            result
        })
    })
}

impl Transport for HttpTransport {
    type Body = HttpBody;

    async fn send(
        &self,
        request: Encoded,
        trace_id: &str,
        attempt: u32,
    ) -> Result<(Head, HttpBody), Failure> {
        let mut headers = request.headers;
        // The scenario's own word stands over the protocol's.
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        if let Some((name, value)) = self.credentials.get(request.path) {
            headers.insert(name.clone(), value.clone());
        }
        // W3C trace context: the parent id tells attempts of one request apart; never all zeros.
        let parent = format!("00-{trace_id}-{:016x}-01", u64::from(attempt) + 1);
        if let Ok(value) = HeaderValue::from_str(&parent) {
            headers.insert("traceparent", value);
        }
        let mut sent = reqwest::Request::new(Method::POST, self.urls[request.path].clone());
        *sent.headers_mut() = headers;
        *sent.body_mut() = Some(request.body.into());
        let mut response = self
            .client
            .execute(sent)
            .await
            .map_err(|error| failure(&error))?;
        let head = Head {
            status: response.status().as_u16(),
            headers: mem::take(response.headers_mut()),
            downgraded: self.http2 && response.version() != Version::HTTP_2,
        };
        Ok((head, HttpBody(response.into())))
    }

    fn connects(&self) -> Connects {
        Connects {
            // Read in this order, a connect that ends in between is not seen as ended unbegun.
            ended: self.counters.ended.load(Ordering::Relaxed),
            begun: self.counters.begun.load(Ordering::Relaxed),
            sum_ns: self.counters.sum_ns.load(Ordering::Relaxed),
            max_ns: self.counters.max_ns.load(Ordering::Relaxed),
        }
    }
}

/// The body of a reqwest response; the rest of it is let go, since thousands may be open at once.
pub struct HttpBody(reqwest::Body);

impl Body for HttpBody {
    async fn frame(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            let next = poll_fn(|cx| Pin::new(&mut self.0).poll_frame(cx)).await?;
            match next.map(http_body::Frame::into_data) {
                Ok(Ok(bytes)) => return Some(Ok(bytes)),
                // Trailers hold nothing that is measured.
                Ok(Err(_)) => {}
                Err(error) => return Some(Err(failure(&error))),
            }
        }
    }
}

/// The certificate authorities of a PEM file; at least one.
pub fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, ClientError> {
    let certificates = Certificate::from_pem_bundle(pem)
        .map_err(|error| ClientError::Certificates(error.to_string()))?;
    if certificates.is_empty() {
        return Err(ClientError::Certificates("no certificate in it".to_owned()));
    }
    Ok(certificates)
}

/// Raises this process's limit of open files to what the plan needs, or says that it cannot.
pub fn ensure_descriptors(needed: u64) -> Result<(), ClientError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // `None` is no limit.
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let too_low = |limit| ClientError::Descriptors { needed, limit };
    if let Some(maximum) = limit.maximum.filter(|maximum| *maximum < needed) {
        return Err(too_low(maximum));
    }
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(needed),
            maximum: limit.maximum,
        },
    )
    .map_err(|_| too_low(limit.current.unwrap_or(0)))
}

/// What a reqwest error means for an attempt.
fn failure(error: &reqwest::Error) -> Failure {
    let outcome = if error.is_connect() {
        if error.is_timeout() {
            Outcome::TimeoutConnect
        } else {
            Outcome::ConnectFailed
        }
    } else if ends_early(error) {
        Outcome::Truncated
    } else {
        Outcome::Reset
    };
    Failure {
        outcome,
        message: chain(error),
    }
}

/// Whether the connection was closed in an orderly way before the message was complete.
fn ends_early(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(inner) = source {
        if inner
            .downcast_ref::<io::Error>()
            .is_some_and(|e| e.kind() == io::ErrorKind::UnexpectedEof)
        {
            return true;
        }
        // hyper names a closed connection without exporting its error through reqwest.
        let text = inner.to_string();
        if text.contains("connection closed before message completed")
            || text.contains("unexpected EOF during chunk")
            || text.contains("end of file before message length reached")
        {
            return true;
        }
        source = inner.source();
    }
    false
}

/// The causes of an error in one line; the URL is left out, since every row has it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut parts = Vec::new();
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if parts
            .last()
            .is_none_or(|last: &String| !last.contains(&text))
        {
            parts.push(text);
        }
        source = inner.source();
    }
    if parts.is_empty() {
        error.to_string()
    } else {
        parts.join(": ")
    }
}
