//! From the text of a value to the value: forms with parts, such as devices, addresses, commands and mounts.

use std::net::IpAddr;

use super::value::{Result, Values, assignments, boolean, bytes, infinite_or, signal, time, words};

pub(super) fn device(text: &str) -> Result<Vec<(String, String)>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let (path, access) = text.split_once(char::is_whitespace).unwrap_or((text, "rwm"));
    let access = access.trim();
    if access.chars().any(|c| !"rwm".contains(c)) {
        return Err("access is made of r, w and m".into());
    }
    Ok(vec![(path.to_owned(), access.to_owned())])
}

pub(super) fn device_amount(text: &str, amount: impl Fn(&str) -> Result<u64>) -> Result<Vec<(String, u64)>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let (path, value) = text.split_once(char::is_whitespace).ok_or("expected a path and an amount")?;
    Ok(vec![(path.to_owned(), amount(value.trim())?)])
}

pub(super) type Prefix = (i32, Vec<u8>, u32);

pub(super) fn addresses(text: &str) -> Result<Vec<Prefix>> {
    let mut prefixes = Vec::new();
    for word in text.split_whitespace() {
        let known: &[&str] = match word {
            "any" => &["0.0.0.0/0", "::/0"],
            "localhost" => &["127.0.0.0/8", "::1/128"],
            "link-local" => &["169.254.0.0/16", "fe80::/64"],
            "multicast" => &["224.0.0.0/4", "ff00::/8"],
            other => &[other],
        };
        for text in known {
            prefixes.push(prefix(text)?);
        }
    }
    Ok(prefixes)
}

pub(super) fn prefix(text: &str) -> Result<Prefix> {
    let bad = || format!("'{}' is not an address or a prefix", text.escape_debug());
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u32>().map_err(|_| bad())?)),
        None => (text, None),
    };
    let (family, bytes) = match address.parse().map_err(|_| bad())? {
        IpAddr::V4(address) => (nix::libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (nix::libc::AF_INET6, address.octets().to_vec()),
    };
    let most = u32::try_from(bytes.len() * 8).unwrap_or(128);
    let length = length.unwrap_or(most);
    if length > most { Err(bad()) } else { Ok((family, bytes, length)) }
}

pub(super) fn limit(key: &str, text: &str) -> Result<Values> {
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    let one = |text: &str| -> Result<u64> {
        infinite_or(text, |text| match key {
            "LimitCPU" => time(text).map(|time| time.div_ceil(1_000_000)),
            "LimitRTTIME" => time(text),
            "LimitNICE" => match (text.parse::<i64>(), text.starts_with(['+', '-'])) {
                (Ok(nice @ -20..=19), true) => Ok(u64::try_from(20 - nice).unwrap_or(0)),
                (Ok(plain @ 0..=40), false) => Ok(u64::try_from(plain).unwrap_or(0)),
                _ => Err("expected a nice value such as +5".into()),
            },
            _ => bytes(text, 1024),
        })
    };
    let (soft, hard) = (one(soft)?, one(hard)?);
    if soft > hard {
        return Err("the soft limit is above the hard one".into());
    }
    Ok(vec![(key.to_owned(), hard.into()), (format!("{key}Soft"), soft.into())])
}

/// The list as it allows (`true`) or denies.
pub(super) fn filter(text: &str) -> Result<(bool, Vec<String>)> {
    let (allow, list) = match text.strip_prefix('~') {
        Some(list) => (false, list),
        None => (true, text),
    };
    let mut list = words(list)?;
    if allow && list == ["none"] {
        // The empty list of what is allowed; systemd-run refuses the word.
        list.clear();
    }
    Ok((allow, list))
}

#[rustfmt::skip]
pub(super) const CAPABILITIES: [&str; 41] = [
    "cap_chown", "cap_dac_override", "cap_dac_read_search", "cap_fowner", "cap_fsetid", "cap_kill", "cap_setgid",
    "cap_setuid", "cap_setpcap", "cap_linux_immutable", "cap_net_bind_service", "cap_net_broadcast", "cap_net_admin",
    "cap_net_raw", "cap_ipc_lock", "cap_ipc_owner", "cap_sys_module", "cap_sys_rawio", "cap_sys_chroot",
    "cap_sys_ptrace", "cap_sys_pacct", "cap_sys_admin", "cap_sys_boot", "cap_sys_nice", "cap_sys_resource",
    "cap_sys_time", "cap_sys_tty_config", "cap_mknod", "cap_lease", "cap_audit_write", "cap_audit_control",
    "cap_setfcap", "cap_mac_override", "cap_mac_admin", "cap_syslog", "cap_wake_alarm", "cap_block_suspend",
    "cap_audit_read", "cap_perfmon", "cap_bpf", "cap_checkpoint_restore",
];

