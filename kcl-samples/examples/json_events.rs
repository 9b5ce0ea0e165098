//! Typed JSON events, and a file for those that cannot be read (dead letters).
//!
//! A record that is no event stops nothing: it is written to the file with the reason, and the
//! records behind it are dealt with. If the file cannot be written, the process ends, and the
//! record comes again: nothing is lost silently.
//!
//! ```sh
//! cargo build -p kcl-samples --example json_events
//! echo '{"user":"ann","cents":250}' |
//!     cargo run -p kcl-helper -- local --input - -- target/debug/examples/json_events
//! ```

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use kcl_runtime::{
    Cadence, Checkpointer, OnError, ProcessRecordsInput, ProcessorError, RecordProcessor, Result,
    Runtime,
};
use serde::Deserialize;

/// What producers send. Texts may borrow from the record.
#[derive(Debug, Deserialize)]
struct Purchase<'a> {
    #[serde(borrow)]
    user: std::borrow::Cow<'a, str>,
    cents: u64,
}

#[derive(Default)]
pub(crate) struct Purchases {
    pub(crate) cents: u64,
}

impl RecordProcessor for Purchases {
    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        _: &mut Checkpointer<'_>,
    ) -> Result {
        for record in &input.records {
            // It names the record that failed, so that it alone is given up.
            let purchase: Purchase<'_> =
                record.json().map_err(|error| ProcessorError::at(record, error))?;
            self.cents += purchase.cents;
            eprintln!("{} paid {} cents, {} in all", purchase.user, purchase.cents, self.cents);
        }
        Ok(())
    }
}

/// One line of JSON for each dead letter: where it stood, why it failed, and the data as text.
pub(crate) fn settings(dead_letters: PathBuf) -> Runtime {
    let keep = OnError::skip(move |failed| {
        let mut file = OpenOptions::new().create(true).append(true).open(&dead_letters)?;
        for record in failed.records {
            let letter = serde_json::json!({
                "shard": failed.shard_id,
                "place": record.extended_sequence_number().to_string(),
                "error": failed.error.to_string(),
                "data": String::from_utf8_lossy(record.data),
            });
            file.write_all(format!("{letter}\n").as_bytes())?;
        }
        // The checkpoint that follows says that the letters are safe.
        Ok(file.sync_all()?)
    });
    Runtime::new().on_error(keep).cadence(Cadence::EachBatch)
}

fn main() -> ExitCode {
    let file = std::env::var_os("DEAD_LETTERS").unwrap_or_else(|| "dead-letters.jsonl".into());
    let result = settings(file.into()).run(Purchases::default());
    result.map_or_else(|error| error.exit_code(), |()| ExitCode::SUCCESS)
}
