//! What a gateway says of costs after the load: look-ups by the ids of each attempt, and its ledger.
//!
//! A look-up is asked until it knows the cost, or until the attempt's end is
//! `pricing.lookup_timeout` ago; each attempt is asked for once at least. What it comes to is on the
//! disk at once. Attempts that should be free are asked for once, after all others.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::task::JoinSet;

use super::{RunError, measure};
use crate::billing::policy::{Charge, Policy};
use crate::client::Body as _;
use crate::client::http::HttpTransport;
use crate::clock::Clock;
use crate::late::{LedgerSummary, Lookup};
use crate::manifest::Manifest;
use crate::record::Record;
use crate::scenario::{Ledger, LedgerSource, Scenario};
use crate::store::{Inputs, LedgerFile, RunFolder, StoreError, index_of, join_ledger};
use crate::surface::{LookupUrl, Name};
use crate::time::Offset;

/// Questions under way at once.
const ASKED_AT_ONCE: usize = 8;

/// Attempts that are asked for again and again at the same time.
const WAITING_MAX: usize = 4_096;

/// The first wait before something is asked again; it doubles with each.
const WAIT_FIRST: Duration = Duration::from_millis(250);

/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The limit of one answer to a look-up.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The most of one answer that is read, in bytes.
const ANSWER_MAX: usize = 1 << 20;

/// The limit of one reading of a ledger.
const LEDGER_LIMIT: Duration = Duration::from_secs(60);

/// Where costs are asked for.
pub(super) struct Asking<'a> {
    pub inputs: &'a Inputs,
    pub folder: &'a RunFolder,
    pub transport: &'a HttpTransport,
    /// The target's origin.
    pub origin: &'a str,
}

