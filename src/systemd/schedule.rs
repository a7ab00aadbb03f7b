//! The timer of a machine that the calendar starts: `kraft-NAME.timer`.
//!
//! The anchor wants it, so that it is active from the machine's creation to its removal, whether the machine runs or not;
//! a timer starts the service of its own name. While the machine runs already, it does nothing.

use jiff::Timestamp;

use super::definition::Definition;
use super::manager::Interface;
use super::service::SystemdService;
use super::stop::STOP_LIMIT;
use super::unit;
use crate::error::{Error, Result};
use crate::machine::{MachineName, Manager, Record};

/// How much later than asked a machine may be started. systemd's default, a minute, is for what nobody waits for.
const ACCURACY: &str = "1s";

/// The timer's name.
pub(super) fn name_of(machine: &MachineName) -> String {
    format!("kraft-{machine}.timer")
}

/// The timer of a machine, if it has one.
pub fn timer_name(record: &Record) -> Option<String> {
    let has = record.manager == Manager::Systemd && !record.spec.on_calendar.is_empty();
    has.then(|| name_of(&record.spec.name))
}

/// The timer as a unit, for the machine's anchor.
pub(super) fn timer(record: &Record) -> Result<Option<Definition>> {
    let spec = &record.spec;
    if spec.on_calendar.is_empty() {
        return Ok(None);
    }
    let mut timer = Definition::new(name_of(&spec.name));
    timer.required("Description", format!("When unikernel {} starts", spec.name));
    // It ends before its anchor does: when that is down, so is this.
    timer.required("After", unit::slice_name(&spec.name, spec.slice.as_deref())?);
    for expression in &spec.on_calendar {
        timer.required("OnCalendar", &**expression);
    }
    timer.optional("AccuracySec", ACCURACY);
    Ok(Some(timer))
}

/// An error about a machine's units that may be about its times, of which systemd does not say which it does not take.
pub(super) fn explained(error: Error, record: &Record) -> Error {
    if record.spec.on_calendar.is_empty() || !error.to_string().to_ascii_lowercase().contains("calendar") {
        return error;
    }
    let given: Vec<String> = record.spec.on_calendar.iter().map(|text| format!("'{}'", text.escape_debug())).collect();
    Error::new(format!("systemd takes no such calendar expression: {}", given.join(", ")))
        .with_hint("`systemd-analyze calendar EXPR` tells what an expression means")
}

impl SystemdService {
    /// Has the calendar not start the machine any more, which is about to go.
    pub(super) fn stop_timer(&self, record: &Record) -> Result<()> {
        match timer_name(record) {
            Some(timer) => Ok(self.manager.borrow_mut().stop_and_wait(&timer, STOP_LIMIT)?),
            None => Ok(()),
        }
    }

    /// When the machine's timer starts it next; `None` if it has none, or it is not known.
    pub fn next_start(&self, record: &Record) -> Option<Timestamp> {
        let timer = timer_name(record)?;
        let asked = [(Interface::Timer, "NextElapseUSecRealtime")];
        let answers = self.manager.borrow_mut().properties(&timer, &asked).ok()?;
        let micros = answers.into_iter().next().flatten()?.downcast_ref::<u64>().ok()?;
        i64::try_from(micros).ok().filter(|&micros| micros > 0).and_then(|at| Timestamp::from_microsecond(at).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{MachineId, Spec};

    #[test]
    fn a_timer_and_its_file() {
        let mut record = Record {
            schema: crate::machine::SCHEMA,
            id: MachineId::from_bytes([7; 16]),
            created: Timestamp::UNIX_EPOCH,
            manager: Manager::Systemd,
            stale: false,
            spec: Spec::example("web-1"),
        };
        assert_eq!((timer(&record).unwrap(), timer_name(&record)), (None, None));
        record.spec.on_calendar = vec!["Mon..Fri 10:00".into(), "hourly".into()];
        let timer = timer(&record).unwrap().unwrap();
        assert_eq!(
            timer.to_file(),
            "[Unit]\nDescription=When unikernel web-1 starts\nAfter=kraft-web\\x2d1.slice\n\n\
             [Timer]\nOnCalendar=Mon..Fri 10:00\nOnCalendar=hourly\nAccuracySec=1s\n"
        );
        let unit = timer.to_unit().unwrap();
        let calendar = |expression: &str| vec![("OnCalendar".to_owned(), expression.to_owned())].into();
        let set: Vec<_> = unit.properties.iter().map(|property| (property.name.as_str(), &property.value)).collect();
        assert_eq!(set[2], ("TimersCalendar", &calendar("Mon..Fri 10:00")));
        assert_eq!(set[3], ("TimersCalendar", &calendar("hourly")));
        assert_eq!(set[4], ("AccuracyUSec", &1_000_000u64.into()));
        assert_eq!(timer_name(&record).unwrap(), "kraft-web-1.timer");
    }
}
