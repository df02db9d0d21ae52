//! What a gateway adds: the same load on the upstream directly and via the gateway, in turns.
//!
//! ```text
//! scenario, --direct, --via, levels
//!   -> experiment   for each endpoint and level the inputs of two runs, which take turns
//!   -> run::live    both at once: two ordinary run folders
//!   -> review       the folders' facts -> what was read of each level
//!   -> assembly     blocks that both arms have done -> level (deltas, intervals) -> saturation
//!   -> report       one `Overhead` -> overhead.json, console, Markdown
//! ```
//!
//! The load is always a closed loop: at N users the upstream has N requests in flight in either arm's
//! turn, so the two arms are alike but for the gateway. Nothing is judged: a gateway that adds much is
//! no failure.

mod assembly;
mod console;
mod experiment;
mod level;
mod markdown;
mod report;
mod review;
mod rows;
mod saturation;

#[cfg(test)]
mod tests;

pub use assembly::{ARMS, ReadArm, ReadLevel, assemble};
pub use console::console;
pub use experiment::{Asked, Experiment, Progress};
pub use level::{Done, Request, Sample};
pub use markdown::markdown;
pub use report::{
    Arm, Comparison, Delta, Elasticity, EndpointOverhead, Found, Growth, Level, OVERHEAD_SCHEMA,
    Overhead, Quantiles, Run, Saturation, Seen, Target, Times, Verdict, schema,
};
pub use review::{review, write};
