//! The processes below this one.
//!
//! We deal only with direct children: until one is reaped, no other process can have its number, so no signal
//! reaches the wrong process. On Linux we adopt orphans, even from other sessions, so every process below us
//! becomes a direct child when those between have ended.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, waitid, waitpid,
};

use super::clearing::{Action, Clearing, Patience};
use super::group::signal_group;
use super::messages::Cleared;

/// How often to list the remaining processes while they are being stopped: nothing announces an orphan.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Adopts orphans from now on, if the system can do that.
///
/// # Errors
/// Linux refuses it.
pub(super) fn adopt_orphans() -> rustix::io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// Other systems than Linux show us only the processes that we started and the groups that they lead.
pub(super) fn adopts_orphans() -> bool {
    cfg!(target_os = "linux")
}

/// Returns all children, including zombies. Only Linux lists them, and only there we adopt any.
pub(super) fn children() -> Vec<Pid> {
    if cfg!(target_os = "linux") {
        children_by_thread().unwrap_or_else(children_by_parent)
    } else {
        vec![]
    }
}

/// Returns the running children that are not in `known`, and reaps those that have ended.
pub(super) fn others_that_live(known: &HashSet<Pid>) -> Vec<Pid> {
    settle(|| children().into_iter().filter(|pid| !known.contains(pid)).collect(), reap)
}

/// Lists children until the result is certain: one that ends after the listing may leave us an orphan that
/// was not listed.
fn settle(mut list: impl FnMut() -> Vec<Pid>, mut reap: impl FnMut(Pid) -> bool) -> Vec<Pid> {
    loop {
        let listed = list();
        let count = listed.len();
        let living: Vec<Pid> = listed.into_iter().filter(|pid| !reap(*pid)).collect();
        if count == 0 || !living.is_empty() {
            return living;
        }
    }
}

/// Reads the kernel's list, or returns `None` if the kernel was built without it.
fn children_by_thread() -> Option<Vec<Pid>> {
    let mut children = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        match std::fs::read_to_string(task.path().join("children")) {
            Ok(list) => children.extend(list.split_ascii_whitespace().filter_map(number)),
            // The thread has just ended.
            Err(_) if !task.path().exists() => {}
            Err(_) => return None,
        }
    }
    Some(children)
}

/// Searches all processes for those whose parent we are.
fn children_by_parent() -> Vec<Pid> {
    let ours = rustix::process::getpid();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = processes.filter_map(|entry| number(entry.file_name().to_str()?));
    all.filter(|pid| stat(*pid).and_then(|stat| parent(&stat)) == Some(ours)).collect()
}

fn number(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

/// Reads what the kernel knows about a process: `123 (name) S 1 …`.
fn stat(pid: Pid) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()
}

/// Finds the parent. The name of a process may contain parentheses.
fn parent(stat: &str) -> Option<Pid> {
    let (_, fields) = stat.rsplit_once(") ")?;
    number(fields.split(' ').nth(1)?)
}

/// Returns the name, if known, and the number of a process: `sleep (123)`.
fn name(pid: Pid) -> String {
    let stat = stat(pid).unwrap_or_default();
    let name = stat.split_once('(').and_then(|(_, rest)| Some(rest.rsplit_once(')')?.0));
    match name {
        Some(name) => format!("{name} ({})", pid.as_raw_pid()),
        None => format!("process {}", pid.as_raw_pid()),
    }
}

/// Returns the status of a child that has ended, in the encoding of `wait`, without reaping it.
///
/// # Errors
/// It is not our child, or was already reaped.
pub(super) fn status(pid: Pid) -> rustix::io::Result<Option<i32>> {
    look(pid, WaitIdOptions::NOWAIT)
}

/// Reaps a child if it has ended, and returns whether it has.
pub(super) fn reap(pid: Pid) -> bool {
    !matches!(look(pid, WaitIdOptions::empty()), Ok(None))
}

fn look(pid: Pid, more: WaitIdOptions) -> rustix::io::Result<Option<i32>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | more;
    let found = loop {
        match waitid(WaitId::Pid(pid), options) {
            Err(Errno::INTR) => {}
            found => break found?,
        }
    };
    let Some(found) = found else { return Ok(None) };
    match raw(found.exit_status(), found.terminating_signal()) {
        Some(status) => Ok(Some(status)),
        // It has neither, which must not look like success. The older call knows, but reaps the child.
        None => Ok(waitpid(Some(pid), WaitOptions::NOHANG)?.map(|(_, status)| status.as_raw())),
    }
}

/// Encodes a status as `wait` does. macOS returns exit codes of 24 bits.
fn raw(code: Option<i32>, signal: Option<i32>) -> Option<i32> {
    code.map(|code| (code & 0xff) << 8).or(signal)
}

/// Asks a child to stop.
fn ask(pid: Pid) {
    // It may already have ended.
    let _ = kill_process(pid, Signal::TERM);
}

