//! `kraft stats`.

use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::ValueParser;
use comfy_table::CellAlignment;
use nix::poll::PollFlags;

use super::app::App;
use super::complete;
use super::output::{self, Format, Reader};
use super::samples::{COLUMNS, Sample, Sampler};
use super::tick::{Came, Clock};
use super::{Outcome, output::offer};
use crate::error::{Error, Result};
use crate::machine::{MachineName, Selector, View, parse_duration};

/// Show what machines take: processor, memory, network, disks
///
/// The table is renewed until Ctrl-C. Without names all machines that run are shown.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Machines, by name or by four or more first digits of an id
    #[arg(value_name = "MACHINE", add = complete::machines())]
    machines: Vec<Selector>,

    /// Also machines that do not run
    #[arg(short, long, conflicts_with = "machines")]
    all: bool,

    /// Show it once
    #[arg(long)]
    no_stream: bool,

    /// The time between two looks, over which processor time is counted
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = ValueParser::new(interval))]
    interval: Duration,

    /// The form of the output; JSON is a line for each look, unless it is the only one
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Reads the time between two looks.
pub(crate) fn interval(text: &str) -> Result<Duration> {
    let interval = parse_duration(text)?;
    let range = Duration::from_millis(100)..=Duration::from_secs(86_400);
    if range.contains(&interval) {
        return Ok(interval);
    }
    Err(Error::new(format!("bad interval '{}': expected a time from 100ms to a day", text.escape_debug())))
}

pub(crate) fn stats(app: &App, args: &StatsArgs) -> Outcome {
    let (mut names, mut errors) = (Vec::new(), Vec::new());
    for selector in &args.machines {
        match app.resolve(selector) {
            Ok(name) => names.push(name),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    follow(app, args, &names).map(|()| ExitCode::SUCCESS).map_err(|error| vec![error])
}

fn follow(app: &App, args: &StatsArgs, names: &[MachineName]) -> Result<()> {
    let wanted = |view: &View| {
        if names.is_empty() { args.all || view.state.is_live() } else { names.contains(&view.name) }
    };
    let mut sampler = Sampler::new(app);
    let clock = Clock::new(args.interval)?;
    // Processor time is what came between two looks.
    sampler.look(wanted)?;
    loop {
        // Nothing is asked of it: it is ready when nobody reads any more.
        if let Came::On(_) = clock.wait(&[(std::io::stdout().as_fd(), PollFlags::empty())])? {
            return Ok(());
        }
        let samples = sampler.look(wanted)?;
        if args.no_stream {
            return match args.output {
                Format::Table => output::write(&table(&samples)),
                format => output::value(format, &samples),
            };
        }
        if show(args.output, &samples)? == Reader::Gone {
            return Ok(());
        }
    }
}

/// One look of many.
fn show(format: Format, samples: &[Sample]) -> Result<Reader> {
    match format {
        Format::Table if std::io::stdout().is_terminal() => {
            // From the first line on, each line to its end, and what is below it.
            let lines: String = table(samples).lines().map(|line| format!("{line}\x1b[K\r\n")).collect();
            offer(&format!("\x1b[H{lines}\x1b[J"))
        }
        Format::Table => offer(&table(samples)),
        Format::Json => {
            let line = serde_json::to_string(samples).map_err(|e| Error::new(e.to_string()))?;
            offer(&format!("{line}\n"))
        }
        Format::Yaml => {
            let text = serde_norway::to_string(samples).map_err(|e| Error::new(e.to_string()))?;
            offer(&format!("---\n{text}"))
        }
    }
}

fn table(samples: &[Sample]) -> String {
    let mut table = output::table(COLUMNS);
    for sample in samples {
        table.add_row(sample.cells());
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_cell_alignment(if index == 0 { CellAlignment::Left } else { CellAlignment::Right });
    }
    output::rows(table)
}
