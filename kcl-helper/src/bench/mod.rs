//! A daemon that measures: children of any language get batches that were encoded before the clock
//! starts, as fast as they answer or at a fixed rate.
//!
//! One thread per child leads its conversation (`shard.rs`). The calling thread starts turns, reads
//! the kernel's figures of the children between them, and watches for silent children and signals. Two
//! commands take turns with each other, so that what disturbs the machine disturbs both.

mod cpus;
mod doubts;
mod figures;
mod load;
mod options;
mod report;
mod shard;
mod units;
mod usage;

use std::collections::HashMap;
use std::sync::{Arc, Barrier, mpsc};
use std::time::{Duration, Instant};

pub(crate) use cpus::Cpus;
pub(crate) use figures::AtLeast;
pub(crate) use options::Options;
pub(crate) use shard::{Answers, Until};

use crate::child::faults::{Fault, Silence};
use crate::child::{ProcessHandle, Watch, allow_files};
use crate::error::{Error, Exit, Result};
use crate::guardian::{Guardian, Patience};
use crate::signals::{Cause, Request, Requests};
use crate::threads;
use figures::{Figures, TurnFigures};
use load::Load;
use shard::{Done, Order, ShardBench, ShardResult, Told, Turn};

/// How often silent children are looked for.
const TICK: Duration = Duration::from_millis(50);
/// Starting a program takes milliseconds; a thread that reports nothing for so long has panicked.
const START_TOLD_WITHIN: Duration = Duration::from_secs(5);

/// What other threads report to the calling thread.
#[derive(Debug)]
enum News {
    Stop(Request),
    /// By the thread of the member with this number.
    Member(usize, Told),
}

/// Why a run ends early.
#[derive(Debug)]
enum Stop {
    Failed(Error),
    Asked(Cause),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error)
    }
}

/// A child that is being measured, or was.
#[derive(Debug)]
struct Member {
    who: String,
    shard: u32,
    orders: mpsc::Sender<Order>,
    watch: Arc<Watch>,
    silence: Silence,
    process: Option<ProcessHandle>,
}

impl Member {
    fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.pid().as_raw_pid().unsigned_abs())
    }

    fn cpu(&self) -> Option<Duration> {
        self.pid().and_then(usage::cpu)
    }
}

/// Measures, prints the figures, and checks `--at-least`.
pub(crate) fn run(options: &Options, guardian: &Guardian) -> Result<Exit> {
    let requests = Requests::watch(options.timeout, &options.reporter)?;
    if let Some(cpus) = &options.cpus {
        cpus.check()?;
    }
    allow_files(u64::from(options.shards) * options.programs.len() as u64)?;
    // So that its start is not measured as part of a child's.
    guardian.start()?;
    let load = Arc::new(Load::new(options.batch, options.size)?);
    options.reporter.say(&report::banner(options, &load));
    let (sender, news) = mpsc::channel();
    let stop = sender.clone();
    requests.receive(move |request| drop(stop.send(News::Stop(request))));
    let members = HashMap::new();
    let mut bench =
        Bench { options, guardian, load, sender, news, members, next_member: 0, failed_end: None };
    let result = bench.measure();
    if result.is_ok() {
        requests.end_at_once();
    }
    bench.kill_all();
    if result.is_ok() {
        let patience = Patience::for_the_rest(options.patience);
        guardian.clear(patience, "the children", &options.reporter);
    } else {
        guardian.kill_all(&options.reporter);
    }
    let figures = match result {
        Ok(figures) => figures,
        Err(Stop::Failed(error)) => return Err(error),
        Err(Stop::Asked(cause)) => {
            options.reporter.result(&format!("{cause}: stopped, so there are no figures"));
            return Ok(cause.exit());
        }
    };
    if options.json {
        options.reporter.print_json(&report::json(options, &bench.load, &figures))?;
    } else {
        options.reporter.print_lines(report::text(options, &figures).lines())?;
    }
    for (warning, hint) in doubts::warnings(options, &figures) {
        options.reporter.warn(&warning);
        options.reporter.hint(&hint);
    }
    if let Some(error) = bench.failed_end.take() {
        return Err(error);
    }
    match options.at_least.as_ref().and_then(|at_least| at_least.missed(&figures)) {
        Some(missed) => Err(Error::new(Exit::Failed, missed)),
        None => Ok(Exit::Done),
    }
}

struct Bench<'a> {
    options: &'a Options,
    guardian: &'a Guardian,
    load: Arc<Load>,
    sender: mpsc::Sender<News>,
    news: mpsc::Receiver<News>,
    /// Children that have not ended.
    members: HashMap<usize, Member>,
    next_member: usize,
    /// The first failure of a child after its last turn.
    failed_end: Option<Error>,
}

