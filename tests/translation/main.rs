//! Whether translations are judged rightly: a gateway that can be told to break answers in every way
//! that is known of such gateways, without sockets and clocks, between an upstream and the harness.
//!
//! The upstream's journal says what was sent, and the test what was planted, so each test knows what has
//! to be found, how often, and that nothing else may be.

// Each fault alone: found and named.
mod matrix;
// Both endpoints side by side: alike, and what is planted in one is counted.
mod parity;
// What is whole has no findings, in every form that it can have.
mod faithful;

// A row for each way to break: fault -> codes.
mod cases;
// Where gateways break.
mod faults;
// A gateway that translates.
mod gateway;
// What a client makes of an answer.
#[path = "../support/answer.rs"]
mod answer;
// What the harness says of them.
mod judge;
// Sessions through gateway and upstream: what the harness sees of them.
mod drive;
