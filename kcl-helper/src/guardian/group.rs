//! Process groups, where systems differ in what they say of one.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// Sends a signal to all of a group, which may have ended meanwhile.
///
/// # Errors
/// Nobody in the group may be signalled by us.
pub(super) fn signal_group(group: Pid, signal: Signal) -> rustix::io::Result<()> {
    match kill_process_group(group, signal) {
        Err(error) if means_nobody(error, ZOMBIES_ARE_FORBIDDEN) => Ok(()),
        sent => sent,
    }
}

/// Whether nobody of a group is left. Zombies may count as somebody: who has started them reaps
/// them first.
pub(super) fn is_group_gone(group: Pid) -> bool {
    let asked = test_kill_process_group(group);
    asked.is_err_and(|error| means_nobody(error, ZOMBIES_ARE_FORBIDDEN))
}

/// macOS leaves zombies out and answers EPERM where they are all that there is. It answers the same
/// for living processes of other users, which then cannot be told from none.
const ZOMBIES_ARE_FORBIDDEN: bool = cfg!(target_vendor = "apple");

fn means_nobody(error: Errno, zombies_are_forbidden: bool) -> bool {
    error == Errno::SRCH || zombies_are_forbidden && error == Errno::PERM
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;

    #[test]
    fn a_group_is_gone_once_its_last_process_is_reaped() {
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
    fn forbidden_means_nobody_only_where_zombies_are() {
        assert!(means_nobody(Errno::SRCH, false) && means_nobody(Errno::SRCH, true));
        assert!(!means_nobody(Errno::PERM, false) && means_nobody(Errno::PERM, true));
        assert!(!means_nobody(Errno::INVAL, true));
    }
}
