//! The section `.uk_libinfo`: what a Unikraft kernel says of itself and of its libraries, since 0.15.
//!
//! The format is that of `lib/uklibid/include/uk/libid/info.h` and `lib/uklibid/README.md` in Unikraft's sources. The
//! section is a row of headers, one for each library and one for the kernel as a whole, which has no name. Numbers are
//! little-endian, nothing is aligned, and every length includes the head that it stands in:
//!
//! ```text
//! header   len u32, layout u16, then by layout; in layout 1 records
//! record   type u16, len u32, data
//! ```
//!
//! Of a header whose layout is unknown the length still holds, so it is passed over. What does not fit into its
//! surroundings ends the reading there: what was read before stands.

use super::{About, Library, text};

const LAYOUT: u16 = 1;
const HEAD: usize = 6;

const LIBNAME: u16 = 1;
const VERSION: u16 = 3;
const LICENSE: u16 = 4;
const GITDESC: u16 = 5;
const UKVERSION: u16 = 6;
const UKFULLVERSION: u16 = 7;
const UKCODENAME: u16 = 8;
const COMPILER: u16 = 0xb;
const COMPILEDATE: u16 = 0xc;

/// More libraries than any kernel has.
const LIBRARIES: usize = 1024;

/// Reads the section.
pub(super) fn parse(mut section: &[u8]) -> About {
    let mut about = About::default();
    while let Some((layout, body, rest)) = header(section) {
        section = rest;
        if layout != LAYOUT {
            continue;
        }
        let entry = Entry::read(body);
        let unikraft = entry.text(UKFULLVERSION).or_else(|| entry.text(UKVERSION));
        match entry.text(LIBNAME) {
            Some(name) if about.libraries.len() < LIBRARIES => {
                about.libraries.push(Library {
                    name,
                    version: entry.text(VERSION).or_else(|| entry.text(GITDESC)),
                    license: entry.text(LICENSE),
                });
                about.version = about.version.or(unikraft);
            }
            Some(_) => break,
            None => {
                about.version = unikraft.or(about.version);
                about.codename = entry.text(UKCODENAME).or(about.codename);
                about.compiler = entry.text(COMPILER).or(about.compiler);
                about.compiled = entry.text(COMPILEDATE).or(about.compiled);
            }
        }
    }
    about.libraries.sort();
    about
}

/// The first header's layout and body, and what follows it.
fn header(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let layout = u16::from_le_bytes(bytes.get(4..HEAD)?.try_into().ok()?);
    Some((layout, bytes.get(HEAD..len)?, bytes.get(len..)?))
}

/// The records of one header.
struct Entry<'a>(Vec<(u16, &'a [u8])>);

impl<'a> Entry<'a> {
    fn read(mut body: &'a [u8]) -> Self {
        let mut records = Vec::new();
        while let Some((kind, data, rest)) = record(body) {
            records.push((kind, data));
            body = rest;
        }
        Self(records)
    }

    fn text(&self, wanted: u16) -> Option<String> {
        self.0.iter().find(|(kind, _)| *kind == wanted).and_then(|(_, data)| text(data))
    }
}

/// The first record's type and data, and what follows it.
fn record(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let kind = u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?);
    let len = u32::from_le_bytes(bytes.get(2..HEAD)?.try_into().ok()?) as usize;
    Some((kind, bytes.get(HEAD..len)?, bytes.get(len..)?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A header with records of text.
    pub(crate) fn entry(layout: u16, records: &[(u16, &str)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in records {
            body.extend(kind.to_le_bytes());
            body.extend((HEAD as u32 + value.len() as u32 + 1).to_le_bytes());
            body.extend(value.bytes().chain([0]));
        }
        let mut out = (HEAD as u32 + body.len() as u32).to_le_bytes().to_vec();
        out.extend(layout.to_le_bytes());
        out.extend(body);
        out
    }

    #[test]
    fn a_section_is_read() {
        let section = [
            entry(1, &[(LIBNAME, "libvfscore"), (VERSION, "1.2"), (LICENSE, "BSD-3-Clause"), (0x99, "future")]),
            entry(7, &[(LIBNAME, "of another layout")]),
            entry(1, &[(UKFULLVERSION, "0.17.0~1a2b3c4"), (UKCODENAME, "Calypso"), (COMPILER, "gcc 12")]),
            entry(1, &[(LIBNAME, "lib9pfs")]),
        ];
        let about = parse(&section.concat());
        assert_eq!(about.version.as_deref(), Some("0.17.0~1a2b3c4"));
        assert_eq!(about.codename.as_deref(), Some("Calypso"));
        assert_eq!(about.libraries.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["lib9pfs", "libvfscore"]);
        assert_eq!(about.libraries[1].version.as_deref(), Some("1.2"));
    }

    #[test]
    fn what_does_not_fit_ends_the_reading() {
        let good = entry(1, &[(LIBNAME, "libvfscore")]);
        for bad in [&[][..], &[1, 2, 3], &[5, 0, 0, 0, 1, 0], &[0, 0, 0, 0, 1, 0], &[0xff, 0xff, 0xff, 0xff, 1, 0, 0]] {
            assert_eq!(parse(&[&good[..], bad].concat()).libraries.len(), 1);
        }
        let mut record_too_long = good.clone();
        record_too_long[HEAD + 2] = 0xff;
        assert_eq!(parse(&record_too_long), About::default());
        assert_eq!(parse(&entry(1, &[(LIBNAME, "")])), About::default());
    }
}
