//! The loop over raw sockets: what receiving costs without any library for HTTP.
//!
//! A request is written as it stands in memory; an answer is over where a chunked body ends. All connections read into
//! one buffer, since a read is taken in before the next.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use crate::answer::{Answer, Reader};
use crate::client::Bare;
use crate::load::{Load, Template};

/// Several answers of a burst at once.
const BUFFER_BYTES: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_BYTES]);
}

/// A client whose clones share their idle connections.
#[derive(Debug, Clone)]
pub struct RawLoop(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    address: String,
    request: Vec<u8>,
    template: Template,
    events: u64,
    idle: Mutex<Vec<Connection>>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
}

impl RawLoop {
    /// For `load`.
    pub fn new(load: &Load) -> Self {
        let template = load.template();
        let body = template.body(0);
        let mut request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             accept: text/event-stream\r\ncontent-length: {}\r\n\r\n",
            load.address,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        Self(Arc::new(Shared {
            address: load.address.clone(),
            request,
            template,
            events: load.events,
            idle: Mutex::default(),
        }))
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            request: self.request.clone(),
        })
    }
}

impl Bare for RawLoop {
    async fn ask(&self, number: u64) -> io::Result<Answer> {
        let shared = &self.0;
        let mut reader = Reader::new(Instant::now(), shared.events);
        let idle = shared.idle().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => shared.connect().await?,
        };
        let Connection { stream, request } = &mut connection;
        shared.template.name(request, number);
        stream.write_all(request).await?;
        let mut first = true;
        while !reader.is_over() {
            poll_fn(|context| read(stream, &mut reader, &mut first, context)).await?;
        }
        shared.idle().push(connection);
        Ok(reader.finish())
    }
}

/// Takes in what the socket has.
fn read(
    stream: &mut TcpStream,
    reader: &mut Reader,
    first: &mut bool,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
        let at = Instant::now();
        let piece = buffer.filled();
        if piece.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        if std::mem::take(first) && !piece.starts_with(b"HTTP/1.1 200 ") {
            let head = String::from_utf8_lossy(&piece[..piece.len().min(80)]);
            return Poll::Ready(Err(io::Error::other(format!("not a success: {head}"))));
        }
        reader.take(piece, at);
        Poll::Ready(Ok(()))
    })
}
