//! The messages of both directions: plain data that borrows from the line it came in.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::{CheckpointError, ExtendedSequenceNumber, SequenceNumber};

/// What a daemon's message asks for: the value of its `action` field, and of `responseFor` in the
/// status that answers it.
///
/// Only the messages that are answered by a status are here; a checkpoint's answer is not.
///
/// ```
/// use kcl_protocol::Action;
/// assert_eq!(Action::ProcessRecords.name(), "processRecords");
/// assert_eq!(Action::from_name("leaseLost"), Some(Action::LeaseLost));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// The first message: which shard, and where it starts.
    Initialize,
    /// A batch of records.
    ProcessRecords,
    /// Another worker has the shard now.
    LeaseLost,
    /// The shard was split or merged, and its last record has been delivered.
    ShardEnded,
    /// The daemon is about to stop, or to hand the shard over.
    ShutdownRequested,
    /// `leaseLost` or `shardEnded` in the words of KCL 1.x.
    Shutdown,
}

impl Action {
    /// All of them, in the order of a shard's life.
    pub const ALL: [Action; 6] = [
        Action::Initialize,
        Action::ProcessRecords,
        Action::LeaseLost,
        Action::ShardEnded,
        Action::ShutdownRequested,
        Action::Shutdown,
    ];

    /// The name on the wire.
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

    /// The action that has this name on the wire.
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
/// [`decode`](Self::decode) reads one from a line, [`encode`](Self::encode) writes one as the
/// daemon does. A session does both and watches the order as well: [`ChildSession`] and
/// [`DaemonSession`].
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
    /// The first message: which shard, and where it starts.
    Initialize(InitializeInput<'a>),
    /// A batch of records.
    ProcessRecords(ProcessRecordsInput<'a>),
    /// Another worker has the shard now. No checkpoint is possible any more.
    LeaseLost,
    /// The shard's last record has been delivered. A checkpoint must follow, or the shard never
    /// completes.
    ShardEnded,
    /// The daemon is about to stop, or to hand the shard over: the last chance to checkpoint.
    ShutdownRequested,
    /// The end in the words of a KCL 1.x daemon.
    Shutdown(ShutdownReason),
    /// What came of the checkpoint that was asked for.
    Checkpoint(CheckpointAnswer<'a>),
}

impl DaemonMessage<'_> {
    /// What the message asks for; `None` for a checkpoint's answer, which asks for nothing.
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

/// Which shard this child has, and from where its records come.
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
    /// The last checkpoint, or the sentinel to start from. Some 1.x daemons leave it out.
    pub sequence_number: Option<SequenceNumber<'a>>,
    /// The last checkpoint's place inside an aggregated record. Some 1.x daemons leave it out.
    pub sub_sequence_number: Option<u64>,
}

impl<'a> InitializeInput<'a> {
    /// The input for a shard, without a place to start from.
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
    /// The records. Empty only where the daemon's `callProcessRecordsEvenForEmptyRecordList` is on.
    pub records: Vec<Record<'a>>,
    /// How many milliseconds the batch is behind the stream's newest record, as Kinesis tells.
    /// Some 1.x daemons leave it out; a negative number, which an emulator's skewed clock may
    /// give, reads as 0.
    pub millis_behind_latest: Option<u64>,
}

impl<'a> ProcessRecordsInput<'a> {
    /// A batch that does not tell how far behind it is.
    pub fn new(records: Vec<Record<'a>>) -> Self {
        ProcessRecordsInput { records, millis_behind_latest: None }
    }
}

/// A record of the stream. It borrows from the line; [`to_owned`](Self::to_owned) makes one to
/// keep or to send to another thread.
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
    /// The payload, decoded. Empty where the daemon sent null, nothing, or an empty text.
    pub data: &'a [u8],
    /// The key that chose the shard: 1 to 256 Unicode characters of the producer's choice.
    pub partition_key: &'a str,
    /// The record's place in the shard.
    pub sequence_number: SequenceNumber<'a>,
    /// The record's place in the KPL aggregate that it came out of; daemons send 0 for a plain
    /// record, and some nothing.
    pub sub_sequence_number: Option<u64>,
    /// When Kinesis received it, approximately, as time since 1970 in whole milliseconds.
    pub approximate_arrival: Option<Duration>,
}

impl<'a> Record<'a> {
    /// A record without the numbers that may be absent.
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

    /// The record's place with both its numbers; without a sub-sequence number that one is 0.
    pub fn extended_sequence_number(&self) -> ExtendedSequenceNumber<'_> {
        ExtendedSequenceNumber::from_optional(
            self.sequence_number.borrowed(),
            self.sub_sequence_number,
        )
    }

