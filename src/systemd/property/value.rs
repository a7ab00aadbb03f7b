//! From the text of a value to the value. Each function is one form of [`Kind`].

use zbus::Variant;

use super::compound::{
    CAPABILITIES, addresses, binds, command, condition, device, device_amount, environment_file, exit_status, filter,
    flags, journal_fields, label, limit, load_credential, namespaces, ports, set_credential, tmpfs,
};
use super::table::Kind;
use crate::machine::parse_duration;

pub(super) type Values = Vec<(String, Variant<'static>)>;
pub(super) type Result<T> = std::result::Result<T, String>;

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
        Kind::Calendar => Ok(vec![("TimersCalendar".into(), vec![(key.to_owned(), value.to_owned())].into())]),
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

pub(super) fn boolean(text: &str) -> Result<bool> {
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

pub(super) fn assignments(text: &str) -> Result<Vec<String>> {
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

pub(super) fn time(text: &str) -> Result<u64> {
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

pub(super) fn infinite_or(text: &str, other: impl Fn(&str) -> Result<u64>) -> Result<u64> {
    if text == "infinity" { Ok(INFINITY) } else { other(text) }
}

pub(super) fn bytes(text: &str, step: u64) -> Result<u64> {
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

pub(super) fn signal(text: &str) -> Result<i32> {
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
