//! weighbridge.
fn main() {}
