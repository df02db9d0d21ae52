//! Whether bills are judged rightly: an upstream that can be told to make any mistake, without sockets
//! and clocks, against the harness from the encoder to the report.
//!
//! The upstream's journal says what was planted, so each test knows what has to be found, how often, and
//! that nothing else may be. The two share no code: not the wire's, not the prices'.

// Each mistake alone.
mod alone;
// Two at once.
mod pairs;
// One that rounds, and may have said so.
mod rounding;
// What the policy has paid for is no mistake.
mod policies;
// An upstream that makes none.
mod clean;

// A row for each mistake.
mod classes;

// Models and prices, in the upstream's words and in the harness's.
mod world;
// What a client makes of an answer.
#[path = "../support/answer.rs"]
mod answer;
// Sessions through the upstream: what the harness sees of them.
mod drive;
// What it says of that.
mod fold;
