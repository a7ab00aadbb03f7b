//! QEMU's command line, built by a pure function from the spec. Nothing in it is there by default: no default devices,
//! no configuration file, no display.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::machine::limits::TRANSLATIONS;
use crate::machine::{Accel, Arch, FW_CFG_PREFIX, KernelKind, MachineType, Port, ShareDriver, Spec};
use crate::platform::cmdline::{Loader, Told, command_line};
use crate::platform::{Nic, NicBackend, SecretFile, Share, ShareBackend};

/// What the spec left open, settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) machine_type: MachineType,
    pub(super) accel: Accel,
    /// Why it is not what one would expect.
    pub(super) note: Option<String>,
    pub(super) qboot: Option<PathBuf>,
    /// Translated code is written where it is not executed.
    pub(super) split_wx: bool,
}

/// What QEMU finds under which name: its inherited sockets by number, its files by paths that it takes.
#[derive(Debug, Clone)]
pub(super) struct Inputs {
    pub(super) kernel: PathBuf,
    pub(super) initrd: Option<PathBuf>,
    /// Our end's peer: the runner's own QMP connection.
    pub(super) monitor: RawFd,
    /// A listening socket for everybody else's.
    pub(super) control: RawFd,
}

/// The host's ends of a guest's devices: what QEMU is given by descriptor has a number there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Devices<'a> {
    pub(super) nics: &'a [Nic],
    pub(super) shares: &'a [Share],
    pub(super) secrets: &'a [SecretFile],
}

impl<'a> Devices<'a> {
    /// What QEMU has to inherit.
    pub(super) fn fds(self) -> impl Iterator<Item = BorrowedFd<'a>> {
        let nics = self.nics.iter().flat_map(|nic| match &nic.backend {
            NicBackend::User { .. } => [None, None],
            NicBackend::Tap { queue, vhost } => [Some(queue.as_fd()), vhost.as_ref().map(AsFd::as_fd)],
        });
        let shares = self.shares.iter().map(|share| match &share.backend {
            ShareBackend::NineP { root } => root.as_fd(),
            ShareBackend::Virtiofs { socket } => socket.as_fd(),
        });
        nics.flatten().chain(shares).chain(self.secrets.iter().map(|secret| secret.content.as_fd()))
    }
}

/// The I/O port of isa-debug-exit, as kernels built for QEMU expect it; four bytes wide, so that any width of access
/// reaches it.
const DEBUG_EXIT: &str = "isa-debug-exit,iobase=0x501,iosize=0x4";