impl Bench<'_> {
    fn measure(&mut self) -> Result<Vec<Figures>, Stop> {
        let options = self.options;
        let commands = 0..options.programs.len();
        let mut figures: Vec<Figures> = commands.clone().map(|_| Figures::default()).collect();
        for _ in 1..options.starts {
            for command in commands.clone() {
                let (crew, start_up) = self.start(command, 1)?;
                figures[command].start_up.extend(start_up);
                self.end(&crew)?;
            }
        }
        let mut crews = Vec::new();
        for command in commands.clone() {
            let (crew, start_up) = self.start(command, options.shards)?;
            figures[command].start_up.extend(start_up);
            crews.push(crew);
        }
        for command in commands.clone() {
            figures[command].idle = self.memory(&crews[command]);
        }
        if !options.warmup.is_zero() {
            for command in commands.clone() {
                self.turn(&crews[command], Until::Passed(options.warmup), false)?;
            }
        }
        for number in 0..options.turns {
            let Some(until) = options.until.of_turn(number, options.turns) else { continue };
            // The command that was first is second in the next turn.
            let mut order: Vec<usize> = commands.clone().collect();
            if number % 2 == 1 {
                order.reverse();
            }
            for command in order {
                let turn = self.turn(&crews[command], until, true)?;
                figures[command].turns.push(turn);
            }
        }
        for command in commands.clone() {
            figures[command].busy = self.memory(&crews[command]);
        }
        for command in commands {
            let results = self.end(&crews[command])?;
            figures[command].add(&results, &self.load);
        }
        Ok(figures)
    }

    /// Starts children and waits until each has answered `initialize`. Returns how long that took.
    fn start(
        &mut self,
        command_index: usize,
        shards: u32,
    ) -> Result<(Vec<usize>, Vec<Duration>), Stop> {
        let mut crew = Vec::new();
        for shard in 0..shards {
            crew.push(self.start_one(command_index, shard)?);
        }
        let ready = self.gather(shards as usize, |told| match told {
            Told::Ready(time) => Some(time),
            _ => None,
        })?;
        Ok((crew, ready.into_iter().map(|(_, time)| time).collect()))
    }

    fn start_one(&mut self, command_index: usize, shard: u32) -> Result<usize> {
        let options = self.options;
        let (orders, received) = mpsc::channel();
        let watch = Arc::new(Watch::default());
        let who = match (options.programs.len(), command_index) {
            (1, _) => format!("shard {shard}"),
            (_, 0) => format!("A, shard {shard}"),
            (_, _) => format!("B, shard {shard}"),
        };
        let number = self.next_member;
        self.next_member += 1;
        let bench = ShardBench {
            who: who.clone(),
            shard,
            program: options.programs[command_index].clone(),
            load: self.load.clone(),
            answers: options.answers.clone(),
            protocol: options.protocol,
            cpus: options.cpus.clone(),
            guardian: self.guardian.clone(),
            patience: options.patience,
            watch: watch.clone(),
            reporter: options.reporter.clone(),
        };
        let sender = self.sender.clone();
        threads::start(&who, move || {
            bench.run(&received, |told| {
                let _ = sender.send(News::Member(number, told));
            });
        })
        .map_err(threads::failed)?;
        let silence = Silence::new(options.patience);
        self.members.insert(number, Member { who, shard, orders, watch, silence, process: None });
        Ok(number)
    }

    /// Lets the children work, all from the same moment.
    fn turn(
        &mut self,
        crew: &[usize],
        until: Until,
        is_measured: bool,
    ) -> Result<TurnFigures, Stop> {
        let interval = self.options.rate.map(|rate| {
            let batches = rate / f64::from(self.options.batch) / f64::from(self.options.shards);
            Duration::from_secs_f64(1.0 / batches)
        });
        let begin = Arc::new(Barrier::new(crew.len()));
        let before = self.cpu(crew);
        for number in crew {
            let turn = Turn { until, interval, begin: begin.clone(), is_measured };
            self.order(*number, Order::Turn(turn));
        }
        let done: Vec<(usize, Done)> = self.gather(crew.len(), |told| match told {
            Told::Done(done) => Some(done),
            _ => None,
        })?;
        let cpu = self.cpu(crew).zip(before).map(|(after, before)| after.saturating_sub(before));
        let start = done.iter().map(|(_, done)| done.start).min();
        let end = done.iter().map(|(_, done)| done.end).max();
        let batches = done.iter().map(|(_, done)| done.batches).sum::<u64>();
        Ok(TurnFigures {
            batches,
            records: batches * self.load.records,
            bytes: batches * self.load.bytes,
            took: start.zip(end).map_or(Duration::ZERO, |(start, end)| end - start),
            cpu,
            our_cpu: done.iter().map(|(_, done)| done.our_cpu).sum(),
        })
    }

    /// Ends the children properly, and checks their sums.
    fn end(&mut self, crew: &[usize]) -> Result<Vec<ShardResult>, Stop> {
        for number in crew {
            self.order(*number, Order::End);
        }
        let results = self.gather(crew.len(), |told| match told {
            Told::Ended(result) => Some(*result),
            _ => None,
        })?;
        let mut ended = Vec::new();
        for (number, mut result) in results {
            let failed = result.failed_end.take().map(|fault| fault.error);
            self.failed_end = self.failed_end.take().or(failed);
            let Some(member) = self.members.remove(&number) else { continue };
            let right = self.load.sums(result.batches);
            let said = result.last_words.as_deref().filter(|words| words.starts_with("BENCH "));
            if let Some(said) = said.filter(|said| *said != right) {
                return Err(Stop::Failed(Fault::wrong_sums(&member.who, said, &right).error));
            }
            ended.push(result);
        }
        Ok(ended)
    }

    /// Waits for so many reports that `take` accepts, and looks for silent children meanwhile.
    fn gather<T>(
        &mut self,
        count: usize,
        take: impl Fn(Told) -> Option<T>,
    ) -> Result<Vec<(usize, T)>, Stop> {
        let mut answers = Vec::with_capacity(count);
        let mut next_look = Instant::now() + TICK;
        while answers.len() < count {
            let now = Instant::now();
            if now >= next_look {
                self.look_after()?;
                next_look = Instant::now() + TICK;
            }
            match self.news.recv_timeout(next_look.saturating_duration_since(now)) {
                Err(_) => {}
                Ok(News::Stop(request)) => return Err(Stop::Asked(request.cause)),
                Ok(News::Member(number, Told::Started(process))) => self.started(number, process),
                Ok(News::Member(number, Told::Failed(fault))) => {
                    self.show_last_words(number, &fault.last_words);
                    self.failed(number);
                    return Err(Stop::Failed(fault.error));
                }
                Ok(News::Member(number, told)) => {
                    answers.extend(take(told).map(|answer| (number, answer)));
                }
            }
        }
        Ok(answers)
    }

    fn show_last_words(&self, number: usize, last_words: &[String]) {
        let Some(member) = self.members.get(&number) else { return };
        self.options.reporter.last_words(&member.who, member.shard, last_words);
    }

    /// Warns of silent children, and fails if an answer takes too long.
    fn look_after(&mut self) -> Result<(), Stop> {
        let Options { answer_timeout, reporter, .. } = self.options;
        for member in self.members.values_mut() {
            let Some(pending) = member.watch.pending() else { continue };
            if let Some(warning) = member.silence.next_warning(&pending) {
                reporter.result(&format!("{}: {warning}", member.who));
            }
            if pending.sent.elapsed() >= *answer_timeout {
                let fault = Fault::no_answer(&member.who, pending.action, *answer_timeout);
                return Err(Stop::Failed(fault.error));
            }
        }
        Ok(())
    }

    fn order(&self, number: usize, order: Order) {
        // A thread that has ended has reported why.
        let _ = self.members.get(&number).map(|member| member.orders.send(order));
    }

    fn cpu(&self, crew: &[usize]) -> Option<Duration> {
        crew.iter().filter_map(|number| self.members.get(number)).map(Member::cpu).sum()
    }

    fn memory(&self, crew: &[usize]) -> Vec<usage::Memory> {
        let members = crew.iter().filter_map(|number| self.members.get(number));
        members.filter_map(Member::pid).map(usage::memory).collect()
    }

    fn started(&mut self, number: usize, process: ProcessHandle) {
        if let Some(member) = self.members.get_mut(&number) {
            member.process = Some(process);
        }
    }

    /// Its thread has ended. There is a child only if that was reported.
    fn failed(&mut self, number: usize) {
        if self.members.get(&number).is_some_and(|member| member.process.is_none()) {
            self.members.remove(&number);
        }
    }

    /// Kills what still runs, and waits for its end.
    fn kill_all(&mut self) {
        // A thread may have just started its child, and is about to report it.
        while self.members.values().any(|member| member.process.is_none()) {
            match self.news.recv_timeout(START_TOLD_WITHIN) {
                Ok(News::Member(number, Told::Started(process))) => self.started(number, process),
                Ok(News::Member(number, Told::Failed(..))) => self.failed(number),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        let processes = self.members.values().filter_map(|member| member.process.as_ref());
        processes.clone().for_each(ProcessHandle::kill);
        for process in processes {
            process.wait_killed();
        }
    }
}

impl Until {
    /// Returns the part of it for this turn, or `None` if nothing is left for it.
    fn of_turn(self, number: u32, turns: u32) -> Option<Until> {
        match self {
            Until::Passed(time) => Some(Until::Passed(time / turns)),
            Until::Batches(count) => {
                let (turns, number) = (u64::from(turns), u64::from(number));
                let batches = count / turns + u64::from(number < count % turns);
                (batches > 0).then_some(Until::Batches(batches))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn turns_share_all_batches(count in 0..1000u64, turns in 1..50u32) {
            let batches = (0..turns).map(|number| {
                match Until::Batches(count).of_turn(number, turns) {
                    Some(Until::Batches(batches)) => batches,
                    _ => 0,
                }
            });
            let batches: Vec<_> = batches.collect();
            prop_assert_eq!(batches.iter().sum::<u64>(), count);
            prop_assert!(batches[0] - batches[batches.len() - 1] <= 1);
        }
    }
}
