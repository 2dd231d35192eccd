//! The store of summary files: a folder, or a bucket with S3's interface.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Certificate, ClientOptions, ObjectStore, ObjectStoreExt as _, RetryConfig};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Error;
use crate::files;
use crate::secret::Secret;

/// The longest summary, in bytes.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// The time limit of a read, retries included.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Replaces `object_store`'s ten retries within three minutes.
const RETRIES: usize = 1;
const RETRY_TIMEOUT: Duration = Duration::from_secs(3);

/// Address and credentials of the store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `file://` with a folder's path, or `s3://bucket/prefix`.
    pub url: String,
    /// The `AWS_…` variables.
    pub aws: Vec<(String, Secret)>,
    /// The root certificates to trust, in DER; empty for those of the system.
    pub authorities: Vec<Vec<u8>>,
}

/// A handle to the store. Clones share its connections.
#[derive(Clone)]
pub struct Store {
    files: Arc<dyn ObjectStore>,
    /// The same store, if it is a folder.
    folder: Option<Arc<LocalFileSystem>>,
    runtime: Handle,
}

impl Store {
    /// Opens the store. A missing folder is created; a bucket is not contacted yet.
    ///
    /// # Errors
    ///
    /// The reason why it cannot be opened.
    pub fn open(config: &StoreConfig) -> Result<Self, String> {
        let (files, folder): (Arc<dyn ObjectStore>, _) = match config.url.split_once("://") {
            Some(("file", path)) => {
                let folder = Arc::new(open_folder(path)?);
                (Arc::clone(&folder) as _, Some(folder))
            }
            Some(("s3", bucket)) => (open_bucket(bucket, config)?, None),
            _ => return Err("it is neither file:// nor s3://".to_owned()),
        };
        Ok(Self { files, folder, runtime: Handle::current() })
    }

    /// Checks that a folder is writable or a bucket can be listed. Changes nothing.
    ///
    /// # Errors
    ///
    /// The reason why it is not.
    pub async fn check(config: &StoreConfig) -> Result<&'static str, String> {
        if let Some(folder) = config.url.strip_prefix("file://") {
            files::can_be_written(std::path::Path::new(folder)).map_err(|error| error.to_string())?;
            return Ok("the folder can be used");
        }
        let files = Self::open(config)?.files;
        match timeout(TIMEOUT, files.list(None).next()).await {
            Ok(None | Some(Ok(_))) => Ok("the bucket can be listed"),
            Ok(Some(Err(error))) => Err(redact(error.to_string(), &config.aws)),
            Err(_) => Err("timed out".to_owned()),
        }
    }

    /// Reads the text of the file at `key`, taken literally, within `time_limit`.
    ///
    /// # Errors
    ///
    /// [`Error::NoFile`], [`Error::BadRecord`] for an impossible key, [`Error::StoreFailed`].
    pub async fn read(&self, key: &str, time_limit: Duration) -> Result<String, Error> {
        let path = Path::parse(key).map_err(|_| Error::BadRecord("its file_url is no key"))?;
        if path.as_ref() != key {
            return Err(Error::BadRecord("its file_url is no key"));
        }
        let (files, folder) = (Arc::clone(&self.files), self.folder.clone());
        let reading = async move {
            if let Some(folder) = folder {
                check_file(&folder, &path)?;
            }
            timeout(time_limit.min(TIMEOUT), read(&*files, &path)).await.unwrap_or_else(|_| Err(failed("timed out")))
        };
        self.runtime.spawn(reading).await.map_err(|error| failed(error.to_string()))?
    }
}

/// Replaces the credentials in a message of the store, which may quote them.
fn redact(message: String, credentials: &[(String, Secret)]) -> String {
    let values = credentials.iter().map(|(_, value)| value.expose()).filter(|value| !value.is_empty());
    values.fold(message, |message, value| message.replace(value, Secret::REDACTED))
}

fn failed(reason: impl Into<String>) -> Error {
    Error::StoreFailed(reason.into())
}

