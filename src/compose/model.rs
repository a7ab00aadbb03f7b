//! What a compose file says, in our own words. Names are those of the file; what they become on the host is the
//! project's affair.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::node::Place;
use crate::error::Error;
use crate::machine::limits::Cap;
use crate::machine::{
    Accel, Arch, Bytes, Compression, Dialect, Health, Limits, Mac, MachineName, MachineType, Machined, Platform, Port,
    Pull, Ready, RestartPolicy, Sandbox, ShareDriver,
};

/// A whole file, or several as one.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// `name:`.
    pub name: Option<String>,
    /// `services:`, in the order of the file.
    pub services: Vec<Service>,
    /// `networks:`.
    pub networks: BTreeMap<String, Network>,
    /// `volumes:`.
    pub volumes: BTreeMap<String, Volume>,
    /// `secrets:`.
    pub secrets: BTreeMap<String, Secret>,
    /// `x-kraft: enable`: it starts at boot.
    pub enable: bool,
}

/// One of `services:`.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name in the file.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// What it runs, a reference or a path as written.
    pub image: String,
    /// When that is fetched, if the file says so.
    pub pull: Option<Pull>,
    /// Those that have it run; always if there are none.
    pub profiles: Vec<String>,
    /// Its machine's name, if that is not made of the project's.
    pub container_name: Option<MachineName>,
    /// How many machines it has.
    pub scale: u32,
    /// In place of what the image runs.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments for that.
    pub command: Option<Vec<String>>,
    /// Where in the guest it starts.
    pub working_dir: Option<String>,
    /// Variables; `None` is passed on from kraft's own environment.
    pub environment: BTreeMap<String, Option<String>>,
    /// Files of variables, which count less.
    pub env_files: Vec<EnvFile>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// What it sees of the host's files.
    pub volumes: Vec<Share>,
    /// Its networks; `None` is the project's own.
    pub networks: Option<Vec<Link>>,
    /// Its host name.
    pub hostname: Option<String>,
    /// Its domain.
    pub domainname: Option<String>,
    /// Its name servers.
    pub dns: Vec<std::net::IpAddr>,
    /// Secrets.
    pub secrets: Vec<SecretUse>,
    /// Its memory.
    pub memory: Option<Bytes>,
    /// Its processors.
    pub cpus: Option<u32>,
    /// What it may take of the host.
    pub limits: Limits,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// How long it may take to stop.
    pub stop_grace_period: Option<Duration>,
    /// What has to be there before it.
    pub depends_on: Vec<Dependency>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `attach: false`: `up` does not show its console.
    pub attach: bool,
    /// The probe of whether it is well.
    pub health: Option<Health>,
    /// `x-kraft`, and `platform`.
    pub own: Own,
}

/// What only unikernels have: `x-kraft` of a service.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "each is the option of `kraft run` of its name")]
pub struct Own {
    pub kernel_args: Vec<String>,
    pub elfloader: Option<String>,
    pub rootfs: Option<PathBuf>,
    pub rootfs_compress: Compression,
    pub platform: Option<Platform>,
    pub arch: Option<Arch>,
    pub accel: Option<Accel>,
    pub machine_type: Option<MachineType>,
    pub dialect: Option<Dialect>,
    pub sandbox: Option<Sandbox>,
    pub machined: Option<Machined>,
    pub properties: Vec<String>,
    pub memory_max: Option<Cap<Bytes>>,
    pub ready: Option<Ready>,
    pub ready_timeout: Option<Duration>,
}

/// A file of variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFile {
    /// Where it is named.
    pub place: Place,
    /// As written.
    pub path: PathBuf,
    /// It has to be there.
    pub required: bool,
}

/// A directory of the host's that a service sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Where it is written.
    pub place: Place,
    /// What is shown.
    pub source: ShareSource,
    /// Where the guest sees it.
    pub target: String,
    /// The guest cannot write.
    pub read_only: bool,
    /// How it gets there.
    pub driver: Option<ShareDriver>,
}

/// What is shown to a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareSource {
    /// One of `volumes:`, and a directory below its root.
    Volume(String, PathBuf),
    /// A directory, as written, and whether it is made where it is missing.
    Path(PathBuf, bool),
}

/// A service on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where it is written.
    pub place: Place,
    /// One of `networks:`.
    pub network: String,
    /// Addresses.
    pub addresses: Vec<std::net::IpAddr>,
    /// The hardware address.
    pub mac: Option<Mac>,
    /// Other names there.
    pub aliases: Vec<String>,
}

/// A secret that a service is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretUse {
    /// Where it is written.
    pub place: Place,
    /// One of `secrets:`.
    pub source: String,
    /// By which name the guest has it.
    pub target: String,
}

/// What has to be there before a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Where it is written.
    pub place: Place,
    /// The other service.
    pub service: String,
    /// What it has to have come to.
    pub condition: Condition,
    /// This service starts without it, too.
    pub required: bool,
    /// This service is started again when the other one is changed or restarted.
    pub restart: bool,
}

/// What another service has to have come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Its guest runs, or has run.
    Started,
    /// It is well, by its probe.
    Healthy,
    /// It ended, by success.
    Completed,
}

impl Condition {
    const ALL: [Self; 3] = [Self::Started, Self::Healthy, Self::Completed];

    /// The specification's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "service_started",
            Self::Healthy => "service_healthy",
            Self::Completed => "service_completed_successfully",
        }
    }
}

impl FromStr for Condition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            Error::new(format!("unknown condition '{}': known are {known}", text.escape_debug()))
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One of `networks:`.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Its name on the host, if that is not made of the project's.
    pub name: Option<String>,
    /// It is not the project's: it has to be there.
    pub external: bool,
    /// Nothing leaves it.
    pub internal: bool,
    /// The gateway's address and the prefix.
    pub ipv4: Option<ipnet::Ipv4Net>,
    /// The same for IPv6.
    pub ipv6: Option<ipnet::Ipv6Net>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// One of `volumes:`.
#[derive(Debug, Clone, Default)]
pub struct Volume {
    /// Its name on the host, if that is not made of the project's.
    pub name: Option<String>,
    /// It is not the project's: it has to be there.
    pub external: bool,
    /// How it gets into guests.
    pub driver: Option<ShareDriver>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// One of `secrets:`.
#[derive(Debug, Clone)]
pub struct Secret {
    /// Its file, as written; looked for in systemd's credential stores if there is none.
    pub file: Option<PathBuf>,
    /// Its name there.
    pub name: Option<String>,
}
