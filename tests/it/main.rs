//! Tests against the real thing: systemd as PID 1, its bus and journal, QEMU, real kernels. `tests/run` boots the lab
//! that they run in. Each test is a short story with machines of its own; [`lab::Lab`] checks after each that nothing
//! is left of them.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests start programs, read the environment that tests/run makes, say what they skip, and may fail"
)]

mod keeper;
mod lab;
mod leaks;
mod registry;
mod small;
mod talk;
mod wait;
mod wire;

mod behind;
mod compose;
mod config;
mod declared_images;
mod dialect;
mod ends;
mod faults;
mod health;
mod imaged;
mod images;
mod killed;
mod limits;
mod local;
mod machined;
mod many;
mod mirrors;
mod names;
mod netns;
mod networks;
mod own;
mod packed;
mod ports;
mod programs;
mod projects;
mod published;
mod ready;
mod rootfs;
mod sandbox;
mod schedules;
mod secrets;
mod stats;
mod stop;
mod systemd;
mod user;
mod volumes;
mod whole;
