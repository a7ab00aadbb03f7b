//! `%` and a letter in a setting: what is known only where the file is read. A part of systemd's, by the same letters.

use crate::error::{Context as _, Error, Result};
use crate::machine::MachineName;
use crate::paths;

/// What specifiers stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Specifiers {
    name: String,
    prefix: String,
    instance: String,
}

impl Specifiers {
    /// Those of a machine.
    pub fn of(name: &MachineName) -> Self {
        let (prefix, instance) = name.instance().unwrap_or((name.as_str(), ""));
        Self { name: name.to_string(), prefix: prefix.to_owned(), instance: instance.to_owned() }
    }

    /// A text with what they stand for.
    ///
    /// # Errors
    /// Names one that there is not, or whose value cannot be had.
    pub fn resolve(&self, text: &str) -> Result<String> {
        let Some(first) = text.find('%') else { return Ok(text.to_owned()) };
        let mut out = text[..first].to_owned();
        let mut rest = text[first..].chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match rest.next() {
                Some('%') => out.push('%'),
                Some('n' | 'N') => out.push_str(&self.name),
                Some('p' | 'P') => out.push_str(&self.prefix),
                Some('i' | 'I') => out.push_str(&self.instance),
                Some('H') => out.push_str(&host_name()?),
                Some('l') => out.push_str(host_name()?.split('.').next().unwrap_or_default()),
                Some('m') => out.push_str(&word(paths::MACHINE_ID, "the machine id")?),
                Some('b') => out.push_str(&word(paths::BOOT_ID, "the boot id")?.replace('-', "")),
                Some('v') => out.push_str(&word(paths::KERNEL_RELEASE, "the kernel's release")?),
                other => {
                    let written = format!("%{}", other.map(String::from).unwrap_or_default());
                    return Err(Error::new(format!(
                        "unknown specifier '{}': known are %b %H %i %l %m %n %p %v, and %% for a single %",
                        written.escape_debug()
                    )));
                }
            }
        }
        Ok(out)
    }

    /// A text in which nothing is to stand for something else.
    pub fn escape(text: &str) -> String {
        text.replace('%', "%%")
    }
}

fn host_name() -> Result<String> {
    word(paths::HOST_NAME, "the host's name")
}

fn word(path: &str, what: &str) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot tell {what}: cannot read {path}"))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(name: &str, text: &str) -> Result<String> {
        Specifiers::of(&name.parse().unwrap()).resolve(text)
    }

    #[test]
    fn names_and_their_parts() {
        assert_eq!(of("web@1", "%n %p %i 100%%").unwrap(), "web@1 web 1 100%");
        assert_eq!(of("web", "/srv/%n-%p-%i").unwrap(), "/srv/web-web-");
        let host = word(paths::HOST_NAME, "it").unwrap();
        assert_eq!(of("web", "%H").unwrap(), host);
        for (bad, named) in [("%", "'%'"), ("a%", "'%'"), ("%é", "'%é'"), ("%x", "'%x'")] {
            assert!(of("web", bad).unwrap_err().to_string().contains(named), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_comes_back(text in ".{0,20}") {
            prop_assert_eq!(of("web", &Specifiers::escape(&text)).unwrap(), text);
        }
    }
}
