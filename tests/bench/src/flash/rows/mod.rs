//! One function for each row.

pub(crate) mod append;
pub(crate) mod cuts;
pub(crate) mod export;
pub(crate) mod flips;
pub(crate) mod images;
pub(crate) mod mount;
pub(crate) mod settings;
