//! A machine file as what is wanted of a machine, and a record as the machine file that says it.

use std::time::Duration;

use super::file_image;
use super::wanted::Wanted;
use crate::config::{Entrypoint, MachineFile, Rootfs, Settings};
use crate::error::{Error, Result};
use crate::machine::{
    Abilities, Accel, Attachment, ImageOrigin, Kernel, Machined, Mount, MountRequest, MountSource, NetworkRequest,
    Platform, Secret, SecretRequest, ShareDriver, Spec,
};
use crate::systemd;
use crate::volume::Missing;

/// The label of machines that `kraft apply` made: the directory that it made them of.
pub(super) const APPLIED: &str = "kraft.applied";

/// What a file wants, all of it checked that can be without looking at the host.
///
/// # Errors
/// Everything that is wrong, each with its place.
pub(super) fn wanted(file: &MachineFile) -> Result<Wanted, Vec<Error>> {
    let settings = &file.settings;
    let mut flaws = Vec::new();
    let mut hold = |key: &str, result: Result<()>| flaws.extend(result.err().map(|error| file.flaw(key, error)));
    if let Some(properties) = &settings.properties {
        hold("properties", systemd::check_properties(properties));
    }
    if let Some(slice) = &settings.slice {
        hold("slice", systemd::check_slice(slice));
    }
    for (section, directives) in [("unit", &settings.unit), ("service", &settings.service)] {
        for (key, value) in directives.iter().flat_map(|directives| directives.lines()) {
            hold(&format!("{section}.{key}"), systemd::check_directive(key, value));
        }
    }
    if settings.rootfs_compress.is_some_and(|compress| !compress.is_none()) && settings.rootfs.is_none() {
        hold("rootfs-compress", Err(Error::new("rootfs-compress goes with rootfs")));
    }
    if let Some(image) = &settings.image {
        hold("image", file_image::check(image));
    }
    if let Some(image) = settings.rootfs.as_ref().and_then(Rootfs::image) {
        hold("rootfs", file_image::check(image));
    }
    if let Some(key) = settings.idle_image() {
        hold(key, Err(Error::new(format!("{key} goes with image"))));
    }
    if let Some(key) = settings.idle_health() {
        hold(key, Err(Error::new(format!("{key} goes with health"))));
    }
    let wanted = Wanted::of_file(file).map_err(|error| vec![file.flaw("", error)])?;
    // Of which keys it is about, the error says.
    hold("", wanted.clone().sketch().map(drop));
    if flaws.is_empty() { Ok(wanted) } else { Err(flaws) }
}

impl Wanted {
    /// What a file wants.
    pub(crate) fn of_file(file: &MachineFile) -> Result<Self> {
        let settings = file.settings.clone();
        let (limits, health) = (settings.limits(), settings.health());
        let profile = settings.sandbox.unwrap_or(settings.usual_profile());
        let usual = Self::new(settings.kernel.unwrap_or_default());
        Ok(Self {
            name: Some(file.name.clone()),
            kernel_args: settings.kernel_args.unwrap_or_default(),
            app_args: settings.args.unwrap_or_default(),
            platform: settings.platform.unwrap_or(usual.platform),
            arch: settings.arch,
            memory: settings.memory.unwrap_or(usual.memory),
            cpus: settings.cpus.unwrap_or(usual.cpus),
            accel: settings.accel.unwrap_or(usual.accel),
            machine_type: settings.machine_type,
            dialect: settings.dialect,
            env: settings.env.unwrap_or_default(),
            rootfs: settings.rootfs.as_ref().map(Rootfs::to_path),
            rootfs_compress: settings.rootfs_compress.unwrap_or_default(),
            ports: settings.ports.unwrap_or_default(),
            networks: settings.networks.unwrap_or_default(),
            volumes: settings.volumes.unwrap_or_default(),
            missing: if settings.mkdir.unwrap_or(false) { Missing::Make } else { Missing::Refuse },
            stop_timeout: settings.stop_timeout.unwrap_or(usual.stop_timeout),
            restart: settings.restart.unwrap_or(usual.restart),
            auto_remove: settings.rm.unwrap_or(false),
            labels: settings.labels.unwrap_or_default(),
            properties: settings.properties.unwrap_or_default(),
            slice: settings.slice,
            sandbox: Some(profile),
            limits,
            secrets: settings.secrets.unwrap_or_default(),
            on_calendar: settings.on_calendar.unwrap_or_default(),
            runtime_max: settings.runtime_max,
            machined: settings.machined.unwrap_or(usual.machined),
            ready: settings.ready.unwrap_or_default(),
            ready_timeout: settings.ready_timeout,
            health,
            ..usual
        })
    }
}

