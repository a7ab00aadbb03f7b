//! Tests against the real thing: systemd as PID 1, its bus and journal, QEMU, real kernels. `tests/run` boots the lab
//! that they run in. Each test is a short story with machines of its own; [`lab::Lab`] checks after each that nothing
//! is left of them.

mod faults;
mod killed;
mod lab;
mod many;
mod systemd;
