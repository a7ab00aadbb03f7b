//! What runs guests.

pub mod qemu;
