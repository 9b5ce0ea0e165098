//! An async client below a blocking processor: the processor holds a tokio runtime.
//!
//! The AWS SDKs for Rust are async. The daemon waits for each answer, so there is nothing to gain
//! from an async processor: `block_on` is the bridge. Within a batch the sends run side by side;
//! all of them have ended, and well, before the checkpoint.
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

/// Stands for a client of an SDK, which is cheap to clone as well.
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
        // The thread is where tasks run on between batches, when nobody is in `block_on`.
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
            // A task outlives the batch that its records borrow from, so it gets a copy.
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
