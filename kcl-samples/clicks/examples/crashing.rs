//! The processor of the sample, but every second flush, on average, ends in a `kill -9` between the
//! commit and the checkpoint: for `tests/crashes.rs`.

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use kcl_clicks::Clicks;
use kcl_runtime::{
    Cadence, Checkpointer, DeadLetter, ProcessRecordsInput, RecordProcessor, Result, Runtime,
};
use rustix::process::{Signal, getpid, kill_process};

struct Crashing(Clicks);

impl RecordProcessor for Crashing {
    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result {
        self.0.process_records(input, checkpointer)
    }

    fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result {
        self.0.dead_letter(letter)
    }

    fn flush(&mut self) -> Result {
        self.0.flush()?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        if now.subsec_micros() % 2 == 0 {
            kill_process(getpid(), Signal::KILL)?;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let runtime = Runtime::new().cadence(Cadence::every_records(100));
    let result = runtime
        .run_with(|input| Ok(Crashing(Clicks::open(Path::new("clicks.db"), input.shard_id)?)));
    result.map_or_else(|error| error.exit_code(), |()| ExitCode::SUCCESS)
}
