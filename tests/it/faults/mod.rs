//! What goes wrong: one clear error that names the thing, the right exit code, and nothing left.

mod host;
mod input;
mod output;
mod races;
mod records;

use crate::lab::{Lab, Said};

/// Who is to run a machine.
const MANAGERS: [bool; 2] = [true, false];

/// `kraft run -d` of a kernel, by systemd or not.
fn run(lab: &Lab, systemd: bool, options: &[&str], kernel: &str) -> Said {
    lab.kraft(words(lab, systemd, options, kernel))
}

/// Its arguments.
fn words(lab: &Lab, systemd: bool, options: &[&str], kernel: &str) -> Vec<String> {
    let mut words = vec!["run".to_owned(), "-d".to_owned()];
    if !options.iter().any(|option| option.starts_with("--name")) {
        words.extend(["--name".to_owned(), lab.name("m")]);
    }
    words.extend(systemd.then(|| "--systemd".to_owned()));
    words.extend(options.iter().map(|&option| option.to_owned()));
    words.push(kernel.to_owned());
    words
}

/// Nothing is there that a machine could have left, whatever its name; the world has its own directories.
#[track_caller]
fn assert_nothing_left(lab: &Lab, after: &str) {
    assert_eq!(lab.leaks(), Vec::<String>::new(), "after {after}");
    let machines = lab.state().join("machines");
    let left: Vec<_> = std::fs::read_dir(&machines).into_iter().flatten().flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "after {after}: {left:?}");
}
