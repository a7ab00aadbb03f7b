//! The arguments that say when a machine is ready, and whether it is well.

use std::time::Duration;

use clap::Args;
use clap::builder::ValueParser;

use super::complete;
use crate::machine::{Health, HealthAction, Probe, Ready, parse_duration};

/// What is looked at.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProbeArgs {
    /// When the machine is ready, so that its start is done and what depends on it begins: when its guest runs, when a line
    /// of its console matches, or when a port of the guest's answers
    #[arg(long, value_name = "guest|console:REGEX|tcp:PORT|http:PORT/PATH", default_value = "guest")]
    ready: Ready,

    /// How long it may take until it is ready, from when its guest runs; if not given TimeoutStartSec= of its unit says so,
    /// without systemd 90s
    #[arg(long, value_name = "TIME", value_parser = ValueParser::new(parse_duration))]
    ready_timeout: Option<Duration>,

    /// Try again and again whether a port of the guest's answers
    #[arg(long, value_name = "tcp:PORT|http:PORT/PATH")]
    health: Option<Probe>,

    /// The time between two health probes
    #[arg(long, value_name = "TIME", default_value = "30s", requires = "health", value_parser = ValueParser::new(parse_duration))]
    health_interval: Duration,

    /// How long a health probe may take
    #[arg(long, value_name = "TIME", default_value = "30s", requires = "health", value_parser = ValueParser::new(parse_duration))]
    health_timeout: Duration,

    /// How many health probes in a row fail until the machine is unhealthy
    #[arg(long, value_name = "N", default_value_t = 3, requires = "health")]
    health_retries: u32,

    /// How long failures do not count, from when it is ready, or until a first health probe is answered
    #[arg(long, value_name = "TIME", default_value = "0s", requires = "health", value_parser = ValueParser::new(parse_duration))]
    health_start_period: Duration,

    /// What becomes of a machine that is unhealthy
    #[arg(
        long, value_name = "none|restart|stop", default_value = "none", requires = "health",
        add = complete::words(HealthAction::ALL)
    )]
    health_on_failure: HealthAction,
}

impl ProbeArgs {
    /// What makes it ready, how long that may take, and how it is tried whether it is well.
    pub(crate) fn into_parts(self) -> (Ready, Option<Duration>, Option<Health>) {
        let health = self.health.map(|probe| Health {
            probe,
            interval_ms: milliseconds(self.health_interval),
            timeout_ms: milliseconds(self.health_timeout),
            retries: self.health_retries,
            start_period_ms: milliseconds(self.health_start_period),
            on_failure: self.health_on_failure,
        });
        (self.ready, self.ready_timeout, health)
    }
}

/// A time as records keep it.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