/// What a machine file says that asks for this machine, with the addresses that it has.
pub(super) fn settings_of(spec: &Spec) -> Settings {
    fn some<T: Default + PartialEq>(value: T) -> Option<T> {
        (value != T::default()).then_some(value)
    }
    // What is the image's own has no other name.
    let is_own = spec.image.is_some() && spec.rootfs == spec.initrd;
    let mut settings = Settings {
        kernel: spec.image.is_none().then(|| spec.kernel.given().to_owned()),
        image: spec.image.as_ref().map(ImageOrigin::pinned),
        // The arguments are all that there are.
        entrypoint: spec.image.as_ref().map(|_| Entrypoint::default()),
        kernel_args: some(spec.kernel_args.clone()),
        args: some(spec.app_args.clone()),
        memory: Some(spec.memory),
        cpus: some(spec.cpus).filter(|cpus| *cpus != 1),
        rootfs: match &spec.rootfs_image {
            Some(image) => Some(Rootfs::Image(image.pinned())),
            None => spec.rootfs.clone().filter(|_| !is_own).map(Rootfs::Path),
        },
        rootfs_compress: some(spec.rootfs_compress),
        ports: some(spec.ports.clone()),
        networks: some(spec.networks.iter().map(|on| request_of(on, spec)).collect()),
        volumes: some(spec.volumes.iter().filter(|mount| !mount.own).map(mount_of).collect()),
        restart: some(spec.restart),
        stop_timeout: Some(spec.stop_timeout()).filter(|time| *time != Wanted::STOP_TIMEOUT),
        rm: some(spec.auto_remove),
        platform: Some(spec.platform).filter(|platform| *platform != Platform::Qemu),
        arch: Some(spec.arch),
        accel: Some(spec.accel).filter(|accel| *accel != Accel::Auto),
        machine_type: spec.machine_type,
        dialect: spec.kernel.dialect.filter(|_| was_asked(&spec.kernel)),
        slice: spec.slice.clone(),
        properties: some(spec.properties.clone()),
        env: some(spec.env.clone()),
        labels: some(spec.labels.clone()),
        secrets: some(spec.secrets.iter().cloned().map(secret_of).collect()),
        on_calendar: some(spec.on_calendar.clone()),
        runtime_max: spec.runtime_max(),
        machined: Some(spec.machined).filter(|machined| *machined != Machined::No),
        ready: some(spec.ready.clone()),
        ready_timeout: spec.ready_timeout_ms.map(Duration::from_millis),
        ..Settings::default()
    };
    settings.sandbox = Some(spec.sandbox).filter(|profile| *profile != settings.usual_profile());
    settings.with_limits(&spec.limits).with_health(spec.health.as_ref())
}

fn secret_of(Secret { name, source, encrypted, way }: Secret) -> SecretRequest {
    SecretRequest { name, source: Some(source), encrypted, way }
}

/// Whether a kernel's dialect may have been asked for. What it says of itself counts for nothing then, and is not kept.
fn was_asked(kernel: &Kernel) -> bool {
    let rest = Abilities { power_button: None, ..kernel.abilities };
    rest.is_unknown() && kernel.parameters.is_none()
}

