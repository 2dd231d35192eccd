//! The store of summary files: a folder, or a bucket of S3 and its kin. The only module that knows `object_store`.

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

use super::Error;
use crate::files;
use crate::secret::Secret;

/// The longest summary, in bytes.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// One whole reading, retries included, where the asker has longer.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// `object_store`'s own are ten tries within three minutes.
const RETRIES: usize = 1;
const RETRY_WITHIN: Duration = Duration::from_secs(3);

/// Where the files are.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `file://` with a folder's path, or `s3://bucket/prefix`.
    pub url: String,
    /// The `AWS_…` variables.
    pub aws: Vec<(String, Secret)>,
    /// Whose certificates are accepted, in DER, and nobody else's; empty for the machine's list.
    pub authorities: Vec<Vec<u8>>,
}

/// A handle on the store; clones share its connections.
#[derive(Clone)]
pub struct Store {
    files: Arc<dyn ObjectStore>,
    /// The same where it is a folder; none for a bucket.
    folder: Option<Arc<LocalFileSystem>>,
    runtime: Handle,
}

impl Store {
    /// Opens the store; a folder is made if it is not there. A bucket is not asked yet, so that the server starts without it.
    ///
    /// # Errors
    ///
    /// A sentence on what can't be opened.
    pub fn open(rules: &Rules) -> Result<Self, String> {
        let (files, folder) = match (rules.url.strip_prefix("file://"), rules.url.strip_prefix("s3://")) {
            (Some(folder), _) => {
                let folder = Arc::new(in_folder(folder)?);
                (Arc::clone(&folder) as Arc<dyn ObjectStore>, Some(folder))
            }
            (None, Some(bucket)) => (in_bucket(bucket, rules)?, None),
            (None, None) => return Err("it is neither file:// nor s3://".to_owned()),
        };
        Ok(Self { files, folder, runtime: Handle::current() })
    }

    /// Whether the store can be reached: a folder that can be written, or a bucket that can be listed. Changes nothing.
    ///
    /// # Errors
    ///
    /// A sentence on why not.
    pub async fn reach(rules: &Rules) -> Result<&'static str, String> {
        if let Some(folder) = rules.url.strip_prefix("file://") {
            files::can_be_written(std::path::Path::new(folder)).map_err(|error| error.to_string())?;
            return Ok("the folder can be used");
        }
        let files = Self::open(rules)?.files;
        let failed = |error: String| {
            // A store may quote what it was asked with.
            rules
                .aws
                .iter()
                .filter(|(_, value)| !value.expose().is_empty())
                .fold(error, |error, (_, value)| error.replace(value.expose(), "[redacted]"))
        };
        match tokio::time::timeout(TIMEOUT, files.list(None).next()).await {
            Ok(None | Some(Ok(_))) => Ok("the bucket can be listed"),
            Ok(Some(Err(error))) => Err(failed(error.to_string())),
            Err(_) => Err("timed out".to_owned()),
        }
    }

    /// The text of the file at `key`, which is taken as it is: not joined, not decoded, not normalised. It takes no longer than
    /// `within`.
    ///
    /// # Errors
    ///
    /// [`Error::NoFile`], [`Error::BadRecord`] for a key that no store could have, [`Error::StoreFailed`].
    pub async fn read(&self, key: &str, within: Duration) -> Result<String, Error> {
        let path = Path::parse(key).map_err(|_| Error::BadRecord("its file_url is no key"))?;
        if path.as_ref() != key {
            return Err(Error::BadRecord("its file_url is no key"));
        }
        let (files, folder) = (Arc::clone(&self.files), self.folder.clone());
        let reading = async move {
            if let Some(folder) = folder {
                check_file(&folder, &path)?;
            }
            tokio::time::timeout(within.min(TIMEOUT), read(&*files, &path))
                .await
                .unwrap_or(Err(Error::StoreFailed("timed out".to_owned())))
        };
        self.runtime.spawn(reading).await.map_err(|error| Error::StoreFailed(error.to_string()))?
    }
}

async fn read(files: &dyn ObjectStore, path: &Path) -> Result<String, Error> {
    let file = match files.get(path).await {
        Err(object_store::Error::NotFound { .. }) => return Err(missing(files, path).await),
        got => got.map_err(|error| failed(&error))?,
    };
    let announced = file.meta.size;
    if announced > MAX_BYTES {
        return Err(Error::StoreFailed("the file is too large".to_owned()));
    }
    let bytes = file.bytes().await.map_err(|error| failed(&error))?;
    if u64::try_from(bytes.len()) != Ok(announced) {
        return Err(Error::StoreFailed("the file was cut short".to_owned()));
    }
    String::from_utf8(bytes.into()).map_err(|_| Error::StoreFailed("the file is not UTF-8".to_owned()))
}

