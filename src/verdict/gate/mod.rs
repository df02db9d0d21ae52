//! Gates: `[endpoint.]metric [statistic] operator value [unit]`.
//!
//! A gate is parsed once, into a value whose units fit its metric; an unknown name is an error that
//! says which are known.

use std::fmt;

use crate::billing::reconcile::Status;
use crate::endpoint::Endpoint;
use crate::metrics::Metric;
use crate::money::{Currency, Money};
use crate::record::Outcome;
use crate::suggest;

/// A claim that a run must fulfil.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// As written.
    pub expression: String,
    /// The endpoint that it is about; `None`: each.
    pub endpoint: Option<Endpoint>,
    /// What is compared.
    pub subject: Subject,
    /// How.
    pub operator: Operator,
    /// With what, in the subject's own unit.
    pub limit: Limit,
}

/// What a gate compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subject {
    /// A statistic of a latency, in ns.
    Latency(Metric, Statistic),
    /// Something counted or divided.
    Number(Number),
    /// An amount of money.
    Cost(Cost),
}

/// A statistic of a latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// The quantile, in 0..1, failed requests included.
    Quantile(f64),
    /// The mean; a failed request is over any limit.
    Mean,
    /// The smallest of the successful requests.
    Min,
    /// The largest; a failed request is over any limit.
    Max,
}

/// A plain number of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// (failed + dropped) / planned.
    ErrorRate,
    /// Successful requests per second.
    RequestsPerS,
    /// Output tokens per second.
    OutputTokensPerS,
    /// Token-bearing events per second.
    EventsPerS,
    /// Requests within all limits per second.
    GoodputPerS,
    /// Share of billable attempts whose cost is both predicted and recorded.
    CostCoverage,
    /// The difference in per cent of what is predicted, either way.
    CostBias,
    /// Attempts whose cost has this status.
    CostStatus(Status),
    /// Findings of severity `wrong` about cost and usage.
    Findings,
    /// Requests that came due.
    Planned,
    /// Attempts of one outcome.
    Outcome(Outcome),
    /// Tool calls whose arguments are one JSON object, as a share of those returned.
    ToolCallsValid,
    /// Tool calls whose arguments fit their tool's schema, as a share of those returned.
    ToolCallsFitting,
    /// Sessions that the model ended with an answer, as a share of those that were not stopped.
    LoopsCompleted,
    /// Kinds of departures from the protocol, and from what the upstream wrote.
    ConformanceFindings,
    /// Kinds of differences between the two endpoints; the same on both.
    ParityFindings,
}

