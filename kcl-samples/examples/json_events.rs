//! Typed JSON events, and a file for records that are none (dead letters).
//!
//! A record that is not an event stops nothing: it is written to the file with the reason, and the
//! records after it are processed. If the file cannot be written, the process ends and the record is
//! delivered again, so nothing is lost silently.
//!
//! ```sh
//! cargo build -p kcl-samples --example json_events
//! echo '{"user":"ann","cents":250}' |
//!     cargo run -p kcl-helper -- local --input - -- target/debug/examples/json_events
//! ```

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use kcl_runtime::{
    Cadence, Checkpointer, DeadLetter, ProcessRecordsInput, ProcessorError, RecordProcessor,
    Result, Runtime, for_each_record,
};
use serde::Deserialize;

/// What producers send. Texts may borrow from the record.
#[derive(Debug, Deserialize)]
struct Purchase<'a> {
    #[serde(borrow)]
    user: std::borrow::Cow<'a, str>,
    cents: u64,
}

pub(crate) struct Purchases {
    pub(crate) cents: u64,
    dead_letters: File,
}

impl Purchases {
    pub(crate) fn open(dead_letters: &Path) -> Result<Purchases> {
        let dead_letters = OpenOptions::new().create(true).append(true).open(dead_letters)?;
        Ok(Purchases { cents: 0, dead_letters })
    }
}

impl RecordProcessor for Purchases {
    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        _: &mut Checkpointer<'_>,
    ) -> Result {
        for_each_record(input, |record| {
            // Reading the same text again cannot succeed: the record becomes a dead letter.
            let purchase: Purchase<'_> = record.json().map_err(ProcessorError::permanent)?;
            self.cents += purchase.cents;
            eprintln!("{} paid {} cents, {} in all", purchase.user, purchase.cents, self.cents);
            Ok(())
        })
    }

    /// Appends one line of JSON: the record's position, the error, and the data as text.
    fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result {
        let line = serde_json::json!({
            "shard": letter.shard_id,
            "position": letter.record.extended_sequence_number().to_string(),
            "error": letter.error.to_string(),
            "data": String::from_utf8_lossy(letter.record.data),
        });
        Ok(self.dead_letters.write_all(format!("{line}\n").as_bytes())?)
    }

    /// Called before each checkpoint: afterwards the dead letters are safe.
    fn flush(&mut self) -> Result {
        Ok(self.dead_letters.sync_all()?)
    }
}

fn main() -> ExitCode {
    let file = std::env::var_os("DEAD_LETTERS").unwrap_or_else(|| "dead-letters.jsonl".into());
    let runtime = Runtime::new().cadence(Cadence::each_batch());
    let result = runtime.run_with(|_| Purchases::open(file.as_ref()));
    result.map_or_else(|error| error.exit_code(), |()| ExitCode::SUCCESS)
}
