//! The amounts that limits are given in.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What is kept as text: read by `FromStr`, written by `Display`.
macro_rules! as_text {
    ($type:ident $(<$param:ident>)?) => {
        impl$(<$param: FromStr<Err = Error>>)? TryFrom<String> for $type$(<$param>)? {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl$(<$param: fmt::Display>)? From<$type$(<$param>)?> for String {
            fn from(value: $type$(<$param>)?) -> Self {
                value.to_string()
            }
        }
    };
}

/// An amount, or no limit at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String", bound = "T: FromStr<Err = Error> + fmt::Display + Clone")]
pub enum Cap<T> {
    /// As much as there is.
    Infinity,
    /// So much.
    At(T),
}

as_text!(Cap<T>);

impl<T: FromStr<Err = Error>> FromStr for Cap<T> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "infinity" { Ok(Self::Infinity) } else { text.parse().map(Self::At) }
    }
}

impl<T: fmt::Display> fmt::Display for Cap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Infinity => f.pad("infinity"),
            Self::At(amount) => amount.fmt(f),
        }
    }
}

/// A number of something, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Count(pub u64);

as_text!(Count);

impl FromStr for Count {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(count @ 1..) => Ok(Self(count)),
            _ => Err(Error::new(format!("bad number '{}': expected one from 1 on", text.escape_debug()))),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Processor time, in hundredths of a per cent of one processor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CpuQuota(u64);

as_text!(CpuQuota);

impl CpuQuota {
    /// The kernel's smallest slice of time, a millisecond, in its usual period of 100.
    const LEAST: u64 = 100;
    /// All that 8192 processors have.
    const MOST: u64 = 8192 * 10_000;

    /// So many processors' time: `1.5`.
    ///
    /// # Errors
    /// When that is none, less than a hundredth of one, or more than any machine has.
    pub fn of_cpus(text: &str) -> Result<Self> {
        Self::read(text, text, 10_000.0, "expected a number of processors such as 1.5")
    }

    /// Microseconds in each second.
    pub fn microseconds(self) -> u64 {
        self.0 * 100
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    fn read(typed: &str, number: &str, scale: f64, expected: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(format!("bad CPU quota '{}': {why}", typed.escape_debug()));
        // Not `1e3`, `inf` or `+5`.
        let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let number: f64 = number.parse().ok().filter(|_| plain).ok_or_else(|| bad(expected))?;
        let amount = (number * scale).round();
        if amount < Self::LEAST as f64 {
            return Err(bad("a guest gets nowhere with less than 1% of a processor"));
        }
        if amount > Self::MOST as f64 {
            return Err(bad("more than 8192 processors"));
        }
        Ok(Self(amount as u64))
    }
}

impl FromStr for CpuQuota {
    type Err = Error;

    /// `50%`, `200%`.
    fn from_str(text: &str) -> Result<Self> {
        let expected = "expected a percentage such as 50%, or 200% for two processors";
        Self::read(text, text.strip_suffix('%').unwrap_or("x"), 100.0, expected)
    }
}

impl fmt::Display for CpuQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match rest {
            0 => write!(f, "{whole}%"),
            _ => write!(f, "{whole}.{}%", format!("{rest:02}").trim_end_matches('0')),
        }
    }
}

/// A share beside others', from 1 to 10000; 100 is usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Weight(u16);

as_text!(Weight);

impl FromStr for Weight {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(weight @ 1..=10_000) => Ok(Self(weight)),
            _ => Err(Error::new(format!("bad weight '{}': expected a number from 1 to 10000", text.escape_debug()))),
        }
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Processors of the host's, as ranges in their order that do not touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CpuSet(Vec<(u16, u16)>);

as_text!(CpuSet);

impl CpuSet {
    /// The processors in it that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Vec<u16> {
        let has = |cpu: u16| other.0.iter().any(|&(first, last)| (first..=last).contains(&cpu));
        self.0.iter().flat_map(|&(first, last)| first..=last).filter(|&cpu| !has(cpu)).collect()
    }
}

impl FromStr for CpuSet {
    type Err = Error;

