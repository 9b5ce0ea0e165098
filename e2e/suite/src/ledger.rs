//! What processors write down, and the judgement of it against what was put.
//!
//! A process of the ledger processor appends lines to a file of its own, so that a SIGKILL at any
//! moment leaves whole lines behind, but for the last.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// Digits without leading zeros, which order by length first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Number(pub String);

impl Ord for Number {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.len(), &self.0).cmp(&(other.0.len(), &other.0))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Where a record stands in its shard: sequence number and sub-sequence number.
pub type At = (Number, u64);

/// The hash of a record's key and payload, which the ledger holds instead of them.
pub fn hash(key: &str, data: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update((key.len() as u64).to_be_bytes());
    hash.update(key.as_bytes());
    hash.update(data);
    hash.finalize()[..12].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

/// A line of a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The process has this shard, from behind this place on.
    Start {
        shard: String,
        from: String,
    },
    /// A record was delivered.
    Record {
        at: At,
        hash: String,
    },
    /// A record was given up, and kept here, by the policy for failed records.
    Skip {
        at: At,
        hash: String,
    },
    /// A checkpoint was asked for; the answer is `ok` or an error's text.
    Checkpoint {
        at: String,
        answer: String,
    },
    /// A planted fault follows: the batch ends here.
    Fault(String),
    ShutdownRequested,
    LeaseLost,
    ShardEnded,
    /// `process_records` returned `Ok`.
    Done,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Start { shard, from } => write!(f, "start\t{shard}\t{from}"),
            Event::Record { at, hash } => write!(f, "record\t{}\t{}\t{hash}", at.0.0, at.1),
            Event::Skip { at, hash } => write!(f, "skip\t{}\t{}\t{hash}", at.0.0, at.1),
            Event::Checkpoint { at, answer } => write!(f, "checkpoint\t{at}\t{answer}"),
            Event::Fault(what) => write!(f, "fault\t{what}"),
            Event::ShutdownRequested => f.write_str("shutdownRequested"),
            Event::LeaseLost => f.write_str("leaseLost"),
            Event::ShardEnded => f.write_str("shardEnded"),
            Event::Done => f.write_str("done"),
        }
    }
}

impl Event {
    fn parse(text: &str) -> Option<Event> {
        let words: Vec<&str> = text.split('\t').collect();
        let at = |number: &str, sub: &str| Some((Number(number.to_owned()), sub.parse().ok()?));
        Some(match words[..] {
            ["start", shard, from] => {
                Event::Start { shard: shard.to_owned(), from: from.to_owned() }
            }
            ["record", n, sub, hash] => Event::Record { at: at(n, sub)?, hash: hash.to_owned() },
            ["skip", n, sub, hash] => Event::Skip { at: at(n, sub)?, hash: hash.to_owned() },
            ["checkpoint", at, answer] => {
                Event::Checkpoint { at: at.to_owned(), answer: answer.to_owned() }
            }
            ["fault", what] => Event::Fault(what.to_owned()),
            ["shutdownRequested"] => Event::ShutdownRequested,
            ["leaseLost"] => Event::LeaseLost,
            ["shardEnded"] => Event::ShardEnded,
            ["done"] => Event::Done,
            _ => return None,
        })
    }
}

/// One process: its shard, and what it wrote, with the time of each line.
#[derive(Debug, Clone)]
pub struct Life {
    pub shard: String,
    /// Which worker's child it was: the name that the scenario gave the worker.
    pub worker: String,
    pub pid: i32,
    pub events: Vec<(u64, Event)>,
}

impl Life {
    pub fn began(&self) -> u64 {
        self.events.first().map_or(0, |(time, _)| *time)
    }

    pub fn time_of(&self, wanted: &Event) -> Option<u64> {
        self.events.iter().find(|(_, event)| event == wanted).map(|(time, _)| *time)
    }

    pub fn has(&self, wanted: &Event) -> bool {
        self.time_of(wanted).is_some()
    }

    pub fn records(&self) -> impl Iterator<Item = (u64, &At)> {
        self.events.iter().filter_map(|(time, event)| match event {
            Event::Record { at, .. } => Some((*time, at)),
            _ => None,
        })
    }

