//! kraft runs unikernels as systemd services. README.md says how; the modules are layers, and use those below them only:
//! tests/layering.rs has them as a table.

pub mod cli;
pub mod compose;
pub mod config;
pub mod declared;
pub mod error;
pub mod generator;
pub mod image;
pub mod kraftfile;
pub mod lifecycle;
pub mod local;
pub mod logging;
pub mod machine;
pub mod network;
pub mod paths;
pub mod platform;
pub mod process;
pub mod runner;
pub mod signals;
pub mod source;
pub mod store;
pub mod systemd;
pub mod undo;
pub mod usage;
pub mod volume;
