//! Buffers records and appends them to a file in large writes. `flush` is all it takes: the runtime
//! calls it before each checkpoint of its own.
//!
//! Before a daemon stops, or hands the shard to another worker, it sends `shutdownRequested`: the
//! runtime flushes and checkpoints, so that the next owner starts where this one stopped. After
//! `lease_lost` it is too late: what is buffered is dropped, as the next owner gets it.
//!
//! ```sh
//! cargo build -p kcl-samples --example graceful_handoff
//! cargo run -p kcl-helper -- local --input FILE -- target/debug/examples/graceful_handoff
//! ```
//! Ctrl-C stops it; a second run continues after the last line that the first one wrote.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use kcl_runtime::{Cadence, Checkpointer, ProcessRecordsInput, RecordProcessor, Result, Runtime};

/// One file per shard.
pub(crate) struct Archive {
    file: File,
    buffer: Vec<u8>,
}

impl Archive {
    pub(crate) fn open(folder: &Path, shard_id: &str) -> Result<Archive> {
        let path = folder.join(format!("{shard_id}.archive"));
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Archive { file, buffer: Vec::new() })
    }
}

impl RecordProcessor for Archive {
    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        _: &mut Checkpointer<'_>,
    ) -> Result {
        for record in &input.records {
            self.buffer.extend_from_slice(record.data);
            self.buffer.push(b'\n');
        }
        Ok(())
    }

    fn flush(&mut self) -> Result {
        let length = self.file.metadata()?.len();
        if let Err(error) = self.file.write_all(&self.buffer).and_then(|()| self.file.sync_data()) {
            // A retry must not append a part twice.
            self.file.set_len(length)?;
            return Err(error.into());
        }
        self.buffer.clear();
        Ok(())
    }
}

/// Every 100,000 records or ten seconds. The time needs ticks: set
/// `callProcessRecordsEvenForEmptyRecordList = true` in the properties file.
pub(crate) fn runtime() -> Runtime {
    Runtime::new().cadence(Cadence::every_records(100_000).or_every(Duration::from_secs(10)))
}

fn main() -> ExitCode {
    let result = runtime().run_with(|input| Archive::open(".".as_ref(), input.shard_id));
    result.map_or_else(|error| error.exit_code(), |()| ExitCode::SUCCESS)
}
