//! Rules about lists of credentials providers.

use std::ops::Range;

use super::super::keys::{Key, Kind, V2_7, most_alike};
use super::super::settings::Setting;
use super::super::value::java_trim;
use super::names::{keep_one, rivals};
use super::providers::{self, Fault, Instead, Verdict};
use super::regions;
use super::{Facts, Hint, Place, Remark, Remarks};
use crate::secret::Masked;

/// One name of a list, with its arguments.
struct Item<'a> {
    setting: &'a Setting,
    /// Where it is in the value.
    span: Range<usize>,
    /// Without its arguments.
    name: &'a str,
    verdict: Verdict,
}

/// The items of one key, judged.
fn items<'a>(facts: &Facts<'_>, setting: &'a Setting) -> Vec<Item<'a>> {
    split(setting.value.reveal(), 0, ',')
        .into_iter()
        .filter(|(_, item)| !item.is_empty())
        .map(|(at, item)| {
            let (name, _) = providers::split(item);
            let verdict = providers::verdict(item, facts.version());
            Item { setting, span: at..at + item.len(), name, verdict }
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

/// The lists of the file, each with whether any of its items works.
fn lists<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = (&'a Setting, Vec<Item<'a>>, bool)> {
    let lists = facts.settings.iter().filter(|s| s.row.is_some_and(|r| r.kind == Kind::Providers));
    lists.map(|setting| {
        let items = items(facts, setting);
        let works =
            |item: &Item<'_>| matches!(item.verdict, Verdict::Works | Verdict::WorksWithout);
        let any_works = items.iter().any(works);
        (setting, items, any_works)
    })
}

impl Item<'_> {
    /// The item with all arguments, unmasked.
    fn text(&self) -> &str {
        &self.setting.value.reveal()[self.span.clone()]
    }

    /// The arguments, each with its offset in the value.
    fn arguments(&self) -> Vec<(usize, &str)> {
        split(self.text(), self.span.start, '|').into_iter().skip(1).collect()
    }

    /// The name, to show it.
    fn shown(&self) -> Masked {
        self.setting.value.part(self.span.start..self.span.start + self.name.len())
    }

    fn place(&self) -> Place {
        Place::part(self.setting, self.span.clone())
    }

    /// The hint to replace the name, and to keep the arguments.
    fn rename(&self, name: &str) -> Hint {
        let after = self.span.start + self.name.len()..self.span.end;
        let text = format!("{name}{}", &self.setting.value.reveal()[after.clone()]);
        let shown = format!("{name}{}", self.setting.value.part(after));
        Hint::write_masked(self.place(), text, shown)
    }

    /// The hint for a name of the other SDK.
    fn instead(&self, instead: &Instead) -> Hint {
        match instead {
            Instead::Name(name) => self.rename(name),
            Instead::Item(item) => Hint::write(self.place(), *item),
            Instead::Perhaps(item) => {
                Hint::write(self.place(), *item).note(" if it finds the same credentials")
            }
            Instead::Say(what) => Hint::say(*what),
        }
    }

    /// Why it cannot be constructed, and what to do.
    fn fault(&self, fault: &Fault) -> (String, Hint) {
        const STS: &str = "write `StsAssumeRoleCredentialsProvider|ROLE_ARN|SESSION`, with more \
            arguments such as `|endpointRegion=us-east-1`";
        match fault {
            Fault::NoConstructor => {
                let hint = Hint::write(self.place(), "DefaultCredentialsProvider");
                (
                    "the daemon cannot construct this class from text".to_owned(),
                    hint.note(" if it finds the same credentials"),
                )
            }
            Fault::Arguments(counts) => {
                let most = counts.last().copied().unwrap_or_default();
                let many: Vec<String> = counts.iter().map(ToString::to_string).collect();
                let label = match counts {
                    [1] => "it needs 1 argument".to_owned(),
                    _ => format!("it takes {} arguments", many.join(" or ")),
                };
                let hint = match counts.contains(&0) {
                    true => Hint::write(self.place(), self.name),
                    false => {
                        let example = format!("{}{}", self.name, "|argument".repeat(most));
                        Hint::example(self.place(), "its arguments", example)
                    }
                };
                (label, hint)
            }
            Fault::NoRole => {
                ("it needs a role's ARN and a session name".to_owned(), Hint::say(STS))
            }
            Fault::Region(region) => {
                let label = format!("the daemon's AWS SDK knows no region `{region}`");
                (label, self.known_region(region))
            }
            Fault::Endpoint => {
                let hint = "write the endpoint as `endpoint=URL^REGION`";
                ("the endpoint is not URL^REGION".to_owned(), Hint::say(hint))
            }
            Fault::Daemon2_0 => (
                "daemon 2.0 can construct no provider of the AWS SDK".to_owned(),
                Hint::say("run a daemon from 2.1.0 on"),
            ),
        }
    }

    /// The hint to correct an `endpointRegion`.
    fn known_region(&self, region: &str) -> Hint {
        let known = most_alike(region, regions::all()).unwrap_or("us-east-1");
        let is_it = |argument: &&(usize, &str)| argument.1 == format!("endpointRegion={region}");
        let arguments = self.arguments();
        let Some((at, text)) = arguments.iter().find(is_it) else {
            return Hint::say("write a region that exists");
        };
        let start = at + "endpointRegion=".len();
        let place = Place::part(self.setting, start..at + text.len());
        Hint::example(place, "a region that exists", known)
    }
}

/// The places of providers that read a profile, each with the profile if it is named there.
pub(super) fn profiles<'a>(
    facts: &Facts<'_>,
    setting: &'a Setting,
) -> Vec<(Place, Option<&'a str>)> {
    let items = items(facts, setting).into_iter();
    let items = items.filter(|item| matches!(item.verdict, Verdict::Works | Verdict::WorksWithout));
    items
        .filter_map(|item| {
            let (_, arguments) = providers::split(&setting.value.reveal()[item.span.clone()]);
            let is = |name: &str| item.name == name || item.name.ends_with(&format!(".{name}"));
            let profile = match arguments[..] {
                [profile] if is("ProfileCredentialsProvider") => Some(profile),
                _ if is("ProfileCredentialsProvider") || is("DefaultCredentialsProvider") => None,
                _ => return None,
            };
            Some((item.place(), profile))
        })
        .collect()
}

/// The hint to write a list under another key, if some of its names have to change for that.
pub(super) fn moved(facts: &Facts<'_>, setting: &Setting, row: &Key) -> Option<Hint> {
    let items = items(facts, setting);
    let works = |item: &Item<'_>| matches!(item.verdict, Verdict::Works | Verdict::WorksWithout);
    if items.iter().any(works) {
        return None;
    }
    let new: Option<Vec<&str>> = items
        .iter()
        .map(|item| match item.verdict {
            Verdict::OtherSdk(Instead::Item(new)) => Some(new),
            Verdict::OtherSdk(Instead::Name(new)) if item.arguments().is_empty() => Some(new),
            _ => None,
        })
        .collect();
    let new = new.filter(|new| !new.is_empty());
    Some(match new {
        Some(new) => Hint::replace_line(setting, &row.spelling_in(facts.version()), new.join(",")),
        None => Hint::delete_line(setting),
    })
}

pub(super) fn v1_provider(facts: &Facts<'_>) -> Remarks {
    other_sdk(facts, "1.x")
}

pub(super) fn v2_provider(facts: &Facts<'_>) -> Remarks {
    other_sdk(facts, "2.x")
}

fn other_sdk(facts: &Facts<'_>, sdk: &str) -> Remarks {
    let items = lists(facts).filter(|list| !list.2).flat_map(|list| list.1);
    items
        .filter_map(|item| match &item.verdict {
            Verdict::OtherSdk(instead) => {
                let label = format!("`{}` is a name of the AWS SDK {sdk}", item.shown());
                let remark = Remark::new(item.place(), stops(facts)).label(label);
                Some(remark.hint(item.instead(instead)))
            }
            _ => None,
        })
        .collect()
}

fn stops(facts: &Facts<'_>) -> String {
    format!("daemon {} stops: it can construct no credentials provider", facts.version())
}

pub(super) fn no_provider(facts: &Facts<'_>) -> Remarks {
    let mut remarks = Remarks::default();
    for (setting, items, _) in lists(facts).filter(|list| !list.2) {
        if items.is_empty() {
            let remark =
                Remark::new(Place::value(setting), stops(facts)).label("the list is empty");
            let default = match facts.version() < V2_7 {
                true => "DefaultAWSCredentialsProviderChain",
                false => "DefaultCredentialsProvider",
            };
            remarks.push(remark.hint(Hint::write_masked(
                Place::whole_value(setting),
                default.to_owned(),
                format!("{} = {default}", setting.key),
            )));
        }
        for item in &items {
            let remark = || Remark::new(item.place(), stops(facts));
            match &item.verdict {
                Verdict::Fails(fault) => remarks.add(|| {
                    let (label, hint) = item.fault(fault);
                    remark().label(label).hint(hint)
                }),
                Verdict::Unknown(like) => remarks.add(|| {
                    let hint = like.map_or_else(
                        || Hint::say("add its jar to the class path, with `kcl-helper run -c JAR`"),
                        |known| item.rename(known),
                    );
                    remark().label(no_class(item)).hint(hint)
                }),
                Verdict::Works | Verdict::WorksWithout | Verdict::OtherSdk(_) => {}
            }
        }
    }
    remarks
}

/// The label of a class that the daemon does not have.
fn no_class(item: &Item<'_>) -> String {
    let module = item.name.strip_prefix("software.amazon.awssdk.services.");
    match module.and_then(|rest| rest.split('.').next()) {
        Some(module) if module != "sts" => {
            format!("the SDK's module `{module}` is not among the daemon's jars")
        }
        _ => "no such provider".to_owned(),
    }
}

pub(super) fn provider_skipped(facts: &Facts<'_>) -> Remarks {
    let items = lists(facts).filter(|list| list.2).flat_map(|list| list.1);
    items
        .filter_map(|item| {
            let (label, hint) = match &item.verdict {
                Verdict::Works | Verdict::WorksWithout => return None,
                Verdict::OtherSdk(instead) => {
                    ("a name of another AWS SDK".to_owned(), item.instead(instead))
                }
                Verdict::Unknown(_) => (no_class(&item), item.delete()),
                Verdict::Fails(fault) => item.fault(fault),
            };
            let message = format!("the daemon skips `{}`", item.shown());
            Some(Remark::new(item.place(), message).label(label).hint(hint))
        })
        .collect()
}

impl Item<'_> {
    /// The hint to delete the item with one comma.
    fn delete(&self) -> Hint {
        let value = self.setting.value.reveal();
        let before = value[..self.span.start].trim_end().ends_with(',');
        let start = match before {
            true => value[..self.span.start].rfind(',').unwrap_or(self.span.start),
            false => self.span.start,
        };
        let after = value[self.span.end..].find(',').map(|at| self.span.end + at + 1);
        let end = if before { self.span.end } else { after.unwrap_or(self.span.end) };
        Hint::delete(Place::part(self.setting, start..end))
    }
}

