//! An aggregation that checkpoints at sub-sequence numbers.
//!
//! Producers pack many user records into one Kinesis record (KPL aggregation). The daemon unpacks
//! them: they share a sequence number and differ in the sub-sequence number. A checkpoint must
//! contain both, or a restart counts some of them twice: `checkpoint_at(record)` does.
//!
//! Words are counted in windows of a hundred records. A window is written out, then checkpointed at
//! its last record, even inside a packed record.
//!
//! A record that fails leaves the counts as they were, and `for_each_record` lets a retry start at
//! it, so no policy counts a record twice.
//!
//! ```sh
//! cargo build -p kcl-samples --example aggregation
//! seq 1000 | cargo run -p kcl-helper -- local --input - -- target/debug/examples/aggregation
//! ```

use std::collections::BTreeMap;
use std::process::ExitCode;

use kcl_runtime::{
    Checkpointer, ProcessRecordsInput, RecordProcessor, Result, ShardEndCheckpointer,
    for_each_record, run,
};

pub(crate) const WINDOW: usize = 100;

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) words: BTreeMap<String, u64>,
    records: usize,
    pub(crate) windows: usize,
}

impl Counts {
    /// Writes the window out, here to stderr. It must be stored safely when this returns.
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
        for_each_record(input, |record| {
            let text = str::from_utf8(record.data)?;
            for word in text.split_whitespace() {
                *self.words.entry(word.to_owned()).or_default() += 1;
            }
            self.records += 1;
            if self.records == WINDOW {
                self.write_out();
                checkpointer.checkpoint_at(record)?;
            }
            Ok(())
        })
    }

    /// No more records follow, so the last window is written out although it is not full.
    fn shard_ended(&mut self, checkpointer: &mut ShardEndCheckpointer<'_>) -> Result {
        self.write_out();
        Ok(checkpointer.checkpoint()?)
    }

    // `shutdown_requested` and `lease_lost` do nothing: an unfinished window is not checkpointed, and
    // its records are delivered again to the shard's next owner.
}

fn main() -> ExitCode {
    run(Counts::default()).map_or_else(|error| error.exit_code(), |()| ExitCode::SUCCESS)
}
