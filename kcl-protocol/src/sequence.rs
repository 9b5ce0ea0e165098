//! Sequence numbers: the positions of records in their shard.

use alloc::borrow::Cow;
use alloc::string::String;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;

/// The maximum number of digits in a sequence number, as in the KCL's own validation.
pub const MAX_SEQUENCE_NUMBER_DIGITS: usize = 129;

/// The position of a record in its shard, or a sentinel: a named position such as `LATEST`.
///
/// A sequence number has 1 to [129](MAX_SEQUENCE_NUMBER_DIGITS) decimal digits. Kinesis sends 56
/// today, too many for any integer type, so the text is kept as it arrived. It goes back unchanged,
/// and compares by value.
///
/// The order is the KCL's: [`AT_TIMESTAMP`](Self::AT_TIMESTAMP) <
/// [`TRIM_HORIZON`](Self::TRIM_HORIZON) < [`LATEST`](Self::LATEST) < every number <
/// [`SHARD_END`](Self::SHARD_END). Leading zeros do not matter.
///
/// It borrows from the message that it came in; [`to_owned`](Self::to_owned) makes one to keep.
///
/// ```
/// use kcl_protocol::SequenceNumber;
///
/// let nine = SequenceNumber::new("9")?;
/// let ten = SequenceNumber::new("10")?;
/// assert!(nine < ten);
/// assert!(SequenceNumber::TRIM_HORIZON < nine && ten < SequenceNumber::SHARD_END);
/// assert_eq!(ten.as_str(), "10");
///
/// let error = SequenceNumber::new("12a").unwrap_err();
/// assert_eq!(error.to_string(), "neither a decimal number (byte 2 is not a digit) nor a sentinel");
/// # Ok::<(), kcl_protocol::SequenceNumberError>(())
/// ```
#[derive(Clone)]
pub struct SequenceNumber<'a>(Repr<'a>);

#[derive(Clone)]
enum Repr<'a> {
    AtTimestamp,
    TrimHorizon,
    Latest,
    /// 1 to 129 ASCII digits. Few are ever needed as text, so UTF-8 is checked only then.
    Digits(Cow<'a, [u8]>),
    ShardEnd,
}

impl<'a> SequenceNumber<'a> {
    /// The start at a time that is set in the daemon's properties. Less than every other position.
    pub const AT_TIMESTAMP: SequenceNumber<'static> = SequenceNumber(Repr::AtTimestamp);
    /// The oldest record in the stream.
    pub const TRIM_HORIZON: SequenceNumber<'static> = SequenceNumber(Repr::TrimHorizon);
    /// Just after the newest record at the time of reading.
    pub const LATEST: SequenceNumber<'static> = SequenceNumber(Repr::Latest);
    /// After the last record of a shard that has ended. It appears in checkpoints.
    pub const SHARD_END: SequenceNumber<'static> = SequenceNumber(Repr::ShardEnd);

    /// Parses a number or the name of a sentinel. The result borrows the text.
    ///
    /// # Errors
    /// The text is empty, has more than 129 digits, or is neither a number nor the name of a
    /// sentinel.
    pub fn new(text: &'a str) -> Result<SequenceNumber<'a>, SequenceNumberError> {
        check_digits(text.as_bytes()).map(|()| Self::from_digits(text.as_bytes())).or_else(
            |error| {
                [Self::AT_TIMESTAMP, Self::TRIM_HORIZON, Self::LATEST, Self::SHARD_END]
                    .into_iter()
                    .find(|sentinel| sentinel.as_str() == text)
                    .ok_or(error)
            },
        )
    }

    /// Wraps text that [`new`](Self::new) is known to accept as a number.
    pub(crate) fn from_digits(text: &'a [u8]) -> SequenceNumber<'a> {
        debug_assert_eq!(check_digits(text), Ok(()));
        SequenceNumber(Repr::Digits(Cow::Borrowed(text)))
    }

    /// Returns the text as it goes over the wire.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::AtTimestamp => "AT_TIMESTAMP",
            Repr::TrimHorizon => "TRIM_HORIZON",
            Repr::Latest => "LATEST",
            Repr::Digits(digits) => core::str::from_utf8(digits).expect("digits are ASCII"),
            Repr::ShardEnd => "SHARD_END",
        }
    }

