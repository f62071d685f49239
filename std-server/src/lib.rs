//! The Strandline server.

pub mod command;
pub mod keyspace;
pub mod resp;
