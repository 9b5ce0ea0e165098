//! The table of all keys that people write into the file, right ones and wrong ones: the one place
//! that knows them, for checks, `--effective`, `--explain` and completion.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use super::Version;

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// As the documentation spells it. A last part of `*` stands for any name.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What holds where the file is silent; empty for nothing. The name of another key stands for
    /// its value.
    pub(crate) default: &'static str,
    /// The default of 1.x, where it is known to have been another one.
    default_of_1: Option<&'static str>,
    /// The first version that has it; `None` where no version ever had.
    pub(crate) since: Option<Version>,
    pub(crate) status: Status,
    pub(crate) meaning: &'static str,
    /// Other spellings that the daemon takes for the same thing.
    pub(crate) aliases: &'static [&'static str],
    /// The bean that has this property too, so that `bean.name` is one more spelling.
    pub(crate) bean: &'static str,
    /// What it sets, where that is not just itself: two keys that set one thing have no order.
    sets: &'static [&'static str],
    /// What of its value must not be shown; `secret.rs` has the rest of that rule.
    pub(crate) secrecy: Secrecy,
}

/// Where a value has secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// Where the name of the key, or what is in the value, says so.
    ByName,
    /// In what providers are given.
    Arguments,
    Whole,
}

/// How the daemon turns the text of a value into what it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text, every blank of it.
    Text,
    /// A command line, split at blanks.
    Command,
    /// A primitive number: unreadable text becomes 0, and 0 leaves the default in place.
    Int,
    Long,
    Double,
    /// A number object: unreadable text becomes 0, and 0 is applied.
    NullableInt,
    NullableLong,
    /// A number that stops the daemon where it cannot be read, blanks included.
    StrictInt,
    /// Whole seconds since 1970, read as strictly.
    EpochSeconds,
    /// A primitive boolean: false counts as not given.
    Flag,
    /// A boolean object: both values take effect.
    Switch,
    /// One of some names in any letter case, each since a version; anything else stops the daemon.
    Choice(&'static [(&'static str, Version)]),
    /// ISO-8601, not negative; anything else stops the daemon.
    Duration,
    /// `k=v,k=v`; a pair that is none is skipped.
    Tags,
    /// Names with commas between.
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
    /// The key is dropped, so nothing reads the value.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Current,
    /// Still read, for old fleets.
    Deprecated,
    /// Read into a field that nothing uses.
    Unused,
    /// Not read at all; the text says what to do instead.
    Dropped(&'static str),
}

impl Key {
    /// What holds in this version where the file is silent.
    pub(crate) fn default_in(&self, version: Version) -> &'static str {
        self.default_of_1.filter(|_| version.major() == 1).unwrap_or(self.default)
    }

    /// What it sets: two keys that have something in common here have no order among them.
    pub(crate) fn sets(&self) -> Vec<&'static str> {
        if self.sets.is_empty() { vec![self.name] } else { self.sets.to_vec() }
    }

    /// Whether this is the row of a whole family, and `written` one of its members.
    fn has_member(&self, written: &str) -> bool {
        let rest = self.name.strip_suffix('*').and_then(|prefix| written.strip_prefix(prefix));
        rest.is_some_and(|rest| !rest.is_empty())
    }

    /// All spellings that the daemon takes for this key, but for those of a family.
    fn spellings(&'static self) -> impl Iterator<Item = Cow<'static, str>> {
        let own = std::iter::once(self.name).chain(self.aliases.iter().copied());
        let own = own.filter(|name| !name.ends_with('*')).map(Cow::Borrowed);
        own.chain(self.in_bean().map(Cow::Owned))
    }

    fn in_bean(&self) -> Option<String> {
        (!self.bean.is_empty()).then(|| format!("{}.{}", self.bean, self.name))
    }

    pub(crate) fn is_dropped(&self) -> bool {
        matches!(self.status, Status::Dropped(_))
    }
}