    /// Like [`as_str`](Self::as_str), without the check for UTF-8.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Digits(digits) => digits,
            _ => self.as_str().as_bytes(),
        }
    }

    /// Returns whether this is a sentinel and not a number.
    pub fn is_sentinel(&self) -> bool {
        !matches!(self.0, Repr::Digits(_))
    }

    /// Returns a copy that borrows from this one, so it never allocates.
    pub fn borrowed(&self) -> SequenceNumber<'_> {
        SequenceNumber(match &self.0 {
            Repr::Digits(digits) => Repr::Digits(Cow::Borrowed(digits)),
            sentinel => sentinel.clone(),
        })
    }

    /// Returns a copy that borrows nothing.
    pub fn to_owned(&self) -> SequenceNumber<'static> {
        self.clone().into_owned()
    }

    /// Makes `target` a copy of this number and reuses its memory.
    ///
    /// ```
    /// use kcl_protocol::SequenceNumber;
    /// let mut last = SequenceNumber::new("9")?.to_owned();
    /// SequenceNumber::new("10")?.clone_into(&mut last);
    /// assert_eq!(last.as_str(), "10");
    /// # Ok::<(), kcl_protocol::SequenceNumberError>(())
    /// ```
    pub fn clone_into(&self, target: &mut SequenceNumber<'static>) {
        match (&self.0, &mut target.0) {
            (Repr::Digits(digits), Repr::Digits(Cow::Owned(target))) => {
                target.clear();
                target.extend_from_slice(digits);
            }
            _ => *target = self.to_owned(),
        }
    }

    /// Turns this number into one that borrows nothing.
    pub fn into_owned(self) -> SequenceNumber<'static> {
        match self.0 {
            Repr::AtTimestamp => SequenceNumber::AT_TIMESTAMP,
            Repr::TrimHorizon => SequenceNumber::TRIM_HORIZON,
            Repr::Latest => SequenceNumber::LATEST,
            Repr::Digits(digits) => SequenceNumber(Repr::Digits(Cow::Owned(digits.into_owned()))),
            Repr::ShardEnd => SequenceNumber::SHARD_END,
        }
    }

    /// What the order depends on: the kind, then the number of digits, then the digits.
    fn key(&self) -> (u8, usize, &[u8]) {
        match &self.0 {
            Repr::AtTimestamp => (0, 0, b""),
            Repr::TrimHorizon => (1, 0, b""),
            Repr::Latest => (2, 0, b""),
            Repr::Digits(digits) => {
                let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
                let significant = &digits[zeros..];
                (3, significant.len(), significant)
            }
            Repr::ShardEnd => (4, 0, b""),
        }
    }
}

/// Whether all bytes are ASCII digits. There is no early exit, so that the compiler can check many
/// bytes at once.
#[inline]
pub(crate) fn are_digits(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |all, byte| all & byte.is_ascii_digit())
}

pub(crate) fn check_digits(bytes: &[u8]) -> Result<(), SequenceNumberError> {
    if bytes.is_empty() {
        return Err(SequenceNumberError::Empty);
    }
    if !are_digits(bytes) {
        let offset = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or_default();
        return Err(SequenceNumberError::NotADigit { offset });
    }
    if bytes.len() > MAX_SEQUENCE_NUMBER_DIGITS {
        return Err(SequenceNumberError::TooLong { digits: bytes.len() });
    }
    Ok(())
}

impl Ord for SequenceNumber<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for SequenceNumber<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SequenceNumber<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for SequenceNumber<'_> {}

