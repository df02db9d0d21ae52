//! The bare reqwest loop: what the library alone costs.
//!
//! The same settings as the harness's client. It reads frame by frame, searches each for content, and keeps stamps.

use std::io;
use std::time::Instant;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Url, redirect, retry};

use crate::answer::{Answer, Reader};
use crate::client::Bare;
use crate::load::{Load, Template};

/// A client whose clones share their connections.
#[derive(Debug, Clone)]
pub struct ReqwestLoop {
    client: reqwest::Client,
    url: Url,
    headers: HeaderMap,
    template: Template,
    events: u64,
}

impl ReqwestLoop {
    /// For `load`.
    pub fn new(load: &Load) -> anyhow::Result<Self> {
        // ring is the one provider that is built in; nothing else installs one in this process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .tcp_nodelay(true)
            .pool_idle_timeout(None)
            .no_proxy()
            .http1_only()
            .build()?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        Ok(Self {
            client,
            url: Url::parse(&format!("http://{}/v1/chat/completions", load.address))?,
            headers,
            template: load.template(),
            events: load.events,
        })
    }
}

impl Bare for ReqwestLoop {
    async fn ask(&self, number: u64) -> io::Result<Answer> {
        let request = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .body(self.template.body(number));
        let mut reader = Reader::new(Instant::now(), self.events);
        let response = request.send().await.map_err(io::Error::other)?;
        let mut response = response.error_for_status().map_err(io::Error::other)?;
        while let Some(frame) = response.chunk().await.map_err(io::Error::other)? {
            reader.take(&frame, Instant::now());
        }
        Ok(reader.finish())
    }
}
