//! Arguments that several commands take.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::error::Result;
use crate::launch::daemon::Daemon;
use crate::launch::jars::{Cache, Jars};
use crate::properties::Version;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Which jars, and in which folder.
#[derive(Debug, clap::Args)]
pub(crate) struct JarsArgs {
    /// The daemon's version
    #[arg(
        long,
        value_name = "V",
        default_value_t = Version::DEFAULT,
        env = "KCL_HELPER_KCL_VERSION"
    )]
    pub(crate) kcl_version: Version,
    /// The folder for jars
    #[arg(long, value_name = "DIR", env = "KCL_HELPER_CACHE")]
    pub(crate) cache: Option<PathBuf>,
}

impl JarsArgs {
    pub(crate) fn jars(&self) -> Result<Jars> {
        Jars::of(Daemon::of(self.kcl_version)?, &self.cache()?)
    }

    pub(crate) fn cache(&self) -> Result<Cache> {
        Cache::find(self.cache.as_deref())
    }
}
