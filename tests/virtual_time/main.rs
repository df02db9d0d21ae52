//! Whole runs with the in-memory transport in tokio's paused time: exact, and over at once.

#![expect(clippy::float_cmp, reason = "virtual time is exact")]

mod attempts;
mod conduct;
mod exit_codes;
mod harness;
mod loads;
mod loops;
mod outcomes;
mod reports;
mod truth;
// Two arms that take turns.
mod turns;
mod workers;
