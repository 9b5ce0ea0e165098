//! The command line.

use std::num::{NonZeroI32, NonZeroU64};
use std::time::Duration;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;

/// Puts words into an Amazon Kinesis stream, which is made if it does not exist.
///
/// Each word is a record, and its own partition key (its first 256 characters). Credentials are
/// found as every AWS SDK finds them: the environment, ~/.aws, the container, the machine.
#[derive(Debug, Parser)]
#[command(name = "sample_word_putter", version, max_term_width = 100)]
pub(crate) struct Args {
    /// The stream's name
    #[arg(short, long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) stream: String,
    /// A word to put; repeat it for more. Without one, each line of stdin is a word
    #[arg(short, long = "word", value_name = "WORD", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) words: Vec<String>,
    /// Put the words again and again, with a pause of this many seconds, until Ctrl-C
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) period: Option<Duration>,
    /// Put the words this many times, and end [default: once; with --period for ever]
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<NonZeroU64>,
    /// The region [default: AWS_REGION, the profile's, the machine's, else us-east-1]
    #[arg(short, long, visible_alias = "regionName", value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// The service's address, for an emulator [default: AWS_ENDPOINT_URL, else the region's]
    #[arg(long, value_name = "URL", value_parser = url)]
    pub(crate) endpoint_url: Option<String>,
    /// How many shards the stream is made with
    #[arg(long, value_name = "N", default_value = "1", value_parser = shards)]
    pub(crate) shards: NonZeroI32,
    /// The profile in ~/.aws [default: AWS_PROFILE, else "default"]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// How long the service may take to answer one call, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) call_timeout: Duration,
    /// How long to try again what was throttled or failed, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) retry_for: Duration,
}

impl Args {
    /// Returns how often to put the words; `None` means for ever.
    pub(crate) fn rounds(&self) -> Option<u64> {
        match (self.count, self.period) {
            (Some(count), _) => Some(count.get()),
            (None, None) => Some(1),
            (None, Some(_)) => None,
        }
    }
}

const A_DAY: f64 = 24.0 * 3600.0;

/// Fractions are allowed. Without a pause, words would be put as fast as possible.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=A_DAY).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give seconds from 0.001 to 86400".to_owned()),
    }
}

fn shards(text: &str) -> Result<NonZeroI32, String> {
    let shards = text.parse().ok().filter(|shards: &NonZeroI32| shards.is_positive());
    shards.ok_or_else(|| "give a whole number from 1".to_owned())
}

fn url(text: &str) -> Result<String, String> {
    if text.starts_with("http://") || text.starts_with("https://") {
        Ok(text.to_owned())
    } else {
        Err("give a URL that begins with http:// or https://".to_owned())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn kclpy_s_spellings() {
        for region in ["-r", "--region", "--regionName"] {
            let args = Args::try_parse_from(["p", "-s", "S", "-w", "a", "-w", "b", region, "R"]);
            let args = args.unwrap();
            assert_eq!((args.words.len(), args.region.as_deref()), (2, Some("R")));
        }
    }

    #[test]
    fn rounds() {
        for (options, rounds) in [
            (&[][..], Some(1)),
            (&["--count", "7"], Some(7)),
            (&["-p", "0.5", "--count", "7"], Some(7)),
            (&["-p", "5"], None),
        ] {
            let args = Args::try_parse_from(["p", "-s", "S"].iter().chain(options)).unwrap();
            assert_eq!(args.rounds(), rounds);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in [
            &["-s", ""][..],
            &["-s", "S", "-w", ""],
            &["-s", "S", "-p", "0"],
            &["-s", "S", "-p", "nan"],
            &["-s", "S", "--count", "0"],
            &["-s", "S", "--shards", "0"],
            &["-s", "S", "--shards", "-1"],
            &["-s", "S", "--endpoint-url", "localhost:4567"],
            &[],
        ] {
            assert!(Args::try_parse_from(["p"].iter().chain(wrong)).is_err(), "{wrong:?}");
        }
    }
}
