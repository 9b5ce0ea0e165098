//! Rules about credentials providers: names, arguments, and which SDK they belong to.

use std::ops::Range;

use super::super::keys::{Kind, most_alike};
use super::super::settings::Setting;
use super::super::value::java_trim;
use super::names::rivals;
use super::{Facts, Place, Remark, Remarks};
use crate::secret::Masked;

/// Short names of the SDK 1.x that mean nothing to 2.x, and what to write instead.
const V1_NAMES: &[(&str, &str)] = &[
    ("DefaultAWSCredentialsProviderChain", "DefaultCredentialsProvider"),
    ("SystemPropertiesCredentialsProvider", "SystemPropertyCredentialsProvider"),
    ("WebIdentityTokenCredentialsProvider", "WebIdentityTokenFileCredentialsProvider"),
    ("EC2ContainerCredentialsProviderWrapper", "ContainerCredentialsProvider"),
    ("ClasspathPropertiesFileCredentialsProvider", "ProfileCredentialsProvider"),
    ("PropertiesFileCredentialsProvider", "ProfileCredentialsProvider"),
    (
        "STSAssumeRoleSessionCredentialsProvider",
        "StsAssumeRoleCredentialsProvider|<role ARN>|<session name>",
    ),
];

/// Short names of the SDK 2.x that no one finds in 1.x, and what that would have.
const V2_NAMES: &[(&str, &str)] = &[
    ("DefaultCredentialsProvider", "DefaultAWSCredentialsProviderChain"),
    ("SystemPropertyCredentialsProvider", "SystemPropertiesCredentialsProvider"),
    ("WebIdentityTokenFileCredentialsProvider", "WebIdentityTokenCredentialsProvider"),
    ("AnonymousCredentialsProvider", "DefaultAWSCredentialsProviderChain"),
    ("StsAssumeRoleCredentialsProvider", "STSAssumeRoleSessionCredentialsProvider"),
    ("KclStsAssumeRoleCredentialsProvider", "STSAssumeRoleSessionCredentialsProvider"),
];

/// Short names that both have.
const COMMON_NAMES: &[&str] = &[
    "ContainerCredentialsProvider",
    "EnvironmentVariableCredentialsProvider",
    "InstanceProfileCredentialsProvider",
    "ProfileCredentialsProvider",
];

/// Packages that a short name is looked for in.
const V2_PACKAGES: &[&str] = &[
    "software.amazon.kinesis.multilang.auth.",
    "software.amazon.awssdk.auth.credentials.",
    "software.amazon.awssdk.services.sts.auth.",
];

/// One name of a list.
struct Item<'a> {
    setting: &'a Setting,
    /// Where it stands in the value.
    span: Range<usize>,
    name: &'a str,
    verdict: Verdict,
}

enum Verdict {
    Works,
    /// A name of the SDK 1.x; the text is what to write.
    V1(String),
    Unknown,
    /// Its constructor fails, which nobody is told.
    Fails(String),
}

/// The items of one key, judged.
fn items(setting: &Setting) -> Vec<Item<'_>> {
    split(setting.value.reveal(), 0, ',')
        .into_iter()
        .filter(|(_, item)| !item.is_empty())
        .map(|(at, item)| {
            // Arguments keep their blanks.
            let name = item.split('|').next().unwrap_or(item);
            Item { setting, span: at..at + item.len(), name, verdict: verdict(item) }
        })
        .collect()
}

/// Parts with the offset of each, trimmed as Java trims.
fn split(text: &str, start: usize, separator: char) -> Vec<(usize, &str)> {
    let mut at = start;
    let mut parts = Vec::new();
    for part in text.split(separator) {
        let trimmed = java_trim(part);
        let leading = part.find(trimmed).unwrap_or_default();
        parts.push((at + leading, trimmed));
        at += part.len() + separator.len_utf8();
    }
    parts
}

