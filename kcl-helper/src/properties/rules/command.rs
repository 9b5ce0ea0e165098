//! Rules about the command of `executableName`, as `ProcessBuilder` starts it: no shell reads it, the
//! system must be able to run the program, and an interpreter must find its script.

use std::ops::Range;
use std::path::Path;

use super::super::settings::Setting;
use super::{Facts, Hint, Place, Remark, Remarks};
use crate::environment::Program;

/// The words of the command, as the daemon splits it at runs of blanks.
fn words(setting: &Setting) -> Vec<(Range<usize>, &str)> {
    let text = setting.value.reveal();
    let mut at = 0;
    let mut words = Vec::new();
    for word in text.split(' ') {
        if !word.is_empty() {
            words.push((at..at + word.len(), word));
        }
        at += word.len() + 1;
    }
    words
}

/// Programs that run files with these extensions.
const INTERPRETERS: &[(&str, &str)] = &[
    ("cjs", "node"),
    ("dll", "dotnet"),
    ("jar", "java -jar"),
    ("js", "node"),
    ("mjs", "node"),
    ("php", "php"),
    ("pl", "perl"),
    ("py", "python3"),
    ("rb", "ruby"),
    ("sh", "sh"),
];

fn interpreter(path: &str) -> Option<&'static str> {
    let extension = Path::new(path).extension()?.to_str()?;
    INTERPRETERS.iter().find(|(known, _)| *known == extension).map(|(_, program)| *program)
}

/// How the system runs a file.
#[derive(PartialEq, Eq)]
enum Format {
    /// A binary of this system, or a script with `#!`.
    Runnable,
    /// The JDK passes it to /bin/sh, which may or may not be meant.
    Text,
    /// Nothing runs it.
    Foreign,
}

fn format(start: &[u8]) -> Format {
    const MACH_O: [&[u8]; 3] = [b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe"];
    let is_binary =
        start.starts_with(b"\x7fELF") || MACH_O.iter().any(|magic| start.starts_with(magic));
    match start {
        _ if is_binary || start.starts_with(b"#!") => Format::Runnable,
        _ if start.starts_with(b"MZ") || start.starts_with(b"PK\x03\x04") || start.contains(&0) => {
            Format::Foreign
        }
        _ => Format::Text,
    }
}

/// The hint to write an interpreter before the program, if its name says which one.
pub(super) fn with_interpreter(setting: &Setting, program: &Range<usize>) -> Option<Hint> {
    let name = &setting.value.reveal()[program.clone()];
    let interpreter = interpreter(name)?;
    let shown = setting.value.part(program.clone());
    let text = format!("{interpreter} {name}");
    let place = Place::part(setting, program.clone());
    Some(Hint::write_masked(place, text, format!("{interpreter} {shown}")))
}

/// The hint for a file without the permission to run: that alone helps only what the system can run.
pub(super) fn not_executable(facts: &Facts<'_>, setting: &Setting, program: &Range<usize>) -> Hint {
    let name = &setting.value.reveal()[program.clone()];
    let shown = setting.value.part(program.clone()).to_string();
    let start = facts.request.environment.start_of(Path::new(name)).unwrap_or_default();
    match format(&start) {
        Format::Runnable => Hint::make_executable(shown),
        _ => with_interpreter(setting, program)
            .unwrap_or_else(|| Hint::say("write the program that runs this file before it")),
    }
}

pub(super) fn not_a_program(facts: &Facts<'_>) -> Remarks {
    let Some(setting) = facts.settings.get("executableName") else { return Remarks::default() };
    let command = setting.value.masked();
    let Program::Found(path) = facts.request.environment.program(command, facts.folder) else {
        return Remarks::default();
    };
    let Some((word, name)) = words(setting).into_iter().next() else { return Remarks::default() };
    let Some(start) = facts.request.environment.start_of(&path) else { return Remarks::default() };
    let label = match format(&start) {
        Format::Runnable => return Remarks::default(),
        Format::Foreign => "the system cannot run this kind of file",
        // A shell script may well be meant.
        Format::Text if interpreter(name).is_none_or(|program| program == "sh") => {
            return Remarks::default();
        }
        Format::Text => "it has no `#!` line, so /bin/sh runs it",
    };
    let shown = setting.value.part(word.clone());
    let message = format!("the daemon cannot run \"{shown}\"");
    let hint = with_interpreter(setting, &word)
        .unwrap_or_else(|| Hint::say("write the program that runs this file before it"));
    Remarks::from(Remark::new(Place::part(setting, word), message).label(label).hint(hint))
}

pub(super) fn shell_syntax(facts: &Facts<'_>) -> Remarks {
    let Some(setting) = facts.settings.get("executableName") else { return Remarks::default() };
    let mut words = words(setting).into_iter().skip(1);
    let Some((word, _)) = words.find(|(_, word)| is_shell_syntax(word)) else {
        return Remarks::default();
    };
    let shown = setting.value.part(word.clone());
    let message = format!("the daemon passes `{shown}` to the program as it is");
    let hint = "write the command into a script that begins with `#!/bin/sh`, and name the script";
    Remarks::from(
        Remark::new(Place::part(setting, word), message)
            .label("no shell reads the command")
            .hint(Hint::say(hint)),
    )
}

/// Whether a shell would not pass this word on as it is.
fn is_shell_syntax(word: &str) -> bool {
    let unnumbered = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_quoted = word.starts_with(['"', '\'', '`']) || word.ends_with(['"', '\'', '`']);
    is_quoted
        || unnumbered.starts_with(['>', '<'])
        || word.contains("$(")
        || matches!(word, "|" | "||" | "&" | "&&" | ";" | "|&")
        || (word.len() > 1 && word.ends_with(';'))
}

pub(super) fn script_not_found(facts: &Facts<'_>) -> Remarks {
    let Some(setting) = facts.settings.get("executableName") else { return Remarks::default() };
    let words = words(setting);
    let Some(((_, program), arguments)) = words.split_first() else { return Remarks::default() };
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or(program);
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if !["python", "node", "ruby", "perl", "php", "dotnet", "bash", "sh"].contains(&name) {
        return Remarks::default();
    }
    // An option may be the program itself, or take the next word.
    let is_simple = |word: &str| matches!(word, "-u" | "-B" | "-O" | "-E" | "-s" | "-S" | "-w");
    let first = arguments.iter().find(|(_, word)| !is_simple(word));
    let Some((span, script)) = first.filter(|(_, word)| !word.starts_with('-')) else {
        return Remarks::default();
    };
    let is_file = script.contains('/') || interpreter(script).is_some();
    let has_syntax = script.contains('$') || is_shell_syntax(script);
    if !is_file || has_syntax || facts.request.environment.exists(Path::new(script)) {
        return Remarks::default();
    }
    let shown = setting.value.part(span.clone());
    let message = format!("the program ends at once: there is no file \"{shown}\"");
    let hint = "correct the path, which starts at the daemon's working folder";
    Remarks::from(Remark::new(Place::part(setting, span.clone()), message).hint(Hint::say(hint)))
}
