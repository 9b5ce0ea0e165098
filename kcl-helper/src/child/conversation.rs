//! A conversation with one child, at the daemon's end.
//!
//! The caller decides which messages the child gets ([`Conversation::ask`]) and how its checkpoint
//! requests are answered ([`Daemon`]). The conversation sends, listens, finds out what went wrong and
//! ends the child:
//!
//! ```text
//! ask(initialize)  ask(processRecords) …  ask(shutdownRequested)  ask(leaseLost)  close()
//!                      │
//!                      ├─ checkpoint request → Daemon::answer_checkpoint → answer
//!                      ├─ noise → a warning
//!                      ├─ status → return
//!                      └─ protocol error, end of the child, Control → EndedEarly → abandon()
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use kcl_protocol::{
    Action, CheckpointError, CheckpointRequest, DaemonMessage, DaemonSession, Line, Received,
};

use super::control::Control;
use super::faults::{self, BETWEEN, Fault, LinePreview, SkippedLines};
use super::outgoing::OutgoingLine;
use super::process::{ProcessHandle, describe};
use super::protocol::hint_at_failure;
use super::running::Child;
use super::watch::Watch;
use super::wire::StdoutEnd;
use crate::output::Reporter;

/// How long to wait for what follows at once if nothing is wrong: the exit status of a child whose
/// pipes have closed, or the end of pipes whose child has exited.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// How long a child has to end by itself once its conversation has ended early.
const CUT_OFF_GRACE: Duration = Duration::from_secs(2);
/// The capacity of a pipe, unless somebody has more rights than most.
const PIPE: u64 = 1 << 20;

/// What the daemon's side of a conversation decides.
pub(crate) trait Daemon {
    /// Answers a checkpoint request that the child makes during a message.
    ///
    /// # Errors
    /// The conversation ends early.
    fn answer_checkpoint(
        &mut self,
        request: &CheckpointRequest<'_>,
        during: Action,
    ) -> Result<Answer, EndedEarly>;

    /// Names the message that the child works on, for people.
    fn message_name(&self, action: Action) -> String {
        action.to_string()
    }

    /// Is called, perhaps more than once, while the child works on a message that has been written:
    /// the time to encode the next one. `spare` is memory that may be taken for that.
    ///
    /// # Errors
    /// The conversation ends with this fault.
    fn while_child_works(&mut self, _during: Action, _spare: &mut Vec<u8>) -> Result<(), Fault> {
        Ok(())
    }

    /// Sees each line as it is handed to the child's pipe or has come from it. A line from the child
    /// has no line end.
    fn observe(&mut self, _from: Speaker, _line: &[u8]) {}
}

/// The answer to a checkpoint request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    Refused(CheckpointError),
    /// No answer at all: the child waits until the conversation is ended from outside.
    Never,
}

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaker {
    Daemon,
    Child,
}

/// Why a conversation ended before the child was told so.
#[derive(Debug)]
pub(crate) enum EndedEarly {
    /// By [`Control::cut_off`] or [`Control::kill`].
    CutOff,
    /// By [`Daemon::answer_checkpoint`], on purpose.
    ByDaemon,
    /// By a wrong status for shutdownRequested, with the warning about it.
    WrongGoodbye(String),
    Fault(Fault),
}

impl From<Fault> for EndedEarly {
    fn from(fault: Fault) -> EndedEarly {
        EndedEarly::Fault(fault)
    }
}

/// What a conversation needs beside the child.
#[derive(Debug)]
pub(crate) struct Setup {
    /// What its messages begin with, such as `shard 0`.
    pub(crate) who: String,
    /// The program's name, for people.
    pub(crate) program: String,
    pub(crate) reporter: Reporter,
    /// Tells another thread what the child owes.
    pub(crate) watch: Arc<Watch>,
    /// How other threads end the conversation. Without it they can only kill the child, and waiting
    /// for an answer takes one system call instead of two.
    pub(crate) control: Option<Arc<Control>>,
    /// How long the child has to exit once its stdin is closed.
    pub(crate) exit_patience: Duration,
}

