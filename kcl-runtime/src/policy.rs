//! The user's choices: when to retry, when to checkpoint, and what follows from an error.

use std::error::Error;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use backon::BackoffBuilder;

use crate::ProcessorError;

/// Pauses between tries. Each is twice as long as the one before, up to a longest pause, plus up to
/// the same again of jitter, until the pauses add up to a total.
///
/// ```
/// use std::time::Duration;
/// use kcl_runtime::Backoff;
///
/// let backoff = Backoff::up_to(Duration::from_secs(30)).first(Duration::from_millis(50));
/// let pauses: Vec<Duration> = backoff.pauses().collect();
/// assert!(pauses.len() > 3 && pauses.iter().sum::<Duration>() <= Duration::from_secs(30));
/// assert_eq!(Backoff::none().pauses().count(), 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a backoff does nothing until a setting uses it"]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    total: Duration,
    jitter: bool,
}

/// Longer than any useful pause, and short enough that no sum overflows.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

impl Backoff {
    /// Creates pauses from 200 ms to 5 s that add up to `total` at most.
    pub fn up_to(total: Duration) -> Backoff {
        Backoff {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(5),
            total: total.min(A_YEAR),
            jitter: true,
        }
    }

    /// No retries.
    pub fn none() -> Backoff {
        Backoff::up_to(Duration::ZERO)
    }

    /// Sets the first pause (200 ms by default); at least 1 ms, so that the retries end.
    pub fn first(mut self, first: Duration) -> Backoff {
        self.first = first.clamp(Duration::from_millis(1), A_YEAR);
        self
    }

    /// Sets the longest pause before jitter (5 s by default).
    pub fn longest(mut self, longest: Duration) -> Backoff {
        self.longest = longest.clamp(Duration::from_millis(1), A_YEAR);
        self
    }

    /// Removes the jitter, for tests. In production it spreads the retries of a daemon's children,
    /// which are throttled at the same time.
    pub fn without_jitter(mut self) -> Backoff {
        self.jitter = false;
        self
    }

    /// Returns the pauses, in order.
    pub fn pauses(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let builder = backon::ExponentialBuilder::new()
            .with_min_delay(self.first.min(self.longest))
            .with_max_delay(self.longest)
            .without_max_times()
            .with_total_delay(Some(self.total));
        if self.jitter { builder.with_jitter().build() } else { builder.build() }
    }
}

/// When the runtime checkpoints by itself.
///
/// `Ok` from `process_records` then means that its records are processed, or that
/// [`flush`](crate::RecordProcessor::flush) will write them: the runtime calls it before each
/// checkpoint of its own. It checkpoints when the cadence is due after a batch, after
/// `shutdown_requested`, and at the shard's end.
///
/// The clock is read after each batch. If no records arrive, nothing happens until the next message,
/// so a cadence with a time needs `callProcessRecordsEvenForEmptyRecordList = true` in the
/// properties file: empty batches then serve as ticks. The runtime warns once if records wait much
/// too long.
///
/// ```
/// use std::time::Duration;
/// use kcl_runtime::{Cadence, Runtime};
///
/// let cadence = Cadence::every_records(1_000).or_every(Duration::from_secs(10));
/// let runtime = Runtime::new().cadence(cadence);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cadence {
    records: Option<NonZeroU64>,
    time: Option<Duration>,
}

impl Cadence {
    /// The processor checkpoints by itself. This is the default. The runtime warns once if records
    /// wait five minutes for a checkpoint.
    pub fn manual() -> Cadence {
        Cadence::default()
    }

    /// After each batch.
    pub fn each_batch() -> Cadence {
        Cadence::every_records(1)
    }

    /// After the batch that completes this many records since the last checkpoint; 0 counts as 1.
    pub fn every_records(count: u64) -> Cadence {
        let records = NonZeroU64::new(count).unwrap_or(NonZeroU64::MIN);
        Cadence { records: Some(records), time: None }
    }

