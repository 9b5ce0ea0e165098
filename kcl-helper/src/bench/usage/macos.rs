//! macOS: what its libproc tells, read and converted by a crate, as doing so takes unsafe code.

use std::collections::HashSet;
use std::time::Duration;

use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System};

use super::Memory;

/// CPU time of all threads, in milliseconds.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    let millis = sum(pid, Process::accumulated_cpu_time)?;
    Some(Duration::from_millis(millis))
}

/// What is shared and what the peak was can only be had by the process itself.
pub(crate) fn memory(pid: u32) -> Memory {
    Memory { rss: sum(pid, Process::memory), pss: None, peak: None }
}

/// A value of the process and of all below it.
fn sum(pid: u32, value: impl Fn(&Process) -> u64) -> Option<u64> {
    let mut system = System::new();
    let kind = ProcessRefreshKind::nothing().with_cpu().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::All, false, kind);
    let pid = Pid::from_u32(pid);
    // Both values are 0 where they cannot be read, and for the dead.
    let own = system.process(pid).map(&value).filter(|value| *value > 0)?;
    let mut family = HashSet::from([pid]);
    let mut sum = own;
    loop {
        let is_new = |process: &&Process| {
            let parent = process.parent();
            !family.contains(&process.pid()) && parent.is_some_and(|pid| family.contains(&pid))
        };
        let below: Vec<_> = system.processes().values().filter(is_new).collect();
        if below.is_empty() {
            return Some(sum);
        }
        sum += below.iter().map(|process| value(process)).sum::<u64>();
        family.extend(below.iter().map(|process| process.pid()));
    }
}
