//! What a child and the processes below it have used, as the system tells.
//!
//! A child may be a shell script or a launcher, so its descendants count as the child. What a
//! descendant used that has ended before we looked is not seen. What the system does not tell is
//! `None`, never 0.

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(target_os = "macos", path = "macos.rs")]
#[cfg_attr(not(any(target_os = "linux", target_os = "macos")), path = "elsewhere.rs")]
mod system;

pub(crate) use system::{cpu, memory};

/// Memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident, with all of what is shared with other processes.
    pub(crate) rss: Option<u64>,
    /// Resident, with its share of what is shared: sums of it are what a machine needs.
    pub(crate) pss: Option<u64>,
    /// The most that was resident.
    pub(crate) peak: Option<u64>,
}

impl Memory {
    /// Of several children together; the peak is the largest of one. What is not known of one is not
    /// known of all.
    pub(crate) fn of_all(children: &[Memory]) -> Memory {
        let peaks: Option<Vec<_>> = children.iter().map(|memory| memory.peak).collect();
        Memory {
            rss: children.iter().map(|memory| memory.rss).sum(),
            pss: children.iter().map(|memory| memory.pss).sum(),
            peak: peaks.and_then(|peaks| peaks.into_iter().max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::Stdio;
    use std::time::Duration;

    use super::*;

    #[test]
    fn cpu_time_of_ourselves() {
        let us = std::process::id();
        let tells = cfg!(any(target_os = "linux", target_os = "macos"));
        assert_eq!(cpu(us).is_some(), tells);
        let before = cpu(us).unwrap_or_default();
        let mut sum = 0u64;
        while cpu(us).is_some_and(|now| now < before + Duration::from_millis(20)) {
            sum = std::hint::black_box(sum + 1);
        }
    }

    /// The figures come from two files, so only those of an idle process fit together.
    #[test]
    fn memory_of_an_idle_process() {
        let mut cat = kcl_fixtures::command("cat");
        let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        cat.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        // Now it waits for more.
        cat.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let Memory { rss, pss, peak } = memory(cat.id());
        drop(cat.stdin.take());
        cat.wait().unwrap();
        assert_eq!(rss.is_some(), cfg!(any(target_os = "linux", target_os = "macos")));
        assert_eq!([pss, peak].map(|value| value.is_some()), [cfg!(target_os = "linux"); 2]);
        // `None` is less than any number.
        assert!(rss != Some(0) && pss <= rss && (peak.is_none() || rss <= peak));
    }

    #[test]
    fn of_several_children() {
        let memory = |rss, pss, peak| Memory { rss: Some(rss), pss, peak: Some(peak) };
        let children = [memory(1, Some(1), 5), memory(2, Some(1), 3)];
        assert_eq!(Memory::of_all(&children), memory(3, Some(2), 5));
        let children = [memory(1, None, 5), memory(2, Some(1), 7)];
        assert_eq!(Memory::of_all(&children), memory(3, None, 7));
    }

    #[test]
    fn of_a_process_that_is_gone() {
        let mut child = kcl_fixtures::command("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!((cpu(child.id()), memory(child.id())), (None, Memory::default()));
    }
}
