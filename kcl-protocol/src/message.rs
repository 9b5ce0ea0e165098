//! The messages of both directions. They are plain data and borrow from the line that they came in.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::{CheckpointError, ExtendedSequenceNumber, SequenceNumber};

/// The kind of a message from the daemon that the child answers with a status: the value of
/// `action`, and of `responseFor` in the status. The answer to a checkpoint request needs no
/// status, so it has no action here.
///
/// ```
/// use kcl_protocol::Action;
/// assert_eq!(Action::ProcessRecords.name(), "processRecords");
/// assert_eq!(Action::from_name("leaseLost"), Some(Action::LeaseLost));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// The first message: the shard, and where reading starts.
    Initialize,
    /// A batch of records.
    ProcessRecords,
    /// Another worker holds the lease of the shard now.
    LeaseLost,
    /// The shard was split or merged, and all its records have been delivered.
    ShardEnded,
    /// The daemon is about to stop, or to hand the shard over to another worker.
    ShutdownRequested,
    /// What KCL 1.x sends instead of `leaseLost` and `shardEnded`.
    Shutdown,
}

impl Action {
    /// All actions, in the order in which they occur.
    pub const ALL: [Action; 6] = [
        Action::Initialize,
        Action::ProcessRecords,
        Action::LeaseLost,
        Action::ShardEnded,
        Action::ShutdownRequested,
        Action::Shutdown,
    ];

    /// Returns the name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Initialize => "initialize",
            Action::ProcessRecords => "processRecords",
            Action::LeaseLost => "leaseLost",
            Action::ShardEnded => "shardEnded",
            Action::ShutdownRequested => "shutdownRequested",
            Action::Shutdown => "shutdown",
        }
    }

    /// Returns the action with this name on the wire.
    pub fn from_name(name: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.name() == name)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A message from the daemon to its child.
///
/// [`decode`](Self::decode) reads a line, [`encode`](Self::encode) writes one exactly as the daemon
/// does. The sessions, [`ChildSession`] and [`DaemonSession`], also check who may send what when.
///
/// ```
/// use kcl_protocol::DaemonMessage;
///
/// let mut line = *br#"{"action":"processRecords","records":[{"data":"aGk=","partitionKey":"k",
///     "sequenceNumber":"21","subSequenceNumber":0,"action":"record"}],"millisBehindLatest":7}"#;
/// let DaemonMessage::ProcessRecords(input) = DaemonMessage::decode(&mut line)? else { panic!() };
/// assert_eq!(input.records[0].data, b"hi");
/// assert_eq!(input.millis_behind_latest, Some(7));
/// # Ok::<(), kcl_protocol::DecodeError>(())
/// ```
///
/// [`ChildSession`]: crate::ChildSession
/// [`DaemonSession`]: crate::DaemonSession
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DaemonMessage<'a> {
    /// The first message: the shard, and where reading starts.
    Initialize(InitializeInput<'a>),
    /// A batch of records.
    ProcessRecords(ProcessRecordsInput<'a>),
    /// Another worker holds the lease of the shard now. Checkpoints are no longer possible.
    LeaseLost,
    /// All records of the shard have been delivered. Without a checkpoint during this message the
    /// shard never completes.
    ShardEnded,
    /// The daemon is about to stop, or to hand the shard over to another worker. This is the last
    /// chance to checkpoint.
    ShutdownRequested,
    /// What KCL 1.x sends instead of `LeaseLost` and `ShardEnded`.
    Shutdown(ShutdownReason),
    /// The answer to a checkpoint request.
    Checkpoint(CheckpointAnswer<'a>),
}

impl DaemonMessage<'_> {
    /// Returns the action, or `None` for the answer to a checkpoint request, which needs no status.
    pub fn action(&self) -> Option<Action> {
        match self {
            DaemonMessage::Initialize(_) => Some(Action::Initialize),
            DaemonMessage::ProcessRecords(_) => Some(Action::ProcessRecords),
            DaemonMessage::LeaseLost => Some(Action::LeaseLost),
            DaemonMessage::ShardEnded => Some(Action::ShardEnded),
            DaemonMessage::ShutdownRequested => Some(Action::ShutdownRequested),
            DaemonMessage::Shutdown(_) => Some(Action::Shutdown),
            DaemonMessage::Checkpoint(_) => None,
        }
    }
}

/// The shard that this child processes, and where reading starts.
///
/// ```
/// let input = kcl_protocol::InitializeInput::new("shardId-000000000000");
/// assert_eq!(input.sequence_number, None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InitializeInput<'a> {
    /// The shard's id, such as `shardId-000000000000`.
    pub shard_id: &'a str,
    /// The last checkpoint, or the sentinel to start from. Some 1.x daemons omit it.
    pub sequence_number: Option<SequenceNumber<'a>>,
    /// The sub-sequence number of the last checkpoint. Some 1.x daemons omit it.
    pub sub_sequence_number: Option<u64>,
}