/// A conversation in progress. Dropping it kills the child.
#[derive(Debug)]
pub(crate) struct Conversation {
    setup: Setup,
    child: Child,
    session: DaemonSession,
    skipped: SkippedLines,
    /// A checkpoint's answer may still be on its way. As in the real daemon, nothing is read until it
    /// is written, so that a child that only asks and never reads cannot fill our memory.
    is_answering: bool,
    /// Whether the child has written a message.
    has_spoken: bool,
}

/// What a line of the child means.
enum Heard {
    Status,
    Checkpoint(Answer),
    Noise(Option<String>),
}

impl Conversation {
    pub(crate) fn new(child: Child, setup: Setup) -> Conversation {
        Conversation {
            setup,
            child,
            session: DaemonSession::new(),
            skipped: SkippedLines::default(),
            is_answering: false,
            has_spoken: false,
        }
    }

    pub(crate) fn process(&self) -> ProcessHandle {
        self.child.process()
    }

    /// Sends a message and returns once its status has come; checkpoint requests are answered
    /// meanwhile.
    pub(crate) fn ask(
        &mut self,
        message: &DaemonMessage<'_>,
        daemon: &mut impl Daemon,
    ) -> Result<(), EndedEarly> {
        let mut line = std::mem::take(self.child.spare());
        line.clear();
        self.session.send(message, &mut line).map_err(|error| Fault::bug(&error))?;
        // A checkpoint's answer has no action, and no status follows it.
        let Some(action) = message.action() else { return Ok(()) };
        self.exchange(action, OutgoingLine::Owned(line), daemon).map_err(|ended| match ended {
            EndedEarly::Fault(fault) => fault.hint_if_none(hint_at_failure(action)).into(),
            ended => ended,
        })
    }

    /// Asks for a shutdown. Returns whether the conversation can go on: the real daemon only logs a
    /// wrong status here.
    pub(crate) fn ask_shutdown(&mut self, daemon: &mut impl Daemon) -> Result<bool, EndedEarly> {
        match self.ask(&DaemonMessage::ShutdownRequested, daemon) {
            Err(EndedEarly::WrongGoodbye(warning)) => {
                self.warn(&warning);
                self.abandon();
                Ok(false)
            }
            asked => asked.map(|()| true),
        }
    }

    /// Sends the line of a message that was encoded before, and returns as [`ask`](Self::ask) does.
    pub(crate) fn ask_encoded(
        &mut self,
        action: Action,
        line: OutgoingLine,
        daemon: &mut impl Daemon,
    ) -> Result<(), EndedEarly> {
        self.session.mark_sent(action).map_err(|error| Fault::bug(&error))?;
        self.exchange(action, line, daemon)
    }

    pub(crate) fn who(&self) -> &str {
        &self.setup.who
    }

    /// Memory that may be taken for the next encoded line.
    pub(crate) fn spare(&mut self) -> &mut Vec<u8> {
        self.child.spare()
    }

    /// Waits, between messages, until something happens: to the child, or by its bell.
    pub(crate) fn idle(&mut self) -> Result<(), EndedEarly> {
        self.check_cut_off()?;
        if let Some(end) = self.child.stdout_end() {
            return Err(self.stdout_ended(end, BETWEEN));
        }
        if self.child.has_exited() {
            return Err(self.gone(BETWEEN));
        }
        self.child.wait(None);
        Ok(())
    }

    /// Ends the conversation properly: closes the child's stdin and waits for its exit.
    pub(crate) fn close(&mut self) -> Result<(), EndedEarly> {
        self.session.close().map_err(|error| Fault::bug(&error))?;
        self.child.close_input();
        if !self.wait_for(self.setup.exit_patience, Child::has_exited) {
            self.check_cut_off()?;
            self.child.kill();
            return Err(Fault::did_not_exit(&self.setup.who, self.setup.exit_patience).into());
        }
        self.wait_for_pipes();
        match self.child.finish() {
            Some(status) if !status.success() => self.warn(&faults::bad_status(status)),
            _ => {}
        }
        Ok(())
    }