async fn read(files: &dyn ObjectStore, path: &Path) -> Result<String, Error> {
    let file = match files.get(path).await {
        Err(object_store::Error::NotFound { .. }) => return Err(missing(files, path).await),
        result => result?,
    };
    let length = file.meta.size;
    if length > MAX_BYTES {
        return Err(failed("the file is too large"));
    }
    let bytes = file.bytes().await?;
    if u64::try_from(bytes.len()) != Ok(length) {
        return Err(failed("the file was cut short"));
    }
    String::from_utf8(bytes.into()).map_err(|_| failed("the file is not UTF-8"))
}

/// Distinguishes a missing file from a missing bucket, which is an operator's mistake.
///
/// Some servers give the same answer to a read of either, but none lists a bucket that does not exist.
async fn missing(files: &dyn ObjectStore, path: &Path) -> Error {
    let folder: Path = path.parts().take(1).collect();
    match files.list(Some(&folder)).next().await {
        // S3's error code, for which `object_store` has no variant.
        Some(Err(error)) if format!("{error:?}").contains("NoSuchBucket") => failed("there is no such bucket"),
        _ => Error::NoFile,
    }
}

/// Classifies a failure without the store's own text, which may quote paths and responses.
impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        let causes = std::iter::successors(Some(&error as &(dyn std::error::Error + 'static)), |error| error.source());
        let cause = causes.filter_map(cause).last();
        Self::StoreFailed(match error {
            object_store::Error::PermissionDenied { .. } => "it denies access".to_owned(),
            object_store::Error::Unauthenticated { .. } => "it does not accept the keys".to_owned(),
            _ => cause.unwrap_or_else(|| "it gave no answer that can be used".to_owned()),
        })
    }
}

/// Describes a cause of a known type.
fn cause(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return Some(error.kind().to_string());
    }
    if let Some(error) = error.downcast_ref::<HttpError>() {
        return Some(format!("{:?}", error.kind()).to_lowercase());
    }
    // The type with the status as a number is private.
    let text = error.to_string();
    let (_, status) = text.split_once("status code: ")?;
    let status: u16 = status.get(..3)?.parse().ok()?;
    Some(format!("status {status}"))
}

/// Checks that `path` is a regular file.
///
/// It must be no device, and no link to another room's file.
///
/// Names that a folder cannot hold are not found, as in a bucket.
fn check_file(folder: &LocalFileSystem, path: &Path) -> Result<(), Error> {
    use std::io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    // `object_store` reserves such names for its temporary files.
    let reserved = |_| failed("a folder does not serve a name that ends in # and digits");
    let place = folder.path_to_filesystem(path).map_err(reserved)?;
    match place.canonicalize() {
        Ok(real) if real == place && real.is_file() => Ok(()),
        Ok(real) if real == place && real.is_dir() => Err(Error::NoFile),
        Ok(_) => Err(failed("the file is a link, or no file")),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory | InvalidFilename) => Err(Error::NoFile),
        Err(error) => Err(failed(error.kind().to_string())),
    }
}

fn open_folder(path: &str) -> Result<LocalFileSystem, String> {
    let path = std::path::Path::new(path);
    files::create_private_folder(path).map_err(|error| format!("the folder can't be made: {error}"))?;
    let path = path.canonicalize().map_err(|error| error.to_string())?;
    LocalFileSystem::new_with_prefix(path).map_err(|error| error.to_string())
}

fn open_bucket(bucket: &str, config: &StoreConfig) -> Result<Arc<dyn ObjectStore>, String> {
    let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
    let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_http_connector(CheckedConnector);
    let mut allow_http = false;
    for (name, value) in &config.aws {
        // Variables of other programs are ignored.
        if let Ok(key) = name.to_lowercase().parse() {
            builder = builder.with_config(key, value.expose());
        }
        allow_http |= name.starts_with("AWS_ENDPOINT") && value.expose().starts_with("http://");
    }
    let mut options =
        ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(TIMEOUT).with_allow_http(allow_http);
    for authority in &config.authorities {
        let authority = Certificate::from_der(authority).map_err(|error| error.to_string())?;
        options = options.with_no_system_certificates(true).with_root_certificate(authority);
    }
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    let files = builder.with_client_options(options).with_retry(retry).build().map_err(|error| error.to_string())?;
    let prefix = Path::parse(prefix).map_err(|error| error.to_string())?;
    Ok(Arc::new(PrefixStore::new(files, prefix)))
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
