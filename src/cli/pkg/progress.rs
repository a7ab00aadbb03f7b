//! How a transfer is getting on: bars where somebody looks on, a line for each blob elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::Mutex;

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

use crate::cli::output;
use crate::image::oci::pull::Step;
use crate::machine::Digest;

const BAR: &str = "{prefix} [{bar:30}] {bytes:>10} of {total_bytes:>10} {bytes_per_sec:>12}";

/// Who shows it.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nobody.
    Quiet,
    /// On a terminal.
    Bars(MultiProgress, Mutex<BTreeMap<Digest, ProgressBar>>),
    /// In a file or a journal.
    Lines(Mutex<BTreeMap<Digest, u64>>),
}

impl Progress {
    /// On standard error, as that is what it is.
    pub(crate) fn new(quiet: bool) -> Self {
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Bars(MultiProgress::new(), Mutex::default()),
            (false, false) => Self::Lines(Mutex::default()),
        }
    }

    pub(crate) fn show(&self, digest: Digest, step: Step) {
        match self {
            Self::Quiet => {}
            Self::Bars(all, bars) => show_bar(all, bars, digest, step),
            Self::Lines(sizes) => show_line(sizes, digest, step),
        }
    }
}

fn short(digest: Digest) -> String {
    digest.to_string().chars().take(12).collect()
}

fn show_bar(all: &MultiProgress, bars: &Mutex<BTreeMap<Digest, ProgressBar>>, digest: Digest, step: Step) {
    let mut bars = bars.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let bar = bars.entry(digest).or_insert_with(|| {
        let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
        all.add(ProgressBar::new(0).with_style(style).with_prefix(short(digest)))
    });
    match step {
        Step::Begin { size, from } => {
            bar.set_length(size);
            bar.set_position(from);
            bar.reset_eta();
        }
        Step::Bytes(count) => bar.inc(count),
        Step::Known { size } => {
            bar.set_length(size);
            bar.set_position(size);
            bar.abandon();
        }
        Step::Done => bar.abandon(),
    }
}

fn show_line(sizes: &Mutex<BTreeMap<Digest, u64>>, digest: Digest, step: Step) {
    let mut sizes = sizes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match step {
        Step::Begin { size, from } => {
            sizes.insert(digest, size);
            if from > 0 {
                output::note(format!("{}: goes on behind {}", short(digest), HumanBytes(from)));
            }
        }
        Step::Bytes(_) => {}
        Step::Known { size } => output::note(format!("{}: {}, there already", short(digest), HumanBytes(size))),
        Step::Done => {
            let size = sizes.remove(&digest).unwrap_or_default();
            output::note(format!("{}: {}, done", short(digest), HumanBytes(size)));
        }
    }
}
