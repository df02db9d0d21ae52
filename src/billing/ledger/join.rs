//! Rows of a ledger -> the attempts of a run that they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::{SignedDuration, Timestamp};

use super::super::policy::{Charge, Policy};
use super::super::recorded::amount_of;
use super::format::Entry;
use crate::endpoint::Endpoint;
use crate::late::{LedgerRow, LedgerSummary, Orphans};
use crate::money::MoneyError;
use crate::record::{Outcome, Record};

/// A row may begin so long before the run: clocks differ.
const BEFORE: SignedDuration = SignedDuration::from_mins(5);

/// And so long after it: bills are late.
const AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Orphans that are kept as rows; all are counted.
const ORPHANS_KEPT_MAX: u64 = 1_000;

/// Groups of orphans; the models of a run are few, but a gateway may write their names in any way.
const ORPHAN_GROUPS_MAX: usize = 100;

/// Ids that stand beside a group of orphans.
const EXAMPLES_MAX: usize = 3;

/// Which id joins, the strongest first; behind the harness's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Call,
    Response,
    Request,
}

/// An attempt as it is joined.
#[derive(Clone, Copy, Debug)]
struct Mine {
    trace: u128,
    attempt: u32,
    /// Whether it may be charged.
    charged: bool,
    /// Whether a row of it is waited for.
    awaited: bool,
}

/// The ids of a run's attempts.
#[derive(Clone, Debug, Default)]
pub struct Index {
    attempts: Vec<Mine>,
    /// (trace id, place in `attempts`), sorted once whole.
    traces: Vec<(u128, u32)>,
    /// (digest of the id, its kind, place in `attempts`), sorted once whole.
    ids: Vec<(u128, Kind, u32)>,
    models: BTreeSet<String>,
    shared: u64,
}

impl Index {
    /// Of no attempt yet, in a run that asked for `models`.
    pub fn new(models: impl IntoIterator<Item = String>) -> Self {
        Self {
            models: models.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Takes up an attempt; `policy` says whether it may be charged.
    pub fn add(&mut self, record: &Record, policy: Policy) {
        let Ok(trace) = u128::from_str_radix(&record.trace_id, 16) else {
            return;
        };
        // More than four billion attempts have no place in any memory.
        let Ok(place) = u32::try_from(self.attempts.len()) else {
            return;
        };
        self.attempts.push(Mine {
            trace,
            attempt: record.attempt,
            charged: policy.charge(record) != Charge::Free,
            awaited: record.outcome == Outcome::Ok,
        });
        self.traces.push((trace, place));
        let ids = [
            (Kind::Call, &record.call_id),
            (Kind::Response, &record.response_id),
            (Kind::Request, &record.request_id),
        ];
        for (kind, id) in ids {
            if let Some(id) = id.as_deref().filter(|id| !id.is_empty()) {
                self.ids.push((digest(id), kind, place));
            }
        }
        if let Some(served) = &record.served_model
            && !self.models.contains(served)
        {
            self.models.insert(served.clone());
        }
    }

    /// Makes it ready for joining.
    #[must_use]
    pub fn finish(mut self) -> Self {
        self.traces.sort_unstable();
        self.ids.sort_unstable();
        let is_shared = |pair: &&[(u128, Kind, u32)]| {
            let (a, b) = (pair[0], pair[1]);
            (a.0, a.1) == (b.0, b.1) && a.2 != b.2
        };
        let pairs = self.ids.windows(2).filter(is_shared);
        let shared: BTreeSet<u128> = pairs.map(|pair| pair[0].0).collect();
        self.shared = shared.len() as u64;
        self
    }

    /// The attempts of a trace.
    fn of_trace(&self, trace: u128) -> &[(u128, u32)] {
        let first = self.traces.partition_point(|(other, _)| *other < trace);
        let rest = &self.traces[first..];
        &rest[..rest.partition_point(|(other, _)| *other == trace)]
    }

    /// The attempts that have this id.
    fn of_id(&self, id: &str) -> &[(u128, Kind, u32)] {
        let digest = digest(id);
        let first = self.ids.partition_point(|(other, _, _)| *other < digest);
        let rest = &self.ids[first..];
        &rest[..rest.partition_point(|(other, _, _)| *other == digest)]
    }

    /// Whether the run asked for `model`, or was answered by it. A gateway may write the provider in
    /// front of it.
    fn knows(&self, model: &str) -> bool {
        let last = model.rsplit('/').next().unwrap_or(model);
        self.models.contains(model)
            || self.models.contains(last)
            || self
                .models
                .iter()
                .any(|own| own.rsplit('/').next() == Some(last))
    }
}

/// 128 bits of an id, so that two of a run do not meet.
fn digest(id: &str) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, id).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

/// The time of a run, in which a row that joins no attempt counts as an orphan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    from: Timestamp,
    until: Timestamp,
}

