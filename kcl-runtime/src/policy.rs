//! What the user chooses: when to retry, when to checkpoint, what a failing batch leads to.

use std::num::NonZeroU64;
use std::time::Duration;

use backon::BackoffBuilder;
use kcl_protocol::Record;

use crate::{ProcessorError, Result};

/// Pauses between tries: each twice as long as the one before, up to a longest, with up to as much
/// again of jitter on top, until the pauses add up to a total.
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
#[must_use = "pauses do nothing until they are given to a setting"]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    total: Duration,
    jitter: bool,
}

/// Longer than any pause that makes sense, and short enough that no sum overflows.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

impl Backoff {
    /// Pauses from 200 ms to 5 s that add up to no more than `total`.
    pub fn up_to(total: Duration) -> Backoff {
        Backoff {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(5),
            total: total.min(A_YEAR),
            jitter: true,
        }
    }

    /// No second try.
    pub fn none() -> Backoff {
        Backoff::up_to(Duration::ZERO)
    }

    /// Sets the first pause (200 ms); at least 1 ms, so that the tries have an end.
    pub fn first(mut self, first: Duration) -> Backoff {
        self.first = first.clamp(Duration::from_millis(1), A_YEAR);
        self
    }

    /// Sets the longest pause before jitter (5 s).
    pub fn longest(mut self, longest: Duration) -> Backoff {
        self.longest = longest.clamp(Duration::from_millis(1), A_YEAR);
        self
    }

    /// Leaves the jitter out: for tests. Children of one daemon are throttled together, and would
    /// try again together.
    pub fn without_jitter(mut self) -> Backoff {
        self.jitter = false;
        self
    }

    /// The pauses, in order.
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
/// To choose any but [`Manual`](Self::Manual) says: `Ok` from `process_records` means that its
/// records are durably dealt with. A processor that keeps records in memory must checkpoint by
/// hand.
///
/// With a cadence the runtime also checkpoints after `shutdown_requested` and `shard_ended` have
/// returned `Ok`. A checkpoint of a cadence that fails, after its retries, is a warning: the next
/// one covers its records too.
///
/// ```
/// use kcl_runtime::{Cadence, Runtime};
/// let runtime = Runtime::new().cadence(Cadence::every_records(1_000));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Cadence {
    /// Never: the processor does. Five minutes of records without a checkpoint are warned about,
    /// once.
    #[default]
    Manual,
    /// After each batch.
    EachBatch,
    /// After the batch that completes this many records since the last checkpoint.
    EveryRecords(NonZeroU64),
    /// After the first batch that ends this long after the last checkpoint, or after the start.
    AtMostEvery(Duration),
}

impl Cadence {
    /// [`EveryRecords`](Self::EveryRecords); 0 counts as 1.
    pub fn every_records(count: u64) -> Cadence {
        Cadence::EveryRecords(NonZeroU64::new(count).unwrap_or(NonZeroU64::MIN))
    }
}

/// What an error from `process_records` leads to.
///
/// The daemon cannot be told of an error: it can only be answered or not. So a failed batch is
/// either tried again, or handed to a callback of yours that keeps its records (dead letters), or
/// ends the process, without a status, which makes the daemon stop its worker; the records are then
/// delivered again to whoever takes the shard.
///
/// A retry delivers the batch again from behind the last record that was checkpointed in it, or
/// from the record that the error names ([`ProcessorError::at`]) on. Skipping gives up the same records,
/// or the named one alone. An error is what the method returned, also where that is a checkpoint's
/// (`checkpointer.checkpoint()?`): who skips records may prefer to log that one and return `Ok`.
///
/// All pauses of a batch together must stay well under the daemon's `timeoutInSeconds`, where that
/// is set, or the daemon stops its worker meanwhile. They end at once when the daemon hangs up.
///
/// A panic counts as an error, but is never retried: the processor's own state may be torn. It is
/// skipped only if [`skip_panics`](Self::skip_panics) says so.
///
/// ```
/// use std::time::Duration;
/// use kcl_runtime::{Backoff, OnError, Runtime};
///
/// let policy = OnError::retry(Backoff::up_to(Duration::from_secs(20))).then_skip(|failed| {
///     for record in failed.records {
///         eprintln!("given up: {record:?}: {}", failed.error);
///     }
///     Ok(())
/// });
/// let runtime = Runtime::new().on_error(policy);
/// ```
#[derive(Default)]
#[must_use = "a policy does nothing until `Runtime::on_error` has it"]
pub struct OnError {
    pub(crate) retry: Option<Backoff>,
    pub(crate) skip: Option<SkipCallback>,
    pub(crate) skip_panics: bool,
}

