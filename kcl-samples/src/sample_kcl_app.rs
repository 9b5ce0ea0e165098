//! A processor that writes one line per record and checkpoints every 30 seconds: the first sample of
//! every KCL library.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use kcl_runtime::{
    Backoff, Checkpointer, ExtendedSequenceNumber, InitializeInput, LeaseLostInput,
    ProcessRecordsInput, RecordProcessor, Result, Runtime, ShardEndCheckpointer,
};

use crate::say;

/// Time between checkpoints. The first one follows the first batch.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);

/// A checkpoint is tried five times, five seconds apart.
const BETWEEN_TRIES: Duration = Duration::from_secs(5);
const RETRIES: u32 = 4;

/// Writes a line per record to stderr, which the daemon copies into its log.
#[derive(Debug, Default)]
pub struct SampleProcessor {
    /// The highest sequence number that was processed.
    largest: Option<ExtendedSequenceNumber<'static>>,
    last_checkpoint: Option<Instant>,
}

impl RecordProcessor for SampleProcessor {
    fn initialize(&mut self, input: &InitializeInput<'_>) -> Result {
        say(format_args!("Initialized for {}", input.shard_id));
        Ok(())
    }

    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result {
        for record in &input.records {
            say(format_args!(
                "Record (Partition Key: {}, Sequence Number: {}, Subsequence Number: {}, \
                 Data Size: {})",
                record.partition_key,
                record.sequence_number,
                record.sub_sequence_number.unwrap_or(0),
                record.data.len(),
            ));
            self.largest =
                self.largest.take().max(Some(record.extended_sequence_number().to_owned()));
        }
        let is_due = self.last_checkpoint.is_none_or(|time| time.elapsed() >= CHECKPOINT_EVERY);
        if let Some(largest) = self.largest.as_ref().filter(|_| is_due) {
            // If the daemon refuses it, the next checkpoint covers the same records.
            match checkpointer.checkpoint_at(largest) {
                Ok(()) => self.last_checkpoint = Some(Instant::now()),
                Err(error) => say(format_args!("Failed to checkpoint at {largest}: {error}")),
            }
        }
        Ok(())
    }

    fn lease_lost(&mut self, _: &LeaseLostInput<'_>) -> Result {
        say(format_args!("Lease has been lost"));
        Ok(())
    }

    fn shard_ended(&mut self, checkpointer: &mut ShardEndCheckpointer<'_>) -> Result {
        say(format_args!("Shard has ended, checkpointing"));
        Ok(checkpointer.checkpoint()?)
    }

    fn shutdown_requested(&mut self, checkpointer: &mut Checkpointer<'_>) -> Result {
        say(format_args!("Shutdown has been requested, checkpointing"));
        Ok(checkpointer.checkpoint()?)
    }
}

/// Runs the sample over stdin and stdout.
pub fn main() -> ExitCode {
    let retry = Backoff::up_to(BETWEEN_TRIES * RETRIES)
        .first(BETWEEN_TRIES)
        .longest(BETWEEN_TRIES)
        .without_jitter();
    match Runtime::new().checkpoint_retry(retry).run(SampleProcessor::default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.exit_code(),
    }
}

#[cfg(test)]
mod tests {
    use kcl_runtime::CheckpointError;
    use kcl_runtime::testing::Daemon;

    use super::*;

    #[test]
    fn first_batch_and_shutdown_are_checkpointed() {
        let report = Daemon::new()
            .batch(["cat", "dog"])
            .batch(["bird"])
            .shutdown_requested()
            .lease_lost()
            .run(SampleProcessor::default());
        report.outcome.unwrap();
        assert_eq!(report.checkpoints, ["2/0", "3/0"]);
    }

    #[test]
    fn empty_first_batch_requests_no_checkpoint() {
        let report = Daemon::new().empty_batch().run(SampleProcessor::default());
        report.outcome.unwrap();
        assert!(report.checkpoints.is_empty() && report.refused.is_empty());
    }

    #[test]
    fn refused_checkpoint_stops_nothing() {
        let report = Daemon::new()
            .refuse_checkpoint(CheckpointError::InvalidState)
            .batch(["cat"])
            .batch(["dog"])
            .shutdown_requested()
            .run(SampleProcessor::default());
        report.outcome.unwrap();
        assert_eq!(report.checkpoints, ["2/0"]);
    }

    #[test]
    fn shard_end_is_checkpointed() {
        let report = Daemon::new().batch(["cat"]).shard_ended().run(SampleProcessor::default());
        report.outcome.unwrap();
        assert_eq!(report.checkpoints, ["1/0", "SHARD_END/0"]);
    }
}