impl Scope {
    /// Of a run between these moments.
    pub fn new(start: Timestamp, end: Timestamp) -> Self {
        Self {
            from: start.saturating_sub(BEFORE).unwrap_or(Timestamp::MIN),
            until: end.saturating_add(AFTER).unwrap_or(Timestamp::MAX),
        }
    }
}

/// A ledger that is being joined.
#[derive(Debug)]
pub struct Join<'a> {
    index: &'a Index,
    scope: Scope,
    /// Rows of each attempt.
    rows: Vec<u32>,
    /// Rows that only the nonce names, of requests with several attempts: (trace, moment, row).
    undecided: Vec<(u128, Option<Timestamp>, LedgerRow)>,
    summary: LedgerSummary,
    orphans: BTreeMap<(Option<Endpoint>, Option<String>), Orphans>,
}

/// Whom a row is about.
enum About {
    Attempt(u32, String),
    /// One of the attempts of a trace.
    Trace(u128, String),
    /// Several, which is nobody.
    Ambiguous,
    Nobody,
}

impl<'a> Join<'a> {
    /// With the attempts of `index`, in its run's time.
    pub fn new(index: &'a Index, scope: Scope) -> Self {
        Self {
            index,
            scope,
            rows: vec![0; index.attempts.len()],
            undecided: Vec::new(),
            summary: LedgerSummary {
                shared_ids: index.shared,
                ..LedgerSummary::default()
            },
            orphans: BTreeMap::new(),
        }
    }

    /// Takes the next row. Returns it if it is to be kept and can be already. The error is a sum
    /// beyond what an amount can be.
    pub fn take(&mut self, entry: Entry) -> Result<Option<LedgerRow>, MoneyError> {
        self.summary.rows += 1;
        let about = self.about(&entry);
        if matches!(about, About::Ambiguous) {
            self.summary.ambiguous += 1;
        }
        match about {
            About::Attempt(place, column) => Ok(Some(self.join(place, column, row_of(entry)))),
            About::Trace(trace, column) => {
                let started = entry.started;
                let mut row = row_of(entry);
                row.joined_by = Some(column);
                self.undecided.push((trace, started, row));
                Ok(None)
            }
            About::Ambiguous | About::Nobody => self.orphan(entry),
        }
    }

    /// The rows that could not be returned before, and what it all came to.
    pub fn finish(mut self) -> (Vec<LedgerRow>, LedgerSummary) {
        let mut undecided = std::mem::take(&mut self.undecided);
        // By the order of their begin: that of the attempts.
        undecided.sort_by_key(|(trace, started, row)| (*trace, *started, row.line));
        let mut rows = Vec::with_capacity(undecided.len());
        let mut rest = undecided.as_slice();
        while let Some(&(trace, _, _)) = rest.first() {
            let count = rest
                .iter()
                .take_while(|(other, _, _)| *other == trace)
                .count();
            let (these, others) = rest.split_at(count);
            rest = others;
            let places = self.places(trace, these.len());
            for (n, (_, _, row)) in these.iter().enumerate() {
                // What is more than the attempts is the last one's again.
                let place = places[n.min(places.len() - 1)];
                let column = row.joined_by.clone().unwrap_or_default();
                rows.push(self.join(place, column, row.clone()));
            }
        }
        self.summary.orphans = self.orphans.into_values().collect();
        (rows, self.summary)
    }

