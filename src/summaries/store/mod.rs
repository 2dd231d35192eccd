//! The store of summary files: a folder, or a bucket with S3's interface.

mod bucket;
mod cause;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Error;
use crate::secret::Secret;
use crate::secret::files;
use crate::telemetry::metrics::OperationMetrics;

/// The longest summary, in bytes.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// The time limit of a read, retries included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Address and credentials of the store.
#[derive(Debug, Clone)]
pub(crate) struct StoreConfig {
    /// `file://` with a folder's path, `s3://bucket/prefix`, or `gs://` or `az://`.
    ///
    /// The last two are features of the build.
    pub url: String,
    /// The provider's variables, such as `AWS_…`.
    pub variables: Vec<(String, Secret)>,
    /// The root certificates to trust, in PEM; empty for those of the system.
    pub authorities: String,
    /// The HTTP proxy for a bucket.
    pub proxy: Option<Secret>,
}

/// A handle to the store. Clones share its connections.
#[derive(Clone)]
pub(crate) struct Store {
    files: Arc<dyn ObjectStore>,
    /// The same store, if it is a folder.
    folder: Option<Arc<LocalFileSystem>>,
    runtime: Handle,
    metrics: OperationMetrics,
}

impl Store {
    /// Opens the store. A missing folder is created; a bucket is not contacted yet.
    ///
    /// # Errors
    ///
    /// The reason why it cannot be opened.
    pub(crate) fn open(config: &StoreConfig) -> Result<Self, String> {
        let (files, folder): (Arc<dyn ObjectStore>, _) = match config.url.split_once("://") {
            Some(("file", path)) => {
                let folder = Arc::new(open_folder(path)?);
                (Arc::clone(&folder) as _, Some(folder))
            }
            Some((scheme, bucket)) => (bucket::open(scheme, bucket, config)?, None),
            None => return Err("it is no URL".to_owned()),
        };
        Ok(Self { files, folder, runtime: Handle::current(), metrics: OperationMetrics::default() })
    }

    /// Times reads, and counts those that fail.
    pub(crate) fn with_metrics(self, metrics: OperationMetrics) -> Self {
        Self { metrics, ..self }
    }

    /// Checks that a folder is writable or a bucket can be listed. Changes nothing.
    ///
    /// # Errors
    ///
    /// The reason why it is not.
    pub(crate) async fn check(config: &StoreConfig) -> Result<&'static str, String> {
        if let Some(folder) = config.url.strip_prefix("file://") {
            files::can_be_written(std::path::Path::new(folder)).map_err(|error| error.to_string())?;
            return Ok("the folder can be used");
        }
        let files = Self::open(config)?.files;
        match timeout(TIMEOUT, files.list(None).next()).await {
            Ok(None | Some(Ok(_))) => Ok("the bucket can be listed"),
            Ok(Some(Err(error))) => Err(cause::describe(&error)),
            Err(_) => Err("timed out".to_owned()),
        }
    }

    /// Reads the text of the file at `key`, taken literally, within `time_limit`.
    ///
    /// # Errors
    ///
    /// [`Error::NoFile`], [`Error::BadRecord`] for an impossible key, [`Error::StoreFailed`].
    pub(crate) async fn read(&self, key: &str, time_limit: Duration) -> Result<String, Error> {
        let path = Path::parse(key).map_err(|_| Error::BadRecord("its file_url is no key"))?;
        if path.as_ref() != key {
            return Err(Error::BadRecord("its file_url is no key"));
        }
        let (files, folder, metrics) = (Arc::clone(&self.files), self.folder.clone(), self.metrics.clone());
        let reading = async move {
            if let Some(folder) = folder {
                check_file(&folder, &path)?;
            }
            timeout(time_limit.min(TIMEOUT), read(&*files, &path)).await.unwrap_or_else(|_| Err(failed("timed out")))
        };
        let is_failure = |error: &Error| matches!(error, Error::StoreFailed(_));
        let task = self.runtime.spawn(async move { metrics.observe(reading, is_failure).await });
        task.await.map_err(|error| failed(error.to_string()))?
    }
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
/// Some servers send the same response to a read of either, but none lists a bucket that does not exist.
async fn missing(files: &dyn ObjectStore, path: &Path) -> Error {
    let folder: Path = path.parts().take(1).collect();
    match files.list(Some(&folder)).next().await {
        // S3's error code, for which `object_store` has no variant.
        Some(Err(error)) if format!("{error:?}").contains("NoSuchBucket") => failed("there is no such bucket"),
        _ => Error::NoFile,
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        Self::StoreFailed(cause::describe(&error))
    }
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
    let expected = folder.path_to_filesystem(path).map_err(reserved)?;
    match expected.canonicalize() {
        Ok(real) if real == expected && real.is_file() => Ok(()),
        Ok(real) if real == expected && real.is_dir() => Err(Error::NoFile),
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
