//! Counts clicks per user and minute in SQLite, and counts each click exactly once.
//!
//! The daemon delivers each record at least once. What makes it exactly once is the position, which
//! is stored in the same transaction as the counts: a process that starts skips what is stored
//! already. A worker that has lost its shard without knowing cannot write any more, as the stored
//! position is no longer its own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use kcl_runtime::{
    Backoff, Cadence, Checkpointer, DeadLetter, ExtendedSequenceNumber, OnError,
    ProcessRecordsInput, ProcessorError, RecordProcessor, Result, Runtime, SequenceNumber,
    for_each_record,
};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

type Position = ExtendedSequenceNumber<'static>;

#[derive(serde::Deserialize)]
struct Click<'a> {
    #[serde(borrow)]
    user: Cow<'a, str>,
    /// Seconds since the Unix epoch.
    time: u64,
}

/// The processor of one shard.
pub struct Clicks {
    db: Connection,
    shard_id: String,
    /// What `flush` writes.
    counts: BTreeMap<(String, u64), u64>,
    dead_letters: Vec<(String, Vec<u8>, String)>,
    /// The last record that is counted, and the last one in the database.
    counted: Option<Position>,
    stored: Option<Position>,
}

/// Flushes and checkpoints every 1,000 records or ten seconds, and retries while SQLite is busy.
pub fn runtime() -> Runtime {
    Runtime::new()
        .cadence(Cadence::every_records(1_000).or_every(Duration::from_secs(10)))
        .on_error(OnError::retry(Backoff::up_to(Duration::from_secs(20))))
}

impl Clicks {
    /// Opens the database, and reads how far this shard is stored.
    pub fn open(path: &Path, shard_id: &str) -> Result<Clicks> {
        let mut db = Connection::open(path)?;
        db.busy_timeout(Duration::from_secs(10))?;
        db.execute_batch(include_str!("schema.sql"))?;
        let stored = read_position(&db.transaction()?, shard_id)?;
        Ok(Clicks {
            db,
            shard_id: shard_id.to_owned(),
            counts: BTreeMap::new(),
            dead_letters: Vec::new(),
            counted: stored.clone(),
            stored,
        })
    }
}

fn read_position(transaction: &Transaction<'_>, shard_id: &str) -> Result<Option<Position>> {
    let row = transaction
        .query_row("SELECT number, sub_number FROM position WHERE shard = ?1", [shard_id], |row| {
            Ok((row.get::<_, String>(0)?, row.get(1)?))
        })
        .optional()?;
    row.map(|(number, sub)| Ok(Position::new(SequenceNumber::try_from(number)?, sub))).transpose()
}

impl RecordProcessor for Clicks {
    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        _: &mut Checkpointer<'_>,
    ) -> Result {
        for_each_record(input, |record| {
            let position = record.extended_sequence_number();
            if self.counted.as_ref().is_some_and(|counted| position <= *counted) {
                return Ok(()); // it is in the database already
            }
            let click: Click<'_> = record.json().map_err(ProcessorError::permanent)?;
            *self.counts.entry((click.user.into_owned(), click.time / 60)).or_default() += 1;
            self.counted = Some(position.to_owned());
            Ok(())
        })
    }

    fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result {
        let position = letter.record.extended_sequence_number();
        let (data, error) = (letter.record.data.to_vec(), letter.error.to_string());
        self.dead_letters.push((position.to_string(), data, error));
        self.counted = Some(position.to_owned());
        Ok(())
    }

    fn flush(&mut self) -> Result {
        let Some(counted) = &self.counted else { return Ok(()) };
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if read_position(&transaction, &self.shard_id)? != self.stored {
            return Err(ProcessorError::permanent("another worker has written this shard"));
        }
        for ((user, minute), count) in &self.counts {
            transaction
                .prepare_cached(
                    "INSERT INTO clicks VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET count = count + excluded.count",
                )?
                .execute(params![user, minute, count])?;
        }
        for (position, data, error) in &self.dead_letters {
            transaction.execute(
                "INSERT INTO dead_letters VALUES (?1, ?2, ?3, ?4)",
                params![self.shard_id, position, data, error],
            )?;
        }
        transaction.execute(
            "INSERT OR REPLACE INTO position VALUES (?1, ?2, ?3)",
            params![self.shard_id, counted.sequence_number.as_str(), counted.sub_sequence_number],
        )?;
        transaction.commit()?;
        self.counts.clear();
        self.dead_letters.clear();
        self.stored = self.counted.clone();
        Ok(())
    }
}
