//! The VMMs. A [`Vmm`] turns a finished [`Launch`] into a running [`Guest`]; what is particular to one VMM stays in its
//! own module. Networks and volumes reach it as finished values, never as names to look up.

pub mod cmdline;
pub mod qemu;

use std::fmt;
use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitStatus;

use ipnet::Ipv4Net;

use crate::error::Result;
use crate::machine::{Exit, IpConfig, Mac, Platform, Port, ShareDriver, Spec};

/// What a VMM needs to start one guest.
#[derive(Debug)]
pub struct Launch<'a> {
    /// What was asked.
    pub spec: &'a Spec,
    /// Where the VMM's control socket is to be.
    pub control: &'a Path,
    /// Its network interfaces.
    pub nics: Vec<Nic>,
    /// The host's directories that it sees.
    pub shares: Vec<Share>,
    /// What it may read from the VMM's firmware configuration.
    pub secrets: Vec<SecretFile>,
    /// The RAM disk to use in place of the spec's.
    pub initrd: Option<OwnedFd>,
    /// Its files, where they are open already and not to be found by their paths.
    pub files: Files,
    /// What is known of this host's KVM.
    pub kvm: KnownKvm<'a>,
    /// The VMM may not make memory executable that it can write to.
    pub write_xor_execute: bool,
    /// The guest's console and what the VMM itself has to say.
    pub output: Output,
}

/// A guest's files, open.
#[derive(Debug, Default)]
pub struct Files {
    /// The kernel.
    pub kernel: Option<OwnedFd>,
    /// The initial RAM disk.
    pub initrd: Option<OwnedFd>,
}

/// Where the answer is whether KVM runs guests on this host.
#[derive(Debug)]
pub enum KnownKvm<'a> {
    /// To be found, and kept in this directory until the host goes down.
    Cached(&'a Path),
    /// This is it.
    Told(qemu::kvm::Kvm),
}

/// A network interface of the guest's, ready to be used.
#[derive(Debug)]
pub struct Nic {
    /// Its hardware address; the VMM's own choice if `None`.
    pub mac: Option<Mac>,
    /// What the guest is told of it.
    pub ip: IpConfig,
    /// Where its packets go.
    pub backend: NicBackend,
}

impl Nic {
    /// What a guest is told of its interface in the VMM's own network stack, the same in QEMU's and in passt's tradition:
    /// 10.0.2.15/24, with router and name server beside it.
    pub fn user_ip() -> IpConfig {
        let at = |last| Ipv4Addr::new(10, 0, 2, last);
        IpConfig {
            ipv4: Some(Ipv4Net::new_assert(at(15), 24)),
            gateways: vec![at(2).into()],
            dns: vec![at(3).into()],
            ..IpConfig::default()
        }
    }
}

/// Where the packets of an interface go.
#[derive(Debug)]
pub enum NicBackend {
    /// To a network stack in the VMM itself, which needs no privilege. It publishes these ports.
    User {
        /// From the host's addresses to the guest's.
        forwards: Vec<Port>,
    },
    /// To a tap that somebody made.
    Tap {
        /// The open tap.
        queue: OwnedFd,
        /// The kernel carries the packets past the VMM.
        vhost: Option<OwnedFd>,
    },
}

/// A directory of the host's, ready to be seen by the guest.
#[derive(Debug)]
pub struct Share {
    /// What the guest calls it when it mounts: `fs1`, `fs2`, ...
    pub tag: String,
    /// Where the guest mounts it.
    pub target: String,
    /// The guest cannot write.
    pub read_only: bool,
    /// Who serves it.
    pub backend: ShareBackend,
}

impl Share {
    /// How it gets into the guest, which is what its kernel has to know.
    pub fn driver(&self) -> ShareDriver {
        match self.backend {
            ShareBackend::NineP { .. } => ShareDriver::NineP,
            ShareBackend::Virtiofs { .. } => ShareDriver::Virtiofs,
        }
    }
}

/// Who serves a directory.
#[derive(Debug)]
pub enum ShareBackend {
    /// The VMM itself.
    NineP {
        /// The host's directory, open.
        root: OwnedFd,
    },
    /// A virtiofsd that listens.
    Virtiofs {
        /// Its socket, connected.
        socket: OwnedFd,
    },
}

/// A secret of the guest's, ready to be read.
#[derive(Debug)]
pub struct SecretFile {
    /// What the guest calls it.
    pub name: String,
    /// Its content, open.
    pub content: OwnedFd,
}

/// Where a VMM writes.
#[derive(Debug)]
pub struct Output {
    /// The guest's console; this process's own standard output if `None`.
    pub console: Option<OwnedFd>,
    /// The VMM's complaints.
    pub complaints: OwnedFd,
}