    /// Ends a child whose conversation ended early: closes its stdin, and kills it if that does not
    /// end it soon.
    pub(crate) fn abandon(&mut self) {
        self.child.close_input();
        if !self.wait_for(CUT_OFF_GRACE, Child::has_exited) {
            self.child.kill();
        }
        // What it still writes is shown before the summary.
        self.wait_for(SETTLE_TIME, |child| child.has_exited() && child.is_silent());
    }

    /// Kills the child, whatever it is doing.
    pub(crate) fn kill(&mut self) {
        self.child.kill();
        self.wait_for(SETTLE_TIME, |child| child.has_exited() && child.is_silent());
    }

    /// Reports what is left to report, and takes the child's exit status.
    ///
    /// # Errors
    /// The child cannot be killed.
    pub(crate) fn finish(&mut self) -> Result<(), Fault> {
        if let Some(text) = self.skipped.rest() {
            self.warn(&text);
        }
        if self.child.finish().is_none() && !self.child.has_exited() {
            return Err(Fault::cannot_be_killed(&self.setup.who));
        }
        Ok(())
    }

    /// Returns the last lines that the child has written to stderr.
    pub(crate) fn last_words(&self) -> Vec<String> {
        self.child.last_words()
    }

    /// Writes the line of a message that the session knows of, and deals with what the child writes
    /// until its status has come.
    fn exchange(
        &mut self,
        action: Action,
        line: OutgoingLine,
        daemon: &mut impl Daemon,
    ) -> Result<(), EndedEarly> {
        self.setup.watch.sent(action);
        daemon.observe(Speaker::Daemon, &line);
        self.child.send(line);
        let mut has_status = false;
        let mut trouble_since = None;
        loop {
            self.check_cut_off()?;
            let is_through = self.child.all_written() && !self.child.has_closed_stdin();
            // As with the real daemon, a status counts once all before it could be written.
            if has_status && is_through {
                self.setup.watch.answered();
                return Ok(());
            }
            if !has_status {
                if let Some(line) = self.next_line() {
                    has_status = self.hear(line, action, daemon)?;
                    continue;
                }
                if let Some(end) = self.child.stdout_end() {
                    return Err(self.stdout_ended(end, &daemon.message_name(action)));
                }
            }
            let mut until = None;
            if self.child.has_exited() || self.child.has_closed_stdin() {
                let settled = *trouble_since.get_or_insert_with(Instant::now) + SETTLE_TIME;
                if Instant::now() >= settled {
                    return Err(self.gone(&daemon.message_name(action)));
                }
                until = Some(settled);
            }
            // The child first gets all that it waits for.
            if is_through {
                daemon.while_child_works(action, self.child.spare())?;
            }
            self.wait(until);
        }
    }

    fn next_line(&mut self) -> Option<Line> {
        self.is_answering &= !self.child.all_written();
        if self.is_answering { None } else { self.child.next_line() }
    }

    /// Deals with a line of the child. Returns whether it is the status.
    fn hear(
        &mut self,
        mut line: Line,
        during: Action,
        daemon: &mut impl Daemon,
    ) -> Result<bool, EndedEarly> {
        daemon.observe(Speaker::Child, line.bytes());
        let heard = self.understand(line.bytes_mut(), during, daemon)?;
        self.child.recycle(line);
        match heard {
            Heard::Status => {
                self.has_spoken = true;
                return Ok(true);
            }
            Heard::Checkpoint(answer) => {
                self.has_spoken = true;
                self.setup.watch.checkpoint_requested();
                self.answer(answer, daemon)?;
            }
            Heard::Noise(Some(warning)) => self.warn(&warning),
            Heard::Noise(None) => {}
        }
        Ok(false)
    }

    fn understand(
        &mut self,
        line: &mut [u8],
        during: Action,
        daemon: &mut impl Daemon,
    ) -> Result<Heard, EndedEarly> {
        let preview = LinePreview::new(line);
        match self.session.receive(line) {
            Ok(Received::Status(_)) => Ok(Heard::Status),
            Ok(Received::Checkpoint(request)) => {
                daemon.answer_checkpoint(&request, during).map(Heard::Checkpoint)
            }
            Ok(noise) => Ok(Heard::Noise(self.skipped.warning(&preview, &noise))),
            Err(error) => {
                if let Some(warning) = faults::wrong_goodbye(&error) {
                    return Err(EndedEarly::WrongGoodbye(warning));
                }
                let what = daemon.message_name(during);
                Err(Fault::broke_the_protocol(&self.setup.who, &what, &error).into())
            }
        }
    }

