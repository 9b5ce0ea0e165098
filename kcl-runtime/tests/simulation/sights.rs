//! What may occur in a life. The test counts it, because what never occurs is not tested.

macro_rules! sights {
    ($($name:ident: $text:literal,)*) => {
        /// Something that occurred in a life.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Sight { $($name,)* }

        impl Sight {
            pub(crate) const ALL: &[(Sight, &str)] = &[$((Sight::$name, $text),)*];
        }
    };
}

sights! {
    PolicyExit: "an error ends the process",
    PolicyRetry: "an error is retried",
    PolicyRetryThenDeadLetter: "an error is retried, then ends in a dead letter",
    PolicyDeadLetter: "an error ends in a dead letter",
    PolicyPanics: "an error or a panic ends in a dead letter",
    Manual: "checkpoints by hand",
    InMemory: "by hand, with records held in memory",
    Buffered: "by a cadence, with records held in memory until the flush",
    RecordsOrTime: "a checkpoint after a number of records or a time",
    EachBatch: "a checkpoint each batch",
    EveryRecords: "a checkpoint after a number of records",
    AtMostEvery: "a checkpoint after a time",
    OldWords: "a daemon of KCL 1.x",
    WindowsLines: "a daemon that ends lines with CR LF",
    Aggregates: "records from aggregates",

    Stored: "a checkpoint stored",
    StoredInsideBatch: "a checkpoint inside a batch",
    StoredInsideAggregate: "a checkpoint inside an aggregate",
    StoredAlready: "a checkpoint stored already",
    StoredShardEnd: "the shard's end stored",
    Throttling: "ThrottlingException",
    Dependency: "KinesisClientLibDependencyException",
    InvalidState: "InvalidStateException",
    IllegalBelow: "IllegalArgumentException, below the last checkpoint",
    IllegalAhead: "IllegalArgumentException, ahead of the last record",
    Shutdown: "ShutdownException",
    UnknownException: "an unknown exception",
    CheckpointRetried: "a checkpoint retried and stored",
    CheckpointGivenUp: "a checkpoint's retries used up",
    CheckpointDeferred: "a refused checkpoint that the next one makes up for",
    CheckpointAfterLease: "a checkpoint not sent, as the lease is lost",

    StolenBetweenMessages: "the lease lost between two messages",
    StolenAtCheckpoint: "the lease lost while a checkpoint is requested",
    StolenInPause: "the lease lost in a pause before a retry",
    TwoOwners: "the next owner at work before the last one is told",
    BatchAfterLease: "a batch after the lease was lost",
    LeaseLost: "leaseLost",
    ShardEnded: "shardEnded",
    ShutdownRequested: "shutdownRequested",
    EmptyBatch: "an empty batch",
    EndBetweenMessages: "the end of input between two messages",
    EndBeforeInitialize: "the end of input before initialize",

    SplitToChild: "a line that reaches the child in pieces",
    SplitToDaemon: "a line that reaches the daemon in pieces",
    Interrupted: "a call interrupted by a signal",
    CutToChild: "the connection cut inside a line to the child",
    CutToDaemon: "the connection cut inside a line to the daemon",
    AnswerLost: "a checkpoint stored whose answer is lost",
    Vanished: "the daemon gone during a message",
    InputClosed: "stdin closed during a message, stdout still read",
    HungUpInPause: "the daemon gone in a pause before a retry",
    ReadFailed: "a read that fails",
    WriteFailed: "a write that fails",

    Restarted: "a restart from a checkpoint",
    RestartedAtStart: "a restart without any checkpoint",
    DeliveredAgain: "a record delivered again after it was processed",
    RetriedWhole: "a batch retried whole",
    RetriedBehindCheckpoint: "a batch retried after a checkpoint in it",
    RetriedFromNamed: "a batch retried from the record that the error names",
    NothingToRetry: "an error when the whole batch is checkpointed",
    RetriesUsedUp: "a batch's retries used up",
    Exited: "an error that ends the process",
    Panicked: "a panic that ends the process",
    KeptRest: "the rest of a batch kept as dead letters",
    KeptNamed: "one named record kept as a dead letter",
    KeptPanic: "the records of a panic kept as dead letters",
    KeptPermanent: "the records of a permanent error kept as dead letters",
    LetterRetried: "an error of dead_letter that is retried",
    LetterFailed: "an error of dead_letter that ends the process",
    FlushRetried: "an error of flush that is retried",
    FlushFailed: "an error of flush that ends the process",
    FlushIgnored: "an error of flush when the shutdown is requested",
    FailedAfterLease: "an error after the lease was lost",
    InitializeFailed: "an error of initialize",
    LeaseLostFailed: "an error of lease_lost",
    ShutdownRequestedFailed: "an error of shutdown_requested",
    ShardEndedFailed: "an error of shard_ended that ends the process",
    ShardEndedRetried: "an error of shard_ended that is retried",
    ShardEndRefused: "a process that ends as the shard's end is not stored",
}

/// A set of sights.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen(u128);

impl Seen {
    pub(crate) fn note(&mut self, sight: Sight) {
        self.0 |= 1 << sight as u32;
    }

    pub(crate) fn has(self, sight: Sight) -> bool {
        self.0 & 1 << sight as u32 != 0
    }
}
