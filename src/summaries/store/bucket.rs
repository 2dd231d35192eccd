//! Buckets: S3, and Google Cloud Storage and Azure Blob Storage if they are built in.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Certificate, ClientOptions, ObjectStore, RetryConfig};

use super::{StoreConfig, TIMEOUT};
use crate::secret::Secret;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Replaces `object_store`'s ten retries within three minutes.
const RETRIES: usize = 1;
const RETRY_TIMEOUT: Duration = Duration::from_secs(3);
/// Hosts of metadata services, which are never reached through a proxy.
const METADATA_HOSTS: &str = "169.254.0.0/16,fd00:ec2::/32,metadata.google.internal";
/// All host names and addresses.
const ALL_HOSTS: &str = "*,0.0.0.0/0,::/0";

/// Opens a bucket, without contacting it.
pub(super) fn open(scheme: &str, bucket: &str, config: &StoreConfig) -> Result<Arc<dyn ObjectStore>, String> {
    let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
    let prefix = Path::parse(prefix).map_err(|error| error.to_string())?;
    let options = client_options(config)?;
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    // The builders share no trait. Variables of other programs are ignored.
    macro_rules! build {
        ($builder:expr) => {{
            let keys = config.variables.iter().filter_map(|(name, value)| Some((key_name(name).parse().ok()?, value)));
            let builder = keys.fold($builder, |builder, (key, value)| builder.with_config(key, value.expose()));
            let builder = builder.with_client_options(options).with_retry(retry).with_http_connector(CheckedConnector);
            builder.build().map(|files| Arc::new(PrefixStore::new(files, prefix)) as Arc<dyn ObjectStore>)
        }};
    }
    let files = match scheme {
        "s3" => build!(AmazonS3Builder::new().with_bucket_name(bucket)),
        #[cfg(feature = "gcs")]
        "gs" => build!(object_store::gcp::GoogleCloudStorageBuilder::new().with_bucket_name(bucket)),
        #[cfg(feature = "azure")]
        "az" => build!(object_store::azure::MicrosoftAzureBuilder::new().with_container_name(bucket)),
        _ => return Err("this build does not support it".to_owned()),
    };
    files.map_err(|error| redact(error.to_string(), &config.variables))
}

/// Returns the name of a variable as `object_store` knows it.
fn key_name(name: &str) -> String {
    match name {
        "AWS_EC2_METADATA_SERVICE_ENDPOINT" => "aws_metadata_endpoint".to_owned(),
        _ => name.to_lowercase(),
    }
}

fn client_options(config: &StoreConfig) -> Result<ClientOptions, String> {
    let is_endpoint =
        |name: &str| name.starts_with("AWS_ENDPOINT") || ["GOOGLE_BASE_URL", "AZURE_STORAGE_ENDPOINT"].contains(&name);
    let allow_http = config.variables.iter().any(|(name, value)| is_endpoint(name) && value.expose().starts_with("http://"));
    let mut options =
        ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(TIMEOUT).with_allow_http(allow_http);
    for authority in Certificate::from_pem_bundle(config.authorities.as_bytes()).map_err(|error| error.to_string())? {
        options = options.with_no_system_certificates(true).with_root_certificate(authority);
    }
    Ok(match &config.proxy {
        Some(proxy) => options.with_proxy_url(proxy.expose()).with_proxy_excludes(METADATA_HOSTS),
        // Without any proxy, the client would follow HTTP_PROXY.
        None => options.with_proxy_url("http://127.0.0.1:1").with_proxy_excludes(ALL_HOSTS),
    })
}

/// Replaces the credentials in a message of the store, which may quote them.
fn redact(message: String, credentials: &[(String, Secret)]) -> String {
    let values = credentials.iter().map(|(_, value)| value.expose()).filter(|value| !value.is_empty());
    values.fold(message, |message, value| message.replace(value, Secret::REDACTED))
}

/// Rejects successful responses of a bucket other than 200.
///
/// `object_store` takes a part that was not requested (206), or no body (204), for the whole file.
#[derive(Debug)]
struct CheckedConnector;

impl HttpConnector for CheckedConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(CheckedClient(ReqwestConnector::default().connect(options)?)))
    }
}

#[derive(Debug)]
struct CheckedClient(HttpClient);

/// A success that is not 200. Its text has the form of `object_store`'s own errors.
#[derive(Debug, thiserror::Error)]
#[error("status code: {0}")]
struct UnexpectedStatus(u16);

impl HttpService for CheckedClient {
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> BoxFuture<'b, Result<HttpResponse, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let response = self.0.execute(request).await?;
            let status = response.status();
            if status.is_success() && status != 200 {
                return Err(HttpError::new(HttpErrorKind::Decode, UnexpectedStatus(status.as_u16())));
            }
            Ok(response)
        })
    }
}
