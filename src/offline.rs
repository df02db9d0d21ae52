//! Starts the offline upstream in this process, on a thread and a runtime of its own, so that its
//! work is not counted as the harness's.

use std::io;
use std::thread::JoinHandle;

use mock_upstream::MockUpstream;
use mock_upstream::config::{Behaviour, Config, Dialect, Distribution, Output, Timing, Tools};
use tokio::sync::oneshot;

use crate::scenario::{Offline, OfflineDialect};

/// A running offline upstream; dropping it stops it.
#[derive(Debug)]
pub struct OfflineUpstream {
    /// `http://127.0.0.1:port`.
    pub origin: String,
    /// Where its journal is.
    pub journal_url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl OfflineUpstream {
    /// Starts one on a free port of the loopback interface.
    pub fn start(config: Config) -> io::Result<Self> {
        let (ready, started) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("upstream".to_owned())
            .spawn(move || {
                let runtime = match tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                {
                    Ok(runtime) => runtime,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                runtime.block_on(async move {
                    match MockUpstream::builder().config(config).start().await {
                        Ok(upstream) => {
                            // If nobody waits for it any more, `stopped` says so at once.
                            let _ = ready.send(Ok((upstream.base_url(), upstream.journal_url())));
                            let _ = stopped.await;
                            upstream.shutdown().await;
                        }
                        Err(error) => drop(ready.send(Err(io::Error::other(error)))),
                    }
                });
            })?;
        let (origin, journal_url) = started
            .recv()
            .map_err(|_| io::Error::other("the offline upstream did not start"))??;
        Ok(Self {
            origin,
            journal_url,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for OfflineUpstream {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic in the upstream has shown itself as failed requests.
            let _ = thread.join();
        }
    }
}

/// The configuration that the keys of a scenario's `[offline]` stand for.
pub fn config(offline: &Offline, seed: u64) -> Config {
    let behaviour = Behaviour {
        dialect: match offline.dialect {
            OfflineDialect::OpenAi => Dialect::OpenAi,
            OfflineDialect::Mistral => Dialect::Mistral,
        },
        timing: Timing {
            ttft_ms: Distribution::LogNormal {
                median: offline.ttft_ms_median,
                sigma: offline.ttft_sigma,
            },
            gap_ms: Distribution::LogNormal {
                median: offline.gap_ms_median,
                sigma: offline.gap_sigma,
            },
            ..Timing::default()
        },
        output: Output {
            reasoning_share: offline.reasoning_share,
            ..Output::default()
        },
        tools: Tools {
            calls: offline.tool_calls,
            ..Tools::default()
        },
        ..Behaviour::default()
    };
    Config {
        seed,
        behaviour,
        ..Config::default()
    }
}