    /// How many attempts that were answered completely have no row yet.
    pub fn missing(&self) -> u64 {
        let undecided: BTreeSet<u128> = self.undecided.iter().map(|(trace, ..)| *trace).collect();
        let attempts = self.index.attempts.iter().zip(&self.rows);
        attempts
            .filter(|(mine, rows)| mine.awaited && **rows == 0 && !undecided.contains(&mine.trace))
            .count() as u64
    }

    /// The attempts of `trace` that `rows` rows without any other id are about, in order: those that
    /// may be charged and have none yet; all of them if that is not enough.
    fn places(&self, trace: u128, rows: usize) -> Vec<u32> {
        let mut all: Vec<u32> = self.index.of_trace(trace).iter().map(|(_, n)| *n).collect();
        all.sort_unstable_by_key(|n| self.index.attempts[*n as usize].attempt);
        let free: Vec<u32> = all
            .iter()
            .copied()
            .filter(|n| self.rows[*n as usize] == 0)
            .collect();
        let charged: Vec<u32> = free
            .iter()
            .copied()
            .filter(|n| self.index.attempts[*n as usize].charged)
            .collect();
        [charged, free]
            .into_iter()
            .find(|places| places.len() >= rows)
            .unwrap_or(all)
    }

    fn about(&mut self, entry: &Entry) -> About {
        let index = self.index;
        let parsed = entry.nonces.iter().filter_map(|(column, text)| {
            let trace = u128::from_str_radix(text, 16).ok()?;
            (!index.of_trace(trace).is_empty()).then_some((trace, column))
        });
        let mut traces: Vec<(u128, &String)> = parsed.collect();
        traces.dedup_by_key(|(trace, _)| *trace);
        let own = match traces[..] {
            [] => None,
            [(trace, column)] => Some((trace, column.clone())),
            // A conversation quotes its earlier turns, and they their nonces.
            _ => return About::Ambiguous,
        };
        let mut hits: Vec<(Kind, u32, &String)> = Vec::new();
        for (column, id) in &entry.ids {
            hits.extend(
                index
                    .of_id(id)
                    .iter()
                    .map(|(_, kind, n)| (*kind, *n, column)),
            );
        }
        hits.sort_unstable();
        if let Some((trace, column)) = own {
            let of_trace = index.of_trace(trace);
            let all = hits.len();
            hits.retain(|(_, n, _)| index.attempts[*n as usize].trace == trace);
            if hits.is_empty() && all > 0 {
                self.summary.conflicting += 1;
            }
            return match (of_trace, strongest(&hits)) {
                ([(_, only)], _) => About::Attempt(*only, column),
                (_, Some(Ok((n, _)))) => About::Attempt(n, column),
                _ => About::Trace(trace, column),
            };
        }
        match strongest(&hits) {
            None => About::Nobody,
            Some(Err(())) => About::Ambiguous,
            Some(Ok((n, column))) => {
                if hits.iter().any(|(_, other, _)| *other != n) {
                    self.summary.conflicting += 1;
                }
                About::Attempt(n, column.clone())
            }
        }
    }

    fn join(&mut self, place: u32, column: String, row: LedgerRow) -> LedgerRow {
        let mine = self.index.attempts[place as usize];
        let rows = &mut self.rows[place as usize];
        *rows += 1;
        if *rows == 1 {
            self.summary.joined += 1;
        } else {
            self.summary.duplicate += 1;
        }
        *self.summary.joined_by.entry(column.clone()).or_default() += 1;
        LedgerRow {
            trace_id: Some(format!("{:032x}", mine.trace)),
            attempt: Some(mine.attempt),
            joined_by: Some(column),
            ..row
        }
    }

