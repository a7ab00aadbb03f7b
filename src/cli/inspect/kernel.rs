//! `kraft inspect --kernel`: what a kernel's file says of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::output::{self, Format};
use crate::error::Result;
use crate::image::kernel::{self, Class, KernelInfo};
use crate::image::unikraft::About;
use crate::machine::{Abilities, Arch, Dialect, KernelKind};

/// A kernel as JSON shows it. Stable: fields are added, never changed.
#[derive(Debug, Serialize)]
struct Inspection {
    path: PathBuf,
    kind: KernelKind,
    architecture: Arch,
    bits: u8,
    protocols: Vec<&'static str>,
    dialect: Dialect,
    abilities: Table,
    unikraft: Option<About>,
}

/// The abilities, those that are not known as `null`.
#[derive(Debug, Serialize)]
struct Table {
    net: Option<bool>,
    #[serde(rename = "9p")]
    ninep: Option<bool>,
    virtiofs: Option<bool>,
    initrd: Option<bool>,
    env: Option<bool>,
    power_button: Option<bool>,
}

impl From<Abilities> for Table {
    fn from(of: Abilities) -> Self {
        let Abilities { net, ninep, virtiofs, initrd, env, power_button } = of;
        Self { net, ninep, virtiofs, initrd, env, power_button }
    }
}

/// Looks at a kernel and shows it, as text where no format is given.
pub(super) fn show(path: &Path, format: Option<Format>) -> Result<()> {
    let found = inspection(path, kernel::inspect(path, None)?);
    match format {
        Some(format) => output::value(format, &found),
        None => output::write(&text(&found)),
    }
}

fn inspection(path: &Path, info: KernelInfo) -> Inspection {
    let known = [(info.kind == KernelKind::Linux, "linux"), (info.has_pvh, "pvh"), (info.has_multiboot, "multiboot")];
    Inspection {
        path: path.to_owned(),
        kind: info.kind,
        architecture: info.arch,
        bits: match info.class {
            Class::Bits32 => 32,
            Class::Bits64 => 64,
        },
        protocols: known.into_iter().filter(|(has, _)| *has).map(|(_, protocol)| protocol).collect(),
        dialect: info.dialect(),
        abilities: info.abilities.into(),
        unikraft: info.unikraft,
    }
}

/// Lines for people.
fn text(of: &Inspection) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<14}{}", if value.is_empty() { "none" } else { value });
    };
    line("kernel", &of.path.display().to_string());
    line(
        "kind",
        match of.kind {
            KernelKind::Unikraft => "unikraft",
            KernelKind::Linux => "linux",
            KernelKind::Pvh => "pvh",
            KernelKind::Multiboot => "multiboot",
            KernelKind::Elf => "elf",
        },
    );
    line("architecture", &format!("{}, {}-bit file", of.architecture, of.bits));
    line("protocols", &of.protocols.join(", "));
    line("dialect", of.dialect.as_str());
    for (name, able) in [
        ("net", of.abilities.net),
        ("9p", of.abilities.ninep),
        ("virtiofs", of.abilities.virtiofs),
        ("initrd", of.abilities.initrd),
        ("env", of.abilities.env),
        ("power button", of.abilities.power_button),
    ] {
        line(name, able.map_or("unknown", |able| if able { "yes" } else { "no" }));
    }
    if let Some(about) = &of.unikraft {
        let version = about.version.as_deref().unwrap_or("unknown");
        let codename = about.codename.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
        line("unikraft", &format!("{version}{codename}"));
        for (name, value) in [("compiler", &about.compiler), ("compiled", &about.compiled)] {
            if let Some(value) = value {
                line(name, value);
            }
        }
        let libraries = about.libraries.iter().map(|library| match &library.version {
            Some(version) => format!("{} {version}", library.name),
            None => library.name.clone(),
        });
        for (index, library) in libraries.enumerate() {
            line(if index == 0 { "libraries" } else { "" }, &library);
        }
        if about.libraries.is_empty() {
            line("libraries", "unknown");
        }
        match &about.parameters {
            None => line("parameters", "unknown"),
            Some(parameters) => {
                for (index, parameter) in parameters.iter().enumerate() {
                    let count =
                        if parameter.count > 1 { format!(" ({} values)", parameter.count) } else { String::new() };
                    line(if index == 0 { "parameters" } else { "" }, &format!("{}{count}", parameter.name));
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_all_that_is_known() {
        let about = About::of_version("0.16.0");
        let found = Inspection {
            path: "web.elf".into(),
            kind: KernelKind::Unikraft,
            architecture: Arch::X86_64,
            bits: 32,
            protocols: vec!["multiboot"],
            dialect: Dialect::UnikraftOld,
            abilities: Abilities { net: Some(true), power_button: Some(false), ..Abilities::default() }.into(),
            unikraft: Some(about),
        };
        assert_eq!(
            text(&found),
            "kernel        web.elf\n\
             kind          unikraft\n\
             architecture  x86_64, 32-bit file\n\
             protocols     multiboot\n\
             dialect       unikraft-old\n\
             net           yes\n\
             9p            unknown\n\
             virtiofs      unknown\n\
             initrd        unknown\n\
             env           unknown\n\
             power button  no\n\
             unikraft      0.16.0\n\
             libraries     unknown\n\
             parameters    unknown\n"
        );
        let value = serde_json::to_value(&found).unwrap();
        assert_eq!(value["abilities"]["net"], true);
        assert!(value["abilities"]["9p"].is_null() && value["unikraft"]["parameters"].is_null());
        assert_eq!(value["unikraft"]["version"], "0.16.0");
    }
}