/// Tells a file that is not there from a bucket that is not there: that one is a mistake of the operator. Some servers say
/// the same of both when they are asked for a file, but none lists what is in a bucket that it has not got.
async fn missing(files: &dyn ObjectStore, path: &Path) -> Error {
    let folder: Path = path.parts().take(1).collect();
    match files.list(Some(&folder)).next().await {
        // S3's own word for it; object_store has no variant for that.
        Some(Err(error)) if format!("{error:?}").contains("NoSuchBucket") => {
            Error::StoreFailed("there is no such bucket".to_owned())
        }
        _ => Error::NoFile,
    }
}

/// Why the store failed, without what it said and without the place inside it: `object_store` puts both into its messages.
fn failed(error: &object_store::Error) -> Error {
    let causes = std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source());
    let cause = causes.filter_map(cause).last();
    Error::StoreFailed(match error {
        object_store::Error::PermissionDenied { .. } => "it denies access".to_owned(),
        object_store::Error::Unauthenticated { .. } => "it does not accept the keys".to_owned(),
        _ => cause.unwrap_or_else(|| "it gave no answer that can be used".to_owned()),
    })
}

fn cause(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return Some(error.kind().to_string());
    }
    if let Some(error) = error.downcast_ref::<HttpError>() {
        return Some(format!("{:?}", error.kind()).to_lowercase());
    }
    // The type that has the status as a number can't be named from here.
    let text = error.to_string();
    let (_, status) = text.split_once("status code: ")?;
    let status: u16 = status.get(..3)?.parse().ok()?;
    Some(format!("status {status}"))
}

/// A file itself, at the very place that the key names: no link to another room's, no device to wait for. What a folder can't hold
/// as a file, a bucket has not got either: both are not found.
fn check_file(folder: &LocalFileSystem, path: &Path) -> Result<(), Error> {
    use std::io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    // `object_store` keeps such names for its own temporary files.
    let refused = |_| Error::StoreFailed("a folder does not serve a name that ends in # and digits".to_owned());
    let place = folder.path_to_filesystem(path).map_err(refused)?;
    match place.canonicalize() {
        Ok(real) if real == place && real.is_file() => Ok(()),
        Ok(real) if real == place && real.is_dir() => Err(Error::NoFile),
        Ok(_) => Err(Error::StoreFailed("the file is a link, or no file".to_owned())),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory | InvalidFilename) => Err(Error::NoFile),
        Err(error) => Err(Error::StoreFailed(error.kind().to_string())),
    }
}

fn in_folder(folder: &str) -> Result<LocalFileSystem, String> {
    files::create_private_folder(std::path::Path::new(folder))
        .map_err(|error| format!("the folder can't be made: {error}"))?;
    let folder = std::path::Path::new(folder).canonicalize().map_err(|error| error.to_string())?;
    LocalFileSystem::new_with_prefix(&folder).map_err(|error| error.to_string())
}

fn in_bucket(bucket: &str, rules: &Rules) -> Result<Arc<dyn ObjectStore>, String> {
    let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
    let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_http_connector(Whole);
    let mut over_http = false;
    for (name, value) in &rules.aws {
        // Variables for other programs are nothing to us.
        if let Ok(key) = name.to_lowercase().parse() {
            builder = builder.with_config(key, value.expose());
        }
        over_http |= name.starts_with("AWS_ENDPOINT") && value.expose().starts_with("http://");
    }
    let mut options =
        ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(TIMEOUT).with_allow_http(over_http);
    for authority in &rules.authorities {
        let authority = Certificate::from_der(authority).map_err(|error| error.to_string())?;
        options = options.with_no_system_certificates(true).with_root_certificate(authority);
    }
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_WITHIN, ..RetryConfig::default() };
    let files = builder.with_client_options(options).with_retry(retry).build().map_err(|error| error.to_string())?;
    let prefix = Path::parse(prefix).map_err(|error| error.to_string())?;
    Ok(Arc::new(PrefixStore::new(files, prefix)))
}

/// Refuses what a bucket answers with a success that is not 200. Nobody asked for a part (206), and an answer without a body
/// (204) is not an empty file; `object_store` takes both for whole ones.
#[derive(Debug)]
struct Whole;

impl HttpConnector for Whole {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(WholeClient(ReqwestConnector::default().connect(options)?)))
    }
}

#[derive(Debug)]
struct WholeClient(HttpClient);

/// Worded like `object_store`'s own errors with a status.
#[derive(Debug, thiserror::Error)]
#[error("status code: {0}")]
struct NotWhole(u16);

impl HttpService for WholeClient {
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> BoxFuture<'b, Result<HttpResponse, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let response = self.0.execute(request).await?;
            let status = response.status();
            if status.is_success() && status != 200 {
                return Err(HttpError::new(HttpErrorKind::Decode, NotWhole(status.as_u16())));
            }
            Ok(response)
        })
    }
}