    /// `0-3,8`, as docker and the kernel have it.
    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(format!("bad set of processors '{}': {why}", text.escape_debug()));
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for item in text.trim().split(',') {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            match (first.parse(), last.parse()) {
                (Ok(first), Ok(last)) if first <= last && last < 8192 => ranges.push((first, last)),
                _ => return Err(bad("expected numbers such as 0-3,8")),
            }
        }
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Ok(Self(merged))
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

/// So much a second of a device, or of the one that a file or directory is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String", bound = "T: FromStr<Err = Error> + fmt::Display + Clone")]
pub struct DeviceRate<T> {
    /// An absolute path.
    pub device: PathBuf,
    /// How much a second.
    pub rate: T,
}

as_text!(DeviceRate<T>);

impl<T: FromStr<Err = Error>> FromStr for DeviceRate<T> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: String| Error::new(format!("bad rate of a device '{}': {why}", text.escape_debug()));
        let (device, rate) =
            text.rsplit_once(':').ok_or_else(|| bad("expected DEVICE:RATE, such as /dev/vda:10M".into()))?;
        if !device.starts_with('/') {
            return Err(bad("a device is named by its absolute path".into()));
        }
        // Nor quotes and backslashes, which a unit file reads in its own way.
        if device.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'\\".contains(c)) {
            return Err(bad("systemd takes no such path".into()));
        }
        let rate: T = rate.parse().map_err(|e: Error| bad(e.to_string()))?;
        Ok(Self { device: device.into(), rate })
    }
}

impl<T: fmt::Display> fmt::Display for DeviceRate<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device.display(), self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Bytes;
    use super::*;
    use proptest::prelude::*;

    fn shown<T: FromStr<Err = Error> + fmt::Display>(text: &str) -> String {
        text.parse::<T>().map_or_else(|error| format!("error: {error}"), |value| value.to_string())
    }

    #[test]
    fn amounts_and_none() {
        assert_eq!(shown::<Cap<Bytes>>("infinity"), "infinity");
        assert_eq!(shown::<Cap<Bytes>>("1024M"), "1Gi");
        assert_eq!(shown::<Cap<Count>>("77"), "77");
        assert!(shown::<Cap<Count>>("0").starts_with("error: bad number '0'"));
    }

    #[test]
    fn quotas() {
        for (text, is) in [("20%", "20%"), ("12.50%", "12.5%"), ("200%", "200%"), ("1%", "1%"), ("1.05%", "1.05%")] {
            assert_eq!(shown::<CpuQuota>(text), is);
        }
        assert_eq!("20%".parse::<CpuQuota>().unwrap().microseconds(), 200_000);
        assert_eq!(CpuQuota::of_cpus("1.5").unwrap().to_string(), "150%");
        for bad in ["0%", "0.5%", "50", "%", "-5%", "inf%", "1e3%", "nan%", "", "1.2.3%", "819300%"] {
            assert!(shown::<CpuQuota>(bad).starts_with("error: bad CPU quota"), "{bad}");
        }
        assert!(shown::<CpuQuota>("0%").contains("less than 1%"));
        assert!(CpuQuota::of_cpus("0").is_err());
    }

    #[test]
    fn weights_and_rates() {
        assert_eq!(shown::<Weight>("10000"), "10000");
        for bad in ["0", "10001", "idle", ""] {
            assert!(shown::<Weight>(bad).starts_with("error: bad weight"), "{bad}");
        }
        assert_eq!(shown::<DeviceRate<Bytes>>("/dev/disk/by-path/a:b:5M"), "/dev/disk/by-path/a:b:5Mi");
        for bad in ["/dev/vda", "vda:5M", "/dev/vda:", "/dev/vda:x", "/a b:1", "/a\"b:1"] {
            assert!(shown::<DeviceRate<Bytes>>(bad).starts_with("error: bad rate"), "{bad}");
        }
    }

    #[test]
    fn sets_of_processors() {
        for (text, is) in [("0-3,8", "0-3,8"), ("8,0,1", "0-1,8"), ("5-9,0-6", "0-9"), ("7", "7")] {
            assert_eq!(shown::<CpuSet>(text), is);
        }
        for bad in ["", "a", "3-1", "0,", "-1", "8192", "0-"] {
            assert!(shown::<CpuSet>(bad).starts_with("error: bad set"), "{bad}");
        }
        let set = |text: &str| text.parse::<CpuSet>().unwrap();
        assert_eq!(set("0-3,8").without(&set("0-1,3-7")), [2, 8]);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(cpus in "[0-9]{1,3}(-[0-9]{1,4})?(,[0-9]{1,2}){0,3}", quota in "[0-9]{1,4}\\.[0-9]{0,2}%") {
            if let Ok(set) = cpus.parse::<CpuSet>() {
                prop_assert_eq!(set.to_string().parse::<CpuSet>().unwrap(), set);
            }
            if let Ok(quota) = quota.parse::<CpuQuota>() {
                prop_assert_eq!(quota.to_string().parse::<CpuQuota>().unwrap(), quota);
            }
        }
    }
}
