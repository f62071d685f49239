//! The Strandline server.
