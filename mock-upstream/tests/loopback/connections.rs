//! Faults that meet the connection, not only the answer.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mock_upstream::MockUpstream;
use mock_upstream::config::{Fault, FaultKind, Surface};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client::get;
use crate::faults::with_fault;
use crate::observer::{End, observe};
use crate::{CHAT_COMPLETIONS, MESSAGES, on_each_runtime, prompt, start};

/// An upstream where a request with the marker `boom` meets a fault.
///
/// Its address is its own: while it does not listen, nobody else who looks for a free port gets this one, neither the
/// upstream of another test nor the client, which would then be connected to itself.
async fn marked(kind: FaultKind, for_ms: f64) -> MockUpstream {
    let mut fault = Fault::new(kind);
    if kind == FaultKind::Refuse {
        fault.for_ms = for_ms;
    }
    fault.when.marker = Some("boom".to_owned());
    MockUpstream::builder()
        .config(with_fault(fault))
        .listen(SocketAddr::new(own_address(), 0))
        .start()
        .await
        .expect("the upstream starts")
}

/// Linux has all of 127.0.0.0/8; others have only the one address.
fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    if !cfg!(target_os = "linux") {
        return IpAddr::from([127, 0, 0, 1]);
    }
    let [_, _, high, low] = std::process::id().to_be_bytes();
    IpAddr::from([127, high | 1, low, NEXT.fetch_add(1, Ordering::Relaxed)])
}

const MARKER: &str = "x-mock-marker: boom\r\n";

/// Connects as soon as the upstream listens again.
async fn connect(upstream: SocketAddr) -> TcpStream {
    loop {
        match TcpStream::connect(upstream).await {
            Ok(stream) => return stream,
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
        }
        tokio::task::yield_now().await;
    }
}

/// Asks for a path that does not exist, on a connection that is kept.
async fn is_served(stream: &mut TcpStream) -> bool {
    let request = b"GET /nowhere HTTP/1.1\r\nhost: upstream\r\n\r\n";
    stream.write_all(request).await.expect("taken");
    let mut answer = Vec::new();
    while !answer.ends_with(b"}}") {
        assert!(stream.read_buf(&mut answer).await.expect("an answer") > 0);
    }
    answer.starts_with(b"HTTP/1.1 404 ")
}

#[test]
fn connections_are_refused_while_open_ones_go_on_and_the_upstream_stops_meanwhile() {
    on_each_runtime(|| async {
        let mock = marked(FaultKind::Refuse, 3_600_000.0).await;
        let address = mock.address();
        let mut kept = TcpStream::connect(address).await.expect("it listens");
        assert!(is_served(&mut kept).await);
        let seen = observe(address, CHAT_COMPLETIONS, MARKER, &prompt(1, true), |_| {
            false
        })
        .await;
        assert_eq!((seen.head, seen.end), (None, End::Reset));
        let refused = TcpStream::connect(address)
            .await
            .expect_err("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert!(is_served(&mut kept).await);
        let journal = mock.journal().expect("readable");
        assert_eq!(
            (
                journal[0].fault.as_deref(),
                journal[0].completed,
                journal[0].status
            ),
            (Some("refuse"), false, 0)
        );
        mock.shutdown().await;
    });
}

#[test]
fn a_refusal_ends_and_the_port_is_listened_on_again() {
    on_each_runtime(|| async {
        let mock = marked(FaultKind::Refuse, 30.0).await;
        let address = mock.address();
        for _ in 0..2 {
            observe(address, MESSAGES, MARKER, &prompt(1, false), |_| false).await;
            let mut stream = connect(address).await;
            assert!(is_served(&mut stream).await);
        }
        mock.shutdown().await;
    });
}

#[test]
fn a_port_that_was_taken_meanwhile_is_waited_for() {
    on_each_runtime(|| async {
        let mock = marked(FaultKind::Refuse, 300.0).await;
        let address = mock.address();
        observe(address, MESSAGES, MARKER, &prompt(1, false), |_| false).await;
        let other = TcpListener::bind(address)
            .await
            .expect("it is free for 300 ms");
        while mock.stats().listen_errors == 0 {
            tokio::task::yield_now().await;
        }
        drop(other);
        let mut stream = connect(address).await;
        assert!(is_served(&mut stream).await);
        mock.shutdown().await;
    });
}

/// What came of a request over HTTP/2: its status, its body as far as it came, and whether that is all.
async fn ask(
    sender: &mut http2::SendRequest<Full<Bytes>>,
    path: &str,
    marker: &str,
    stream: bool,
) -> (Option<u16>, String, bool) {
    let request = http::Request::post(format!("http://upstream{path}"))
        .header("x-mock-marker", marker)
        .body(Full::new(Bytes::from(prompt(1, stream).to_string())))
        .expect("a request");
    let Ok(response) = sender.send_request(request).await else {
        return (None, String::new(), false);
    };
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return (
                Some(status),
                String::from_utf8_lossy(&bytes).into_owned(),
                false,
            );
        };
        bytes.extend_from_slice(frame.data_ref().expect("no trailers"));
    }
    (
        Some(status),
        String::from_utf8_lossy(&bytes).into_owned(),
        true,
    )
}