impl Kind {
    /// Values that are allowed, for people.
    pub(crate) fn describe(self) -> String {
        let text = match self {
            Kind::Text => "any text; blanks at the end belong to it",
            Kind::Command => "a command line, split at blanks; there is no quoting",
            Kind::Int => "whole number; 0 and unreadable text leave the default",
            Kind::Long => "whole number, 64 bits; 0 and unreadable text leave the default",
            Kind::Double => "number; 0 and unreadable text leave the default",
            Kind::NullableInt => "whole number; unreadable text means 0",
            Kind::NullableLong => "whole number, 64 bits; unreadable text means 0",
            Kind::StrictInt => "whole number without blanks; anything else stops the daemon",
            Kind::EpochSeconds => "whole seconds since 1970; anything else stops the daemon",
            Kind::Flag => "true or false; false counts as not given",
            Kind::Switch => "true or false; unreadable text means false",
            Kind::Choice(names) => {
                let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
                return format!("{}; any letter case, no blanks", names.join(", "));
            }
            Kind::Duration => "ISO-8601 such as PT12H, not negative",
            Kind::Tags => "key=value,key=value",
            Kind::List => "names with commas between",
            Kind::Uri => "a URL with its scheme",
            Kind::Region => "letters, digits and -; not compared with a list of regions",
            Kind::StreamArn => "arn:aws:kinesis:<region>:<12 digits>:stream/<name>",
            Kind::Providers => "Name|argument|argument,Name: tried in this order",
            Kind::Builder => "a class, or what one of its builder's methods takes",
            Kind::Unusable => "nothing: any value stops the daemon",
            Kind::Nothing => "nothing reads it",
        };
        text.to_owned()
    }

    /// The range that the number must fit in to be readable.
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

/// The row for a key as it is written in a file; letter case counts.
pub(crate) fn lookup(written: &str) -> Option<&'static Key> {
    let normalised = credentials_spelling(written);
    let written = normalised.as_deref().unwrap_or(written);
    let spelled = SPELLINGS.get(written).copied();
    spelled.or_else(|| KEYS.iter().find(|key| key.has_member(written)))
}

/// A file may have very many keys, so none is looked for in the whole table.
static SPELLINGS: LazyLock<HashMap<Cow<'static, str>, &'static Key>> = LazyLock::new(|| {
    KEYS.iter().flat_map(|key| key.spellings().map(move |spelling| (spelling, key))).collect()
});

/// The spelling that this one would be in another letter case.
pub(crate) fn in_other_case(written: &str) -> Option<&'static str> {
    LOWER_CASE.get(&written.to_ascii_lowercase()).map(|spelling| &**spelling)
}

static LOWER_CASE: LazyLock<HashMap<String, Cow<'static, str>>> = LazyLock::new(|| {
    let in_beans = KEYS.iter().filter_map(Key::in_bean).map(Cow::Owned);
    let all = in_beans.chain(spellings().map(Cow::Borrowed));
    all.map(|spelling| (spelling.to_ascii_lowercase(), spelling)).collect()
});

/// Keys that begin with `awscredentialsprovider` have that part brought to one spelling by 3.x.
fn credentials_spelling(written: &str) -> Option<String> {
    const NAME: &str = "AwsCredentialsProvider";
    let (head, rest) = written.split_at_checked(NAME.len())?;
    head.eq_ignore_ascii_case(NAME).then(|| format!("{NAME}{rest}"))
}

/// All spellings that may be meant by somebody, for suggestions.
pub(crate) fn spellings() -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .filter(|key| !key.is_dropped() && !key.name.ends_with('*'))
        .flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().copied()))
}

/// The known key that is most like this one, if one is like it at all.
pub(crate) fn suggestion(written: &str) -> Option<&'static str> {
    most_alike(written, spellings())
}

/// The name that is most like this one in any letter case, if one is like it at all.
pub(crate) fn most_alike(
    written: &str,
    known: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    const LEAST: f64 = 0.7;
    let written = written.to_lowercase();
    let length = written.chars().count();
    // The difference in length alone is that many edits.
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
        default_of_1: None,
        since: Some(since),
        status: Status::Current,
        meaning,
        aliases: &[],
        bean: "",
        sets: &[],
        secrecy: if matches!(kind, Kind::Providers) { Secrecy::Arguments } else { Secrecy::ByName },
    }
}

