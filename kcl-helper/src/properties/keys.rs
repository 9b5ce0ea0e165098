//! The table of all keys that people write into the file, right or wrong, with their history: the
//! one place that knows them, for checks, `--effective` and `--explain`. Version boundaries are the
//! tags of the KCL's source at which the daemon's configuration classes changed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use super::Version;

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// As the documentation spells it. `*` at the end matches any name.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The value if the file does not set it; empty for none. The name of another key means that
    /// key's value.
    default: &'static str,
    /// The first version that reads it; `None` if no version does.
    pub(crate) since: Option<Version>,
    status: Status,
    meaning: &'static str,
    /// How it was in older versions, oldest first.
    was: &'static [Was],
    /// Other spellings of the same key.
    pub(crate) aliases: &'static [&'static str],
    /// The bean that has this property too, so that `bean.name` is one more spelling.
    pub(crate) bean: &'static str,
    /// What it sets, if that is not just itself. If two keys set the same thing, either may win.
    sets: &'static [&'static str],
    /// Which part of its value must not be shown; `secret.rs` has the rest of that rule.
    pub(crate) secrecy: Secrecy,
}

/// What was different about a key before a version; `None` means no difference.
#[derive(Debug, Clone, Copy)]
struct Was {
    before: Version,
    status: Option<Status>,
    default: Option<&'static str>,
    meaning: Option<&'static str>,
}

/// Which part of a value is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// What the name of the key, or the value itself, shows to be secret.
    ByName,
    /// The arguments of credentials providers.
    Arguments,
    Whole,
}

/// How the daemon converts the text of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text, including blanks at its end.
    Text,
    /// A command line, split at blanks.
    Command,
    /// A primitive number: unreadable text becomes 0, and 0 means the default.
    Int,
    Long,
    Double,
    /// A number object: unreadable text becomes 0, and 0 is applied.
    NullableInt,
    NullableLong,
    /// A number that stops the daemon if it is unreadable, blanks included.
    StrictInt,
    /// Whole seconds since 1970, read as strictly.
    EpochSeconds,
    /// A primitive boolean: false counts as not set.
    Flag,
    /// A boolean object: both values take effect.
    Switch,
    /// One of some names in any letter case, each since a version; anything else stops the daemon.
    Choice(&'static [(&'static str, Version)]),
    /// ISO-8601, not negative; anything else stops the daemon.
    Duration,
    /// `k=v,k=v`; an invalid pair is skipped.
    Tags,
    /// Names, separated by commas.
    List,
    /// An endpoint: must have a scheme.
    Uri,
    Region,
    StreamArn,
    /// Credentials providers: `Name|argument,Name`.
    Providers,
    /// A class or a value for one of its builder's methods.
    Builder,
    /// No text can be converted to it: any value stops the daemon.
    Unusable,
    /// No version that is judged by values reads it.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Current,
    /// Still read, for an old fleet or an old table layout.
    Deprecated,
    /// Read into a field that nothing uses.
    Unused,
    /// Not read.
    Ignored(Instead),
}

/// What to do about a key that is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instead {
    /// Another key has the same value.
    Key(&'static str),
    /// Nothing replaces it, for this reason.
    Nothing(&'static str),
    /// Another command does it.
    Say(&'static str),
}

impl Key {
    /// The value in this version if the file does not set it.
    pub(crate) fn default_in(&self, version: Version) -> &'static str {
        self.was_in(version, |was| was.default).unwrap_or(self.default)
    }

    /// What it means in this version.
    pub(crate) fn meaning_in(&self, version: Version) -> &'static str {
        self.was_in(version, |was| was.meaning).unwrap_or(self.meaning)
    }

    /// Whether this version reads it, and uses it.
    pub(crate) fn status_in(&self, version: Version) -> Status {
        self.was_in(version, |was| was.status).unwrap_or(self.status)
    }

    fn was_in<T>(&self, version: Version, what: impl Fn(&Was) -> Option<T>) -> Option<T> {
        self.was.iter().filter(|was| version < was.before).find_map(what)
    }

    /// Whether this version reads it, even if nothing uses it.
    pub(crate) fn is_read_in(&self, version: Version) -> bool {
        self.since.is_some_and(|since| since <= version)
            && !matches!(self.status_in(version), Status::Ignored(_))
    }

    /// The spelling to write for this version.
    pub(crate) fn spelling_in(&self, version: Version) -> Cow<'static, str> {
        match self.name.strip_prefix("AwsCredentialsProvider") {
            Some(rest) if version < V2_7 => Cow::Owned(format!("AWSCredentialsProvider{rest}")),
            None if version < V2_1 && self.name == "workerIdentifier" => "workerId".into(),
            _ => self.name.into(),
        }
    }

    /// What it sets. If two keys set the same thing, either may win.
    pub(crate) fn sets(&self) -> Vec<&'static str> {
        if self.sets.is_empty() { vec![self.name] } else { self.sets.to_vec() }
    }

    /// Whether `written` is a member of the family of keys that this row is for.
    fn has_member(&self, written: &str) -> bool {
        let rest = self.name.strip_suffix('*').and_then(|prefix| written.strip_prefix(prefix));
        rest.is_some_and(|rest| !rest.is_empty())
    }

    /// All spellings of this key; none for a family.
    fn spellings(&'static self) -> impl Iterator<Item = Cow<'static, str>> {
        let own = std::iter::once(self.name).chain(self.aliases.iter().copied());
        let own = own.filter(|name| !name.ends_with('*')).map(Cow::Borrowed);
        own.chain(self.in_bean().map(Cow::Owned))
    }

    fn in_bean(&self) -> Option<String> {
        (!self.bean.is_empty()).then(|| format!("{}.{}", self.bean, self.name))
    }

    /// Whether setting it makes the retrieval mode DEFAULT poll.
    pub(crate) fn is_polling(&self) -> bool {
        self.bean == POLLING
    }

    /// Whether the newest version ignores it.
    pub(crate) fn is_ignored(&self) -> bool {
        matches!(self.status, Status::Ignored(_))
    }
}

