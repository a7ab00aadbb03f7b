//! The arguments that say when a machine starts by itself, and how long it may run.

use std::time::Duration;

use clap::Args;
use clap::builder::ValueParser;

use crate::machine::parse_duration;

/// When it runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct ScheduleArgs {
    /// Start the machine whenever the calendar says so, as long as it is there: an expression such as daily or
    /// "Mon..Fri 10:00", see systemd.time(7); may be repeated
    #[arg(long, value_name = "EXPR", requires = "systemd")]
    pub(crate) on_calendar: Vec<String>,

    /// Stop the guest when it has run so long, which is a failure, code 124
    #[arg(long, value_name = "TIME", value_parser = ValueParser::new(parse_duration))]
    pub(crate) runtime_max: Option<Duration>,
}