/// The arguments after the program's name.
pub(super) fn arguments(spec: &Spec, choice: &Choice, inputs: &Inputs, given: Devices<'_>) -> Result<Vec<OsString>> {
    let mut argv = Argv::default();
    argv.pair("-name", format!("{},process=kraft:{}", spec.name, spec.name));
    for flag in ["-nodefaults", "-no-user-config"] {
        argv.flag(flag);
    }
    argv.pair("-display", "none");
    argv.pair("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    let shared = given.shares.iter().any(|share| share.driver() == ShareDriver::Virtiofs);
    argv.pair("-machine", machine(spec, choice) + if shared { ",memory-backend=ram" } else { "" });
    argv.pair("-accel", accel(choice));
    argv.pair("-cpu", cpu(spec.arch, choice.accel));
    argv.pair("-smp", spec.cpus.to_string());
    argv.pair("-m", format!("{}M", spec.memory.mebibytes()));
    if shared {
        // virtiofsd reads and writes the guest's memory itself.
        argv.pair("-object", format!("memory-backend-memfd,id=ram,size={}M,share=on", spec.memory.mebibytes()));
    }
    argv.pair("-rtc", "base=utc");
    // The guest does not run before the runner says so: what ends before that is QEMU's own failure, what ends after
    // it is the guest's doing. A guest that panicked stays, so that its runner hears of it.
    argv.flag("-S");
    argv.pair("-action", "reboot=shutdown,shutdown=poweroff,panic=pause,watchdog=poweroff");
    if let Some(qboot) = &choice.qboot {
        argv.pair("-bios", qboot);
    }
    argv.pair("-kernel", &inputs.kernel);
    if let Some(initrd) = &inputs.initrd {
        argv.pair("-initrd", initrd);
    }
    for secret in given.secrets {
        // QEMU reads the file; neither its content nor its place is on this line.
        let (name, own, fd) = (&secret.name, crate::paths::OWN_FDS, secret.content.as_raw_fd());
        argv.pair("-fw_cfg", format!("name={FW_CFG_PREFIX}{name},file={own}/{fd}"));
    }
    let told = Told::of(given.nics, given.shares);
    let command_line = command_line(spec, &told, loader(spec.arch, &inputs.kernel))?;
    if !command_line.is_empty() {
        argv.pair("-append", command_line);
    }
    argv.pair("-chardev", "stdio,id=console,signal=off");
    argv.pair("-serial", "chardev:console");
    argv.pair("-chardev", format!("socket,id=monitor,fd={}", inputs.monitor));
    argv.pair("-mon", "chardev=monitor,mode=control");
    argv.pair("-chardev", format!("socket,id=control,fd={},server=on,wait=off", inputs.control));
    argv.pair("-mon", "chardev=control,mode=control");
    for device in devices(spec.arch, choice.machine_type) {
        argv.pair("-device", *device);
    }
    for (index, nic) in given.nics.iter().enumerate() {
        argv.pair("-netdev", netdev(index, nic)?);
        argv.pair("-device", nic_device(index, nic, choice.machine_type));
    }
    for share in given.shares {
        let (flag, backend) = share_backend(share);
        argv.pair(flag, backend);
        argv.pair("-device", share_device(share, choice.machine_type));
    }
    Ok(argv.0)
}

fn machine(spec: &Spec, choice: &Choice) -> String {
    match choice.machine_type {
        // microvm tells a kernel of its devices by adding to the command line; only Linux takes that well.
        MachineType::Microvm if spec.kernel.kind != KernelKind::Linux => {
            "microvm,auto-kernel-cmdline=off,x-option-roms=off".into()
        }
        MachineType::Pc | MachineType::Q35 => format!("{},usb=off,vmport=off", choice.machine_type),
        MachineType::Microvm | MachineType::Virt => choice.machine_type.to_string(),
    }
}

fn accel(choice: &Choice) -> String {
    match choice.accel {
        Accel::Kvm => "kvm".into(),
        // The machine's limit of memory counts on the size.
        Accel::Auto | Accel::Tcg if choice.split_wx => format!("tcg,tb-size={TRANSLATIONS},split-wx=on"),
        Accel::Auto | Accel::Tcg => format!("tcg,tb-size={TRANSLATIONS}"),
    }
}

fn cpu(arch: Arch, accel: Accel) -> &'static str {
    match (accel, arch) {
        (Accel::Kvm, Arch::X86_64) => "host,+x2apic,-pmu",
        (Accel::Kvm, Arch::Arm64) => "host",
        (Accel::Auto | Accel::Tcg, _) => "max",
    }
}

fn devices(arch: Arch, machine_type: MachineType) -> &'static [&'static str] {
    match (arch, machine_type) {
        (Arch::X86_64, MachineType::Microvm) => &[DEBUG_EXIT, "pvpanic", "virtio-rng-device"],
        (Arch::X86_64, _) => &[DEBUG_EXIT, "pvpanic", "virtio-rng-pci"],
        (Arch::Arm64, _) => &["pvpanic-pci", "virtio-rng-pci"],
    }
}

/// The ports of QEMU's own network.
fn forwards(ports: &[Port]) -> Result<String> {
    let mut text = String::new();
    for port in ports {
        let host = match port.host_ip {
            None => String::new(),
            Some(IpAddr::V4(ip)) => ip.to_string(),
            Some(IpAddr::V6(_)) => {
                return Err(Error::new(format!("cannot publish port {port}: QEMU's own network has IPv4 alone"))
                    .with_hint("on a network (`--network`) it can be published on an IPv6 address"));
            }
        };
        text.push_str(&format!(",hostfwd={}:{host}:{}-:{}", port.protocol, port.host, port.guest));
    }
    Ok(text)
}

fn netdev(index: usize, nic: &Nic) -> Result<String> {
    match &nic.backend {
        NicBackend::User { forwards: ports } => Ok(format!("user,id=hostnet{index}{}", forwards(ports)?)),
        NicBackend::Tap { queue, vhost } => {
            let vhost = vhost.as_ref().map_or_else(String::new, |fd| format!(",vhost=on,vhostfd={}", fd.as_raw_fd()));
            Ok(format!("tap,id=hostnet{index},fd={}{vhost}", queue.as_raw_fd()))
        }
    }
}

