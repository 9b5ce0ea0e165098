//! Describes a failure: what failed, whether a retry helps, and what to do about it.

use std::error::Error;
use std::fmt;

use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};

use crate::bounded::TooLong;
use crate::say::short;

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    what: String,
    /// The service's name of the error, if the service responded.
    pub(crate) code: Option<String>,
    pub(crate) hint: Option<String>,
    pub(crate) may_pass: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// The call: its text in the message, and the IAM action.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) doing: &'a str,
    pub(crate) action: &'a str,
    /// The service's address or region.
    pub(crate) at: &'a str,
}

const UNREACHABLE: &str = "check --endpoint-url, AWS_ENDPOINT_URL, the region, and that the network \
    or the emulator is up";
const NO_CREDENTIALS: &str = "run `aws configure` or `aws sso login`, name a --profile, or set \
    AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (for an emulator any values will do)";
const OLD_CREDENTIALS: &str = "get new credentials (`aws sso login`, or a new AWS_SESSION_TOKEN), \
    and check the clock of this machine";
const WRONG_CREDENTIALS: &str =
    "check which credentials are found: `aws sts get-caller-identity` with the same profile";

impl Failure {
    pub(crate) fn new<E>(call: Call<'_>, error: &SdkError<E, HttpResponse>) -> Failure
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let Call { doing, at, .. } = call;
        if let Some(service) = error.as_service_error() {
            let status = error.raw_response().map_or(0, |response| response.status().as_u16());
            return match service.code() {
                Some(code) => Failure::said(call, code, service.message(), status),
                None => Failure::unreadable(call, &format!("HTTP status {status}"), status >= 500),
            };
        }
        let causes = causes(error);
        // The SDK does not export the type of this error.
        let (what, hint, may_pass) = if causes.contains("no providers in chain provided") {
            ("no AWS credentials were found".to_owned(), NO_CREDENTIALS.to_owned(), false)
        } else if causes.contains("credential") || matches!(error, SdkError::ConstructionFailure(_))
        {
            (causes, WRONG_CREDENTIALS.to_owned(), false)
        } else if matches!(error, SdkError::DispatchFailure(_) | SdkError::TimeoutError(_)) {
            (format!("cannot reach {at}: {causes}"), UNREACHABLE.to_owned(), true)
        } else if is_too_long(error) {
            return Failure::unreadable(call, &causes, false);
        } else {
            (format!("the answer of {at} broke off: {causes}"), UNREACHABLE.to_owned(), true)
        };
        Failure { what: format!("{doing}: {what}"), code: None, hint: Some(hint), may_pass }
    }

    /// A response that is not from Kinesis.
    pub(crate) fn unreadable(call: Call<'_>, why: &str, may_pass: bool) -> Failure {
        let Call { doing, action, at } = call;
        Failure {
            what: format!("{doing}: the answer to {action} is not one of Kinesis: {why}"),
            code: None,
            hint: Some(format!("check that {at} is a Kinesis endpoint")),
            may_pass,
        }
    }

    /// The service's error for a call, or for one record of it.
    pub(crate) fn said(call: Call<'_>, code: &str, message: Option<&str>, status: u16) -> Failure {
        let Call { doing, action, at } = call;
        let mut what = format!("{doing}: {}", short(code));
        if let Some(message) = message.filter(|message| !message.is_empty()) {
            what = format!("{what}: {}", short(message));
        }
        let (hint, may_pass) = match code {
            "AccessDeniedException" | "AccessDenied" => {
                (Some(format!("allow kinesis:{action} on the stream in an IAM policy")), false)
            }
            "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" => {
                (Some(OLD_CREDENTIALS.to_owned()), false)
            }
            "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "InvalidClientTokenId"
            | "MissingAuthenticationTokenException"
            | "IncompleteSignatureException" => (Some(WRONG_CREDENTIALS.to_owned()), false),
            "ProvisionedThroughputExceededException"
            | "KMSThrottlingException"
            | "ThrottlingException"
            | "InternalFailure" => (None, true),
            "LimitExceededException" => {
                let hint = format!("the account's quota of streams and shards in {at} is used up");
                (Some(hint), false)
            }
            code if code.starts_with("KMS") => {
                (Some("the stream is encrypted: allow the use of its KMS key".to_owned()), false)
            }
            _ => (None, status >= 500),
        };
        Failure { what, code: Some(short(code)), hint, may_pass }
    }
}

fn is_too_long(error: &(dyn Error + 'static)) -> bool {
    let mut chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.any(<dyn Error>::is::<TooLong>)
}

/// Returns the causes in one line, without repetitions and without the SDK's wrappers.
fn causes(error: &dyn Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = short(&error.to_string());
        if !texts.iter().any(|before| before.contains(&text)) {
            texts.push(text);
        }
        cause = error.source();
    }
    if texts.is_empty() { short(&error.to_string()) } else { texts.join(": ") }
}
