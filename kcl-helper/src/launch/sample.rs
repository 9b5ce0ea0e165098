//! The properties file that `--sample` stands for.

use std::path::PathBuf;

use etcetera::BaseStrategy as _;

use super::jars::write_whole;
use crate::error::{Error, Exit, Result};
use crate::properties::line;

/// Writes the sample's file into the user's data folder and returns its path. It is written anew
/// each time, as this program may have moved since.
pub(crate) fn properties_file() -> Result<PathBuf> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(Exit::Surroundings, "the sample's properties file has no place").because(error)
    };
    let strategy = etcetera::choose_base_strategy().map_err(|error| failed(error.into()))?;
    let program = std::env::current_exe().map_err(|error| failed(error.into()))?;
    let folder = strategy.data_dir().join("kcl-helper");
    std::fs::create_dir_all(&folder).map_err(|error| failed(error.into()))?;
    let path = folder.join("sample.properties");
    let child = format!("{} {}", program.display(), crate::commands::SAMPLE_CHILD);
    let entries = [
        ("executableName", child.as_str()),
        ("streamName", "words"),
        ("applicationName", "RustKCLSample"),
        ("AwsCredentialsProvider", "DefaultCredentialsProvider"),
        ("processingLanguage", "rust"),
        ("initialPositionInStream", "TRIM_HORIZON"),
        ("regionName", "us-east-1"),
        ("shutdownGraceMillis", "20000"),
    ];
    let mut text = String::from("# Written by kcl-helper each time; copy it to change it.\n");
    text.extend(entries.map(|(key, value)| line(key, value)));
    write_whole(&path, text.as_bytes())?;
    Ok(path)
}
