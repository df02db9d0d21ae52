//! weighbridge.
