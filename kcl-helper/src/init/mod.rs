//! `init`: the files of a new project, and their folder.
//!
//! Names may only have characters that AWS, cargo, Docker and systemd all accept, so that they need no
//! escaping in any file. The path of a checkout may be anything, so it is escaped.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::files::read_text_at_most;

/// What a project is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Project {
    pub(crate) name: Name,
    pub(crate) stream: Stream,
    pub(crate) region: Region,
    pub(crate) application: Application,
    pub(crate) runtime: Runtime,
}

/// Where the project gets `kcl-runtime` from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// This version from cargo's registry.
    Version(String),
    Checkout {
        /// An absolute path.
        folder: String,
        /// Whether the project is inside the checkout, where cargo would take it for a workspace member.
        around: bool,
    },
}

/// A type for valid names. The error for an invalid one is a message for the user.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $valid:ident, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name(String);

        impl $name {
            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<$name, String> {
                if $valid(text) { Ok($name(text.to_owned())) } else { Err($rule.to_owned()) }
            }
        }
    };
}

name!(
    /// The name of the package, its program, its systemd unit and its image.
    Name, is_name,
    "use a lower-case letter, then up to 62 lower-case letters, digits, - and _, but no word that is \
        reserved by Rust or cargo"
);
name!(Stream, is_stream, "use 1 to 128 letters, digits, -, _ and .");
name!(Region, is_region, "use lower-case letters, digits and -, such as us-east-1");
name!(
    /// The name of the lease table, the prefix of two other tables, and perhaps the name of a consumer.
    Application, is_application,
    "use 3 to 128 letters, digits, -, _ and ., as for the names of DynamoDB tables"
);

/// Names that cargo refuses or that do not compile: Rust's keywords and built-in crates, folders in
/// cargo's target, and the project's dependencies.
const RESERVED: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "kcl-helper",
    "kcl-protocol",
    "kcl-runtime",
    "kcl_helper",
    "kcl_protocol",
    "kcl_runtime",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 63
        && text.chars().all(fits)
        // The name of an image must not end with a separator or have different ones together.
        && !text.ends_with(['-', '_'])
        && !text.contains("-_")
        && !text.contains("_-")
        && !text.contains("___")
        && !RESERVED.contains(&text)
}

/// Follows the pattern of the Kinesis API.
fn is_stream(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.chars().all(is_letter_of_aws)
}

/// Tables of DynamoDB and consumers of Kinesis allow the same characters. The length is that of consumers.
fn is_application(text: &str) -> bool {
    (3..=128).contains(&text.len()) && text.chars().all(is_letter_of_aws)
}

fn is_letter_of_aws(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn is_region(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.chars().all(fits)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.len() <= 63
}

impl Region {
    /// Returns the part of the region's ARNs after `arn:`.
    fn partition(&self) -> &'static str {
        const PARTITIONS: &[(&str, &str)] = &[
            ("cn-", "aws-cn"),
            ("us-gov-", "aws-us-gov"),
            ("us-iso-", "aws-iso"),
            ("us-isob-", "aws-iso-b"),
            ("us-isof-", "aws-iso-f"),
            ("eu-isoe-", "aws-iso-e"),
            ("eusc-", "aws-eusc"),
        ];
        let partition = PARTITIONS.iter().find(|(prefix, _)| self.0.starts_with(prefix));
        partition.map_or("aws", |(_, partition)| partition)
    }
}

impl Project {
    /// Returns all files as relative paths and texts, sorted by path.
    pub(crate) fn files(&self) -> Vec<(String, String)> {
        let unit = format!("{}.service", self.name.as_str());
        let templates = [
            (".dockerignore", include_str!("templates/dockerignore.in")),
            (".gitignore", include_str!("templates/gitignore.in")),
            ("Cargo.toml", include_str!("templates/Cargo.toml.in")),
            ("Dockerfile", include_str!("templates/Dockerfile.in")),
            ("README.md", include_str!("templates/README.md.in")),
            ("app.properties", include_str!("templates/app.properties.in")),
            ("iam-policy.json", include_str!("templates/iam-policy.json.in")),
            (unit.as_str(), include_str!("templates/unit.service.in")),
            ("src/main.rs", include_str!("templates/main.rs.in")),
        ];
        let filled = templates.map(|(path, template)| (path.to_owned(), self.fill(template)));
        let mut files = Vec::from(filled);
        files.sort();
        files
    }

