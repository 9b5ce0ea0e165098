//! `kcl-helper completions`: prints a completion script for a shell.

use clap_complete::Shell;

use crate::error::{Exit, Result};
use crate::output::Reporter;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kcl-helper completions bash > ~/.local/share/bash-completion/completions/kcl-helper
  kcl-helper completions zsh > ~/.zfunc/_kcl-helper
  kcl-helper completions fish > ~/.config/fish/completions/kcl-helper.fish")]
pub(crate) struct Args {
    /// The shell to print a script for
    shell: Shell,
}

/// Prints the script for this command line.
pub(crate) fn run(
    args: &Args,
    mut command_line: clap::Command,
    reporter: &Reporter,
) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command_line, "kcl-helper", &mut script);
    reporter.print_lines(String::from_utf8_lossy(&script).lines())?;
    Ok(Exit::Done)
}
