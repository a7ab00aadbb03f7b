//! Unikraft's dialects. What the kernel does with its line, by its sources:
//!
//! - `lib/ukboot/early_init.c` (before 0.17 `boot.c`): the line is split into at most 60 words in 4096 bytes, by default;
//!   the first is the program's name. Parameters are read only if there is a word `--`, and not in the first place; all
//!   behind it is the application's. Words that do not fit, and parameters that nobody knows, are left out in silence.
//! - `lib/uklibparam/parser.c`: `prefix.name=value`, or `prefix.name=[`, values, `]`. The bracket ends a list wherever a
//!   word ends in it, quoted or not; an array takes more values from further words. It has a fixed size.
//! - `lib/uknetdev/netdev.c`: `netdev.ip=ADDRESS/PREFIX:ROUTER:DNS:DNS:HOST:DOMAIN`, the n-th for the n-th interface.
//!   Before 0.16.1 `netdev.ipv4_addr=` and its like, values of several interfaces in one word.
//! - `lib/vfscore/automount.c`: `vfs.fstab`, of `SOURCE:TARGET:DRIVER:FLAGS:OPTIONS:UKOPTIONS`. With one entry of it
//!   mounted, the kernel's own fallback table is not used, so a RAM disk needs a row as well. Since 0.16.1 the driver
//!   for it is `extract`, before it was `initrd`.
//! - `lib/vfscore/rootfs.c`, to 0.13: `vfs.rootfs`, `vfs.rootdev`; there is one mount.

use std::net::Ipv4Addr;

use super::{Interface, Loader, Mounted, Need, Told, V4, refusal, shown, split, within};
use crate::error::{Error, Result};
use crate::machine::{Dialect, ShareDriver, Spec};

/// `CONFIG_LIBUKBOOT_CMDLINE_MAX_LEN` by default, without the NUL.
const BYTES: usize = 4095;
/// `CONFIG_LIBUKBOOT_MAXNBARGS` by default.
const WORDS: usize = 60;

/// A line in the making.
struct Writer<'a> {
    spec: &'a Spec,
    dialect: Dialect,
    /// What is added, as it is to arrive.
    words: Vec<Word>,
}

/// A word of the line, as it is to arrive.
#[derive(Debug)]
enum Word {
    /// In quotes where it needs them.
    Bare(String),
    /// In quotes always, as the values of lists are written everywhere.
    Listed(String),
}

impl Word {
    fn value(&self) -> &str {
        match self {
            Self::Bare(value) | Self::Listed(value) => value,
        }
    }

    fn written(&self) -> String {
        let special = |c: char| matches!(c, ' ' | '\r' | '\n' | '\t' | '\x0b' | '\'' | '"' | '\\');
        match self {
            Self::Bare(value) if !value.contains(special) => value.clone(),
            Self::Bare(value) | Self::Listed(value) => in_quotes(value),
        }
    }
}

pub(super) fn render(spec: &Spec, told: &Told<'_>, loader: Loader, dialect: Dialect) -> Result<String> {
    let mut writer = Writer { spec, dialect, words: Vec::new() };
    if !told.interfaces.is_empty() && spec.kernel.abilities.net == Some(false) {
        return writer.refuse("an interface", "it was built without libuknetdev");
    }
    match dialect {
        Dialect::UnikraftOld => writer.old_addresses(&told.interfaces)?,
        Dialect::Unikraft | Dialect::Linux | Dialect::Plain => writer.addresses(&told.interfaces)?,
    }
    writer.mounts(told)?;
    writer.environment()?;
    writer.finish(loader)
}

