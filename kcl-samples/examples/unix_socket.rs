//! Your own transport, with `kcl-protocol` only: one process serves all shards.
//!
//! The daemon starts a child per shard. Here that child is a small relay between its pipes and a
//! Unix socket. One long-lived process behind it holds what is expensive: a model, a cache, a pool.
//!
//! ```sh
//! cargo build -p kcl-samples --example unix_socket
//! target/debug/examples/unix_socket serve /tmp/words.sock &
//! seq 1000 | cargo run -p kcl-helper -- local --input - --shards 2 -- \
//!     target/debug/examples/unix_socket relay /tmp/words.sock
//! ```

#![cfg_attr(not(unix), allow(unused))] // other systems compile the protocol's part only

use std::io::{Read, Write, copy, stdin, stdout};
use std::net::Shutdown;
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::spawn;

use kcl_protocol::{ChildSession, DaemonMessage, LineBuffer, Position, ShutdownReason};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Handles one shard's messages until the daemon hangs up. Returns the number of records.
pub(crate) fn serve(mut socket: impl Read + Write) -> Result<usize> {
    let (mut session, mut lines) = (ChildSession::new(), LineBuffer::new());
    let (mut shard, mut count) = (String::new(), 0);
    loop {
        let read = socket.read(lines.spare())?;
        lines.advance(read);
        if read == 0 {
            return session.end_of_input().map(|()| count).map_err(Into::into);
        }
        while let Some(mut line) = lines.next_line()? {
            let mut out = vec![];
            let message = session.receive(line.bytes_mut())?;
            match &message {
                DaemonMessage::Initialize(input) => input.shard_id.clone_into(&mut shard),
                DaemonMessage::ProcessRecords(input) => count += input.records.len(),
                // Without a status the daemon stops, and the records are delivered again.
                DaemonMessage::Checkpoint(answer) => match answer.result() {
                    Err(error) if !error.is_lease_lost() => return Err(error.into()),
                    _ => {}
                },
                _ => eprintln!("{shard}: {count} records"),
            }
            match message {
                DaemonMessage::ProcessRecords(_)
                | DaemonMessage::ShutdownRequested
                | DaemonMessage::ShardEnded
                | DaemonMessage::Shutdown(ShutdownReason::Terminate) => {
                    session.checkpoint(&Position::AllDelivered, &mut out)?;
                }
                _ => session.answer(&mut out)?,
            }
            socket.write_all(&out)?;
        }
    }
}

/// Copies bytes in both directions, until either end hangs up.
#[cfg(unix)]
fn relay(mut socket: UnixStream) -> Result {
    let server = socket.try_clone()?;
    spawn(move || copy(&mut stdin(), &mut &server).and(server.shutdown(Shutdown::Write)));
    copy(&mut socket, &mut stdout())?;
    Ok(())
}

#[cfg(unix)]
fn main() -> Result {
    match &std::env::args().skip(1).collect::<Vec<_>>()[..] {
        [role, path] if role == "relay" => relay(UnixStream::connect(path)?),
        [role, path] if role == "serve" => {
            for socket in UnixListener::bind(path)?.incoming().flatten() {
                spawn(|| serve(socket).inspect_err(|error| eprintln!("error: {error}")).is_ok());
            }
            Ok(())
        }
        _ => Err("usage: unix_socket serve|relay PATH".into()),
    }
}

#[cfg(not(unix))]
fn main() -> Result {
    Err("this system has no Unix sockets".into())
}
