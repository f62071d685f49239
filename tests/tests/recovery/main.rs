//! Recovery, asked by hand: what simulated stores are too small or too honest for.

mod headers;
mod manifest;
mod open;
mod replay;
mod rewrite;
