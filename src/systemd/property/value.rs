//! From the text of a value to the value. Each function is one form of [`Kind`].

use std::net::IpAddr;

use zbus::Variant;

use super::table::Kind;
use crate::machine::parse_duration;

type Values = Vec<(String, Variant<'static>)>;
type Result<T> = std::result::Result<T, String>;

/// `infinity` for sizes, counts, limits and times alike.
const INFINITY: u64 = u64::MAX;

/// What a key and a value are on the bus: mostly one property, sometimes two.
pub(super) fn convert(key: &str, kind: Kind, value: &str) -> Result<Values> {
    let same = |value: Variant<'static>| Ok(vec![(key.to_owned(), value)]);
    match kind {
        Kind::Text => same(value.to_owned().into()),
        Kind::Bool => same(boolean(value)?.into()),
        Kind::Words => same(words(value)?.into()),
        Kind::Assignments => same(assignments(value)?.into()),
        Kind::Signed => same(value.parse::<i32>().map_err(|_| "expected a number")?.into()),
        Kind::Unsigned => same(value.parse::<u32>().map_err(|_| "expected a number")?.into()),
        Kind::Number => same(number(value)?.into()),
        Kind::Octal => same(octal(value)?.into()),
        Kind::Time => Ok(vec![(microseconds_name(key), time(value)?.into())]),
        Kind::TimeOrNever => Ok(vec![(microseconds_name(key), time_or_never(value)?.into())]),
        Kind::TimeoutSec => {
            let time = time_or_never(value)?;
            Ok(vec![("TimeoutStartUSec".into(), time.into()), ("TimeoutStopUSec".into(), time.into())])
        }
        Kind::Nanoseconds => same(nanoseconds(value)?.into()),
        Kind::Size => amount(key, value, |text| bytes(text, 1024)),
        Kind::Tasks => amount(key, value, |text| bytes(text, 1024)),
        Kind::Weight => same(weight(value)?.into()),
        Kind::CpuQuota => Ok(vec![("CPUQuotaPerSecUSec".into(), cpu_quota(value)?.into())]),
        Kind::Fraction => same(scale(value).ok_or("expected a percentage")?.into()),
        Kind::Set => same(set(value)?.into()),
        Kind::Device => same(device(value)?.into()),
        Kind::DeviceBandwidth => same(device_amount(value, |text| infinite_or(text, |text| bytes(text, 1000)))?.into()),
        Kind::DeviceWeight => same(device_amount(value, weight)?.into()),
        Kind::Addresses => same(addresses(value)?.into()),
        Kind::Limit => limit(key, value),
        Kind::Signal => same(signal(value)?.into()),
        Kind::LogLevel => same(log_level(value)?.into()),
        Kind::Filter => same(filter(value)?.into()),
        Kind::Capabilities => same(flags(value, &CAPABILITIES, "a capability")?.into()),
        Kind::Namespaces => same(namespaces(value)?.into()),
        Kind::Command => command(key, value),
        Kind::Bind => same(binds(value)?.into()),
        Kind::Tmpfs => same(tmpfs(value)?.into()),
        Kind::LoadCredential => same(load_credential(value)?.into()),
        Kind::SetCredential => same(set_credential(value)?.into()),
        Kind::EnvironmentFile => Ok(vec![("EnvironmentFiles".into(), environment_file(value)?.into())]),
        Kind::ExitStatus => same(exit_status(value)?.into()),
        Kind::Condition => condition(key, value),
        Kind::JournalFields => same(journal_fields(value)?.into()),
        Kind::Label => same(label(value).into()),
        Kind::Ports => same(ports(value)?.into()),
        Kind::Facility => same((choice(value, &FACILITIES)? << 3).into()),
        Kind::Choice(choices) => same(choice(value, choices)?.into()),
    }
}

fn boolean(text: &str) -> Result<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Ok(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Ok(false),
        _ => Err("expected yes or no".into()),
    }
}

/// Words at white space; quotes keep it, a backslash takes the next character as it is.
pub(super) fn words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => word.get_or_insert_default().push(chars.next().ok_or("a backslash at its end")?),
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".into());
    }
    words.extend(word);
    Ok(words)
}

fn assignments(text: &str) -> Result<Vec<String>> {
    let words = words(text)?;
    match words.iter().find(|word| word.split_once('=').is_none_or(|(name, _)| name.is_empty())) {
        Some(word) => Err(format!("'{}' is not NAME=VALUE", word.escape_debug())),
        None => Ok(words),
    }
}

fn number(text: &str) -> Result<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .map_err(|_| "expected a number".into())
}

fn octal(text: &str) -> Result<u32> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err("expected a mode such as 0077".into()),
    }
}

