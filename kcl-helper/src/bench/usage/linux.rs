//! Linux: /proc, and the CPU clock that each process has.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

use super::Memory;

/// CPU time of all threads, in nanoseconds as the scheduler counts them.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    let clock = |pid: u32| {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?);
        let time = clock_getcpuclockid(pid).and_then(ClockId::now).ok()?;
        Some(Duration::from(time))
    };
    let own = clock(pid)?;
    // A descendant may have ended since it was found.
    Some(own + descendants(pid).into_iter().filter_map(clock).sum())
}

pub(crate) fn memory(pid: u32) -> Memory {
    let Some(mut sum) = of_one(pid) else { return Memory::default() };
    for memory in descendants(pid).into_iter().filter_map(of_one) {
        let add = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
        sum.rss = add(sum.rss, memory.rss);
        sum.pss = add(sum.pss, memory.pss);
        sum.peak = add(sum.peak, memory.peak);
    }
    sum
}

/// `None` once the process has ended, even if its status has not been taken yet.
fn of_one(pid: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rss = field(&status, "VmRSS:")?;
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
    Some(Memory {
        rss: Some(rss),
        // It may be hidden from us, or too new for this kernel.
        pss: rollup.ok().and_then(|rollup| field(&rollup, "Pss:")),
        peak: field(&status, "VmHWM:"),
    })
}

/// The value of a line such as `VmHWM:     1234 kB`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number = line.split_ascii_whitespace().next()?;
    number.parse::<u64>().ok()?.checked_mul(1 << 10)
}

/// All processes below one.
fn descendants(pid: u32) -> Vec<u32> {
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
    family.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let text = "Name:\tx\nVmHWM:\t    1234 kB\nVmRSS:\t     7 kB\nVmSwap:\t  x kB\n";
        assert_eq!(field(text, "VmHWM:"), Some(1234 << 10));
        assert_eq!(field(text, "VmRSS:"), Some(7 << 10));
        assert_eq!((field(text, "Pss:"), field(text, "VmSwap:")), (None, None));
    }

    #[test]
    fn what_a_child_starts_counts_as_the_child() {
        let mut child = kcl_fixtures::command("sh")
            .args(["-c", "cat; exit"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        while descendants(child.id()).is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (own, all) = (of_one(child.id()).unwrap(), memory(child.id()));
        assert!(all.rss > own.rss && all.peak > own.peak);
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
