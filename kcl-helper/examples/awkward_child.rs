//! A record processor that misbehaves on purpose, for the tests of what starts processors.
//!
//! It answers each message properly unless its arguments say otherwise:
//!
//! ```text
//! log=FILE                 append a line per record: this process, shard, sequence number, data
//! pids=FILE                append this process's number
//! log-checkpoints          also append a line before and behind each checkpoint
//! wait-at=N wait-for=FILE  before handling the N-th record, wait until this file is there
//! checkpoint=WHEN          every (record), behind (at the record before the last one, for every
//!                          record), between (at the number before its own), batch, never, or
//!                          end (the default: shutdown, shard end)
//! checkpoint-in=ACTION     also during this message; the answer is told on stderr
//! checkpoint-at=NUMBER     in processRecords, at this text; the answer is told on stderr
//! die-at=N  abort-at=N     exit with status 3, or abort, before handling the N-th record
//! die-after=ACTION         exit with status 4 behind the status for this message
//! die-at-start=N           exit with this status before reading anything
//! exit=N                   end with this status
//! last-words=TEXT          end with this line on stderr
//! hang=ACTION              do not answer this message
//! freeze=ACTION            stop at this message, as by SIGSTOP
//! ignore-term              stay when SIGTERM comes
//! slow=MILLIS              take so long for each batch
//! status=TEXT              answer processRecords with this line before the proper status
//! noise=N                  print so many lines that are no messages before each status
//! words=TEXT               print this without a line's end before reading anything
//! flood-stderr=BYTES       write so much to stderr during initialize
//! flood-stdout=BYTES       print so much noise during initialize
//! endless-line             print one line without an end during initialize
//! deaf                     read nothing, say nothing
//! beggar                   read nothing after initialize, ask for checkpoints for ever
//! insistent                in processRecords, checkpoint for ever, reading each answer
//! close=stdin|stdout       give that pipe away during the first processRecords
//! orphan                   leave a process in a session of its own that nothing but SIGKILL ends
//! chain                    leave a process that starts another one and ends, again and again, each in
//!                          a session of its own
//! grandchild=SECONDS       leave a process behind that holds stdout and stderr
//! ignore-eof               stay when stdin ends
//! knows=1|2                of the messages that end a shard, know those of KCL 1.x or 2.x alone, and
//!                          exit with status 1 at the others
//! answer-for=ACTION        answer this message with a status for `initialize`
//! unfinished               leave out the line's end of the last status
//! ```

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "it is a child, not kcl-helper"
)]

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use kcl_protocol::{
    Action, ChildSession, DaemonMessage, LineBuffer, Position, ProcessRecordsInput, SequenceNumber,
};
use rustix::process::{Signal, getpid, kill_process, setsid};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn main() -> Result<ExitCode> {
    let mut options = HashMap::new();
    for arg in std::env::args().skip(1) {
        let (name, value) = arg.split_once('=').unwrap_or((&arg, ""));
        options.insert(name.to_owned(), value.to_owned());
    }
    match options.get("leaves").map(String::as_str) {
        None => {}
        Some("orphan") => {
            setsid()?;
            signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::default())?;
            rest();
        }
        // Also if the one that should end it does not.
        Some(generation) if generation.len() < 20_000 => {
            setsid()?;
            leave(&format!("{generation}."))?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(_) => return Ok(ExitCode::SUCCESS),
    }
    if let Some(status) = number(&options, "die-at-start")? {
        return Ok(ExitCode::from(status as u8));
    }
    let open = |path: &String| File::options().create(true).append(true).open(path);
    if options.contains_key("ignore-term") {
        signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::default())?;
    }
    if let Some(pids) = options.get("pids") {
        note(&open(pids)?, "starts")?;
    }
    if options.contains_key("deaf") {
        rest();
    }
    if let Some(text) = options.get("words") {
        say(text.as_bytes())?;
    }
    let mut child = Child {
        log: options.get("log").map(open).transpose()?,
        options,
        session: ChildSession::new(),
        lines: LineBuffer::new(),
        shard: String::new(),
        handled: 0,
        before: None,
    };
    child.live()?;
    if child.options.contains_key("ignore-eof") {
        rest();
    }
    if let Some(log) = &mut child.log {
        note(log, "end of input")?;
    }
    if let Some(text) = child.options.get("last-words") {
        eprintln!("{text}");
    }
    Ok(ExitCode::from(number(&child.options, "exit")?.unwrap_or(0) as u8))
}

/// A line about this process, in one write, as others write to the same file.
fn note(mut to: &File, text: &str) -> io::Result<()> {
    to.write_all(format!("{} {text}\n", std::process::id()).as_bytes())
}