impl<'a> InitializeInput<'a> {
    /// Creates an input without a position to start from.
    pub fn new(shard_id: &'a str) -> Self {
        InitializeInput { shard_id, sequence_number: None, sub_sequence_number: None }
    }
}

/// A batch of records, oldest first.
///
/// ```
/// use kcl_protocol::{ProcessRecordsInput, Record, SequenceNumber};
///
/// let record = Record::new("key", SequenceNumber::new("21")?, b"payload");
/// let input = ProcessRecordsInput::new(vec![record]);
/// assert_eq!(input.records.len(), 1);
/// # Ok::<(), kcl_protocol::SequenceNumberError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessRecordsInput<'a> {
    /// The records. Empty only if the daemon's `callProcessRecordsEvenForEmptyRecordList` is true.
    pub records: Vec<Record<'a>>,
    /// How many milliseconds the batch is behind the newest record of the stream. Some 1.x daemons
    /// omit it. A negative number, which an emulator with a skewed clock may send, is decoded as 0.
    pub millis_behind_latest: Option<u64>,
}

impl<'a> ProcessRecordsInput<'a> {
    /// Creates a batch without `millis_behind_latest`.
    pub fn new(records: Vec<Record<'a>>) -> Self {
        ProcessRecordsInput { records, millis_behind_latest: None }
    }
}

/// A record of the stream.
///
/// It borrows from the line that it came in; [`to_owned`](Self::to_owned) makes a copy to keep or
/// to send to another thread.
///
/// ```
/// use kcl_protocol::{Record, SequenceNumber};
///
/// let record = Record::new("user-7", SequenceNumber::new("21")?, br#"{"clicks":3}"#);
/// assert_eq!(record.data.len(), 12);
/// assert_eq!(record.extended_sequence_number().to_string(), "21/0");
///
/// let kept = record.to_owned();
/// std::thread::spawn(move || assert_eq!(kept.partition_key, "user-7")).join().unwrap();
/// # Ok::<(), kcl_protocol::SequenceNumberError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record<'a> {
    /// The payload, decoded. Empty if the daemon sent null, an empty string, or no such field.
    pub data: &'a [u8],
    /// The key that determines the shard: 1 to 256 Unicode characters, set by the producer.
    pub partition_key: &'a str,
    /// The position of the record in the shard.
    pub sequence_number: SequenceNumber<'a>,
    /// The index of the record in its KPL aggregate. For other records it is 0, and absent from
    /// some daemons.
    pub sub_sequence_number: Option<u64>,
    /// Approximately when Kinesis received the record: time since 1970, in whole milliseconds.
    pub approximate_arrival: Option<Duration>,
}

impl<'a> Record<'a> {
    /// Creates a record without the fields that may be absent.
    pub fn new(
        partition_key: &'a str,
        sequence_number: SequenceNumber<'a>,
        data: &'a [u8],
    ) -> Record<'a> {
        Record {
            data,
            partition_key,
            sequence_number,
            sub_sequence_number: None,
            approximate_arrival: None,
        }
    }

    /// Returns the sequence number with the sub-sequence number, which is 0 if absent.
    pub fn extended_sequence_number(&self) -> ExtendedSequenceNumber<'_> {
        ExtendedSequenceNumber::from_optional(
            self.sequence_number.borrowed(),
            self.sub_sequence_number,
        )
    }

    /// Returns approximately when Kinesis received the record.
    ///
    /// `None` if the daemon sent no time, or one that does not fit in `SystemTime`.
    #[cfg(feature = "std")]
    pub fn approximate_arrival_time(&self) -> Option<std::time::SystemTime> {
        std::time::SystemTime::UNIX_EPOCH.checked_add(self.approximate_arrival?)
    }

    /// Decodes the payload as JSON.
    ///
    /// ```
    /// use kcl_protocol::{Record, SequenceNumber};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Click { clicks: u32 }
    ///
    /// let record = Record::new("user-7", SequenceNumber::new("21")?, br#"{"clicks":3}"#);
    /// assert_eq!(record.json::<Click>()?.clicks, 3);
    /// // The result may borrow from the payload, and outlive the record.
    /// let text: &str = Record::new("k", SequenceNumber::new("3")?, br#""ann""#).json()?;
    /// assert_eq!(text, "ann");
    ///
    /// let record = Record::new("user-7", SequenceNumber::new("22")?, b"three");
    /// assert!(record.json::<Click>().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The payload is not JSON, or does not fit the type.
    pub fn json<T: serde::Deserialize<'a>>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.data)
    }

    /// Returns a copy that borrows nothing.
    pub fn to_owned(&self) -> OwnedRecord {
        OwnedRecord {
            data: self.data.into(),
            partition_key: self.partition_key.into(),
            sequence_number: self.sequence_number.to_owned(),
            sub_sequence_number: self.sub_sequence_number,
            approximate_arrival: self.approximate_arrival,
        }
    }
}

