//! Every mistake that the upstream can make, and what the harness has to say to it: a row each.

use mock_upstream::Config;
use mock_upstream::config::{Aborts, Class, Fault, FaultKind, Surface, UsageInStream, When};
use mock_upstream::simulation::LedgerFormat;
use weighbridge::billing::finding::Code;
use weighbridge::endpoint::Endpoint;

use crate::drive::Load;
use crate::fold::Sight;

/// A mistake, planted alone.
pub struct Row {
    pub class: Class,
    /// The cause that has to be named.
    pub code: Code,
    /// Whether answers are streams where it can be made.
    pub modes: &'static [bool],
    /// Endpoints where it can be made.
    pub endpoints: &'static [Endpoint],
    /// How rarely it is planted in the rare load, of the requests that have what it is made in: so that
    /// it is one or two of a thousand requests.
    pub every: u64,
    /// What the upstream needs for it.
    pub config: fn(&mut Config),
    /// What the load needs for it.
    pub load: fn(&mut Load),
    /// More of the scenario.
    pub scenario: &'static str,
    /// What gives the same amounts, so that nobody can tell the two apart, and why.
    pub twins: fn(Endpoint, Sight) -> &'static [Code],
    /// Whether what is known cannot show the cause, and why; the amount is wrong all the same.
    pub is_hidden: fn(Endpoint, Sight) -> bool,
    /// What is found beside it.
    pub companions: &'static [Code],
    /// What is found beside it where there is a journal.
    pub against_truth: &'static [Code],
}

/// A row of which only the names are said.
const fn row(class: Class, code: Code) -> Row {
    Row {
        class,
        code,
        modes: &[false, true],
        endpoints: &Endpoint::ALL,
        every: 1_000,
        config: |_| {},
        load: |_| {},
        scenario: "",
        twins: |_, _| &[],
        is_hidden: |_, _| false,
        companions: &[],
        against_truth: &[],
    }
}

fn with_prefixes(load: &mut Load) {
    load.prefixes = true;
}

fn with_look_up(load: &mut Load) {
    load.looks_up = true;
}

fn with_ledger(load: &mut Load) {
    load.ledger = Some(LedgerFormat::LiteLlm);
}

/// Chat completions report their usage once, if they are not asked to do it always.
fn with_running_usage(config: &mut Config) {
    config.behaviour.output.usage_in_stream = UsageInStream::Every;
}

fn failing(config: &mut Config, when: When) {
    config.behaviour.faults = vec![Fault {
        when,
        ..Fault::new(FaultKind::Status)
    }];
}

/// Whether reasoning is not reported apart: Anthropic's usage has no count of it.
fn reasoning_is_hidden(endpoint: Endpoint, sight: Sight) -> bool {
    endpoint == Endpoint::Anthropic && sight == Sight::Gateway
}

/// Whether the usage of an answer that broke off is not known: without a journal nobody has counted it.
fn abort_is_hidden(_: Endpoint, sight: Sight) -> bool {
    sight == Sight::Gateway
}

/// Answers that break off, which are streams: their cost is in the look-up alone.
const fn abort(class: Class, code: Code, config: fn(&mut Config), scenario: &'static str) -> Row {
    Row {
        modes: &[true],
        // Not a multiple of two: of even sessions the client hangs up.
        every: 499,
        load: |load| {
            load.looks_up = true;
            load.hang_up_every = 2;
        },
        config,
        scenario,
        is_hidden: abort_is_hidden,
        companions: &[Code::UsageMissing],
        ..row(class, code)
    }
}

/// Costs that are looked up, and should be known within ten seconds.
const LATE: &str = r#"
[pricing]
late_after = "10s"
recorded = [
    "body:/usage/cost",
    "stream:/usage/cost",
    "lookup:{base_url}/api/v1/generation?id={response_id}#/data/total_cost",
]
"#;

const ABORT_FULL: &str = "[pricing.policy]\nabort = \"full\"";
const ABORT_DELIVERED: &str = "[pricing.policy]\nabort = \"delivered\"";
const ABORT_FREE: &str = "[pricing.policy]\nabort = \"free\"";

fn aborts_are_delivered(config: &mut Config) {
    config.behaviour.cost.aborts = Aborts::Delivered;
}

fn aborts_are_free(config: &mut Config) {
    config.behaviour.cost.aborts = Aborts::Free;
}

