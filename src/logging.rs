//! Where our own log lines go: a person's terminal, or the journal with the machine's fields.

pub mod message;

use std::io::Write as _;

use log::{LevelFilter, Log, Metadata, Record};

/// Sends log lines of this level and above to standard error, one line each, as `warning: text`.
pub fn to_stderr(level: LevelFilter) {
    // A logger that is set already stays: the first caller knew best.
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level);
    }
}

/// Sends log lines to the journal, marked with the machine that they are about. Falls back to standard error where
/// there is no journal.
pub fn to_journal(level: LevelFilter, machine: &str, id: &str) {
    let logger = systemd_journal_logger::JournalLog::new().map(|logger| {
        logger
            .with_extra_fields([("KRAFT_MACHINE", machine), ("KRAFT_ID", id)])
            .with_syslog_identifier(format!("kraft-{machine}"))
    });
    match logger.map(|logger| logger.install()) {
        Ok(Ok(())) => log::set_max_level(level),
        _ => to_stderr(level),
    }
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries speak up when something is wrong, not to tell how they work.
        metadata.target().starts_with("kraft") || metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                log::Level::Error => "error",
                log::Level::Warn => "warning",
                log::Level::Info => "info",
                log::Level::Debug => "debug",
                log::Level::Trace => "trace",
            };
            // Nobody is left to tell when standard error is gone.
            let _ = writeln!(std::io::stderr().lock(), "{level}: {}", record.args());
        }
    }

    fn flush(&self) {}
}
