//! The model of a machine: what was asked ([`Spec`]), what is kept of it ([`Record`]), how its guest is doing
//! ([`Status`]), and what all of that is called ([`State`]). No I/O here, but for the trait [`MachineService`] that
//! says what can be done with machines and is carried out elsewhere.

mod attachment;
mod digest;
mod image;
mod kernel;
pub mod limits;
mod mount;
mod name;
mod network_request;
mod port;
mod probe;
mod quantity;
mod restart;
mod secret;
mod service;
mod spec;
mod state;
mod status;
mod text;
mod words;

pub use attachment::{Attachment, IpConfig, Mac, is_interface_name};
pub use digest::Digest;
pub use image::{ImageName, ImageOrigin, Pull};
pub use kernel::{Abilities, Kernel, KernelKind};
pub use limits::{Cap, Limit, Limits};
pub use mount::{Mount, MountRequest, MountSource};
pub use name::{MachineId, MachineName, NetworkName, Selector, VolumeName};
pub use network_request::NetworkRequest;
pub use port::Port;
pub use probe::{Health, HealthAction, HealthState, Probe, Ready, Way};
pub use quantity::{Bytes, Duration, parse_duration};
pub use restart::RestartPolicy;
pub use secret::{Delivery, FW_CFG_PREFIX, SECRETS_LIMIT, Secret, SecretRequest};
pub use service::{
    Change, Changes, LogLine, LogQuery, Logs, MachineService, Manager, Progress, Record, StopMode, View, Watch,
};
pub use spec::Spec;
pub use state::{Denied, Event, Liveness, Next, State, derive, next};
pub use status::{Exit, HealthStatus, Phase, Reason, Status};
pub use words::{Accel, Arch, Compression, Dialect, MachineType, Machined, Platform, Protocol, Sandbox, ShareDriver};

/// The newest layout of records and status files that this program reads and writes.
pub const SCHEMA: u32 = 1;
