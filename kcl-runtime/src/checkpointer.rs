//! Checkpointers: lent only where the daemon allows a checkpoint.

use kcl_protocol::Position;

use crate::CheckpointFailed;

/// Stores how far the shard has been dealt with. Lent to `process_records` and
/// `shutdown_requested`.
///
/// Errors that may pass (throttling, a failed dependency) are retried as
/// [`Runtime::checkpoint_retry`](crate::Runtime::checkpoint_retry) says; others come back at once.
/// When the lease is lost, no more checkpoints are sent to the daemon: each fails with
/// [`is_lease_lost`](CheckpointFailed::is_lease_lost).
///
/// It stays on the thread that it was lent to: a processor with threads of its own tells this one
/// how far they are.
///
/// ```
/// use kcl_runtime::testing::Daemon;
/// use kcl_runtime::{Checkpointer, ProcessRecordsInput, RecordProcessor, Result};
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
///         Ok(checkpointer.checkpoint()?)
///     }
/// }
///
/// let report = Daemon::new().batch(["a", "b", "c"]).run(&mut Halfway);
/// assert_eq!(report.checkpoints, ["1/0", "3/0"]);
/// ```
pub struct Checkpointer<'a>(pub(crate) &'a mut dyn CheckpointSink);

/// Stores that the shard's last record has been dealt with. Lent to `shard_ended`; it has
/// [`checkpoint`](Self::checkpoint) alone, as no other request surely ends a shard.
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
    ) -> Result<(), CheckpointFailed>;
}

/// Which setting limits the retries of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryBudget {
    Checkpoint,
    /// All retries of the shard's end share one budget.
    ShardEnd,
}

impl Checkpointer<'_> {
    /// Checkpoints behind all records that were delivered so far: those of this batch included,
    /// whether or not they have been dealt with.
    ///
    /// # Errors
    /// The daemon refused it, after all retries.
    pub fn checkpoint(&mut self) -> Result<(), CheckpointFailed> {
        self.0.checkpoint(&Position::AllDelivered, RetryBudget::Checkpoint)
    }

    /// Checkpoints behind this record: a [`Record`](kcl_protocol::Record), or an
    /// [`ExtendedSequenceNumber`](kcl_protocol::ExtendedSequenceNumber) of both its numbers, or a
    /// [`SequenceNumber`](kcl_protocol::SequenceNumber) alone, with which the daemon takes 0 for
    /// the sub-sequence number.
    ///
    /// # Errors
    /// The daemon refused it, after all retries. It takes only numbers between the last checkpoint
    /// and the last delivered record.
    pub fn checkpoint_at<'p>(
        &mut self,
        at: impl Into<Position<'p>>,
    ) -> Result<(), CheckpointFailed> {
        self.0.checkpoint(&at.into(), RetryBudget::Checkpoint)
    }
}

impl ShardEndCheckpointer<'_> {
    /// Checkpoints the shard's end.
    ///
    /// # Errors
    /// The daemon refused it. Errors that may pass are retried as
    /// [`Runtime::shard_end_retry`](crate::Runtime::shard_end_retry) says.
    pub fn checkpoint(&mut self) -> Result<(), CheckpointFailed> {
        self.0.checkpoint(&Position::AllDelivered, RetryBudget::ShardEnd)
    }
}

impl std::fmt::Debug for Checkpointer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpointer").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ShardEndCheckpointer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardEndCheckpointer").finish_non_exhaustive()
    }
}
