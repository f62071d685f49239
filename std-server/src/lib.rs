//! The Strandline server.

pub mod keyspace;
