//! Random messages, and all the ways to write a message as JSON.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kcl_protocol::{
    CheckpointAnswer, DaemonMessage, InitializeInput, ProcessRecordsInput, Record, SequenceNumber,
    ShutdownReason,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Sets the number of cases, unless `PROPTEST_CASES` does.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    config
}

/// A message from the daemon that borrows nothing.
#[derive(Debug, Clone)]
pub(crate) enum Owned {
    Initialize { shard_id: String, number: Option<String>, sub: Option<u64> },
    Records { records: Vec<OwnedRecord>, behind: Option<u64> },
    LeaseLost,
    ShardEnded,
    ShutdownRequested,
    Shutdown { zombie: bool },
    Checkpoint { number: Option<String>, sub: Option<u64>, error: Option<String> },
}

#[derive(Debug, Clone)]
pub(crate) struct OwnedRecord {
    pub(crate) data: Vec<u8>,
    pub(crate) key: String,
    pub(crate) number: String,
    pub(crate) sub: Option<u64>,
    pub(crate) arrival: Option<u64>,
}

impl Owned {
    pub(crate) fn borrowed(&self) -> DaemonMessage<'_> {
        match self {
            Owned::Initialize { shard_id, number, sub } => {
                let mut input = InitializeInput::new(shard_id);
                input.sequence_number =
                    number.as_deref().map(|it| SequenceNumber::new(it).unwrap());
                input.sub_sequence_number = *sub;
                DaemonMessage::Initialize(input)
            }
            Owned::Records { records, behind } => {
                let records = records.iter().map(OwnedRecord::borrowed).collect();
                let mut input = ProcessRecordsInput::new(records);
                input.millis_behind_latest = *behind;
                DaemonMessage::ProcessRecords(input)
            }
            Owned::LeaseLost => DaemonMessage::LeaseLost,
            Owned::ShardEnded => DaemonMessage::ShardEnded,
            Owned::ShutdownRequested => DaemonMessage::ShutdownRequested,
            Owned::Shutdown { zombie: true } => DaemonMessage::Shutdown(ShutdownReason::Zombie),
            Owned::Shutdown { zombie: false } => DaemonMessage::Shutdown(ShutdownReason::Terminate),
            Owned::Checkpoint { number, sub, error } => {
                DaemonMessage::Checkpoint(CheckpointAnswer {
                    sequence_number: number.as_deref(),
                    sub_sequence_number: *sub,
                    error: error.as_deref(),
                })
            }
        }
    }

    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut line = Vec::new();
        self.borrowed().encode(&mut line);
        line
    }
}

impl OwnedRecord {
    fn borrowed(&self) -> Record<'_> {
        let number = SequenceNumber::new(&self.number).unwrap();
        let mut record = Record::new(&self.key, number, &self.data);
        record.sub_sequence_number = self.sub;
        record.approximate_arrival = self.arrival.map(Duration::from_millis);
        record
    }
}

/// Any Unicode, including control characters.
pub(crate) fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..12).prop_map(String::from_iter)
}

/// A number that fits in Java's `long`.
pub(crate) fn long() -> impl Strategy<Value = u64> {
    prop_oneof![0..10_u64, 0..=i64::MAX as u64]
}

pub(crate) fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[1-9][0-9]{0,128}",
        2 => "4968[0-9]{52}",
        1 => "0{0,3}[0-9]{1,20}",
        1 => prop::sample::select(vec!["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP", "SHARD_END"])
            .prop_map(str::to_owned),
    ]
}

pub(crate) fn record() -> impl Strategy<Value = OwnedRecord> {
    let data = prop_oneof![9 => vec(any::<u8>(), 0..60), 1 => vec(any::<u8>(), 0..3000)];
    let numbers = (number(), proptest::option::of(long()), proptest::option::of(long()));
    (data, text(), numbers).prop_map(|(data, key, (number, sub, arrival))| OwnedRecord {
        data,
        key,
        number,
        sub,
        arrival,
    })
}

