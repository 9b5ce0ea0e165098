//! Rules about the table migration of 3.5, and faults of versions.

use super::super::Version;
use super::super::keys::V3;
use super::{Facts, Hint, Place, Remark, Remarks};

const KEY: &str = "migrateAllEntitiesToLeaseTable";

pub(super) fn two_migrations(facts: &Facts<'_>) -> Remarks {
    let Some(setting) = migrating(facts) else { return Remarks::default() };
    let client = facts.settings.get("clientVersionConfig");
    let mode = facts.used("clientVersionConfig");
    if mode.is_none_or(|mode| mode == "CLIENT_VERSION_CONFIG_3X") {
        return Remarks::default();
    }
    let message = "the table migration needs an application that has left the 2.x compatible mode";
    let line = client.map_or(String::new(), |client| client.origin.describe());
    let hint = Hint::delete_line(setting).note(" until clientVersionConfig is gone everywhere");
    Remarks::from(
        Remark::new(Place::key(setting), message)
            .label(format!("clientVersionConfig is set, {line}"))
            .hint(hint),
    )
}

pub(super) fn migration_phase_2(facts: &Facts<'_>) -> Remarks {
    let Some(setting) = migrating(facts) else { return Remarks::default() };
    let message = "the daemon stops unless the table migration's state is DEPLOYED or later";
    let hint = Hint::delete_line(setting).note(" for the first deployment of 3.5");
    Remarks::from(
        Remark::new(Place::key(setting), message)
            .label("this begins phase 2")
            .hint(hint.or(Hint::say("check `TableMigration3.5` in the coordinator-state table"))),
    )
}

fn migrating<'a>(facts: &'a Facts<'_>) -> Option<&'a super::Setting> {
    let setting = facts.settings.get(KEY)?;
    (facts.used(KEY).as_deref() == Some("true")).then_some(setting)
}

/// Faults that stall or lose leases: in which versions, and the number of the report or fix.
const FAULTS: &[(Version, Version, u16)] = &[
    (V3, Version::new(3, 0, 1), 1398),
    (V3, Version::new(3, 3, 0), 1669),
    (V3, Version::new(3, 4, 2), 1718),
    (V3, Version::new(3, 5, 0), 1765),
    (Version::new(2, 0, 0), Version::new(2, 6, 1), 1319),
    (Version::new(2, 0, 0), Version::new(2, 6, 1), 1354),
    (V3, Version::new(3, 5, 1), 1788),
    (Version::new(2, 0, 0), Version::new(2, 7, 3), 1764),
    (V3, Version::new(3, 5, 0), 1744),
];

/// One line about the known faults of a version.
pub(crate) fn known_faults(version: Version) -> Option<String> {
    let of_it: Vec<_> =
        FAULTS.iter().filter(|(from, fixed, _)| (*from..*fixed).contains(&version)).collect();
    let fixed = of_it.iter().map(|(_, fixed, _)| *fixed).max()?;
    let numbers: Vec<String> = of_it.iter().map(|(.., number)| format!("#{number}")).collect();
    Some(format!(
        "note: daemon {version} can stall or lose leases: see {} of amazon-kinesis-client; all are \
            fixed in {fixed}",
        numbers.join(", ")
    ))
}