    /// Checkpoints and their answers.
    pub fn checkpoints(&self) -> impl Iterator<Item = (&str, &str)> {
        self.events.iter().filter_map(|(_, event)| match event {
            Event::Checkpoint { at, answer } => Some((at.as_str(), answer.as_str())),
            _ => None,
        })
    }
}

/// Every life, in the order in which they began.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    pub lives: Vec<Life>,
}

impl Ledger {
    /// Reads all ledgers of a folder. A last line that is not whole is as if not written.
    pub fn read(folder: &Path) -> Result<Ledger> {
        let mut lives = Vec::new();
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "ledger") {
                continue;
            }
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let (worker, pid) = name.rsplit_once('-').context("a ledger's name")?;
            let text = fs::read_to_string(&path)?;
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let mut events = Vec::new();
            for line in whole.lines() {
                let parsed = line
                    .split_once('\t')
                    .and_then(|(time, event)| Some((time.parse().ok()?, Event::parse(event)?)));
                events.push(parsed.with_context(|| format!("{}: {line}", path.display()))?);
            }
            if let Some((_, Event::Start { shard, .. })) = events.first() {
                let (shard, worker, pid) = (shard.clone(), worker.to_owned(), pid.parse()?);
                lives.push(Life { shard, worker, pid, events });
            }
        }
        lives.sort_by_key(Life::began);
        Ok(Ledger { lives })
    }

    pub fn of_shard<'a>(&'a self, shard: &'a str) -> impl Iterator<Item = &'a Life> {
        self.lives.iter().filter(move |life| life.shard == shard)
    }

    pub fn of_worker<'a>(&'a self, worker: &'a str) -> impl Iterator<Item = &'a Life> {
        self.lives.iter().filter(move |life| life.worker == worker)
    }

    /// How many deliveries there were, duplicates among them.
    pub fn deliveries(&self) -> usize {
        self.lives.iter().map(|life| life.records().count()).sum()
    }
}

/// What was put, by shard, in order.
#[derive(Debug, Clone, Default)]
pub struct Put {
    pub shards: BTreeMap<String, BTreeMap<At, String>>,
}

impl Put {
    pub fn add(&mut self, shard: &str, at: At, hash: String) {
        self.shards.entry(shard.to_owned()).or_default().insert(at, hash);
    }

    pub fn count(&self) -> usize {
        self.shards.values().map(BTreeMap::len).sum()
    }
}

/// The judgement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    pub put: usize,
    /// Different records that were delivered.
    pub delivered: usize,
    pub duplicated: usize,
    pub lost: usize,
    /// Those among the delivered that the policy gave up, and kept.
    pub skipped: usize,
    /// What must never be: foreign or changed records, a wrong order, a gap.
    pub wrong: Vec<String>,
}

