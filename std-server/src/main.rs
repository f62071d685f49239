//! The Strandline server binary.

fn main() {}