struct Child {
    options: HashMap<String, String>,
    session: ChildSession,
    lines: LineBuffer,
    log: Option<File>,
    shard: String,
    handled: u64,
    /// The number of the last record.
    before: Option<String>,
}

impl Child {
    fn live(&mut self) -> Result<()> {
        while let Some(mut line) = self.next_line()? {
            let message = self.session.receive(line.bytes_mut())?;
            let action = message.action().ok_or("a checkpoint's answer, unasked")?;
            match &message {
                DaemonMessage::Initialize(input) => {
                    self.shard = input.shard_id.to_owned();
                    self.begin()?;
                }
                DaemonMessage::ProcessRecords(input) => self.process(input)?,
                _ => {}
            }
            let is_of_1 = action == Action::Shutdown;
            let is_of_2 = matches!(action, Action::LeaseLost | Action::ShardEnded);
            match self.options.get("knows").map(String::as_str) {
                Some("1") if is_of_2 => return Err(format!("{action} is unknown").into()),
                Some("2") if is_of_1 => return Err(format!("{action} is unknown").into()),
                _ => {}
            }
            if self.options.get("answer-for").is_some_and(|it| *it == action.to_string()) {
                say(b"{\"action\":\"status\",\"responseFor\":\"initialize\"}\n")?;
                while self.next_line()?.is_some() {}
                return Ok(());
            }
            self.finish(action)?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        if let Some(bytes) = number(&self.options, "flood-stderr")? {
            flood(io::stderr().lock(), bytes)?;
        }
        if let Some(bytes) = number(&self.options, "flood-stdout")? {
            flood(io::stdout().lock(), bytes)?;
        }
        if self.options.contains_key("endless-line") {
            let mut stdout = io::stdout().lock();
            while stdout.write_all(&[b'x'; 1 << 16]).is_ok() {}
            rest();
        }
        for what in ["orphan", "chain"] {
            if self.options.contains_key(what) {
                leave(what)?;
            }
        }
        if let Some(seconds) = self.options.get("grandchild") {
            let grandchild = Command::new("sleep").arg(seconds).spawn()?;
            if let Some(log) = &mut self.log {
                log.write_all(format!("{} grandchild\n", grandchild.id()).as_bytes())?;
            }
        }
        Ok(())
    }

    fn process(&mut self, input: &ProcessRecordsInput<'_>) -> Result<()> {
        if let Some(at) = self.options.get("checkpoint-at").cloned() {
            let line = format!("{{\"action\":\"checkpoint\",\"sequenceNumber\":\"{at}\"}}\n");
            say(line.as_bytes())?;
            let answer = self.next_line()?.ok_or("no answer")?;
            eprintln!("checkpoint at {at}: {}", String::from_utf8_lossy(answer.bytes()));
        }
        for record in &input.records {
            if Some(self.handled + 1) == number(&self.options, "die-at")? {
                eprintln!("I die at record {}", self.handled + 1);
                std::process::exit(3);
            }
            if Some(self.handled + 1) == number(&self.options, "abort-at")? {
                std::process::abort();
            }
            if Some(self.handled + 1) == number(&self.options, "wait-at")? {
                self.note("waits")?;
                let file = std::path::Path::new(&self.options["wait-for"]);
                while !file.exists() {
                    sleep(Duration::from_millis(1));
                }
            }
            if let Some(log) = &mut self.log {
                let number = &record.sequence_number;
                let data = String::from_utf8_lossy(record.data);
                let process = std::process::id();
                let line = format!("{process} {} {number} {data}\n", self.shard);
                log.write_all(line.as_bytes())?;
            }
            self.handled += 1;
            if self.checkpoints("every") {
                self.checkpoint(&Position::from(record))?;
            }
            if self.checkpoints("between") {
                let number = record.sequence_number.as_str();
                let (start, line) = number.split_at(number.len() - 20);
                let number = format!("{start}{:020}", line.parse::<u64>()?.saturating_sub(1));
                self.checkpoint(&at(&number)?)?;
            }
            let before = self.before.replace(record.sequence_number.to_string());
            if let (true, Some(before)) = (self.checkpoints("behind"), before) {
                self.checkpoint(&at(&before)?)?;
            }
        }
        if self.checkpoints("batch") {
            self.checkpoint(&Position::AllDelivered)?;
        }
        while self.options.contains_key("insistent") {
            self.checkpoint(&Position::AllDelivered)?;
        }
        if let Some(millis) = number(&self.options, "slow")? {
            sleep(Duration::from_millis(millis));
        }
        match self.options.get("close").map(String::as_str) {
            Some("stdin") => rustix::stdio::dup2_stdin(File::open("/dev/null")?)?,
            Some("stdout") => {
                rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
                rest();
            }
            _ => {}
        }
        if let Some(text) = self.options.get("status") {
            say(format!("{text}\n").as_bytes())?;
        }
        Ok(())
    }

    fn finish(&mut self, action: Action) -> Result<()> {
        let at_end = matches!(action, Action::ShutdownRequested | Action::ShardEnded);
        if at_end && self.checkpoints("end") {
            self.checkpoint(&Position::AllDelivered)?;
        }
        if self.options.get("checkpoint-in").is_some_and(|name| name == action.name()) {
            let answer = self.checkpoint(&Position::AllDelivered)?;
            eprintln!("checkpoint in {action}: {answer}");
        }
        if self.options.get("freeze").is_some_and(|name| name == action.name()) {
            kill_process(getpid(), Signal::STOP)?;
        }
        if self.options.get("hang").is_some_and(|name| name == action.name()) {
            rest();
        }
        for noise in 0..number(&self.options, "noise")?.unwrap_or(0) {
            say(format!("noise {noise}\n").as_bytes())?;
        }
        let mut out = Vec::new();
        self.session.answer(&mut out)?;
        if self.options.contains_key("unfinished") && action == Action::LeaseLost {
            out.pop();
            say(&out)?;
            std::process::exit(0);
        }
        say(&out)?;
        if self.options.get("die-after").is_some_and(|name| name == action.name()) {
            std::process::exit(4);
        }
        while self.options.contains_key("beggar") {
            say(b"{\"action\":\"checkpoint\",\"sequenceNumber\":null}\n")?;
        }
        Ok(())
    }

    fn checkpoints(&self, when: &str) -> bool {
        self.options.get("checkpoint").map_or("end", String::as_str) == when
    }

    fn checkpoint(&mut self, at: &Position<'_>) -> Result<String> {
        let mut out = Vec::new();
        self.session.checkpoint(at, &mut out)?;
        if self.options.contains_key("log-checkpoints") {
            let number = match at {
                Position::At { sequence_number, .. } => sequence_number.to_string(),
                Position::AllDelivered => "all".into(),
            };
            self.note(&format!("asks {number}"))?;
        }
        say(&out)?;
        let mut line = self.next_line()?.ok_or("no answer to a checkpoint")?;
        let answer = match self.session.receive(line.bytes_mut())? {
            DaemonMessage::Checkpoint(answer) => {
                let number = answer.sequence_number.map(SequenceNumber::new).transpose()?;
                let number = number.map_or("all".into(), |number| number.to_string());
                format!("{number}: {}", answer.error.unwrap_or("ok"))
            }
            other => return Err(format!("no answer to a checkpoint: {other:?}").into()),
        };
        if self.options.contains_key("log-checkpoints") {
            self.note(&format!("hears {answer}"))?;
        }
        Ok(answer)
    }

    /// A line about this shard.
    fn note(&self, text: &str) -> Result<()> {
        let log = self.log.as_ref().ok_or("no log")?;
        Ok(note(log, &format!("{} {text}", self.shard))?)
    }

    fn next_line(&mut self) -> Result<Option<kcl_protocol::Line>> {
        let mut stdin = io::stdin().lock();
        loop {
            if let Some(line) = self.lines.next_line()? {
                return Ok(Some(line));
            }
            match stdin.read(self.lines.spare())? {
                0 => return Ok(None),
                count => self.lines.advance(count),
            }
        }
    }
}

fn at(number: &str) -> Result<Position<'_>> {
    let sequence_number = SequenceNumber::new(number)?;
    Ok(Position::At { sequence_number, sub_sequence_number: None })
}

fn say(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

fn flood(mut to: impl Write, bytes: u64) -> io::Result<()> {
    let line = [[b'f'; 99].as_slice(), b"\n"].concat();
    for _ in 0..bytes / line.len() as u64 {
        to.write_all(&line)?;
    }
    to.flush()
}

/// Starts this program once more, with no pipe of ours in its hands.
fn leave(what: &str) -> io::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(format!("leaves={what}")).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(drop)
}

fn number(options: &HashMap<String, String>, name: &str) -> Result<Option<u64>> {
    Ok(options.get(name).map(|value| value.parse()).transpose()?)
}

/// Does nothing, until it is killed; at most two minutes, in case nobody does.
fn rest() -> ! {
    sleep(Duration::from_secs(120));
    std::process::exit(99)
}
