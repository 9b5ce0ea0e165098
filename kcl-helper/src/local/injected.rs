//! Faults that a run injects on request: `--fault NAME[@[SHARD:]N][xCOUNT]`.

use std::fmt;

use kcl_protocol::CheckpointError;

use crate::child::faults::checkpoint_error;
use crate::output::count;

/// A fault as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InjectedFault {
    text: String,
    kind: Kind,
    /// Without it the fault happens to every shard.
    pub(crate) shard: Option<u32>,
    at: u64,
    count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Checkpoint(CheckpointFault),
    Record(RecordFault),
}

/// What happens to checkpoint requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CheckpointFault {
    Refused(CheckpointError),
    Unanswered,
}

/// What happens to the child that gets a record. A new child takes its place, from the checkpoint on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordFault {
    /// Another worker takes the lease, after the batch.
    LeaseLost,
    /// The child is asked to shut down, after the batch.
    Handoff,
    /// The child is killed at its first answer in the batch: a checkpoint request or the status.
    Killed,
}

const HELP: &str =
    "write NAME, NAME@N or NAME@SHARD:N, with xCOUNT to repeat it, such as throttled@3x2";

impl InjectedFault {
    /// Parses `throttled`, `killed@500`, `lease-lost@1:500`, `throttled@3x2`.
    pub(crate) fn parse(text: &str) -> Result<InjectedFault, String> {
        // No name of a fault ends in `x` and digits.
        let (rest, count) = match text.rsplit_once('x') {
            Some((rest, count))
                if !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                (rest, positive(count)?)
            }
            _ => (text, 1),
        };
        let (name, place) =
            rest.split_once('@').map_or((rest, None), |(name, at)| (name, Some(at)));
        let (shard, at) = match place.map(|place| place.split_once(':').ok_or(place)) {
            None => (None, 1),
            Some(Err(at)) => (None, positive(at)?),
            Some(Ok((shard, at))) => (Some(shard.parse().map_err(|_| HELP)?), positive(at)?),
        };
        Ok(InjectedFault { text: text.into(), kind: Kind::from_name(name)?, shard, at, count })
    }
}

fn positive(number: &str) -> Result<u64, String> {
    number.parse().ok().filter(|number| *number > 0).ok_or_else(|| HELP.into())
}

impl Kind {
    fn from_name(name: &str) -> Result<Kind, String> {
        if let Some(error) = checkpoint_error(name) {
            return Ok(Kind::Checkpoint(CheckpointFault::Refused(error)));
        }
        Ok(match name {
            "unanswered" => Kind::Checkpoint(CheckpointFault::Unanswered),
            "lease-lost" => Kind::Record(RecordFault::LeaseLost),
            "handoff" => Kind::Record(RecordFault::Handoff),
            "killed" => Kind::Record(RecordFault::Killed),
            _ => {
                return Err("faults are throttled, dependency, invalid-state, shutdown, \
                            illegal-argument, unanswered, lease-lost, handoff and killed"
                    .into());
            }
        })
    }
}

impl fmt::Display for InjectedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--fault {}", self.text)
    }
}

/// The faults of one shard, and what has happened so far.
#[derive(Debug, Default)]
pub(crate) struct FaultPlan {
    faults: Vec<Planned>,
    /// Checkpoint requests and records so far.
    checkpoints: u64,
    records: u64,
}

#[derive(Debug)]
struct Planned {
    fault: InjectedFault,
    /// How often it has happened.
    happened: u64,
}

impl FaultPlan {
    /// Takes the faults that happen to this shard.
    pub(crate) fn new(faults: &[InjectedFault], shard: u32) -> FaultPlan {
        let is_here = |fault: &&InjectedFault| fault.shard.is_none_or(|there| there == shard);
        let planned = |fault: &InjectedFault| Planned { fault: fault.clone(), happened: 0 };
        FaultPlan {
            faults: faults.iter().filter(is_here).map(planned).collect(),
            ..FaultPlan::default()
        }
    }

    /// Counts a checkpoint request, and returns what happens to it: from the N-th on, COUNT in a row.
    pub(crate) fn checkpoint_requested(&mut self) -> Option<CheckpointFault> {
        self.checkpoints += 1;
        self.faults.iter_mut().find_map(|Planned { fault, happened }| match &fault.kind {
            Kind::Checkpoint(kind) if *happened < fault.count && self.checkpoints >= fault.at => {
                *happened += 1;
                Some(kind.clone())
            }
            _ => None,
        })
    }

