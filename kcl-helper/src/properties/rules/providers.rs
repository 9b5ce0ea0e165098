//! The credentials providers that a daemon can construct, by version of the daemon.
//!
//! Found by reflection over the jars of the daemons 1.15.3, 2.5.4 and 3.1.3; how a name becomes a
//! class and how many arguments it may have is in the source of the daemon's list decoder.

use super::super::Version;
use super::super::keys::{V2, V2_1, V2_7, most_alike};
use super::regions::is_region;

/// A class that the daemon can load.
struct Class {
    /// With its package.
    name: &'static str,
    /// How many strings it can be constructed from; empty if not from strings at all.
    arguments: &'static [usize],
}

const fn class(name: &'static str, arguments: &'static [usize]) -> Class {
    Class { name, arguments }
}

/// Those of the AWS SDK 2.x, for daemons from 2.7.0 on.
const SDK_2: &[Class] = &[
    class("software.amazon.awssdk.auth.credentials.AnonymousCredentialsProvider", &[0]),
    class("software.amazon.awssdk.auth.credentials.ContainerCredentialsProvider", &[0]),
    class("software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider", &[0]),
    class("software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider", &[0]),
    class("software.amazon.awssdk.auth.credentials.InstanceProfileCredentialsProvider", &[0]),
    class("software.amazon.awssdk.auth.credentials.ProcessCredentialsProvider", &[]),
    class("software.amazon.awssdk.auth.credentials.ProfileCredentialsProvider", &[0, 1]),
    class("software.amazon.awssdk.auth.credentials.StaticCredentialsProvider", &[]),
    class("software.amazon.awssdk.auth.credentials.SystemPropertyCredentialsProvider", &[0]),
    class("software.amazon.awssdk.auth.credentials.WebIdentityTokenFileCredentialsProvider", &[0]),
    class(KCL_STS_2, &[]),
];

/// Those of the AWS SDK 1.x, for daemons before 2.7.0 but for 2.0.
const SDK_1: &[Class] = &[
    class("com.amazonaws.auth.ClasspathPropertiesFileCredentialsProvider", &[0, 1]),
    class("com.amazonaws.auth.ContainerCredentialsProvider", &[0]),
    class("com.amazonaws.auth.DefaultAWSCredentialsProviderChain", &[0]),
    class("com.amazonaws.auth.EC2ContainerCredentialsProviderWrapper", &[0]),
    class("com.amazonaws.auth.EnvironmentVariableCredentialsProvider", &[0]),
    class("com.amazonaws.auth.InstanceProfileCredentialsProvider", &[0]),
    class("com.amazonaws.auth.PropertiesFileCredentialsProvider", &[1]),
    class("com.amazonaws.auth.STSAssumeRoleSessionCredentialsProvider", &[2]),
    class("com.amazonaws.auth.SystemPropertiesCredentialsProvider", &[0]),
    class("com.amazonaws.auth.WebIdentityTokenCredentialsProvider", &[0]),
    class("com.amazonaws.auth.profile.ProfileCredentialsProvider", &[0, 1, 2]),
    class(KCL_STS_1, &[]),
];

const KCL_STS_2: &str =
    "software.amazon.kinesis.multilang.auth.KclStsAssumeRoleCredentialsProvider";
const KCL_STS_1: &str =
    "software.amazon.kinesis.multilang.auth.KclSTSAssumeRoleSessionCredentialsProvider";

/// Spellings that the daemon replaces by its own class from 2.7.0 on.
const STS_2: [&str; 2] = [
    "StsAssumeRoleCredentialsProvider",
    "software.amazon.awssdk.services.sts.auth.StsAssumeRoleCredentialsProvider",
];

/// Before this version a class must have a constructor for exactly the given arguments.
const LENIENT: Version = Version::new(2, 5, 2);

/// What the daemon makes of one item of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Works,
    /// It is constructed, but without its arguments.
    WorksWithout,
    /// A name of the other SDK, and what to write instead.
    OtherSdk(Instead),
    /// There is no such class among the daemon's jars; what was probably meant.
    Unknown(Option<&'static str>),
    /// The class cannot be constructed.
    Fails(Fault),
}

