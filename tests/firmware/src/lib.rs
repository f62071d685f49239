//! What the images share: NOR flash in a file of the host, and the stack's high-water mark.
#![no_std]

pub mod semihost_flash;
pub mod stack;
