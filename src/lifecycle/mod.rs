//! The sequences that every manager and the runner share: how a start begins, how an end is recorded, how a runner that
//! died without a word is swept, and how a guest is brought to its end.

mod announce;
mod attach;
mod begin;
mod events;
mod finish;
mod handover;
mod listener;
mod notes;
mod orphans;
pub mod ports;
pub mod secrets;
pub mod shares;
mod stopping;
mod sweep;

pub use attach::{Attached, attach, detach};
pub use begin::{Begin, begin};
pub use events::{EventKind, EventLine, EventLog, Events};
pub use finish::{Verdict, finish, never_began};
pub use handover::{Handover, clear, enter_host, prepare};
pub use orphans::orphans;
pub use stopping::{Step, Stopping};
pub use sweep::{Cause, sweep};
