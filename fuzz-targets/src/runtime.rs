//! The runtime on any input, in virtual time.

use std::time::Duration;

use kcl_runtime::{
    Backoff, Cadence, Checkpointer, DeadLetter, OnError, ProcessRecordsInput, RecordProcessor,
    Result, Runtime, Sleep, Timer,
};

struct VirtualTimer(Duration);

impl Timer for VirtualTimer {
    fn now(&self) -> Duration {
        self.0
    }

    fn sleep(&mut self, pause: Duration) -> Sleep {
        self.0 += pause;
        Sleep::Elapsed
    }
}

/// Checkpoints after each batch, and fails on payloads that start with `!`.
struct FailingProcessor;

impl RecordProcessor for FailingProcessor {
    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result {
        for record in &input.records {
            if record.data.starts_with(b"!") {
                return Err(kcl_runtime::ProcessorError::at(record, "rejected"));
            }
        }
        Ok(checkpointer.checkpoint()?)
    }

    fn dead_letter(&mut self, _: &DeadLetter<'_>) -> Result {
        Ok(())
    }
}

/// Whatever the input, the output consists of complete lines of a child, with at most one status
/// per message.
pub(crate) fn run(bytes: &[u8]) {
    let pauses = Backoff::up_to(Duration::from_secs(1));
    let runtime = Runtime::new()
        .cadence(Cadence::each_batch())
        .checkpoint_retry(pauses)
        .on_error(OnError::retry(pauses).then_dead_letter())
        .line_limit(1 << 20);
    let mut output = Vec::new();
    let outcome =
        runtime.run_over_with(bytes, &mut output, VirtualTimer(Duration::ZERO), FailingProcessor);
    if let Err(error) = &outcome {
        assert!(!error.to_string().contains(['\n', '\r']), "{error}");
    }
    let input_lines = bytes.split(|byte| *byte == b'\n').count();
    let mut statuses = 0;
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        let is_status = line.starts_with(b"{\"action\":\"status\",\"responseFor\":\"");
        statuses += usize::from(is_status);
        let is_valid = is_status || line.starts_with(b"{\"action\":\"checkpoint\",\"sequence");
        assert!(is_valid && line.ends_with(b"}\n"), "{}", line.escape_ascii());
    }
    assert!(statuses <= input_lines);
}