/// Every class, under each policy that it is a mistake under.
pub static ROWS: &[Row] = &[
    Row {
        // An amount of nothing has no other cause where everything has a price.
        ..row(Class::UnpricedZero, Code::UnpricedZero)
    },
    Row {
        every: 400,
        load: with_prefixes,
        ..row(Class::CacheDouble, Code::CacheDouble)
    },
    Row {
        every: 400,
        load: with_prefixes,
        ..row(Class::CacheDropped, Code::CacheDropped)
    },
    Row {
        every: 400,
        load: with_prefixes,
        ..row(Class::CacheTierWrong, Code::CacheTierWrong)
    },
    Row {
        modes: &[true],
        config: with_running_usage,
        ..row(Class::StreamCumulativeSummed, Code::StreamCumulativeSummed)
    },
    Row {
        modes: &[true],
        config: with_running_usage,
        // The first report of chat completions is of no output, which is what is left of an answer
        // whose last report is missed.
        twins: |endpoint, _| match endpoint {
            Endpoint::OpenAi => &[Code::TerminalEventMissed],
            Endpoint::Anthropic => &[],
        },
        ..row(Class::StreamPartialKept, Code::StreamPartialKept)
    },
    Row {
        modes: &[true],
        ..row(Class::StreamCostMissing, Code::StreamCostMissing)
    },
    Row {
        // All streams, and no whole body.
        modes: &[true],
        load: |load| {
            load.modes = &[false, true];
            load.looks_up = true;
        },
        ..row(Class::StreamCostMissing, Code::StreamCostMissing)
    },
    Row {
        modes: &[true],
        ..row(Class::TerminalEventMissed, Code::TerminalEventMissed)
    },
    Row {
        is_hidden: reasoning_is_hidden,
        ..row(Class::ReasoningDropped, Code::ReasoningDropped)
    },
    Row {
        is_hidden: reasoning_is_hidden,
        ..row(Class::ReasoningDouble, Code::ReasoningDouble)
    },
    Row {
        against_truth: &[Code::CostNotTrue, Code::UsageNotTrue],
        ..row(Class::TranslationUsageLost, Code::TranslationUsageLost)
    },
    abort(
        Class::AbortUnbilled,
        Code::AbortUnbilled,
        |_| {},
        ABORT_FULL,
    ),
    abort(
        Class::AbortUnbilled,
        Code::AbortUnbilled,
        aborts_are_delivered,
        ABORT_DELIVERED,
    ),
    abort(
        Class::AbortFull,
        Code::AbortFull,
        aborts_are_delivered,
        ABORT_DELIVERED,
    ),
    Row {
        // A whole answer's tokens are also an estimate of somebody who takes fewer characters for one.
        twins: |_, sight| match sight {
            Sight::Gateway => &[Code::AbortEstimated],
            Sight::Journal => &[],
        },
        ..abort(
            Class::AbortFull,
            Code::AbortFull,
            aborts_are_free,
            ABORT_FREE,
        )
    },
    abort(
        Class::AbortEstimated,
        Code::AbortEstimated,
        |_| {},
        ABORT_FULL,
    ),
    abort(
        Class::AbortEstimated,
        Code::AbortEstimated,
        aborts_are_delivered,
        ABORT_DELIVERED,
    ),
    Row {
        // Without a journal nobody knows what the whole answer would have been.
        twins: |_, sight| match sight {
            Sight::Gateway => &[Code::AbortFull],
            Sight::Journal => &[],
        },
        ..abort(
            Class::AbortEstimated,
            Code::AbortEstimated,
            aborts_are_free,
            ABORT_FREE,
        )
    },
    Row {
        every: 400,
        config: |config| {
            failing(
                config,
                When {
                    share: 0.5,
                    attempts: Some(1),
                    ..When::default()
                },
            );
        },
        load: |load| load.attempts = 2,
        ..row(Class::RetryDouble, Code::RetryDouble)
    },
    Row {
        every: 400,
        config: |config| {
            failing(
                config,
                When {
                    share: 0.5,
                    ..When::default()
                },
            );
        },
        ..row(Class::ErrorBilled, Code::ErrorBilled)
    },
    row(Class::CacheHitBilled, Code::CacheHitBilled),
    Row {
        every: 400,
        load: |load| load.tiers = true,
        ..row(Class::ServiceTier, Code::ServiceTier)
    },
    Row {
        every: 200,
        ..row(Class::ContextTier, Code::ContextTier)
    },
    row(Class::ModelAlias, Code::ModelAlias),
    row(Class::RatesSwapped, Code::RatesSwapped),
    row(Class::Unit1k1m, Code::Unit1k1m),
    row(Class::MarkupUndeclared, Code::MarkupUndeclared),
    Row {
        ..row(Class::FloatNoise, Code::FloatNoise)
    },
    row(Class::Rounding, Code::Rounding),
    Row {
        load: with_ledger,
        ..row(Class::LedgerMissing, Code::LedgerMissing)
    },
    Row {
        load: with_ledger,
        ..row(Class::LedgerDuplicate, Code::LedgerDuplicate)
    },
    Row {
        load: with_ledger,
        // The ledger alone says what anything costs.
        config: |config| config.behaviour.cost.surfaces.clear(),
        ..row(Class::LedgerDuplicate, Code::LedgerDuplicate)
    },
    Row {
        load: with_ledger,
        ..row(Class::LedgerOrphan, Code::LedgerOrphan)
    },
    Row {
        config: |config| {
            // A stream's header is sent before its cost is known.
            config.behaviour.cost.surfaces = vec![Surface::Usage, Surface::Metadata];
        },
        ..row(Class::SurfaceDisagree, Code::SurfaceDisagree)
    },
    Row {
        ..row(Class::UsageInconsistent, Code::UsageInconsistent)
    },
    Row {
        against_truth: &[Code::CostNotTrue, Code::UsageNotTrue],
        ..row(Class::TokensImplausible, Code::TokensImplausible)
    },
    Row {
        load: with_look_up,
        scenario: LATE,
        ..row(Class::Late, Code::Late)
    },
    Row {
        load: with_ledger,
        ..row(Class::DayBoundary, Code::DayBoundary)
    },
];