fn verdict(item: &str) -> Verdict {
    let mut arguments = item.split('|');
    let name = arguments.next().unwrap_or_default();
    let short = V2_PACKAGES.iter().find_map(|package| name.strip_prefix(package)).unwrap_or(name);
    if let Some((_, instead)) = V1_NAMES.iter().find(|(v1, _)| *v1 == short) {
        return Verdict::V1((*instead).to_owned());
    }
    if let Some(class) = name.strip_prefix("com.amazonaws.") {
        let short = class.rsplit('.').next().unwrap_or(class);
        let same = COMMON_NAMES.iter().find(|common| **common == short);
        let known = V1_NAMES.iter().find(|(v1, _)| *v1 == short).map(|(_, instead)| instead);
        return Verdict::V1((*known.or(same).unwrap_or(&"DefaultCredentialsProvider")).to_owned());
    }
    if short.ends_with("StsAssumeRoleCredentialsProvider") && !short.contains('.') {
        return match sts_fault(&arguments.collect::<Vec<_>>()) {
            None => Verdict::Works,
            Some(fault) => Verdict::Fails(fault),
        };
    }
    // A class of somebody else's is on a class path that nobody knows here.
    let is_foreign = is_class_name(short);
    let is_known =
        COMMON_NAMES.contains(&short) || V2_NAMES.iter().any(|(known, _)| *known == short);
    if is_foreign || is_known { Verdict::Works } else { Verdict::Unknown }
}

/// A name with its package.
fn is_class_name(text: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '$'))
            && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))
    };
    text.contains('.') && text.split('.').all(is_part)
}

/// Why the provider that assumes a role could not be made.
fn sts_fault(arguments: &[&str]) -> Option<String> {
    let [_role, _session, rest @ ..] = arguments else {
        return Some("it needs a role ARN and a session name".to_owned());
    };
    rest.iter().find_map(|argument| match argument.split_once('=') {
        Some(("endpointRegion", region)) if !is_like_region(region) => {
            Some(format!("`{region}` is not a region of AWS"))
        }
        Some(("endpoint", value)) if value.split('^').filter(|p| !p.is_empty()).count() != 2 => {
            Some("an endpoint is written URL^region".to_owned())
        }
        _ => None,
    })
}

/// The daemon compares with the list of its SDK; the shape is enough to see a slip.
fn is_like_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [partition, middle @ .., number] = parts.as_slice() else {
        return false;
    };
    let letters = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    !middle.is_empty()
        && letters(partition)
        && middle.iter().all(|part| letters(part))
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        || *text == *"aws-global"
}

/// The lists of the file, each with whether any of its items works.
fn lists<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = (&'a Setting, Vec<Item<'a>>, bool)> {
    let lists = facts.settings.iter().filter(|s| s.row.is_some_and(|r| r.kind == Kind::Providers));
    lists.map(|setting| {
        let items = items(setting);
        let works = items.iter().any(|item| matches!(item.verdict, Verdict::Works));
        (setting, items, works)
    })
}

impl Item<'_> {
    /// Whether it assumes a role.
    fn is_sts(&self) -> bool {
        self.name.ends_with("StsAssumeRoleCredentialsProvider")
    }

    /// The name, to show it.
    fn shown(&self) -> Masked {
        self.setting.value.part(self.span.start..self.span.start + self.name.len())
    }

    fn place(&self) -> Place {
        Place::part(self.setting, self.span.clone())
    }
}

pub(super) fn v1_provider(facts: &Facts<'_>) -> Remarks {
    let items = lists(facts).filter(|list| !list.2).flat_map(|list| list.1);
    items
        .filter_map(|item| match &item.verdict {
            Verdict::V1(instead) => Some(
                Remark::new(item.place(), "the daemon stops: no provider can be made")
                    .label(format!("`{}` is a name of the AWS SDK 1.x", item.shown()))
                    .hint(format!("write `{instead}`")),
            ),
            _ => None,
        })
        .collect()
}

pub(super) fn v2_provider(facts: &Facts<'_>) -> Remarks {
    let mut remarks = Remarks::default();
    for (_, items, _) in lists(facts) {
        let v1_name =
            |item: &Item<'_>| V2_NAMES.iter().find(|(v2, _)| *v2 == item.name).map(|(_, v1)| *v1);
        if items.iter().any(|item| v1_name(item).is_none()) {
            continue;
        }
        for item in &items {
            let instead = v1_name(item).unwrap_or_default();
            let message =
                format!("daemon {} stops: no provider can be made", facts.request.version);
            remarks.push(
                Remark::new(item.place(), message)
                    .label(format!("`{}` is a name of the AWS SDK 2.x", item.shown()))
                    .hint(format!("write `{instead}`")),
            );
        }
    }
    remarks
}