    /// After the first batch that ends this long after the last checkpoint or the start.
    pub fn every(time: Duration) -> Cadence {
        Cadence { records: None, time: Some(time) }
    }

    /// Adds a time to a number of records, whichever comes first. See [`every`](Self::every).
    pub fn or_every(mut self, time: Duration) -> Cadence {
        self.time = Some(time);
        self
    }

    pub(crate) fn is_manual(self) -> bool {
        self == Cadence::manual()
    }

    pub(crate) fn time(self) -> Option<Duration> {
        self.time
    }

    /// Returns whether a checkpoint is due. `elapsed` is only called for a cadence with a time.
    pub(crate) fn is_due(self, uncovered: u64, elapsed: impl FnOnce() -> Duration) -> bool {
        self.records.is_some_and(|count| uncovered >= count.get())
            || self.time.is_some_and(|time| elapsed() >= time)
    }
}

/// What follows when `process_records` fails.
///
/// | error | leads to |
/// | --- | --- |
/// | [permanent](ProcessorError::permanent) | its record goes to [`dead_letter`](crate::RecordProcessor::dead_letter) at once, and the batch continues after it |
/// | may pass (any other) | with [`retry`](Self::retry), the batch is retried; then, or without it, the process ends or, with [`dead_letter`](Self::dead_letter) or [`then_dead_letter`](Self::then_dead_letter), the records go to `dead_letter` |
/// | panic | the process ends, or with [`dead_letter_panics`](Self::dead_letter_panics) the records go to `dead_letter`; it is never retried, as the processor's state may be inconsistent |
///
/// A processor without a `dead_letter` method ends with the original error instead. That the process
/// ends means: it exits without a status, the daemon stops its worker, and the records are delivered
/// again to the shard's next owner. No record is skipped silently.
///
/// **Where a retry starts.** At the record that the error names
/// ([`for_each_record`](crate::for_each_record) names it for you), as the records before it are
/// processed; if the error names none, at the first record that no checkpoint covers. So that a
/// retry counts nothing twice, let errors name their record, or leave no trace of a call that fails.
/// Whenever a retry starts later than the one before, or a record went to `dead_letter`, the backoff
/// starts anew.
///
/// The dead letters are the record that the error names, or all records of the batch that no
/// checkpoint covers.
///
/// All pauses for a record together must stay well under the daemon's `timeoutInSeconds`, if that is
/// set, or the daemon stops its worker. They end early when the daemon closes stdin.
///
/// ```
/// use std::time::Duration;
/// use kcl_runtime::{Backoff, OnError, Runtime};
///
/// let policy = OnError::retry(Backoff::up_to(Duration::from_secs(20)))
///     .permanent_if(|error| error.is::<std::str::Utf8Error>());
/// let runtime = Runtime::new().on_error(policy);
/// ```
#[derive(Default)]
#[must_use = "a policy does nothing until `Runtime::on_error` uses it"]
pub struct OnError {
    retry: Option<Backoff>,
    dead_letter: bool,
    pub(crate) dead_letter_panics: bool,
    is_permanent: Option<Classifier>,
}

