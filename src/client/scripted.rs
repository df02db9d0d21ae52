//! The in-memory double of the transport: answers by script, in tokio's time, so that a paused
//! clock makes whole runs instant and exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::http::HeaderMap;
use bytes::Bytes;

use super::{Body, Connects, Failure, Head, Transport};
use crate::protocol::Encoded;

/// What one request is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The transport fails after this long.
    Fail(Duration, Failure),
    /// Nothing ever comes.
    Hang,
    /// A response.
    Respond(Response),
}

/// A scripted response; all times are from the moment before.
#[derive(Clone, Debug)]
pub struct Response {
    /// From sending to the head.
    pub head_after: Duration,
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Frames, each so long after the one before.
    pub frames: Vec<(Duration, Bytes)>,
    /// How the body ends.
    pub ending: Ending,
}

/// How a scripted body ends.
#[derive(Clone, Debug)]
pub enum Ending {
    /// In order.
    Complete,
    /// With this failure.
    Fail(Failure),
    /// Never.
    Hang,
}

type Script = dyn Fn(&Encoded, u64) -> Answer + Send + Sync;

/// A transport that answers by a function of the request and its number.
#[derive(Clone)]
pub struct Scripted {
    script: Arc<Script>,
    sent: Arc<AtomicU64>,
}

impl Scripted {
    /// Answers request `n` (from 0, in order of sending) with `script(request, n)`.
    pub fn new(script: impl Fn(&Encoded, u64) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            sent: Arc::new(AtomicU64::new(0)),
        }
    }

    /// How many requests have been sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Transport for Scripted {
    type Body = ScriptedBody;

    async fn send(
        &self,
        request: Encoded,
        _trace_id: &str,
        _attempt: u32,
    ) -> Result<(Head, ScriptedBody), Failure> {
        let n = self.sent.fetch_add(1, Ordering::Relaxed);
        match (self.script)(&request, n) {
            Answer::Fail(after, failure) => {
                tokio::time::sleep(after).await;
                Err(failure)
            }
            Answer::Hang => std::future::pending().await,
            Answer::Respond(response) => {
                tokio::time::sleep(response.head_after).await;
                let head = Head {
                    status: response.status,
                    headers: response.headers,
                    downgraded: false,
                };
                Ok((
                    head,
                    ScriptedBody {
                        frames: response.frames.into_iter(),
                        ending: response.ending,
                    },
                ))
            }
        }
    }

    fn connects(&self) -> Connects {
        Connects::default()
    }
}

/// The body of a scripted response.
#[derive(Debug)]
pub struct ScriptedBody {
    frames: std::vec::IntoIter<(Duration, Bytes)>,
    ending: Ending,
}

impl Body for ScriptedBody {
    async fn frame(&mut self) -> Option<Result<Bytes, Failure>> {
        // A frame is taken only once its time has come: a wait that is cancelled loses none.
        if let Some((after, _)) = self.frames.as_slice().first() {
            if !after.is_zero() {
                tokio::time::sleep(*after).await;
            }
            return self.frames.next().map(|(_, bytes)| Ok(bytes));
        }
        match &self.ending {
            Ending::Complete => None,
            Ending::Fail(failure) => {
                let failure = failure.clone();
                self.ending = Ending::Complete;
                Some(Err(failure))
            }
            Ending::Hang => std::future::pending().await,
        }
    }
}
