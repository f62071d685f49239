//! The Redis protocol, versions 2 and 3.
//!
//! ```text
//! socket ─► decode ─► words ─► command::dispatch ─► encode ─► held until acknowledged ─► one write
//! ```
//!
//! Requests are decoded here and not by a general RESP library: a request is only ever an array of bulk strings or
//! an inline line, so that no nesting has to be bounded, a value that arrives in many reads is scanned once, and
//! the errors are the ones that Redis' clients know.

mod connection;
mod decode;
mod encode;
mod inline;
mod listener;

pub use connection::{ConnectionLimits, serve_connection};
pub use decode::{Decoded, Decoder, ProtocolError, RequestLimits};
pub use encode::Encoder;
pub use listener::{ListenerLimits, serve, serve_over};