    /// Replaces each `@placeholder@` in one pass, so that values are not searched for placeholders.
    fn fill(&self, template: &str) -> String {
        let mut text = String::new();
        for (index, part) in template.split('@').enumerate() {
            if index % 2 == 0 {
                text.push_str(part);
                continue;
            }
            match part {
                "name" => text.push_str(self.name.as_str()),
                "stream" => text.push_str(self.stream.as_str()),
                "region" => text.push_str(self.region.as_str()),
                "partition" => text.push_str(self.region.partition()),
                "application" => text.push_str(self.application.as_str()),
                "runtime" => text.push_str(&self.runtime.dependency()),
                "workspace" => text.push_str(self.runtime.workspace()),
                "kcl" => text.push_str(&self.runtime.in_the_image()),
                "docker-build" => text.push_str(&self.docker_build()),
                // A test checks that none is left.
                other => text.push_str(&format!("@{other}@")),
            }
        }
        text
    }

    fn docker_build(&self) -> String {
        let mut words = vec!["docker".into(), "build".into()];
        if let Runtime::Checkout { folder, .. } = &self.runtime {
            words.extend(["--build-context".into(), format!("kcl={folder}").into()]);
        }
        words.extend(["-t".into(), self.name.as_str().into(), ".".into()]);
        crate::shell::shell_line(&words).text
    }

    /// Creates the folder with all files, or nothing.
    ///
    /// # Errors
    /// `AlreadyExists` if the name exists.
    pub(crate) fn create(&self, folder: &Path) -> io::Result<()> {
        if folder.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let beside = match folder.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        // Like `mkdir`: the umask applies.
        let permissions = fs::Permissions::from_mode(0o777);
        let unfinished = tempfile::Builder::new()
            .prefix(".kcl-helper-init-")
            .permissions(permissions)
            .tempdir_in(beside)?;
        for (path, text) in self.files() {
            let path = unfinished.path().join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, text)?;
        }
        // Fails if a file, or a folder that is not empty, has been created in the meantime.
        fs::rename(unfinished.path(), folder)
    }
}

/// The limit for a Cargo.toml, in bytes.
const LARGEST_MANIFEST: u64 = 1 << 20;

impl Runtime {
    /// Returns the checkout in which this program was compiled, if it still exists.
    pub(crate) fn checkout_of_this_build() -> Option<PathBuf> {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
        Runtime::is_checkout(checkout).then(|| checkout.to_owned())
    }

    /// Whether a folder contains the package `kcl-runtime`.
    pub(crate) fn is_checkout(folder: &Path) -> bool {
        let manifest = fs::File::open(folder.join("kcl-runtime/Cargo.toml"));
        let manifest = manifest.and_then(|file| read_text_at_most(file, LARGEST_MANIFEST));
        manifest.is_ok_and(|text| text.lines().any(|line| line == "name = \"kcl-runtime\""))
    }

    /// Returns the value of the dependency in Cargo.toml.
    fn dependency(&self) -> String {
        match self {
            Runtime::Version(version) => quoted(version),
            Runtime::Checkout { folder, .. } => {
                format!("{{ path = {} }}", quoted(&format!("{folder}/kcl-runtime")))
            }
        }
    }

    fn workspace(&self) -> &'static str {
        match self {
            Runtime::Checkout { around: true, .. } => {
                "\n\n# Not a member of the workspace above it.\n[workspace]"
            }
            _ => "",
        }
    }

    /// Returns the lines of the Dockerfile that install kcl-helper, and copy the checkout if there is one.
    fn in_the_image(&self) -> String {
        match self {
            Runtime::Version(version) => {
                format!("RUN cargo install kcl-helper --version {version} --locked")
            }
            Runtime::Checkout { folder, .. } => {
                // Docker expands variables and removes quotes in COPY, but not in RUN.
                let mut escaped = String::new();
                for c in folder.chars() {
                    if matches!(c, '\\' | '$' | '"' | '\'') {
                        escaped.push('\\');
                    }
                    escaped.push(c);
                }
                let package = format!("{folder}/kcl-helper");
                format!(
                    "# Cargo.toml depends on a checkout; README.md shows how to pass it to the build.\n\
                    COPY --from=kcl [\".\", {}]\n\
                    RUN [\"cargo\", \"install\", \"--path\", {}, \"--locked\"]",
                    quoted(&escaped),
                    quoted(&package),
                )
            }
        }
    }
}

