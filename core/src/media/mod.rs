//! What each kind of medium needs at open and at the tail.

pub mod nor;
