//! What of a properties file is secret: the rule of `secret.rs`, with what the table of keys knows.

use std::ops::Range;

use super::keys::{Secrecy, lookup};
use crate::secret::{MASK, Masked, in_text, is_like_base64, is_secret_name};

/// A part of a value that must not be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    pub(crate) span: Range<usize>,
    /// Whether its name or its form says so; else it merely is where secrets are.
    pub(crate) is_certain: bool,
}

impl Masked {
    /// A value of the daemon's properties file.
    pub(crate) fn of_property(key: &str, value: &str) -> Masked {
        let spans = in_property(key, value).into_iter().map(|secret| secret.span);
        Masked::without(value, spans)
    }

    /// A key of that file. One line of a private key that stands in the file over several is one.
    pub(crate) fn of_key(key: &str) -> Masked {
        let all = (lookup(key).is_none() && is_like_base64(key)).then_some(0..key.len());
        Masked::of_text(key).and(all.map(|span| (span, MASK.to_owned())))
    }

    /// What this is read as, which may be another spelling.
    pub(crate) fn read_as(&self, key: &str, taken: String) -> Masked {
        match (taken == self.reveal(), self.masks().next().is_none()) {
            (true, _) => self.clone(),
            (false, true) => Masked::of_property(key, &taken),
            (false, false) => {
                let all = (!taken.is_empty()).then_some(0..taken.len());
                Masked::without(taken, all)
            }
        }
    }
}

/// The secrets of a property, in order and apart from each other.
pub(crate) fn in_property(key: &str, value: &str) -> Vec<Secret> {
    let secrecy = lookup(key).map_or(Secrecy::ByName, |row| row.secrecy);
    // A list whose key is misspelled is known by what it is about.
    let is_about_credentials = || {
        let key = key.to_ascii_lowercase();
        key.contains("credential") && key.contains("provider")
    };
    let is_list = match secrecy {
        Secrecy::Arguments => true,
        Secrecy::ByName => is_about_credentials(),
        Secrecy::Whole => false,
    };
    let is_named = !is_list && is_secret_name(key);
    if value.is_empty() {
        return Vec::new();
    }
    // Of what a provider is built from, these are known to be none.
    let is_open = ["class", "Name", "Arn", "Enabled"].iter().any(|end| key.ends_with(end));
    if is_named || (secrecy == Secrecy::Whole && !is_open) {
        return vec![Secret { span: 0..value.len(), is_certain: is_named }];
    }
    let certain = in_text(value).into_iter().map(|span| Secret { span, is_certain: true });
    let mut secrets: Vec<Secret> = certain.collect();
    if is_list {
        let arguments = provider_arguments(value);
        secrets.extend(arguments.into_iter().map(|span| Secret { span, is_certain: false }));
        secrets.sort_by_key(|secret| secret.span.start);
        secrets.dedup_by(|next, last| {
            let overlaps = next.span.start < last.span.end;
            if overlaps {
                last.span.end = last.span.end.max(next.span.end);
                last.is_certain |= next.is_certain;
            }
            overlaps
        });
    }
    secrets
}

/// Whatever providers are given behind `|`, but for what is known to be no secret.
fn provider_arguments(value: &str) -> Vec<Range<usize>> {
    let mut secrets: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for item in value.split(',') {
        let arguments: Vec<&str> = item.split('|').collect();
        let name = arguments[0].trim();
        let mut at = start;
        for (index, argument) in arguments.iter().enumerate() {
            let is_open = match index {
                // It may as well be the rest of a secret with a comma in it.
                0 => secrets.is_empty() || name.to_ascii_lowercase().contains("provider"),
                _ => is_open_argument(&arguments, index),
            };
            if !is_open && !argument.trim().is_empty() {
                let name = if names_role(&arguments) { length_of_name(argument) } else { 0 };
                secrets.push(at + name..at + argument.len());
            }
            at += argument.len() + 1;
        }
        start += item.len() + 1;
    }
    secrets
}