/// A key that 3.x drops; `since` is `None` if no version ever read it.
const fn dropped(name: &'static str, since: Option<Version>, instead: &'static str) -> Key {
    let row = key(name, Kind::Nothing, "", V1, instead);
    Key { since, status: Status::Dropped(instead), ..row }
}

impl Key {
    const fn deprecated(self) -> Key {
        Key { status: Status::Deprecated, ..self }
    }

    const fn default_of_1(self, default: &'static str) -> Key {
        Key { default_of_1: Some(default), ..self }
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
const V2_1: Version = Version::new(2, 1, 0);
const V3: Version = Version::new(3, 0, 0);
const V3_5: Version = Version::new(3, 5, 0);

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

/// In the order of the documentation: what must be there first.
#[rustfmt::skip]
pub(crate) const KEYS: &[Key] = &[
    // The child
    key("executableName", Kind::Command, "", V1,
        "The command that the daemon starts once for each shard, from its own working folder and \
            through its own PATH. Required."),
    key("processingLanguage", Kind::Text, "", V1,
        "Free text for a line of the log at start-up; nothing else looks at it."),
    key("maxActiveThreads", Kind::StrictInt, "0", V1,
        "How many threads run the scheduler and all pipes to the children. 0 or less sets no \
            limit; a small number can make every shard wait for ever."),
    // Stream and application
    key("applicationName", Kind::Text, "", V1,
        "Names the application, and where nothing else is said its lease table, its metrics and \
            its fan-out consumer. Required."),
    key("streamName", Kind::Text, "", V1,
        "The stream to read. Required unless streamArn is there, whose name part wins."),
    key("streamArn", Kind::StreamArn, "", Version::new(2, 5, 1),
        "Another way to name the stream. Only the name in it counts: region and account are not \
            looked at."),
    key("tableName", Kind::Text, "applicationName", V1,
        "The DynamoDB table of leases."),
    key("workerIdentifier", Kind::Text, "a random UUID", V1,
        "What this worker is called among the workers of the application.").aliases(&["workerId"]),
    // Credentials
    key("AwsCredentialsProvider", Kind::Providers, "", V1,
        "Who gives credentials for Kinesis, and for DynamoDB and CloudWatch where these have \
            nobody of their own. Required.")
        .sets_also(&["kinesisCredentialsProvider"]),
    key("AwsCredentialsProviderDynamoDB", Kind::Providers, "AwsCredentialsProvider", V1,
        "Who gives credentials for DynamoDB.").sets_also(&["dynamoDBCredentialsProvider"]),
    key("AwsCredentialsProviderCloudWatch", Kind::Providers, "AwsCredentialsProvider", V1,
        "Who gives credentials for CloudWatch.").sets_also(&["cloudWatchCredentialsProvider"]),
    key("kinesisCredentialsProvider.*", Kind::Builder, "", V2_1,
        "Builds the provider for Kinesis by class and builder methods. As keys have no order, \
            more than one of this family cannot be relied on.")
        .secret().sets_also(&["kinesisCredentialsProvider"]),
    key("dynamoDBCredentialsProvider.*", Kind::Builder, "", V2_1,
        "Builds the provider for DynamoDB by class and builder methods. As keys have no order, \
            more than one of this family cannot be relied on.")
        .secret().sets_also(&["dynamoDBCredentialsProvider"]),
    key("cloudWatchCredentialsProvider.*", Kind::Builder, "", V2_1,
        "Builds the provider for CloudWatch by class and builder methods. As keys have no order, \
            more than one of this family cannot be relied on.")
        .secret().sets_also(&["cloudWatchCredentialsProvider"]),
    // Clients
    key("regionName", Kind::Region, "", V1,
        "The region of all three clients. Without it the SDK looks around; where it finds none \
            the daemon stops.")
        .sets_also(&["kinesisClient.region", "dynamoDbClient.region", "cloudWatchClient.region"]),
    key("kinesisEndpoint", Kind::Uri, "", V1,
        "Where Kinesis is.").sets_also(&["kinesisClient.endpointOverride"]),
    key("dynamoDBEndpoint", Kind::Uri, "", V1,
        "Where DynamoDB is.").sets_also(&["dynamoDbClient.endpointOverride"]),
    key("kinesisClient.endpointOverride", Kind::Uri, "kinesisEndpoint", V2_1,
        "Where Kinesis is."),
    key("kinesisClient.region", Kind::Region, "regionName", V2_1,
        "The region of the Kinesis client alone."),
    key("kinesisClient.dualstackEnabled", Kind::Switch, "", V2_1,
        "Whether the Kinesis client asks for endpoints that speak IPv6 as well."),
    key("kinesisClient.fipsEnabled", Kind::Switch, "", V2_1,
        "Whether the Kinesis client asks for FIPS endpoints."),
    key("kinesisClient.overrideConfiguration.*", Kind::Builder, "", V2_1,
        "One method of the SDK's client override configuration, such as apiCallTimeout, for \
            Kinesis."),
    key("dynamoDbClient.endpointOverride", Kind::Uri, "dynamoDBEndpoint", V2_1,
        "Where DynamoDB is."),
    key("dynamoDbClient.region", Kind::Region, "regionName", V2_1,
        "The region of the DynamoDB client alone."),
    key("dynamoDbClient.dualstackEnabled", Kind::Switch, "", V2_1,
        "Whether the DynamoDB client asks for endpoints that speak IPv6 as well."),
    key("dynamoDbClient.fipsEnabled", Kind::Switch, "", V2_1,
        "Whether the DynamoDB client asks for FIPS endpoints."),
    key("dynamoDbClient.overrideConfiguration.*", Kind::Builder, "", V2_1,
        "One method of the SDK's client override configuration, such as apiCallTimeout, for \
            DynamoDB."),
    key("cloudWatchClient.endpointOverride", Kind::Uri, "", V2_1,
        "Where CloudWatch is; there is no shorter key for it."),
    key("cloudWatchClient.region", Kind::Region, "regionName", V2_1,
        "The region of the CloudWatch client alone."),
    key("cloudWatchClient.dualstackEnabled", Kind::Switch, "", V2_1,
        "Whether the CloudWatch client asks for endpoints that speak IPv6 as well."),
    key("cloudWatchClient.fipsEnabled", Kind::Switch, "", V2_1,
        "Whether the CloudWatch client asks for FIPS endpoints."),
    key("cloudWatchClient.overrideConfiguration.*", Kind::Builder, "", V2_1,
        "One method of the SDK's client override configuration, such as apiCallTimeout, for \
            CloudWatch."),
    // Leases
    key("failoverTimeMillis", Kind::Long, "10000", V1,
        "After this long without renewal a lease is anybody's. A negative number is taken as it \
            is."),
    key("leaseAssignmentIntervalMillis", Kind::Long, "2 x failoverTimeMillis",
        Version::new(3, 1, 1),
        "How often the leader deals out leases."),
    key("enablePriorityLeaseAssignment", Kind::Switch, "true", Version::new(2, 6, 0),
        "Whether leases that expired long ago go first. Acts only in 2.x compatible mode.")
        .deprecated(),
    key("leaseTableDeletionProtectionEnabled", Kind::Switch, "false", Version::new(2, 6, 1),
        "Whether a lease table that the daemon creates is protected from deletion."),
    key("leaseTablePitrEnabled", Kind::Switch, "false", Version::new(2, 6, 1),
        "Whether the lease table can be restored to a point in time."),
    key("shardSyncIntervalMillis", Kind::Long, "60000", V1,
        "How long to wait between two comparisons of leases with shards."),
    key("cleanupLeasesUponShardCompletion", Kind::Flag, "true", V1,
        "Whether the lease of a finished shard goes as soon as it can. The file cannot turn it \
            off."),
    key("ignoreUnexpectedChildShards", Kind::Flag, "false", V1,
        "Whether to pass over child shards whose parent is still open."),
    key("maxLeasesForWorker", Kind::Int, "2147483647", V1,
        "The most leases that this worker takes. With too few in sum some shards are read by \
            nobody."),
    key("maxLeasesToStealAtOneTime", Kind::Int, "1", V1,
        "How many leases to take over in one go. Acts only in 2.x compatible mode.").deprecated(),
    key("initialLeaseTableReadCapacity", Kind::Int, "10", V1,
        "Read capacity of a provisioned lease table, which no key can ask for: the table is on \
            demand."),
    key("initialLeaseTableWriteCapacity", Kind::Int, "10", V1,
        "Write capacity of a provisioned lease table, which no key can ask for: the table is on \
            demand."),
    key("leaseTableScanTotalSegments", Kind::Int, "0", V3_5,
        "Into how many parts a scan of the lease table is split; 0 lets the table decide, less \
            stops the daemon."),
    key("maxLeaseRenewalThreads", Kind::Int, "20", V1,
        "Threads that renew leases."),
    key("listShardsBackoffTimeInMillis", Kind::Long, "1500", V1,
        "How long to wait before ListShards is tried again."),
    key("maxListShardsRetryAttempts", Kind::Int, "50", V1,
        "How often ListShards is tried again."),
    key("initialPositionInStream", POSITIONS, "LATEST", V1,
        "Where to begin in a shard that has no checkpoint yet.").sets_also(&["initial position"]),
    key("initialPositionInStreamExtended", Kind::EpochSeconds, "", Version::new(2, 3, 5),
        "Begin at this moment instead, in a shard that has no checkpoint yet.")
        .sets_also(&["initial position"]),
    key("gracefulLeaseHandoffTimeoutMillis", Kind::NullableLong, "30000", V3,
        "How long a worker may take to let go of a lease that moves.").bean(HANDOFF),
    key("isGracefulLeaseHandoffEnabled", Kind::Switch, "true", V3,
        "Whether the child hears shutdownRequested before its lease moves.").bean(HANDOFF),
    // Balancing
    key("inMemoryWorkerMetricsCaptureFrequencyMillis", Kind::Long, "1000", V3,
        "How often the worker measures its own load; must be less than \
            workerMetricsReporterFreqInMillis.")
        .bean(BALANCE),
    key("workerMetricsReporterFreqInMillis", Kind::Long, "30000", V3,
        "How often the worker tells the others its load.").bean(BALANCE),
    key("noOfPersistedMetricsPerWorkerMetrics", Kind::Int, "10", V3,
        "How many samples of each measure are kept.").bean(BALANCE),
    key("disableWorkerMetrics", Kind::Switch, "false", V3,
        "Whether to balance by throughput only, whatever the CPU does.").bean(BALANCE),
    key("maxThroughputPerHostKBps", Kind::Double, "unlimited", V3,
        "The most throughput that a worker is given.").bean(BALANCE),
    key("dampeningPercentage", Kind::Int, "60", V3,
        "How much of an excess is moved away at once.").bean(BALANCE),
    key("reBalanceThresholdPercentage", Kind::Int, "10", V3,
        "How far from the mean a worker may be before leases move.").bean(BALANCE),
    key("allowThroughputOvershoot", Kind::Switch, "true", V3,
        "Whether a lease may move although that takes too much.").bean(BALANCE),
    key("varianceBalancingFrequency", Kind::Int, "3", V3,
        "Every how many rounds of assignment the load is balanced.").bean(BALANCE),
    key("workerMetricsEMAAlpha", Kind::Double, "0.5", V3,
        "How much a new sample weighs against the old ones.").bean(BALANCE),
    key("staleWorkerMetricsEntryCleanupDuration", Kind::Duration, "PT24H", V3,
        "After how long the row of a worker that went silent is removed.").bean(BALANCE),
    // Tables beside the lease table
    key("workerMetricsTableName", Kind::Text, "<applicationName>-WorkerMetricStats", V3,
        "The table of the workers' load; 3.5 puts this into the lease table of a new application.")
        .bean(METRIC_TABLE).deprecated(),
    key("workerMetricsBillingMode", BILLING, "PAY_PER_REQUEST", V3,
        "How the table of the workers' load is paid for.").bean(METRIC_TABLE).deprecated(),
    key("workerMetricsReadCapacity", Kind::Long, "0", V3,
        "Read capacity of that table if provisioned.").bean(METRIC_TABLE).deprecated(),
    key("workerMetricsWriteCapacity", Kind::Long, "0", V3,
        "Write capacity of that table if provisioned.").bean(METRIC_TABLE).deprecated(),
    key("workerMetricsPointInTimeRecoveryEnabled", Kind::Switch, "false", V3,
        "Whether that table can be restored to a point in time.").bean(METRIC_TABLE).deprecated(),
    key("workerMetricsDeletionProtectionEnabled", Kind::Switch, "false", V3,
        "Whether that table is protected from deletion.").bean(METRIC_TABLE).deprecated(),
    key("workerMetricsTags", Kind::Tags, "", V3,
        "Tags of that table.").bean(METRIC_TABLE).deprecated(),
    key("coordinatorStateTableName", Kind::Text, "<applicationName>-CoordinatorState", V3,
        "The table of the leader's state; 3.5 puts this into the lease table of a new application.")
        .bean(STATE_TABLE).deprecated(),
    key("coordinatorStateBillingMode", BILLING, "PAY_PER_REQUEST", V3,
        "How the table of the leader's state is paid for.").bean(STATE_TABLE).deprecated(),
    key("coordinatorStateReadCapacity", Kind::Long, "0", V3,
        "Read capacity of that table if provisioned.").bean(STATE_TABLE).deprecated(),
    key("coordinatorStateWriteCapacity", Kind::Long, "0", V3,
        "Write capacity of that table if provisioned.").bean(STATE_TABLE).deprecated(),
    key("coordinatorStatePointInTimeRecoveryEnabled", Kind::Switch, "false", V3,
        "Whether that table can be restored to a point in time.").bean(STATE_TABLE).deprecated(),
    key("coordinatorStateDeletionProtectionEnabled", Kind::Switch, "false", V3,
        "Whether that table is protected from deletion.").bean(STATE_TABLE).deprecated(),
    key("coordinatorStateTags", Kind::Tags, "", V3,
        "Tags of that table.").bean(STATE_TABLE).deprecated(),
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
        "How far the migration from 2.x has come."),
    key("migrateAllEntitiesToLeaseTable", Kind::Flag, "false", V3_5,
        "Whether to begin the second phase of moving all tables into the lease table."),
    key("tableMigrationCompleteBakeTimeSeconds", Kind::Long, "86400", V3_5,
        "How long that migration can still be undone; brought into 3600 to 604800."),
    key("taskBackoffTimeMillis", Kind::Long, "500", V1,
        "How long to wait after a task that failed."),
    key("logWarningForTaskAfterMillis", Kind::NullableLong, "", V1,
        "Warn of a task that takes longer than this."),
    key("callProcessRecordsEvenForEmptyRecordList", Kind::Flag, "false", V1,
        "Whether the child gets empty batches too."),
    key("validateSequenceNumberBeforeCheckpointing", Kind::Flag, "false", V1,
        "Meant a check before each checkpoint in 1.x.").unused(),
    key("timeoutInSeconds", Kind::NullableInt, "", V1,
        "How long the daemon waits for each line of the child; then it halts its JVM, with status \
            1 and no shutdown. Unset, it waits for ever."),
    key("shutdownGraceMillis", Kind::Long, "0", V1,
        "How long a stop of the daemon waits for the children. At 0 none of them hears of the \
            stop. 1.x waited 5000.").default_of_1("5000"),
    // Metrics
    key("metricsBufferTimeMillis", Kind::Long, "10000", V1,
        "The longest that metrics wait before they are sent."),
    key("metricsMaxQueueSize", Kind::Int, "10000", V1,
        "The most metrics that wait."),
    key("metricsLevel", METRICS, "DETAILED", V1,
        "Which metrics CloudWatch gets."),
    key("metricsEnabledDimensions", Kind::List, "ALL", V1,
        "Which dimensions the metrics keep: Operation, ShardId, WorkerIdentifier, ALL."),
    // Retrieval
    key("retrievalMode", RETRIEVAL, "DEFAULT", V2_1,
        "How records are fetched. DEFAULT polls as soon as any polling key is set, and else \
            registers a fan-out consumer, which costs extra."),
    key("maxRecords", Kind::Int, "10000", V1,
        "The most records of one GetRecords call; above 10000 the daemon stops. Makes DEFAULT \
            poll.")
        .bean(POLLING),
    key("idleTimeBetweenReadsInMillis", Kind::Long, "1500", V1,
        "The pause between two GetRecords calls; less than 200 becomes 200. Makes DEFAULT poll.")
        .bean(POLLING),
    key("millisBehindLatestThresholdForReducedTps", Kind::Long, "0", Version::new(3, 1, 1),
        "Poll less often while not further behind than this. Makes DEFAULT poll.").bean(POLLING),
    key("retryGetRecordsInSeconds", Kind::NullableInt, "", V1,
        "No fetcher of 3.x reads it, but it still makes DEFAULT poll.").bean(POLLING).unused(),
    key("maxGetRecordsThreadPool", Kind::NullableInt, "", V1,
        "No fetcher of 3.x reads it, but it still makes DEFAULT poll.").bean(POLLING).unused(),
    key("fanoutConfig.consumerArn", Kind::Text, "", V2_1,
        "A registered consumer to use, so that none has to be registered."),
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
    // What people write and 3.x never reads
    dropped("appName", None, "use applicationName"),
    dropped("userAgent", Some(V1), "remove it: nothing reads it"),
    dropped("timestampAtInitialPositionInStream", Some(Version::new(1, 9, 2)),
        "use initialPositionInStreamExtended, in whole seconds"),
    dropped("skipShardSyncAtStartupIfLeasesExist", Some(V1),
        "use skipShardSyncAtWorkerInitializationIfLeasesExist"),
    dropped("shardPrioritizationStrategy", Some(V1), "remove it: shard order needs Java code"),
    dropped("dataFetchingStrategy", Some(V1), "remove it: nothing replaces it"),
    dropped("idleMillisBetweenCalls", Some(V1), "use idleTimeBetweenReadsInMillis"),
    dropped("maxPendingProcessRecordsInput", Some(V1), "remove it: only Java code can set it"),
    dropped("maxCacheByteSize", Some(V1), "remove it: nothing replaces it"),
    dropped("maxRecordsCount", Some(V1), "remove it: nothing replaces it"),
    dropped("cloudWatchEndpoint", None, "use cloudWatchClient.endpointOverride"),
    dropped("RetrievalMode", None,
        "use retrievalMode, with a small r; the daemon's own warning misspells it"),
    dropped("consumerName", None, "use fanoutConfig.consumerName"),
    dropped("billingMode", None, "remove it: the lease table is on demand"),
    dropped("namespace", None, "remove it: metrics are named after applicationName"),
    dropped("leaseAssignmentStrategy", None, "remove it: only Java code can set it"),
    dropped("metricsBackend", None, "remove it: only Java code can set it"),
    dropped("maxInitializationAttempts", None, "remove it: only Java code can set it"),
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
        assert_eq!(KEYS.len(), 124);
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
        ("validateSequenceNumberBeforeCheckpointing", "nothing reads it"),
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
            KEYS.iter().filter(|key| !key.is_dropped()).map(|key| key.name).collect();
        wanted.sort_unstable();
        // Each once, spelled as the documentation does, and none that nobody reads.
        assert_eq!(shown, wanted);
    }

    #[test]
    fn the_sample_quotes_the_defaults_of_the_table() {
        for (key, value, words) in switched_off() {
            let default = lookup(&key).unwrap().default;
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

        let environment = Environment::of_this_process();
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
                    "deprecated-key" => lookup(&key).unwrap().status == Status::Deprecated,
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
