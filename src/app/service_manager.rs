//! Reports to the service manager through `sd_notify(3)`: systemd with `Type=notify`. Does nothing without one.

use sd_notify::NotifyState;

use crate::telemetry::escape;

/// Reports that the server listens.
pub(super) fn notify_ready() {
    notify(&NotifyState::Ready);
}

/// Reports the state of the server, in one line.
pub(super) fn notify_status(status: &str) {
    notify(&NotifyState::Status(&escape::field(status)));
}

/// Reports that the server drains.
pub(super) fn notify_stopping() {
    notify_status("draining");
    notify(&NotifyState::Stopping);
}

fn notify(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        log::warn!(cause:% = error; "the service manager can't be notified");
    }
}