/// Kills a child together with the group that it leads, so that none of it escapes by a fork.
pub(super) fn kill(pid: Pid) {
    let _ = signal_group(pid, Signal::KILL);
    let _ = kill_process(pid, Signal::KILL);
}

/// Stops the remaining processes, step by step.
#[derive(Debug)]
pub(super) struct Ending {
    clearing: Clearing,
    asked: HashSet<Pid>,
    /// With their names, which are unknown after their end.
    killed: Vec<(Pid, String)>,
}

impl Ending {
    pub(super) fn new(patience: Patience, now: Instant) -> Ending {
        Ending { clearing: Clearing::new(patience, now), asked: HashSet::new(), killed: vec![] }
    }

    /// Does the next step to the remaining children, of which we started some. `outlived` gets the names of
    /// all of them before the first one that should have ended by itself is asked or killed. Returns what
    /// became of them once all steps are done.
    pub(super) fn step(
        &mut self,
        started: &[Pid],
        all: &[Pid],
        now: Instant,
        outlived: impl FnOnce(Vec<String>),
    ) -> Option<Cleared> {
        let action = self.clearing.step(started.len(), all.len(), now);
        let names = || all.iter().copied().map(name).collect();
        if matches!(action, Action::AskAll | Action::Kill)
            && self.asked.is_empty()
            && self.killed.is_empty()
        {
            outlived(names());
        }
        match action {
            Action::Wait => {}
            Action::AskStarted => self.ask(started),
            Action::AskAll => {
                if !adopts_orphans() {
                    for pid in all {
                        // The group may be empty.
                        let _ = signal_group(*pid, Signal::TERM);
                    }
                }
                self.ask(all);
            }
            Action::Kill => self.kill(all),
            Action::End => {
                let killed = self.killed.iter().filter(|(pid, _)| !all.contains(pid));
                let killed = killed.map(|(_, name)| name.clone()).collect();
                return Some(Cleared { killed, left: names() });
            }
        }
        None
    }

    fn ask(&mut self, children: &[Pid]) {
        for pid in children {
            if self.asked.insert(*pid) {
                ask(*pid);
            }
        }
    }

    fn kill(&mut self, children: &[Pid]) {
        for pid in children {
            if self.killed.iter().all(|(killed, _)| killed != pid) {
                self.killed.push((*pid, name(*pid)));
            }
            kill(*pid);
        }
    }
}

/// Stops all children of this process. Nobody else may reap any of them meanwhile.
pub(super) fn clear(patience: Patience, mut outlived: impl FnMut(Vec<String>)) -> Cleared {
    let mut ending = Ending::new(patience, Instant::now());
    loop {
        let all = others_that_live(&HashSet::new());
        if let Some(cleared) = ending.step(&[], &all, Instant::now(), &mut outlived) {
            return cleared;
        }
        std::thread::sleep(TICK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn both_ways_to_list_children_agree() {
        let mut child =
            kcl_fixtures::command("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(children_by_thread().is_none_or(|children| children.contains(&pid)));
        assert!(children_by_parent().contains(&pid));
        assert_eq!(name(pid), format!("cat ({})", child.id()));
        assert_eq!(status(pid), Ok(None));
        kill(pid);
        while status(pid) == Ok(None) {
            std::thread::yield_now();
        }
        assert_eq!(status(pid), Ok(Some(9)));
        child.wait().unwrap();
        assert!(!children_by_parent().contains(&pid));
        assert_eq!(status(pid), Err(Errno::CHILD));
        assert_eq!(name(pid), format!("process {}", child.id()));
    }

    #[test]
    fn child_that_ends_during_the_listing_may_leave_an_orphan() {
        let pid = |number| Pid::from_raw(number).unwrap();
        // The first three have ended by the time that they are reaped.
        let mut lists = vec![vec![pid(3), pid(4)], vec![pid(2)], vec![pid(1)]];
        let mut reaped = vec![];
        let living = settle(
            || lists.pop().unwrap(),
            |pid| {
                let has_ended = pid.as_raw_pid() != 4;
                has_ended.then(|| reaped.push(pid.as_raw_pid()));
                has_ended
            },
        );
        assert_eq!(living, [pid(4)]);
        assert_eq!(reaped, [1, 2, 3]);
        assert_eq!(settle(Vec::new, |_| true), []);
    }

    #[test]
    fn missing_status_is_not_success() {
        assert_eq!(raw(Some(0), None), Some(0));
        assert_eq!(raw(Some(0x12_3403), None), Some(0x300));
        assert_eq!(raw(None, Some(9)), Some(9));
        assert_eq!(raw(None, None), None);
    }

    #[test]
    fn name_may_contain_parentheses() {
        assert_eq!(parent("7 (a) b) 1 (c) S 42 7 7 0 -1"), Pid::from_raw(42));
        for broken in ["", "7", "7 (a", "7 (a)", "7 (a) ", "7 (a) S", "7 (a) S x"] {
            assert_eq!(parent(broken), None, "{broken}");
        }
    }
}
