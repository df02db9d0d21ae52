//! A run folder -> its [`Report`], from the facts alone: what `run` shows at its end and `report`
//! shows later is made by the same code from the same files.

use std::collections::BTreeMap;

use crate::billing::Attempt;
use crate::billing::prices::PriceTable;
use crate::late::LedgerSummary;
use crate::record::Phase;
use crate::report::{Assembly, AssemblyError, Report, console, markdown, series_csv};
use crate::scenario::{LedgerSource, Scenario};
use crate::store::{RunFolder, StoreError};
use crate::time::{Offset, Window};

/// The facts cannot be made into a report.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// A file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The facts do not add up.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
}

/// Makes the report of a run, at the prices it was made with or at others.
pub fn review(folder: &RunFolder, prices: Option<PriceTable>) -> Result<Report, ReviewError> {
    let manifest = folder.manifest()?;
    let (origin, text) = folder.scenario()?;
    let scenario = Scenario::parse(&origin, &text, &[]).map_err(StoreError::from)?;
    let prices = match prices {
        Some(prices) => prices,
        None => {
            let (name, bytes) = folder.prices()?;
            PriceTable::read(&name, bytes).map_err(StoreError::from)?
        }
    };
    // Of an arm that was killed nobody knows whose turn it was when: it has no rates.
    let fallback = if manifest.windows.is_empty() && !folder.took_turns() {
        windows_of_rows(folder)?
    } else {
        BTreeMap::new()
    };
    let mut assembly = Assembly::new(
        &manifest,
        &scenario.gates,
        scenario.limits.as_ref(),
        &prices,
        scenario.pricing.policy,
        &fallback,
    );
    let mut truths = folder.truths()?;
    if let Some(truths) = &truths {
        assembly.journal_has_texts(truths.has_texts());
    }
    assembly.late_after(scenario.pricing.late_after);
    let mut lookups = folder.lookups()?;
    let summary = folder.ledger_summary()?.or_else(|| {
        // Asked for and never come to: what the run was killed or hindered before.
        let wanted = scenario.pricing.ledger.as_ref()?;
        let (LedgerSource::File(source) | LedgerSource::Url(source)) = &wanted.source;
        Some(LedgerSummary {
            source: source.clone(),
            format: wanted.format.name().to_owned(),
            error: Some("the run ended before it was read".to_owned()),
            ..LedgerSummary::default()
        })
    });
    let mut ledger = match &summary {
        Some(summary) if summary.error.is_none() => folder.ledger()?,
        _ => None,
    };
    if let Some(summary) = &summary {
        assembly.ledger(summary);
    }
    let torn_examples = folder.each_example(|example| {
        assembly.captured(&example.trace_id, example.attempt, &example.file);
    })?;
    let mut failed = None;
    let torn = folder.each_request(|record| {
        let mine = match &mut truths {
            Some(truths) if record.sent.is_some() => truths.of(&record.trace_id, |_| true)?,
            _ => &[],
        };
        let attempt = Attempt {
            record: &record,
            lookups: match &mut lookups {
                Some(lookups) => lookups.of(&record.trace_id, |l| l.attempt == record.attempt)?,
                None => &[],
            },
            ledger: match &mut ledger {
                Some(rows) => {
                    Some(rows.of(&record.trace_id, |row| row.attempt == Some(record.attempt))?)
                }
                None => None,
            },
            truth: manifest.truth.is_some().then_some(mine),
        };
        if let Err(error) = assembly.add(&attempt) {
            failed.get_or_insert(error);
        }
        Ok(())
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let torn_calls = folder.each_call(|call| assembly.add_call(&call))?;
    folder.each_gaps(|endpoint, gaps| assembly.add_gaps(endpoint, gaps))?;
    let torn_seconds = folder.each_second(|row| assembly.add_second(&row))?;
    let torn_health = folder.each_health(|row| assembly.add_health(&row))?;
    let torn_lookups = lookups.is_some_and(|lookups| lookups.is_torn());
    if torn || torn_examples || torn_lookups || torn_calls || torn_seconds || torn_health {
        assembly.torn();
    }
    Ok(assembly.finish()?)
}

/// Writes the report's files into the folder of its run.
pub fn write(folder: &RunFolder, report: &Report) -> Result<(), StoreError> {
    folder.write("report.json", report.json().as_bytes())?;
    folder.write("report.md", markdown(report).as_bytes())?;
    folder.write("series.csv", series_csv(report).as_bytes())?;
    folder.write("report.txt", console(report, false).as_bytes())
}

/// The windows of a run that was killed: from its first measured request to its last.
fn windows_of_rows(
    folder: &RunFolder,
) -> Result<BTreeMap<crate::endpoint::Endpoint, Window>, StoreError> {
    let mut windows: BTreeMap<_, Window> = BTreeMap::new();
    folder.each_request(|record| {
        if let (Phase::Measured, Some(sent)) = (record.phase, record.due.or(record.sent)) {
            let window = windows.entry(record.endpoint).or_insert(Window {
                start_ns: sent,
                end_ns: Offset::ZERO,
                idle_ns: 0,
            });
            window.start_ns = window.start_ns.min(sent);
            window.end_ns = window.end_ns.max(sent);
        }
        Ok(())
    })?;
    Ok(windows)
}
