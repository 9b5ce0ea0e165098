//! Uses an async client: the processor holds a tokio runtime.
//!
//! The AWS SDKs for Rust are async. The daemon waits for each answer, so an async processor would
//! gain nothing: `block_on` is enough. Within a batch the sends run concurrently, and all of them
//! have succeeded before the checkpoint. If one fails, the batch is sent again: at least once.
//!
//! ```sh
//! cargo build -p kcl-samples --example async_sink
//! seq 1000 | cargo run -p kcl-helper -- local --input - -- target/debug/examples/async_sink
//! ```

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kcl_runtime::{
    Backoff, Checkpointer, OnError, ProcessRecordsInput, RecordProcessor, Result, Runtime,
};
use tokio::runtime::{self, Builder};
use tokio::task::JoinSet;

/// Represents an SDK's client, which is also cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client(pub(crate) Arc<AtomicUsize>);

impl Client {
    async fn send(self, data: Vec<u8>) -> std::io::Result<()> {
        tokio::task::yield_now().await;
        self.0.fetch_add(data.len(), Ordering::Relaxed);
        Ok(())
    }
}

pub(crate) struct Sink {
    pub(crate) client: Client,
    tokio: runtime::Runtime,
}

impl Sink {
    pub(crate) fn new(client: Client) -> std::io::Result<Sink> {
        // Tasks continue on this thread between batches, outside of `block_on`.
        let tokio = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Sink { client, tokio })
    }
}

impl RecordProcessor for Sink {
    fn process_records(
        &mut self,
        input: &ProcessRecordsInput<'_>,
        checkpointer: &mut Checkpointer<'_>,
    ) -> Result {
        let client = &self.client;
        let sent: Result = self.tokio.block_on(async {
            // A task may outlive the batch, so it gets a copy of the data.
            let mut sends: JoinSet<_> =
                input.records.iter().map(|r| client.clone().send(r.data.to_vec())).collect();
            while let Some(sent) = sends.join_next().await {
                sent??;
            }
            Ok(())
        });
        sent?;
        Ok(checkpointer.checkpoint()?)
    }
}

fn main() -> ExitCode {
    let sink = match Sink::new(Client::default()) {
        Ok(sink) => sink,
        Err(error) => {
            eprintln!("error: cannot start tokio: {error}");
            return ExitCode::FAILURE;
        }
    };
    let retry = OnError::retry(Backoff::up_to(std::time::Duration::from_secs(20)));
    let result = Runtime::new().on_error(retry).run(sink);
    result.map_or_else(|error| error.exit_code(), |()| ExitCode::SUCCESS)
}
