//! strandline-core.
