//! The cores that we and the children run on.

use crate::error::{Error, Exit, Result};

/// The first core is ours, and the children are spread over the others. A single one is for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cpus {
    ours: usize,
    theirs: Vec<usize>,
}

impl Cpus {
    pub(crate) fn parse(text: &str) -> Result<Cpus, String> {
        let cpus = text
            .split(',')
            .map(|cpu| cpu.parse().ok().filter(|cpu| *cpu < system::CORES))
            .collect::<Option<Vec<usize>>>()
            .ok_or("write the numbers of cores, such as 0 or 0,1")?;
        match *cpus {
            [] => Err("write the numbers of cores, such as 0 or 0,1".into()),
            [all] => Ok(Cpus { ours: all, theirs: vec![all] }),
            [ours, ref theirs @ ..] => Ok(Cpus { ours, theirs: theirs.to_vec() }),
        }
    }

    /// Checks that this process may run on all of them.
    pub(crate) fn check(&self) -> Result<()> {
        let allowed = system::allowed()?;
        match [self.ours].iter().chain(&self.theirs).find(|cpu| !allowed.contains(cpu)) {
            None => Ok(()),
            Some(cpu) => {
                let all: Vec<_> = allowed.iter().map(usize::to_string).collect();
                let why = "it is not available to this process";
                Err(Error::new(Exit::Usage, format!("cannot use core {cpu}"))
                    .because(why)
                    .hint(format!("choose from {}", all.join(","))))
            }
        }
    }

    /// Describes who runs where.
    pub(crate) fn words(&self) -> String {
        let theirs: Vec<_> = self.theirs.iter().map(usize::to_string).collect();
        format!("driver on core {}, children on {}", self.ours, theirs.join(","))
    }

    /// Moves the calling thread to our core.
    pub(crate) fn move_here(&self) -> Result<()> {
        system::move_to(self.ours)
    }

    /// Returns the core of a shard's child.
    pub(crate) fn of_child(&self, shard: u32) -> usize {
        self.theirs[shard as usize % self.theirs.len()]
    }
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use crate::error::{Error, Exit, Result};

    pub(super) const CORES: usize = CpuSet::MAX_CPU;

    pub(super) fn allowed() -> Result<Vec<usize>> {
        let allowed = sched_getaffinity(None).map_err(cannot)?;
        Ok((0..CORES).filter(|cpu| allowed.is_set(*cpu)).collect())
    }

    pub(super) fn move_to(cpu: usize) -> Result<()> {
        let mut set = CpuSet::new();
        set.set(cpu);
        sched_setaffinity(None, &set).map_err(cannot)
    }

    fn cannot(error: rustix::io::Errno) -> Error {
        Error::new(Exit::Environment, "cannot choose cores").because(error)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use crate::error::{Error, Exit, Result};

    pub(super) const CORES: usize = 1024;

    pub(super) fn allowed() -> Result<Vec<usize>> {
        let system = std::env::consts::OS;
        let message = format!("cannot choose cores: {system} decides where threads run");
        Err(Error::new(Exit::Usage, message).hint("leave --cpus out"))
    }

    pub(super) fn move_to(_: usize) -> Result<()> {
        allowed().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_core_is_ours_and_a_single_one_is_for_all() {
        assert_eq!(Cpus::parse("3"), Ok(Cpus { ours: 3, theirs: vec![3] }));
        assert_eq!(Cpus::parse("0,1,2"), Ok(Cpus { ours: 0, theirs: vec![1, 2] }));
        for bad in ["", "a", "0,", "-1", "99999", "0-1", "0, 1"] {
            assert!(Cpus::parse(bad).is_err(), "{bad}");
        }
    }
}
