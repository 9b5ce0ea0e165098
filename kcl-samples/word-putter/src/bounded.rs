//! The SDK's HTTP client with a limit on the length of responses, as the SDK reads them into memory.

use std::error::Error;

use aws_sdk_kinesis::config::http::HttpRequest;
use aws_sdk_kinesis::config::{
    ConfigBag, HttpClient, RuntimeComponents, RuntimeComponentsBuilder, SharedHttpClient,
};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::shared::IntoShared as _;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

/// Longer than any valid response: PutRecords returns 500 results, each with a sequence number, a
/// shard and an error of a few hundred bytes.
pub(crate) const LONGEST_ANSWER: usize = 2 << 20;

/// The response is longer than the limit.
#[derive(Debug)]
pub(crate) struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the answer is longer than {} MiB", LONGEST_ANSWER >> 20)
    }
}

impl Error for TooLong {}

type BoxError = Box<dyn Error + Send + Sync>;

/// The client and its connectors, with the limit.
#[derive(Debug)]
pub(crate) struct Bounded<T>(pub(crate) T);

impl HttpClient for Bounded<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        Bounded(self.0.http_connector(settings, components)).into_shared()
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.validate_base_client_config(components, config)
    }

    fn validate_final_config(
        &self,
        components: &RuntimeComponents,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.validate_final_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

impl HttpConnector for Bounded<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move { Ok(answer.await?.map(bounded)) })
    }
}

fn bounded(body: SdkBody) -> SdkBody {
    let too_long = |error: BoxError| match error.is::<LengthLimitError>() {
        true => BoxError::from(TooLong),
        false => error,
    };
    SdkBody::from_body_1_x(Limited::new(body, LONGEST_ANSWER).map_err(too_long))
}