impl Asking<'_> {
    /// Asks for everything that the scenario names. What could not be asked for is a warning of the
    /// manifest: that is unknown, and what was measured stands. `clock` makes a clock in `runtime`.
    pub fn run(
        &self,
        runtime: &Runtime,
        clock: impl FnOnce() -> std::io::Result<Clock>,
        manifest: &mut Manifest,
    ) {
        let asked = runtime.block_on(async {
            let clock = clock()?;
            let mut signals = measure::signals()?;
            let interrupted = measure::any(&mut signals);
            Ok::<_, RunError>(self.ask(&clock, manifest, interrupted).await?)
        });
        if let Err(error) = asked {
            manifest.warnings.push(format!(
                "costs could not be asked for after the load: {error}"
            ));
        }
    }

    async fn ask(
        &self,
        clock: &Clock,
        manifest: &mut Manifest,
        interrupted: impl Future<Output = ()>,
    ) -> Result<(), StoreError> {
        let pricing = &self.inputs.scenario.pricing;
        let mut interrupted = std::pin::pin!(interrupted);
        let mut whole = true;
        if !pricing.lookups.is_empty() {
            whole = self.look_up(clock, manifest, interrupted.as_mut()).await?;
        }
        if let Some(ledger) = &pricing.ledger {
            let stopped = "interrupted before it was read".to_owned();
            let read = if whole {
                tokio::select! {
                    read = self.read_ledger(clock, ledger, manifest) => read?,
                    () = &mut interrupted => Err(stopped),
                }
            } else {
                Err(stopped)
            };
            if let Err(error) = read {
                let (LedgerSource::File(source) | LedgerSource::Url(source)) = &ledger.source;
                self.folder.write_ledger_summary(&LedgerSummary {
                    source: source.clone(),
                    format: ledger.format.name().to_owned(),
                    error: Some(error),
                    ..LedgerSummary::default()
                })?;
            }
        }
        if !whole {
            manifest.interrupted = true;
            manifest.warnings.push(
                "interrupted while costs were looked up: what was known by then is kept".to_owned(),
            );
        }
        Ok(())
    }

    /// Looks up what every attempt cost; `false` if that was interrupted.
    async fn look_up(
        &self,
        clock: &Clock,
        manifest: &mut Manifest,
        interrupted: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<bool, StoreError> {
        let scenario = &self.inputs.scenario;
        let mut written = self.folder.start_lookups()?;
        let (asks, mut queue) = mpsc::channel(WAITING_MAX);
        let reading = std::thread::Builder::new()
            .name("look-ups".to_owned())
            .spawn({
                let (folder, origin) = (self.folder.clone(), self.origin.to_owned());
                let (lookups, policy) = (scenario.pricing.lookups.clone(), scenario.pricing.policy);
                move || feed(&folder, &lookups, policy, &origin, &asks)
            });
        let reading = match reading {
            Ok(reading) => reading,
            Err(error) => {
                let words = format!("no cost could be looked up: {error}");
                manifest.warnings.push(words);
                return Ok(true);
            }
        };
        let limits = Limits::of(scenario, clock.now());
        let answer = |ask: &Ask| {
            let lookup = &scenario.pricing.lookups[ask.lookup];
            answer(
                self.transport.clone(),
                ask.url.clone(),
                ask.path,
                lookup.clone(),
            )
        };
        let put = |lookup: &Lookup| written.put(lookup);
        let told = ask_all(&mut queue, limits, clock, answer, put, interrupted).await;
        // A reader that waits for room in the queue ends with it.
        drop(queue);
        let without_id = reading.join().expect("reading rows does not panic");
        let whole = told?;
        match without_id? {
            0 => {}
            n => manifest.warnings.push(format!(
                "{n} attempts that may have been charged have no id to look their cost up by"
            )),
        }
        Ok(whole)
    }

    /// Reads the ledger until every complete answer has its row, or the wait is over. The inner error
    /// says why it cannot be read.
    async fn read_ledger(
        &self,
        clock: &Clock,
        ledger: &Ledger,
        manifest: &Manifest,
    ) -> Result<Result<(), String>, StoreError> {
        let policy = self.inputs.scenario.pricing.policy;
        let (index, scope) = index_of(self.folder, manifest, policy)?;
        let join = |path: &std::path::Path, name: &str| {
            let file = LedgerFile {
                path,
                name,
                format: ledger.format,
                columns: ledger.columns.as_ref(),
            };
            join_ledger(self.folder, &index, scope, file)
        };
        match &ledger.source {
            LedgerSource::File(name) => {
                let path = self.inputs.folder.join(name);
                let joined = join(&path, &path.display().to_string());
                Ok(joined.map(|_| ()).map_err(|error| error.to_string()))
            }
            LedgerSource::Url(template) => {
                let url = template.replacen("{base_url}", self.origin, 1);
                let until = clock.now() + ledger.wait;
                let mut wait = WAIT_FIRST;
                loop {
                    let reading = self.download(&url);
                    let read = match tokio::time::timeout(LEDGER_LIMIT, reading).await {
                        Ok(Ok(mut whole)) => {
                            let joined = whole.whole().and_then(|path| join(path, template));
                            joined.map_err(|error| error.to_string())
                        }
                        Ok(Err(error)) => Err(error),
                        Err(_) => Err(format!("did not answer in {} s", LEDGER_LIMIT.as_secs())),
                    };
                    let now = clock.now();
                    let whole = read.as_ref().is_ok_and(|(_, missing)| *missing == 0);
                    if whole || now >= until {
                        return Ok(read.map(|_| ()));
                    }
                    clock.coarse_sleep_until((now + wait).min(until)).await;
                    wait = (wait * 2).min(WAIT_MAX);
                }
            }
        }
    }

    async fn download(&self, url: &str) -> Result<crate::store::Download, String> {
        let mut told = self.transport.ask(url, None).await.map_err(|f| f.message)?;
        if !(200..300).contains(&told.status) {
            return Err(format!("status {}", told.status));
        }
        let mut download = self.folder.start_download().map_err(|e| e.to_string())?;
        while let Some(frame) = told.body.frame().await {
            let bytes = frame.map_err(|failure| failure.message)?;
            download.push(&bytes).map_err(|error| error.to_string())?;
        }
        Ok(download)
    }
}

/// How long is asked.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// From an attempt's end.
    timeout: Duration,
    /// From an attempt's end: a moment at which it must be known whether the cost is known.
    late_after: Option<Duration>,
    /// When the asking began: an error proves nothing, so it has the whole time from here.
    begun: Offset,
}

impl Limits {
    fn of(scenario: &Scenario, begun: Offset) -> Self {
        Self {
            timeout: scenario.pricing.lookup_timeout,
            late_after: scenario.pricing.late_after,
            begun,
        }
    }
}

/// One attempt whose cost is asked for.
#[derive(Clone, Debug)]
struct Ask {
    /// Which of the scenario's look-ups.
    lookup: usize,
    url: String,
    /// The endpoint's path, whose credential it is asked with.
    path: &'static str,
    /// When the attempt ended.
    ended: Offset,
    /// Asked for once, after all others: it should be free.
    once: bool,
    wait: Duration,
    so_far: Lookup,
}