impl Kind {
    /// Describes the values that are allowed.
    pub(crate) fn describe(self) -> String {
        let text = match self {
            Kind::Text => "any text; blanks at its end are part of it",
            Kind::Command => "a command line, split at blanks; there is no quoting",
            Kind::Int => "whole number; 0 and unreadable text leave the default",
            Kind::Long => "whole number, 64 bits; 0 and unreadable text leave the default",
            Kind::Double => "number; 0 and unreadable text leave the default",
            Kind::NullableInt => "whole number; unreadable text means 0",
            Kind::NullableLong => "whole number, 64 bits; unreadable text means 0",
            Kind::StrictInt => "whole number without blanks; anything else stops the daemon",
            Kind::EpochSeconds => "whole seconds since 1970; anything else stops the daemon",
            Kind::Flag => "true or false; false counts as not set",
            Kind::Switch => "true or false; unreadable text means false",
            Kind::Choice(names) => {
                let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
                return format!("{}; any letter case, no blanks", names.join(", "));
            }
            Kind::Duration => "ISO-8601 such as PT12H, not negative",
            Kind::Tags => "key=value,key=value",
            Kind::List => "names, separated by commas",
            Kind::Uri => "a URL with its scheme",
            Kind::Region => "a region such as us-east-1",
            Kind::StreamArn => "arn:aws:kinesis:<region>:<12 digits>:stream/<name>",
            Kind::Providers => "Name|argument|argument,Name: tried in this order",
            Kind::Builder => "a class, or what one of its builder's methods takes",
            Kind::Unusable => "nothing: any value stops the daemon",
            Kind::Nothing => "any; the daemon ignores it",
        };
        text.to_owned()
    }

    /// The range of readable numbers.
    pub(crate) fn integer_range(self) -> Option<RangeInclusive<i64>> {
        match self {
            Kind::Int | Kind::NullableInt | Kind::StrictInt => {
                Some(i64::from(i32::MIN)..=i64::from(i32::MAX))
            }
            Kind::Long | Kind::NullableLong | Kind::EpochSeconds => Some(i64::MIN..=i64::MAX),
            _ => None,
        }
    }
}

/// The row for a key as this version reads it; letter case counts.
pub(crate) fn lookup_in(written: &str, version: Version) -> Option<&'static Key> {
    let row = lookup(written)?;
    let is_bean_path = written.contains('.');
    let is_credentials = row.kind == Kind::Providers;
    let is_known = match version {
        _ if is_credentials && version < V2_7 => row.spelling_in(version) == written,
        _ if version < V2_1 && written == "workerIdentifier" => false,
        _ => version >= V2_1 || !is_bean_path || row.since.is_some_and(|since| since >= V2_1),
    };
    is_known.then_some(row)
}

/// The row for a key as some version reads it; letter case counts.
pub(crate) fn lookup(written: &str) -> Option<&'static Key> {
    let normalised = credentials_spelling(written);
    let written = normalised.as_deref().unwrap_or(written);
    let spelled = SPELLINGS.get(written).copied();
    spelled.or_else(|| KEYS.iter().find(|key| key.has_member(written)))
}

/// A map, as a file may have very many keys.
static SPELLINGS: LazyLock<HashMap<Cow<'static, str>, &'static Key>> = LazyLock::new(|| {
    KEYS.iter().flat_map(|key| key.spellings().map(move |spelling| (spelling, key))).collect()
});

/// The known spelling that differs from this one by letter case only.
pub(crate) fn in_other_case(written: &str) -> Option<&'static str> {
    LOWER_CASE.get(&written.to_ascii_lowercase()).map(|spelling| &**spelling)
}

static LOWER_CASE: LazyLock<HashMap<String, Cow<'static, str>>> = LazyLock::new(|| {
    let in_beans = KEYS.iter().filter_map(Key::in_bean).map(Cow::Owned);
    let all = in_beans.chain(spellings().map(Cow::Borrowed));
    all.map(|spelling| (spelling.to_ascii_lowercase(), spelling)).collect()
});

/// The daemon normalises the letter case of a key's start if it is `awscredentialsprovider`.
fn credentials_spelling(written: &str) -> Option<String> {
    const NAME: &str = "AwsCredentialsProvider";
    let (head, rest) = written.split_at_checked(NAME.len())?;
    head.eq_ignore_ascii_case(NAME).then(|| format!("{NAME}{rest}"))
}

/// All spellings to suggest.
pub(crate) fn spellings() -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .filter(|key| !key.is_ignored() && !key.name.ends_with('*'))
        .flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().copied()))
}

/// The key that was probably meant: the one that sets what is written, else the one most like it.
pub(crate) fn suggestion(written: &str) -> Option<&'static str> {
    let sets = |key: &&Key| key.kind == Kind::Providers && key.sets.contains(&written);
    KEYS.iter().find(sets).map(|key| key.name).or_else(|| most_alike(written, spellings()))
}

