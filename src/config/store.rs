//! The section `[summaries]`, the variables of the storage provider, and validation of its credentials.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Error;
use super::sections::section;
use super::values::{self, SecretUrl, is_printable, parse_base_url};
use crate::secret::Secret;
use crate::secret::files;

section! {
    /// `[summaries]`: summary files.
    SummariesConfig {
        /// `file://` with a folder's path, or `s3://bucket/prefix`; `gs://` and `az://` if they are built in.
        #[serde(deserialize_with = "values::store_url")]
        url: SecretUrl = SecretUrl::new("file://var/summaries"),
        /// Whether the metadata service of the cloud may provide the credentials.
        instance_credentials: bool,
        /// The HTTP proxy for requests to the bucket. No other connection uses one.
        #[serde(deserialize_with = "values::proxy_url")]
        proxy: Option<SecretUrl>,
        /// The provider's own variables, such as `AWS_…`.
        #[serde(skip)]
        variables: Vec<(String, Secret)>,
    }
}

/// A provider of object storage.
struct Provider {
    scheme: &'static str,
    /// Whether its feature is enabled in this build.
    is_enabled: bool,
    feature: &'static str,
    /// The prefix of its variables' names.
    prefix: &'static str,
    /// The variables that hold URLs.
    endpoints: &'static [&'static str],
    /// Sets of variables, of which one must be complete.
    credentials: &'static [&'static [&'static str]],
    requirement: &'static str,
}

const PROVIDERS: [Provider; 3] = [
    Provider {
        scheme: "s3://",
        is_enabled: true,
        feature: "",
        prefix: "AWS_",
        endpoints: &["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_EC2_METADATA_SERVICE_ENDPOINT"],
        credentials: &[
            &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
            &["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"],
            &["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"],
            &["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"],
        ],
        requirement: "needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, all AWS_… variables of a role, or \
                  APP_SUMMARIES__INSTANCE_CREDENTIALS=true",
    },
    Provider {
        scheme: "gs://",
        is_enabled: cfg!(feature = "gcs"),
        feature: "gcs",
        prefix: "GOOGLE_",
        endpoints: &["GOOGLE_BASE_URL"],
        credentials: &[
            &["GOOGLE_SERVICE_ACCOUNT"],
            &["GOOGLE_SERVICE_ACCOUNT_PATH"],
            &["GOOGLE_SERVICE_ACCOUNT_KEY"],
            &["GOOGLE_APPLICATION_CREDENTIALS"],
            &["GOOGLE_SKIP_SIGNATURE"],
        ],
        requirement: "needs GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_SERVICE_ACCOUNT_KEY, or \
                  APP_SUMMARIES__INSTANCE_CREDENTIALS=true",
    },
    Provider {
        scheme: "az://",
        is_enabled: cfg!(feature = "azure"),
        feature: "azure",
        prefix: "AZURE_",
        endpoints: &["AZURE_STORAGE_ENDPOINT"],
        credentials: &[
            &["AZURE_STORAGE_ACCOUNT_KEY"],
            &["AZURE_STORAGE_SAS_TOKEN"],
            &["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"],
            &["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"],
        ],
        requirement: "needs AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or the AZURE_… \
                  variables of an identity, or APP_SUMMARIES__INSTANCE_CREDENTIALS=true",
    },
];

/// The variables of Google that hold paths.
const GOOGLE_FILES: [&str; 3] = ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"];

impl SummariesConfig {
    fn provider(&self) -> Option<&'static Provider> {
        PROVIDERS.iter().find(|provider| self.url.expose().starts_with(provider.scheme))
    }

    /// Reads the variables of the provider that the URL names.
    pub(super) fn read_variables(&mut self, environment: &BTreeMap<String, String>) {
        let Some(provider) = self.provider() else { return };
        let variables = environment.iter().filter(|(name, value)| name.starts_with(provider.prefix) && !value.is_empty());
        self.variables = variables.map(|(name, value)| (name.clone(), Secret::new(value.clone()))).collect();
    }

    fn has_variable(&self, name: &str) -> bool {
        self.variables.iter().any(|(known, _)| known == name)
    }

    /// Validates the variables. Without credentials each request would wait for the metadata service of a cloud.
    pub(super) fn validate(&self) -> Result<(), Error> {
        let Some(provider) = self.provider() else { return Ok(()) };
        if !provider.is_enabled {
            let problem = format!("needs a server that was built with --features {}", provider.feature);
            return Err(Error::of("APP_SUMMARIES__URL", problem));
        }
        for (name, value) in &self.variables {
            if provider.endpoints.contains(&name.as_str()) && parse_base_url(value.expose()).is_err() {
                return Err(Error::of(name, "must be a URL, such as https://storage.example.com"));
            }
            // The client of S3 panics if it can't make a header of it.
            if provider.prefix == "AWS_" && !is_printable(value.expose()) {
                return Err(Error::of(name, "must be printable ASCII, without a line break"));
            }
            if name == "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
                && files::read_regular(Path::new(value.expose())).is_ok_and(|token| !is_printable(&token))
            {
                return Err(Error::of(name, "must have a token of printable ASCII, without a line break"));
            }
            if (name.ends_with("_TOKEN_FILE") || GOOGLE_FILES.contains(&name.as_str()))
                && let Err(error) = files::require_regular(Path::new(value.expose()))
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(Error::of(name, format!("cannot be read: {error}")));
            }
        }
        if provider.credentials.iter().any(|set| set.iter().all(|name| self.has_variable(name))) {
            return Ok(());
        }
        if self.has_variable("AWS_PROFILE") {
            let problem = "is not supported: shared configuration files are not read; set the keys or the role in variables";
            return Err(Error::of("AWS_PROFILE", problem));
        }
        if self.instance_credentials { Ok(()) } else { Err(Error::of("APP_SUMMARIES__URL", provider.requirement)) }
    }
}