pub(crate) fn records() -> impl Strategy<Value = Owned> {
    (vec(record(), 0..5), proptest::option::of(long()))
        .prop_map(|(records, behind)| Owned::Records { records, behind })
}

pub(crate) fn message() -> impl Strategy<Value = Owned> {
    use proptest::option::of;
    prop_oneof![
        3 => (text(), of(number()), of(long()))
            .prop_map(|(shard_id, number, sub)| Owned::Initialize { shard_id, number, sub }),
        6 => records(),
        1 => Just(Owned::LeaseLost),
        1 => Just(Owned::ShardEnded),
        1 => Just(Owned::ShutdownRequested),
        1 => any::<bool>().prop_map(|zombie| Owned::Shutdown { zombie }),
        3 => (of(text()), of(long()), of(text()))
            .prop_map(|(number, sub, error)| Owned::Checkpoint { number, sub, error }),
    ]
}

/// A source of random choices that proptest does not shrink one by one.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// Returns a number below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        ((self.0 >> 33) as usize) % sides
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.roll(from.len())]
    }
}

/// The fields of an object: names, and values as JSON.
pub(crate) type Fields = Vec<(String, String)>;

/// Writes a message in one of the many valid ways. `edit` may change the fields of each record (by
/// its index) and of the message itself (`None`) before they are written.
pub(crate) fn written_freely(
    message: &Owned,
    dice: &mut Dice,
    edit: &mut dyn FnMut(Option<usize>, &mut Fields),
) -> Vec<u8> {
    let mut fields = Fields::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            fields.push((name.to_owned(), value));
        }
    };
    add("action", Some(free_text(name_of(message), dice)));
    match message {
        Owned::Initialize { shard_id, number, sub } => {
            add("shardId", Some(free_text(shard_id, dice)));
            add("sequenceNumber", free_text_or_nothing(number.as_deref(), dice));
            add("subSequenceNumber", number_or_nothing(*sub, dice));
        }
        Owned::Records { records, behind } => {
            let records: Vec<String> = records
                .iter()
                .enumerate()
                .map(|(index, record)| {
                    let mut fields = record_fields(record, dice);
                    edit(Some(index), &mut fields);
                    object(fields, dice)
                })
                .collect();
            let (before, between) = (blank(dice), blank(dice));
            let records = records.join(&format!("{before},{between}"));
            add("records", Some(format!("[{before}{records}{between}]")));
            add("millisBehindLatest", number_or_nothing(*behind, dice));
        }
        Owned::LeaseLost | Owned::ShardEnded | Owned::ShutdownRequested => {}
        Owned::Shutdown { zombie } => {
            let reason = if *zombie { "ZOMBIE" } else { "TERMINATE" };
            add("reason", Some(free_text(reason, dice)));
        }
        Owned::Checkpoint { number, sub, error } => {
            add("sequenceNumber", free_text_or_nothing(number.as_deref(), dice));
            add("subSequenceNumber", number_or_nothing(*sub, dice));
            add("error", free_text_or_nothing(error.as_deref(), dice));
        }
    }
    add_unknown_fields(&mut fields, dice);
    edit(None, &mut fields);
    format!("{}{}{}", blank(dice), object(fields, dice), blank(dice)).into_bytes()
}

fn name_of(message: &Owned) -> &'static str {
    message.borrowed().action().map_or("checkpoint", kcl_protocol::Action::name)
}