impl fmt::Debug for Record<'_> {
    /// Shows the length of the payload instead of the payload, which may be sensitive.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("data", &format_args!("{} bytes", self.data.len()))
            .field("partition_key", &self.partition_key)
            .field("sequence_number", &self.sequence_number)
            .field("sub_sequence_number", &self.sub_sequence_number)
            .field("approximate_arrival", &self.approximate_arrival)
            .finish()
    }
}

/// A [`Record`] that borrows nothing.
///
/// ```
/// use kcl_protocol::{Record, SequenceNumber};
/// let owned = Record::new("key", SequenceNumber::new("21")?, b"payload").to_owned();
/// assert_eq!(owned.as_record().data, b"payload");
/// # Ok::<(), kcl_protocol::SequenceNumberError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnedRecord {
    /// See [`Record::data`].
    pub data: Vec<u8>,
    /// See [`Record::partition_key`].
    pub partition_key: String,
    /// See [`Record::sequence_number`].
    pub sequence_number: SequenceNumber<'static>,
    /// See [`Record::sub_sequence_number`].
    pub sub_sequence_number: Option<u64>,
    /// See [`Record::approximate_arrival`].
    pub approximate_arrival: Option<Duration>,
}

impl OwnedRecord {
    /// Returns a [`Record`] that borrows from this one.
    pub fn as_record(&self) -> Record<'_> {
        Record {
            data: &self.data,
            partition_key: &self.partition_key,
            sequence_number: self.sequence_number.borrowed(),
            sub_sequence_number: self.sub_sequence_number,
            approximate_arrival: self.approximate_arrival,
        }
    }
}

impl fmt::Debug for OwnedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_record().fmt(f)
    }
}

/// Why a KCL 1.x daemon stops sending records of a shard to this child.
///
/// ```
/// use kcl_protocol::ShutdownReason;
/// assert_eq!(ShutdownReason::Terminate.name(), "TERMINATE");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShutdownReason {
    /// The shard has ended, as in [`Action::ShardEnded`].
    Terminate,
    /// The lease is lost, as in [`Action::LeaseLost`].
    Zombie,
}

impl ShutdownReason {
    /// Returns the name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            ShutdownReason::Terminate => "TERMINATE",
            ShutdownReason::Zombie => "ZOMBIE",
        }
    }
}

/// The answer to a checkpoint request.
///
/// ```
/// use kcl_protocol::{CheckpointAnswer, CheckpointError};
///
/// let refused = CheckpointAnswer { error: Some("ThrottlingException"), ..Default::default() };
/// assert_eq!(refused.result(), Err(CheckpointError::Throttling));
/// assert_eq!(CheckpointAnswer::default().result(), Ok(()));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckpointAnswer<'a> {
    /// The sequence number of the request.
    pub sequence_number: Option<&'a str>,
    /// The sub-sequence number of the request.
    pub sub_sequence_number: Option<u64>,
    /// The simple name of the Java exception, or `None` if the checkpoint was stored.
    pub error: Option<&'a str>,
}

impl CheckpointAnswer<'_> {
    /// Returns `Ok` if the checkpoint was stored.
    ///
    /// # Errors
    /// The daemon refused it; this is the reason.
    pub fn result(&self) -> Result<(), CheckpointError> {
        self.error.map_or(Ok(()), |name| Err(CheckpointError::from_name(name)))
    }
}

/// A message from the child to its daemon.
///
/// ```
/// use kcl_protocol::{Action, ChildMessage};
///
/// let mut out = Vec::new();
/// ChildMessage::status(Action::LeaseLost).encode(&mut out);
/// assert_eq!(out, b"{\"action\":\"status\",\"responseFor\":\"leaseLost\"}\n");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildMessage<'a> {
    /// Requests a checkpoint.
    Checkpoint(CheckpointRequest<'a>),
    /// Tells the daemon that a message has been processed.
    Status {
        /// The action of that message. The Java daemon accepts null here and then rejects the
        /// status, so it can be represented.
        response_for: Option<&'a str>,
    },
}

impl ChildMessage<'static> {
    /// Creates the status for a message of this action.
    pub fn status(action: Action) -> Self {
        ChildMessage::Status { response_for: Some(action.name()) }
    }
}

