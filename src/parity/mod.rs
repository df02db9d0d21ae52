//! The same work at two endpoints: what differs between the two answers of a session.
