//! A record processor that writes down what it is sent, and fails as it is told.
//!
//! `ledger_processor FOLDER WORKER`: `FOLDER/processor.json` says what to do.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl_e2e::ledger::{self, Event, Number};
use kcl_e2e::processor::{self, Checkpoint, FaultKind, OnError, Processor};
use kcl_runtime::{
    Backoff, Cadence, CheckpointError, Checkpointer, DeadLetter, ExtendedSequenceNumber,
    InitializeInput, LeaseLostInput, ProcessRecordsInput, ProcessorError, Record, RecordProcessor,
    Result, Runtime, ShardEndCheckpointer,
};

/// A line is one write, so that it is there whatever ends the process.
#[derive(Clone)]
struct Book(Arc<Mutex<File>>);

impl Book {
    fn write(&self, event: &Event) {
        let line = format!("{}\t{event}\n", ledger::now());
        let mut file = self.0.lock().expect("nobody panics with the lock");
        file.write_all(line.as_bytes()).expect("the ledger can be written");
    }
}

struct LedgerProcessor {
    book: Book,
    folder: PathBuf,
    told: Processor,
    seen: usize,
    /// The record that the planted fault is at, once it is known.
    faulty: Option<ledger::At>,
    /// The last record of the last batch.
    last: Option<ExtendedSequenceNumber<'static>>,
}

fn place(record: &Record<'_>) -> ledger::At {
    let number = Number(record.sequence_number.as_str().to_owned());
    (number, record.sub_sequence_number.unwrap_or(0))
}

impl LedgerProcessor {
    /// Notes a checkpoint. `is_stored` is false if the daemon refused it for now.
    fn note(&self, at: String, is_stored: bool, result: &Result<(), CheckpointError>) {
        let answer = match result {
            Ok(()) if is_stored => "ok".to_owned(),
            Ok(()) => "deferred".to_owned(),
            Err(error) => error.to_string(),
        };
        self.book.write(&Event::Checkpoint { at, answer });
    }

    /// Whether the planted fault is due, which it is a number of times in the whole application.
    fn is_due(&mut self, record: &Record<'_>) -> Option<FaultKind> {
        let fault = self.told.fault.filter(|fault| fault.at == self.seen)?;
        let place = place(record);
        if *self.faulty.get_or_insert_with(|| place.clone()) != place {
            return None;
        }
        let free = |time: &usize| {
            let path = self.folder.join(format!("fault-{time}"));
            OpenOptions::new().write(true).create_new(true).open(path).is_ok()
        };
        (0..fault.times).find(free).map(|_| fault.kind)
    }

    fn fail(&self, kind: FaultKind, record: &Record<'_>) -> Result {
        self.book.write(&Event::Fault(format!("{kind:?}")));
        match kind {
            FaultKind::Kill => {
                let own = rustix::process::getpid();
                rustix::process::kill_process(own, rustix::process::Signal::KILL)?;
                Ok(())
            }
            FaultKind::Error => Err(ProcessorError::at(record, "a planted error")),
            FaultKind::Panic => panic!("a planted panic"),
            FaultKind::Hang => {
                std::thread::sleep(Duration::from_secs(3600));
                Ok(())
            }
        }
    }
}