    /// A row of no attempt, which is kept while there is room for it.
    fn orphan(&mut self, entry: Entry) -> Result<Option<LedgerRow>, MoneyError> {
        // Where nothing says when it began, nothing says that it is of this run.
        let in_time = entry
            .started
            .is_some_and(|at| self.scope.from <= at && at <= self.scope.until);
        let models = &entry.models;
        let in_models = models.is_empty() || models.iter().any(|m| self.index.knows(m));
        if !(in_time && in_models) {
            self.summary.out_of_scope += 1;
            return Ok(None);
        }
        self.summary.ledger_only += 1;
        let row = row_of(entry);
        let mut key = (row.endpoint, row.model.clone());
        if self.orphans.len() >= ORPHAN_GROUPS_MAX && !self.orphans.contains_key(&key) {
            key.1 = None;
        }
        let group = self.orphans.entry(key.clone()).or_insert_with(|| Orphans {
            endpoint: key.0,
            model: key.1,
            ..Orphans::default()
        });
        group.count += 1;
        match row.cost.as_deref().and_then(amount_of) {
            Some(amount) => {
                group.cost = Some(group.cost.unwrap_or_default().checked_add(amount)?);
            }
            None => group.without_cost += 1,
        }
        if group.ids.len() < EXAMPLES_MAX {
            group.ids.push(row.id.clone());
        }
        Ok((self.summary.ledger_only <= ORPHANS_KEPT_MAX).then_some(row))
    }
}

/// The attempt that the strongest kind of id names; an error if it names several.
fn strongest<'a>(hits: &[(Kind, u32, &'a String)]) -> Option<Result<(u32, &'a String), ()>> {
    let mut several = None;
    for kind in [Kind::Call, Kind::Response, Kind::Request] {
        let mut of_kind = hits.iter().filter(|(k, _, _)| *k == kind);
        let Some((_, first, column)) = of_kind.next() else {
            continue;
        };
        if of_kind.all(|(_, other, _)| other == first) {
            return Some(Ok((*first, column)));
        }
        several = Some(Err(()));
    }
    several
}

/// What a reader must know of how a ledger was joined.
pub fn warnings(summary: &LedgerSummary) -> Vec<String> {
    let source = &summary.source;
    if let Some(error) = &summary.error {
        return vec![format!(
            "the ledger {source} could not be read, so no bill is held against it: {error}"
        )];
    }
    let counted = [
        (
            summary.ambiguous,
            "rows carry ids that several attempts share; they are joined to none",
        ),
        (
            summary.conflicting,
            "rows carry ids of different attempts; the strongest id counts",
        ),
        (
            summary.shared_ids,
            "ids of the run are of several attempts, so that nothing is joined by them",
        ),
    ];
    let some = counted.iter().filter(|(count, _)| *count > 0);
    let mut warnings: Vec<String> = some
        .map(|(count, words)| format!("the ledger {source}: {count} {words}"))
        .collect();
    if summary.joined == 0 {
        warnings.push(format!(
            "the ledger {source} knows none of the attempts ({} rows): is it of this run's account and time?",
            summary.rows
        ));
    }
    warnings
}

/// The row of an entry that is joined to nothing yet.
fn row_of(entry: Entry) -> LedgerRow {
    let id = entry.ids.into_iter().next().map(|(_, id)| id);
    LedgerRow {
        line: entry.line,
        id: id.unwrap_or_default(),
        trace_id: None,
        attempt: None,
        joined_by: None,
        endpoint: entry.endpoint,
        model: entry.models.into_iter().next(),
        cost: entry.cost,
        started_utc: entry.started.map(|at| at.to_string()),
        input: entry.input,
        output: entry.output,
    }
}
