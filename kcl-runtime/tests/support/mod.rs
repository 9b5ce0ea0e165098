//! What the tests share: a processor made of closures, and what the runtime logs.

#![allow(dead_code)] // each test file uses its own part

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;

use kcl_runtime::{
    Checkpointer, InitializeInput, ProcessRecordsInput, RecordProcessor, Result,
    ShardEndCheckpointer,
};

type Process<'f> = Box<dyn FnMut(&ProcessRecordsInput<'_>, &mut Checkpointer<'_>) -> Result + 'f>;

/// A processor whose methods are closures. Without one a method does nothing.
pub(crate) struct Scripted<'f> {
    pub(crate) initialize: Box<dyn FnMut(&InitializeInput<'_>) -> Result + 'f>,
    pub(crate) process_records: Process<'f>,
    pub(crate) lease_lost: Box<dyn FnMut() -> Result + 'f>,
    pub(crate) shard_ended: Box<dyn FnMut(&mut ShardEndCheckpointer<'_>) -> Result + 'f>,
    pub(crate) shutdown_requested: Box<dyn FnMut(&mut Checkpointer<'_>) -> Result + 'f>,
}

pub(crate) fn scripted<'f>() -> Scripted<'f> {
    Scripted {
        initialize: Box::new(|_| Ok(())),
        process_records: Box::new(|_, _| Ok(())),
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

    fn lease_lost(&mut self) -> Result {
        (self.lease_lost)()
    }

    fn shard_ended(&mut self, checkpointer: &mut ShardEndCheckpointer<'_>) -> Result {
        (self.shard_ended)(checkpointer)
    }

    fn shutdown_requested(&mut self, checkpointer: &mut Checkpointer<'_>) -> Result {
        (self.shutdown_requested)(checkpointer)
    }
}

/// The payloads of a batch, as one text.
pub(crate) fn payloads(input: &ProcessRecordsInput<'_>) -> String {
    let texts: Vec<_> =
        input.records.iter().map(|record| String::from_utf8_lossy(record.data)).collect();
    texts.join(" ")
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

/// What was logged at `warn` and above meanwhile.
pub(crate) fn warnings<T>(call: impl FnOnce() -> T) -> (T, Vec<String>) {
    // One subscriber for the whole process: those that come and go race for tracing's caches.
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