pub(super) fn flags(text: &str, names: &[&str], what: &str) -> Result<u64> {
    let (invert, list) = match text.strip_prefix('~') {
        Some(list) => (true, list),
        None => (false, text),
    };
    let mut bits = 0u64;
    for word in list.split_whitespace() {
        let position = names.iter().position(|name| name.eq_ignore_ascii_case(word));
        bits |= 1 << position.ok_or_else(|| format!("'{}' is not {what}", word.escape_debug()))?;
    }
    // All that the kernel may know, and not only what this list does.
    Ok(if invert { !bits & (u64::MAX >> 1) } else { bits })
}

/// The kinds of namespaces that may be made, by their clone(2) flags.
pub(super) fn namespaces(text: &str) -> Result<u64> {
    const KINDS: [(&str, u64); 7] = [
        ("cgroup", 0x0200_0000),
        ("uts", 0x0400_0000),
        ("ipc", 0x0800_0000),
        ("user", 0x1000_0000),
        ("pid", 0x2000_0000),
        ("net", 0x4000_0000),
        ("mnt", 0x0002_0000),
    ];
    let all = KINDS.iter().fold(0, |bits, (_, bit)| bits | bit);
    if let Ok(restrict) = boolean(text) {
        return Ok(if restrict { 0 } else { all });
    }
    let (invert, list) = text.strip_prefix('~').map_or((false, text), |list| (true, list));
    let mut bits = 0;
    for word in list.split_whitespace() {
        match KINDS.iter().find(|(kind, _)| *kind == word) {
            Some((_, bit)) => bits |= bit,
            None => return Err(format!("'{}' is not a kind of namespace", word.escape_debug())),
        }
    }
    Ok(if invert { all & !bits } else { bits })
}

/// A command line with the prefixes of unit files. `$VARIABLE` is expanded by systemd, as there, unless `:` is given.
///
/// The `Ex` form is sent only for the prefixes that need it: systemd 252 loses it at a daemon-reload.
pub(super) fn command(key: &str, text: &str) -> Result<Values> {
    type Plain = (String, Vec<String>, bool);
    if text.is_empty() {
        return Ok(vec![(key.to_owned(), Vec::<Plain>::new().into())]);
    }
    let rest = text.trim_start_matches(['-', '+', '!', ':']);
    let prefixes = &text[..text.len() - rest.len()];
    let mut argv = words(rest)?;
    let program = argv.first().cloned().ok_or("expected a command")?;
    if !program.starts_with('/') {
        return Err("a command begins with the absolute path of a program".into());
    }
    if prefixes.contains(':') {
        argv.iter_mut().for_each(|argument| *argument = argument.replace('$', "$$"));
    }
    if !prefixes.contains(['+', '!']) {
        return Ok(vec![(key.to_owned(), vec![(program, argv, prefixes.contains('-'))].into())]);
    }
    let flags: Vec<String> = [('-', "ignore-failure"), ('+', "privileged"), ('!', "no-setuid")]
        .into_iter()
        .filter(|&(prefix, _)| prefixes.contains(prefix))
        .map(|(_, flag)| flag.to_owned())
        .collect();
    Ok(vec![(format!("{key}Ex"), vec![(program, argv, flags)].into())])
}

/// Splits at colons; a backslash keeps one.
pub(super) fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, fields.last_mut()) {
            (':', _) => fields.push(String::new()),
            ('\\', Some(field)) => field.extend(chars.next()),
            (c, Some(field)) => field.push(c),
            (_, None) => {}
        }
    }
    fields
}

pub(super) fn binds(text: &str) -> Result<Vec<(String, String, bool, u64)>> {
    const RECURSIVE: u64 = nix::libc::MS_REC;
    let mut binds = Vec::new();
    for word in words(text)? {
        let (ignore, word) = word.strip_prefix('-').map_or((false, word.as_str()), |word| (true, word));
        let fields = fields(word);
        let flags = match fields.get(2).map(String::as_str) {
            None | Some("" | "rbind") => RECURSIVE,
            Some("norbind") => 0,
            Some(other) => return Err(format!("'{}' is neither rbind nor norbind", other.escape_debug())),
        };
        let source = fields[0].clone();
        let target = fields.get(1).filter(|target| !target.is_empty()).unwrap_or(&source).clone();
        binds.push((source, target, ignore, flags));
    }
    Ok(binds)
}