    /// Counts the records of a batch, and returns what happens in it: at every N-th record, COUNT times,
    /// but one fault a batch.
    pub(crate) fn records_delivered(&mut self, records: u64) -> Option<(RecordFault, String)> {
        self.records += records;
        self.faults.iter_mut().find_map(|Planned { fault, happened }| match fault.kind {
            Kind::Record(kind)
                if *happened < fault.count
                    && self.records >= fault.at.saturating_mul(*happened + 1) =>
            {
                *happened += 1;
                Some((kind, fault.to_string()))
            }
            _ => None,
        })
    }

    /// Whether a child may still be replaced, so that records since the checkpoint have to be kept.
    pub(crate) fn may_replace_child(&self) -> bool {
        self.faults.iter().any(|planned| {
            matches!(planned.fault.kind, Kind::Record(_)) && planned.happened < planned.fault.count
        })
    }

    /// Describes the faults that have not happened as often as they should.
    pub(crate) fn unmet(&self) -> Vec<String> {
        let unmet = self.faults.iter().filter(|planned| planned.happened < planned.fault.count);
        let describe = |Planned { fault, happened }: &Planned| {
            let (so_far, what) = match fault.kind {
                Kind::Checkpoint(_) => (self.checkpoints, "checkpoint request"),
                Kind::Record(_) => (self.records, "record"),
            };
            let happened = match (happened, fault.count) {
                (0, _) => "did not happen".to_owned(),
                (some, all) => format!("happened {some} of {all} times"),
            };
            format!("{fault} {happened}: the shard had {}", count(so_far, what))
        };
        unmet.map(describe).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(texts: &[&str], shard: u32) -> FaultPlan {
        let faults: Vec<_> = texts.iter().map(|text| InjectedFault::parse(text).unwrap()).collect();
        FaultPlan::new(&faults, shard)
    }

    #[test]
    fn faults_are_parsed() {
        let parse = |text: &str| {
            let InjectedFault { shard, at, count, .. } = InjectedFault::parse(text)?;
            Ok::<_, String>((shard, at, count))
        };
        assert_eq!(parse("throttled"), Ok((None, 1, 1)));
        assert_eq!(parse("throttled@3"), Ok((None, 3, 1)));
        assert_eq!(parse("lease-lost@1:500"), Ok((Some(1), 500, 1)));
        assert_eq!(parse("killed@0:7x12"), Ok((Some(0), 7, 12)));
        assert_eq!(parse("handoffx2"), Ok((None, 1, 2)));
        for bad in [
            "throttled@",
            "throttled@0",
            "throttled@x2",
            "killed@1:",
            "killed@:1",
            "killed@-1:1",
            "killedx0",
        ] {
            assert_eq!(parse(bad).unwrap_err(), HELP, "{bad}");
        }
        for bad in ["", "throttle", "killed x2", "x2", "killedx"] {
            assert!(parse(bad).unwrap_err().starts_with("faults are throttled, "), "{bad}");
        }
    }

    #[test]
    fn checkpoint_faults_happen_in_a_row() {
        let mut plan = plan(&["throttled@2x2", "dependency@3", "shutdown@1:1"], 0);
        let requests: Vec<_> = (0..5).map(|_| plan.checkpoint_requested()).collect();
        let refused = |error| Some(CheckpointFault::Refused(error));
        let throttled = refused(CheckpointError::Throttling);
        let dependency = refused(CheckpointError::Dependency);
        assert_eq!(requests, [None, throttled.clone(), throttled, dependency, None]);
        assert!(plan.unmet().is_empty() && !plan.may_replace_child());
    }

    #[test]
    fn record_faults_happen_at_every_nth_record_and_one_a_batch() {
        let mut plan = plan(&["killed@10x3", "handoff@12"], 0);
        assert!(plan.may_replace_child());
        let batches = [9, 1, 5, 6, 0, 0].map(|records| plan.records_delivered(records));
        let kinds: Vec<_> =
            batches.iter().map(|fault| fault.as_ref().map(|fault| fault.0)).collect();
        let (killed, handoff) = (Some(RecordFault::Killed), Some(RecordFault::Handoff));
        assert_eq!(kinds, [None, killed, handoff, killed, None, None]);
        assert_eq!(
            plan.unmet(),
            ["--fault killed@10x3 happened 2 of 3 times: the shard had 21 records"]
        );
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(killed|throttled|[a-z-]{0,9})(@[0-9:]{0,25})?(x[0-9]{0,25})?|\\PC{0,9}") {
            let _ = InjectedFault::parse(&text);
        }
    }
}
