//! A client that reads HTTP/1.1 by hand, so that chunks, their order and a cut connection can be seen.

use std::collections::HashMap;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A response as far as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: HashMap<String, String>,
    /// The body by HTTP chunks; a body with a length is one.
    pub chunks: Vec<String>,
    /// Whether the body ended as HTTP demands.
    pub complete: bool,
}

impl Reply {
    pub fn text(&self) -> String {
        self.chunks.concat()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The data of each event of a stream.
    pub fn events(&self) -> Vec<Value> {
        self.text()
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).expect("JSON"))
            .collect()
    }
}

/// A connection whose response is read step by step.
pub struct Exchange {
    stream: BufReader<TcpStream>,
}

impl Exchange {
    pub async fn open(
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .expect("the upstream listens");
        Self::over(stream, method, path, headers, body).await
    }

    /// The same on a connection that is open already.
    pub async fn over(
        mut stream: TcpStream,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Self {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: upstream\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len(),
        );
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the request is taken");
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Reads a line without its end; empty at the end of the connection.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        // A reset is an end, too.
        let _ = self.stream.read_line(&mut line).await;
        line.trim_end().to_owned()
    }

    pub async fn head(&mut self) -> (u16, HashMap<String, String>) {
        let status = self.line().await;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut headers = HashMap::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.insert(name.to_owned(), value.to_owned());
        }
        (status.expect("a status line"), headers)
    }

    /// Reads a chunk; `None` if the connection ends before it does.
    pub async fn chunk(&mut self) -> Option<String> {
        let size = usize::from_str_radix(&self.line().await, 16).ok()?;
        let bytes = self.bytes(size + 2).await?;
        Some(
            bytes
                .strip_suffix("\r\n")
                .expect("a chunk's end")
                .to_owned(),
        )
    }

    async fn bytes(&mut self, count: usize) -> Option<String> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).await.ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub async fn finish(mut self) -> Reply {
        let (status, headers) = self.head().await;
        let mut reply = Reply {
            status,
            headers,
            chunks: Vec::new(),
            complete: false,
        };
        if let Some(length) = reply.headers.get("content-length") {
            let length = length.parse().expect("a length");
            if let Some(body) = self.bytes(length).await {
                reply.chunks.push(body);
                reply.complete = true;
            }
            return reply;
        }
        reply.complete = reply.status == 204;
        while let Some(chunk) = self.chunk().await {
            if chunk.is_empty() {
                reply.complete = true;
                break;
            }
            reply.chunks.push(chunk);
        }
        reply
    }
}

pub async fn get(address: SocketAddr, path: &str) -> Reply {
    Exchange::open(address, "GET", path, "", "")
        .await
        .finish()
        .await
}

pub async fn post(address: SocketAddr, path: &str, body: &Value) -> Reply {
    Exchange::open(address, "POST", path, "", &body.to_string())
        .await
        .finish()
        .await
}