pub(super) fn tmpfs(text: &str) -> Result<Vec<(String, String)>> {
    Ok(words(text)?
        .into_iter()
        .map(|word| match word.split_once(':') {
            Some((path, options)) => (path.to_owned(), options.to_owned()),
            None => (word, String::new()),
        })
        .collect())
}

pub(super) fn load_credential(text: &str) -> Result<Vec<(String, String)>> {
    let (id, path) = text.split_once(':').unwrap_or((text, text));
    if id.is_empty() || path.is_empty() { Err("expected ID:PATH".into()) } else { Ok(vec![(id.into(), path.into())]) }
}

pub(super) fn set_credential(text: &str) -> Result<Vec<(String, Vec<u8>)>> {
    match text.split_once(':') {
        Some((id, data)) if !id.is_empty() => Ok(vec![(id.to_owned(), data.as_bytes().to_vec())]),
        _ => Err("expected ID:DATA".into()),
    }
}

pub(super) fn journal_fields(text: &str) -> Result<Vec<Vec<u8>>> {
    let valid = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let fields = assignments(text)?;
    match fields
        .iter()
        .find(|field| field.starts_with('_') || !field.split('=').next().is_some_and(|n| n.chars().all(valid)))
    {
        Some(field) => Err(format!("'{}' is not FIELD=VALUE, FIELD made of A-Z, 0-9 and _", field.escape_debug())),
        None => Ok(fields.into_iter().map(String::into_bytes).collect()),
    }
}

pub(super) fn label(text: &str) -> (bool, String) {
    match text.strip_prefix('-') {
        Some(label) => (true, label.to_owned()),
        None => (false, text.to_owned()),
    }
}

/// `any`, or `[ipv4:|ipv6:][tcp:|udp:]PORT[-PORT]`: family, protocol, how many ports, the first.
pub(super) fn ports(text: &str) -> Result<Vec<(i32, i32, u16, u16)>> {
    let (mut family, mut protocol, mut ports) = (0, 0, text);
    if ports.is_empty() {
        return Ok(Vec::new());
    }
    for (prefix, number) in [("ipv4", nix::libc::AF_INET), ("ipv6", nix::libc::AF_INET6)] {
        if let Some(rest) = ports.strip_prefix(prefix) {
            (family, ports) = (number, rest.strip_prefix(':').unwrap_or(rest));
        }
    }
    for (prefix, number) in [("tcp", nix::libc::IPPROTO_TCP), ("udp", nix::libc::IPPROTO_UDP)] {
        if let Some(rest) = ports.strip_prefix(prefix) {
            (protocol, ports) = (number, rest.strip_prefix(':').unwrap_or(rest));
        }
    }
    if ports.is_empty() || ports == "any" {
        return Ok(vec![(family, protocol, 0, 0)]);
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first @ 1..), Ok(last)) if first <= last => Ok(vec![(family, protocol, last - first + 1, first)]),
        _ => Err("expected any, or a port such as ipv4:tcp:8080-8090".into()),
    }
}

pub(super) fn environment_file(text: &str) -> Result<Vec<(String, bool)>> {
    let (ignore, path) = text.strip_prefix('-').map_or((false, text), |path| (true, path));
    if path.is_empty() && ignore {
        return Err("expected a path".into());
    }
    Ok(if path.is_empty() { Vec::new() } else { vec![(path.to_owned(), ignore)] })
}

pub(super) fn exit_status(text: &str) -> Result<(Vec<i32>, Vec<i32>)> {
    let (mut codes, mut signals) = (Vec::new(), Vec::new());
    for word in text.split_whitespace() {
        match word.parse::<i32>() {
            Ok(code @ 0..=255) => codes.push(code),
            Ok(_) => return Err("exit codes are 0 to 255".into()),
            Err(_) => signals.push(signal(word)?),
        }
    }
    Ok((codes, signals))
}

pub(super) fn condition(key: &str, text: &str) -> Result<Values> {
    let name = if key.starts_with("Assert") { "Asserts" } else { "Conditions" };
    let (trigger, rest) = text.strip_prefix('|').map_or((false, text), |rest| (true, rest));
    let (negate, parameter) = rest.strip_prefix('!').map_or((false, rest), |rest| (true, rest));
    let condition = (key.to_owned(), trigger, negate, parameter.to_owned());
    Ok(vec![(name.to_owned(), vec![condition].into())])
}