pub(super) fn no_provider(facts: &Facts<'_>) -> Remarks {
    const MESSAGE: &str = "the daemon stops: no provider can be made";
    let mut remarks = Remarks::default();
    for (setting, items, _) in lists(facts).filter(|list| !list.2) {
        if items.is_empty() {
            let remark = Remark::new(Place::value(setting), MESSAGE).label("the list is empty");
            remarks.push(remark.hint("write `DefaultCredentialsProvider`"));
        }
        for item in &items {
            let remark = || Remark::new(item.place(), MESSAGE);
            match &item.verdict {
                Verdict::Fails(why) => remarks.add(|| remark().label(why).hint(STS_SHAPE)),
                Verdict::Unknown => remarks.add(|| {
                    let hint = like(item.name).map_or_else(
                        || "write the full name of the class".to_owned(),
                        |known| format!("did you mean `{known}`?"),
                    );
                    remark().label("no such provider").hint(hint)
                }),
                Verdict::Works | Verdict::V1(_) => {}
            }
        }
    }
    remarks
}

const STS_SHAPE: &str = "write `StsAssumeRoleCredentialsProvider|<role ARN>|<session name>`, \
    then `|endpointRegion=<region>` and the like";

fn like(name: &str) -> Option<&'static str> {
    let known = COMMON_NAMES.iter().copied().chain(V2_NAMES.iter().map(|(known, _)| *known));
    most_alike(name, known)
}

pub(super) fn provider_skipped(facts: &Facts<'_>) -> Remarks {
    let items = lists(facts).filter(|list| list.2).flat_map(|list| list.1);
    items
        .filter_map(|item| {
            let (label, hint) = match &item.verdict {
                Verdict::Works => return None,
                Verdict::V1(instead) => {
                    ("a name of the AWS SDK 1.x".to_owned(), format!("write `{instead}`"))
                }
                Verdict::Unknown => ("no such provider".to_owned(), "delete it".to_owned()),
                Verdict::Fails(why) => (why.clone(), STS_SHAPE.to_owned()),
            };
            let message = format!("the daemon skips `{}`", item.shown());
            Some(Remark::new(item.place(), message).label(label).hint(hint))
        })
        .collect()
}

pub(super) fn sts_argument_dropped(facts: &Facts<'_>) -> Remarks {
    let mut remarks = Remarks::default();
    for (setting, items, _) in lists(facts) {
        for item in items.iter().filter(|item| item.is_sts()) {
            let text = &setting.value.reveal()[item.span.clone()];
            for (at, argument) in split(text, item.span.start, '|').into_iter().skip(3) {
                let label = match argument.split('=').collect::<Vec<_>>()[..] {
                    ["endpoint" | "endpointRegion" | "externalId", value] if !value.is_empty() => {
                        continue;
                    }
                    [_, value] if !value.is_empty() => {
                        "only endpoint, endpointRegion and externalId are known"
                    }
                    [_, _, _, ..] => "a second `=` is not allowed",
                    _ => "an argument is written key=value",
                };
                let part = at..at + argument.len();
                let place = Place::part(setting, part.clone());
                let message = format!("the daemon drops `{}`", setting.value.part(part));
                remarks.push(Remark::new(place, message).label(label).hint("correct or delete it"));
            }
        }
    }
    remarks
}

pub(super) fn sts_no_region(facts: &Facts<'_>) -> Remarks {
    if facts.request.environment.region(facts.request.jvm_args).is_some() {
        return Remarks::default();
    }
    let items = lists(facts).flat_map(|list| list.1).filter(|item| {
        let text = &item.setting.value.reveal()[item.span.clone()];
        let own = ["|endpointRegion=", "|endpoint="].iter().any(|argument| text.contains(argument));
        item.is_sts() && matches!(item.verdict, Verdict::Works) && !own
    });
    items
        .map(|item| {
            let message = "the daemon stops unless instance metadata gives this provider a region";
            Remark::new(item.place(), message)
                .label("regionName is not for it")
                .hint("add `|endpointRegion=<region>` to it, or set AWS_REGION")
        })
        .collect()
}

/// Whether the second stops the daemon hangs on their order when only one is a list; that too is
/// an error, as it works by chance.
pub(super) fn set_twice(facts: &Facts<'_>) -> Remarks {
    let is_list = |s: &Setting| s.row.is_some_and(|row| row.kind == Kind::Providers);
    let rivals = rivals(facts).into_iter().filter(|(a, b, _)| is_list(a) || is_list(b));
    rivals
        .map(|(first, second, _)| {
            let message = format!("the daemon stops: `{}` was given already", first.key);
            Remark::new(Place::key(second), message)
                .label(format!("by {}", first.origin.describe()))
                .hint("keep one of them")
        })
        .collect()
}
