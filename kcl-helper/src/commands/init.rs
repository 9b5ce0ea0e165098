//! `kcl-helper init`: makes a [`Project`] from the arguments and the answers to questions.

use std::ffi::OsString;
use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::environment::{Environment, Program};
use crate::error::{Error, Exit, Result};
use crate::init::{Application, Name, Project, Region, Runtime, Stream};
use crate::launch::paths::absolute;
use crate::output::Reporter;
use crate::secret::Masked;
use crate::shell::shell_line;
use crate::this_program;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  kcl-helper init my-app --stream words --region us-east-1")]
pub(crate) struct Args {
    /// The folder to create; its last part is the name of the package
    #[arg(value_name = "NAME")]
    folder: PathBuf,
    /// The stream to read [default: NAME]
    #[arg(long)]
    stream: Option<Stream>,
    /// Its region [default: that of the environment or the profile, else us-east-1]
    #[arg(long)]
    region: Option<Region>,
    /// The name of the lease table and of the metrics [default: NAME]
    #[arg(long, value_name = "NAME")]
    application: Option<Application>,
    /// Ask no questions, not even on a terminal
    #[arg(long)]
    no_interactive: bool,
    /// The checkout of KCL for Rust to depend on, or `none` to depend on a version [default: the
    /// checkout in which this kcl-helper was built, if it still exists]
    #[arg(long, value_name = "DIR|none")]
    checkout: Option<PathBuf>,
}

pub(crate) fn run(args: Args, reporter: &Reporter) -> Result<Exit> {
    let environment = Environment::of_this_process();
    let folder = args.folder.as_path();
    let name = name_of(folder)?;
    refuse_unusable(folder)?;
    let runtime = runtime(args.checkout.as_deref(), folder)?;
    let mut prompt = Prompt {
        asks: !args.no_interactive && reporter.can_ask(),
        reporter,
        answers: io::stdin().lock(),
    };
    let region = environment.region(&[]).map(|found| found.value);
    let region = region.filter(|region| region.parse::<Region>().is_ok());
    let region = region.as_deref().unwrap_or("us-east-1");
    let project = Project {
        stream: prompt.complete(args.stream, "stream", name.as_str())?,
        region: prompt.complete(args.region, "region", region)?,
        application: prompt.complete(args.application, "application", name.as_str())?,
        name,
        runtime,
    };
    project.create(folder).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists
        | io::ErrorKind::DirectoryNotEmpty
        | io::ErrorKind::NotADirectory => taken(folder),
        _ => {
            let message = format!("cannot create {}", folder.display());
            Error::new(Exit::Environment, message).because(error)
        }
    })?;
    report_project(&project, folder, &environment, reporter);
    Ok(Exit::Done)
}

fn report_project(
    project: &Project,
    folder: &Path,
    environment: &Environment,
    reporter: &Reporter,
) {
    let Project { name, stream, region, application, runtime } = project;
    reporter.say(&format!(
        "{}: application {}, stream {} in {}",
        folder.display(),
        application.as_str(),
        stream.as_str(),
        region.as_str()
    ));
    for (path, _) in project.files() {
        reporter.say(&format!("  {path}"));
    }
    reporter.say(&match runtime {
        Runtime::Version(version) => format!("it depends on kcl-runtime {version}"),
        Runtime::Checkout { folder, .. } => format!("it depends on {folder}/kcl-runtime"),
    });
    let line = |words: &[OsString]| shell_line(words).text;
    let rehearsal = [
        program_as_typed(environment),
        "local".into(),
        "--".into(),
        format!("target/debug/{}", name.as_str()).into(),
    ];
    reporter.say("next:");
    reporter.say(&format!("  {}", line(&["cd".into(), folder.into()])));
    reporter.say("  cargo test");
    reporter.say(&format!("  cargo build && {}", line(&rehearsal)));
}

/// Returns what to type for this program: its name if it is in PATH, else its path.
fn program_as_typed(environment: &Environment) -> OsString {
    const NAME: &str = "kcl-helper";
    let Ok(program) = this_program::path() else { return NAME.into() };
    let same = |found: &Path| {
        found.canonicalize().is_ok_and(|found| program.canonicalize().is_ok_and(|p| p == found))
    };
    match environment.program(&Masked::of_text(NAME), Path::new("")) {
        Program::Found(found) if same(&found) => NAME.into(),
        _ => program.into(),
    }
}

fn name_of(folder: &Path) -> Result<Name> {
    let shown = folder.display();
    // `.` and `..` have none.
    let Some(name) = folder.file_name() else {
        let message = format!("cannot create `{shown}`: it is not a name");
        return Err(Error::new(Exit::Usage, message).hint("write kcl-helper init my-app"));
    };
    let name = name.to_string_lossy();
    name.parse().map_err(|rule: String| {
        Error::new(Exit::Usage, format!("the name `{name}` is invalid"))
            .because(rule)
            .hint("write kcl-helper init my-app")
    })
}

