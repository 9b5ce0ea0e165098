//! A processor that does almost nothing, to measure the code around it.
//!
//! It sums up the payloads' lengths, and their first and last bytes. It checkpoints at the last record
//! of every `BENCH_CKPT_EVERY`-th batch (an environment variable, 10 by default, 0 for never) and at
//! the shard's end. When its run ends, for whatever reason, it writes `BENCH records=N bytes=N edge=N`
//! to stderr.

use std::num::NonZeroU64;
use std::process::ExitCode;

use kcl_runtime::{
    Checkpointer, ProcessRecordsInput, RecordProcessor, Result, ShardEndCheckpointer, run,
};

use crate::say;

/// The sums.
#[derive(Debug)]
pub struct BenchProcessor {
    checkpoint_every: Option<NonZeroU64>,
    batches: u64,
    records: u64,
    bytes: u64,
    edge: u64,
}

impl BenchProcessor {
    /// Creates a processor that checkpoints after this many batches; `None` means never.
    pub fn new(checkpoint_every: Option<NonZeroU64>) -> BenchProcessor {
        BenchProcessor { checkpoint_every, batches: 0, records: 0, bytes: 0, edge: 0 }
    }

    /// Returns the line to print at the end of the run.
    pub fn summary(&self) -> String {
        let BenchProcessor { records, bytes, edge, .. } = self;
        format!("BENCH records={records} bytes={bytes} edge={edge}")
    }
}

impl RecordProcessor for BenchProcessor {
    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result {
        for record in &input.records {
            self.records += 1;
            self.bytes += record.data.len() as u64;
            if let (Some(first), Some(last)) = (record.data.first(), record.data.last()) {
                self.edge += u64::from(*first) + u64::from(*last);
            }
        }
        self.batches += 1;
        let is_due = self.checkpoint_every.is_some_and(|every| self.batches % every == 0);
        if let Some(last) = input.records.last().filter(|_| is_due) {
            checkpointer.checkpoint_at(last)?;
        }
        Ok(())
    }

    fn shard_ended(&mut self, checkpointer: &mut ShardEndCheckpointer<'_>) -> Result {
        Ok(checkpointer.checkpoint()?)
    }
}

/// Runs it over stdin and stdout.
pub fn main() -> ExitCode {
    let every = std::env::var("BENCH_CKPT_EVERY").unwrap_or_else(|_| "10".to_owned());
    let Ok(every) = every.parse() else {
        say(format_args!("error: BENCH_CKPT_EVERY is invalid: {every:?} is not a whole number"));
        return ExitCode::from(2);
    };
    let mut processor = BenchProcessor::new(NonZeroU64::new(every));
    let result = run(&mut processor);
    say(format_args!("{}", processor.summary()));
    match result {
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
    fn lengths_and_edges_are_summed() {
        let mut processor = BenchProcessor::new(None);
        let report = Daemon::new().batch(["\u{1}ab\u{2}", "\u{3}", ""]).run(&mut processor);
        report.outcome.unwrap();
        assert_eq!(processor.summary(), "BENCH records=3 bytes=5 edge=9");
        assert!(report.checkpoints.is_empty());
    }

    #[test]
    fn every_second_batch_is_checkpointed_and_a_refusal_does_not_stop_it() {
        let mut processor = BenchProcessor::new(NonZeroU64::new(2));
        let report = Daemon::new()
            .refuse_checkpoint(CheckpointError::InvalidState)
            .batch(["a"])
            .batch(["b"])
            .batch(["c"])
            .batch(["d", "e"])
            .shard_ended()
            .run(&mut processor);
        report.outcome.unwrap();
        assert_eq!(report.checkpoints, ["5/0", "SHARD_END/0"]);
    }
}
