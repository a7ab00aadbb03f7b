//! The sections `.uk_libparam_params*`: which parameters a Unikraft kernel takes on its command line.
//!
//! Two formats, both of `lib/uklibparam/include/uk/libparam.h` in Unikraft's sources; words are of 8 bytes even where the
//! file is of 32 bits, as kernels for multiboot are 64-bit code in such a file:
//!
//! ```text
//! to 0.17      .uk_libparam_params_LIB, one for each library: pointers to
//!              { name *, description *, type u32, count u64, address *, .. }
//! after 0.17   .uk_libparam_params, one for all: an array of
//!              { prefix *, name *, description *, type u32, count u64, address *, data * }
//! ```
//!
//! In the older one the prefix (`netdev` of `netdev.ip`) is found by code alone; it is known here for Unikraft's own
//! libraries (`addlib_paramprefix` in their makefiles) and is the library's name for others, as in Unikraft. Before 0.13
//! the format was a third one, which is not read.

use object::read::ReadRef;

use super::{Memory, Parameter};

/// The section of all parameters.
pub(super) const SECTION: &str = ".uk_libparam_params";

const WORD: u64 = 8;
/// `struct uk_libparam_param` after 0.17.
const SIZE: u64 = 7 * WORD;
/// More parameters than any kernel has, in all its sections.
const PARAMETERS: u64 = 4096;

/// A section of parameters, by where it is in memory.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) address: u64,
    pub(super) size: u64,
}

/// The parameters of these sections, sorted. One that cannot be followed to its name is left out.
pub(super) fn parse<'data, R: ReadRef<'data>>(sections: &[Section], memory: &Memory<R>) -> Vec<Parameter> {
    let mut found = Vec::new();
    let mut left = PARAMETERS;
    for section in sections {
        let library = section.name.strip_prefix(SECTION).and_then(|rest| rest.strip_prefix('_'));
        let size = if library.is_some() { WORD } else { SIZE };
        let count = (section.size / size).min(left);
        left -= count;
        found.extend((0..count).filter_map(|index| {
            let at = section.address.checked_add(index * size)?;
            match library {
                Some(library) => parameter(memory, prefix(library).to_owned(), memory.word(at)?),
                None => parameter(memory, memory.text(memory.word(at)?)?, at.checked_add(WORD)?),
            }
        }));
    }
    found.sort();
    found.dedup();
    found
}

/// The parameter whose description begins with its name at `at`.
fn parameter<'data, R: ReadRef<'data>>(memory: &Memory<R>, prefix: String, at: u64) -> Option<Parameter> {
    let field = |index: u64| memory.word(at.checked_add(index * WORD)?);
    let name = memory.text(field(0)?)?;
    let description = memory.text(field(1)?);
    Some(Parameter { name: format!("{prefix}.{name}"), count: field(3)?, description })
}

/// The prefix that a library's parameters have.
fn prefix(library: &str) -> &str {
    match library {
        "libposix_environ" => "env",
        "libukdebug" => "debug",
        "libukconsole_ns16550" => "ns16550",
        "libukconsole_pl011" => "pl011",
        "libuknetdev" => "netdev",
        "libvfscore" => "vfs",
        "libvirtio_mmio" => "virtio_mmio",
        other => other,
    }
}
