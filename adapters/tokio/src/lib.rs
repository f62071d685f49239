//! strandline-tokio.
