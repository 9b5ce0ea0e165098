//! The messages between a helper and its guardian.
//!
//! Each request has its own socket, which is passed over the main one together with the request's files.

use std::ffi::OsString;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The request's socket, the three streams, and a few inherited files.
const MAX_FILES: usize = 8;
/// Far more than any message: a command line has at most 2 MiB.
const MAX_LENGTH: u32 = 64 << 20;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    Spawn(Spawn),
    /// Stop all remaining processes.
    Clear {
        leave: Duration,
        stop: Duration,
    },
    /// At the end, remove this folder if it still exists.
    Remove(OsString),
    /// Stop nothing when the helper ends.
    Leave,
}

/// Follows a [`Spawn`] on the same socket: kill the rest of the process's group, and reap the process. If the
/// socket closes without it, the helper was killed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LetGo;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spawn {
    /// The program and its arguments.
    pub(super) argv: Vec<OsString>,
    /// The process group to run in; without one it leads its own group.
    pub(super) group: Option<i32>,
    /// The only core to run on.
    pub(super) cpu: Option<usize>,
    /// How long it may run after a SIGTERM once the helper has ended.
    pub(super) grace: Duration,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The guardian reads requests from now on.
    Ready,
    /// The process ID.
    Started(i32),
    /// The error number of the system.
    Failed(i32),
    /// The process has ended with this status, in the encoding of `wait`.
    Ended(i32),
    /// These processes are now asked to stop, or killed.
    Outlived(Vec<String>),
    Cleared(Cleared),
}

/// What became of the remaining processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cleared {
    /// Those that were killed, or ended just before.
    pub(crate) killed: Vec<String>,
    /// Those that are still there.
    pub(crate) left: Vec<String>,
}

pub(super) fn send(mut to: &UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    to.write_all(&bytes)
}

/// Receives the next message, or `None` when the other end is closed.
pub(super) fn receive<T: DeserializeOwned>(mut from: &UnixStream) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if is_closed(&error) => return Ok(None),
        read => read?,
    }
    let length = u32::from_le_bytes(length);
    if length > MAX_LENGTH {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    let read = from.take(length.into()).read_to_end(&mut bytes)?;
    if read < length as usize {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&bytes)?))
}

/// A process that was killed before it read everything resets the connection.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
}

/// Sends files, with one byte of data, because no data would mean the end.
pub(super) fn send_files(to: &UnixStream, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(ErrorKind::InvalidInput.into());
    }
    loop {
        match sendmsg(to, &[IoSlice::new(b"!")], &mut control, SendFlags::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            sent => return sent.map(drop).map_err(io::Error::from),
        }
    }
}

/// Receives the files of the next request, or `None` when the other end is closed.
pub(super) fn receive_files(from: &UnixStream) -> io::Result<Option<Vec<OwnedFd>>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let (mut byte, mut files) = ([0], Vec::new());
    let received = loop {
        match recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, RECV_FLAGS) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            received => break received?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            files.extend(more);
        }
    }
    if cfg!(not(target_os = "linux")) {
        // No program can inherit them in between, because this thread starts all programs.
        for file in &files {
            rustix::io::fcntl_setfd(file.as_fd(), rustix::io::FdFlags::CLOEXEC)?;
        }
    }
    Ok(Some(files))
}

#[cfg(target_os = "linux")]
const RECV_FLAGS: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const RECV_FLAGS: RecvFlags = RecvFlags::empty();

#[cfg(test)]
mod tests {
    use std::io::pipe;
    use std::os::unix::ffi::OsStringExt as _;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_sent_is_received(
            argv in prop::collection::vec(prop::collection::vec(1..=255u8, 0..40), 1..5),
            group in prop::option::of(1..i32::MAX),
            cpu in prop::option::of(0..1024usize),
            millis in any::<u32>(),
        ) {
            let spawn = || Request::Spawn(Spawn {
                argv: argv.iter().map(|word| OsString::from_vec(word.clone())).collect(),
                group,
                cpu,
                grace: Duration::from_millis(millis.into()),
            });
            let (ours, its) = UnixStream::pair().unwrap();
            send(&ours, &spawn()).unwrap();
            send(&ours, &Answer::Ended(9)).unwrap();
            drop(ours);
            prop_assert_eq!(receive(&its).unwrap(), Some(spawn()));
            prop_assert_eq!(receive(&its).unwrap(), Some(Answer::Ended(9)));
            prop_assert_eq!(receive::<Answer>(&its).unwrap(), None);
        }

        #[test]
        fn any_bytes_are_received_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let (ours, its) = UnixStream::pair().unwrap();
            (&ours).write_all(&bytes).unwrap();
            drop(ours);
            while let Ok(Some(_)) = receive::<Request>(&its) {}
        }
    }

    #[test]
    fn files_arrive_in_order() {
        let (ours, its) = UnixStream::pair().unwrap();
        let (reader, writer) = pipe().unwrap();
        for _ in 0..2 {
            send_files(&ours, &[reader.as_fd(), writer.as_fd()]).unwrap();
        }
        drop((reader, writer));
        for _ in 0..2 {
            let files = receive_files(&its).unwrap().unwrap();
            let [reader, writer] = <[OwnedFd; 2]>::try_from(files).unwrap();
            std::fs::File::from(writer).write_all(b"through").unwrap();
            let mut text = [0; 7];
            std::fs::File::from(reader).read_exact(&mut text).unwrap();
            assert_eq!(&text, b"through");
        }
        drop(ours);
        assert!(receive_files(&its).unwrap().is_none());
    }

    #[test]
    fn incomplete_message_is_none() {
        let (ours, its) = UnixStream::pair().unwrap();
        (&ours).write_all(&[9, 0, 0, 0, b'"']).unwrap();
        drop(ours);
        assert_eq!(receive::<Answer>(&its).unwrap(), None);
    }
}