/// Judges a ledger: each record at least once, none foreign, and in every life each record directly
/// behind the one before it. A life begins at most one record behind what the lives before it have
/// reached, and after a fault it may go back, but never leave one out.
pub fn judge(put: &Put, ledger: &Ledger) -> Verdict {
    let mut verdict = Verdict { put: put.count(), ..Verdict::default() };
    let mut times: BTreeMap<(&str, &At), usize> = BTreeMap::new();
    let none = BTreeMap::new();
    // Counts of records that were reached, by shard: the next new one has this index.
    let mut reached: BTreeMap<&str, usize> = BTreeMap::new();
    let order: BTreeMap<&str, BTreeMap<&At, usize>> = put
        .shards
        .iter()
        .map(|(shard, records)| {
            (shard.as_str(), records.keys().enumerate().map(|(index, at)| (at, index)).collect())
        })
        .collect();
    for life in &ledger.lives {
        let records = put.shards.get(&life.shard).unwrap_or(&none);
        // The index that must come next. None: anything up to what was reached.
        let mut next = None;
        for (_, event) in &life.events {
            let (at, hash) = match event {
                Event::Fault(_) => {
                    next = None;
                    continue;
                }
                // It was delivered, and is kept.
                Event::Skip { at, hash } => {
                    verdict.skipped += 1;
                    (at, hash)
                }
                Event::Record { at, hash } => (at, hash),
                _ => continue,
            };
            let place = || format!("{} {}/{} (process {})", life.shard, at.0.0, at.1, life.pid);
            match records.get(at) {
                None => verdict.wrong.push(format!("{}: never put", place())),
                Some(put) if put != hash => {
                    verdict.wrong.push(format!("{}: key or payload changed", place()));
                }
                Some(_) => {
                    let index = order[life.shard.as_str()][at];
                    let reached = reached.entry(&life.shard).or_default();
                    if next.is_some_and(|next| next != index) || index > *reached {
                        let wanted = next.unwrap_or(*reached);
                        verdict.wrong.push(format!("{}: is no. {index}, wanted {wanted}", place()));
                    }
                    next = Some(index + 1);
                    *reached = (*reached).max(index + 1);
                    *times.entry((&life.shard, at)).or_default() += 1;
                }
            }
        }
    }
    verdict.delivered = times.len();
    verdict.duplicated = times.values().map(|times| times - 1).sum();
    verdict.lost = verdict.put - verdict.delivered;
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(count: u64) -> Put {
        let mut put = Put::default();
        for index in 1..=count {
            put.add("s", (Number(index.to_string()), 0), format!("h{index}"));
        }
        put
    }

    fn ledger(lives: &[&str]) -> Ledger {
        let event = |word: &str| match word {
            "!" => Event::Fault(String::new()),
            "skip4" => Event::Skip { at: (Number("4".to_owned()), 0), hash: "h4".to_owned() },
            number => {
                Event::Record { at: (Number(number.to_owned()), 0), hash: format!("h{number}") }
            }
        };
        let life = |(pid, words): (usize, &&str)| Life {
            shard: "s".to_owned(),
            worker: "w".to_owned(),
            pid: pid as i32,
            events: words.split(' ').map(|word| (pid as u64, event(word))).collect(),
        };
        Ledger { lives: lives.iter().enumerate().map(life).collect() }
    }

    #[track_caller]
    fn check(lives: &[&str], expected: (usize, usize, usize, usize)) {
        let verdict = judge(&put(12), &ledger(lives));
        let found = (verdict.delivered, verdict.duplicated, verdict.lost, verdict.wrong.len());
        assert_eq!(found, expected, "{verdict:?}");
    }

    #[test]
    fn a_ledger_is_judged() {
        check(&["1 2 3 4 5 6 7 8 9 10 11 12"], (12, 0, 0, 0));
        check(&["1 2 3 4 5 6", "5 6 7 8 9 10 11 12"], (12, 2, 0, 0));
        check(&["1 2 3 ! 2 3 4 5 6 7 8 9 10 11 12"], (12, 2, 0, 0));
        // Without a fault nothing comes twice in a life.
        check(&["1 2 3 2 3 4 5 6 7 8 9 10 11 12"], (12, 2, 0, 1));
        // A gap, in a life and between two.
        check(&["1 2 4 5 6 7 8 9 10 11 12"], (11, 0, 1, 1));
        check(&["1 2 3", "5 6 7 8 9 10 11 12"], (11, 0, 1, 1));
        check(&["1 2 3 ! 5 6 7 8 9 10 11 12"], (11, 0, 1, 1));
        check(&["1 2 3"], (3, 0, 9, 0));
        check(&["1 2 3 ! skip4 5 6 7 8 9 10 11 12"], (12, 0, 0, 0));
        // A foreign one, and one out of order.
        check(&["1 2 13 3 4 5 6 7 8 9 10 11 12"], (12, 0, 0, 1));
        check(&["2 1 3 4 5 6 7 8 9 10 11 12"], (12, 0, 0, 3));
    }

    #[test]
    fn a_changed_payload_is_wrong() {
        let mut put = put(1);
        put.add("s", (Number("1".to_owned()), 0), "other".to_owned());
        let verdict = judge(&put, &ledger(&["1"]));
        assert_eq!(verdict.wrong, ["s 1/0 (process 0): key or payload changed"]);
    }

    #[test]
    fn events_read_back() {
        let at = || (Number("49".to_owned()), 7);
        for event in [
            Event::Start { shard: "s".into(), from: "TRIM_HORIZON".into() },
            Event::Record { at: at(), hash: "ab".into() },
            Event::Skip { at: at(), hash: "ab".into() },
            Event::Checkpoint { at: "all".into(), answer: "ok".into() },
            Event::Fault("kill".into()),
            Event::ShutdownRequested,
            Event::LeaseLost,
            Event::ShardEnded,
            Event::Done,
        ] {
            assert_eq!(Event::parse(&event.to_string()), Some(event));
        }
    }
}
