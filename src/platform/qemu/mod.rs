//! QEMU.

pub mod kvm;
