//! How a run is shown while it goes on: one live line on a terminal, a plain line now and then
//! elsewhere. On stderr, since stdout is data.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::money::Currency;
use crate::run::live::Tick;

/// Time between plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Shows ticks.
pub struct Watch {
    bar: Option<ProgressBar>,
    said: Duration,
    /// Whether the last plain line said that the run is stopping.
    stopping: bool,
    before: Option<(Duration, u64, u64)>,
    rates: (f64, f64),
    currency: Currency,
}

impl Watch {
    /// On stderr, as it deserves; amounts are in `currency`.
    pub fn new(currency: Currency) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length();
            bar.set_style(
                ProgressStyle::with_template("{spinner:.cyan} {wide_msg}")
                    .expect("a valid template"),
            );
            bar
        });
        Self {
            bar,
            said: Duration::ZERO,
            stopping: false,
            before: None,
            rates: (0.0, 0.0),
            currency,
        }
    }

    /// Shows one tick.
    pub fn tick(&mut self, tick: &Tick<'_>) {
        self.take_rates(tick);
        match &self.bar {
            Some(bar) => {
                bar.set_message(self.words(tick));
                bar.tick();
            }
            None if tick.elapsed >= self.said + PLAIN_EVERY || tick.stopping != self.stopping => {
                self.said = tick.elapsed;
                self.stopping = tick.stopping;
                // Whoever listened may have gone away; the run goes on.
                let _ = writeln!(std::io::stderr().lock(), "{}", self.words(tick));
            }
            None => {}
        }
    }

    /// Takes the live line away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Rates over about a second, so that they can be read.
    fn take_rates(&mut self, tick: &Tick<'_>) {
        let (completed, tokens) = (tick.progress.completed, tick.progress.output_tokens);
        match self.before {
            Some((at, ..)) if tick.elapsed < at + Duration::from_secs(1) => {}
            Some((at, completed_before, tokens_before)) => {
                let seconds = tick.elapsed.saturating_sub(at).as_secs_f64();
                self.rates = (
                    (completed - completed_before) as f64 / seconds,
                    (tokens - tokens_before) as f64 / seconds,
                );
                self.before = Some((tick.elapsed, completed, tokens));
            }
            None => self.before = Some((tick.elapsed, completed, tokens)),
        }
    }

    /// One line that fits a terminal of 100 columns.
    fn words(&self, tick: &Tick<'_>) -> String {
        let progress = tick.progress;
        let of = tick.planned.map(|n| format!("/{n}")).unwrap_or_default();
        let length = tick
            .duration
            .map(|d| format!("/{:.0}", d.as_secs_f64()))
            .unwrap_or_default();
        let ms = |q| {
            progress
                .ttft
                .quantile(q)
                .map_or_else(|| "-".to_owned(), |ns| format!("{:.0}", ns as f64 / 1e6))
        };
        let spent = match tick.spent {
            Some(amount) => {
                let amount = amount.round_half_up(4).display(self.currency);
                match tick.limit {
                    Some(limit) => format!("  {amount} of {}", limit.display(self.currency)),
                    None => format!("  {amount}"),
                }
            }
            None => String::new(),
        };
        let elapsed = tick.elapsed.as_secs_f64();
        let stopping = if tick.stopping {
            "stopping (again: cut)  "
        } else {
            ""
        };
        format!(
            "{stopping}{elapsed:.0}{length} s  {}{of}  {} in flight  {:.0} req/s  {:.0} tok/s  ttft {}/{} ms  {} failed{spent}",
            progress.ended,
            tick.in_flight,
            self.rates.0,
            self.rates.1,
            ms(0.5),
            ms(0.95),
            progress.failed,
        )
    }
}
