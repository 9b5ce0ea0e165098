//! Signals to process groups, and how systems differ there.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// Sends a signal to all processes of a group. An empty group is not an error.
///
/// # Errors
/// We may not send signals to any of them.
pub(super) fn signal_group(group: Pid, signal: Signal) -> rustix::io::Result<()> {
    match kill_process_group(group, signal) {
        Err(error) if means_nobody(error, ZOMBIES_ARE_FORBIDDEN) => Ok(()),
        sent => sent,
    }
}

/// Whether no process of a group is left. Some systems count zombies, so reap children first.
pub(super) fn is_group_gone(group: Pid) -> bool {
    let asked = test_kill_process_group(group);
    asked.is_err_and(|error| means_nobody(error, ZOMBIES_ARE_FORBIDDEN))
}

/// macOS answers EPERM if a group has only zombies. It answers the same if it has only processes of other
/// users, which then count as none.
const ZOMBIES_ARE_FORBIDDEN: bool = cfg!(target_vendor = "apple");

fn means_nobody(error: Errno, zombies_are_forbidden: bool) -> bool {
    error == Errno::SRCH || zombies_are_forbidden && error == Errno::PERM
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;

    #[test]
    fn group_is_gone_when_its_last_process_is_reaped() {
        let mut child = kcl_fixtures::command("cat")
            .stdin(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let group = Pid::from_child(&child);
        assert!(!is_group_gone(group));
        signal_group(group, Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(is_group_gone(group));
        signal_group(group, Signal::KILL).unwrap();
    }

    #[test]
    fn eperm_means_an_empty_group_only_on_macos() {
        assert!(means_nobody(Errno::SRCH, false) && means_nobody(Errno::SRCH, true));
        assert!(!means_nobody(Errno::PERM, false) && means_nobody(Errno::PERM, true));
        assert!(!means_nobody(Errno::INVAL, true));
    }
}