/// What a look-up was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Known(String),
    /// Not yet; why not, where that is worth a word.
    Unknown(Option<String>),
    /// No answer that says anything.
    Failed(String),
}

/// Puts every attempt that may have been charged into the queue, then those that were sent and should be
/// free. Returns how many of the former have no id to be asked for by.
fn feed(
    folder: &RunFolder,
    lookups: &[LookupUrl],
    policy: Policy,
    origin: &str,
    asks: &mpsc::Sender<Ask>,
) -> Result<u64, StoreError> {
    let mut without_id = 0;
    for once in [false, true] {
        folder.each_request(|record| {
            let free = policy.charge(&record) == Charge::Free;
            if free != once || record.sent.is_none() {
                return Ok(());
            }
            let mut asked = false;
            for (n, lookup) in lookups.iter().enumerate() {
                if let Some(ask) = ask(n, lookup, &record, origin, once) {
                    asked = true;
                    // Nobody takes it when the asking has been interrupted.
                    let _ = asks.blocking_send(ask);
                }
            }
            without_id += u64::from(!asked && !once);
            Ok(())
        })?;
    }
    Ok(without_id)
}

fn ask(
    number: usize,
    lookup: &LookupUrl,
    record: &Record,
    origin: &str,
    once: bool,
) -> Option<Ask> {
    let url = lookup.url(|name| match name {
        Name::BaseUrl => Some(origin),
        Name::ResponseId => record.response_id.as_deref(),
        Name::RequestId => record.request_id.as_deref(),
        Name::CallId => record.call_id.as_deref(),
        Name::TraceId => Some(&record.trace_id),
    })?;
    Some(Ask {
        lookup: number,
        url,
        path: record.endpoint.path(),
        ended: record.ended.or(record.sent)?,
        once,
        wait: WAIT_FIRST,
        so_far: Lookup {
            trace_id: record.trace_id.clone(),
            attempt: record.attempt,
            surface: lookup.to_string(),
            digits: None,
            unknown_ns: None,
            known_ns: None,
            tries: 0,
            error: None,
        },
    })
}

/// Asks for everything in the queue; `put` takes each look-up that is over. When that is interrupted,
/// `put` takes what has been asked for as it is, and the result is `false`.
async fn ask_all<F>(
    queue: &mut mpsc::Receiver<Ask>,
    limits: Limits,
    clock: &Clock,
    answer: impl Fn(&Ask) -> F,
    mut put: impl FnMut(&Lookup) -> Result<(), StoreError>,
    mut interrupted: Pin<&mut impl Future<Output = ()>>,
) -> Result<bool, StoreError>
where
    F: Future<Output = Answer> + Send + 'static,
{
    // By the moment at which each is asked for, and in the queue's order.
    let mut waiting: BTreeMap<(Offset, u64), Ask> = BTreeMap::new();
    let mut flying: JoinSet<(u64, Offset, Answer)> = JoinSet::new();
    let mut asked: BTreeMap<u64, Ask> = BTreeMap::new();
    let mut number = 0;
    // The first of those that should be free, while others are asked for.
    let mut held: Option<Ask> = None;
    let mut others_are_over = false;
    let mut open = true;
    loop {
        if waiting.is_empty() && flying.is_empty() && held.is_some() {
            others_are_over = true;
        }
        while open && waiting.len() + flying.len() < WAITING_MAX {
            if held.is_some() && !others_are_over {
                break;
            }
            let next = match held.take() {
                Some(ask) => ask,
                None => match queue.try_recv() {
                    Ok(ask) => ask,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        open = false;
                        break;
                    }
                },
            };
            if next.once && !others_are_over && !(waiting.is_empty() && flying.is_empty()) {
                held = Some(next);
                break;
            }
            number += 1;
            waiting.insert((clock.now(), number), next);
        }
        while flying.len() < ASKED_AT_ONCE {
            let now = clock.now();
            let Some(first) = waiting.first_entry().filter(|first| first.key().0 <= now) else {
                break;
            };
            let ((_, id), ask) = first.remove_entry();
            let answered = answer(&ask);
            flying.spawn(async move { (id, now, answered.await) });
            asked.insert(id, ask);
        }
        if waiting.is_empty() && flying.is_empty() && !open && held.is_none() {
            return Ok(true);
        }
        let has_room = waiting.len() + flying.len() < WAITING_MAX;
        let due = waiting.first_key_value().map(|((due, _), _)| *due);
        let can_ask = flying.len() < ASKED_AT_ONCE;
        tokio::select! {
            Some(joined) = flying.join_next(), if !flying.is_empty() => {
                let (id, asked_at, answer) = joined.expect("asking does not panic");
                let ask = asked.remove(&id).expect("what flies was asked");
                match settle(ask, asked_at, clock.now(), answer, limits) {
                    Settled::Over(lookup) => put(&lookup)?,
                    Settled::Again(due, ask) => {
                        number += 1;
                        waiting.insert((due, number), ask);
                    }
                }
            }
            () = clock.coarse_sleep_until(due.unwrap_or(Offset::MAX)), if due.is_some() && can_ask => {}
            next = queue.recv(), if open && has_room && held.is_none() => match next {
                Some(ask) if ask.once && !others_are_over => held = Some(ask),
                Some(ask) => {
                    number += 1;
                    waiting.insert((clock.now(), number), ask);
                }
                None => open = false,
            },
            () = &mut interrupted => {
                let unknown = waiting.values().chain(asked.values());
                for ask in unknown.filter(|ask| ask.so_far.tries > 0) {
                    put(&ask.so_far)?;
                }
                return Ok(false);
            }
        }
    }
}