/// Quotes a text for JSON, which is valid in TOML too.
fn quoted(text: &str) -> String {
    // TOML requires that DEL is escaped, and JSON allows it.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::properties::File;

    fn project(name: &str, stream: &str, region: &str, application: &str) -> Project {
        Project {
            name: name.parse().unwrap(),
            stream: stream.parse().unwrap(),
            region: region.parse().unwrap(),
            application: application.parse().unwrap(),
            runtime: Runtime::Version("0.1.0".to_owned()),
        }
    }

    fn file(project: &Project, path: &str) -> String {
        project.files().into_iter().find(|file| file.0 == path).unwrap().1
    }

    #[track_caller]
    fn check<T: std::str::FromStr>(good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(text.parse::<T>().is_ok(), "{text:?}");
        }
        for text in bad {
            assert!(text.parse::<T>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_are_valid_for_all_tools() {
        let long = "a".repeat(129);
        check::<Name>(
            &["a", "my-app", "my_app2", &long[..63]],
            &[
                "",
                "2a",
                "-a",
                "a-",
                "_a",
                "My",
                "a b",
                "\u{e4}",
                "a.b",
                "a/b",
                "a\"",
                "a%",
                "fn",
                "test",
                "kcl-runtime",
                "..",
                "a-_b",
                "a___b",
                &long[..64],
            ],
        );
        check::<Stream>(&["a", "My.str-eam_1", &long[..128]], &["", "a b", "a/b", "\u{e4}", &long]);
        check::<Application>(
            &["abc", "My.App-1_", &long[..128]],
            &["", "ab", "a b c", "abc\n", "@name@", "a%b", &long],
        );
        check::<Region>(
            &["us-east-1", "us-gov-west-1", "local"],
            &["", "US-EAST-1", "us east", "us-", "-us", "1us", "us_east_1", &long[..64]],
        );
    }

    #[test]
    fn arns_have_the_partition_of_the_region() {
        for (region, partition) in [
            ("us-east-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            assert_eq!(region.parse::<Region>().unwrap().partition(), partition);
        }
        let policy = file(&project("a", "s", "cn-north-1", "App"), "iam-policy.json");
        assert!(policy.contains("\"arn:aws-cn:kinesis:cn-north-1:*:stream/s\""), "{policy}");
    }

    /// Reads a word of COPY as Docker does, if it has no variables.
    fn docker_word(word: &str) -> String {
        let mut read = String::new();
        let mut chars = word.chars();
        while let Some(c) = chars.next() {
            assert!(!matches!(c, '$' | '"' | '\''), "{word}");
            read.push(if c == '\\' { chars.next().unwrap() } else { c });
        }
        read
    }

    /// Returns the values of all lines `KEY=VALUE` of a unit.
    fn unit_values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
        unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
    }

    proptest! {
        #[test]
        fn valid_names_are_read_back_from_every_file(
            name in prop_oneof!["[a-z][a-z0-9_-]{0,12}", "[ -~\u{e4}\n]{0,8}"],
            stream in prop_oneof!["[a-zA-Z0-9_.-]{1,20}", "[ -~\u{e4}\n]{0,8}"],
            region in prop_oneof!["[a-z]{2}-[a-z]{4}-[1-9]", "[ -~\u{e4}\n]{0,8}"],
            application in prop_oneof!["[a-zA-Z0-9_.-]{3,20}", "[ -~\u{e4}\n]{0,8}"],
        ) {
            let parsed =
                (name.parse(), stream.parse(), region.parse(), application.parse());
            let (Ok(a), Ok(b), Ok(c), Ok(d)) = parsed else { return Ok(()) };
            let runtime = Runtime::Version("0.1.0".to_owned());
            let project =
                Project { name: a, stream: b, region: c, application: d, runtime };
            let properties = file(&project, "app.properties");
            let properties = File::parse(properties.as_bytes()).unwrap();
            let program = format!("target/debug/{name}");
            prop_assert_eq!(properties.reveal("executableName"), Some(program.as_str()));
            prop_assert_eq!(properties.reveal("streamName"), Some(stream.as_str()));
            prop_assert_eq!(properties.reveal("regionName"), Some(region.as_str()));
            prop_assert_eq!(properties.reveal("applicationName"), Some(application.as_str()));

            let policy: serde_json::Value =
                serde_json::from_str(&file(&project, "iam-policy.json")).unwrap();
            let resource = policy["Statement"][0]["Resource"].as_str().unwrap();
            let expected = format!("arn:aws:kinesis:{region}:*:stream/{stream}");
            prop_assert_eq!(resource.split_once(":kinesis").unwrap().1, &expected["arn:aws:kinesis".len()..]);
            let namespace = "/Statement/4/Condition/StringEquals/cloudwatch:namespace";
            prop_assert_eq!(policy.pointer(namespace).unwrap(), application.as_str());

            // systemd splits at spaces, and replaces % and $.
            let unit = file(&project, &format!("{name}.service"));
            let start = unit_values(&unit, "ExecStart");
            let words: Vec<&str> = start[0].split(' ').collect();
            prop_assert!(!start[0].contains(['%', '$', '"', '\'', '\\', ';']));
            prop_assert_eq!(words[0], format!("/opt/{name}/kcl-helper"));
            prop_assert_eq!(words[4], format!("executableName=/opt/{name}/{name}"));

            let image = file(&project, "Dockerfile");
            let entry = image.lines().find_map(|line| line.strip_prefix("ENTRYPOINT ")).unwrap();
            let entry: Vec<String> = serde_json::from_str(entry).unwrap();
            prop_assert_eq!(&entry[..3], ["kcl-helper", "run", "/app/app.properties"]);
            prop_assert_eq!(&entry[4], &format!("executableName=/app/{name}"));
        }

        #[test]
        fn any_path_of_a_checkout_is_read_back(
            folder in "/[ -~\t\n\u{7f}\u{e4}\u{1f600}]{0,20}",
            around in any::<bool>(),
        ) {
            let runtime = Runtime::Checkout { folder: folder.clone(), around };
            let project = Project { runtime, ..project("a", "s", "r", "app") };
            let manifest = file(&project, "Cargo.toml");
            let line = manifest.lines().find(|line| line.starts_with("kcl-runtime = ")).unwrap();
            let path = line.strip_prefix("kcl-runtime = { path = ").unwrap();
            let path = path.strip_suffix(" }").unwrap();
            // TOML does not allow unescaped control characters.
            prop_assert!(!manifest.replace('\n', "").contains(char::is_control));
            let path: String = serde_json::from_str(path).unwrap();
            prop_assert_eq!(path, format!("{folder}/kcl-runtime"));
            prop_assert_eq!(manifest.contains("\n[workspace]\n"), around);

            let image = file(&project, "Dockerfile");
            let copy = image.lines().find_map(|line| line.strip_prefix("COPY --from=kcl ")).unwrap();
            let copy: [String; 2] = serde_json::from_str(copy).unwrap();
            prop_assert_eq!(docker_word(&copy[1]), folder.as_str());
            let run = image.lines().find_map(|line| line.strip_prefix("RUN [")).unwrap();
            let run: Vec<String> = serde_json::from_str(&format!("[{run}")).unwrap();
            prop_assert_eq!(&run[3], &format!("{folder}/kcl-helper"));
        }
    }

    #[test]
    fn no_placeholder_is_left() {
        for runtime in [
            Runtime::Version("0.1.0".to_owned()),
            Runtime::Checkout { folder: "/kcl".to_owned(), around: true },
        ] {
            let project = Project { runtime, ..project("a", "s", "r", "app") };
            for (path, text) in project.files() {
                assert!(!text.contains('@'), "{path}: {text}");
                assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{path}");
            }
        }
    }

    #[test]
    fn nothing_is_overwritten_or_left_incomplete() {
        let stage = tempfile::tempdir().unwrap();
        let project = project("a", "s", "r", "app");
        let names = || {
            let entries = fs::read_dir(stage.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        fs::write(stage.path().join("file"), "mine").unwrap();
        fs::create_dir(stage.path().join("empty")).unwrap();
        std::os::unix::fs::symlink("nowhere", stage.path().join("link")).unwrap();
        let before = names();
        for name in ["file", "empty", "link"] {
            let error = project.create(&stage.path().join(name)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert!(project.create(&stage.path().join("none/new")).is_err());
        assert_eq!(names(), before);
        assert_eq!(fs::read_to_string(stage.path().join("file")).unwrap(), "mine");
        project.create(&stage.path().join("new")).unwrap();
        assert_eq!(names().len(), before.len() + 1);
        let made = fs::read_to_string(stage.path().join("new/app.properties")).unwrap();
        assert_eq!(made, file(&project, "app.properties"));
    }
}
