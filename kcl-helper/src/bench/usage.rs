//! What a child and the processes below it have used, as the kernel tells.
//!
//! A child may be a shell script or a launcher, so its descendants count as the child. What a
//! descendant used that has ended before we looked is not seen.

use std::fs;
use std::time::Duration;

use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// Memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident, with all of what is shared with other processes.
    pub(crate) rss: u64,
    /// Resident, with its share of what is shared: sums of it are what a machine needs.
    pub(crate) pss: u64,
    /// The most that was resident (`VmHWM`).
    pub(crate) peak: u64,
}

/// CPU time of all threads, in nanoseconds as the scheduler counts them.
pub(crate) fn cpu(pid: u32) -> Duration {
    let clock = |pid: &u32| {
        let pid = Pid::from_raw(i32::try_from(*pid).ok()?);
        let time = clock_getcpuclockid(pid).and_then(nix::time::ClockId::now).ok()?;
        Some(Duration::from(time))
    };
    family(pid).iter().filter_map(clock).sum()
}

pub(crate) fn memory(pid: u32) -> Memory {
    let mut sum = Memory::default();
    for pid in family(pid) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        sum.rss += field(&status, "VmRSS:");
        sum.peak += field(&status, "VmHWM:");
        sum.pss += field(&rollup, "Pss:");
    }
    sum
}

/// The value of a line such as `VmHWM:     1234 kB`, in bytes; 0 if there is none.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// The process and all below it.
fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(pid) = family.get(next) {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            family.extend(
                children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        next += 1;
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ourselves() {
        let before = cpu(std::process::id());
        let mut sum = 0u64;
        while cpu(std::process::id()) < before + Duration::from_millis(20) {
            sum = std::hint::black_box(sum + 1);
        }
        let memory = memory(std::process::id());
        assert!(memory.pss > 0 && memory.pss <= memory.rss && memory.rss <= memory.peak);
    }

    #[test]
    fn fields() {
        let text = "Name:\tx\nVmHWM:\t    1234 kB\nVmRSS:\t     7 kB\n";
        assert_eq!((field(text, "VmHWM:"), field(text, "VmRSS:")), (1234 << 10, 7 << 10));
        assert_eq!(field(text, "Pss:"), 0);
    }
}
