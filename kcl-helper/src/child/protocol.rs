//! Which messages end a shard's conversation: those of KCL 1.x are others.

use kcl_protocol::{Action, DaemonMessage, ShutdownReason};

/// The protocol that a child's library knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Protocol {
    // KCL 1.x: `shutdown`, with a reason.
    #[value(name = "1")]
    One,
    // KCL 2.x and 3.x: `leaseLost` and `shardEnded`.
    #[default]
    #[value(name = "2")]
    Two,
}

impl Protocol {
    pub(crate) fn lease_lost(self) -> DaemonMessage<'static> {
        match self {
            Protocol::One => DaemonMessage::Shutdown(ShutdownReason::Zombie),
            Protocol::Two => DaemonMessage::LeaseLost,
        }
    }

    /// What that message is called.
    pub(crate) fn lease_lost_action(self) -> Action {
        match self {
            Protocol::One => Action::Shutdown,
            Protocol::Two => Action::LeaseLost,
        }
    }

    pub(crate) fn shard_ended(self) -> DaemonMessage<'static> {
        match self {
            Protocol::One => DaemonMessage::Shutdown(ShutdownReason::Terminate),
            Protocol::Two => DaemonMessage::ShardEnded,
        }
    }

    /// What that message is called.
    pub(crate) fn shard_ended_action(self) -> Action {
        match self {
            Protocol::One => Action::Shutdown,
            Protocol::Two => Action::ShardEnded,
        }
    }
}

/// What to try if a child fails at this message, which a library for the other protocol does not know.
pub(crate) fn hint_at_failure(action: Action) -> Option<String> {
    match action {
        Action::LeaseLost | Action::ShardEnded => Some(format!(
            "if the processor's library is for KCL 1.x, which has no {action}, add --protocol 1"
        )),
        Action::Shutdown => Some(
            "if the processor's library is for KCL 2.x or 3.x, leave out --protocol 1".to_owned(),
        ),
        _ => None,
    }
}
