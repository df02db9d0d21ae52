//! The built program as its users meet it: arguments and files in; exit code, stdout, stderr and
//! the run folder out. Targets are the embedded upstream, `mock_upstream` on a free loopback port,
//! or a few lines of TCP where an upstream is needed that no library would want to be.

// What is wrong before the first request: exit 2, and a message with the place and the fix.
mod bad_input;
// What a budget lets through.
mod budget;
// A disk that has no room for the facts.
mod disk;
// Targets that fail in every known way: records and outcomes, never a crash.
mod faults;
// Signals and sudden death: what was measured until then is kept.
mod interrupt;
// Runs that are there for their bill.
mod billing;
// Look-ups and ledgers: costs that are said after the fact.
mod late;
// `[load]`: what is refused, and the shipped scenario of each kind.
mod loads;
// Sessions of several turns, and the tools that they offer.
mod loops;
// `quote`, `check` and `mock`.
mod other_commands;
// `overhead`: two arms in turns.
mod overhead;
// What a terminal, a pipe and a script see: streams, escape codes, closed pipes.
mod output;
// Price tables: `prices` and `quote` by them.
mod prices;
// A report made again from the folder's facts.
mod report;
// Runs that go well, and runs whose bill is off.
mod run;
// The schema files in the tree, and the shipped scenarios held against theirs.
mod schemas;
// The key is nowhere but on the wire.
mod secrets;
// How a run is done, whatever it does: `--workers`, `--trace`.
mod workers;
// HTTPS, and a certificate authority of the user's own.
mod tls;

// The program under test and its sandbox.
mod program;
// What it is pointed at.
mod target;
// Readers of the run folder that share no code with the program's own.
mod facts;