/// What to write instead of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Instead {
    /// This name, with the arguments that follow.
    Name(&'static str),
    /// This, without arguments.
    Item(&'static str),
    /// This, if it finds the same credentials.
    Perhaps(&'static str),
    /// No text does the same; what to do.
    Say(&'static str),
}

/// Why a class cannot be constructed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not from strings.
    NoConstructor,
    /// Not from so many; how many it takes.
    Arguments(&'static [usize]),
    /// A role and a session are missing.
    NoRole,
    /// The region is not one of the SDK's.
    Region(String),
    /// Not `URL^region`.
    Endpoint,
    /// 2.0 looks for classes of the SDK 2.x that have a constructor; none of the SDK has.
    Daemon2_0,
}

/// One item: its name and its arguments, as the daemon splits them.
pub(super) fn verdict(item: &str, version: Version) -> Verdict {
    let (name, arguments) = split(item);
    if (V2..V2_1).contains(&version) {
        let is_foreign = is_class_name(name) && !is_of_aws(name);
        return if is_foreign { Verdict::Works } else { Verdict::Fails(Fault::Daemon2_0) };
    }
    if version >= V2_7 && STS_2.contains(&name) {
        return sts(&arguments);
    }
    match resolve(name, version) {
        Some(class) if class.name == KCL_STS_2 => sts(&arguments),
        Some(class) if class.name == KCL_STS_1 && arguments.len() >= 2 => Verdict::Works,
        Some(class) if class.name == KCL_STS_1 => Verdict::Fails(Fault::NoRole),
        Some(class) => constructed(class, arguments.len(), version),
        None => match other_sdk(name, arguments.len(), version) {
            Some(instead) => Verdict::OtherSdk(instead),
            // A class of somebody else's, on a class path that is not known here.
            None if is_class_name(name) && !is_of_aws(name) => Verdict::Works,
            None if name.contains('.') => Verdict::Unknown(None),
            None => Verdict::Unknown(most_alike(name, short_names(version))),
        },
    }
}

fn constructed(class: &Class, given: usize, version: Version) -> Verdict {
    match class.arguments {
        [] => Verdict::Fails(Fault::NoConstructor),
        counts if counts.contains(&given) => Verdict::Works,
        counts if version >= LENIENT && counts.contains(&0) => Verdict::WorksWithout,
        counts => Verdict::Fails(Fault::Arguments(counts)),
    }
}

/// The name and the arguments; Java drops empty ones at the end.
pub(super) fn split(item: &str) -> (&str, Vec<&str>) {
    let mut parts: Vec<&str> = item.split('|').collect();
    while parts.len() > 1 && parts.last().is_some_and(|last| last.is_empty()) {
        parts.pop();
    }
    (parts[0], parts[1..].to_vec())
}

/// The packages that a name may be below.
fn packages(version: Version) -> &'static [&'static str] {
    match version {
        _ if version >= V2_7 => &[
            "software.amazon.kinesis.multilang.auth.",
            "software.amazon.awssdk.auth.credentials.",
            "",
        ],
        _ if version >= LENIENT => {
            &["com.amazonaws.auth.", "software.amazon.kinesis.multilang.auth.", ""]
        }
        _ => &["", "com.amazonaws.auth."],
    }
}

fn classes(version: Version) -> impl Iterator<Item = &'static Class> {
    let all = if version >= V2_7 { SDK_2 } else { SDK_1 };
    // The STS module came with the multilang module of 2.x, its own provider with 2.5.2.
    all.iter().filter(move |class| match class.name {
        KCL_STS_1 => version >= LENIENT,
        "com.amazonaws.auth.STSAssumeRoleSessionCredentialsProvider" => version >= V2_1,
        _ => true,
    })
}

fn resolve(name: &str, version: Version) -> Option<&'static Class> {
    let is_it = |class: &&Class| {
        packages(version)
            .iter()
            .any(|package| class.name.strip_prefix(package).is_some_and(|rest| rest == name))
    };
    classes(version).find(is_it)
}

fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Names to suggest.
fn short_names(version: Version) -> impl Iterator<Item = &'static str> {
    let constructible = |class: &&Class| !class.arguments.is_empty();
    let names = classes(version).filter(constructible).map(|class| short(class.name));
    names.filter(move |name| resolve(name, version).is_some())
}

/// What to write instead of a name of the SDK that this daemon does not have.
fn other_sdk(name: &str, arguments: usize, version: Version) -> Option<Instead> {
    let is_new = version >= V2_7;
    let root = if is_new { "com.amazonaws." } else { "software.amazon.awssdk." };
    let others = if is_new { SDK_1 } else { SDK_2 };
    let is_known = others.iter().any(|class| short(class.name) == short(name))
        || (!is_new && STS_2.contains(&name));
    if !name.starts_with(root) && (name.contains('.') || !is_known) {
        return None;
    }
    Some(match is_new {
        true => instead_of_1(short(name), arguments),
        false => instead_of_2(short(name), arguments, version),
    })
}

