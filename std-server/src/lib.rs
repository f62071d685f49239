//! The Strandline server.

mod announce;
pub mod auth;
pub mod cli;
pub mod command;
pub mod config;
pub mod engine;
pub mod events;
pub mod http;
pub mod keyspace;
mod logging;
mod metrics;
mod open_files;
pub mod resp;
pub mod serve;
pub mod tls;
