//! `--effective`: every property with the value that the daemon uses, defaults included.

use serde::Serialize;

use super::keys::{KEYS, Key, Kind, V2_1, V3};
use super::settings::{Origin, Setting, Settings};
use super::value::{self, Reading, StreamArn};
use super::{Report, Request};
use crate::secret::Masked;

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Property {
    pub(crate) key: String,
    /// `None` if nothing is set, or if the daemon stops.
    pub(crate) value: Option<Masked>,
    /// `file:line`, `--set`, a part of the environment, or `default`.
    pub(crate) origin: String,
    /// Why the value is not the text that was written.
    pub(crate) note: String,
}

/// All properties of this daemon version, then whatever else the file sets.
pub(crate) fn effective(report: &Report, request: &Request<'_>) -> Vec<Property> {
    let view = View { file: &report.source().name, settings: report.settings(), request };
    let rows =
        KEYS.iter().filter(|row| !row.name.ends_with('*') && row.is_read_in(request.version));
    let known = rows.map(|row| view.property(row));
    let others = view.settings.iter().filter_map(|setting| view.other(setting));
    known.chain(others).collect()
}

struct View<'a> {
    file: &'a str,
    settings: &'a Settings,
    request: &'a Request<'a>,
}

impl View<'_> {
    fn property(&self, row: &'static Key) -> Property {
        if let Some(property) = self.special(row) {
            return property;
        }
        let all: Vec<&Setting> = self.settings.of(row.name).collect();
        let Some(setting) = all.first() else { return self.absent(row, String::new()) };
        let mut property = self.given(row, setting);
        // Some keys have a spelling for each combination of upper and lower case.
        const MOST: usize = 10;
        for other in all.iter().skip(1).take(MOST) {
            let note = format!("or {}, of {}", other.value, self.origin(other.origin));
            property.note = join(&property.note, &note);
        }
        if let Some(more) = (all.len() - 1).checked_sub(MOST).filter(|more| *more > 0) {
            property.note = join(&property.note, &format!("or one of {more} more"));
        }
        property
    }

    /// A property that is set.
    fn given(&self, row: &'static Key, setting: &Setting) -> Property {
        let (text, shown) = (setting.value.reveal(), &setting.value);
        let origin = self.origin(setting.origin);
        let key = row.name.to_owned();
        let property = |value: &str, note: &str| Property {
            key: key.clone(),
            value: Some(shown.masked().read_as(row.name, value.to_owned())),
            origin: origin.clone(),
            note: note.to_owned(),
        };
        // How daemons before 2.1 convert a text is not in the table.
        if self.request.version < V2_1 {
            return property(text, "as written");
        }
        if row.name == "tableName" && text.is_empty() {
            return self.absent(row, format!("{origin}: it is empty"));
        }
        match value::read(row.kind, text, self.request.version) {
            Reading::Taken(taken) => property(&taken, ""),
            Reading::UnreadableTaken("false") if row.kind == Kind::Flag => {
                self.absent(row, format!("{origin}: \"{shown}\" means false, as does no line"))
            }
            Reading::UnreadableTaken(taken) => {
                property(taken, &format!("\"{shown}\" is unreadable"))
            }
            Reading::Unset => self.absent(row, format!("{origin}: {shown} counts as not given")),
            Reading::Unreadable => self.absent(row, format!("{origin}: \"{shown}\" is unreadable")),
            Reading::Stops => Property { value: None, ..property("", "the daemon stops") },
        }
    }

    /// A property that is not set: from the environment, from another key, or the default.
    fn absent(&self, row: &'static Key, note: String) -> Property {
        let key = row.name.to_owned();
        let around = &self.request.environment;
        let found = match row.name {
            "regionName" => around.region(self.request.jvm_args),
            "kinesisEndpoint" => around.endpoint("KINESIS", self.request.jvm_args),
            "dynamoDBEndpoint" => around.endpoint("DYNAMODB", self.request.jvm_args),
            "cloudWatchClient.endpointOverride" => {
                around.endpoint("CLOUDWATCH", self.request.jvm_args)
            }
            _ => None,
        };
        if let Some(found) = found.filter(|_| self.request.version >= V2_1) {
            let value = Some(Masked::of_property(row.name, &found.value));
            return Property { key, value, origin: found.origin, note };
        }
        // A default that is the name of a key stands for that key's value.
        if let Some(other) =
            KEYS.iter().find(|other| other.name == row.default_in(self.request.version))
        {
            let Property { value, origin, .. } = self.property(other);
            return Property {
                key,
                value,
                origin,
                note: join(&note, &format!("as {}", other.name)),
            };
        }
        let value = self.default(row);
        Property { key, value, origin: "default".to_owned(), note }
    }

    /// The default, with other values filled in.
    fn default(&self, row: &'static Key) -> Option<Masked> {
        let default = row.default_in(self.request.version);
        let text = match row.name {
            "leaseAssignmentIntervalMillis" => {
                let failover = self.settings.number("failoverTimeMillis").unwrap_or(10_000);
                failover.checked_mul(2).map_or_else(String::new, |twice| twice.to_string())
            }
            _ => match default.strip_prefix("<applicationName>") {
                Some(suffix) => {
                    let application = self.settings.get("applicationName");
                    format!(
                        "{}{suffix}",
                        application.map_or_else(String::new, |name| name.value.to_string())
                    )
                }
                None => default.to_owned(),
            },
        };
        (!text.is_empty()).then(|| Masked::of_property(row.name, &text))
    }

    /// Properties that the daemon computes from more than their own value.
    fn special(&self, row: &'static Key) -> Option<Property> {
        if self.request.version < V2_1 {
            return None;
        }
        let setting = || self.settings.get(row.name);
        let own =
            || setting().map_or_else(|| self.absent(row, String::new()), |s| self.given(row, s));
        match row.name {
            "streamName" => {
                let arn = self.settings.get("streamArn")?;
                let stream = StreamArn::parse(arn.value.reveal())?.stream.to_owned();
                let value = arn.value.masked().read_as(row.name, stream);
                let origin = self.origin(arn.origin);
                let note = "from streamArn".to_owned();
                Some(Property { key: row.name.to_owned(), value: Some(value), origin, note })
            }
            "initialPositionInStream" => {
                let moment = self.settings.get("initialPositionInStreamExtended")?;
                let note = match setting() {
                    Some(given) => {
                        format!("or {}, of {}", given.value, self.origin(given.origin))
                    }
                    None => "by initialPositionInStreamExtended".to_owned(),
                };
                let origin = self.origin(moment.origin);
                let value = Some(Masked::of_text("AT_TIMESTAMP"));
                Some(Property { key: row.name.to_owned(), value, origin, note })
            }
            "retrievalMode" => {
                let own = own();
                let polls = KEYS
                    .iter()
                    .filter(|key| key.is_polling())
                    .filter_map(|key| self.settings.get(key.name))
                    .find(|setting| {
                        let kind = setting.row.map_or(Kind::Nothing, |row| row.kind);
                        let reading =
                            value::read(kind, setting.value.reveal(), self.request.version);
                        matches!(reading, Reading::Taken(_) | Reading::UnreadableTaken(_))
                    });
                let (value, note) = match (own.value.as_ref()?.reveal(), polls) {
                    ("DEFAULT", Some(key)) => ("POLLING", format!("DEFAULT, with {}", key.key)),
                    ("DEFAULT", None) => ("FANOUT", "DEFAULT, with no polling key".to_owned()),
                    _ => return None,
                };
                Some(Property { value: Some(Masked::of_text(value)), note, ..own })
            }
            "idleTimeBetweenReadsInMillis" if self.request.version >= V3 => {
                self.clamped(own(), 200, i64::MAX)
            }
            "tableMigrationCompleteBakeTimeSeconds" => self.clamped(own(), 3600, 604_800),
            _ => None,
        }
    }

    fn clamped(&self, own: Property, least: i64, most: i64) -> Option<Property> {
        let given: i64 = own.value.as_ref()?.reveal().parse().ok()?;
        let taken = given.clamp(least, most);
        (taken != given).then(|| {
            let note = own.value.as_ref().map(|given| format!("{given} is brought into range"));
            let value = Some(Masked::of_text(taken.to_string()));
            Property { value, note: note.unwrap_or_default(), ..own }
        })
    }

    /// A setting that has no row of its own.
    fn other(&self, setting: &Setting) -> Option<Property> {
        let known = setting.row.filter(|row| {
            row.since.is_some_and(|since| since > self.request.version)
                || row.is_read_in(self.request.version)
        });
        let note = match known {
            Some(row) if row.since > Some(self.request.version) => "ignored: newer than the daemon",
            Some(row) if row.name.ends_with('*') => "",
            Some(_) => return None,
            None => "ignored",
        };
        let value = note.is_empty().then(|| setting.value.masked().clone());
        let origin = self.origin(setting.origin);
        Some(Property { key: setting.key.to_string(), value, origin, note: note.to_owned() })
    }

    fn origin(&self, origin: Origin) -> String {
        match origin {
            Origin::File(position) => format!("{}:{}", self.file, position.line),
            Origin::Set(_) => "--set".to_owned(),
        }
    }
}

fn join(first: &str, second: &str) -> String {
    match (first, second) {
        ("", one) | (one, "") => one.to_owned(),
        (first, second) => format!("{first}; {second}"),
    }
}
