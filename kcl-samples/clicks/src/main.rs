//! See the library.

use std::path::PathBuf;
use std::process::ExitCode;

use kcl_clicks::{Clicks, runtime};

fn main() -> ExitCode {
    let path = std::env::var_os("CLICKS_DB").map_or_else(|| "clicks.db".into(), PathBuf::from);
    let result = runtime().run_with(|input| Clicks::open(&path, input.shard_id));
    result.map_or_else(|error| error.exit_code(), |()| ExitCode::SUCCESS)
}