/// The position of a checkpoint as it is on the wire, where the sequence number may be any text: it
/// is for the daemon to refuse an invalid one. [`Position`] is always valid.
///
/// ```
/// use kcl_protocol::{CheckpointRequest, ExtendedSequenceNumber, Position, SequenceNumber};
///
/// assert_eq!(CheckpointRequest::from(&Position::AllDelivered).sequence_number, None);
///
/// let at = Position::from(ExtendedSequenceNumber::new(SequenceNumber::new("21")?, 3));
/// let request = CheckpointRequest::from(&at);
/// assert_eq!((request.sequence_number, request.sub_sequence_number), (Some("21"), Some(3)));
/// # Ok::<(), kcl_protocol::SequenceNumberError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckpointRequest<'a> {
    /// The sequence number; `None` means all records delivered so far.
    pub sequence_number: Option<&'a str>,
    /// The sub-sequence number. The daemon takes `None` as 0, and ignores this field without a
    /// sequence number.
    pub sub_sequence_number: Option<u64>,
}

impl<'a> From<&'a Position<'_>> for CheckpointRequest<'a> {
    fn from(position: &'a Position<'_>) -> Self {
        match position {
            Position::AllDelivered => CheckpointRequest::default(),
            Position::At { sequence_number, sub_sequence_number } => CheckpointRequest {
                sequence_number: Some(sequence_number.as_str()),
                sub_sequence_number: *sub_sequence_number,
            },
        }
    }
}

/// Where to checkpoint: after all records delivered so far, or after a certain one.
///
/// A record, a sequence number and an extended sequence number convert into a position.
///
/// ```
/// use kcl_protocol::{Position, Record, SequenceNumber};
///
/// let record = Record::new("key", SequenceNumber::new("21")?, b"");
/// // A record has both numbers; with a sequence number alone the daemon assumes 0.
/// assert_eq!(Position::from(&record).to_string(), "21/0");
/// assert_eq!(Position::from(&record.sequence_number).to_string(), "21");
/// # Ok::<(), kcl_protocol::SequenceNumberError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position<'a> {
    /// After all records that were delivered so far.
    AllDelivered,
    /// After the record with these numbers.
    At {
        /// The record's sequence number.
        sequence_number: SequenceNumber<'a>,
        /// The record's sub-sequence number. The daemon takes `None` as 0.
        sub_sequence_number: Option<u64>,
    },
}

impl Position<'_> {
    /// Returns what the daemon will store, or `None` if that depends on which records were
    /// delivered.
    pub fn extended_sequence_number(&self) -> Option<ExtendedSequenceNumber<'_>> {
        match self {
            Position::AllDelivered => None,
            Position::At { sequence_number, sub_sequence_number } => {
                Some(ExtendedSequenceNumber::from_optional(
                    sequence_number.borrowed(),
                    *sub_sequence_number,
                ))
            }
        }
    }
}

impl<'a> From<&'a Record<'_>> for Position<'a> {
    fn from(record: &'a Record<'_>) -> Self {
        Position::from(record.extended_sequence_number())
    }
}

impl<'a> From<&'a OwnedRecord> for Position<'a> {
    fn from(record: &'a OwnedRecord) -> Self {
        Position::from(ExtendedSequenceNumber::from_optional(
            record.sequence_number.borrowed(),
            record.sub_sequence_number,
        ))
    }
}

impl<'a> From<SequenceNumber<'a>> for Position<'a> {
    fn from(sequence_number: SequenceNumber<'a>) -> Self {
        Position::At { sequence_number, sub_sequence_number: None }
    }
}

impl<'a> From<&'a SequenceNumber<'_>> for Position<'a> {
    fn from(sequence_number: &'a SequenceNumber<'_>) -> Self {
        Position::from(sequence_number.borrowed())
    }
}

impl<'a> From<ExtendedSequenceNumber<'a>> for Position<'a> {
    fn from(position: ExtendedSequenceNumber<'a>) -> Self {
        Position::At {
            sequence_number: position.sequence_number,
            sub_sequence_number: Some(position.sub_sequence_number),
        }
    }
}

impl<'a> From<&'a ExtendedSequenceNumber<'_>> for Position<'a> {
    fn from(position: &'a ExtendedSequenceNumber<'_>) -> Self {
        Position::from(position.borrowed())
    }
}

impl fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::AllDelivered => f.write_str("all records delivered so far"),
            Position::At { sequence_number, sub_sequence_number: None } => sequence_number.fmt(f),
            Position::At { sequence_number, sub_sequence_number: Some(sub) } => {
                write!(f, "{sequence_number}/{sub}")
            }
        }
    }
}