impl Hash for SequenceNumber<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Display for SequenceNumber<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for SequenceNumber<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SequenceNumber({})", self.as_str())
    }
}

impl FromStr for SequenceNumber<'static> {
    type Err = SequenceNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        SequenceNumber::new(text).map(SequenceNumber::into_owned)
    }
}

impl TryFrom<String> for SequenceNumber<'static> {
    type Error = SequenceNumberError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match SequenceNumber::new(&text)?.0 {
            Repr::Digits(_) => Ok(SequenceNumber(Repr::Digits(Cow::Owned(text.into_bytes())))),
            sentinel => Ok(SequenceNumber(sentinel).into_owned()),
        }
    }
}

/// Why text is not a [`SequenceNumber`].
///
/// ```
/// use kcl_protocol::{SequenceNumber, SequenceNumberError};
/// assert_eq!(SequenceNumber::new(""), Err(SequenceNumberError::Empty));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SequenceNumberError {
    /// The text is empty.
    #[error("empty text")]
    Empty,
    /// More than 129 digits.
    #[error("{digits} digits; the maximum is {MAX_SEQUENCE_NUMBER_DIGITS}")]
    TooLong {
        /// The number of digits.
        digits: usize,
    },
    /// The text is neither a number nor the name of a sentinel.
    #[error("neither a decimal number (byte {offset} is not a digit) nor a sentinel")]
    NotADigit {
        /// The offset of the first byte that is not a digit.
        offset: usize,
    },
}

/// A sequence number with a sub-sequence number: the exact position of a record that the KPL
/// aggregated.
///
/// The records of one KPL aggregate share a sequence number and differ in their sub-sequence
/// number. It is 0 for a record that was not aggregated.
///
/// ```
/// use kcl_protocol::{ExtendedSequenceNumber, SequenceNumber};
///
/// let first = ExtendedSequenceNumber::new(SequenceNumber::new("21")?, 0);
/// let second = ExtendedSequenceNumber::new(SequenceNumber::new("21")?, 1);
/// assert!(first < second);
/// assert_eq!(second.to_string(), "21/1");
/// # Ok::<(), kcl_protocol::SequenceNumberError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedSequenceNumber<'a> {
    /// Compared first.
    pub sequence_number: SequenceNumber<'a>,
    /// Compared if the sequence numbers are equal.
    pub sub_sequence_number: u64,
}

impl<'a> ExtendedSequenceNumber<'a> {
    /// Creates the position of a record.
    pub fn new(sequence_number: SequenceNumber<'a>, sub_sequence_number: u64) -> Self {
        ExtendedSequenceNumber { sequence_number, sub_sequence_number }
    }

    /// Like [`new`](Self::new). The daemon takes an absent sub-sequence number as 0.
    pub(crate) fn from_optional(
        sequence_number: SequenceNumber<'a>,
        sub_sequence_number: Option<u64>,
    ) -> Self {
        ExtendedSequenceNumber::new(sequence_number, sub_sequence_number.unwrap_or(0))
    }

    /// Returns a copy that borrows from this one, so it never allocates.
    pub fn borrowed(&self) -> ExtendedSequenceNumber<'_> {
        ExtendedSequenceNumber::new(self.sequence_number.borrowed(), self.sub_sequence_number)
    }

    /// Returns a copy that borrows nothing.
    pub fn to_owned(&self) -> ExtendedSequenceNumber<'static> {
        ExtendedSequenceNumber::new(self.sequence_number.to_owned(), self.sub_sequence_number)
    }

    /// Makes `target` a copy of this position and reuses its memory.
    pub fn clone_into(&self, target: &mut ExtendedSequenceNumber<'static>) {
        self.sequence_number.clone_into(&mut target.sequence_number);
        target.sub_sequence_number = self.sub_sequence_number;
    }
}

impl fmt::Display for ExtendedSequenceNumber<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.sequence_number, self.sub_sequence_number)
    }
}
