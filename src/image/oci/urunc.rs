//! The layout of `urunc`: keys that say what an image's kernel is and where it lies, in the manifest's annotations, the
//! configuration's labels, or the file [`FILE`] among the image's own.
//!
//! The values in the file are base64, those of annotations plain in new images and base64 in old ones; we take either
//! in both places. Which it is shows in the type and the hypervisor, which are one of a few words.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::documents::{self, Configuration, Manifest};
use crate::error::{Error, Result};

/// What all keys begin with.
pub const PREFIX: &str = "com.urunc.unikernel.";
/// The file that has the keys, in the root of an image.
pub const FILE: &str = "urunc.json";
/// The largest such file.
pub const LIMIT: u64 = 1 << 20;

const TYPES: [&str; 6] = ["rumprun", "unikraft", "mirage", "mewz", "linux", "hermit"];
const MONITORS: [&str; 7] = ["hvt", "spt", "qemu", "firecracker", "cloud-hypervisor", "hyperlight", "hedge"];
/// The longest path that urunc takes.
const PATH_LIMIT: usize = 4096;

/// What an image says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urunc {
    /// The framework that the kernel is built with.
    pub kind: String,
    /// What is to run it.
    pub hypervisor: String,
    /// The kernel.
    pub binary: String,
    /// The framework's version.
    pub version: Option<String>,
    /// The command line, if the image has no command.
    pub cmdline: Option<String>,
    /// The RAM disk.
    pub initrd: Option<String>,
    /// The image of a disk.
    pub block: Option<String>,
    /// Whether all files of the image are the guest's root file system.
    pub mount_rootfs: bool,
}

/// Keys with their prefix, wherever they are from.
pub type Keys = BTreeMap<String, String>;

/// The keys that a manifest and a configuration have; the manifest's come first, as urunc takes them.
pub fn keys(manifest: &Manifest, configuration: &Configuration) -> Keys {
    let labels = configuration.config.as_ref().and_then(|config| config.labels.as_ref());
    let annotations = manifest.annotations.as_ref();
    let all = labels.into_iter().chain(annotations).flatten();
    let ours = all.filter(|(key, _)| key.starts_with(PREFIX));
    ours.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// What is to run the image, if it says so outside of its files.
pub fn monitor(manifest: &Manifest, configuration: &Configuration) -> Option<String> {
    read(&keys(manifest, configuration)).ok()?.map(|urunc| urunc.hypervisor)
}

/// Reads the file.
///
/// # Errors
/// When it is not JSON, or not an object of strings.
pub fn parse(bytes: &[u8]) -> Result<Keys> {
    documents::json::<BTreeMap<String, String>>(bytes)
}

/// Reads keys; `None` unless it is all of the three that urunc wants: the type, the hypervisor, the kernel.
///
/// # Errors
/// When a value is not one that urunc takes.
pub fn read(keys: &Keys) -> Result<Option<Urunc>> {
    let raw = |key: &str| keys.get(&format!("{PREFIX}{key}")).map(String::as_str).filter(|value| !value.is_empty());
    let (Some(kind), Some(hypervisor), Some(binary)) = (raw("unikernelType"), raw("hypervisor"), raw("binary")) else {
        return Ok(None);
    };
    let encoded = is_encoded(kind, &TYPES) || is_encoded(hypervisor, &MONITORS);
    let value =
        |value: &str| if encoded { decode(value).unwrap_or_else(|| value.to_owned()) } else { value.to_owned() };
    let of = |key: &str| raw(key).map(value);
    let path = |key: &str| of(key).map(|path| check_path(key, path)).transpose();
    let binary = check_path("binary", value(binary))?;
    Ok(Some(Urunc {
        kind: word("unikernelType", value(kind))?,
        hypervisor: word("hypervisor", value(hypervisor))?,
        binary,
        version: of("unikernelVersion"),
        cmdline: of("cmdline"),
        initrd: path("initrd")?,
        block: path("block")?,
        // The older key is true unless it says otherwise.
        mount_rootfs: of("mountRootfs")
            .map_or_else(|| of("useDMBlock").is_some_and(|value| !is(&value, false)), |value| is(&value, true)),
    }))
}

/// As Go reads a boolean.
fn is(text: &str, what: bool) -> bool {
    let words: [&str; 6] =
        if what { ["1", "t", "T", "true", "TRUE", "True"] } else { ["0", "f", "F", "false", "FALSE", "False"] };
    words.contains(&text)
}

/// Whether this is one of the words, but in base64.
fn is_encoded(text: &str, words: &[&str]) -> bool {
    !words.contains(&text) && decode(text).is_some_and(|text| words.contains(&text.as_str()))
}

fn decode(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

/// What [`FILE`] has for these keys.
pub fn encode(keys: &Keys) -> Keys {
    keys.iter().map(|(key, value)| (key.clone(), STANDARD.encode(value))).collect()
}

fn word(key: &str, text: String) -> Result<String> {
    let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_word { Ok(text) } else { Err(bad(key, &text, "it is a word")) }
}

fn check_path(key: &str, path: String) -> Result<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-');
    let leads_out = path.split('/').any(|part| part == "..");
    if path.is_empty() || path.len() > PATH_LIMIT || !path.bytes().all(is_allowed) || leads_out {
        return Err(bad(key, &path, "it is a path of letters, digits and . _ / -, without '..'"));
    }
    Ok(path)
}

fn bad(key: &str, value: &str, why: &str) -> Error {
    let shown: String = value.chars().take(64).collect();
    Error::new(format!("bad {PREFIX}{key} '{}': {why}", shown.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Keys {
        pairs.iter().map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned())).collect()
    }

    const TRIO: [(&str, &str); 3] =
        [("unikernelType", "unikraft"), ("hypervisor", "qemu"), ("binary", "/unikraft/bin/kernel")];

    #[test]
    fn plain_and_encoded_values_say_the_same() {
        let mut keys = with(&TRIO);
        keys.extend(with(&[
            ("initrd", "/i"),
            ("mountRootfs", "true"),
            ("cmdline", "a b"),
            ("unikernelVersion", "0.18"),
        ]));
        let plain = read(&keys).unwrap().unwrap();
        assert_eq!(plain.binary, "/unikraft/bin/kernel");
        assert_eq!((plain.initrd.as_deref(), plain.mount_rootfs), (Some("/i"), true));
        let encoded = encode(&keys);
        assert_ne!(encoded, keys);
        assert_eq!(read(&encoded).unwrap().unwrap(), plain);
    }

    #[test]
    fn three_keys_are_what_it_takes() {
        assert_eq!(read(&with(&TRIO[..2])).unwrap(), None);
        assert_eq!(read(&with(&[TRIO[0], TRIO[1], ("binary", "")])).unwrap(), None);
        assert!(!read(&with(&TRIO)).unwrap().unwrap().mount_rootfs);
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for bad in ["../k", "/a/../../k", "/k,readonly=on", "/k\n", "/a b"] {
            let keys = with(&[TRIO[0], TRIO[1], ("binary", bad)]);
            let error = read(&keys).unwrap_err().to_string();
            assert!(error.starts_with(&format!("bad {PREFIX}binary '")), "{error}");
        }
    }

    #[test]
    fn the_file_is_an_object_of_strings() {
        assert!(parse(br#"{"a": "b"}"#).is_ok());
        for bad in ["", "[]", "{\"a\": 1}", "{"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
