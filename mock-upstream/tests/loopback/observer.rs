//! A client that takes a response as it comes, byte by byte, and says how it ended.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// After a response that is whole, as HTTP counts it.
    Whole,
    /// In an orderly way for TCP, before that.
    Early,
    /// In a reset.
    Reset,
    /// The client hung up, since it had seen enough.
    HungUp,
}

/// What came of a response.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    /// The head, if all of it came.
    pub head: Option<String>,
    /// The chunks of the body; of one with a length all bytes are one. The last one may have come in part.
    pub chunks: Vec<Vec<u8>>,
    pub end: End,
}

impl fmt::Debug for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.head.as_deref().unwrap_or("no head");
        write!(formatter, "{head}\n{}\n{:?}", self.text(), self.end)
    }
}

impl Seen {
    pub fn status(&self) -> Option<u16> {
        let status = self.head.as_ref()?.split(' ').nth(1)?;
        Some(status.parse().expect("a status"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.chunks.concat()).into_owned()
    }

    /// The sequence numbers of the text tokens in order, those of other marks than `mark` with a `!`.
    pub fn tokens(&self, mark: &str) -> String {
        let text = self.text();
        let mut tokens = Vec::new();
        for (dot, _) in text.match_indices('.') {
            let digits = text[dot + 1..].split(' ').next().unwrap_or_default();
            let start = dot.saturating_sub(mark.len());
            if let (Ok(number), Some(own)) = (digits.parse::<u64>(), text.get(start..dot)) {
                let foreign = if own == mark { "" } else { "!" };
                tokens.push(format!("{foreign}{number}"));
            }
        }
        tokens.join(" ")
    }
}

/// Posts `body`, and reads until the connection ends or `is_enough` of what came, head and all.
pub async fn observe(
    address: SocketAddr,
    path: &str,
    headers: &str,
    body: &Value,
    is_enough: impl Fn(&str) -> bool,
) -> Seen {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: upstream\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len(),
    );
    stream
        .write_all(request.as_bytes())
        .await
        .expect("the request is taken");
    let mut bytes = Vec::new();
    let end = loop {
        match stream.read_buf(&mut bytes).await {
            Ok(0) => break End::Early,
            Ok(_) if is_enough(&String::from_utf8_lossy(&bytes)) => break End::HungUp,
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                break End::Reset;
            }
        }
    };
    read(&bytes, end)
}

/// Takes a response apart, as far as it came.
fn read(bytes: &[u8], end: End) -> Seen {
    let blank = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let Some(blank) = blank else {
        assert!(bytes.is_empty(), "half a head");
        return Seen {
            head: None,
            chunks: Vec::new(),
            end,
        };
    };
    let head = String::from_utf8_lossy(&bytes[..blank]).into_owned();
    let mut rest = &bytes[blank + 4..];
    let mut chunks = Vec::new();
    let mut is_whole = false;
    if let Some((_, length)) = head.split_once("content-length: ") {
        let length = length.lines().next().expect("a line");
        is_whole = rest.len() == length.parse::<usize>().expect("a length");
        chunks.push(rest.to_vec());
    } else {
        while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
            let size = std::str::from_utf8(&rest[..line]).expect("a size");
            let size = usize::from_str_radix(size, 16).expect("hexadecimal");
            rest = &rest[line + 2..];
            is_whole = size == 0;
            if is_whole {
                assert_eq!(rest, b"\r\n");
                break;
            }
            chunks.push(rest[..size.min(rest.len())].to_vec());
            rest = rest.get(size + 2..).unwrap_or_default();
        }
    }
    Seen {
        head: Some(head),
        chunks,
        end: if is_whole && end == End::Early {
            End::Whole
        } else {
            end
        },
    }
}