fn request_of(on: &Attachment, spec: &Spec) -> NetworkRequest {
    let nets = [on.ip.ipv4.map(ipnet::IpNet::V4), on.ip.ipv6.map(ipnet::IpNet::V6)];
    NetworkRequest {
        bridge: on.foreign,
        name: on.network.clone(),
        addresses: nets.into_iter().flatten().map(|net| (net.addr(), Some(net.prefix_len()))).collect(),
        gateways: on.ip.gateways.clone(),
        dns: on.ip.dns.clone(),
        host: on.ip.host.clone().filter(|host| *host != spec.name.as_host()),
        domain: on.ip.domain.clone(),
        aliases: on.ip.aliases.clone(),
        mac: on.mac,
    }
}

fn mount_of(mount: &Mount) -> MountRequest {
    let driver = Some(mount.driver);
    let (source, driver) = match &mount.volume {
        Some(volume) => (MountSource::Volume(volume.clone(), mount.source.clone()), driver),
        None => (MountSource::Path(mount.source.clone()), driver.filter(|driver| *driver != ShareDriver::NineP)),
    };
    MountRequest { source, target: mount.target.clone(), read_only: mount.read_only, driver }
}

/// The directives of a file as properties of a unit that is no file. The manager resolves no specifiers there.
///
/// # Errors
/// Names each that has one.
pub(super) fn properties(file: &MachineFile) -> Result<Vec<String>, Vec<Error>> {
    let (mut properties, mut flaws) = (Vec::new(), Vec::new());
    for (section, directives) in [("unit", &file.settings.unit), ("service", &file.settings.service)] {
        for (key, value) in directives.iter().flat_map(|directives| directives.lines()) {
            let plain = value.replace("%%", "");
            if plain.contains('%') {
                let why = format!("{key}={value} has a specifier, which systemd resolves in unit files alone");
                let hint = "a file in a directory of machine files may have it; `kraft apply` makes transient units";
                flaws.push(file.flaw(&format!("{section}.{key}"), Error::new(why).with_hint(hint)));
            }
            properties.push(format!("{key}={}", value.replace("%%", "%")));
        }
    }
    if flaws.is_empty() { Ok(properties) } else { Err(flaws) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{self, Dirs};
    use crate::machine::{Dialect, KernelKind, RestartPolicy};

    /// What the file of a machine asks for, read back from a directory of its own.
    fn round(spec: &Spec) -> Spec {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("kraft-written-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let text = settings_of(spec).to_text();
        std::fs::write(dir.join(format!("{}.toml", spec.name)), &text).unwrap();
        let file = config::load(&Dirs::only(&dir), &spec.name).unwrap_or_else(|flaws| panic!("{flaws:?}\n{text}"));
        std::fs::remove_dir_all(&dir).unwrap();
        let wanted = wanted(&file).unwrap_or_else(|flaws| panic!("{flaws:?}\n{text}"));
        assert_eq!(wanted.dialect, Some(Dialect::Linux), "{text}");
        let nets = |request: &NetworkRequest| {
            let of = |v4: bool| request.addresses.iter().find(|(ip, _)| ip.is_ipv4() == v4).copied();
            let net = |v4| of(v4).map(|(ip, prefix)| ipnet::IpNet::new(ip, prefix.unwrap()).unwrap());
            Attachment {
                network: request.name.clone(),
                foreign: request.bridge,
                mac: request.mac,
                ip: crate::machine::IpConfig {
                    ipv4: net(true).map(|net| net.to_string().parse().unwrap()),
                    ipv6: net(false).map(|net| net.to_string().parse().unwrap()),
                    gateways: request.gateways.clone(),
                    dns: request.dns.clone(),
                    host: request.host.clone().or(Some(spec.name.as_host())),
                    domain: request.domain.clone(),
                    aliases: request.aliases.clone(),
                },
            }
        };
        let networks = wanted.networks.iter().map(nets).collect();
        // What the kernel's file says is the host's to say.
        Spec { networks, kernel: spec.kernel.clone(), ..wanted.sketch().unwrap() }
    }

    fn all_limits() -> crate::machine::Limits {
        crate::machine::Limits {
            memory_max: Some("64Gi".parse().unwrap()),
            memory_swap_max: Some("infinity".parse().unwrap()),
            cpu_quota: Some("150%".parse().unwrap()),
            cpu_weight: Some("200".parse().unwrap()),
            cpuset_cpus: Some("0".parse().unwrap()),
            io_weight: Some("50".parse().unwrap()),
            tasks_max: Some("6400".parse().unwrap()),
            io_read_bandwidth_max: vec!["/dev/vda:10M".parse().unwrap()],
            io_write_iops_max: vec!["/dev/vda:100".parse().unwrap(), "/dev/vdb:7".parse().unwrap()],
            ..crate::machine::Limits::default()
        }
    }

    fn text() -> impl Strategy<Value = String> {
        "[ -~é]{0,12}"
    }

    prop_compose! {
        fn network()(
            name in "[a-z][a-z0-9-]{0,8}", foreign: bool, mac in proptest::option::of(any::<[u8; 5]>()),
            v4 in proptest::option::of(any::<[u8; 4]>()), v6 in proptest::option::of(any::<[u8; 16]>()),
            gateway in proptest::option::of(any::<[u8; 4]>()), dns in proptest::collection::vec(any::<[u8; 4]>(), 0..3),
            domain in proptest::option::of("[a-z]{1,9}\\.org"),
        ) -> Attachment {
            Attachment {
                // A network of ours by that name would be meant without the prefix.
                network: name, foreign,
                mac: mac.map(|[a, b, c, d, e]| crate::machine::Mac([2, a, b, c, d, e])),
                ip: crate::machine::IpConfig {
                    ipv4: v4.map(|ip| ipnet::Ipv4Net::new(ip.into(), 24).unwrap()),
                    ipv6: v6.map(|ip| ipnet::Ipv6Net::new(ip.into(), 64).unwrap()),
                    gateways: gateway.map(std::net::IpAddr::from).into_iter().collect(),
                    dns: dns.into_iter().map(std::net::IpAddr::from).collect(),
                    host: Some("web-1".into()), domain,
                    aliases: if foreign { Vec::new() } else { vec!["www".into()] },
                },
            }
        }
    }

    prop_compose! {
        fn spec()(
            kernel_args in proptest::collection::vec(text(), 0..3), app_args in proptest::collection::vec(text(), 0..3),
            mebibytes in 1u64..4096, cpus in 1u32..255, stop_timeout_ms in 0u64..100_000,
            env in proptest::collection::btree_map("[A-Z_]{1,6}", text(), 0..3),
            labels in proptest::collection::btree_map(text(), text(), 0..3),
            path in "/[ -9;-~é]{1,12}[a-z]", colon: bool, read_only: bool, volume: bool,
            networks in proptest::collection::vec(network(), 0..3),
            restart in prop_oneof![Just(RestartPolicy::No), Just(RestartPolicy::OnFailure(Some(3))), Just(RestartPolicy::Always)],
            tcg: bool, rootfs: bool, zstd: bool,
        ) -> Spec {
            let path = std::path::PathBuf::from(&path).components().filter(|c| *c != std::path::Component::CurDir).collect::<std::path::PathBuf>();
            let source = if colon { path.join("a:b") } else { path.clone() };
            let mount = if volume {
                Mount { volume: Some("html".parse().unwrap()), source: "site".into(), target: "/a b".into(), read_only, driver: ShareDriver::Virtiofs, own: false }
            } else {
                Mount { volume: None, source, target: "/w".into(), read_only, driver: ShareDriver::NineP, own: false }
            };
            let mut kernel = Kernel::new(path.clone(), KernelKind::Elf);
            kernel.dialect = Some(Dialect::Linux);
            let (initrd, compress) = if rootfs { (Some(path.clone()), zstd) } else { (None, false) };
            let reached = |on: &Attachment| !on.foreign || on.ip.ipv4.is_some() || on.ip.ipv6.is_some();
            let probed = colon && networks.iter().any(reached);
            Spec {
                kernel, kernel_args, app_args, memory: crate::machine::Bytes(mebibytes << 20), cpus, stop_timeout_ms, env, labels,
                volumes: vec![mount], networks, restart,
                accel: if tcg { Accel::Tcg } else { Accel::Auto },
                initrd: initrd.clone(), rootfs: initrd,
                rootfs_compress: if compress { crate::machine::Compression::Zstd } else { crate::machine::Compression::None },
                ports: crate::machine::Port::parse("[::1]:80-81:80-81/udp").unwrap(),
                properties: vec!["Nice=5".into()],
                limits: if tcg { all_limits() } else { crate::machine::Limits::default() },
                on_calendar: vec!["Mon..Fri 10:00".into()],
                runtime_max_ms: Some(stop_timeout_ms + 1),
                machined: if rootfs { Machined::No } else { Machined::Auto },
                ready: if zstd { "console:^a%b".parse().unwrap() } else { crate::machine::Ready::Guest },
                ready_timeout_ms: zstd.then_some(5),
                health: probed.then(|| crate::machine::Health { retries: cpus, ..crate::machine::Health::new("http:80/x".parse().unwrap()) }),
                slice: Some("tenants.slice".into()),
                sandbox: crate::machine::Sandbox::Compatible,
                ..Spec::example("web@1")
            }
        }
    }

    proptest! {
        #[test]
        fn a_machine_comes_back_from_its_file(spec in spec()) {
            prop_assert_eq!(round(&spec), spec);
        }
    }

    #[test]
    fn one_of_an_image_is_of_that_and_not_of_its_files() {
        let image =
            ImageOrigin { reference: "a.org/web:v1".into(), manifest: crate::machine::Digest::from_bytes([1; 32]) };
        let own = Some(std::path::PathBuf::from("/own"));
        let spec = Spec { image: Some(image), initrd: own.clone(), rootfs: own.clone(), ..Spec::example("web") };
        let spec = Spec { app_args: vec!["x".into()], ..spec };
        let settings = settings_of(&spec);
        let text = settings.to_text();
        let hex = "01".repeat(32);
        assert!(
            text.starts_with(&format!("image = \"a.org/web:v1@sha256:{hex}\"\nentrypoint = []\nargs = [\"x\"]\n")),
            "{text}"
        );
        assert_eq!((settings.kernel, settings.rootfs), (None, None));
        // One that was given beside it is not the image's.
        let given = Spec { rootfs: Some("/srv/root".into()), ..spec.clone() };
        assert_eq!(settings_of(&given).rootfs, Some(Rootfs::Path("/srv/root".into())));
        let files =
            ImageOrigin { reference: "oci:/srv/root".into(), manifest: crate::machine::Digest::from_bytes([2; 32]) };
        let text = settings_of(&Spec { rootfs_image: Some(files), ..spec }).to_text();
        assert!(text.contains("rootfs = \"oci:/srv/root\"\n"), "{text}");
    }

    #[test]
    fn a_dialect_that_was_found_is_left_to_the_kernel() {
        let mut kernel = Kernel::new("/k", KernelKind::Unikraft);
        kernel.dialect = Some(Dialect::Unikraft);
        kernel.parameters = Some(BTreeMap::from([("vfs.fstab".into(), 1)]));
        assert_eq!(settings_of(&Spec { kernel, ..Spec::example("web") }).dialect, None);
    }
}
