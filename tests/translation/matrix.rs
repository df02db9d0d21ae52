//! Each fault alone: found and named.
