//! Merges the file and `--set`: one value for each key, and where it came from.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use super::file::{File, Position, Text};
use super::keys::{self, Key};
use super::{Request, Version, value};
use crate::secret::Masked;

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) key: Written,
    pub(crate) value: Written,
    pub(crate) origin: Origin,
    /// Its row in the table, if the daemon knows this spelling.
    pub(crate) row: Option<&'static Key>,
}

/// A key or a value: masked when shown, and with its position in the file.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    masked: Masked,
    text: Text,
}

impl Written {
    fn key(text: Text) -> Written {
        Written { masked: Masked::of_key(text.as_str()), text }
    }

    fn value(key: &str, text: Text) -> Written {
        Written { masked: Masked::of_property(key, text.as_str()), text }
    }

    fn of_override(value: &Masked) -> Written {
        Written { masked: value.clone(), text: Text::from(value.reveal()) }
    }

    /// The UTF-16 that Java would hold.
    fn units(&self) -> Vec<u16> {
        self.text.units()
    }

    /// The unmasked text: to judge it, never to show it.
    pub(crate) fn reveal(&self) -> &str {
        self.masked.reveal()
    }

    pub(crate) fn masked(&self) -> &Masked {
        &self.masked
    }

    /// A part of the text, masked.
    pub(crate) fn part(&self, part: Range<usize>) -> Masked {
        self.masked.part(part)
    }

    /// The bytes in the file.
    pub(crate) fn span(&self) -> Range<usize> {
        self.text.span()
    }

    /// The bytes in the file that became a part of the text.
    pub(crate) fn span_of(&self, part: Range<usize>) -> Range<usize> {
        self.text.span_of(part)
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.masked.fmt(f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    File(Position),
    /// Index of the `--set`.
    Set(usize),
}

/// All settings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    settings: Vec<Setting>,
    /// Settings that a later line or a `--set` replaced, each with the index of the replacement.
    replaced: Vec<(Setting, usize)>,
    /// The settings of each row of the table, by the row's name.
    rows: HashMap<&'static str, Vec<usize>>,
}

impl Settings {
    pub(crate) fn new(file: File, request: &Request<'_>) -> Settings {
        let from_file = file.into_entries().into_iter().map(|entry| Setting {
            row: keys::lookup_in(entry.key.as_str(), request.version),
            value: Written::value(entry.key.as_str(), entry.value),
            key: Written::key(entry.key),
            origin: Origin::File(entry.position),
        });
        let from_set = request.overrides.iter().enumerate().map(|(index, (key, value))| Setting {
            key: Written::key(Text::from(key.as_str())),
            value: Written::of_override(value),
            origin: Origin::Set(index),
            row: keys::lookup_in(key, request.version),
        });
        let mut all = Settings::default();
        // Java compares UTF-16, in which keys may differ although they look the same here.
        let mut places: HashMap<Vec<u16>, usize> = HashMap::new();
        for setting in from_file.chain(from_set) {
            let next = all.settings.len();
            let index = *places.entry(setting.key.units()).or_insert(next);
            match all.settings.get_mut(index) {
                Some(place) => all.replaced.push((std::mem::replace(place, setting), index)),
                None => {
                    if let Some(row) = setting.row {
                        all.rows.entry(row.name).or_default().push(index);
                    }
                    all.settings.push(setting);
                }
            }
        }
        all
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Setting> {
        self.settings.iter()
    }

    /// A setting of this row of the table, under any of its spellings.
    pub(crate) fn get(&self, name: &'static str) -> Option<&Setting> {
        self.of(name).next()
    }

    /// All settings of this row. The daemon uses one of them; which one is not defined.
    pub(crate) fn of(&self, name: &'static str) -> impl Iterator<Item = &Setting> {
        let of_row = self.rows.get(name).into_iter().flatten();
        of_row.filter_map(|index| self.settings.get(*index))
    }

    /// Settings that have no effect, each with the one that replaced it.
    pub(crate) fn replaced(&self) -> impl Iterator<Item = (&Setting, &Setting)> {
        self.replaced.iter().map(|(old, index)| (old, &self.settings[*index]))
    }

    /// The number that the daemon reads; `None` if it is not set or unreadable.
    pub(crate) fn number(&self, name: &'static str) -> Option<i64> {
        let setting = self.get(name)?;
        value::read(setting.row?.kind, setting.value.reveal(), Version::DEFAULT).number()
    }
}
