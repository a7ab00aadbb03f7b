//! The tap that connects one interface of a machine's to a bridge.
//!
//! It lives as long as somebody holds it open: the runner until the VMM has it, then the VMM. Whatever kills them, the
//! kernel removes it.

#![allow(unsafe_code, reason = "TUNSETIFF is an ioctl")]

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd as _, OwnedFd};

use netlink_packet_route::link::LinkAttribute;
use nix::libc;

use super::mark::{self, Mark};
use super::netlink::{Link, Netlink};
use super::switches;
use crate::error::{Context as _, Result};
use crate::machine::{MachineId, MachineName, Record};
use crate::paths;

/// `struct ifreq`, as far as TUNSETIFF looks at it.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// The name of a machine's tap: the beginning of its id, and which of its interfaces it is.
pub(super) fn name(record: &Record, index: usize) -> String {
    format!("kt{}{index:x}", record.id.short())
}

/// The taps of a running machine's, in the order of its interfaces.
pub fn taps(record: &Record) -> Vec<String> {
    (0..record.spec.networks.len()).map(|index| name(record, index)).collect()
}

/// Makes a tap, marks it, and puts it on a bridge.
pub(super) fn make(
    netlink: &mut Netlink,
    record: &Record,
    index: usize,
    bridge: &Link,
    mark: &Mark,
) -> Result<OwnedFd> {
    let name = name(record, index);
    let cannot = || format!("cannot attach {} to bridge {}", record.spec.name, bridge.name);
    let queue = open(&name).with_context(cannot)?;
    let link = netlink.link(&name)?.ok_or_else(|| crate::error::Error::new(format!("tap {name} is gone")));
    let link = link.with_context(cannot)?;
    // Before it is up: it would get a link-local address.
    switches::without_ipv6(&name).with_context(cannot)?;
    let attributes = vec![
        LinkAttribute::IfAlias(mark.tap(record, index)),
        LinkAttribute::Mtu(bridge.mtu),
        LinkAttribute::Controller(bridge.index),
    ];
    netlink.set(&link, attributes, Some(true)).with_context(cannot)?;
    Ok(queue)
}

fn open(name: &str) -> Result<OwnedFd> {
    let file = OpenOptions::new().read(true).write(true).open(paths::TUN);
    let file = file.with_context(|| format!("cannot open {}", paths::TUN)).map_err(|error| {
        error.with_hint("`modprobe tun` loads the driver; `kraft doctor` looks at what else is missing")
    })?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_TUN_EXCL;
    #[allow(clippy::cast_possible_truncation, reason = "the flags are the field's own, of 16 bits")]
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags: flags as libc::c_short, rest: [0; 22] };
    // One byte stays zero.
    request.name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()).for_each(|(to, from)| *to = from);
    // SAFETY: the descriptor is open, and the request is a whole `struct ifreq` that outlives the call.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    nix::errno::Errno::result(made).with_context(|| format!("cannot make tap {name}"))?;
    Ok(file.into())
}

/// Whether one of these is a tap of that machine's. One that runs on a network has one, wherever its record is.
pub(super) fn has(links: &[Link], name: &MachineName, id: MachineId) -> bool {
    let of = |link: &Link| link.alias.as_deref().and_then(mark::machine);
    links.iter().filter_map(of).any(|(theirs, its)| theirs == *name && its == id)
}

/// The kernel's own way for packets past the VMM, where there is one.
pub(super) fn vhost() -> Option<OwnedFd> {
    OpenOptions::new().read(true).write(true).open(paths::VHOST_NET).ok().map(File::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Manager, Spec};
    use crate::store::Store;

    #[test]
    fn names_fit() {
        let record = Store::new_record(Spec::example(&"a".repeat(64)), Manager::Local).unwrap();
        let (first, last) = (name(&record, 0), name(&record, super::super::MOST - 1));
        assert_eq!((first.len(), last.len()), (15, 15));
        assert_ne!(first, last);
    }

    #[test]
    fn a_request_is_as_large_as_the_kernels() {
        assert_eq!(size_of::<Request>(), size_of::<libc::ifreq>());
    }
}
