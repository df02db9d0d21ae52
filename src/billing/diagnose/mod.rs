//! Why a recorded cost is not the predicted one: the causes that fit, in exact arithmetic.
//!
//! A hypothesis is one change in the computation of a bill: usage -> quantities -> rates -> amounts ->
//! factor -> rounding. In: an attempt's facts ([`case::Case`]) and its recorded cost. Out: every
//! explanation that gives exactly this amount ([`search`]): one hypothesis, or two at once where none
//! alone does. What the attempts of a group have in common names the cause ([`groups`]). And what a
//! surface can show at all ([`resolution`]).
//!
//! The hypotheses are made of the harness's own facts and of the price table. None of them knows how
//! a mistake came about.

pub mod case;
pub mod features;
pub mod groups;
pub mod hypothesis;
pub mod quotient;
pub mod resolution;
pub mod search;

#[cfg(test)]
mod tests;