    /// When Kinesis received it, approximately.
    ///
    /// `None` where the daemon told no time, or one that `SystemTime` cannot hold.
    #[cfg(feature = "std")]
    pub fn approximate_arrival_time(&self) -> Option<std::time::SystemTime> {
        std::time::SystemTime::UNIX_EPOCH.checked_add(self.approximate_arrival?)
    }

    /// Reads the payload as JSON.
    ///
    /// ```
    /// use kcl_protocol::{Record, SequenceNumber};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Click { clicks: u32 }
    ///
    /// let record = Record::new("user-7", SequenceNumber::new("21")?, br#"{"clicks":3}"#);
    /// assert_eq!(record.json::<Click>()?.clicks, 3);
    ///
    /// let record = Record::new("user-7", SequenceNumber::new("22")?, b"three");
    /// assert!(record.json::<Click>().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The payload is not JSON, or not JSON of that shape.
    #[cfg(feature = "json")]
    pub fn json<'r, T: serde::Deserialize<'r>>(&'r self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.data)
    }

    /// A copy that borrows nothing.
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
    /// Shows the payload's length, not the payload: it is the users' users' data.
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
    /// The record with all that [`Record`] can do.
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

/// Why a KCL 1.x daemon ends a shard's life in this child.
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
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            ShutdownReason::Terminate => "TERMINATE",
            ShutdownReason::Zombie => "ZOMBIE",
        }
    }
}

/// What came of a checkpoint that the child asked for.
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
    /// The sequence number that was asked for, echoed.
    pub sequence_number: Option<&'a str>,
    /// The sub-sequence number that was asked for, echoed.
    pub sub_sequence_number: Option<u64>,
    /// The simple name of the Java exception that refused it; `None` if it was stored.
    pub error: Option<&'a str>,
}

impl CheckpointAnswer<'_> {
    /// Whether the checkpoint was stored.
    ///
    /// # Errors
    /// The daemon refused it, and this is its reason.
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
    /// Asks for a checkpoint.
    Checkpoint(CheckpointRequest<'a>),
    /// Says that a message has been dealt with.
    Status {
        /// The action of the message that is answered. The daemon compares it and, like Java, can
        /// read a null.
        response_for: Option<&'a str>,
    },
}

impl ChildMessage<'static> {
    /// The status that answers a message of this action.
    pub fn status(action: Action) -> Self {
        ChildMessage::Status { response_for: Some(action.name()) }
    }
}

/// Where a checkpoint is asked for, as it stands on the wire: a daemon must be able to refuse what
/// is no sequence number. [`Position`] is the well-formed kind.
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
    /// The sub-sequence number; the daemon takes `None` as 0 beside a sequence number, and ignores
    /// this field without one.
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

/// Where to checkpoint.
///
/// A record, a sequence number and an extended sequence number turn into one.
///
/// ```
/// use kcl_protocol::{Position, Record, SequenceNumber};
///
/// let record = Record::new("key", SequenceNumber::new("21")?, b"");
/// // At a record both numbers are sent; at a sequence number alone the daemon takes 0.
/// assert_eq!(Position::from(&record).to_string(), "21/0");
/// assert_eq!(Position::from(&record.sequence_number).to_string(), "21");
/// # Ok::<(), kcl_protocol::SequenceNumberError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position<'a> {
    /// Behind all records that were delivered so far.
    AllDelivered,
    /// Behind the record with these numbers.
    At {
        /// The record's sequence number.
        sequence_number: SequenceNumber<'a>,
        /// Its sub-sequence number; the daemon takes `None` as 0.
        sub_sequence_number: Option<u64>,
    },
}

impl Position<'_> {
    /// The place that the daemon will store, where it is known beforehand.
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
    fn from(place: ExtendedSequenceNumber<'a>) -> Self {
        Position::At {
            sequence_number: place.sequence_number,
            sub_sequence_number: Some(place.sub_sequence_number),
        }
    }
}

impl<'a> From<&'a ExtendedSequenceNumber<'_>> for Position<'a> {
    fn from(place: &'a ExtendedSequenceNumber<'_>) -> Self {
        Position::from(place.borrowed())
    }
}

impl fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::AllDelivered => f.write_str("all records so far"),
            Position::At { sequence_number, sub_sequence_number: None } => sequence_number.fmt(f),
            Position::At { sequence_number, sub_sequence_number: Some(sub) } => {
                write!(f, "{sequence_number}/{sub}")
            }
        }
    }
}