/// Something that a VMM told about its guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestEvent {
    /// The guest runs for the first time.
    Started,
    /// The VMM answered: it is alive.
    Alive,
    /// The guest was paused.
    Paused,
    /// The guest goes on.
    Resumed,
    /// The guest panicked; it will not go on.
    Panicked,
    /// The VMM cannot go on with the guest, for this reason.
    Broken(String),
    /// The guest is shutting itself down, or was shut down on request.
    Shutdown(Shutdown),
    /// The VMM refused what was asked.
    Refused(String),
    /// What became of connections to the guest's ports.
    Connections(Vec<Connection>),
}

/// A TCP connection to a guest by a port that the VMM listens at for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// The guest's port.
    pub port: u16,
    /// Somebody in the guest took it; else it is on its way.
    pub established: bool,
}

/// Why a VMM is about to end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// The guest powered off.
    PowerOff,
    /// The guest asked for a reset, or broke down into one.
    Reset,
    /// The VMM was told to end.
    Host,
}

/// What a runner asks of its VMM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Say that you are alive.
    Ping,
    /// Press the power button.
    PowerButton,
    /// Let a paused guest go on.
    Resume,
    /// Say what became of the connections that you took for the guest.
    Connections,
    /// End now.
    Quit,
}

/// A VMM's name for what it runs on, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// What runs the instructions: `kvm`, `tcg`.
    pub accel: String,
    /// The machine type.
    pub machine_type: String,
    /// Why it is not what one would expect, if so.
    pub note: Option<String>,
}

/// A guest whose VMM is a child of this process.
///
/// Everything here returns at once: waiting is done by the caller's poll loop on the two descriptors.
pub trait Guest: fmt::Debug {
    /// What it runs on.
    fn description(&self) -> &Description;
    /// The VMM's process.
    fn pid(&self) -> u32;
    /// Readable when the VMM ended.
    fn process(&self) -> BorrowedFd<'_>;
    /// Readable when the VMM has something to say; `None` once it has closed that channel.
    fn monitor(&self) -> Option<BorrowedFd<'_>>;
    /// What it said since the last call.
    ///
    /// # Errors
    /// When it speaks in a way that is not understood.
    fn events(&mut self) -> Result<Vec<GuestEvent>>;
    /// Asks for something; the answer comes as an event.
    ///
    /// # Errors
    /// When the VMM takes no more requests.
    fn ask(&mut self, ask: Ask) -> Result<()>;
    /// Ends the VMM by SIGKILL. One that is gone is a success.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    fn kill(&mut self) -> Result<()>;
    /// The VMM's exit status once [`process`](Self::process) is readable.
    ///
    /// # Errors
    /// When it cannot be collected.
    fn reap(&mut self) -> Result<ExitStatus>;
    /// How the guest ended, from how the VMM ended and the events before it. `complaint` is the last line that the VMM
    /// wrote about itself.
    fn conclude(&self, status: ExitStatus, events: &[GuestEvent], complaint: Option<&str>) -> Exit;
}

/// A VMM that another process runs, as far as one may talk to it from outside.
pub trait Control: fmt::Debug {
    /// Pauses the guest; it is paused when this returns.
    ///
    /// # Errors
    /// When the VMM does not answer or refuses.
    fn pause(&mut self) -> Result<()>;
    /// Lets the guest go on.
    ///
    /// # Errors
    /// When the VMM does not answer or refuses.
    fn resume(&mut self) -> Result<()>;
}

/// A virtual machine monitor.
pub trait Vmm: fmt::Debug {
    /// Whether the guest of this spec can be asked to shut down, or can only be ended.
    fn has_power_button(&self, spec: &Spec) -> bool;
    /// Checks all that can be known before a start. Starts nothing.
    ///
    /// # Errors
    /// When the VMM is not installed ([`CannotRun`](crate::error::Kind::CannotRun)), or cannot run this.
    fn check(&self, spec: &Spec, cache: &Path) -> Result<()>;
    /// Starts the VMM with a guest that is about to run.
    ///
    /// # Errors
    /// When it cannot be started.
    fn spawn(&self, launch: Launch<'_>) -> Result<Box<dyn Guest>>;
    /// Reaches the VMM of another process.
    ///
    /// # Errors
    /// When nothing answers there.
    fn attach(&self, control: &Path) -> Result<Box<dyn Control>>;
}

/// The VMM of a platform.
pub fn vmm(platform: Platform) -> Box<dyn Vmm> {
    match platform {
        Platform::Qemu => Box::new(qemu::Qemu),
    }
}
