//! Which answers departed from their protocol, or from what the upstream said: named findings, counted,
//! from records, and from the upstream's journal where there is one.
