//! One child process, in a process group of its own, and the conversation with it.
//!
//! Whoever drives a child must never wait for one pipe while the child waits for another. So stdin
//! and stdout are a [`Wire`], which waits for both at a time and for the [`Bell`], which other threads
//! ring: the one that reads stderr, the one that waits for the child's end, and the [`Control`] of the
//! run.
//!
//! Everything is bounded. Output on stdout that nobody has taken fills a small buffer and then the
//! pipe, so that a child that writes too much waits, as it would with the Java daemon. stderr is shown
//! as it comes and never waits for the conversation.

mod bell;
mod control;
mod conversation;
pub(crate) mod faults;
mod outgoing;
mod process;
mod protocol;
mod running;
mod stderr;
mod watch;
mod wire;

pub(crate) use bell::Bell;
pub(crate) use control::Control;
pub(crate) use conversation::{Answer, Conversation, Daemon, EndedEarly, Setup, Speaker};
pub(crate) use outgoing::OutgoingLine;
pub(crate) use process::{Pipes, Process, ProcessHandle, Program, allow_files, describe};
pub(crate) use protocol::Protocol;
pub(crate) use running::Child;
pub(crate) use watch::Watch;