fn microseconds_name(key: &str) -> String {
    format!("{}USec", key.strip_suffix("Sec").unwrap_or(key))
}

fn time(text: &str) -> Result<u64> {
    infinite_or(text, |text| {
        let time = parse_duration(text).map_err(|e| e.to_string())?;
        u64::try_from(time.as_micros()).map_err(|_| "too long".into())
    })
}

fn time_or_never(text: &str) -> Result<u64> {
    time(text).map(|time| if time == 0 { INFINITY } else { time })
}

fn nanoseconds(text: &str) -> Result<u64> {
    match text.parse() {
        Ok(nanoseconds) => Ok(nanoseconds),
        Err(_) => time(text).map(|time| time.saturating_mul(1000)),
    }
}

fn infinite_or(text: &str, other: impl Fn(&str) -> Result<u64>) -> Result<u64> {
    if text == "infinity" { Ok(INFINITY) } else { other(text) }
}

fn bytes(text: &str, step: u64) -> Result<u64> {
    let bad = || "expected a number and a unit such as 64M".to_owned();
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, unit)) if unit.is_ascii_alphabetic() => (&text[..at], unit),
        _ => (text, 'B'),
    };
    let power =
        "BKMGTPE".find(unit.to_ascii_uppercase()).and_then(|power| u32::try_from(power).ok()).ok_or_else(bad)?;
    let factor = step.checked_pow(power).ok_or("too large")?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(|| "too large".into());
    }
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 && number * (factor as f64) < 1.8e19 => {
            Ok((number * factor as f64) as u64)
        }
        _ => Err(bad()),
    }
}

/// Hundredths of a percent.
fn permyriad(text: &str) -> Option<u64> {
    let number: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    (number.is_finite() && (0.0..1e12).contains(&number)).then_some((number * 100.0).round() as u64)
}

/// A percentage as a fraction of 2^32 - 1, as systemd scales it.
fn scale(text: &str) -> Option<u32> {
    let permyriad = permyriad(text).filter(|&p| p <= 10_000)?;
    u32::try_from((permyriad * u64::from(u32::MAX) + 5_000) / 10_000).ok()
}

fn amount(key: &str, text: &str, plain: impl Fn(&str) -> Result<u64>) -> Result<Values> {
    if let Some(scale) = scale(text) {
        return Ok(vec![(format!("{key}Scale"), scale.into())]);
    }
    let amount = if text.is_empty() { INFINITY } else { infinite_or(text, plain)? };
    Ok(vec![(key.to_owned(), amount.into())])
}

fn weight(text: &str) -> Result<u64> {
    match text {
        "" => Ok(INFINITY),
        "idle" => Ok(0),
        _ => match text.parse() {
            Ok(weight @ 1..=10_000) => Ok(weight),
            _ => Err("expected a weight from 1 to 10000".into()),
        },
    }
}

fn cpu_quota(text: &str) -> Result<u64> {
    if text.is_empty() || text == "infinity" {
        return Ok(INFINITY);
    }
    match permyriad(text) {
        // One per cent of a CPU is 10 ms in each second.
        Some(permyriad @ 1..) => Ok(permyriad * 100),
        _ => Err("expected a percentage such as 50%, or 200% for two CPUs".into()),
    }
}

/// Numbers and ranges such as `0-3,8` as bits, lowest first.
fn set(text: &str) -> Result<Vec<u8>> {
    let mut bits = Vec::new();
    for item in text.split([',', ' ']).filter(|item| !item.is_empty()) {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) else {
            return Err("expected numbers such as 0-3,8".into());
        };
        if first > last || last > 8191 {
            return Err(format!("there is no range {item}"));
        }
        if bits.len() <= last / 8 {
            bits.resize(last / 8 + 1, 0u8);
        }
        for number in first..=last {
            bits[number / 8] |= 1 << (number % 8);
        }
    }
    Ok(bits)
}

fn device(text: &str) -> Result<Vec<(String, String)>> {
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

fn device_amount(text: &str, amount: impl Fn(&str) -> Result<u64>) -> Result<Vec<(String, u64)>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let (path, value) = text.split_once(char::is_whitespace).ok_or("expected a path and an amount")?;
    Ok(vec![(path.to_owned(), amount(value.trim())?)])
}

type Prefix = (i32, Vec<u8>, u32);

