//! The line by which a machine file is kraft's own: what `kraft enable` wrote, `kraft disable` and `kraft rm` may remove.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use crate::machine::MachineId;

const BEGIN: &str = "# Written by kraft for machine ";

/// The lines that a file of ours begins with.
pub fn heading(id: MachineId) -> String {
    format!(
        "{BEGIN}{id}. `kraft update` writes it anew and `kraft disable`\n\
         # removes it; without these lines it is yours.\n\n"
    )
}

/// The machine that a file was written for, if kraft wrote it.
pub fn written_for(file: &Path) -> Option<MachineId> {
    // A link leads to somebody else's.
    if !file.symlink_metadata().ok()?.is_file() {
        return None;
    }
    let mut line = String::new();
    BufReader::with_capacity(256, std::fs::File::open(file).ok()?).take(256).read_line(&mut line).ok()?;
    id_in(&line)
}

fn id_in(line: &str) -> Option<MachineId> {
    line.strip_prefix(BEGIN)?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_says_for_whom_it_is() {
        let id = MachineId::from_bytes([0xab; 16]);
        assert_eq!(id_in(heading(id).lines().next().unwrap_or_default()), Some(id));
        for other in ["", "kernel = \"/k\"", "# Written by kraft for machine x. y", "# written by hand"] {
            assert_eq!(id_in(other), None, "{other}");
        }
        assert!(heading(id).lines().all(|line| line.is_empty() || line.starts_with('#')));
    }
}