/// The name most like this one in any letter case, if any is like it.
pub(crate) fn most_alike(
    written: &str,
    known: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    const LEAST: f64 = 0.7;
    let written = written.to_lowercase();
    let length = written.chars().count();
    // A difference in length needs as many edits.
    let may_be_alike = |name: &str| {
        let (short, long) = (length.min(name.len()), length.max(name.len()));
        short as f64 > LEAST * long as f64
    };
    known
        .filter(|name| may_be_alike(name))
        .map(|name| (strsim::normalized_damerau_levenshtein(&written, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > LEAST)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    since: Version,
    meaning: &'static str,
) -> Key {
    Key {
        name,
        kind,
        default,
        since: Some(since),
        status: Status::Current,
        meaning,
        was: &[],
        aliases: &[],
        bean: "",
        sets: &[],
        secrecy: if matches!(kind, Kind::Providers) { Secrecy::Arguments } else { Secrecy::ByName },
    }
}

/// A key that the newest version ignores. `read` is the first version that reads it, and the first
/// that does not any more; `None` if no version does.
const fn ignored(
    name: &'static str,
    read: Option<(Version, &'static [Was])>,
    instead: Instead,
    meaning: &'static str,
) -> Key {
    let row = key(name, Kind::Nothing, "", V1, meaning);
    let (since, was) = match read {
        Some((since, was)) => (Some(since), was),
        None => (None, NEVER_WAS),
    };
    Key { since, was, status: Status::Ignored(instead), ..row }
}

/// No history.
const NEVER_WAS: &[Was] = &[];

/// Current before this version.
const fn current_before(before: Version) -> Was {
    Was { before, status: Some(Status::Current), default: None, meaning: None }
}

/// Another default before this version.
const fn default_before(before: Version, default: &'static str) -> Was {
    Was { before, status: None, default: Some(default), meaning: None }
}

impl Was {
    const fn meaning(self, meaning: &'static str) -> Was {
        Was { meaning: Some(meaning), ..self }
    }

    const fn default(self, default: &'static str) -> Was {
        Was { default: Some(default), ..self }
    }

    const fn unused(self) -> Was {
        Was { status: Some(Status::Unused), ..self }
    }
}

impl Key {
    /// Deprecated, but current before this version.
    const fn deprecated(self, was: &'static [Was]) -> Key {
        Key { status: Status::Deprecated, was, ..self }
    }

    const fn was(self, was: &'static [Was]) -> Key {
        Key { was, ..self }
    }

    const fn unused(self) -> Key {
        Key { status: Status::Unused, ..self }
    }

    const fn aliases(self, aliases: &'static [&'static str]) -> Key {
        Key { aliases, ..self }
    }

    const fn bean(self, bean: &'static str) -> Key {
        Key { bean, ..self }
    }

    const fn secret(self) -> Key {
        Key { secrecy: Secrecy::Whole, ..self }
    }

    const fn sets_also(self, sets: &'static [&'static str]) -> Key {
        Key { sets, ..self }
    }
}

const V1: Version = Version::new(1, 0, 0);
/// The multilang module of 2.0 still configures itself as 1.x does.
pub(crate) const V2: Version = Version::new(2, 0, 0);
/// From here the configuration is one bean, which commons-beanutils sets.
pub(crate) const V2_1: Version = Version::new(2, 1, 0);
/// The lease table is billed on demand from here.
const V2_3_7: Version = Version::new(2, 3, 7);
/// The AWS SDK has these switches from here.
const V2_3_10: Version = Version::new(2, 3, 10);
/// `idleTimeBetweenReadsInMillis` takes effect from here.
pub(crate) const V2_5_4: Version = Version::new(2, 5, 4);
/// Credentials are those of the AWS SDK 2.x from here.
pub(crate) const V2_7: Version = Version::new(2, 7, 0);
pub(crate) const V3: Version = Version::new(3, 0, 0);
/// All tables in one from here.
pub(crate) const V3_5: Version = Version::new(3, 5, 0);

const POSITIONS: Kind = Kind::Choice(&[("LATEST", V1), ("TRIM_HORIZON", V1)]);
const METRICS: Kind = Kind::Choice(&[("NONE", V1), ("SUMMARY", V1), ("DETAILED", V1)]);
const RETRIEVAL: Kind = Kind::Choice(&[("DEFAULT", V2_1), ("FANOUT", V2_1), ("POLLING", V2_1)]);
const BILLING: Kind = Kind::Choice(&[("PAY_PER_REQUEST", V3), ("PROVISIONED", V3)]);
const CLIENT_VERSIONS: Kind = Kind::Choice(&[
    ("CLIENT_VERSION_CONFIG_3X", V3),
    ("CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X", V3),
    ("CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X_PHASE1", V3_5),
]);

const HANDOFF: &str = "gracefulLeaseHandoffConfigBean";
const BALANCE: &str = "workerUtilizationAwareAssignmentConfigBean";
const METRIC_TABLE: &str = "workerMetricStatsTableConfigBean";
const STATE_TABLE: &str = "coordinatorStateTableConfigBean";
const POLLING: &str = "pollingConfig";

/// Keys of the tables beside the lease table.
const OWN_TABLE: &[Was] = &[current_before(V3_5)];
/// Keys of the way in which 2.x assigns leases.
const TAKER: &[Was] = &[current_before(V3)];
/// Keys that only Java code can set today.
const JAVA_ONLY: Instead = Instead::Nothing("only Java code can set it");
/// Read by the configurator of 1.x and 2.0.
const UNTIL_2_1: &[Was] = &[current_before(V2_1)];
const UNTIL_2: &[Was] = &[current_before(V2)];

/// In the order of the documentation: what must be there first.
#[rustfmt::skip]
pub(crate) const KEYS: &[Key] = &[
    // The child
    key("executableName", Kind::Command, "", V1,
        "The command that the daemon starts for each shard, from its own working folder and with \
            its own PATH. Required."),
    key("processingLanguage", Kind::Text, "", V1,
        "Free text that the daemon logs at the start, and does not use otherwise."),
    key("maxActiveThreads", Kind::StrictInt, "0", V1,
        "How many threads run the scheduler and all pipes to the children. 0 or less means no \
            limit; a small number can deadlock the daemon."),
    // Stream and application
    key("applicationName", Kind::Text, "", V1,
        "The name of the application, and by default of its lease table, metrics and fan-out \
            consumer. Required."),
    key("streamName", Kind::Text, "", V1,
        "The stream to read. Required unless streamArn is set, which overrides it."),
    key("streamArn", Kind::StreamArn, "", Version::new(2, 5, 1),
        "Another way to name the stream. Only the name in it is used, not its region and account."),
    key("tableName", Kind::Text, "applicationName", Version::new(1, 6, 5),
        "The DynamoDB table of leases."),
    key("workerIdentifier", Kind::Text, "a random UUID", V1,
        "The name of this worker among those of the application.").aliases(&["workerId"]),
    // Credentials
    key("AwsCredentialsProvider", Kind::Providers, "", V1,
        "The providers of credentials for Kinesis, and for DynamoDB and CloudWatch if these have \
            none of their own. Required.")
        .sets_also(&["kinesisCredentialsProvider"]),
    key("AwsCredentialsProviderDynamoDB", Kind::Providers, "AwsCredentialsProvider", V1,
        "The providers of credentials for DynamoDB.").sets_also(&["dynamoDBCredentialsProvider"]),
    key("AwsCredentialsProviderCloudWatch", Kind::Providers, "AwsCredentialsProvider", V1,
        "The providers of credentials for CloudWatch.").sets_also(&["cloudWatchCredentialsProvider"]),
    key("kinesisCredentialsProvider.*", Kind::Builder, "", V2_1,
        "Builds the provider for Kinesis by class and builder methods. Keys have no order, so \
            more than one of this family is unreliable.")
        .secret().sets_also(&["kinesisCredentialsProvider"]),
    key("dynamoDBCredentialsProvider.*", Kind::Builder, "", V2_1,
        "Builds the provider for DynamoDB by class and builder methods. Keys have no order, so \
            more than one of this family is unreliable.")
        .secret().sets_also(&["dynamoDBCredentialsProvider"]),
    key("cloudWatchCredentialsProvider.*", Kind::Builder, "", V2_1,
        "Builds the provider for CloudWatch by class and builder methods. Keys have no order, so \
            more than one of this family is unreliable.")
        .secret().sets_also(&["cloudWatchCredentialsProvider"]),
    // Clients
    key("regionName", Kind::Region, "", Version::new(1, 1, 0),
        "The region of all three clients. Without it the SDK searches the environment; if it finds \
            none, the daemon stops.")
        .sets_also(&["kinesisClient.region", "dynamoDbClient.region", "cloudWatchClient.region"]),
    key("kinesisEndpoint", Kind::Uri, "", V1,
        "The endpoint of Kinesis.").sets_also(&["kinesisClient.endpointOverride"]),
    key("dynamoDBEndpoint", Kind::Uri, "", Version::new(1, 7, 1),
        "The endpoint of DynamoDB.").sets_also(&["dynamoDbClient.endpointOverride"]),
    key("kinesisClient.endpointOverride", Kind::Uri, "kinesisEndpoint", V2_1,
        "The endpoint of Kinesis."),
    key("kinesisClient.region", Kind::Region, "regionName", V2_1,
        "The region of the Kinesis client alone."),
    key("kinesisClient.dualstackEnabled", Kind::Switch, "", V2_3_10,
        "Whether the Kinesis client asks for endpoints that speak IPv6 as well."),
    key("kinesisClient.fipsEnabled", Kind::Switch, "", V2_3_10,
        "Whether the Kinesis client asks for FIPS endpoints."),
    key("kinesisClient.overrideConfiguration.*", Kind::Builder, "", V2_1,
        "One method of the SDK's client override configuration, such as apiCallTimeout, for \
            Kinesis."),
    key("dynamoDbClient.endpointOverride", Kind::Uri, "dynamoDBEndpoint", V2_1,
        "The endpoint of DynamoDB."),
    key("dynamoDbClient.region", Kind::Region, "regionName", V2_1,
        "The region of the DynamoDB client alone."),
    key("dynamoDbClient.dualstackEnabled", Kind::Switch, "", V2_3_10,
        "Whether the DynamoDB client asks for endpoints that speak IPv6 as well."),
    key("dynamoDbClient.fipsEnabled", Kind::Switch, "", V2_3_10,
        "Whether the DynamoDB client asks for FIPS endpoints."),
    key("dynamoDbClient.overrideConfiguration.*", Kind::Builder, "", V2_1,
        "One method of the SDK's client override configuration, such as apiCallTimeout, for \
            DynamoDB."),
    key("cloudWatchClient.endpointOverride", Kind::Uri, "", V2_1,
        "The endpoint of CloudWatch; it has no shorter key."),
    key("cloudWatchClient.region", Kind::Region, "regionName", V2_1,
        "The region of the CloudWatch client alone."),
    key("cloudWatchClient.dualstackEnabled", Kind::Switch, "", V2_3_10,
        "Whether the CloudWatch client asks for endpoints that speak IPv6 as well."),
    key("cloudWatchClient.fipsEnabled", Kind::Switch, "", V2_3_10,
        "Whether the CloudWatch client asks for FIPS endpoints."),
    key("cloudWatchClient.overrideConfiguration.*", Kind::Builder, "", V2_1,
        "One method of the SDK's client override configuration, such as apiCallTimeout, for \
            CloudWatch."),
    // Leases
    key("failoverTimeMillis", Kind::Long, "10000", V1,
        "After this time without renewal any worker may take a lease."),
    key("leaseAssignmentIntervalMillis", Kind::Long, "2 x failoverTimeMillis",
        Version::new(3, 1, 1),
        "How often the leader assigns leases."),
    key("enablePriorityLeaseAssignment", Kind::Switch, "true", Version::new(2, 6, 0),
        "Whether leases that expired long ago go first. From 3.0 it acts only in 2.x compatible \
            mode.").deprecated(TAKER),
    key("leaseTableDeletionProtectionEnabled", Kind::Switch, "false", Version::new(2, 6, 1),
        "Whether a lease table that the daemon creates is protected from deletion."),
    key("leaseTablePitrEnabled", Kind::Switch, "false", Version::new(2, 6, 1),
        "Whether the lease table can be restored to a point in time."),
    key("shardSyncIntervalMillis", Kind::Long, "60000", V1,
        "How long to sleep after each comparison of leases with shards."),
    key("cleanupLeasesUponShardCompletion", Kind::Flag, "true", V1,
        "Whether the lease of a finished shard is deleted early. From 2.1 on the file cannot turn \
            it off."),
    key("ignoreUnexpectedChildShards", Kind::Flag, "false", Version::new(1, 8, 9),
        "Whether to ignore child shards whose parent is still open."),
    key("maxLeasesForWorker", Kind::Int, "2147483647", Version::new(1, 6, 2),
        "The most leases that this worker takes. If all workers together take too few, some shards \
            are not read."),
    key("maxLeasesToStealAtOneTime", Kind::Int, "1", Version::new(1, 6, 2),
        "How many leases to take over at a time. From 3.0 it acts only in 2.x compatible mode.")
        .deprecated(TAKER),
    key("initialLeaseTableReadCapacity", Kind::Int, "10", Version::new(1, 6, 2),
        "Read capacity of a provisioned lease table. From 2.3.7 the table is billed on demand, \
            and no key changes that.")
        .unused().was(&[current_before(V2_3_7).meaning("Read capacity that the lease table is created with.")]),
    key("initialLeaseTableWriteCapacity", Kind::Int, "10", Version::new(1, 6, 2),
        "Write capacity of a provisioned lease table. From 2.3.7 the table is billed on demand, \
            and no key changes that.")
        .unused().was(&[current_before(V2_3_7).meaning("Write capacity that the lease table is created with.")]),
    key("leaseTableScanTotalSegments", Kind::Int, "0", V3_5,
        "How many segments a scan of the lease table has; 0 depends on the table, and a negative \
            number stops the daemon."),
    key("maxLeaseRenewalThreads", Kind::Int, "20", Version::new(1, 8, 0),
        "Threads that renew leases."),
    key("listShardsBackoffTimeInMillis", Kind::Long, "1500", Version::new(1, 9, 0),
        "How long to wait before ListShards is tried again."),
    key("maxListShardsRetryAttempts", Kind::Int, "50", Version::new(1, 9, 0),
        "How often ListShards is tried again."),
    key("initialPositionInStream", POSITIONS, "LATEST", V1,
        "Where to start in a shard that has no checkpoint yet.").sets_also(&["initial position"]),
    key("initialPositionInStreamExtended", Kind::EpochSeconds, "", Version::new(2, 3, 5),
        "The time to start at instead, in a shard that has no checkpoint yet.")
        .sets_also(&["initial position"]),
    key("gracefulLeaseHandoffTimeoutMillis", Kind::NullableLong, "30000", V3,
        "How long a worker may take to hand over a lease.").bean(HANDOFF),
    key("isGracefulLeaseHandoffEnabled", Kind::Switch, "true", V3,
        "Whether the child gets shutdownRequested before its lease moves.").bean(HANDOFF),
    // Balancing
    key("inMemoryWorkerMetricsCaptureFrequencyMillis", Kind::Long, "1000", V3,
        "How often the worker measures its own load; must be less than \
            workerMetricsReporterFreqInMillis.")
        .bean(BALANCE),
    key("workerMetricsReporterFreqInMillis", Kind::Long, "30000", V3,
        "How often the worker reports its load.").bean(BALANCE),
    key("noOfPersistedMetricsPerWorkerMetrics", Kind::Int, "10", V3,
        "How many samples of each measure are kept.").bean(BALANCE),
    key("disableWorkerMetrics", Kind::Switch, "false", V3,
        "Whether to balance by throughput only, without CPU use.").bean(BALANCE),
    key("maxThroughputPerHostKBps", Kind::Double, "unlimited", V3,
        "The most throughput that a worker is given.").bean(BALANCE),
    key("dampeningPercentage", Kind::Int, "60", V3,
        "Which share of an excess is moved at a time.").bean(BALANCE),
    key("reBalanceThresholdPercentage", Kind::Int, "10", V3,
        "How far from the average a worker may be before leases move.").bean(BALANCE),
    key("allowThroughputOvershoot", Kind::Switch, "true", V3,
        "Whether a lease may move even if it is more than the excess.").bean(BALANCE),
    key("varianceBalancingFrequency", Kind::Int, "3", V3,
        "Every how many rounds of assignment the load is balanced.").bean(BALANCE),
    key("workerMetricsEMAAlpha", Kind::Double, "0.5", V3,
        "How much a new sample weighs against the old ones.").bean(BALANCE),
    key("staleWorkerMetricsEntryCleanupDuration", Kind::Duration, "PT24H", V3,
        "After which time the row of a worker that does not report is removed.").bean(BALANCE),
    // Tables beside the lease table
    key("workerMetricsTableName", Kind::Text, "<applicationName>-WorkerMetricStats", V3,
        "The table of the workers' load; 3.5 puts this into the lease table of a new application.")
        .bean(METRIC_TABLE).deprecated(OWN_TABLE),
    key("workerMetricsBillingMode", BILLING, "PAY_PER_REQUEST", V3,
        "How the table of the workers' load is paid for.").bean(METRIC_TABLE).deprecated(OWN_TABLE),
    key("workerMetricsReadCapacity", Kind::Long, "0", V3,
        "Read capacity of that table if provisioned.").bean(METRIC_TABLE).deprecated(OWN_TABLE),
    key("workerMetricsWriteCapacity", Kind::Long, "0", V3,
        "Write capacity of that table if provisioned.").bean(METRIC_TABLE).deprecated(OWN_TABLE),
    key("workerMetricsPointInTimeRecoveryEnabled", Kind::Switch, "false", V3,
        "Whether that table can be restored to a point in time.").bean(METRIC_TABLE).deprecated(OWN_TABLE),
    key("workerMetricsDeletionProtectionEnabled", Kind::Switch, "false", V3,
        "Whether that table is protected from deletion.").bean(METRIC_TABLE).deprecated(OWN_TABLE),
    key("workerMetricsTags", Kind::Tags, "", V3,
        "Tags of that table.").bean(METRIC_TABLE).deprecated(OWN_TABLE),
    key("coordinatorStateTableName", Kind::Text, "<applicationName>-CoordinatorState", V3,
        "The table of the leader's state; 3.5 puts this into the lease table of a new application.")
        .bean(STATE_TABLE).deprecated(OWN_TABLE),
    key("coordinatorStateBillingMode", BILLING, "PAY_PER_REQUEST", V3,
        "How the table of the leader's state is paid for.").bean(STATE_TABLE).deprecated(OWN_TABLE),
    key("coordinatorStateReadCapacity", Kind::Long, "0", V3,
        "Read capacity of that table if provisioned.").bean(STATE_TABLE).deprecated(OWN_TABLE),
    key("coordinatorStateWriteCapacity", Kind::Long, "0", V3,
        "Write capacity of that table if provisioned.").bean(STATE_TABLE).deprecated(OWN_TABLE),
    key("coordinatorStatePointInTimeRecoveryEnabled", Kind::Switch, "false", V3,
        "Whether that table can be restored to a point in time.").bean(STATE_TABLE).deprecated(OWN_TABLE),
    key("coordinatorStateDeletionProtectionEnabled", Kind::Switch, "false", V3,
        "Whether that table is protected from deletion.").bean(STATE_TABLE).deprecated(OWN_TABLE),
    key("coordinatorStateTags", Kind::Tags, "", V3,
        "Tags of that table.").bean(STATE_TABLE).deprecated(OWN_TABLE),
    // Scheduler
    key("parentShardPollIntervalMillis", Kind::Long, "10000", V1,
        "How often a child shard looks whether its parent is done."),
    key("shardPrioritization", Kind::Unusable, "", V2_1,
        "The order in which shards are taken. Needs Java code.").unused(),
    key("skipShardSyncAtWorkerInitializationIfLeasesExist", Kind::Flag, "false", V2_1,
        "Whether a start goes without the first shard sync when there are leases already."),
    key("schedulerInitializationBackoffTimeMillis", Kind::Long, "1000", Version::new(2, 2, 8),
        "How long to wait between two of the 20 attempts to start."),
    key("clientVersionConfig", CLIENT_VERSIONS, "CLIENT_VERSION_CONFIG_3X", V3,
        "The phase of the migration from 2.x."),
    key("migrateAllEntitiesToLeaseTable", Kind::Flag, "false", V3_5,
        "Whether to start the second phase of the table migration."),
    key("tableMigrationCompleteBakeTimeSeconds", Kind::Long, "86400", V3_5,
        "How long that migration can still be undone, 3600 to 604800."),
    key("taskBackoffTimeMillis", Kind::Long, "500", V1,
        "How long to wait after a task that failed."),
    key("logWarningForTaskAfterMillis", Kind::NullableLong, "", Version::new(1, 8, 8),
        "Warn of a task that takes longer than this."),
    key("callProcessRecordsEvenForEmptyRecordList", Kind::Flag, "false", V1,
        "Whether the child gets empty batches."),
    key("validateSequenceNumberBeforeCheckpointing", Kind::Flag, "false", Version::new(1, 1, 0),
        "Only 1.x uses it.")
        .unused().was(&[current_before(V2).default("true").meaning(
            "Whether a sequence number is validated by a call to Kinesis before it becomes a checkpoint.")]),
    key("timeoutInSeconds", Kind::NullableInt, "", Version::new(1, 8, 1),
        "How long the daemon waits for each line of the child before it halts its JVM with status 1, \
            without a shutdown. If unset, it waits without a limit."),
    key("shutdownGraceMillis", Kind::Long, "0", Version::new(1, 8, 2),
        "How long a stopping daemon waits for its children. If 0, none of them is asked to \
            checkpoint.").was(&[default_before(V2_1, "5000")]),
    // Metrics
    key("metricsBufferTimeMillis", Kind::Long, "10000", V1,
        "The longest that metrics wait before they are sent."),
    key("metricsMaxQueueSize", Kind::Int, "10000", V1,
        "The most metrics that wait."),
    key("metricsLevel", METRICS, "DETAILED", Version::new(1, 5, 0),
        "Which metrics CloudWatch gets."),
    key("metricsEnabledDimensions", Kind::List, "ALL", Version::new(1, 5, 0),
        "The dimensions of metrics: Operation, ShardId, WorkerIdentifier, ALL."),
    // Retrieval
    key("retrievalMode", RETRIEVAL, "DEFAULT", V2_1,
        "How records are fetched. DEFAULT polls if any polling key is set, and otherwise registers \
            a fan-out consumer, which is billed."),
    key("maxRecords", Kind::Int, "10000", V1,
        "The most records of one GetRecords call; above 10000 the daemon stops. Makes DEFAULT \
            poll.")
        .bean(POLLING),
    key("idleTimeBetweenReadsInMillis", Kind::Long, "1500", V1,
        "The pause between two GetRecords calls; less than 200 becomes 200. Makes DEFAULT poll.")
        .bean(POLLING).was(&[
            current_before(V2_1).default("1000").meaning("The pause between two GetRecords calls."),
            default_before(V2_5_4, "1000").unused().meaning(
                "The pause between two GetRecords calls, but before 2.5.4 the daemon does not pass it \
                    on. Makes DEFAULT poll."),
            default_before(V3, "1500").meaning(
                "The pause between two GetRecords calls. Makes DEFAULT poll."),
        ]),
    key("millisBehindLatestThresholdForReducedTps", Kind::Long, "0", Version::new(3, 1, 1),
        "Poll less often if not further behind than this. Makes DEFAULT poll.").bean(POLLING),
    key("retryGetRecordsInSeconds", Kind::NullableInt, "", Version::new(1, 8, 2),
        "Only 1.x uses it, but it still makes DEFAULT poll.")
        .bean(POLLING).unused().was(&[current_before(V2).meaning(
            "How long a GetRecords call may take before a second one is started.")]),
    key("maxGetRecordsThreadPool", Kind::NullableInt, "", Version::new(1, 8, 2),
        "Only 1.x uses it, but it still makes DEFAULT poll.")
        .bean(POLLING).unused().was(&[current_before(V2).meaning(
            "The most threads that wait for GetRecords calls.")]),
    key("fanoutConfig.consumerArn", Kind::Text, "", V2_1,
        "A registered consumer to use instead of registering one."),
    key("fanoutConfig.consumerName", Kind::Text, "applicationName", V2_1,
        "The consumer to register."),
    key("fanoutConfig.maxDescribeStreamSummaryRetries", Kind::Int, "10", V2_1,
        "How often DescribeStreamSummary is tried again."),
    key("fanoutConfig.maxDescribeStreamConsumerRetries", Kind::Int, "10", V2_1,
        "How often DescribeStreamConsumer is tried again."),
    key("fanoutConfig.registerStreamConsumerRetries", Kind::Int, "10", V2_1,
        "How often RegisterStreamConsumer is tried again."),
    key("fanoutConfig.retryBackoffMillis", Kind::Long, "1000", V2_1,
        "How long to wait before each of those is tried again."),
    // Keys that the newest version ignores
    ignored("appName", None, Instead::Key("applicationName"), "A README called applicationName so."),
    ignored("userAgent", Some((V1, UNTIL_2_1)), Instead::Nothing("nothing reads it"),
        "Named the application in calls to AWS."),
    ignored("timestampAtInitialPositionInStream", Some((Version::new(1, 9, 2), UNTIL_2_1)),
        Instead::Key("initialPositionInStreamExtended"),
        "The moment to begin at, in seconds since 1970."),
    ignored("skipShardSyncAtStartupIfLeasesExist", Some((Version::new(1, 7, 1), UNTIL_2_1)),
        Instead::Key("skipShardSyncAtWorkerInitializationIfLeasesExist"),
        "Whether a start skips the first shard sync if there are leases."),
    ignored("shardPrioritizationStrategy", None, Instead::Nothing("shard order needs Java code"),
        "The order in which shards are taken."),
    ignored("dataFetchingStrategy", Some((Version::new(1, 8, 6), UNTIL_2_1)),
        Instead::Nothing("nothing replaces it"), "DEFAULT or PREFETCH_CACHED."),
    ignored("idleMillisBetweenCalls", Some((Version::new(1, 8, 6), UNTIL_2_1)),
        Instead::Key("idleTimeBetweenReadsInMillis"), "The pause between two calls that prefetch."),
    ignored("maxPendingProcessRecordsInput", Some((Version::new(1, 8, 6), UNTIL_2_1)), JAVA_ONLY,
        "The most batches to prefetch."),
    ignored("maxCacheByteSize", Some((Version::new(1, 8, 6), UNTIL_2_1)),
        Instead::Nothing("nothing replaces it"), "The most bytes to prefetch."),
    ignored("maxRecordsCount", Some((Version::new(1, 8, 6), UNTIL_2_1)),
        Instead::Nothing("nothing replaces it"), "The most records to prefetch."),
    ignored("maxInitializationAttempts", Some((Version::new(1, 14, 0), UNTIL_2)), JAVA_ONLY,
        "How often a start is tried."),
    ignored("leaseCleanupIntervalMillis", Some((Version::new(1, 14, 0), UNTIL_2)), JAVA_ONLY,
        "How often leases of finished shards are cleaned up."),
    ignored("completedLeaseCleanupThresholdMillis", Some((Version::new(1, 14, 0), UNTIL_2)),
        JAVA_ONLY, "How often to check whether a finished lease can go."),
    ignored("garbageLeaseCleanupThresholdMillis", Some((Version::new(1, 14, 0), UNTIL_2)),
        JAVA_ONLY, "How often to check whether a lease's shard still exists."),
    ignored("leasesRecoveryAuditorExecutionFrequencyMillis", Some((Version::new(1, 14, 0), UNTIL_2)),
        JAVA_ONLY, "How often leases are checked for gaps."),
    ignored("leasesRecoveryAuditorInconsistencyConfidenceThreshold",
        Some((Version::new(1, 14, 0), UNTIL_2)), JAVA_ONLY,
        "After how many checks with a gap shards are synced."),
    ignored("cloudWatchEndpoint", None, Instead::Key("cloudWatchClient.endpointOverride"),
        "No version has such a key."),
    ignored("RetrievalMode", None, Instead::Key("retrievalMode"),
        "A warning of the daemon misspells retrievalMode so."),
    ignored("consumerName", None, Instead::Key("fanoutConfig.consumerName"),
        "No version reads it without its bean."),
    ignored("billingMode", None, Instead::Nothing("the lease table is billed on demand"),
        "No version reads it from the file.").was(&[Was {
            before: V2_3_7,
            status: Some(Status::Ignored(Instead::Nothing(
                "the lease table is provisioned, by initialLeaseTableReadCapacity and \
                    initialLeaseTableWriteCapacity"))),
            default: None,
            meaning: None,
        }]),
    ignored("namespace", None, Instead::Nothing("metrics are named after applicationName"),
        "No version reads it from the file."),
    ignored("leaseAssignmentStrategy", None, JAVA_ONLY, "No version reads it from the file."),
    ignored("metricsBackend", None, JAVA_ONLY, "No version reads it from the file."),
    ignored("logLevel", None, Instead::Say("run the daemon with `kcl-helper run --log-level LEVEL`"),
        "No version reads it from the file."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// So that it does not matter which row is looked at first.
    #[test]
    fn each_spelling_is_of_one_row() {
        let all = || KEYS.iter().flat_map(Key::spellings);
        assert_eq!(all().count(), SPELLINGS.len());
        for spelling in all() {
            assert!(KEYS.iter().all(|key| !key.has_member(&spelling)), "{spelling}");
        }
        assert_eq!(KEYS.len(), 130);
        let in_lower_case: BTreeSet<String> = spellings().map(str::to_ascii_lowercase).collect();
        assert_eq!(spellings().count(), in_lower_case.len());
    }

    #[test]
    fn letter_case_counts_but_in_one_prefix() {
        let name = |written: &str| lookup(written).map(|row| row.name);
        assert_eq!(name("AWSCREDENTIALSPROVIDERDynamoDB"), Some("AwsCredentialsProviderDynamoDB"));
        assert_eq!(name("awsCredentialsProviderDYNAMODB"), None);
        assert_eq!(name("MaxRecords"), None);
        assert_eq!(name("pollingConfig.maxRecords"), Some("maxRecords"));
        assert_eq!(name("fanoutConfig.maxRecords"), None);
        assert_eq!(
            name("kinesisClient.overrideConfiguration.apiCallTimeout"),
            Some("kinesisClient.overrideConfiguration.*")
        );
        assert_eq!(name("kinesisClient.overrideConfiguration."), None);
        assert_eq!(name("RetrievalMode"), Some("RetrievalMode"));
    }

    #[test]
    fn only_what_is_alike_is_suggested() {
        assert_eq!(suggestion("failoverTimeMilis"), Some("failoverTimeMillis"));
        assert_eq!(suggestion("WorkerIdentifer"), Some("workerIdentifier"));
        assert_eq!(suggestion("colour"), None);
    }

    /// Current keys that the sample does not show, with the reason.
    const NOT_IN_THE_SAMPLE: &[(&str, &str)] = &[
        ("kinesisCredentialsProvider.*", "Java's builders; AwsCredentialsProvider does it"),
        (
            "dynamoDBCredentialsProvider.*",
            "Java's builders; AwsCredentialsProviderDynamoDB does it",
        ),
        ("cloudWatchCredentialsProvider.*", "Java's builders; …CloudWatch does it"),
        ("kinesisClient.overrideConfiguration.*", "Java's builders: any method of the SDK's"),
        ("dynamoDbClient.overrideConfiguration.*", "Java's builders: any method of the SDK's"),
        ("cloudWatchClient.overrideConfiguration.*", "Java's builders: any method of the SDK's"),
        ("kinesisClient.endpointOverride", "kinesisEndpoint is the same"),
        ("dynamoDbClient.endpointOverride", "dynamoDBEndpoint is the same"),
        ("cleanupLeasesUponShardCompletion", "no value of it changes anything"),
        ("initialLeaseTableReadCapacity", "no lease table is provisioned"),
        ("initialLeaseTableWriteCapacity", "no lease table is provisioned"),
        ("shardPrioritization", "every value stops the daemon"),
        ("validateSequenceNumberBeforeCheckpointing", "any; the daemon ignores it"),
        ("retryGetRecordsInSeconds", "nothing reads it, and it makes the daemon poll"),
        ("maxGetRecordsThreadPool", "nothing reads it, and it makes the daemon poll"),
    ];

    /// The settings of the sample that are switched off, each with the words above it.
    fn switched_off() -> Vec<(String, String, String)> {
        let mut settings = Vec::new();
        let mut words = String::new();
        for line in kcl_samples::SAMPLE_PROPERTIES.lines() {
            match line.strip_prefix('#') {
                None => words.clear(),
                Some(text) if text.is_empty() || text.starts_with(' ') => words.push_str(text),
                Some(setting) => {
                    let (key, value) = setting.split_once(" = ").unwrap();
                    settings.push((key.to_owned(), value.to_owned(), words.clone()));
                }
            }
        }
        settings
    }

    #[test]
    fn the_sample_shows_every_key_that_a_user_may_want() {
        let file = super::super::File::parse(kcl_samples::SAMPLE_PROPERTIES.as_bytes()).unwrap();
        let active = file.entries().iter().map(|entry| entry.key.as_str().to_owned());
        let mut shown: Vec<String> = active.collect();
        shown.extend(switched_off().into_iter().map(|(key, ..)| key));
        shown.extend(NOT_IN_THE_SAMPLE.iter().map(|(key, _)| (*key).to_owned()));
        shown.sort_unstable();
        let mut wanted: Vec<&str> =
            KEYS.iter().filter(|key| !key.is_ignored()).map(|key| key.name).collect();
        wanted.sort_unstable();
        // Each once, spelled as the documentation does, and none that nobody reads.
        assert_eq!(shown, wanted);
    }

    #[test]
    fn the_sample_quotes_the_defaults_of_the_table() {
        for (key, value, words) in switched_off() {
            let default = lookup(&key).unwrap().default_in(V3_5);
            // Other keys' values, and sentences.
            let told = lookup(default).is_some()
                || ["", "a random UUID", "2 x failoverTimeMillis", "unlimited"].contains(&default)
                || default.starts_with('<');
            assert_eq!(words.contains("Unset"), told, "{key}:{words}");
            assert!(told || value == default, "{key} = {value}, but the default is {default}");
        }
    }

    /// Nobody who takes one # away is stopped.
    #[test]
    fn each_setting_of_the_sample_can_be_switched_on() {
        use super::super::{Launcher, Request, Severity, Source, check};
        use crate::environment::Environment;
        use crate::secret::Masked;

        let environment = Environment::of_test(&[], std::path::Path::new("/"));
        for (key, value, _) in switched_off() {
            let source = Source {
                name: "sample.properties".to_owned(),
                bytes: kcl_samples::SAMPLE_PROPERTIES.into(),
            };
            let set = |key: &str, value: &str| (key.to_owned(), Masked::of_property(key, value));
            let request = Request {
                version: "3.5.0".parse().unwrap(),
                launcher: Launcher::Daemon,
                // A program that is here, whatever the tests run in.
                overrides: &[set("executableName", "/bin/sh"), set(&key, &value)],
                jvm_args: &[],
                allow: &[],
                environment: &environment,
            };
            let report = check(source, &request);
            let remarks = report.findings().iter().filter(|finding| {
                let known = match finding.name {
                    // What the sample polls for, and what it names already.
                    "other-retrieval-mode" => key.starts_with("fanoutConfig."),
                    "two-keys-one-field" => {
                        key.ends_with("Client.region") || key.ends_with("Extended")
                    }
                    "stream-named-twice" => key == "streamArn",
                    "deprecated-key" => lookup(&key).unwrap().status_in(V3_5) == Status::Deprecated,
                    // The default, written out.
                    "zero-is-unset" | "false-is-dropped" => true,
                    "metrics-to-aws" => key == "kinesisEndpoint",
                    _ => false,
                };
                !known || finding.severity == Severity::Error
            });
            let remarks: Vec<_> = remarks.map(|finding| (finding.name, &finding.message)).collect();
            assert!(remarks.is_empty(), "{key}: {remarks:?}");
        }
    }
}