type Classifier = Box<dyn Fn(&(dyn Error + 'static)) -> bool + Send>;

/// What follows from one error of `process_records`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Exit,
    DeadLetter,
}

impl OnError {
    /// An error that may pass ends the process. This is the default.
    pub fn exit() -> OnError {
        OnError::default()
    }

    /// An error that may pass is retried. After the last retry the process ends, unless
    /// [`then_dead_letter`](Self::then_dead_letter) follows.
    pub fn retry(backoff: Backoff) -> OnError {
        OnError { retry: Some(backoff), ..OnError::default() }
    }

    /// Every error sends its records to `dead_letter`, without a retry.
    pub fn dead_letter() -> OnError {
        OnError::default().then_dead_letter()
    }

    /// After the last retry, the records go to `dead_letter`.
    pub fn then_dead_letter(mut self) -> OnError {
        self.dead_letter = true;
        self
    }

    /// The records of a panic go to `dead_letter`. The processor continues, so its state must
    /// survive a panic.
    pub fn dead_letter_panics(mut self) -> OnError {
        self.dead_letter_panics = true;
        self
    }

    /// Decides which errors are permanent, apart from those made by [`ProcessorError::permanent`] or
    /// [`ProcessorError::transient`]. By default none is.
    pub fn permanent_if(
        mut self,
        is_permanent: impl Fn(&(dyn Error + 'static)) -> bool + Send + 'static,
    ) -> OnError {
        self.is_permanent = Some(Box::new(is_permanent));
        self
    }

    /// Returns the backoff for retries of an error that may pass.
    pub(crate) fn backoff(&self) -> Backoff {
        self.retry.unwrap_or(Backoff::none())
    }

    pub(crate) fn is_permanent(&self, error: &ProcessorError) -> bool {
        let classify = || self.is_permanent.as_ref().is_some_and(|decide| decide(error.get_ref()));
        error.is_permanent().unwrap_or_else(classify)
    }

    /// Decides about an error that is not retried, or no longer.
    pub(crate) fn verdict(&self, error: &ProcessorError) -> Verdict {
        if self.dead_letter || self.is_permanent(error) {
            Verdict::DeadLetter
        } else {
            Verdict::Exit
        }
    }
}

impl fmt::Debug for OnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnError")
            .field("retry", &self.retry)
            .field("dead_letter", &self.dead_letter)
            .field("dead_letter_panics", &self.dead_letter_panics)
            .field("permanent_if", &self.is_permanent.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Mostly useful durations, and some of any size.
    fn duration() -> impl Strategy<Value = Duration> {
        prop_oneof![
            4 => (0..100_000u64).prop_map(Duration::from_millis),
            1 => Just(Duration::MAX),
            1 => (0..u64::MAX).prop_map(Duration::from_nanos),
        ]
    }

    /// How many pauses are checked: a large total of small pauses has billions.
    const MAX_CHECKED: usize = 1000;

    proptest! {
        #[test]
        fn pauses_double_up_to_the_longest_and_stay_within_the_total(
            total in duration(),
            first in duration(),
            longest in duration(),
        ) {
            let backoff = Backoff::up_to(total).first(first).longest(longest).without_jitter();
            let (least, most) = (Duration::from_millis(1), A_YEAR);
            let longest = longest.clamp(least, most);
            let mut next = first.clamp(least, most).min(longest);
            let mut left = total.min(most);
            let pauses: Vec<_> = backoff.pauses().take(MAX_CHECKED).collect();
            for pause in &pauses {
                // The library computes in floating point.
                prop_assert!(pause.abs_diff(next) <= next / 100_000, "{:?} {:?}", pause, next);
                prop_assert!(*pause <= left, "{:?} {:?}", pause, left);
                left -= *pause;
                next = (*pause * 2).min(longest);
            }
            prop_assert!(pauses.len() == MAX_CHECKED || next + next / 100_000 > left);
        }

        #[test]
        fn jitter_at_most_doubles_a_pause(
            total in duration(),
            first in duration(),
            longest in duration(),
        ) {
            let backoff = Backoff::up_to(total).first(first).longest(longest);
            let pauses: Vec<_> = backoff.pauses().take(MAX_CHECKED).collect();
            let plain = backoff.without_jitter().pauses().take(MAX_CHECKED);
            prop_assert!(pauses.iter().sum::<Duration>() <= total);
            for (pause, plain) in pauses.into_iter().zip(plain) {
                prop_assert!(plain <= pause && pause <= plain * 2, "{:?} {:?}", pause, plain);
            }
        }

        #[test]
        fn cadence_of_records_is_due_at_the_count_and_never_at_zero(count: u64) {
            let cadence = Cadence::every_records(count);
            prop_assert_eq!(cadence.is_due(0, || Duration::MAX), false);
            prop_assert!(cadence.is_due(count.max(1), || Duration::ZERO));
            prop_assert_eq!(cadence.is_due(count.max(1) - 1, || Duration::MAX), false);
        }
    }
}