fn nic_device(index: usize, nic: &Nic, machine_type: MachineType) -> String {
    let mac = nic.mac.map_or_else(String::new, |mac| format!(",mac={mac}"));
    match machine_type {
        MachineType::Microvm => format!("virtio-net-device,netdev=hostnet{index}{mac}"),
        // Nobody boots from it: without the option ROM there is nothing to load and to wait for.
        MachineType::Pc | MachineType::Q35 | MachineType::Virt => {
            format!("virtio-net-pci,netdev=hostnet{index}{mac},romfile=")
        }
    }
}

/// Who serves a directory. Tags are our own words, and the directory comes by descriptor: no text of a person's is here.
///
/// Files belong to whoever runs the VMM, and look the same on both sides. The models that keep a guest's own idea of
/// owners and special files beside the files (`mapped-*`) show a guest's files as 0600 and its symbolic links as plain
/// files to the host, and cannot follow the host's links; `passthrough` cannot make a single file without root.
fn share_backend(share: &Share) -> (&'static str, String) {
    let tag = &share.tag;
    match &share.backend {
        ShareBackend::NineP { root } => {
            let (own, fd) = (crate::paths::OWN_FDS, root.as_raw_fd());
            let read_only = if share.read_only { ",readonly=on" } else { "" };
            let how = "security_model=none,multidevs=remap";
            ("-fsdev", format!("local,id={tag},path={own}/{fd},{how}{read_only}"))
        }
        ShareBackend::Virtiofs { socket } => ("-chardev", format!("socket,id={tag},fd={}", socket.as_raw_fd())),
    }
}

fn share_device(share: &Share, machine_type: MachineType) -> String {
    let tag = &share.tag;
    let bus = match machine_type {
        MachineType::Microvm => "device",
        MachineType::Pc | MachineType::Q35 | MachineType::Virt => "pci",
    };
    match &share.backend {
        ShareBackend::NineP { .. } => format!("virtio-9p-{bus},fsdev={tag},mount_tag={tag}"),
        ShareBackend::Virtiofs { .. } => format!("vhost-user-fs-{bus},chardev={tag},tag={tag}"),
    }
}

/// What QEMU puts on the command line itself: for the multiboot kernels that Unikraft's are on x86, their path.
fn loader(arch: Arch, kernel: &Path) -> Loader {
    match arch {
        Arch::X86_64 => Loader::Names(kernel.as_os_str().len()),
        Arch::Arm64 => Loader::Nameless,
    }
}

/// Arguments in the making.
#[derive(Default)]
struct Argv(Vec<OsString>);

impl Argv {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.into());
    }

    fn pair(&mut self, flag: &str, value: impl Into<OsString>) {
        self.0.push(flag.into());
        self.0.push(value.into());
    }
}