fn instead_of_1(name: &str, arguments: usize) -> Instead {
    match (name, arguments) {
        ("ProfileCredentialsProvider", 0 | 1) => Instead::Name("ProfileCredentialsProvider"),
        ("ProfileCredentialsProvider", _) => Instead::Say(
            "set AWS_SHARED_CREDENTIALS_FILE to the file, and write \
                `ProfileCredentialsProvider|PROFILE`",
        ),
        ("PropertiesFileCredentialsProvider" | "ClasspathPropertiesFileCredentialsProvider", _) => {
            Instead::Say(
                "put the keys into a profile of ~/.aws/credentials, and write \
                    `ProfileCredentialsProvider|PROFILE`",
            )
        }
        (
            "STSAssumeRoleSessionCredentialsProvider"
            | "KclSTSAssumeRoleSessionCredentialsProvider",
            2..,
        ) => Instead::Name("StsAssumeRoleCredentialsProvider"),
        (
            "STSAssumeRoleSessionCredentialsProvider"
            | "KclSTSAssumeRoleSessionCredentialsProvider",
            _,
        ) => Instead::Say("write `StsAssumeRoleCredentialsProvider|ROLE_ARN|SESSION`"),
        ("SystemPropertiesCredentialsProvider", _) => {
            Instead::Item("SystemPropertyCredentialsProvider")
        }
        ("WebIdentityTokenCredentialsProvider", _) => {
            Instead::Item("WebIdentityTokenFileCredentialsProvider")
        }
        ("EC2ContainerCredentialsProviderWrapper", _) => {
            Instead::Item("ContainerCredentialsProvider,InstanceProfileCredentialsProvider")
        }
        ("ContainerCredentialsProvider", _) => Instead::Item("ContainerCredentialsProvider"),
        ("EnvironmentVariableCredentialsProvider", _) => {
            Instead::Item("EnvironmentVariableCredentialsProvider")
        }
        ("InstanceProfileCredentialsProvider", _) => {
            Instead::Item("InstanceProfileCredentialsProvider")
        }
        ("DefaultAWSCredentialsProviderChain", _) => Instead::Item("DefaultCredentialsProvider"),
        _ => Instead::Perhaps("DefaultCredentialsProvider"),
    }
}

fn instead_of_2(name: &str, arguments: usize, version: Version) -> Instead {
    const UPGRADE: &str = "run a daemon from 2.7.0 on: older ones have no such provider";
    match (name, arguments) {
        ("ProfileCredentialsProvider", 0 | 1) => {
            Instead::Name("com.amazonaws.auth.profile.ProfileCredentialsProvider")
        }
        ("StsAssumeRoleCredentialsProvider" | "KclStsAssumeRoleCredentialsProvider", 2..)
            if version >= LENIENT =>
        {
            Instead::Name("KclSTSAssumeRoleSessionCredentialsProvider")
        }
        ("StsAssumeRoleCredentialsProvider" | "KclStsAssumeRoleCredentialsProvider", 2)
            if version >= V2_1 =>
        {
            Instead::Name("STSAssumeRoleSessionCredentialsProvider")
        }
        ("SystemPropertyCredentialsProvider", _) => {
            Instead::Item("SystemPropertiesCredentialsProvider")
        }
        ("WebIdentityTokenFileCredentialsProvider", _) => {
            Instead::Item("WebIdentityTokenCredentialsProvider")
        }
        ("ContainerCredentialsProvider", _) => Instead::Item("ContainerCredentialsProvider"),
        ("EnvironmentVariableCredentialsProvider", _) => {
            Instead::Item("EnvironmentVariableCredentialsProvider")
        }
        ("InstanceProfileCredentialsProvider", _) => {
            Instead::Item("InstanceProfileCredentialsProvider")
        }
        ("DefaultCredentialsProvider", _) => Instead::Item("DefaultAWSCredentialsProviderChain"),
        _ => Instead::Say(UPGRADE),
    }
}

/// Whether the daemon's own provider, which assumes a role, can be constructed.
fn sts(arguments: &[&str]) -> Verdict {
    let [_role, _session, rest @ ..] = arguments else { return Verdict::Fails(Fault::NoRole) };
    let fault = rest.iter().find_map(|argument| match argument.split_once('=') {
        Some(("endpointRegion", region)) if !is_region(region) => {
            Some(Fault::Region(region.to_owned()))
        }
        Some(("endpoint", value)) if value.split('^').filter(|p| !p.is_empty()).count() != 2 => {
            Some(Fault::Endpoint)
        }
        _ => None,
    });
    fault.map_or(Verdict::Works, Verdict::Fails)
}

/// Whether this is the provider that assumes a role in daemons from 2.7.0 on.
pub(super) fn is_sts(name: &str) -> bool {
    STS_2.contains(&name) || resolve(name, V2_7).is_some_and(|class| class.name == KCL_STS_2)
}

/// Whether a class is in a package of which all that a daemon has is known.
fn is_of_aws(name: &str) -> bool {
    ["com.amazonaws.auth.", "software.amazon.awssdk.", "software.amazon.kinesis.multilang."]
        .iter()
        .any(|package| name.starts_with(package))
}

/// A name with its package.
fn is_class_name(text: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '$'))
            && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))
    };
    text.contains('.') && text.split('.').all(is_part)
}
