//! What prices a model's requests in one service tier on one day: a row for each size of prompt.

use super::{PriceRow, Rounding, TierMode};

/// What prices a model's requests in one service tier on one day: a row for each size of prompt.
///
/// The rows agree on everything but their limits and the prices of tokens; a table in which they do
/// not is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tariff<'t> {
    /// By the size of prompt from which they hold, the first for every prompt; not empty.
    rows: Vec<&'t PriceRow>,
    mode: TierMode,
}

impl<'t> Tariff<'t> {
    /// One row for every prompt, whatever its own limit: what a request would cost if its prompt were
    /// of another size.
    pub fn of(row: &'t PriceRow) -> Self {
        Self {
            rows: vec![row],
            mode: TierMode::Whole,
        }
    }

    /// Rows of one model and service tier that hold on one day; `None` unless one of them is for every
    /// prompt.
    pub(super) fn from_rows(rows: impl Iterator<Item = &'t PriceRow>) -> Option<Self> {
        let mut rows: Vec<&PriceRow> = rows.collect();
        rows.sort_by_key(|row| row.tier_above);
        rows.first().filter(|row| row.tier_above.is_none())?;
        let mode = rows.iter().skip(1).find_map(|row| row.tier_mode);
        Some(Self {
            rows,
            mode: mode.unwrap_or_default(),
        })
    }

    /// The row that holds for the shortest prompt.
    pub fn base(&self) -> &'t PriceRow {
        self.rows[0]
    }

    /// By the size of prompt from which they hold; the first is the [`base`](Self::base).
    pub fn rows(&self) -> &[&'t PriceRow] {
        &self.rows
    }

    /// Which tokens of a long prompt have the long prompt's prices.
    pub fn mode(&self) -> TierMode {
        self.mode
    }

    /// The same rows in another mode: what a request would cost if the two were mixed up.
    #[must_use]
    pub fn with_mode(self, mode: TierMode) -> Self {
        Self { mode, ..self }
    }

    /// The service tier; `None` is the standard.
    pub fn service_tier(&self) -> Option<&'t str> {
        self.base().service_tier.as_deref()
    }

    /// The rounding that the price list declares, at any stage.
    pub fn rounding(&self) -> Option<Rounding> {
        self.base().rounding
    }

    /// The row that the last token of a prompt of `tokens` reaches.
    pub fn row_for(&self, tokens: u64) -> &'t PriceRow {
        self.rows[self.reached(tokens)]
    }

    /// The index of that row.
    pub(in crate::billing) fn reached(&self, tokens: u64) -> usize {
        let above = |row: &&PriceRow| row.tier_above.is_none_or(|limit| limit < tokens);
        self.rows.iter().rposition(above).unwrap_or(0)
    }
}
