//! What a gateway adds: the same work sent directly and through it, in turns.
