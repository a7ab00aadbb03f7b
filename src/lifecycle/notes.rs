//! What confined runners note of their machines while they live: `RUNTIME/.notes/NAME.jsonl`, one file each, which root
//! makes and the runner can only write to by the descriptor that it was handed. In the end its lines go into the log of
//! all, and the file goes.
//!
//! A runner may be in a guest's hands: its lines count for its own machine alone, and only so many of them.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::events::{EventLine, EventLog};
use crate::error::{Context as _, Result};
use crate::machine::{Exit, MachineName, Record};
use crate::store::Store;

const DIR: &str = ".notes";
const EXTENSION: &str = ".jsonl";
/// More than a guest's life is worth.
const LONGEST: u64 = 1 << 20;

/// Where the notes are.
pub(super) fn dir(runtime: &Path) -> PathBuf {
    runtime.join(DIR)
}

fn file(runtime: &Path, name: &MachineName) -> PathBuf {
    dir(runtime).join(format!("{name}{EXTENSION}"))
}

/// Whether a confined runner had notes, which nobody kept yet.
pub(super) fn exist(store: &Store, record: &Record) -> bool {
    file(&store.paths().runtime, &record.spec.name).exists()
}

/// A machine's notes for one life, empty. What an earlier life left is kept first.
///
/// # Errors
/// When they cannot be made.
pub(super) fn begin(store: &Store, record: &Record) -> Result<File> {
    keep(store, record);
    let path = file(&store.paths().runtime, &record.spec.name);
    let cannot = || format!("cannot make {}", path.display());
    std::fs::create_dir_all(dir(&store.paths().runtime)).with_context(cannot)?;
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path).with_context(cannot)
}

/// Puts a machine's notes into the log of all. Returns how it ended, if that was noted.
pub(super) fn keep(store: &Store, record: &Record) -> Option<Exit> {
    let path = file(&store.paths().runtime, &record.spec.name);
    let log = EventLog::of(store);
    let mut exit = None;
    for line in read(&path).into_iter().filter(|line| line.id == record.id) {
        if let Err(error) = log.write_line(&line) {
            log::warn!("cannot log that {} did {}: {error}", line.name, line.event.as_str());
        }
        exit = line.exit.or(exit);
    }
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => log::warn!("cannot remove {}: {e}", path.display()),
        _ => {}
    }
    exit
}

/// Everything that is noted at this moment.
pub(super) fn all(runtime: &Path) -> Vec<EventLine> {
    let entries = std::fs::read_dir(dir(runtime)).into_iter().flatten().flatten();
    entries.flat_map(|entry| read(&entry.path())).collect()
}

/// One machine's whole lines.
fn read(path: &Path) -> Vec<EventLine> {
    let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(EXTENSION)?.parse::<MachineName>().ok());
    let (Some(name), Ok(file)) = (name, File::open(path)) else { return Vec::new() };
    let lines = BufReader::new(file.take(LONGEST)).lines().map_while(std::io::Result::ok);
    lines.filter_map(|line| serde_json::from_str::<EventLine>(&line).ok()).filter(|line| line.name == name).collect()
}

/// Notes one line.
pub(super) fn note(mut notes: &File, line: &EventLine) -> Result<()> {
    let mut text = serde_json::to_vec(line).context("cannot write an event")?;
    text.push(b'\n');
    notes.write_all(&text).context("cannot note an event")
}
