//! `sample_word_putter`: puts words into an Amazon Kinesis stream, to try record processors. It creates
//! the stream if it does not exist.

mod bounded;
mod cli;
mod failure;
mod interrupt;
mod outbox;
mod put;
mod say;
mod stream;
mod words;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = cli::Args::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say::error(format_args!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(run(&args));
    // A DNS lookup may hang in its own thread; do not wait for it.
    runtime.shutdown_background();
    exit
}

async fn run(args: &cli::Args) -> ExitCode {
    let mut interrupt = match interrupt::Interrupt::catch() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            say::error(format_args!("cannot catch Ctrl-C: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let active = async {
        let stream = stream::Stream::connect(args).await;
        stream.make_active(args.shards.get()).await.map(|()| stream)
    };
    let stream = tokio::select! {
        active = active => match active {
            Ok(stream) => stream,
            Err(failure) => {
                say::failure(&failure);
                return ExitCode::FAILURE;
            }
        },
        () = interrupt.wait() => {
            say::put(&args.stream, 0);
            return say::INTERRUPTED.into();
        }
    };
    put::Putter::new(args, &stream, interrupt).run().await
}