type SkipCallback = Box<dyn FnMut(&FailedRecords<'_, '_>) -> Result + Send>;

impl OnError {
    /// Ends the process at the first error. This is the default.
    pub fn exit() -> OnError {
        OnError::default()
    }

    /// Tries the batch again; then ends the process, unless [`then_skip`](Self::then_skip) follows.
    pub fn retry(backoff: Backoff) -> OnError {
        OnError { retry: Some(backoff), ..OnError::default() }
    }

    /// Hands the records to `keep` and goes on with those behind them. If `keep` fails, the process
    /// ends: no record is skipped silently.
    pub fn skip(keep: impl FnMut(&FailedRecords<'_, '_>) -> Result + Send + 'static) -> OnError {
        OnError::default().then_skip(keep)
    }

    /// As [`skip`](Self::skip), once the retries are used up.
    pub fn then_skip(
        mut self,
        keep: impl FnMut(&FailedRecords<'_, '_>) -> Result + Send + 'static,
    ) -> OnError {
        self.skip = Some(Box::new(keep));
        self
    }

    /// Skips the records of a panic too. The processor is used further: its state must bear that.
    pub fn skip_panics(mut self) -> OnError {
        self.skip_panics = true;
        self
    }
}

impl std::fmt::Debug for OnError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnError")
            .field("retry", &self.retry)
            .field("skip", &self.skip.is_some())
            .field("skip_panics", &self.skip_panics)
            .finish()
    }
}

/// Records that are about to be skipped, for the callback that keeps them.
///
/// ```
/// use kcl_runtime::OnError;
/// let policy = OnError::skip(|failed| {
///     eprintln!("{}: {} records: {}", failed.shard_id, failed.records.len(), failed.error);
///     Ok(())
/// });
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedRecords<'a, 'r> {
    /// The shard.
    pub shard_id: &'a str,
    /// The records; never empty.
    pub records: &'a [Record<'r>],
    /// What `process_records` returned last; a panic's message for a panic.
    pub error: &'a ProcessorError,
    /// How often `process_records` was called with them.
    pub tries: u32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Mostly of a size that makes sense, at times of any.
    fn duration() -> impl Strategy<Value = Duration> {
        prop_oneof![
            4 => (0..100_000u64).prop_map(Duration::from_millis),
            1 => Just(Duration::MAX),
            1 => (0..u64::MAX).prop_map(Duration::from_nanos),
        ]
    }

    /// How many pauses are looked at: with a large total and small pauses there are billions.
    const MANY: usize = 1000;

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
            let pauses: Vec<_> = backoff.pauses().take(MANY).collect();
            for pause in &pauses {
                // The library reckons in floating point.
                prop_assert!(pause.abs_diff(next) <= next / 100_000, "{:?} {:?}", pause, next);
                prop_assert!(*pause <= left, "{:?} {:?}", pause, left);
                left -= *pause;
                next = (*pause * 2).min(longest);
            }
            prop_assert!(pauses.len() == MANY || next + next / 100_000 > left);
        }

        #[test]
        fn jitter_makes_a_pause_longer_by_itself_at_most(
            total in duration(),
            first in duration(),
            longest in duration(),
        ) {
            let backoff = Backoff::up_to(total).first(first).longest(longest);
            let pauses: Vec<_> = backoff.pauses().take(MANY).collect();
            let plain = backoff.without_jitter().pauses().take(MANY);
            prop_assert!(pauses.iter().sum::<Duration>() <= total);
            for (pause, plain) in pauses.into_iter().zip(plain) {
                prop_assert!(plain <= pause && pause <= plain * 2, "{:?} {:?}", pause, plain);
            }
        }

        #[test]
        fn a_cadence_of_records_is_never_of_none(count: u64) {
            let cadence = Cadence::every_records(count);
            prop_assert_eq!(cadence, Cadence::EveryRecords(NonZeroU64::new(count.max(1)).unwrap()));
        }
    }
}
