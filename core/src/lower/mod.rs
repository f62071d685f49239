//! Actions into the ordered primitive steps of a medium. All crash-ordering below the engine is here.

pub mod nor;
pub mod posix;
