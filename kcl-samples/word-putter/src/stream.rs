//! Creates the stream if needed, and puts records into it, with the official SDK.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry, StreamStatus};
use aws_smithy_http_client::{Builder, tls};

use crate::bounded::Bounded;
use crate::cli::Args;
use crate::failure::{Call, Failure};
use crate::outbox::Word;
use crate::say::{progress, short};

/// The pause between checks of a stream that is not active yet.
const BETWEEN_LOOKS: Duration = Duration::from_secs(3);

pub(crate) struct Stream {
    client: Client,
    name: String,
    /// The endpoint's address, or the region.
    at: String,
}

impl Stream {
    /// Finds region, credentials and address as every AWS SDK does, without a request.
    pub(crate) async fn connect(args: &Args) -> Stream {
        // ring: the SDK's default needs cmake.
        let http = Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
        if let Some(profile) = &args.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(url) = &args.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some(region) = &args.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .operation_attempt_timeout(args.call_timeout)
            // Including the SDK's own retries.
            .operation_timeout(args.call_timeout + args.retry_for);
        let config =
            loader.http_client(Bounded(http)).timeout_config(timeouts.build()).load().await;
        let region = config.region().cloned().unwrap_or(Region::from_static("us-east-1"));
        let config = config.into_builder().region(region.clone()).build();
        let at = config.endpoint_url().map(str::to_owned);
        let name = args.stream.clone();
        match &at {
            Some(at) => progress(format_args!("Connecting to stream: {name} in {region} at {at}")),
            None => progress(format_args!("Connecting to stream: {name} in {region}")),
        }
        Stream { client: Client::new(&config), name, at: at.unwrap_or_else(|| region.to_string()) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Waits until the stream is active, and creates it if it does not exist.
    pub(crate) async fn make_active(&self, shards: i32) -> Result<(), Failure> {
        loop {
            let status = match self.status().await? {
                Some(StreamStatus::Active) => return Ok(()),
                Some(status) => status,
                None => {
                    self.create(shards).await?;
                    StreamStatus::Creating
                }
            };
            progress(format_args!(
                "{} has status: {}, sleeping for {} seconds",
                self.name,
                short(status.as_str()),
                BETWEEN_LOOKS.as_secs()
            ));
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    async fn status(&self) -> Result<Option<StreamStatus>, Failure> {
        let doing = format!("cannot look at stream {}", self.name);
        let call = Call { doing: &doing, action: "DescribeStreamSummary", at: &self.at };
        match self.client.describe_stream_summary().stream_name(&self.name).send().await {
            Ok(output) => {
                Ok(output.stream_description_summary.map(|summary| summary.stream_status))
            }
            Err(error) => match Failure::new(call, &error) {
                failure if failure.code.as_deref() == Some("ResourceNotFoundException") => Ok(None),
                failure => Err(failure),
            },
        }
    }

    async fn create(&self, shards: i32) -> Result<(), Failure> {
        let doing = format!("cannot create stream {}", self.name);
        let call = Call { doing: &doing, action: "CreateStream", at: &self.at };
        let plural = if shards == 1 { "shard" } else { "shards" };
        progress(format_args!("Creating stream: {} with {shards} {plural}", self.name));
        let create = self.client.create_stream().stream_name(&self.name).shard_count(shards);
        match create.send().await.map_err(|error| Failure::new(call, &error)) {
            // Another process created it first.
            Err(failure) if failure.code.as_deref() == Some("ResourceInUseException") => Ok(()),
            created => created.map(|_| ()),
        }
    }

    /// Puts words in one call, without retries. Returns whether each was put.
    pub(crate) async fn put<'a>(
        &self,
        words: impl Iterator<Item = &'a Word>,
    ) -> Result<Vec<Result<(), Failure>>, Failure> {
        let call = Call { doing: "cannot put", action: "PutRecords", at: &self.at };
        let records = words.map(|word| {
            PutRecordsRequestEntry::builder()
                .data(Blob::new(word.as_str()))
                .partition_key(word.key())
                .build()
                .map_err(|error| format!("{error}"))
        });
        let records = records.collect::<Result<Vec<_>, _>>();
        let records = records.map_err(|error| Failure::said(call, &error, None, 0))?;
        let count = records.len();
        let put = self
            .client
            .put_records()
            .stream_name(&self.name)
            .set_records(Some(records))
            .customize()
            .config_override(
                aws_sdk_kinesis::config::Config::builder().retry_config(RetryConfig::disabled()),
            )
            .send();
        let output = put.await.map_err(|error| Failure::new(call, &error))?;
        let results = output.records();
        if results.len() != count {
            // The results cannot be matched to the records.
            let why = format!("{} results for {count} records", results.len());
            return Err(Failure::unreadable(call, &why, false));
        }
        Ok(results.iter().map(|result| was_put(call, result)).collect())
    }
}

/// Checks that a record was put: the result must say where.
fn was_put(call: Call<'_>, result: &PutRecordsResultEntry) -> Result<(), Failure> {
    let is_said = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
    match result.error_code() {
        Some(code) => Err(Failure::said(call, code, result.error_message(), 500)),
        None if is_said(result.sequence_number()) && is_said(result.shard_id()) => Ok(()),
        None => {
            let why = "a result has neither an error nor a sequence number and a shard";
            Err(Failure::unreadable(call, why, true))
        }
    }
}