fn record_fields(record: &OwnedRecord, dice: &mut Dice) -> Fields {
    let OwnedRecord { data, key, number, sub, arrival } = record;
    let mut fields = vec![
        ("partitionKey".to_owned(), free_text(key, dice)),
        ("sequenceNumber".to_owned(), free_text(number, dice)),
    ];
    let data = match (data.is_empty(), dice.roll(3)) {
        (true, 0) => None,
        (true, 1) => Some("null".to_owned()),
        _ => Some(free_text(&STANDARD.encode(data), dice)),
    };
    let optional = [
        ("data", data),
        ("subSequenceNumber", number_or_nothing(*sub, dice)),
        ("approximateArrivalTimestamp", number_or_nothing(*arrival, dice)),
        ("action", (dice.roll(4) > 0).then(|| "\"record\"".to_owned())),
    ];
    for (name, value) in optional {
        fields.extend(value.map(|value| (name.to_owned(), value)));
    }
    add_unknown_fields(&mut fields, dice);
    fields
}

fn add_unknown_fields(fields: &mut Fields, dice: &mut Dice) {
    for index in 0..dice.roll(3) {
        let at = dice.roll(fields.len() + 1);
        fields.insert(at, (format!("unknown{index}"), any_json(dice, 3)));
    }
}

/// Writes an object with its fields in random order.
fn object(mut fields: Fields, dice: &mut Dice) -> String {
    let mut text = String::from("{");
    let mut separator = "";
    while !fields.is_empty() {
        let (name, value) = fields.swap_remove(dice.roll(fields.len()));
        text += separator;
        text += &format!("{}{}", blank(dice), free_text(&name, dice));
        text += &format!("{}:{}{value}{}", blank(dice), blank(dice), blank(dice));
        separator = ",";
    }
    text + "}"
}

fn blank(dice: &mut Dice) -> &'static str {
    dice.pick(&["", "", "", "", " ", "\t", "\r", "  \t "])
}

fn number_or_nothing(number: Option<u64>, dice: &mut Dice) -> Option<String> {
    match number {
        Some(number) => Some(number.to_string()),
        None => (dice.roll(2) == 0).then(|| "null".to_owned()),
    }
}

fn free_text_or_nothing(text: Option<&str>, dice: &mut Dice) -> Option<String> {
    match text {
        Some(text) => Some(free_text(text, dice)),
        None => (dice.roll(2) == 0).then(|| "null".to_owned()),
    }
}

/// Writes text as a JSON string that escapes some of its characters.
fn free_text(text: &str, dice: &mut Dice) -> String {
    let escape_rate = dice.roll(4);
    let mut json = String::from("\"");
    for char in text.chars() {
        let must_escape = char < ' ' || char == '"' || char == '\\';
        if !must_escape && dice.roll(6) >= escape_rate {
            json.push(char);
            continue;
        }
        let short = match char {
            '"' | '\\' | '/' => Some(char),
            '\u{8}' => Some('b'),
            '\u{c}' => Some('f'),
            '\n' => Some('n'),
            '\r' => Some('r'),
            '\t' => Some('t'),
            _ => None,
        };
        match short.filter(|_| dice.roll(2) == 0) {
            Some(short) => json.extend(['\\', short]),
            None => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    let upper = dice.roll(2) == 0;
                    let hex = if upper { format!("{unit:04X}") } else { format!("{unit:04x}") };
                    json += &format!("\\u{hex}");
                }
            }
        }
    }
    json + "\""
}

fn any_json(dice: &mut Dice, depth: usize) -> String {
    match dice.roll(if depth == 0 { 6 } else { 9 }) {
        0 => "null".to_owned(),
        1 => "true".to_owned(),
        2 => dice.pick(&["-0", "0.5e-7", "12345678901234567890123", "-1E9", "1e999"]).to_owned(),
        3 => free_text(dice.pick(&["", "data", "]}", "\"", "ü🐝", "\\", "record"]), dice),
        4 => "[]".to_owned(),
        5 => "{}".to_owned(),
        6 => format!("[{},{}]", any_json(dice, depth - 1), any_json(dice, depth - 1)),
        // Known names inside an ignored field.
        7 => format!("{{\"action\":{},\"action\":1}}", any_json(dice, depth - 1)),
        _ => format!("{{\"records\" : [ {} ]}}", any_json(dice, depth - 1)),
    }
}
