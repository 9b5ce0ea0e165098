//! `kcl-helper view`: what was typed becomes [`view::Options`].

use std::path::PathBuf;

use clap::ValueEnum;

use crate::error::{Error, Exit, Result};
use crate::output::Reporter;
use crate::view;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kcl-helper view                     the recordings in the folder `recordings`
  kcl-helper view rec/*.jsonl -o page.html
  kcl-helper view --format text rec | less

The page is one file that needs no network. It has what the recordings have, payloads too, so it is
made for its owner alone. Its path is printed; by default it is NAME.html beside one recording, and
view.html beside several. Nothing is overwritten without --force.

Exit status: 0 written, 2 a recording cannot be read, or for the command line, 3 the page cannot be
written")]
pub(crate) struct Args {
    /// Recordings, or folders of them (`-`: stdin)
    #[arg(value_name = "RECORDING", default_value = "recordings")]
    recordings: Vec<PathBuf>,
    /// Where to write the page
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the page if it is there
    #[arg(long)]
    force: bool,
    /// html writes a page; text and json print the same on stdout
    #[arg(
        long,
        value_name = "FORM",
        default_value = "html",
        env = "KCL_HELPER_FORMAT",
        hide_possible_values = true
    )]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Html,
    Text,
    Json,
}

pub(crate) fn run(args: Args, reporter: &Reporter) -> Result<Exit> {
    let form = match args.format {
        Format::Html => view::Form::Page { output: args.output, replace: args.force },
        _ if args.output.is_some() || args.force => {
            let message = "--output and --force are for the page, and --format is not html";
            return Err(Error::new(Exit::Usage, message).hint("redirect stdout to a file"));
        }
        Format::Text => view::Form::Text,
        Format::Json => view::Form::Json,
    };
    view::run(&view::Options { recordings: args.recordings, form }, reporter)?;
    Ok(Exit::Done)
}
