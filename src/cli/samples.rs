//! What machines take, as `kraft stats` and `kraft top` show it: one look after the other, and what came between them.

use std::collections::HashMap;

use serde::Serialize;

use super::app::App;
use crate::error::Result;
use crate::machine::{MachineName, MachineService as _, Manager, State, View};
use crate::network;
use crate::systemd::SystemdService;
use crate::usage::{self, Usage};

/// What one machine takes. As JSON stable: fields are added, never changed. What is not known is null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) state: State,
    /// Of one processor, since the look before.
    pub(crate) cpu_percent: Option<f64>,
    /// Since its unit was started.
    pub(crate) cpu_usec: Option<u64>,
    /// Periods in which its quota kept it from running.
    pub(crate) cpu_throttled: Option<u64>,
    /// Bytes, as all that follow but the tasks.
    pub(crate) memory: Option<u64>,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) memory_percent: Option<f64>,
    /// Received and sent by the guest.
    pub(crate) net_rx: Option<u64>,
    pub(crate) net_tx: Option<u64>,
    pub(crate) io_read: Option<u64>,
    pub(crate) io_write: Option<u64>,
    pub(crate) tasks: Option<u64>,
    pub(crate) tasks_limit: Option<u64>,
}

/// Looks at machines again and again.
#[derive(Debug)]
pub(crate) struct Sampler {
    service: SystemdService,
    /// Of each machine its runner, as another's counters begin anew, and what it had taken.
    before: HashMap<MachineName, (u32, Usage)>,
}

impl Sampler {
    pub(crate) fn new(app: &App) -> Self {
        Self { service: app.everything(), before: HashMap::new() }
    }

    /// All machines that are wanted. The manager is asked once for any number.
    pub(crate) fn look(&mut self, wanted: impl Fn(&View) -> bool) -> Result<Vec<Sample>> {
        let mut views = self.service.list()?;
        views.retain(|view| wanted(view));
        let mut now = HashMap::new();
        let samples = views.iter().map(|view| {
            let usage = read(view);
            let earlier = usage.as_ref().and_then(|(runner, _)| {
                self.before.get(&view.name).filter(|(its, _)| its == runner).map(|(_, usage)| usage)
            });
            let sample = sample(view, usage.as_ref().map(|(_, usage)| usage), earlier);
            now.extend(usage.map(|usage| (view.name.clone(), usage)));
            sample
        });
        let samples = samples.collect();
        self.before = now;
        Ok(samples)
    }
}

/// The machine's runner and what that machine takes, if it has one.
fn read(view: &View) -> Option<(u32, Usage)> {
    let record = view.record.as_ref()?;
    let runner = view.status.as_ref().filter(|_| view.state.is_live())?.runner_pid;
    let unit = match record.manager {
        Manager::Systemd => view.unit.as_deref(),
        Manager::Local => None,
    };
    Some((runner, usage::read(runner, unit, &network::taps(record))?))
}

#[allow(clippy::cast_precision_loss, reason = "a percentage is for people")]
fn sample(view: &View, usage: Option<&Usage>, earlier: Option<&Usage>) -> Sample {
    let (memory, limit) = (usage.and_then(|u| u.memory), usage.and_then(|u| u.memory_limit));
    let percent = memory.zip(limit).map(|(memory, limit)| memory as f64 / (limit.max(1)) as f64 * 100.0);
    let (net, io) = (usage.and_then(|u| u.net), usage.and_then(|u| u.io));
    Sample {
        name: view.name.to_string(),
        state: view.state,
        cpu_percent: usage.zip(earlier).and_then(|(now, before)| now.cpu_percent(before)).map(hundredths),
        cpu_usec: usage.and_then(|u| u.cpu).map(|cpu| u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX)),
        cpu_throttled: usage.and_then(|u| u.throttled),
        memory,
        memory_limit: limit,
        memory_percent: percent.map(hundredths),
        net_rx: net.map(|net| net.input),
        net_tx: net.map(|net| net.output),
        io_read: io.map(|io| io.input),
        io_write: io.map(|io| io.output),
        tasks: usage.and_then(|u| u.tasks),
        tasks_limit: usage.and_then(|u| u.tasks_limit),
    }
}

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// The columns, in docker's words where it has them.
pub(crate) const COLUMNS: [&str; 7] = ["NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"];

impl Sample {
    /// What stands in the columns.
    pub(crate) fn cells(&self) -> [String; COLUMNS.len()] {
        let percent = |value: Option<f64>| value.map_or_else(nothing, |value| format!("{value:.2}%"));
        let pair = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (None, None) => nothing(),
            (a, b) => format!("{} / {}", a.map_or_else(nothing, size), b.map_or_else(nothing, size)),
        };
        [
            self.name.clone(),
            percent(self.cpu_percent),
            pair(self.memory, self.memory_limit),
            percent(self.memory_percent),
            pair(self.net_rx, self.net_tx),
            pair(self.io_read, self.io_write),
            self.tasks.map_or_else(nothing, |tasks| tasks.to_string()),
        ]
    }
}

fn nothing() -> String {
    "-".into()
}

/// Bytes with a unit, three digits: `61.4Mi`.
#[allow(clippy::cast_precision_loss, reason = "for people")]
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["", "Ki", "Mi", "Gi"] {
        if value < 1000.0 {
            let digits = if unit.is_empty() || value >= 99.95 {
                0
            } else if value >= 9.995 {
                1
            } else {
                2
            };
            return format!("{value:.digits$}{unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1}Ti")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "0.98Ki"),
            (64 << 20, "64.0Mi"),
            (459 << 20, "459Mi"),
            (1 << 30, "1.00Gi"),
            (1 << 44, "16.0Ti"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let view = View::unknown("web".parse().unwrap(), crate::error::Error::new("x"));
        let mut sample = sample(&view, None, None);
        assert_eq!(sample.cells(), ["web", "-", "-", "-", "-", "-", "-"]);
        let json = serde_json::to_value(&sample).unwrap();
        assert!(json["memory"].is_null() && json["cpu_percent"].is_null() && json["state"] == "unknown");
        sample.memory = Some(64 << 20);
        assert_eq!(sample.cells()[2], "64.0Mi / -");
    }
}
