//! The processes below this one, however they came there.
//!
//! Only direct children are looked at: as long as nobody has waited for one, its number is its own,
//! so no signal reaches a stranger. On Linux every process below us becomes a child of ours as soon
//! as those between have ended, since we adopt orphans, those in sessions of their own too.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, waitid, waitpid,
};

use super::clearing::{Action, Clearing, Patience};
use super::group::signal_group;
use super::messages::Cleared;

/// How often to look at what is left while it is being ended: an orphan comes without a word.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Adopts orphans from now on, where the system lets us.
///
/// # Errors
/// It is Linux, and does not let us.
pub(super) fn adopt_orphans() -> rustix::io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// Elsewhere than on Linux we see what we have started alone, and the groups that it leads.
pub(super) fn adopts_orphans() -> bool {
    cfg!(target_os = "linux")
}

/// All children, ended ones among them. Elsewhere than on Linux nobody tells, and none is adopted.
pub(super) fn children() -> Vec<Pid> {
    if cfg!(target_os = "linux") {
        children_by_thread().unwrap_or_else(children_by_parent)
    } else {
        vec![]
    }
}

/// The children that live and are not in `known`; those that have ended are forgotten.
pub(super) fn others_that_live(known: &HashSet<Pid>) -> Vec<Pid> {
    settle(|| children().into_iter().filter(|pid| !known.contains(pid)).collect(), reap)
}

/// Lists children until an empty list can be believed: one that ends after it was listed may have
/// left us a child of its own, which the list does not have.
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

/// As the kernel lists them. `None` where it was built without that.
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

/// Of all processes, those whose parent we are.
fn children_by_parent() -> Vec<Pid> {
    let ours = rustix::process::getpid();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = processes.filter_map(|entry| number(entry.file_name().to_str()?));
    all.filter(|pid| stat(*pid).and_then(|stat| parent(&stat)) == Some(ours)).collect()
}

fn number(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

/// A process as the kernel tells of it: `123 (name) S 1 …`.
fn stat(pid: Pid) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()
}

/// Any program may give itself a name with a parenthesis in it.
fn parent(stat: &str) -> Option<Pid> {
    let (_, fields) = stat.rsplit_once(") ")?;
    number(fields.split(' ').nth(1)?)
}

/// Its number, and its name where that can be known: `sleep (123)`.
fn name(pid: Pid) -> String {
    let stat = stat(pid).unwrap_or_default();
    let name = stat.split_once('(').and_then(|(_, rest)| Some(rest.rsplit_once(')')?.0));
    match name {
        Some(name) => format!("{name} ({})", pid.as_raw_pid()),
        None => format!("process {}", pid.as_raw_pid()),
    }
}

/// The status of a child that has ended, as `wait` has it. The child keeps its number.
///
/// # Errors
/// It is no child of ours, or somebody has waited for it.
pub(super) fn status(pid: Pid) -> rustix::io::Result<Option<i32>> {
    look(pid, WaitIdOptions::NOWAIT)
}

/// Whether a child has ended; then it is gone.
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
        // Neither, which must not pass for a good end: the older call tells, and forgets the child.
        None => Ok(waitpid(Some(pid), WaitOptions::NOHANG)?.map(|(_, status)| status.as_raw())),
    }
}

/// The status as `wait` has it. macOS gives exit codes of 24 bits.
fn raw(code: Option<i32>, signal: Option<i32>) -> Option<i32> {
    code.map(|code| (code & 0xff) << 8).or(signal)
}

/// Asks a child to end.
fn tell(pid: Pid) {
    // It may just have ended.
    let _ = kill_process(pid, Signal::TERM);
}

/// Kills a child and, at once, so that none escapes by a fork, the group that it leads.
pub(super) fn kill(pid: Pid) {
    let _ = signal_group(pid, Signal::KILL);
    let _ = kill_process(pid, Signal::KILL);
}

/// What is left is being ended.
#[derive(Debug)]
pub(super) struct Ending {
    clearing: Clearing,
    told: HashSet<Pid>,
    /// With their names, which nobody can learn later.
    killed: Vec<(Pid, String)>,
}

impl Ending {
    pub(super) fn new(patience: Patience, now: Instant) -> Ending {
        Ending { clearing: Clearing::new(patience, now), told: HashSet::new(), killed: vec![] }
    }

    /// Does what is due to the children that are left, of which we have started some. `outlived` is
    /// told of all before the first one is asked or killed that should have ended by itself. Gives
    /// what became of them at the end.
    pub(super) fn step(
        &mut self,
        started: &[Pid],
        all: &[Pid],
        now: Instant,
        outlived: impl FnOnce(Vec<String>),
    ) -> Option<Cleared> {
        let action = self.clearing.step(started.len(), all.len(), now);
        let names = || all.iter().copied().map(name).collect();
        if matches!(action, Action::Tell | Action::Kill)
            && self.told.is_empty()
            && self.killed.is_empty()
        {
            outlived(names());
        }
        match action {
            Action::Wait => {}
            Action::Ask => self.tell(started),
            Action::Tell => {
                if !adopts_orphans() {
                    for pid in all {
                        // Nobody may be left in it.
                        let _ = signal_group(*pid, Signal::TERM);
                    }
                }
                self.tell(all);
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

    fn tell(&mut self, children: &[Pid]) {
        for pid in children {
            if self.told.insert(*pid) {
                tell(*pid);
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

/// Ends all children of this process; nobody else may wait for one of them meanwhile.
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
    fn both_ways_to_find_children_find_the_same() {
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
    fn one_that_ends_while_we_look_leaves_another() {
        let pid = |number| Pid::from_raw(number).unwrap();
        // Each has ended by the time that it is asked for, up to the third.
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
    fn an_answer_without_a_status_is_no_good_end() {
        assert_eq!(raw(Some(0), None), Some(0));
        assert_eq!(raw(Some(0x12_3403), None), Some(0x300));
        assert_eq!(raw(None, Some(9)), Some(9));
        assert_eq!(raw(None, None), None);
    }

    #[test]
    fn a_name_may_have_anything_in_it() {
        assert_eq!(parent("7 (a) b) 1 (c) S 42 7 7 0 -1"), Pid::from_raw(42));
        for broken in ["", "7", "7 (a", "7 (a)", "7 (a) ", "7 (a) S", "7 (a) S x"] {
            assert_eq!(parent(broken), None, "{broken}");
        }
    }
}
