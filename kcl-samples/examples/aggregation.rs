//! An aggregation that checkpoints at sub-sequence numbers.
//!
//! Producers pack many user records into one Kinesis record (KPL aggregation). The daemon unpacks
//! them: they share a sequence number and differ by the sub-sequence number. So a checkpoint must
//! name both, or a restart counts some of them twice: `checkpoint_at(record)` does.
//!
//! Words are counted in windows of a hundred records. A window is written out, then checkpointed at
//! its last record, wherever in a packed record that is.
//!
//! ```sh
//! cargo build -p kcl-samples --example aggregation
//! seq 1000 | cargo run -p kcl-helper -- local --input - -- target/debug/examples/aggregation
//! ```

use std::collections::BTreeMap;
use std::process::ExitCode;

use kcl_runtime::{
    Checkpointer, ProcessRecordsInput, RecordProcessor, Result, ShardEndCheckpointer, run,
};

pub(crate) const WINDOW: usize = 100;

#[derive(Default)]
pub(crate) struct Counts {
    words: BTreeMap<String, u64>,
    records: usize,
    pub(crate) windows: usize,
}

impl Counts {
    /// Writes the window out. Here that is stderr; elsewhere it must be safe when this returns.
    fn write_out(&mut self) {
        let words = std::mem::take(&mut self.words);
        eprintln!("{} records, {} different words", self.records, words.len());
        self.records = 0;
        self.windows += 1;
    }
}

impl RecordProcessor for Counts {
    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result {
        for record in &input.records {
            for word in String::from_utf8_lossy(record.data).split_whitespace() {
                *self.words.entry(word.to_owned()).or_default() += 1;
            }
            self.records += 1;
            if self.records == WINDOW {
                self.write_out();
                checkpointer.checkpoint_at(record)?;
            }
        }
        Ok(())
    }

    /// Nothing comes after the last record, so its window is written out though it is not full.
    fn shard_ended(&mut self, checkpointer: &mut ShardEndCheckpointer<'_>) -> Result {
        self.write_out();
        Ok(checkpointer.checkpoint()?)
    }

    // At `shutdown_requested` and `lease_lost` nothing is done: an unfinished window is not
    // checkpointed, and comes again whole to whoever takes the shard.
}

fn main() -> ExitCode {
    run(Counts::default()).map_or_else(|error| error.exit_code(), |()| ExitCode::SUCCESS)
}