    fn answer(&mut self, answer: Answer, daemon: &mut impl Daemon) -> Result<(), Fault> {
        let result = match &answer {
            Answer::Never => {
                // The child no longer owes anything.
                self.setup.watch.answered();
                return Ok(());
            }
            Answer::Accepted => Ok(()),
            Answer::Refused(error) => Err(error),
        };
        let mut line = Vec::new();
        self.session.answer_checkpoint(result, &mut line).map_err(|error| Fault::bug(&error))?;
        daemon.observe(Speaker::Daemon, &line);
        self.is_answering = true;
        self.child.send(OutgoingLine::Owned(line));
        Ok(())
    }

    fn check_cut_off(&self) -> Result<(), EndedEarly> {
        let is_cut_off = self.setup.control.as_ref().is_some_and(|control| control.is_cut_off());
        if is_cut_off { Err(EndedEarly::CutOff) } else { Ok(()) }
    }

    fn stdout_ended(&mut self, end: StdoutEnd, what: &str) -> EndedEarly {
        match end {
            StdoutEnd::Closed => self.gone(what),
            StdoutEnd::TooLong => Fault::endless_line(&self.setup.who, what).into(),
            StdoutEnd::Failed(error) => Fault::unreadable_stdout(&self.setup.who, &error).into(),
        }
    }

    /// The child has ended, or has closed a pipe.
    fn gone(&mut self, what: &str) -> EndedEarly {
        let closed_stdin = self.child.has_closed_stdin();
        let exited = self.wait_for(SETTLE_TIME, Child::has_exited);
        if exited {
            self.wait_for_pipes();
        }
        let how = match (exited, closed_stdin) {
            (true, _) => {
                let status = self.child.finish();
                format!("ended with {}", status.map_or("no status".into(), describe))
            }
            (false, true) => "closed its stdin".into(),
            (false, false) => "closed its stdout".into(),
        };
        let stranger = (!self.has_spoken).then_some(self.setup.program.as_str());
        let mut fault = Fault::gone(&self.setup.who, &how, what, stranger);
        fault.last_words = self.child.last_words();
        fault.into()
    }

    /// Waits for processes that the child started and left behind with its pipes.
    fn wait_for_pipes(&mut self) {
        let at_end = self.child.stderr_bytes();
        while !self.wait_for(SETTLE_TIME, Child::is_silent) {
            // What the child has left in its pipe waits for whoever reads our stderr.
            if self.child.is_showing() && self.child.stderr_bytes() - at_end <= PIPE {
                continue;
            }
            self.warn(faults::HELD_PIPES);
            self.child.kill();
            self.wait_for(SETTLE_TIME, Child::is_silent);
            break;
        }
    }

    /// Waits until this is true of the child, at most so long. Returns whether it is. A conversation
    /// that is cut off waits no longer than its grace.
    fn wait_for(&mut self, time: Duration, is_true: impl Fn(&Child) -> bool) -> bool {
        let mut until = Instant::now() + time;
        loop {
            if is_true(&self.child) {
                return true;
            }
            match &self.setup.control {
                Some(control) if control.is_killed() => {
                    self.child.kill();
                    until = until.min(Instant::now() + SETTLE_TIME);
                }
                Some(control) if control.is_cut_off() => {
                    until = until.min(Instant::now() + CUT_OFF_GRACE);
                }
                _ => {}
            }
            if Instant::now() >= until {
                return false;
            }
            self.child.wait(Some(until));
        }
    }

    fn wait(&mut self, until: Option<Instant>) {
        match (until, &self.setup.control) {
            (None, None) => self.child.wait_for_output(),
            _ => self.child.wait(until),
        }
    }

    fn warn(&self, text: &str) {
        self.setup.reporter.result(&format!("{}: {text}", self.setup.who));
    }
}
