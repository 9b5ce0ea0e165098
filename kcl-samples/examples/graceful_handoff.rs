//! Graceful handoff: what is held in memory is flushed and checkpointed when the daemon asks.
//!
//! Before a daemon stops, or hands the shard to another worker, it sends `shutdownRequested`: the
//! last chance to checkpoint, so that the next owner begins exactly where this one stopped. After
//! `lease_lost` it is too late: what is still held must be dropped, as the next owner has it.
//!
//! ```sh
//! cargo build -p kcl-samples --example graceful_handoff
//! cargo run -p kcl-helper -- local --input FILE -- target/debug/examples/graceful_handoff
//! ```
//! Ctrl-C asks it to stop; a second run goes on behind the last line that the first one wrote.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::ExitCode;

use kcl_runtime::{
    Checkpointer, InitializeInput, ProcessRecordsInput, RecordProcessor, Result,
    ShardEndCheckpointer, run,
};

/// Bytes that are held before they are written.
const ENOUGH: usize = 1 << 20;

/// Collects records, and appends them to a file for each shard in few large writes.
#[derive(Default)]
pub(crate) struct Archive {
    pub(crate) folder: std::path::PathBuf,
    file: Option<File>,
    held: Vec<u8>,
}

impl Archive {
    fn flush(&mut self) -> Result {
        if let Some(file) = &mut self.file {
            file.write_all(&self.held)?;
            file.sync_data()?;
            self.held.clear();
        }
        Ok(())
    }
}

impl RecordProcessor for Archive {
    fn initialize(&mut self, input: &InitializeInput<'_>) -> Result {
        let path = self.folder.join(format!("{}.archive", input.shard_id));
        self.file = Some(OpenOptions::new().create(true).append(true).open(path)?);
        Ok(())
    }

    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result {
        for record in &input.records {
            self.held.extend_from_slice(record.data);
            self.held.push(b'\n');
        }
        // The checkpoint covers all that was delivered, so all of it is flushed first.
        if self.held.len() >= ENOUGH { self.shutdown_requested(checkpointer) } else { Ok(()) }
    }

    fn shutdown_requested(&mut self, checkpointer: &mut Checkpointer<'_>) -> Result {
        self.flush()?;
        Ok(checkpointer.checkpoint()?)
    }

    fn shard_ended(&mut self, checkpointer: &mut ShardEndCheckpointer<'_>) -> Result {
        self.flush()?;
        Ok(checkpointer.checkpoint()?)
    }
}

fn main() -> ExitCode {
    run(Archive::default()).map_or_else(|error| error.exit_code(), |()| ExitCode::SUCCESS)
}
