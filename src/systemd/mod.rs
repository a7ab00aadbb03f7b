//! Machines as systemd units: [`SystemdService`] puts a unit around the machines of another [`MachineService`], which
//! goes on to own records and status files. It starts, stops and watches them by D-Bus and reads their consoles from the
//! journal, and never sees a VMM.
//!
//! ```text
//! service    the trait, verb by verb: anchor (create), start, stop, update, delete, list, watch, logs
//! unit       a record as units          definition a unit as text, for files and for the manager
//! property   KEY=VALUE as D-Bus values  files      a declared machine's unit files; all four pure
//! manager    the methods we call        job        waiting for their jobs
//! bus        the one seam around zbus   failure    refusals in words
//! journal    journalctl's lines
//! ```
//!
//! A machine is a slice and a service (see `unit.rs`). The slice is active from `create` to `delete` and refers to the
//! service, so that systemd keeps the stopped service, its definition and its exit status.
//!
//! [`MachineService`]: crate::machine::MachineService

mod anchor;
mod bus;
mod definition;
mod delete;
mod failure;
mod family;
mod files;
mod job;
mod journal;
mod limits;
mod list;
mod logs;
mod machined;
mod manager;
mod project;
mod property;
mod records;
mod refused;
mod resolver;
mod restore;
mod sandbox;
mod schedule;
mod service;
mod start;
mod stop;
mod unit;
mod update;
mod watch;

pub use files::{Declaration, UnitFile, stub_files, unit_files, unit_texts};
pub use machined::register;
pub use project::{condition, project_slice};
pub use property::{check_directive, check_properties};
pub use schedule::timer_name;
pub use service::SystemdService;
pub use unit::{check_slice, service_name};