pub(super) fn argument_dropped(facts: &Facts<'_>) -> Remarks {
    let items = lists(facts).flat_map(|list| list.1);
    items
        .filter(|item| item.verdict == Verdict::WorksWithout)
        .map(|item| {
            let arguments = item.arguments();
            let start = item.span.start + item.name.len();
            let part = start..item.span.end;
            let message = format!("the daemon drops `{}`", item.setting.value.part(part.clone()));
            let one_of = |(at, text): &(usize, &str)| {
                let place = Place::part(item.setting, start..item.span.end);
                let shown = item.setting.value.part(*at..at + text.len());
                Hint::write_masked(place, format!("|{text}"), format!("{}|{shown}", item.name))
            };
            let hint = match item.name.ends_with("ProfileCredentialsProvider") {
                true => arguments.iter().map(one_of).reduce(Hint::or).unwrap_or_default(),
                false => Hint::delete(Place::part(item.setting, part.clone())),
            };
            Remark::new(Place::part(item.setting, part), message)
                .label(format!("`{}` cannot take it", item.shown()))
                .hint(hint)
        })
        .collect()
}

pub(super) fn sts_argument_dropped(facts: &Facts<'_>) -> Remarks {
    let mut remarks = Remarks::default();
    for (setting, items, _) in lists(facts) {
        for item in items.iter().filter(|item| providers::is_sts(item.name)) {
            for (at, argument) in item.arguments().into_iter().skip(2) {
                let label = match argument.split('=').collect::<Vec<_>>()[..] {
                    ["endpoint" | "endpointRegion" | "externalId", value] if !value.is_empty() => {
                        continue;
                    }
                    [_, value] if !value.is_empty() => {
                        "only endpoint, endpointRegion and externalId are known"
                    }
                    [_, _, _, ..] => "a second `=` is not allowed",
                    _ => "an argument is KEY=VALUE",
                };
                let part = at..at + argument.len();
                let place = Place::part(setting, part.clone());
                let message = format!("the daemon drops `{}`", setting.value.part(part));
                let with_bar = Place::part(setting, at - 1..at + argument.len());
                let hint = Hint::delete(with_bar);
                remarks.push(Remark::new(place, message).label(label).hint(hint));
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
        let own = ["|endpointRegion=", "|endpoint="].iter().any(|name| item.text().contains(name));
        providers::is_sts(item.name) && item.verdict == Verdict::Works && !own
    });
    items
        .map(|item| {
            let message = "the daemon stops unless instance metadata gives this provider a region";
            let end = Place::part(item.setting, item.span.end..item.span.end);
            let region = facts.settings.get("regionName").map(|region| region.value.reveal());
            let region = region.filter(|region| regions::is_region(region)).unwrap_or("us-east-1");
            let hint = Hint::write(end, format!("|endpointRegion={region}"));
            Remark::new(item.place(), message)
                .label("it does not use regionName")
                .hint(hint.note(" after it").or(Hint::say("set AWS_REGION")))
        })
        .collect()
}

/// The order decides whether the second one stops the daemon if only one is a list. That is an
/// error as well, since it works by chance.
pub(super) fn set_twice(facts: &Facts<'_>) -> Remarks {
    let is_list = |s: &Setting| s.row.is_some_and(|row| row.kind == Kind::Providers);
    let rivals = rivals(facts).into_iter().filter(|(a, b, _)| is_list(a) || is_list(b));
    rivals
        .map(|(first, second, _)| {
            let message = format!("the daemon stops: `{}` is set already", first.key);
            Remark::new(Place::key(second), message)
                .label(format!("by {}", first.origin.describe()))
                .hint(keep_one(first, second))
        })
        .collect()
}