impl Writer<'_> {
    fn refuse<T>(&self, what: &str, why: &str) -> Result<T> {
        Err(self.refusal(what, why))
    }

    fn refusal(&self, what: &str, why: &str) -> Error {
        refusal(what, self.dialect, why)
    }

    /// Whether the kernel has a parameter; `None` if that is not known.
    fn has(&self, parameter: &str) -> Option<bool> {
        self.spec.kernel.parameters.as_ref().map(|known| known.contains_key(parameter))
    }

    /// Checks that the kernel takes so many values.
    fn room(&self, what: &str, parameter: &str, count: usize) -> Result<()> {
        let Some(known) = &self.spec.kernel.parameters else { return Ok(()) };
        match known.get(parameter) {
            Some(most) if count as u64 <= *most => Ok(()),
            Some(most) => self.refuse(what, &format!("its {parameter} takes at most {most}, not {count}")),
            None => Err(self
                .refusal(what, &format!("it was built without {parameter}"))
                .with_hint("`kraft inspect --kernel` shows what it was built with; `--dialect` overrides that")),
        }
    }

    /// `netdev.ip=` for each interface up to the last that there is something to tell of.
    fn addresses(&mut self, interfaces: &[Interface<'_>]) -> Result<()> {
        const PARAMETER: &str = "netdev.ip";
        if self.has(PARAMETER) == Some(false) && interfaces.iter().all(|i| i.need == Need::May) {
            return Ok(());
        }
        let told = interfaces.iter().map(|i| V4::of(i, self.dialect)).collect::<Result<Vec<_>>>()?;
        let Some(last) = told.iter().rposition(Option::is_some) else { return Ok(()) };
        self.room("an address", PARAMETER, last + 1)?;
        for told in &told[..=last] {
            let value = told.as_ref().map_or_else(
                || ":::::".into(),
                |v4| {
                    let (address, prefix, gateway) = (v4.address, v4.prefix, v4.gateway());
                    format!("{address}/{prefix}:{gateway}:{}:{}:{}:{}", v4.dns(0), v4.dns(1), v4.host, v4.domain)
                },
            );
            self.words.push(Word::Bare(format!("{PARAMETER}={value}")));
        }
        Ok(())
    }

    /// `netdev.ipv4_addr=` and what belongs to it, of several interfaces with spaces between. There is no place for names.
    fn old_addresses(&mut self, interfaces: &[Interface<'_>]) -> Result<()> {
        if self.has("netdev.ipv4_addr") == Some(false) && interfaces.iter().all(|i| i.need == Need::May) {
            return Ok(());
        }
        let told = interfaces.iter().map(|i| V4::of(i, self.dialect)).collect::<Result<Vec<_>>>()?;
        let told: Vec<V4<'_>> = told.into_iter().flatten().collect();
        let of_all = |value: &dyn Fn(&V4<'_>) -> Option<Ipv4Addr>| told.iter().filter_map(value).collect::<Vec<_>>();
        let mut values = vec![
            ("netdev.ipv4_addr", of_all(&|v4| Some(v4.address))),
            ("netdev.ipv4_subnet_mask", of_all(&|v4| Some(v4.mask))),
            ("netdev.ipv4_gw_addr", of_all(&|v4| v4.gateway)),
        ];
        if self.has("netdev.ipv4_dns0_addr") == Some(true) {
            values.push(("netdev.ipv4_dns0_addr", of_all(&|v4| v4.dns.first().copied())));
        }
        for (parameter, values) in values.into_iter().filter(|(_, values)| !values.is_empty()) {
            // The kernel begins again with the first value when it has come to the end.
            if values.len() != interfaces.len() {
                let why = "of each thing it is told for every interface or for none";
                return self.refuse("the addresses of some interfaces", why);
            }
            self.room("an address", parameter, 1)?;
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            self.words.push(Word::Bare(format!("{parameter}={}", values.join(" "))));
        }
        Ok(())
    }

    /// The mounts by `vfs.fstab`; those of a kernel that has none by `vfs.rootfs`.
    fn mounts(&mut self, told: &Told<'_>) -> Result<()> {
        const PARAMETER: &str = "vfs.fstab";
        let mounts = told.mounts_in_order();
        let (has_initrd, has_fstab) = (self.spec.initrd.is_some(), self.has(PARAMETER));
        if has_initrd && let Some(root) = mounts.iter().find(|mount| mount.target == "/") {
            let what = format!("both an initial RAM disk and {} at /", root.tag);
            return self.refuse(&what, "there is one root");
        }
        if self.dialect == Dialect::UnikraftOld && has_fstab != Some(true) {
            return self.root(&mounts);
        }
        // Without volumes it is left to a kernel that may mount its RAM disk by itself, unless it is known to be asked.
        if mounts.is_empty() && !(has_initrd && has_fstab == Some(true) && self.dialect == Dialect::Unikraft) {
            return Ok(());
        }
        let mut rows = Vec::new();
        if has_initrd {
            let driver = if self.dialect == Dialect::UnikraftOld { "initrd" } else { "extract" };
            rows.push(format!("initrd0:/:{driver}:::"));
        }
        for mount in &mounts {
            let target = self.target(mount)?;
            let driver = match mount.driver {
                ShareDriver::NineP => "9pfs",
                ShareDriver::Virtiofs => "virtiofs",
            };
            self.able(mount)?;
            rows.push(format!("{}:{target}:{driver}:::mkmp", mount.tag));
        }
        self.room("such mounts", PARAMETER, rows.len())?;
        self.list(PARAMETER, rows);
        Ok(())
    }

    /// One mount, at the root.
    fn root(&mut self, mounts: &[&Mounted<'_>]) -> Result<()> {
        if self.spec.initrd.is_some() && self.has("vfs.rootfs") == Some(true) {
            self.words.push(Word::Bare("vfs.rootfs=initrd".into()));
        }
        match mounts {
            [] => Ok(()),
            [mount] if mount.target == "/" && mount.driver == ShareDriver::NineP => {
                self.able(mount)?;
                self.room("a root", "vfs.rootfs", 1)?;
                self.words.push(Word::Bare("vfs.rootfs=9pfs".into()));
                self.words.push(Word::Bare(format!("vfs.rootdev={}", mount.tag)));
                Ok(())
            }
            [mount, ..] => {
                let what = shown("a mount at", mount.target);
                self.refuse(&what, "it has one mount alone, by 9P and at /")
            }
        }
    }

    fn target<'m>(&self, mount: &'m Mounted<'_>) -> Result<&'m str> {
        if mount.target.contains(':') {
            return self.refuse(&shown("a mount at", mount.target), "it holds a colon");
        }
        if !mount.target.starts_with('/') {
            return self.refuse(&shown("a mount at", mount.target), "it is not an absolute path");
        }
        Ok(mount.target)
    }

    /// Checks that the kernel has what the mount needs, as far as it is known.
    fn able(&self, mount: &Mounted<'_>) -> Result<()> {
        let (able, name) = match mount.driver {
            ShareDriver::NineP => (self.spec.kernel.abilities.ninep, "9P"),
            ShareDriver::Virtiofs => (self.spec.kernel.abilities.virtiofs, "virtiofs"),
        };
        if able == Some(false) {
            return self.refuse(&shown("a mount at", mount.target), &format!("it was built without {name}"));
        }
        Ok(())
    }

    fn environment(&mut self) -> Result<()> {
        const PARAMETER: &str = "env.vars";
        if self.spec.env.is_empty() {
            return Ok(());
        }
        if self.dialect == Dialect::UnikraftOld && self.has(PARAMETER) != Some(true) {
            return self.refuse("an environment", "it knows of none");
        }
        self.room("such an environment", PARAMETER, self.spec.env.len())?;
        let (mut listed, mut alone) = (Vec::new(), Vec::new());
        for (key, value) in &self.spec.env {
            let pair = format!("{key}={value}");
            match (pair.starts_with('['), pair.ends_with(']')) {
                (_, false) => listed.push(pair),
                (false, true) => alone.push(pair),
                (true, true) => {
                    let why = "in brackets it would be taken for a list";
                    return self.refuse(&shown("environment variable", &pair), why);
                }
            }
        }
        if !listed.is_empty() {
            self.list(PARAMETER, listed);
        }
        for pair in alone {
            self.words.push(Word::Bare(format!("{PARAMETER}={pair}")));
        }
        Ok(())
    }

    fn list(&mut self, parameter: &str, values: Vec<String>) {
        self.words.push(Word::Bare(format!("{parameter}=[")));
        self.words.extend(values.into_iter().map(Word::Listed));
        self.words.push(Word::Bare("]".into()));
    }

    /// Puts the line together and reads it back.
    fn finish(self, loader: Loader) -> Result<String> {
        let spec = self.spec;
        let typed = spec.kernel_args.join(" ");
        let adds = !self.words.is_empty();
        if adds || !spec.app_args.is_empty() {
            self.check_typed(&typed)?;
        }
        for argument in &spec.app_args {
            if argument.is_empty() {
                return self.refuse("an empty argument", "it leaves such out");
            }
            if argument == "--" && !adds && typed.is_empty() {
                let why = "it takes that for the end of its own";
                return Err(self
                    .refusal("argument '--'", why)
                    .with_hint("behind any argument for the kernel it is the application's"));
            }
        }
        let named = (loader == Loader::Nameless).then(|| spec.name.as_host());
        let mut words = self.words;
        // What is added is read in front of a separator alone; what was typed may be meant for the application.
        if adds || (!typed.is_empty() && !spec.app_args.is_empty()) {
            words.push(Word::Bare("--".into()));
        }
        words.extend(spec.app_args.iter().cloned().map(Word::Bare));
        let typed = (!typed.is_empty()).then_some(typed);
        let checked = !words.is_empty();
        let line: Vec<String> = named.into_iter().chain(typed).chain(words.iter().map(Word::written)).collect();
        let name = match loader {
            Loader::Names(len) => len + 1,
            Loader::Nameless => 0,
        };
        let line = within(line.join(" "), BYTES.saturating_sub(name), self.dialect)?;
        if checked {
            read_back(&line, &words, loader, self.dialect)?;
        }
        Ok(line)
    }

    /// Checks that what was typed leaves alone what comes behind it.
    fn check_typed(&self, typed: &str) -> Result<()> {
        let read = split::unikraft(typed.as_bytes());
        if read.open {
            return self.refuse(&shown("kernel arguments", typed), "a quote or backslash in them is left open");
        }
        let mut in_list = false;
        for word in &read.words {
            let dot = word.iter().position(|byte| *byte == b'.');
            let value = dot.and_then(|dot| word[dot..].splitn(2, |byte| *byte == b'=').nth(1));
            let starts_list = value.is_some_and(|value| value.starts_with(b"["));
            if !in_list && word == b"--" {
                return self.refuse("kernel argument '--'", "what comes behind it is the application's");
            }
            if !in_list && !self.words.is_empty() && self.spec.app_args.is_empty() && dot.is_none() && word != b"help" {
                let what = shown("kernel argument", &String::from_utf8_lossy(word));
                let why = "it takes parameters alone where there are any, as what was asked for needs";
                return Err(self.refusal(&what, why).with_hint("the application's arguments come behind `--`"));
            }
            in_list = (in_list || starts_list) && !word.ends_with(b"]");
        }
        if in_list {
            return self.refuse(&shown("kernel arguments", typed), "a list in them is left open");
        }
        Ok(())
    }
}

/// Checks that the kernel reads what was written.
fn read_back(line: &str, words: &[Word], loader: Loader, dialect: Dialect) -> Result<()> {
    let read = split::unikraft(line.as_bytes());
    let count = read.words.len() + usize::from(loader != Loader::Nameless);
    if count > WORDS {
        let why = format!("it has {count} words, of which it reads {WORDS} unless it was built for more");
        let hint = "`--dialect plain` does not count, and adds nothing";
        return Err(refusal("such a command line", dialect, &why).with_hint(hint));
    }
    let arrived = read.words.len().checked_sub(words.len()).map(|behind| &read.words[behind..]).unwrap_or_default();
    if read.open || !arrived.iter().eq(words.iter().map(|word| word.value().as_bytes())) {
        return Err(refusal(&shown("command line", line), dialect, "it would not arrive as it is"));
    }
    Ok(())
}

/// A value in quotes: double ones where they change nothing, else single ones, which leave alone all but themselves; those
/// stand in double ones between.
fn in_quotes(value: &str) -> String {
    if value.contains(['"', '\\']) { format!("'{}'", value.replace('\'', r#"'"'"'"#)) } else { format!("\"{value}\"") }
}
