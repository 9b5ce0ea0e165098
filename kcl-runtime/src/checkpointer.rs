//! Checkpointers: lent only where the daemon allows a checkpoint.

use std::fmt;
use std::time::Duration;

use kcl_protocol::{CheckpointError, ExtendedSequenceNumber, Position};

/// Stores how far the shard has been processed. Lent to `process_records` and `shutdown_requested`.
///
/// A checkpoint that the daemon refuses for a reason that may pass (throttling, a failed dependency)
/// is retried as [`Runtime::checkpoint_retry`](crate::Runtime::checkpoint_retry) says. If the daemon
/// still refuses it, that is a warning in the log, and not an error: `Ok` is returned, and the next
/// checkpoint covers the same records. So `checkpointer.checkpoint()?` never ends a worker because
/// DynamoDB is busy, and a [cadence](crate::Cadence) behaves the same. [`stored`](Self::stored)
/// returns what is really stored.
///
/// Two errors are left. The lease is lost
/// ([`is_lease_lost`](CheckpointError::is_lease_lost)): return the error, the runtime answers the
/// message all the same. This is also the error once the daemon is gone. Or a position that is
/// neither the last checkpoint nor a record delivered after it
/// ([`IllegalArgument`](CheckpointError::IllegalArgument)), a bug of the processor.
///
/// A checkpointer stays on the thread that it was lent to: a processor with threads of its own lets
/// them report how far they are.
///
/// ```
/// use kcl_runtime::testing::Daemon;
/// use kcl_runtime::{CheckpointError, Checkpointer, ProcessRecordsInput, RecordProcessor, Result};
///
/// struct Halfway;
///
/// impl RecordProcessor for Halfway {
///     fn process_records(
///         &mut self,
///         input: &ProcessRecordsInput<'_>,
///         checkpointer: &mut Checkpointer<'_>,
///     ) -> Result {
///         checkpointer.checkpoint_at(&input.records[0])?;
///         assert_eq!(checkpointer.stored().unwrap().to_string(), "1/0");
///         Ok(checkpointer.checkpoint()?)
///     }
/// }
///
/// let report = Daemon::new().batch(["a", "b", "c"]).run(&mut Halfway);
/// report.outcome.unwrap();
/// assert_eq!(report.checkpoints, ["1/0", "3/0"]);
/// ```
pub struct Checkpointer<'a>(pub(crate) &'a mut dyn CheckpointSink);

/// Stores that the shard's last record has been processed. Lent to `shard_ended`. It has no
/// `checkpoint_at`, as only a checkpoint of the end lets the child shards start.
///
/// ```
/// use kcl_runtime::testing::Daemon;
/// use kcl_runtime::{
///     Checkpointer, ProcessRecordsInput, RecordProcessor, Result, ShardEndCheckpointer,
/// };
///
/// struct Buffered(Vec<u8>);
///
/// impl RecordProcessor for Buffered {
///     fn process_records(&mut self, input: &ProcessRecordsInput<'_>, _: &mut Checkpointer<'_>) -> Result {
///         self.0.extend(input.records.iter().flat_map(|record| record.data));
///         Ok(())
///     }
///
///     fn shard_ended(&mut self, checkpointer: &mut ShardEndCheckpointer<'_>) -> Result {
///         std::fs::write(std::env::temp_dir().join("kcl-doc-example"), &self.0)?;
///         Ok(checkpointer.checkpoint()?)
///     }
/// }
///
/// let report = Daemon::new().batch(["a"]).shard_ended().run(&mut Buffered(Vec::new()));
/// assert_eq!(report.checkpoints, ["SHARD_END/0"]);
/// ```
pub struct ShardEndCheckpointer<'a>(pub(crate) &'a mut dyn CheckpointSink);

/// Sends the requests of checkpointers.
pub(crate) trait CheckpointSink {
    fn checkpoint(
        &mut self,
        position: &Position<'_>,
        budget: RetryBudget,
    ) -> Result<(), CheckpointError>;

    fn stored(&self) -> Option<ExtendedSequenceNumber<'_>>;

    fn now(&self) -> Duration;
}

/// Which setting limits the retries of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryBudget {
    Checkpoint,
    /// All retries of the shard's end share one budget.
    ShardEnd,
}

impl Checkpointer<'_> {
    /// Checkpoints all records delivered so far, including all of this batch, whether or not they
    /// have been processed.
    ///
    /// # Errors
    /// The lease is lost, or the daemon is gone. See [`Checkpointer`].
    pub fn checkpoint(&mut self) -> Result<(), CheckpointError> {
        self.0.checkpoint(&Position::AllDelivered, RetryBudget::Checkpoint)
    }

    /// Checkpoints this record and all before it. `position` is a [`Record`](kcl_protocol::Record),
    /// an [`ExtendedSequenceNumber`] or a [`SequenceNumber`](kcl_protocol::SequenceNumber), for
    /// which the daemon assumes the sub-sequence number 0.
    ///
    /// # Errors
    /// The lease is lost, the daemon is gone, or the position is not between the last checkpoint and
    /// the last delivered record. See [`Checkpointer`].
    pub fn checkpoint_at<'p>(
        &mut self,
        position: impl Into<Position<'p>>,
    ) -> Result<(), CheckpointError> {
        self.0.checkpoint(&position.into(), RetryBudget::Checkpoint)
    }

    /// Returns the last checkpoint that this process has stored.
    pub fn stored(&self) -> Option<ExtendedSequenceNumber<'_>> {
        self.0.stored()
    }

    /// Returns the time since the run started, by the run's [`Timer`](crate::Timer). Under
    /// [`testing::Daemon`](crate::testing::Daemon) this is virtual time.
    pub fn now(&self) -> Duration {
        self.0.now()
    }
}

impl ShardEndCheckpointer<'_> {
    /// Checkpoints the shard's end.
    ///
    /// # Errors
    /// The daemon refused it. Errors that may pass are retried as
    /// [`Runtime::shard_end_retry`](crate::Runtime::shard_end_retry) says.
    pub fn checkpoint(&mut self) -> Result<(), CheckpointError> {
        self.0.checkpoint(&Position::AllDelivered, RetryBudget::ShardEnd)
    }

    /// Returns the time since the run started, as [`Checkpointer::now`] does.
    pub fn now(&self) -> Duration {
        self.0.now()
    }
}

impl fmt::Debug for Checkpointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpointer").finish_non_exhaustive()
    }
}

impl fmt::Debug for ShardEndCheckpointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardEndCheckpointer").finish_non_exhaustive()
    }
}
