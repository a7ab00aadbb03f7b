//! What a runner tells its manager, by sd_notify: the same under systemd and under the local launcher.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::machine::Exit;

/// Speaks to `$NOTIFY_SOCKET`, or to nobody.
#[derive(Debug)]
pub(super) struct Notifier {
    watchdog: Option<Duration>,
}

impl Notifier {
    pub(super) fn new() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled() }
    }

    /// How often the manager wants to hear that all is well, if it does.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    pub(super) fn status(&self, text: &str) {
        send(&[NotifyState::Status(text)]);
    }

    pub(super) fn ready(&self, text: &str) {
        send(&[NotifyState::Ready, NotifyState::Status(text)]);
    }

    pub(super) fn stopping(&self, text: &str, within: Duration) {
        send(&[NotifyState::Stopping, NotifyState::Status(text), extend(within)]);
    }

    /// Something takes this much longer.
    pub(super) fn extend(&self, text: &str, within: Duration) {
        send(&[NotifyState::Status(text), extend(within)]);
    }

    pub(super) fn alive(&self) {
        send(&[NotifyState::Watchdog]);
    }

    pub(super) fn ended(&self, exit: &Exit) {
        send(&[NotifyState::Status(&format!("{exit}"))]);
    }
}

fn extend(within: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(within.as_micros()).unwrap_or(u32::MAX))
}

/// A manager that does not listen changes nothing for the guest.
fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("cannot notify the manager: {error}");
    }
}