fn refuse_unusable(folder: &Path) -> Result<()> {
    if folder.symlink_metadata().is_ok() {
        return Err(taken(folder));
    }
    match folder.parent() {
        Some(parent) if parent != Path::new("") && !parent.is_dir() => {
            let message = format!("cannot create {}", folder.display());
            let error = Error::new(Exit::Usage, message)
                .because(format!("{} is not a folder", parent.display()));
            if parent.symlink_metadata().is_ok() {
                return Err(error);
            }
            let mkdir = shell_line(&["mkdir".into(), "-p".into(), parent.into()]);
            Err(error.hint(format!("run {}", mkdir.text)))
        }
        _ => Ok(()),
    }
}

fn taken(folder: &Path) -> Error {
    let message = format!("{} already exists; not overwritten", folder.display());
    Error::new(Exit::Usage, message).hint("choose another name, or remove it first")
}

fn runtime(checkout: Option<&Path>, folder: &Path) -> Result<Runtime> {
    let by_version = Runtime::Version(env!("CARGO_PKG_VERSION").to_owned());
    let checkout = match checkout {
        Some(none) if none == Path::new("none") => return Ok(by_version),
        Some(checkout) if Runtime::is_checkout(checkout) => checkout.to_owned(),
        Some(other) => {
            let message = format!("--checkout {} is invalid", other.display());
            return Err(Error::new(Exit::Usage, message)
                .because("it does not contain kcl-runtime")
                .hint("write the folder that contains kcl-runtime/Cargo.toml"));
        }
        None => match Runtime::checkout_of_this_build() {
            Some(checkout) => checkout,
            None => return Ok(by_version),
        },
    };
    // Without `..` and links, because the project may be moved.
    let checkout = checkout.canonicalize().unwrap_or(checkout);
    let parent = absolute(folder).parent().map(Path::to_owned).unwrap_or_default();
    let around = parent.canonicalize().is_ok_and(|parent| parent.starts_with(&checkout));
    match checkout.into_os_string().into_string() {
        Ok(folder) => Ok(Runtime::Checkout { folder, around }),
        Err(path) => {
            let message = format!("cannot depend on {}", path.display());
            Err(Error::new(Exit::Usage, message)
                .because("the path is invalid UTF-8")
                .hint("use --checkout none to depend on a version"))
        }
    }
}

/// In bytes. No valid name is this long.
const LONGEST_ANSWER: u64 = 4096;

/// Asks for missing values, or uses the defaults.
struct Prompt<'a, R> {
    asks: bool,
    reporter: &'a Reporter,
    answers: R,
}

impl<R: BufRead> Prompt<'_, R> {
    fn complete<T: FromStr<Err = String>>(
        &mut self,
        given: Option<T>,
        what: &str,
        default: &str,
    ) -> Result<T> {
        if let Some(given) = given {
            return Ok(given);
        }
        if !self.asks {
            return default.parse().map_err(|rule: String| {
                Error::new(Exit::Usage, format!("the {what} `{default}` is invalid"))
                    .because(rule)
                    .hint(format!("choose another one with --{what}"))
            });
        }
        loop {
            self.reporter.ask(&format!("{what} [{default}]:"));
            let mut answer = String::new();
            let read = self.answers.by_ref().take(LONGEST_ANSWER).read_line(&mut answer);
            let read = read.unwrap_or(0);
            if read == 0 {
                self.reporter.end_question();
                let hint = format!("use --{what}, or --no-interactive for the default");
                return Err(Error::new(Exit::Usage, format!("the {what} is missing")).hint(hint));
            }
            let answer = answer.trim();
            match if answer.is_empty() { default } else { answer }.parse() {
                Ok(answer) => return Ok(answer),
                Err(rule) => self.reporter.result(&rule),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_values_are_asked_until_they_are_valid() {
        let mut prompt = Prompt {
            asks: true,
            reporter: &Reporter::new(),
            answers: &b"my words\n  words  \n\n"[..],
        };
        let stream: Stream = prompt.complete(None, "stream", "my-app").unwrap();
        assert_eq!(stream.as_str(), "words");
        let region: Region = prompt.complete(None, "region", "us-east-1").unwrap();
        assert_eq!(region.as_str(), "us-east-1");
        let given = "given".parse().ok();
        let given: Application = prompt.complete(given, "application", "my-app").unwrap();
        assert_eq!(given.as_str(), "given");
        let ended = prompt.complete::<Application>(None, "application", "my-app").unwrap_err();
        assert_eq!(ended.to_string(), "the application is missing");
    }

    #[test]
    fn without_a_terminal_defaults_are_used() {
        let mut prompt = Prompt { asks: false, reporter: &Reporter::new(), answers: &b""[..] };
        let stream: Stream = prompt.complete(None, "stream", "a").unwrap();
        assert_eq!(stream.as_str(), "a");
        // A package may have this name, but a table may not.
        let short = prompt.complete::<Application>(None, "application", "a").unwrap_err();
        assert_eq!(short.to_string(), "the application `a` is invalid");
    }
}
