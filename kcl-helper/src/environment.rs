//! What a file is judged against besides itself: environment, working folder, programs.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::files::read_text_at_most;
use crate::secret::Masked;

/// What the daemon would start in: environment variables, the working folder, the programs in PATH.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    variables: BTreeMap<OsString, OsString>,
    working_folder: PathBuf,
}

/// What came of looking for the program that `executableName` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Program {
    /// The daemon finds it by itself.
    Found(PathBuf),
    /// Only `kcl-helper run` does: from the file's folder, or because its path has blanks in it.
    OnlyUnderRun {
        path: PathBuf,
        /// The words that name it.
        name: Masked,
        /// The words after them.
        arguments: Masked,
        why: String,
    },
    /// Nobody does.
    Missing { why: String, hint: String },
}

/// Something that a JVM started here would find, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) value: String,
    pub(crate) origin: String,
}

/// The most that is read of a file of profiles, in bytes.
const LARGEST_PROFILES: u64 = 16 << 20;

impl Program {
    /// The path of one that is found, to show it; where the command has secrets, as it is named there.
    pub(crate) fn shown_path(&self) -> String {
        match self {
            Program::OnlyUnderRun { name, .. } if name.masks().next().is_some() => name.to_string(),
            Program::Found(path) | Program::OnlyUnderRun { path, .. } => path.display().to_string(),
            Program::Missing { .. } => String::new(),
        }
    }
}

impl Environment {
    /// That of this process, as a JVM that it starts inherits them.
    pub(crate) fn of_this_process() -> Environment {
        Environment {
            variables: std::env::vars_os().collect(),
            working_folder: std::env::current_dir().unwrap_or_default(),
        }
    }

    /// Those of a test.
    #[cfg(test)]
    pub(crate) fn of_test(variables: &[(&str, &str)], working_folder: &Path) -> Environment {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        Environment { variables: variables.collect(), working_folder: working_folder.to_owned() }
    }

    /// The first bytes of a file, as the daemon would find it.
    pub(crate) fn start_of(&self, path: &Path) -> Option<Vec<u8>> {
        let mut start = Vec::new();
        let file = std::fs::File::open(self.working_folder.join(path)).ok()?;
        file.take(256).read_to_end(&mut start).ok()?;
        Some(start)
    }

