//! The signal dispositions that we inherit from our caller.

use std::sync::Arc;

use signal_hook::consts::SIGCHLD;

/// Returns those of these signals that our caller makes us ignore, as `nohup` does with SIGHUP. It must be
/// called before they are handled.
pub(crate) fn ignored(signals: &[i32]) -> Vec<i32> {
    signals.iter().copied().filter(system::ignored(signals)).collect()
}

/// Makes the system keep the exit statuses of our children even if our caller ignores SIGCHLD, which would
/// discard them. An empty handler is enough; children get the default again.
pub(crate) fn keep_statuses_of_children() {
    // If it fails, a missing status is reported later.
    let _ = signal_hook::flag::register(SIGCHLD, Arc::default());
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;

    pub(super) fn ignored(_: &[i32]) -> impl Fn(&i32) -> bool + use<> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        // Bit n-1 is signal n.
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        move |signal| mask >> (signal - 1) & 1 == 1
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::process::{Command, Stdio};

    pub(super) fn ignored(signals: &[i32]) -> impl Fn(&i32) -> bool + use<> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &super::shell::script(signals)]);
        let output = shell.stdin(Stdio::null()).stderr(Stdio::null()).output();
        // If the shell fails, assume that none is ignored.
        let output = output.ok().filter(|output| output.status.success());
        let caught = output.map(|output| super::shell::caught(&output.stdout));
        move |signal| caught.as_ref().is_some_and(|caught| !caught.contains(signal))
    }
}

/// Asks a shell, because only unsafe code could ask the system. The shell inherits what we ignore, and cannot
/// trap signals that were ignored when it started (POSIX, `trap`).
#[cfg(any(test, not(target_os = "linux")))]
mod shell {
    use std::fmt::Write as _;

    /// Prints the number of each signal that can be caught.
    pub(super) fn script(signals: &[i32]) -> String {
        let mut script = String::new();
        for signal in signals {
            let name = signal_hook::low_level::signal_name(*signal).unwrap_or_default();
            let name = name.trim_start_matches("SIG");
            // Writing to a string does not fail.
            let _ = writeln!(script, "trap 'echo {signal}' {name}; kill -s {name} $$");
        }
        script
    }

    pub(super) fn caught(output: &[u8]) -> Vec<i32> {
        let output = String::from_utf8_lossy(output);
        output.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

    use super::*;

    #[test]
    fn shell_knows_which_signals_are_ignored() {
        let all = [SIGTERM, SIGALRM, SIGUSR1, SIGUSR2, SIGINT, SIGQUIT, SIGHUP];
        for (caller, ignored) in [
            ("", vec![]),
            ("trap '' HUP;", vec![SIGHUP]),
            ("trap '' INT QUIT;", vec![SIGINT, SIGQUIT]),
            ("trap '' TERM ALRM USR1 USR2 INT QUIT HUP;", all.to_vec()),
        ] {
            let caller = format!("{caller} exec /bin/sh -c \"$0\"");
            let mut shell = kcl_fixtures::command("/bin/sh");
            let output = shell.args(["-c", &caller, &shell::script(&all)]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let caught = shell::caught(&output.stdout);
            let expected: Vec<_> =
                all.into_iter().filter(|signal| !ignored.contains(signal)).collect();
            assert_eq!(caught, expected, "{caller}");
        }
    }
}