/// Checks that QEMU can start such a kernel, and that what was asked can be told to it. Starts nothing.
pub(super) fn check(spec: &Spec) -> Result<()> {
    if spec.kernel.kind == KernelKind::Elf && spec.arch == Arch::X86_64 {
        let why = "has neither a PVH entry nor a multiboot header: QEMU cannot start it";
        return Err(Error::of(Kind::CannotRun, format!("kernel {} {why}", spec.kernel.given().display())));
    }
    if spec.networks.is_empty() {
        forwards(&spec.ports)?;
    }
    command_line(spec, &Told::expected(spec), loader(spec.arch, &spec.kernel.path)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Kernel;

    fn spec(kind: KernelKind) -> Spec {
        Spec {
            kernel: Kernel::new("/k/web.elf", kind),
            cpus: 2,
            accel: Accel::Tcg,
            initrd: Some("/k/root.cpio".into()),
            ..Spec::example("web")
        }
    }

    fn choice(machine_type: MachineType) -> Choice {
        Choice { machine_type, accel: Accel::Tcg, note: None, qboot: Some("/fw/qboot.rom".into()), split_wx: false }
    }

    #[test]
    fn the_whole_line_of_a_microvm() {
        let spec = spec(KernelKind::Pvh);
        let inputs = Inputs { kernel: spec.kernel.path.clone(), initrd: spec.initrd.clone(), monitor: 5, control: 6 };
        let argv =
            arguments(&spec, &choice(MachineType::Microvm), &inputs, Devices { nics: &[], shares: &[], secrets: &[] });
        let line: Vec<_> = argv.unwrap().into_iter().map(|a| a.into_string().unwrap()).collect();
        assert_eq!(
            line.join(" "),
            "-name web,process=kraft:web -nodefaults -no-user-config -display none \
             -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny \
             -machine microvm,auto-kernel-cmdline=off,x-option-roms=off -accel tcg,tb-size=256 -cpu max -smp 2 -m 64M -rtc base=utc \
             -S -action reboot=shutdown,shutdown=poweroff,panic=pause,watchdog=poweroff -bios /fw/qboot.rom \
             -kernel /k/web.elf -initrd /k/root.cpio -chardev stdio,id=console,signal=off -serial chardev:console \
             -chardev socket,id=monitor,fd=5 -mon chardev=monitor,mode=control \
             -chardev socket,id=control,fd=6,server=on,wait=off -mon chardev=control,mode=control \
             -device isa-debug-exit,iobase=0x501,iosize=0x4 -device pvpanic -device virtio-rng-device"
        );
    }

    #[test]
    fn interfaces() {
        let port = |text: &str| text.parse().unwrap();
        let forwards = vec![port("127.0.0.1:8080:80"), port("5353:53/udp")];
        let nic = |forwards| Nic { mac: None, ip: Nic::user_ip(), backend: NicBackend::User { forwards } };
        assert_eq!(
            netdev(0, &nic(forwards)).unwrap(),
            "user,id=hostnet0,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp::5353-:53"
        );
        let error = netdev(0, &nic(vec![port("[::1]:8080:80")])).unwrap_err().to_string();
        assert_eq!(error, "cannot publish port [::1]:8080:80/tcp: QEMU's own network has IPv4 alone");
        assert_eq!(nic_device(0, &nic(vec![]), MachineType::Pc), "virtio-net-pci,netdev=hostnet0,romfile=");
        let queue = std::fs::File::open("Cargo.toml").unwrap().into();
        let nic = Nic {
            mac: Some("02:00:00:00:00:01".parse().unwrap()),
            backend: NicBackend::Tap { queue, vhost: None },
            ..nic(vec![])
        };
        assert!(netdev(1, &nic).unwrap().starts_with("tap,id=hostnet1,fd="));
        let device = nic_device(1, &nic, MachineType::Microvm);
        assert_eq!(device, "virtio-net-device,netdev=hostnet1,mac=02:00:00:00:00:01");
    }

    #[test]
    fn shared_directories() {
        let fd = || std::os::fd::OwnedFd::from(std::fs::File::open("Cargo.toml").unwrap());
        let share =
            |tag: &str, read_only, backend| Share { tag: tag.into(), target: "/w,w".into(), read_only, backend };
        let shares = [
            share("fs1", true, ShareBackend::NineP { root: fd() }),
            share("fs2", false, ShareBackend::NineP { root: fd() }),
        ];
        let line = |shares: &[Share]| {
            let spec = spec(KernelKind::Linux);
            let inputs = Inputs { kernel: spec.kernel.path.clone(), initrd: None, monitor: 5, control: 6 };
            let argv =
                arguments(&spec, &choice(MachineType::Q35), &inputs, Devices { nics: &[], shares, secrets: &[] })
                    .unwrap();
            argv.into_iter().map(|a| a.into_string().unwrap()).collect::<Vec<_>>().join(" ")
        };
        let number = |share: &Share| {
            Devices { nics: &[], shares: std::slice::from_ref(share), secrets: &[] }.fds().next().unwrap().as_raw_fd()
        };
        let expected = format!(
            "-fsdev local,id=fs1,path=/proc/self/fd/{},security_model=none,multidevs=remap,readonly=on \
             -device virtio-9p-pci,fsdev=fs1,mount_tag=fs1 \
             -fsdev local,id=fs2,path=/proc/self/fd/{},security_model=none,multidevs=remap \
             -device virtio-9p-pci,fsdev=fs2,mount_tag=fs2",
            number(&shares[0]),
            number(&shares[1])
        );
        assert!(line(&shares).ends_with(&expected), "{}", line(&shares));
        let shares = [share("fs1", false, ShareBackend::Virtiofs { socket: fd() })];
        let expected =
            format!("-chardev socket,id=fs1,fd={} -device vhost-user-fs-pci,chardev=fs1,tag=fs1", number(&shares[0]));
        let line = line(&shares);
        assert!(line.ends_with(&expected), "{line}");
        assert!(line.contains("-machine q35,usb=off,vmport=off,memory-backend=ram "), "{line}");
        assert!(line.contains("-object memory-backend-memfd,id=ram,size=64M,share=on "), "{line}");
    }
}
