//! The runtime over any bytes, in virtual time.

use std::time::Duration;

use kcl_runtime::{
    Backoff, Cadence, Checkpointer, OnError, ProcessRecordsInput, RecordProcessor, Result, Runtime,
    Sleep, Timer,
};

struct Virtual(Duration);

impl Timer for Virtual {
    fn now(&self) -> Duration {
        self.0
    }

    fn sleep(&mut self, pause: Duration) -> Sleep {
        self.0 += pause;
        Sleep::Elapsed
    }
}

/// Checkpoints, fails at a payload that begins with `!`, and goes on.
struct Picky;

impl RecordProcessor for Picky {
    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result {
        for record in &input.records {
            if record.data.starts_with(b"!") {
                return Err(kcl_runtime::at(record, "picky"));
            }
        }
        Ok(checkpointer.checkpoint()?)
    }
}

/// Whatever comes in, what goes out are whole lines of a child, no more statuses than messages.
pub(crate) fn run(bytes: &[u8]) {
    let pauses = Backoff::up_to(Duration::from_secs(1));
    let runtime = Runtime::new()
        .checkpoint(Cadence::EachBatch)
        .checkpoint_retry(pauses)
        .on_error(OnError::retry(pauses).then_skip(|_| Ok(())))
        .line_limit(1 << 20);
    let mut output = Vec::new();
    let outcome = runtime.run_over(bytes, &mut output, Virtual(Duration::ZERO), Picky);
    if let Err(error) = &outcome {
        assert!(!error.to_string().contains(['\n', '\r']), "{error}");
    }
    let lines_in = bytes.split(|byte| *byte == b'\n').count();
    let mut statuses = 0;
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        let is_status = line.starts_with(b"{\"action\":\"status\",\"responseFor\":\"");
        statuses += usize::from(is_status);
        let is_childs = is_status || line.starts_with(b"{\"action\":\"checkpoint\",\"sequence");
        assert!(is_childs && line.ends_with(b"}\n"), "{}", line.escape_ascii());
    }
    assert!(statuses <= lines_in);
}
