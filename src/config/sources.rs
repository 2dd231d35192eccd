//! The layers of the configuration: defaults, a TOML file, then `.env` and the environment; and files of one value each.

use std::collections::BTreeMap;
use std::path::Path;

use ::config::{ConfigError, Environment, File, FileFormat, FileSourceString, Source as _, Value, ValueKind};

use super::{CertificatePaths, Config, Error, LogFormat, variable_of};
use crate::secret::files;

/// Variables with secrets of the summary store, which can be read from a file as settings can.
const STORE_SECRETS: [&str; 7] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
];

type TomlFile = File<FileSourceString, FileFormat>;

/// Where settings were set, if not in their own variables.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Settings of the TOML file that no variable overrides, such as `settings.toml: server.listen`, by variable.
    toml_keys: BTreeMap<String, String>,
    /// Paths of the files with one value each, by the variable of the setting.
    value_files: BTreeMap<String, String>,
}

impl Config {
    /// Merges the layers and parses every value. An empty variable counts as unset.
    ///
    /// # Errors
    ///
    /// The first setting that is unknown, was renamed, or does not parse.
    pub fn load(environment: &BTreeMap<String, String>, file: Option<&Path>) -> Result<Self, Error> {
        let mut sources = Sources::default();
        let file = file.map(|path| sources.read_toml(path, environment)).transpose()?;
        let mut settings = merge(environment, file).map_err(|error| Error::new(&error, &sources))?.cache;
        sources.read_value_files(&mut settings)?;
        let mut config: Self = settings.try_deserialize().map_err(|error| Error::new(&error, &sources))?;
        let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
        config.certificates = CertificatePaths { file: variable("SSL_CERT_FILE"), folders: variable("SSL_CERT_DIR") };
        config.log_filter = variable("RUST_LOG");
        config.summaries.read_variables(&sources.read_store_secrets(environment)?);
        config.sources = sources;
        Ok(config)
    }
}

impl Sources {
    /// Returns where `variable` was set, for messages.
    pub(crate) fn name_of(&self, variable: &str) -> String {
        let key = |variable: &str| self.toml_keys.get(variable).map_or(variable, String::as_str).to_owned();
        match self.value_files.get(variable) {
            Some(path) => format!("{} ({path})", key(&file_variable(variable))),
            None => key(variable),
        }
    }

    /// Returns the file that the value of `variable` was read from, if any.
    pub(crate) fn value_file(&self, variable: &str) -> Option<&str> {
        self.value_files.get(variable).map(String::as_str)
    }

    fn read_toml(&mut self, path: &Path, environment: &BTreeMap<String, String>) -> Result<TomlFile, Error> {
        let failed =
            |problem: &str| Error::of(&format!("--config {}", path.display()), format!("cannot be read: {problem}"));
        let text = files::read_regular(path).map_err(|error| failed(&error.to_string()))?;
        let file = File::from_str(&text, FileFormat::Toml);
        // Only the first line: the others quote the file.
        let sections = file.collect().map_err(|error| failed(error.to_string().lines().next().unwrap_or_default()))?;
        for (section, value) in sections {
            let keys = value.into_table().unwrap_or_default();
            let keys = keys.keys().map(|key| format!("{section}.{key}")).chain([section.clone()]);
            let keys = keys.map(|key| (variable_of(&key), format!("{}: {key}", path.display())));
            self.toml_keys.extend(keys.filter(|(variable, _)| environment.get(variable).is_none_or(String::is_empty)));
        }
        Ok(file)
    }

    /// Replaces each setting that ends in `_file` by the setting without it, with the content of the file.
    fn read_value_files(&mut self, settings: &mut Value) -> Result<(), Error> {
        let ValueKind::Table(sections) = &mut settings.kind else { return Ok(()) };
        let known: Vec<String> = Config::default().redacted().into_iter().map(|(name, ..)| name).collect();
        for (section, value) in sections {
            let ValueKind::Table(keys) = &mut value.kind else { continue };
            for key in keys.keys().cloned().collect::<Vec<_>>() {
                let name = key.strip_suffix("_file").map(|name| (name, variable_of(&format!("{section}.{name}"))));
                if let Some((name, variable)) = name
                    && known.contains(&variable)
                    && let Some(path) = keys.remove(&key)
                {
                    let value = self.read_value_file(&variable, path.to_string(), keys.contains_key(name))?;
                    keys.insert(name.to_owned(), value.into());
                }
            }
        }
        Ok(())
    }

    fn read_value_file(&mut self, variable: &str, path: String, is_set: bool) -> Result<String, Error> {
        if is_set {
            let both = format!("and {} are both set", self.name_of(&file_variable(variable)));
            return Err(Error::of(&self.name_of(variable), both));
        }
        let content = files::read_value(Path::new(&path));
        self.value_files.insert(variable.to_owned(), path);
        content.map_err(|problem| Error::of(&self.name_of(variable), problem))
    }

    /// Returns the variables, with the credentials of the summary store that are in files.
    fn read_store_secrets(&mut self, environment: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Error> {
        let mut environment = environment.clone();
        environment.retain(|_, value| !value.is_empty());
        for name in STORE_SECRETS {
            if let Some(path) = environment.remove(&file_variable(name)) {
                let value = self.read_value_file(name, path, environment.contains_key(name))?;
                environment.insert(name.to_owned(), value);
            }
        }
        Ok(environment)
    }
}

/// Returns the format of the log, even if the settings are invalid otherwise. The default is text.
pub(crate) fn log_format(environment: &BTreeMap<String, String>, file: Option<&Path>) -> LogFormat {
    let file = file.and_then(|path| files::read_regular(path).ok()).map(|text| File::from_str(&text, FileFormat::Toml));
    let format = |file| merge(environment, file).ok()?.get("log.format").ok();
    // A file that is no TOML has no format.
    format(file).or_else(|| format(None)).unwrap_or(LogFormat::Text)
}

fn merge(environment: &BTreeMap<String, String>, file: Option<TomlFile>) -> Result<::config::Config, ConfigError> {
    let variables = environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let variables = Environment::with_prefix("APP")
        .prefix_separator("_")
        .separator("__")
        // Values stay strings: parsing would turn a secret `00123456` into `123456`.
        .try_parsing(false)
        .ignore_empty(true)
        .source(Some(variables));
    let layers = ::config::Config::builder();
    let layers = match file {
        Some(file) => layers.add_source(file),
        None => layers,
    };
    layers.add_source(variables).build()
}

/// Returns the variable with the path of a file that has the value of `variable`.
fn file_variable(variable: &str) -> String {
    format!("{variable}_FILE")
}