    /// Whether there is such a file, as the daemon would find it.
    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.working_folder.join(path).exists()
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(OsStr::new(name))?;
        value.to_str().filter(|value| !value.is_empty())
    }

    /// The region that the AWS SDK for Java finds for clients that are given none, but for what
    /// instance metadata may say.
    pub(crate) fn region(&self, jvm_args: &[String]) -> Option<Found> {
        self.setting("aws.region", "AWS_REGION", jvm_args).or_else(|| self.profile_region(jvm_args))
    }

    /// The endpoint that it finds for a service, by its name in variables, such as `KINESIS`.
    pub(crate) fn endpoint(&self, service: &str, jvm_args: &[String]) -> Option<Found> {
        let mut camel = service.to_lowercase();
        if let Some(first) = camel.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let of_service = self.setting(
            &format!("aws.endpointUrl{camel}"),
            &format!("AWS_ENDPOINT_URL_{service}"),
            jvm_args,
        );
        of_service.or_else(|| self.setting("aws.endpointUrl", "AWS_ENDPOINT_URL", jvm_args))
    }

    /// A setting of the SDK: a property of the JVM, else a variable.
    fn setting(&self, property: &str, variable: &str, jvm_args: &[String]) -> Option<Found> {
        // The JVM reads these variables itself, the second before its command line.
        let of_variable = |name| self.variable(name).into_iter().flat_map(str::split_whitespace);
        let options = of_variable("JAVA_TOOL_OPTIONS")
            .chain(of_variable("JDK_JAVA_OPTIONS"))
            .chain(jvm_args.iter().map(String::as_str));
        let mut given = options.filter_map(|option| {
            let (name, value) = option.strip_prefix("-D")?.split_once('=')?;
            (name == property && !value.is_empty()).then(|| value.to_owned())
        });
        if let Some(value) = given.next_back() {
            return Some(Found { value, origin: format!("-D{property}") });
        }
        let value = self.variable(variable)?.to_owned();
        Some(Found { value, origin: format!("{variable} of the environment") })
    }

    /// The region of the chosen profile.
    fn profile_region(&self, jvm_args: &[String]) -> Option<Found> {
        let profile = self.profile(jvm_args);
        let value = self.profile_setting(&profile, "region", jvm_args)?;
        Some(Found { value, origin: format!("profile {profile}") })
    }

    /// Whether a profile, or the chosen one, has this setting.
    pub(crate) fn profile_has(
        &self,
        profile: Option<&str>,
        key: &str,
        jvm_args: &[String],
    ) -> bool {
        let profile = profile.map_or_else(|| self.profile(jvm_args), str::to_owned);
        self.profile_setting(&profile, key, jvm_args).is_some()
    }

    /// The name of the chosen profile.
    fn profile(&self, jvm_args: &[String]) -> String {
        self.setting("aws.profile", "AWS_PROFILE", jvm_args)
            .map_or_else(|| "default".to_owned(), |found| found.value)
    }

    /// A setting of a profile, in either of AWS' two files.
    fn profile_setting(&self, profile: &str, key: &str, jvm_args: &[String]) -> Option<String> {
        let home = self.variable("HOME").map(Path::new);
        let file = |property: &str, variable: &str, name: &str| {
            let given = self.setting(property, variable, jvm_args);
            match (given, home) {
                (Some(given), _) => Some(PathBuf::from(given.value)),
                (None, Some(home)) => Some(home.join(".aws").join(name)),
                (None, None) => None,
            }
        };
        let files = [
            file("aws.sharedCredentialsFile", "AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            file("aws.configFile", "AWS_CONFIG_FILE", "config"),
        ];
        files.into_iter().flatten().find_map(|file| {
            let file = std::fs::File::open(self.working_folder.join(&file)).ok()?;
            let text = read_text_at_most(file, LARGEST_PROFILES).ok()?;
            setting_of_profile(&text, profile, key)
        })
    }

    /// Looks for the program of a command line as the daemon does: the first word, through PATH
    /// unless it has a slash in it, else relative to the working folder; words end at blanks and
    /// there is no quoting. Then as `run` does: the same from `folder`, and with blanks in the
    /// path. Paths that are found are relative where they were written so.
    pub(crate) fn program(&self, command: &Masked, folder: &Path) -> Program {
        let text = command.reveal().trim_end_matches(' ');
        let words = split_command(text);
        let Some(first) = words.first().filter(|word| !word.is_empty()).cloned() else {
            let why = match text.trim().is_empty() {
                true => "no program is named",
                false => "it begins with a blank, so the program has no name",
            };
            return missing(why, "name the program first");
        };
        let as_daemon = match self.find(&text[first.clone()]) {
            Ok(path) => return self.interpreted(path),
            Err(why) => why,
        };
        let mut name = String::new();
        for (index, word) in words.iter().enumerate() {
            // Runs of blanks in a name are one blank here, which is enough for names in use.
            if index > 0 {
                name.push(' ');
            }
            name.push_str(&text[word.clone()]);
            if !fits_a_name(&name) {
                break;
            }
            let from_folder = || {
                let place = folder.join(&name);
                self.can_execute(&place).is_ok().then_some(place)
            };
            let Some(path) = self.find(&name).ok().or_else(from_folder) else { continue };
            let arguments = words.get(index + 1).map_or(text.len(), |next| next.start);
            let why = match index {
                0 => "it is in the file's folder only",
                _ => "the daemon ends the name at this blank",
            };
            return Program::OnlyUnderRun {
                path,
                name: command.part(first.start..word.end),
                arguments: command.part(arguments..text.len()),
                why: why.to_owned(),
            };
        }
        if text[first.clone()].starts_with(['"', '\'']) {
            return missing("the quote belongs to the name", "write the command without quotes");
        }
        let hint = match text[first.clone()].contains('/') {
            _ if as_daemon == NOT_EXECUTABLE => format!("run `chmod +x {}`", command.part(first)),
            true => "correct the path, which begins at the daemon's working folder".to_owned(),
            false => "write its path, or add its folder to PATH".to_owned(),
        };
        missing(&as_daemon, &hint)
    }

    /// A program by its name or path; the error says why there is none.
    fn find(&self, name: &str) -> Result<PathBuf, String> {
        if name.contains('/') {
            let path = PathBuf::from(name);
            return self.can_execute(&path).map(|()| path);
        }
        // What the JVM takes for PATH where there is none.
        let usual = OsString::from(":/bin:/usr/bin");
        let path = self.variables.get(OsStr::new("PATH")).unwrap_or(&usual);
        let mut why = "no folder of PATH has it".to_owned();
        for folder in std::env::split_paths(path) {
            let candidate = folder.join(name);
            match self.can_execute(&candidate) {
                Ok(()) => return Ok(candidate),
                Err(not) if not == NOT_EXECUTABLE => why = not,
                Err(_) => {}
            }
        }
        Err(why)
    }

    fn can_execute(&self, path: &Path) -> Result<(), String> {
        let path = self.working_folder.join(path);
        match std::fs::metadata(&path) {
            Err(_) => Err("there is no such file".to_owned()),
            Ok(found) if !found.is_file() => Err("this is not a file".to_owned()),
            Ok(_) => rustix::fs::access(&path, rustix::fs::Access::EXEC_OK)
                .map_err(|_| NOT_EXECUTABLE.to_owned()),
        }
    }

    /// A script runs only if its interpreter does.
    fn interpreted(&self, path: PathBuf) -> Program {
        let Some(line) = first_line(&self.working_folder.join(&path)) else {
            return Program::Found(path);
        };
        let Some(line) = line.strip_prefix("#!") else { return Program::Found(path) };
        if line.ends_with('\r') {
            let hint = "save the script with the line ends of Unix";
            return missing("its first line ends in CR LF, and the CR belongs to the name", hint);
        }
        let mut words = line.split_whitespace();
        let interpreter = words.next().unwrap_or_default();
        let of_env = (interpreter == "/usr/bin/env").then(|| words.find(|w| !w.starts_with('-')));
        let (name, found) = match of_env.flatten() {
            Some(name) => (name, self.find(name)),
            None => (interpreter, self.find(interpreter)),
        };
        match found {
            Ok(_) => Program::Found(path),
            Err(_) => {
                let hint = format!("install {name}, or correct the script's first line");
                missing(&format!("its interpreter {name} cannot be found"), &hint)
            }
        }
    }
}

