//! Puts rounds of words, call by call, until all are put, the service fails for good, or Ctrl-C.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use kcl_runtime::Backoff;

use crate::cli::Args;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::outbox::{Outbox, Word};
use crate::say::{self, INTERRUPTED, progress};
use crate::stream::Stream;
use crate::words::Words;

pub(crate) struct Putter<'a> {
    args: &'a Args,
    stream: &'a Stream,
    outbox: Outbox,
    interrupt: Interrupt,
    /// The start of the first failed call since the last successful one.
    failing_since: Option<Instant>,
    put: u64,
    not_put: u64,
    /// The words of the call that Ctrl-C abandoned.
    unanswered: usize,
}

/// Why putting ended.
enum Stop {
    /// Ctrl-C, or SIGTERM.
    Interrupted,
    /// A failure that retries did not fix.
    Failed(Failure),
}

impl<'a> Putter<'a> {
    pub(crate) fn new(args: &'a Args, stream: &'a Stream, interrupt: Interrupt) -> Putter<'a> {
        let pauses = Backoff::up_to(args.retry_for).pauses();
        let outbox = Outbox::new(pauses);
        let failing_since = None;
        Putter { args, stream, outbox, interrupt, failing_since, put: 0, not_put: 0, unanswered: 0 }
    }

    /// Puts all words, prints how many, and returns the exit status.
    pub(crate) async fn run(mut self) -> ExitCode {
        let stopped = self.all_rounds().await.err();
        let endless = self.args.rounds().is_none();
        if let Some(Stop::Failed(failure)) = &stopped {
            say::failure(failure);
        }
        say::put(self.stream.name(), self.put);
        if self.unanswered > 0 {
            let (count, words) = (self.unanswered, plural(self.unanswered as u64));
            say::error(format_args!(
                "cannot know whether {count} more {words} were put: no answer"
            ));
        }
        match stopped {
            _ if self.not_put > 0 => {
                let words = plural(self.not_put);
                say::error(format_args!("{} {words} could not be put", self.not_put));
                ExitCode::FAILURE
            }
            Some(Stop::Failed(_)) => ExitCode::FAILURE,
            Some(Stop::Interrupted) if !endless || self.unanswered > 0 => INTERRUPTED.into(),
            Some(Stop::Interrupted) | None => ExitCode::SUCCESS,
        }
    }

    async fn all_rounds(&mut self) -> Result<(), Stop> {
        let rounds = self.args.rounds();
        let mut words = Vec::new();
        for word in &self.args.words {
            match Word::new(word) {
                Ok(word) => words.push(word),
                Err(why) => self.name(word, &why),
            }
        }
        if self.args.words.is_empty() {
            progress(format_args!("No -w options provided. Waiting on input from STDIN"));
            let mut stdin = Words::from_stdin();
            if rounds == Some(1) {
                return self.put_as_they_come(&mut stdin).await;
            }
            while let Some(word) = self.unless_interrupted(stdin.next()).await? {
                match word {
                    Ok(word) => words.push(word),
                    Err(why) => self.refuse(&why),
                }
            }
        }
        let mut round = 0;
        while !words.is_empty() {
            for (index, word) in words.iter().enumerate() {
                if self.outbox.is_full()
                    && let Err(stop) = self.call().await
                {
                    return Err(self.name_the_rest(stop, &words[index..]));
                }
                self.outbox.push(word.clone());
            }
            while !self.outbox.is_empty() {
                if let Err(stop) = self.call().await {
                    return Err(self.name_the_rest(stop, &[]));
                }
            }
            round += 1;
            if rounds == Some(round) {
                break;
            }
            if let Some(period) = self.args.period {
                progress(format_args!("Sleeping for {} seconds", period.as_secs_f64()));
                self.unless_interrupted(tokio::time::sleep(period)).await?;
            }
        }
        Ok(())
    }

    /// Makes a call when no more input is available at once, or a call is full.
    async fn put_as_they_come(&mut self, stdin: &mut Words) -> Result<(), Stop> {
        while let Some(first) = self.unless_interrupted(stdin.next()).await? {
            let mut next = Some(first);
            while let Some(word) = next {
                match word {
                    Ok(word) => self.outbox.push(word),
                    Err(why) => self.refuse(&why),
                }
                next = if self.outbox.is_full() { None } else { stdin.next_now() };
            }
            while !self.outbox.is_empty() {
                if let Err(stop) = self.call().await {
                    let stop = self.name_the_rest(stop, &[]);
                    if matches!(stop, Stop::Failed(_)) {
                        say::error(format_args!("the rest of stdin was not read"));
                    }
                    return Err(stop);
                }
            }
        }
        Ok(())
    }

    /// Makes one call, and pauses if some words were rejected.
    async fn call(&mut self) -> Result<(), Stop> {
        let started = Instant::now();
        let call = self.stream.put(self.outbox.next_call());
        let answer = tokio::select! {
            answer = call => answer,
            // The call may succeed, so the first Ctrl-C waits for the response.
            () = hurried(&mut self.interrupt) => {
                self.unanswered = self.outbox.count_under_way();
                return Err(Stop::Interrupted);
            }
        };
        let got_through = answer.is_ok();
        let failing_since = (!got_through).then(|| self.failing_since.unwrap_or(started));
        self.failing_since = failing_since;
        let settled = match answer {
            Ok(answers) => self.outbox.settle(answers, true),
            Err(failure) if failure.may_pass => {
                let is_over =
                    failing_since.is_some_and(|since| since.elapsed() > self.args.retry_for);
                self.outbox.settle(std::iter::repeat_with(|| Err(failure.clone())), !is_over)
            }
            Err(failure) => return Err(Stop::Failed(failure)),
        };
        self.put += settled.put.len() as u64;
        let name = self.stream.name();
        for word in &settled.put {
            progress(format_args!("Put word: {} into stream: {name}", say::short(word.as_str())));
        }
        for (word, why) in &settled.given_up {
            self.name(word.as_str(), why);
        }
        // If calls fail, more words of this round would fail too. The next round may succeed.
        if !got_through
            && self.args.period.is_none()
            && let Some((_, failure)) = settled.given_up.into_iter().next()
        {
            return Err(Stop::Failed(failure));
        }
        let pause = settled.pause.unwrap_or_default();
        self.unless_interrupted(tokio::time::sleep(pause)).await
    }

    async fn unless_interrupted<T>(&mut self, waiting: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            () = self.interrupt.wait() => Err(Stop::Interrupted),
            done = waiting => Ok(done),
        }
    }

    /// After a failure, reports the words that are left; after Ctrl-C it does not.
    fn name_the_rest(&mut self, stop: Stop, words: &[Word]) -> Stop {
        if let Stop::Failed(failure) = &stop {
            let left: Vec<Word> = self.outbox.give_up().chain(words.iter().cloned()).collect();
            for word in left {
                self.name(word.as_str(), failure);
            }
        }
        stop
    }

    fn name(&mut self, word: &str, why: &dyn std::fmt::Display) {
        self.not_put += 1;
        say::not_put(self.stream.name(), word, why);
    }

    fn refuse(&mut self, why: &str) {
        self.not_put += 1;
        say::error(format_args!("could not put {why}"));
    }
}

/// How long Ctrl-C waits for the response to the current call.
const LAST_ANSWER: Duration = Duration::from_secs(3);

/// Returns when the response is no longer waited for: some time after the first interrupt, which it
/// remembers, or at the second one.
async fn hurried(interrupt: &mut Interrupt) {
    interrupt.wait().await;
    let _ = tokio::time::timeout(LAST_ANSWER, interrupt.next()).await;
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "word" } else { "words" }
}
