//! The peers, each behind the same two traits.

pub(crate) mod ekv;
pub(crate) mod sequential;
