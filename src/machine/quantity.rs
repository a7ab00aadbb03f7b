//! Amounts as people write them: bytes and times.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub use std::time::Duration;

/// A number of bytes. Written as a number and a unit; `K`, `M`, `G`, `T` and `Ki`, `Mi`, `Gi`, `Ti` all count in
/// steps of 1024, as memory does.
///
/// Serialised as the plain number; a text with a unit is read as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Amount")]
pub struct Bytes(pub u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum Amount {
    Number(u64),
    Text(String),
}

impl Bytes {
    /// One mebibyte.
    pub const MIB: u64 = 1 << 20;

    /// Whole mebibytes, rounded up.
    pub fn mebibytes(self) -> u64 {
        self.0.div_ceil(Self::MIB)
    }
}

const UNITS: [(&str, u32); 5] = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10), ("", 0)];

impl FromStr for Bytes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(format!("bad amount '{}': {why}", text.escape_debug()));
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(bad("expected a number and a unit, such as 64Mi"));
        }
        let (number, unit) = text.split_at(digits);
        let shift = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "ki" | "kb" | "kib" => 10,
            "m" | "mi" | "mb" | "mib" => 20,
            "g" | "gi" | "gb" | "gib" => 30,
            "t" | "ti" | "tb" | "tib" => 40,
            _ => return Err(bad("the unit is not one of K M G T Ki Mi Gi Ti")),
        };
        let number: u64 = number.parse().map_err(|_| bad("too large"))?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(|| bad("too large"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) =
            UNITS.into_iter().find(|&(_, shift)| self.0 != 0 && self.0.trailing_zeros() >= shift).unwrap_or(("", 0));
        f.pad(&format!("{}{unit}", self.0 >> shift))
    }
}

impl TryFrom<Amount> for Bytes {
    type Error = Error;
    fn try_from(amount: Amount) -> Result<Self> {
        match amount {
            Amount::Number(bytes) => Ok(Self(bytes)),
            Amount::Text(text) => text.parse(),
        }
    }
}

/// Reads a time: `10`, `10s`, `1.5s`, `500ms`, `2min`, `1h 30min`. A bare number counts seconds, as in systemd.
///
/// # Errors
/// When the text is something else, or more than a hundred years.
pub fn parse_duration(text: &str) -> Result<Duration> {
    const LIMIT: f64 = 100.0 * 365.25 * 86400.0;
    let bad = |why: &str| Error::new(format!("bad time '{}': {why}", text.escape_debug()));
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad("expected a number and a unit, such as 10s"));
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let number: f64 = rest[..digits].parse().map_err(|_| bad("expected a number and a unit, such as 10s"))?;
        rest = rest[digits..].trim_start();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let scale = match &rest[..letters] {
            "us" | "usec" => 1e-6,
            "ms" | "msec" => 1e-3,
            "" | "s" | "sec" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86400.0,
            "w" | "week" | "weeks" => 7.0 * 86400.0,
            _ => return Err(bad("the unit is not one of us ms s min h d w")),
        };
        seconds += number * scale;
        rest = rest[letters..].trim_start();
    }
    if seconds > LIMIT {
        return Err(bad("too long"));
    }
    Ok(Duration::from_micros((seconds * 1e6).round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_binary_whatever_the_unit() {
        for (text, bytes) in [("64Mi", 64 << 20), ("64M", 64 << 20), ("1g", 1 << 30), ("2048K", 2 << 20), ("0", 0)] {
            assert_eq!(text.parse::<Bytes>().unwrap(), Bytes(bytes), "{text}");
        }
        for bad in ["", "Mi", "-1M", "1.5G", "64 M", "64X", "99999999999T", "184467440737095516160"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("10").unwrap(), Duration::from_secs(10));
        assert_eq!(parse_duration("1h 30min").unwrap(), Duration::from_secs(5400));
        assert_eq!(parse_duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        for bad in ["", "s", "-1", "1x", "1e9", "99999999999999"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn bytes_survive_text(n: u64) {
            let bytes = Bytes(n);
            prop_assert_eq!(bytes.to_string().parse::<Bytes>().unwrap(), bytes);
        }

        #[test]
        fn durations_never_panic(text in ".{0,20}") {
            let _ = parse_duration(&text);
        }
    }
}
