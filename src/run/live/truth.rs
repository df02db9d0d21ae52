//! The truth about a run: the journal of the upstream behind the target.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::client::Body as _;
use crate::client::http::HttpTransport;
use crate::offline::OfflineUpstream;
use crate::scenario::Truth;
use crate::store::{self, Inputs, JournalReader, RunFolder};

/// How long the journal of an upstream may take after the run.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the truth of this run is.
pub(super) fn source(
    inputs: &Inputs,
    upstream: Option<&OfflineUpstream>,
) -> Option<(String, Truth)> {
    match (upstream, &inputs.scenario.target.truth) {
        (Some(upstream), _) => Some((
            "the offline upstream".to_owned(),
            Truth::Url(upstream.journal_url.clone()),
        )),
        (None, Some(Truth::Url(url))) => Some((url.clone(), Truth::Url(url.clone()))),
        (None, Some(Truth::File(file))) => {
            let path = inputs.folder.join(file).display().to_string();
            Some((path.clone(), Truth::File(path)))
        }
        (None, None) => None,
    }
}

/// Reads the journal and keeps what it says about this run's requests.
pub(super) async fn fetch(
    folder: &RunFolder,
    transport: &HttpTransport,
    name: &str,
    source: &Truth,
) -> Result<(), String> {
    let wanted = folder.nonces().map_err(|error| error.to_string())?;
    let mut truths = folder.start_truth().map_err(|error| error.to_string())?;
    let mut journal = JournalReader::new(name, &wanted, |truth| truths.put(&truth));
    match source {
        Truth::File(path) => {
            store::read_truth_file(path.as_ref(), &mut journal)
                .map_err(|error| error.to_string())?;
        }
        Truth::Url(url) => {
            let reading = async {
                let mut body = transport
                    .get(url)
                    .await
                    .map_err(|failure| failure.message)?;
                while let Some(frame) = body.frame().await {
                    let bytes = frame.map_err(|failure| failure.message)?;
                    journal.push(&bytes).map_err(|error| error.to_string())?;
                }
                Ok::<_, String>(())
            };
            let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
            let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
            tokio::select! {
                read = tokio::time::timeout(LIMIT, reading) => read
                    .map_err(|_| format!("{name} did not answer in {} s", LIMIT.as_secs()))??,
                _ = interrupt.recv() => return Err("interrupted while reading it".to_owned()),
                _ = terminate.recv() => return Err("interrupted while reading it".to_owned()),
            }
        }
    }
    journal.finish().map_err(|error| error.to_string())?;
    truths.finish().map_err(|error| error.to_string())
}