#[test]
fn http_2_loses_the_stream_and_keeps_the_connection() {
    on_each_runtime(|| async {
        for (kind, status, begin) in [
            (FaultKind::Refuse, None, false),
            (FaultKind::ResetBeforeHeaders, None, false),
            (FaultKind::ResetAfterHeaders, Some(200), false),
            (FaultKind::Reset, Some(200), true),
            (FaultKind::Cut, Some(200), true),
        ] {
            let mock = marked(kind, 3_600_000.0).await;
            let stream = TcpStream::connect(mock.address())
                .await
                .expect("it listens");
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
            let connection = tokio::spawn(connection);
            for (path, stream) in [
                (CHAT_COMPLETIONS, true),
                (MESSAGES, true),
                (CHAT_COMPLETIONS, false),
            ] {
                let (mut sender, mut other) = (sender.clone(), sender.clone());
                let (struck, whole) = tokio::join!(
                    ask(&mut sender, path, "boom", stream),
                    ask(&mut other, path, "", stream)
                );
                let case = format!("{kind:?} {path} {stream}: {struck:?}");
                assert_eq!((struck.0, struck.2), (status, false), "{case}");
                if stream {
                    let tokens =
                        ["00000000.2 ", "00000000.3 "].map(|token| struck.1.contains(token));
                    assert_eq!(tokens, [begin, false], "{case}");
                } else {
                    assert_eq!(!struck.1.is_empty(), begin, "{case}");
                }
                assert!(whole.2 && whole.1.contains("00000000.4 "), "{whole:?}");
            }
            let address = mock.address();
            let refused = TcpStream::connect(address).await.is_err();
            assert_eq!(refused, kind == FaultKind::Refuse);
            mock.idle().await;
            let journal = mock.journal().expect("readable");
            assert_eq!(journal.len(), 6);
            for entry in journal {
                assert_eq!(entry.completed, entry.fault.is_none());
                assert!(entry.fault.is_none_or(|fault| fault == kind.name()));
            }
            assert!(!connection.is_finished());
            connection.abort();
            mock.shutdown().await;
        }
    });
}

#[test]
fn http_1_0_is_reset_and_cut_too() {
    on_each_runtime(|| async {
        for (kind, is_reset) in [(FaultKind::Reset, true), (FaultKind::Cut, false)] {
            let mock = marked(kind, 0.0).await;
            let mut stream = TcpStream::connect(mock.address())
                .await
                .expect("it listens");
            let body = prompt(1, true).to_string();
            let request = format!(
                "POST {MESSAGES} HTTP/1.0\r\n{MARKER}content-length: {}\r\n\r\n{body}",
                body.len(),
            );
            stream.write_all(request.as_bytes()).await.expect("taken");
            let mut bytes = Vec::new();
            let end = stream.read_to_end(&mut bytes).await;
            let kind = end.err().map(|error| error.kind());
            assert_eq!(kind, is_reset.then_some(ErrorKind::ConnectionReset));
            let text = String::from_utf8_lossy(&bytes);
            assert!(
                text.contains("00000000.2 ") && !text.contains("00000000.3 "),
                "{text}"
            );
            assert_eq!(get(mock.address(), "/health").await.status, 200);
            mock.shutdown().await;
        }
    });
}

#[test]
fn a_head_without_a_frame_has_its_cost_recorded() {
    on_each_runtime(|| async {
        for (kind, after_events, stream, cost) in [
            (FaultKind::ResetAfterHeaders, None, true, Some("0")),
            (FaultKind::ResetAfterHeaders, None, false, Some("0.000013")),
            (FaultKind::Cut, Some(0), true, Some("0")),
            (FaultKind::Reset, Some(0), true, Some("0")),
            (FaultKind::ResetBeforeHeaders, None, true, None),
        ] {
            let mut config = with_fault(Fault {
                after_events,
                ..Fault::new(kind)
            });
            config.behaviour.cost.surfaces = vec![Surface::Header];
            let mock = start(config).await;
            let body = prompt(1, stream);
            observe(mock.address(), CHAT_COMPLETIONS, "", &body, |_| false).await;
            let socket = TcpStream::connect(mock.address()).await.expect("listens");
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
                    .await
                    .expect("HTTP/2");
            let connection = tokio::spawn(connection);
            ask(&mut sender, CHAT_COMPLETIONS, "", stream).await;
            mock.idle().await;
            let journal = mock.journal().expect("readable");
            assert_eq!(journal.len(), 2);
            for entry in journal {
                let recorded = entry.recorded.get("header").map(String::as_str);
                let status = if cost.is_some() { 200 } else { 0 };
                let seen = (recorded, entry.status, entry.token_events);
                assert_eq!(seen, (cost, status, 0), "{kind:?} {entry:?}");
            }
            connection.abort();
            mock.shutdown().await;
        }
    });
}