/// Whether there can be a file of this name or path: no system that we know has longer ones.
fn fits_a_name(name: &str) -> bool {
    const LONGEST_NAME: usize = 255;
    const LONGEST_PATH: usize = 4096;
    name.len() <= if name.contains('/') { LONGEST_PATH } else { LONGEST_NAME }
}

fn missing(why: &str, hint: &str) -> Program {
    Program::Missing { why: why.to_owned(), hint: hint.to_owned() }
}

/// Where the words are as the daemon splits them: at runs of blanks; a leading blank makes the first
/// one empty.
fn split_command(command: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let words = command.split(' ').map(|word| {
        let at = start;
        start += word.len() + 1;
        at..at + word.len()
    });
    words.filter(|word| word.start == 0 || !word.is_empty()).collect()
}

/// Why a file that lacks the permission is not found.
pub(crate) const NOT_EXECUTABLE: &str = "the file is not executable";

/// The first line of a text file, as far as the kernel looks at it.
fn first_line(path: &Path) -> Option<String> {
    let mut start = Vec::new();
    std::fs::File::open(path).ok()?.take(256).read_to_end(&mut start).ok()?;
    let line = start.split(|&byte| byte == b'\n').next()?;
    String::from_utf8(line.to_vec()).ok()
}

/// A setting in the section of a profile; the default profile may do without the word before it.
fn setting_of_profile(text: &str, profile: &str, wanted: &str) -> Option<String> {
    let mut inside = false;
    let mut found = None;
    for line in text.lines() {
        if let Some(section) = line.trim_end().strip_prefix('[') {
            let name = section.split(']').next().unwrap_or(section).trim();
            inside = name.strip_prefix("profile ").unwrap_or(name).trim() == profile;
        } else if let Some((key, value)) = line.split_once('=').filter(|_| inside) {
            // An indented line belongs to a setting with parts.
            if key.trim_end() == wanted {
                found = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            }
        }
    }
    found
}
