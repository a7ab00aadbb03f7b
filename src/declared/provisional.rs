//! A machine file as the record that it will become, but for what only the host tells: what its kernel is, what its
//! addresses are, where its volumes are. Its units do not depend on that.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::mark::written_for;
use crate::config::{MachineFile, Rootfs};
use crate::image::oci::reference::Reference;
use crate::machine::{
    Accel, Arch, Bytes, ImageName, Kernel, KernelKind, MachineId, MachineName, Machined, Manager, MountRequest,
    NetworkRequest, Platform, Record, RestartPolicy, SCHEMA, Secret, SecretRequest, Spec,
};
use crate::paths::{self, Paths};

const MEMORY: Bytes = Bytes(64 * Bytes::MIB);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The record that a file's machine will have, as far as the file tells.
pub fn record(file: &MachineFile, paths: &Paths) -> Record {
    let id = written_for(file.path()).unwrap_or_else(|| id_of(&file.name, paths));
    Record {
        schema: SCHEMA,
        id,
        created: Timestamp::UNIX_EPOCH,
        manager: Manager::Systemd,
        stale: false,
        spec: spec(file),
    }
}

/// The id of a machine whose file was not written for another. It is the same at every boot, and no other host's: its unit
/// names it before there is a record.
pub fn id_of(name: &MachineName, paths: &Paths) -> MachineId {
    let host = std::fs::read_to_string(paths::MACHINE_ID).unwrap_or_default();
    let mut hash = Sha256::new();
    for part in ["kraft machine", host.trim(), &paths.state.to_string_lossy(), name.as_str()] {
        hash.update(part);
        hash.update([0]);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    MachineId::from_bytes(id)
}

fn spec(file: &MachineFile) -> Spec {
    let settings = file.settings.clone();
    let (limits, health) = (settings.limits(), settings.health());
    let profile = settings.sandbox.unwrap_or(settings.usual_profile());
    // Of an image its name is all there is yet.
    let named = |image: ImageName| image.as_str().parse().map_or(image.to_string(), |full: Reference| full.to_string());
    let image = settings.image.map(|image| named(image).split('@').next().unwrap_or_default().into());
    let kernel = Kernel::new(settings.kernel.or(image).unwrap_or_default(), KernelKind::Elf);
    Spec {
        name: file.name.clone(),
        platform: settings.platform.unwrap_or(Platform::Qemu),
        arch: settings.arch.or(Arch::host()).unwrap_or(Arch::X86_64),
        kernel,
        kernel_args: settings.kernel_args.unwrap_or_default(),
        app_args: settings.args.unwrap_or_default(),
        memory: settings.memory.unwrap_or(MEMORY),
        cpus: settings.cpus.unwrap_or(1),
        accel: settings.accel.unwrap_or(Accel::Auto),
        machine_type: settings.machine_type,
        initrd: settings.rootfs.as_ref().map(Rootfs::to_path),
        rootfs: settings.rootfs.as_ref().map(Rootfs::to_path),
        rootfs_digest: None,
        rootfs_compress: settings.rootfs_compress.unwrap_or_default(),
        stop_timeout_ms: milliseconds(settings.stop_timeout.unwrap_or(STOP_TIMEOUT)),
        restart: settings.restart.unwrap_or(RestartPolicy::No),
        auto_remove: settings.rm.unwrap_or(false),
        properties: settings.properties.unwrap_or_default(),
        slice: settings.slice,
        sandbox: profile,
        labels: settings.labels.unwrap_or_default(),
        env: settings.env.unwrap_or_default(),
        ports: settings.ports.unwrap_or_default(),
        // Whether a bridge is kraft's own after all, only the host tells.
        networks: settings.networks.unwrap_or_default().iter().map(NetworkRequest::attachment).collect(),
        volumes: settings.volumes.unwrap_or_default().into_iter().map(MountRequest::mount).collect(),
        limits,
        secrets: settings.secrets.unwrap_or_default().into_iter().map(secret).collect(),
        on_calendar: settings.on_calendar.unwrap_or_default(),
        runtime_max_ms: settings.runtime_max.map(milliseconds),
        machined: settings.machined.unwrap_or(Machined::No),
        ready: settings.ready.unwrap_or_default(),
        ready_timeout_ms: settings.ready_timeout.map(milliseconds),
        health,
        image: None,
        rootfs_image: None,
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn secret(request: SecretRequest) -> Secret {
    let SecretRequest { name, source, encrypted, way } = request;
    Secret { name, source: source.unwrap_or_default(), encrypted, way }
}
