//! Shared by the tests: a processor made of closures, and the log.

#![allow(dead_code)] // each test file uses its own part

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

use kcl_runtime::{
    Checkpointer, DeadLetter, InitializeInput, LeaseLostInput, ProcessRecordsInput,
    RecordProcessor, Result, ShardEndCheckpointer,
};

type Process<'f> = Box<dyn FnMut(&ProcessRecordsInput<'_>, &mut Checkpointer<'_>) -> Result + 'f>;

/// A processor made of closures. Without one a method does nothing.
pub(crate) struct Scripted<'f> {
    pub(crate) initialize: Box<dyn FnMut(&InitializeInput<'_>) -> Result + 'f>,
    pub(crate) process_records: Process<'f>,
    pub(crate) flush: Box<dyn FnMut() -> Result + 'f>,
    pub(crate) dead_letter: Box<dyn FnMut(&DeadLetter<'_>) -> Result + 'f>,
    pub(crate) lease_lost: Box<dyn FnMut() -> Result + 'f>,
    pub(crate) shard_ended: Box<dyn FnMut(&mut ShardEndCheckpointer<'_>) -> Result + 'f>,
    pub(crate) shutdown_requested: Box<dyn FnMut(&mut Checkpointer<'_>) -> Result + 'f>,
}

pub(crate) fn scripted<'f>() -> Scripted<'f> {
    Scripted {
        initialize: Box::new(|_| Ok(())),
        process_records: Box::new(|_, _| Ok(())),
        flush: Box::new(|| Ok(())),
        dead_letter: Box::new(|_| Ok(())),
        lease_lost: Box::new(|| Ok(())),
        shard_ended: Box::new(|_| Ok(())),
        shutdown_requested: Box::new(|_| Ok(())),
    }
}

pub(crate) fn processing<'f>(
    process: impl FnMut(&ProcessRecordsInput<'_>, &mut Checkpointer<'_>) -> Result + 'f,
) -> Scripted<'f> {
    Scripted { process_records: Box::new(process), ..scripted() }
}

impl RecordProcessor for Scripted<'_> {
    fn initialize(&mut self, input: &InitializeInput<'_>) -> Result {
        (self.initialize)(input)
    }

    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result {
        (self.process_records)(input, checkpointer)
    }

    fn flush(&mut self) -> Result {
        (self.flush)()
    }

    fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result {
        (self.dead_letter)(letter)
    }

    fn lease_lost(&mut self, _: &LeaseLostInput<'_>) -> Result {
        (self.lease_lost)()
    }

    fn shard_ended(&mut self, checkpointer: &mut ShardEndCheckpointer<'_>) -> Result {
        (self.shard_ended)(checkpointer)
    }

    fn shutdown_requested(&mut self, checkpointer: &mut Checkpointer<'_>) -> Result {
        (self.shutdown_requested)(checkpointer)
    }
}

/// Returns a record's payload as text.
pub(crate) fn payload(record: &kcl_runtime::Record<'_>) -> String {
    String::from_utf8_lossy(record.data).into_owned()
}

/// Returns the payloads of a batch, joined by blanks.
pub(crate) fn payloads(input: &ProcessRecordsInput<'_>) -> String {
    input.records.iter().map(payload).collect::<Vec<_>>().join(" ")
}

thread_local! {
    /// What this thread has logged.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct ToThread;

impl Write for ToThread {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns what the call logged at `warn` and above.
pub(crate) fn warnings<T>(call: impl FnOnce() -> T) -> (T, Vec<String>) {
    // One subscriber for the whole process: tracing caches which ones are interested.
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        tracing_subscriber::fmt()
            .with_writer(|| ToThread)
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_target(false)
            .with_level(false)
            .without_time()
            .init();
    });
    LOGGED.take();
    let result = call();
    let text = String::from_utf8(LOGGED.take()).unwrap();
    (result, text.lines().map(|line| line.trim().to_owned()).collect())
}