/// Whether this provider is given a role, and then other things by their names.
fn names_role(item: &[&str]) -> bool {
    let provider = item[0].to_ascii_lowercase();
    provider.contains("stsassumerole")
        && item.get(1).is_some_and(|it| it.trim().starts_with("arn:"))
}

/// How much of `name=value` is its name, with the sign.
fn length_of_name(argument: &str) -> usize {
    let name = argument.split_once('=').map(|(name, _)| name);
    let name = name.filter(|name| name.bytes().all(|byte| byte.is_ascii_alphabetic()));
    name.filter(|name| name.len() <= 20).map_or(0, |name| name.len() + 1)
}

/// Names of roles, sessions, regions and profiles, at their places.
fn is_open_argument(item: &[&str], index: usize) -> bool {
    let provider = item[0].trim().to_ascii_lowercase();
    let argument = item[index].trim();
    if !provider.contains("stsassumerole") {
        return index == 1 && provider.ends_with("profilecredentialsprovider");
    }
    let names = ["endpointRegion=", "endpoint="];
    names_role(item) && (index <= 2 || names.iter().any(|name| argument.starts_with(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_properties() {
        #[track_caller]
        fn check(key: &str, value: &str, expected: &str) {
            assert_eq!(Masked::of_property(key, value).to_string(), expected);
        }
        check("customToken", "X", "***");
        check("customToken", "", "");
        check("kinesisCredentialsProvider.accessKeyId", "X", "***");
        check("kinesisCredentialsProvider.class", "a.B", "a.B");
        check("executableName", "app --token X", "app --token ***");
        check("kinesisEndpoint", "https://u:X@h", "https://***@h");
        let role = "StsAssumeRoleCredentialsProvider|arn:aws:iam::1:role/r|s";
        check("AwsCredentialsProvider", role, role);
        check(
            "AwsCredentialsProvider",
            &format!("{role}|endpointRegion=r|externalId=X|X"),
            &format!("{role}|endpointRegion=r|externalId=***|***"),
        );
        check("AwsCredentialsProvider", "a.Sts|AKIAIOSFODNN7EXAMPLE|X", "a.Sts|***|***");
        check(
            "AwsCredentialsProvider",
            "StsAssumeRoleCredentialsProvider|X|X",
            "StsAssumeRoleCredentialsProvider|***|***",
        );
        check(
            "awsCREDENTIALSproviderDynamoDB",
            "a.B|X,ProfileCredentialsProvider|p,X",
            "a.B|***,ProfileCredentialsProvider|p,***",
        );
        check("AWSCredentialsProvidr", "a.B|X", "***");
        check("awsCredentialsProviders", "a.B|X", "a.B|***");
        check("tableTags", "team=a,password=X", "team=a,password=***");
        for key in ["streamName", "AwsCredentialsProvider", "executableName", "tokenizer"] {
            check(key, "Some.Value-1", "Some.Value-1");
        }
    }

    #[test]
    fn a_key_that_is_no_name_is_a_secret() {
        let shown = |key: &str| Masked::of_key(key).to_string();
        assert_eq!(
            shown("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"),
            "***"
        );
        assert_eq!(shown("AKIAIOSFODNN7EXAMPLE"), "***");
        for row in super::super::keys::KEYS {
            assert_eq!(shown(row.name), row.name);
        }
        assert_eq!(shown("dbPassword"), "dbPassword");
    }

    #[test]
    fn another_spelling_of_a_secret_is_one() {
        let read_as =
            |text: &str, taken: &str| Masked::of_text(text).read_as("k", taken.to_owned());
        assert_eq!(read_as("--token X", "--token X").to_string(), "--token ***");
        assert_eq!(read_as("--token X", "--TOKEN x").to_string(), "***");
        assert_eq!(read_as("latest", "LATEST").to_string(), "LATEST");
    }
}