enum Settled {
    Over(Lookup),
    /// To be asked for again at this moment.
    Again(Offset, Ask),
}

/// What follows from an answer that came `now` to what was asked at `asked`.
fn settle(mut ask: Ask, asked: Offset, now: Offset, answer: Answer, limits: Limits) -> Settled {
    let lookup = &mut ask.so_far;
    lookup.tries += 1;
    let until = match answer {
        Answer::Known(digits) => {
            lookup.digits = Some(digits);
            lookup.known_ns = Some(now.nanos_since(ask.ended));
            lookup.error = None;
            return Settled::Over(ask.so_far);
        }
        Answer::Unknown(why) => {
            // It was not known when it was asked for; what it was when the answer arrived, nobody knows.
            lookup.unknown_ns = Some(asked.nanos_since(ask.ended));
            lookup.error = why;
            ask.ended + limits.timeout
        }
        Answer::Failed(error) => {
            lookup.error = Some(error);
            limits.begun + limits.timeout
        }
    };
    if ask.once || asked >= until {
        return Settled::Over(ask.so_far);
    }
    // Not beyond a moment at which something is decided.
    let marks = [Some(until), limits.late_after.map(|late| ask.ended + late)];
    let marks = marks.into_iter().flatten().filter(|mark| *mark > now);
    let next = marks.fold(now + ask.wait, Ord::min);
    ask.wait = (ask.wait * 2).min(WAIT_MAX);
    Settled::Again(next, ask)
}

/// Asks the gateway.
async fn answer(
    transport: HttpTransport,
    url: String,
    path: &'static str,
    lookup: LookupUrl,
) -> Answer {
    let asking = async {
        let mut told = match transport.ask(&url, Some(path)).await {
            Ok(told) => told,
            Err(failure) => return Answer::Failed(failure.message),
        };
        match told.status {
            202 | 204 | 404 => return Answer::Unknown(None),
            200..300 => {}
            status => return Answer::Failed(format!("status {status}")),
        }
        let mut body = Vec::new();
        while let Some(frame) = told.body.frame().await {
            match frame {
                Ok(bytes) => body.extend_from_slice(&bytes),
                Err(failure) => return Answer::Failed(failure.message),
            }
            if body.len() > ANSWER_MAX {
                return Answer::Failed(format!("an answer of more than {ANSWER_MAX} bytes"));
            }
        }
        let text = String::from_utf8_lossy(&body);
        match lookup.pointer().digits(&text) {
            Some(digits) => Answer::Known(digits.to_owned()),
            None => Answer::Unknown(Some(format!(
                "status {} without a cost at `{}`",
                told.status,
                lookup.pointer()
            ))),
        }
    };
    match tokio::time::timeout(ANSWER_LIMIT, asking).await {
        Ok(answer) => answer,
        Err(_) => Answer::Failed(format!("no answer in {} s", ANSWER_LIMIT.as_secs())),
    }
}
