//! The judgement, as a report shows it.

use super::latency::{latency, ms};
use crate::report::{Gate, ScheduleLag, Validity, Verdict};
use crate::verdict;

impl From<verdict::Validity> for Validity {
    fn from(validity: verdict::Validity) -> Self {
        Self {
            valid: validity.valid,
            reasons: validity.reasons,
            schedule_lag_ms: latency(&validity.schedule_lag).map(|lag| ScheduleLag {
                p50: lag.p50,
                p99: lag.p99,
                max: lag.max,
            }),
            cpu_utilization: validity.cpu_utilization,
            cpu_utilization_max: validity.cpu_utilization_max,
            run_queue_wait: validity.run_queue_wait,
            run_queue_wait_max: validity.run_queue_wait_max,
            throttled: validity.throttled,
            stalls: validity.stalls,
            stalled_ms: ms(validity.stalled_ns as f64),
            clock_jump_ms: validity.clock_jump_ns.map(|ns| ms(ns as f64)),
            dropped: validity.dropped,
        }
    }
}

impl From<verdict::Verdict> for Verdict {
    fn from(judged: verdict::Verdict) -> Self {
        let gate = |gate: verdict::GateResult| Gate {
            expression: gate.expression,
            endpoint: gate.endpoint,
            actual: gate.actual,
            status: gate.status,
            reason: gate.reason,
        };
        Self {
            status: judged.status,
            reasons: judged.reasons,
            gates: judged.gates.into_iter().map(gate).collect(),
        }
    }
}