/// An amount of the bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// What the price table predicts.
    Predicted,
    /// What the gateway recorded.
    Recorded,
    /// Recorded - predicted, where both are known.
    Delta,
    /// The sum of the absolute differences.
    DeltaAbs,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`
    Equal,
}

/// The right-hand side of a gate.
#[derive(Clone, Debug, PartialEq)]
pub enum Limit {
    /// ns, for latencies.
    Nanos(f64),
    /// A plain number, for the rest.
    Number(f64),
    /// An amount with its currency.
    Money(Money, Currency),
}

/// Why a text is no gate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// No comparison in it.
    #[error(
        "no comparison; a gate is `[endpoint.]metric [statistic] < value`, as in `ttft p95 < 800ms`"
    )]
    NoOperator,
    /// A metric that does not exist.
    #[error("unknown metric `{name}`{hint}; known are {known}")]
    UnknownMetric {
        /// As written.
        name: String,
        /// The nearest known one, as a clause.
        hint: String,
        /// All of them.
        known: String,
    },
    /// An unknown or missing statistic.
    #[error(
        "`{metric}` needs a statistic: p50, p90, p95, p99, p999, any pNN, mean, min or max{found}"
    )]
    Statistic {
        /// The latency.
        metric: String,
        /// What stood there, as a clause.
        found: String,
    },
    /// A statistic where none belongs.
    #[error("`{metric}` is one number and takes no `{found}`")]
    NoStatistic {
        /// The metric.
        metric: String,
        /// What stood there.
        found: String,
    },
    /// A value that is no number.
    #[error("`{0}` is not a number")]
    Value(String),
    /// A share above one, which always holds or never.
    #[error("`{0}` is more than everything; for per cent, write `{0}%`")]
    Share(String),
    /// A unit that does not fit.
    #[error("`{metric}` is measured in {wanted}, not `{unit}`")]
    Unit {
        /// The metric.
        metric: String,
        /// The units that fit.
        wanted: &'static str,
        /// The unit that stood there.
        unit: String,
    },
    /// A latency or an amount without a unit.
    #[error("`{metric}` needs a unit after the value: {wanted}")]
    MissingUnit {
        /// The metric.
        metric: String,
        /// The units that fit.
        wanted: &'static str,
    },
}

const NUMBERS: [(&str, Number); 14] = [
    ("error_rate", Number::ErrorRate),
    ("requests_per_s", Number::RequestsPerS),
    ("output_tokens_per_s", Number::OutputTokensPerS),
    ("events_per_s", Number::EventsPerS),
    ("goodput_per_s", Number::GoodputPerS),
    ("cost.coverage", Number::CostCoverage),
    ("cost.bias", Number::CostBias),
    ("cost.findings", Number::Findings),
    ("planned", Number::Planned),
    ("tool_calls.valid_json", Number::ToolCallsValid),
    ("tool_calls.schema_valid", Number::ToolCallsFitting),
    ("loops.completed", Number::LoopsCompleted),
    ("conformance.findings", Number::ConformanceFindings),
    ("parity.findings", Number::ParityFindings),
];

const COSTS: [(&str, Cost); 4] = [
    ("cost.predicted", Cost::Predicted),
    ("cost.recorded", Cost::Recorded),
    ("cost.delta", Cost::Delta),
    ("cost.delta_abs", Cost::DeltaAbs),
];

/// Prefix of the outcome counts: `outcomes.rate_limited`.
const OUTCOMES: &str = "outcomes.";

/// Prefix of the attempts by the status of their cost: `cost.mismatched`.
const STATUSES: &str = "cost.";

const TIME_UNITS: &str = "ns, us, ms or s";

/// Longest first, so that `<=` is not read as `<`.
const OPERATORS: [(&str, Operator); 5] = [
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("==", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Gate {
    /// Parses a gate.
    pub fn parse(expression: &str) -> Result<Self, GateError> {
        let (left, operator, right) = OPERATORS
            .iter()
            .find_map(|(sign, op)| {
                expression
                    .split_once(sign)
                    .map(|(l, r)| (l.trim(), *op, r.trim()))
            })
            .ok_or(GateError::NoOperator)?;
        let (endpoint, rest) = match left.split_once('.') {
            Some((prefix, rest)) => match Endpoint::from_name(prefix) {
                Some(endpoint) => (Some(endpoint), rest),
                None => (None, left),
            },
            None => (None, left),
        };
        let (name, statistic) = match rest.split_once(char::is_whitespace) {
            Some((name, statistic)) => (name, Some(statistic.trim())),
            None => (rest, None),
        };
        let subject = subject(name, statistic)?;
        let limit = limit(name, subject, right)?;
        Ok(Self {
            expression: expression.trim().to_owned(),
            endpoint,
            subject,
            operator,
            limit,
        })
    }

    /// Every metric that a gate can name.
    pub fn metric_names() -> Vec<String> {
        Metric::ALL
            .iter()
            .map(|m| m.name().to_owned())
            .chain(NUMBERS.iter().map(|(name, _)| (*name).to_owned()))
            .chain(COSTS.iter().map(|(name, _)| (*name).to_owned()))
            .chain(
                Status::ALL
                    .iter()
                    .map(|s| format!("{STATUSES}{}", s.name())),
            )
            .chain(Outcome::ALL.iter().map(|o| format!("{OUTCOMES}{o}")))
            .collect()
    }

    /// Whether this gate is about money or tokens billed, and so is not touched by what falsifies
    /// latencies.
    pub const fn is_about_time(&self) -> bool {
        matches!(
            self.subject,
            Subject::Latency(..)
                | Subject::Number(
                    Number::RequestsPerS
                        | Number::OutputTokensPerS
                        | Number::EventsPerS
                        | Number::GoodputPerS
                )
        )
    }

    /// Whether this gate is about recorded against predicted costs, and so cannot pass where too few
    /// of them are known.
    pub const fn needs_coverage(&self) -> bool {
        matches!(
            self.subject,
            Subject::Cost(_)
                | Subject::Number(
                    Number::CostBias
                        | Number::CostStatus(
                            Status::Matched | Status::MatchedRounding | Status::Mismatched
                        )
                )
        )
    }

    /// Whether this gate needs both endpoints.
    pub const fn is_about_parity(&self) -> bool {
        matches!(self.subject, Subject::Number(Number::ParityFindings))
    }

    /// Whether this gate needs limits to mean anything.
    pub const fn is_about_goodput(&self) -> bool {
        matches!(self.subject, Subject::Number(Number::GoodputPerS))
    }

    /// Whether this gate needs a price for every model.
    pub const fn is_about_cost(&self) -> bool {
        matches!(
            self.subject,
            Subject::Cost(_)
                | Subject::Number(Number::CostCoverage | Number::CostBias | Number::CostStatus(_))
        )
    }
}

impl Operator {
    /// Whether `left op right` holds.
    pub fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Equal => left == right,
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expression)
    }
}

fn subject(name: &str, statistic: Option<&str>) -> Result<Subject, GateError> {
    if let Some(metric) = Metric::from_name(name) {
        let missing = |found: &str| GateError::Statistic {
            metric: name.to_owned(),
            found: if found.is_empty() {
                String::new()
            } else {
                format!(", not `{found}`")
            },
        };
        let text = statistic.ok_or_else(|| missing(""))?;
        let statistic = match text {
            "mean" => Statistic::Mean,
            "min" => Statistic::Min,
            "max" => Statistic::Max,
            _ => Statistic::Quantile(quantile(text).ok_or_else(|| missing(text))?),
        };
        return Ok(Subject::Latency(metric, statistic));
    }
    let number = NUMBERS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, n)| Subject::Number(*n));
    let cost = || {
        COSTS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, c)| Subject::Cost(*c))
    };
    let outcome = || {
        let outcome = name.strip_prefix(OUTCOMES)?;
        Outcome::ALL
            .into_iter()
            .find(|o| o.name() == outcome)
            .map(|o| Subject::Number(Number::Outcome(o)))
    };
    let status = || {
        let status = name.strip_prefix(STATUSES)?;
        Status::ALL
            .into_iter()
            .find(|s| s.name() == status)
            .map(|s| Subject::Number(Number::CostStatus(s)))
    };
    let known = number.or_else(cost).or_else(status).or_else(outcome);
    let subject = known.ok_or_else(|| {
        let known = Gate::metric_names();
        GateError::UnknownMetric {
            name: name.to_owned(),
            hint: suggest::clause(name, known.iter().map(String::as_str)),
            known: known.join(", "),
        }
    })?;
    match statistic {
        Some(found) => Err(GateError::NoStatistic {
            metric: name.to_owned(),
            found: found.to_owned(),
        }),
        None => Ok(subject),
    }
}

/// `p95` is 0.95, `p999` is 0.999, `p99.9` is 0.999.
fn quantile(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('p')?;
    // Put together as text, so that `p99.9` and `p999` are the same number to the last bit.
    let fraction = match digits.split_once('.') {
        Some((percent, rest)) if percent.len() == 2 => format!("{percent}{rest}"),
        Some(_) => return None,
        None => digits.to_owned(),
    };
    // `p999` is a quantile in the nines; `p100` would read as the tenth percentile.
    let plausible = fraction.len() == 2 || digits.contains('.') || fraction.starts_with("99");
    if fraction.len() < 2 || !plausible || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let q = format!("0.{fraction}").parse::<f64>().ok()?;
    (q > 0.0 && q < 1.0).then_some(q)
}

fn limit(name: &str, subject: Subject, text: &str) -> Result<Limit, GateError> {
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || "+-._".contains(c)))
        .unwrap_or(text.len());
    let (digits, unit) = (text[..split].trim().replace('_', ""), text[split..].trim());
    let bad = || GateError::Value(text.to_owned());
    let wrong = |wanted| GateError::Unit {
        metric: name.to_owned(),
        wanted,
        unit: unit.to_owned(),
    };
    let number = || {
        digits
            .parse::<f64>()
            .ok()
            .filter(|v| v.is_finite())
            .ok_or_else(bad)
    };
    match subject {
        Subject::Latency(..) => {
            let factor = match unit {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "" => {
                    return Err(GateError::MissingUnit {
                        metric: name.to_owned(),
                        wanted: TIME_UNITS,
                    });
                }
                _ => return Err(wrong(TIME_UNITS)),
            };
            Ok(Limit::Nanos(number()? * factor))
        }
        Subject::Number(
            Number::ErrorRate
            | Number::CostCoverage
            | Number::CostBias
            | Number::ToolCallsValid
            | Number::ToolCallsFitting
            | Number::LoopsCompleted,
        ) => match unit {
            "%" => Ok(Limit::Number(number()? / 100.0)),
            "" if number()? > 1.0 => Err(GateError::Share(digits.clone())),
            "" => Ok(Limit::Number(number()?)),
            _ => Err(wrong("per cent or a share")),
        },
        Subject::Number(
            Number::RequestsPerS
            | Number::OutputTokensPerS
            | Number::EventsPerS
            | Number::GoodputPerS,
        ) => match unit {
            "" | "/s" => Ok(Limit::Number(number()?)),
            _ => Err(wrong("a number per second")),
        },
        Subject::Number(
            Number::Findings
            | Number::ConformanceFindings
            | Number::ParityFindings
            | Number::Planned
            | Number::Outcome(_)
            | Number::CostStatus(_),
        ) => match unit {
            "" => Ok(Limit::Number(number()?)),
            _ => Err(wrong("a plain count")),
        },
        Subject::Cost(_) => {
            let currency = unit.trim_start_matches('$');
            let currency = if unit == "$" || text.starts_with('$') {
                "USD"
            } else {
                currency
            };
            let digits = text.trim_start_matches('$');
            let amount = digits.split_whitespace().next().unwrap_or_default();
            let amount = amount.trim_end_matches(|c: char| c.is_ascii_uppercase());
            if currency.is_empty() {
                return Err(GateError::MissingUnit {
                    metric: name.to_owned(),
                    wanted: "a currency, as in `0 USD`",
                });
            }
            let currency: Currency = currency
                .parse()
                .map_err(|_| wrong("a currency, as in `0 USD`"))?;
            Ok(Limit::Money(amount.parse().map_err(|_| bad())?, currency))
        }
    }
}

#[cfg(test)]
mod tests;
