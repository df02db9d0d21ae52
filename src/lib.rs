//! weighbridge: load testing and benchmarking for LLM gateways.
//!
//! A run produces facts; everything else is a pure function of those facts. The path of one
//! request: [`scenario`] -> [`plan`] ([`schedule`] says when, [`workload`] says what) ->
//! [`protocol`] encodes -> [`client`] sends and stamps -> [`protocol`] decodes -> [`timeline`]
//! -> [`record`] -> [`store`] -> [`metrics`], [`billing`] -> [`verdict`] -> [`report`].
//!
//! The modules stand in layers, one blank-line group each. A module uses only groups above it;
//! siblings do not use each other. `tests/layers.rs` holds both rules.

pub mod endpoint;
pub mod seed;

pub mod gateway;
pub mod money;
pub mod slice;
pub mod stats;
pub mod suggest;
pub mod time;
pub mod tokens;
pub mod usage;

pub mod event;
pub mod late;
pub mod manifest;
pub mod prompt;
pub mod record;
pub mod surface;
pub mod truth;

pub mod billing;
pub mod metrics;
pub mod protocol;
pub mod schedule;
pub mod timeline;
pub mod workload;

pub mod conformance;
pub mod parity;

pub mod verdict;

pub mod plan;
pub mod report;
pub mod scenario;

pub mod clock;

pub mod client;
pub mod offline;
pub mod store;

pub mod preview;
pub mod review;
pub mod run;

pub mod overhead;

pub mod cli;