fn addresses(text: &str) -> Result<Vec<Prefix>> {
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

fn prefix(text: &str) -> Result<Prefix> {
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

fn limit(key: &str, text: &str) -> Result<Values> {
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

fn signal(text: &str) -> Result<i32> {
    if let Ok(number @ 1..=64) = text.parse() {
        return Ok(number);
    }
    let name = if text.starts_with("SIG") { text.to_owned() } else { format!("SIG{text}") };
    name.parse::<nix::sys::signal::Signal>()
        .map(|signal| signal as i32)
        .map_err(|_| format!("'{}' is not a signal", text.escape_debug()))
}

fn log_level(text: &str) -> Result<i32> {
    const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    if let Ok(number @ 0..=7) = text.parse() {
        return Ok(number);
    }
    choice(text, &LEVELS)
}

#[rustfmt::skip]
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

fn choice(text: &str, choices: &[&str]) -> Result<i32> {
    let known = || choices.iter().filter(|choice| !choice.is_empty()).copied().collect::<Vec<_>>().join(", ");
    choices
        .iter()
        .position(|choice| *choice == text && !text.is_empty())
        .and_then(|position| i32::try_from(position).ok())
        .ok_or_else(|| format!("known are {}", known()))
}

/// The list as it allows (`true`) or denies.
fn filter(text: &str) -> Result<(bool, Vec<String>)> {
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
const CAPABILITIES: [&str; 41] = [
    "cap_chown", "cap_dac_override", "cap_dac_read_search", "cap_fowner", "cap_fsetid", "cap_kill", "cap_setgid",
    "cap_setuid", "cap_setpcap", "cap_linux_immutable", "cap_net_bind_service", "cap_net_broadcast", "cap_net_admin",
    "cap_net_raw", "cap_ipc_lock", "cap_ipc_owner", "cap_sys_module", "cap_sys_rawio", "cap_sys_chroot",
    "cap_sys_ptrace", "cap_sys_pacct", "cap_sys_admin", "cap_sys_boot", "cap_sys_nice", "cap_sys_resource",
    "cap_sys_time", "cap_sys_tty_config", "cap_mknod", "cap_lease", "cap_audit_write", "cap_audit_control",
    "cap_setfcap", "cap_mac_override", "cap_mac_admin", "cap_syslog", "cap_wake_alarm", "cap_block_suspend",
    "cap_audit_read", "cap_perfmon", "cap_bpf", "cap_checkpoint_restore",
];

fn flags(text: &str, names: &[&str], what: &str) -> Result<u64> {
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
fn namespaces(text: &str) -> Result<u64> {
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
fn command(key: &str, text: &str) -> Result<Values> {
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
fn fields(text: &str) -> Vec<String> {
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

fn binds(text: &str) -> Result<Vec<(String, String, bool, u64)>> {
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

fn tmpfs(text: &str) -> Result<Vec<(String, String)>> {
    Ok(words(text)?
        .into_iter()
        .map(|word| match word.split_once(':') {
            Some((path, options)) => (path.to_owned(), options.to_owned()),
            None => (word, String::new()),
        })
        .collect())
}

fn load_credential(text: &str) -> Result<Vec<(String, String)>> {
    let (id, path) = text.split_once(':').unwrap_or((text, text));
    if id.is_empty() || path.is_empty() { Err("expected ID:PATH".into()) } else { Ok(vec![(id.into(), path.into())]) }
}

fn set_credential(text: &str) -> Result<Vec<(String, Vec<u8>)>> {
    match text.split_once(':') {
        Some((id, data)) if !id.is_empty() => Ok(vec![(id.to_owned(), data.as_bytes().to_vec())]),
        _ => Err("expected ID:DATA".into()),
    }
}

fn journal_fields(text: &str) -> Result<Vec<Vec<u8>>> {
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

fn label(text: &str) -> (bool, String) {
    match text.strip_prefix('-') {
        Some(label) => (true, label.to_owned()),
        None => (false, text.to_owned()),
    }
}

/// `any`, or `[ipv4:|ipv6:][tcp:|udp:]PORT[-PORT]`: family, protocol, how many ports, the first.
fn ports(text: &str) -> Result<Vec<(i32, i32, u16, u16)>> {
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

fn environment_file(text: &str) -> Result<Vec<(String, bool)>> {
    let (ignore, path) = text.strip_prefix('-').map_or((false, text), |path| (true, path));
    if path.is_empty() && ignore {
        return Err("expected a path".into());
    }
    Ok(if path.is_empty() { Vec::new() } else { vec![(path.to_owned(), ignore)] })
}

fn exit_status(text: &str) -> Result<(Vec<i32>, Vec<i32>)> {
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

fn condition(key: &str, text: &str) -> Result<Values> {
    let name = if key.starts_with("Assert") { "Asserts" } else { "Conditions" };
    let (trigger, rest) = text.strip_prefix('|').map_or((false, text), |rest| (true, rest));
    let (negate, parameter) = rest.strip_prefix('!').map_or((false, rest), |rest| (true, rest));
    let condition = (key.to_owned(), trigger, negate, parameter.to_owned());
    Ok(vec![(name.to_owned(), vec![condition].into())])
}