impl RecordProcessor for LedgerProcessor {
    fn initialize(&mut self, input: &InitializeInput<'_>) -> Result {
        let from = match &input.sequence_number {
            Some(number) => number.to_string(),
            None => "null".to_owned(),
        };
        self.book.write(&Event::Start { shard: input.shard_id.to_string(), from });
        if self.told.prints {
            std::thread::spawn(|| {
                loop {
                    println!("{{\"action\":\"status\",\"responseFor\":\"processRecords\"}}");
                    print!("half a line");
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        if self.told.leaves_subprocess {
            let child = Command::new("sleep").arg("3600").spawn()?;
            fs::write(self.folder.join(format!("subprocess-{}", child.id())), "")?;
        }
        let line = [b"x".repeat(1023).as_slice(), b"\n"].concat();
        for _ in 0..self.told.floods_megabytes * 1024 {
            std::io::stderr().write_all(&line)?;
        }
        Ok(())
    }

    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result {
        for record in &input.records {
            if let Some(kind) = self.is_due(record) {
                self.fail(kind, record)?;
            }
            let hash = ledger::hash(record.partition_key, record.data);
            self.book.write(&Event::Record { at: place(record), hash });
            self.seen += 1;
            if self.told.checkpoint == Checkpoint::EachRecord {
                let result = checkpointer.checkpoint_at(record);
                let at = record.extended_sequence_number();
                let is_stored = checkpointer.stored().is_some_and(|stored| stored >= at);
                self.note(at.to_string(), is_stored, &result);
                result?;
            }
            if self.told.pause_micros > 0 {
                std::thread::sleep(Duration::from_micros(self.told.pause_micros));
            }
        }
        let result = match (self.told.checkpoint, input.records.last()) {
            (Checkpoint::Batch, _) => Some(("all".to_owned(), checkpointer.checkpoint())),
            (Checkpoint::LastRecord, Some(last)) => Some((
                last.extended_sequence_number().to_string(),
                checkpointer.checkpoint_at(last),
            )),
            _ => None,
        };
        if let Some((at, result)) = result {
            let last = input.records.last().map(Record::extended_sequence_number);
            self.note(at, checkpointer.stored() >= last, &result);
            result?;
        }
        self.last = input.records.last().map(|last| last.extended_sequence_number().to_owned());
        self.book.write(&Event::Done);
        Ok(())
    }

    fn dead_letter(&mut self, letter: &DeadLetter<'_>) -> Result {
        let hash = ledger::hash(letter.record.partition_key, letter.record.data);
        self.book.write(&Event::Skip { at: place(letter.record), hash });
        Ok(())
    }

    fn lease_lost(&mut self, _: &LeaseLostInput<'_>) -> Result {
        self.book.write(&Event::LeaseLost);
        Ok(())
    }

    fn shard_ended(&mut self, checkpointer: &mut ShardEndCheckpointer<'_>) -> Result {
        self.book.write(&Event::ShardEnded);
        // By number or by cadence, the runtime stores the end.
        if !matches!(self.told.checkpoint, Checkpoint::LastRecord | Checkpoint::Cadence) {
            let result = checkpointer.checkpoint();
            self.note("end".to_owned(), true, &result);
            result?;
        }
        Ok(())
    }

    fn shutdown_requested(&mut self, checkpointer: &mut Checkpointer<'_>) -> Result {
        self.book.write(&Event::ShutdownRequested);
        if self.told.checkpoint != Checkpoint::Cadence {
            let result = checkpointer.checkpoint();
            self.note("all".to_owned(), checkpointer.stored() >= self.last, &result);
            result?;
        }
        Ok(())
    }
}

fn runtime(told: &Processor) -> Runtime {
    use kcl_runtime::OnError as Policy;
    let retry = || Policy::retry(Backoff::up_to(Duration::from_secs(20)));
    let policy = match told.on_error {
        OnError::Exit => Policy::exit(),
        OnError::Retry => retry(),
        OnError::Skip => Policy::dead_letter().dead_letter_panics(),
        OnError::RetryThenSkip => Policy::retry(Backoff::up_to(Duration::from_secs(2)))
            .then_dead_letter()
            .dead_letter_panics(),
    };
    let cadence = match told.checkpoint {
        Checkpoint::Cadence => Cadence::each_batch(),
        _ => Cadence::manual(),
    };
    Runtime::new().on_error(policy).cadence(cadence)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, worker] = &words[..] else {
        eprintln!("usage: ledger_processor FOLDER WORKER");
        return ExitCode::from(2);
    };
    let folder = Path::new(folder);
    let told = fs::read(folder.join(processor::FILE)).expect("the folder has a processor.json");
    let told: Processor = serde_json::from_slice(&told).expect("it is as the harness wrote it");
    let path = folder.join(format!("{worker}-{}.ledger", std::process::id()));
    let file = OpenOptions::new().create_new(true).append(true).open(path);
    let book = Book(Arc::new(Mutex::new(file.expect("a ledger of this process's own"))));
    let runtime = runtime(&told);
    let folder = folder.to_owned();
    let processor = LedgerProcessor { book, folder, told, seen: 0, faulty: None, last: None };
    match runtime.run(processor) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.exit_code(),
    }
}
