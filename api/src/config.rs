//! Every setting, with its default: built-in < `aihub.toml` < `AIHUB_*` < flags. A key that does not exist is
//! an error, so that a misspelled one is noticed.
//!
//! `AIHUB_SERVER__PORT=8080` sets `port` of `[server]`. Nothing else in the program reads the environment.

use std::{
    collections::BTreeMap,
    env, fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use analytics::{events, metrics, queries, reporting};
use chrono::TimeDelta;
use delivery::{Hooks, Smtp};
use query::Zone;
use rest::principal::TrustedProxies;
use serde::{Deserialize, Serialize};
use state::{folder, secret::Secret};
use toml::{Table, Value};

use crate::private;

/// The settings of a process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The data folder. Relative paths start at the current directory.
    #[serde(skip)]
    pub dir: PathBuf,
    pub server: Server,
    pub lake: Lake,
    pub state: State,
    pub ingest: events::Settings,
    pub query: queries::Settings,
    pub maintain: Maintain,
    pub retention: Retention,
    pub check: Check,
    pub metrics: Metrics,
    pub dashboards: Dashboards,
    pub accounts: accounts::Settings,
    pub plans: Plans,
    pub billing: Box<billing::Settings>,
    pub smtp: Smtp,
    pub hooks: Hooks,
    pub archive: Archive,
    pub reports: reporting::Settings,
    pub log: Log,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// The address to listen on. Anything but a loopback address is reachable from outside.
    pub bind: IpAddr,
    /// The port; 0 takes any free one.
    pub port: u16,
    /// Mark cookies `Secure`: when the server is reached over TLS.
    pub secure_cookie: bool,
    /// The address under which people reach the server, such as `https://analytics.example.com`: links in mails begin with
    /// it. Empty: the address that it listens on.
    pub public_url: String,
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed: addresses and networks.
    pub trusted_proxies: TrustedProxies,
}

/// What the plans of organizations allow.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plans {
    /// A file with a list of plans. Empty: those of the program.
    pub file: PathBuf,
    /// An address that is told as JSON when half, four fifths or all of a quota is used. Empty: none.
    pub webhook: String,
}

/// Users, keys, organizations and all else that is not in the lake.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// A database of PostgreSQL: `postgres://user:password@host/database`. Empty: the file `state.db` in the data folder.
    pub url: Secret,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lake {
    /// Where the tables are: `s3://bucket/prefix`, `gs://…`, `az://…`, `file:///…`. Empty: in the data folder.
    pub url: String,
    /// Options of the store, as the `object_store` crate names them, such as `aws_region`.
    pub options: BTreeMap<String, Secret>,
}

/// Where reports go that are sent to a folder.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Archive {
    /// A folder or a bucket: `file:///…`, `s3://bucket/prefix`, `gs://…`, `az://…`. Empty: there is none.
    pub url: String,
    /// Options of the store, as the `object_store` crate names them.
    pub options: BTreeMap<String, Secret>,
}

/// How the tables are kept in order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Maintain {
    /// Whether the server does it by itself.
    pub enabled: bool,
    /// How often the server looks whether something is due.
    pub every_seconds: u64,
    /// How often small files are made few.
    pub compact_minutes: u64,
    /// A checkpoint of a table's log is written after so many commits.
    pub checkpoint_commits: u64,
    /// The size of a data file that compaction aims at.
    pub file_mib: u64,
    /// Files that left a table are removed after so long, and its log entries too; never sooner than the longest
    /// query needs them.
    pub grace_minutes: u64,
    /// Memory for the files that compaction merges at once, in MiB.
    pub memory_mib: usize,
}

/// For each table the whole days before today that it keeps; 0 keeps everything.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    pub usage_ledger: u32,
    pub billing_events: u32,
    pub activity_events: u32,
    pub dead_letter: u32,
}

impl Retention {
    /// Whether rows leave a table at all.
    pub fn removes_rows(&self) -> bool {
        [self.usage_ledger, self.billing_events, self.activity_events, self.dead_letter]
            .into_iter()
            .any(|days| days > 0)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Check {
    /// Whether the server checks its folder every night.
    pub nightly: bool,
    /// The hour of that, in UTC: 0 to 23.
    pub hour_utc: u8,
}

/// `/v1/metrics`, and who reads `/metrics`: that names tables and counts everybody's events.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Whether everybody does.
    pub open: bool,
    /// A token that admits to it and to nothing else, for the one that collects them. Empty: there is none, and an
    /// administrator's key is asked for.
    pub token: Secret,
    /// The time zone of dates and buckets, where a question names none.
    pub zone: Zone,
    /// A folder of YAML files whose metrics are added to those of the program. Relative to the current directory. Empty:
    /// there is none.
    pub dir: PathBuf,
    /// A bucket of a metric is incomplete for so long after its end, since events may be late.
    pub lateness_minutes: u32,
    /// Values that say something of fewer persons are not shown to those who may not run SQL. 1: all are shown.
    pub min_persons: u32,
    /// Rollups, which metrics are read from, are brought up to date so often. 0: there are none.
    pub rollup_seconds: u64,
    /// They are, too, when so many rows came.
    pub rollup_rows: u64,
}

/// The dashboards that everybody has besides those of the program.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dashboards {
    /// A folder of YAML files with a dashboard each. Relative to the current directory. Empty: there is none.
    pub dir: PathBuf,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            open: false,
            token: Secret::default(),
            zone: Zone::UTC,
            dir: PathBuf::new(),
            lateness_minutes: 10,
            min_persons: 10,
            rollup_seconds: 300,
            rollup_rows: 1_000_000,
        }
    }
}

impl Metrics {
    /// The folder of metrics, if there is one.
    pub(crate) fn dir(&self) -> Option<&Path> {
        Some(self.dir.as_path()).filter(|dir| !dir.as_os_str().is_empty())
    }

    /// What the metrics API takes from it.
    pub(crate) fn settings(&self) -> metrics::Settings {
        metrics::Settings {
            lateness: TimeDelta::minutes(self.lateness_minutes.into()),
            zone: self.zone,
            min_persons: self.min_persons,
            rollup_every: (self.rollup_seconds > 0)
                .then(|| Duration::from_secs(self.rollup_seconds)),
            rollup_rows: self.rollup_rows.max(1),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,analytics=debug`.
    pub filter: String,
    /// `text` or `json`.
    pub format: String,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            bind: IpAddr::from([127, 0, 0, 1]),
            port: 7700,
            secure_cookie: false,
            public_url: String::new(),
            trusted_proxies: TrustedProxies::default(),
        }
    }
}

impl Default for Maintain {
    fn default() -> Self {
        Self {
            enabled: true,
            every_seconds: 60,
            compact_minutes: 60,
            checkpoint_commits: 50,
            file_mib: 256,
            grace_minutes: 24 * 60,
            memory_mib: 64,
        }
    }
}

impl Default for Check {
    fn default() -> Self {
        Self { nightly: true, hour_utc: 3 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "warn".into(), format: "text".into() }
    }
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} is not a usable configuration: {message}", path.display())]
    File { path: PathBuf, message: String },
    #[error("{0} sets nothing: there is no such setting")]
    Variable(String),
    #[error("the configuration is not usable: {0}")]
    Value(String),
}

/// With one worker a long query of one organization is in the way of all others.
const WORKERS_MIN: usize = 2;
/// A shorter token could be guessed.
const METRICS_TOKEN_MIN: usize = 16;
/// The data folder when none is named.
const DIR: &str = ".aihub";
/// Variables with our prefix that are for tests and notebooks, not for the program.
const NOT_SETTINGS: [&str; 4] = ["AIHUB_TEST_", "AIHUB_URL", "AIHUB_API_KEY", "AIHUB_BIN"];

/// How a command reaches a server.
#[derive(Debug, Default)]
pub(crate) struct ClientSettings {
    pub(crate) url: Option<String>,
    pub(crate) api_key: Option<String>,
}

/// What the environment says of the server to ask.
#[expect(clippy::disallowed_methods, reason = "this is the configuration")]
pub(crate) fn client() -> ClientSettings {
    let variable = |name| env::var(name).ok().filter(|text| !text.is_empty());
    ClientSettings { url: variable("AIHUB_URL"), api_key: variable("AIHUB_API_KEY") }
}

/// Where a person's own files are.
pub(crate) fn home() -> Option<PathBuf> {
    env::home_dir()
}

impl Config {
    /// Reads the settings of a data folder (`DIR/aihub.toml`, if there is one) or of a configuration file. Nothing is
    /// written beside that file, unless it lies in a data folder already. `flags` wins over everything.
    pub fn load(
        dir: Option<&Path>,
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: &[(&str, &str, Value)],
    ) -> Result<Self, ConfigError> {
        let variables: BTreeMap<_, _> = variables.into_iter().collect();
        let named = variables.get("AIHUB_DIR").map(PathBuf::from);
        let dir = dir.map(Path::to_path_buf).or(named);
        let file = file.map(Path::to_path_buf).or(variables.get("AIHUB_CONFIG").map(PathBuf::from));
        let dir = match (&dir, &file) {
            (Some(dir), _) => dir.clone(),
            (None, Some(file)) => {
                let beside = file.parent().filter(|beside| private::is_data_folder(beside));
                beside.map_or_else(|| PathBuf::from(DIR), Path::to_path_buf)
            }
            (None, None) => PathBuf::from(DIR),
        };
        let mut table = match &file {
            Some(file) => read(file)?,
            None if folder::CONFIGURATION.of(&dir).exists() => {
                read(&folder::CONFIGURATION.of(&dir))?
            }
            None => Table::new(),
        };
        // A mistake is blamed on the file while only the file is in the table.
        if let Err(error) = Self::deserialize(table.clone()) {
            let path = file.unwrap_or_else(|| folder::CONFIGURATION.of(&dir));
            return Err(ConfigError::File { path, message: first_line(&error.to_string()) });
        }
        for (name, text) in &variables {
            apply_variable(&mut table, name, text)?;
        }
        for (section, key, value) in flags {
            set(&mut table, section, key, value.clone());
        }
        let config = Self::deserialize(table)
            .map_err(|error| ConfigError::Value(first_line(&error.to_string())))?;
        if config.check.hour_utc > 23 {
            let hour = config.check.hour_utc;
            return Err(ConfigError::Value(format!("check.hour_utc: {hour} is not an hour")));
        }
        if (1..METRICS_TOKEN_MIN).contains(&config.metrics.token.reveal().len()) {
            let message = format!("metrics.token: has less than {METRICS_TOKEN_MIN} characters");
            return Err(ConfigError::Value(message));
        }
        if config.query.workers < WORKERS_MIN {
            let message = format!("query.workers: {WORKERS_MIN} are the fewest");
            return Err(ConfigError::Value(message));
        }
        Ok(Self { dir, ..config })
    }
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
    text.parse().map_err(|error: toml::de::Error| ConfigError::File {
        path: path.to_path_buf(),
        message: error.to_string().trim().replace('\n', " "),
    })
}

fn apply_variable(table: &mut Table, name: &str, text: &str) -> Result<(), ConfigError> {
    let Some(key) = name.strip_prefix("AIHUB_") else { return Ok(()) };
    if matches!(key, "DIR" | "CONFIG") || NOT_SETTINGS.iter().any(|prefix| name.starts_with(prefix))
    {
        return Ok(());
    }
    let defaults = Table::try_from(Config::default()).unwrap_or_default();
    let key = key.to_lowercase();
    // `AIHUB_SMTP__HOST` is `host` of `[smtp]`; so is `AIHUB_SMTP_HOST`, which came first.
    let parts = key.split_once("__").or_else(|| key.split_once('_'));
    let (section, key) = parts.ok_or_else(|| ConfigError::Variable(name.to_owned()))?;
    let known = defaults.get(section).and_then(Value::as_table);
    let known = known.ok_or_else(|| ConfigError::Variable(name.to_owned()))?;
    if let (Some(option), "lake" | "archive") = (key.strip_prefix("options_"), section) {
        let store = table.entry(section).or_insert_with(|| Table::new().into());
        if let Some(store) = store.as_table_mut() {
            set(store, "options", option, text.into());
        }
        return Ok(());
    }
    let default = known.get(key).ok_or_else(|| ConfigError::Variable(name.to_owned()))?;
    let value = match default {
        Value::Integer(_) => text.parse().map(Value::Integer).unwrap_or_else(|_| text.into()),
        Value::Boolean(_) => text.parse().map(Value::Boolean).unwrap_or_else(|_| text.into()),
        Value::Array(_) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(Value::from).collect())
        }
        _ => text.into(),
    };
    set(table, section, key, value);
    Ok(())
}

fn set(table: &mut Table, section: &str, key: &str, value: Value) {
    let section = table.entry(section).or_insert_with(|| Table::new().into());
    if let Some(section) = section.as_table_mut() {
        section.insert(key.to_owned(), value);
    }
}

fn first_line(text: &str) -> String {
    text.trim().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(
        toml: &str,
        variables: &[(&str, &str)],
        flags: &[(&str, &str, Value)],
    ) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("aihub.toml"), toml).unwrap();
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::load(Some(dir.path()), None, variables, flags)
    }

    #[test]
    fn later_sources_win() {
        let file = "[server]\nport = 1\n[query]\nworkers = 4\n";
        assert_eq!(load("", &[], &[]).unwrap().server.port, 7700);
        assert_eq!(load(file, &[], &[]).unwrap().server.port, 1);
        let variables =
            [("AIHUB_SERVER__PORT", "2"), ("AIHUB_LAKE_OPTIONS_AWS_REGION", "eu-1"), ("PATH", "/")];
        let config = load(file, &variables, &[]).unwrap();
        assert_eq!((config.server.port, config.query.workers), (2, 4));
        assert_eq!(config.lake.options["aws_region"].reveal(), "eu-1");
        let proxies = [("AIHUB_SERVER_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8")];
        let proxies = Vec::from(load("", &proxies, &[]).unwrap().server.trusted_proxies);
        assert_eq!(proxies, ["127.0.0.1/32", "10.0.0.0/8"]);
        let flags = [("server", "port", Value::Integer(3))];
        assert_eq!(load(file, &variables, &flags).unwrap().server.port, 3);
    }

    #[test]
    fn every_documented_variable_is_a_setting() {
        let names = include_str!("../../docs/configuration.md")
            .lines()
            .filter(|line| line.starts_with('|'))
            .flat_map(|line| line.split('`').filter(|part| part.starts_with("AIHUB_")));
        let names: Vec<_> = names.filter(|name| !name.contains("OPTIONS")).collect();
        assert!(names.len() > 20, "{names:?}");
        for name in names {
            let applied = apply_variable(&mut Table::new(), name, "1");
            assert!(applied.is_ok(), "{name}: {applied:?}");
        }
    }

    #[test]
    fn a_file_elsewhere_makes_no_data_folder() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("aihub.toml");
        fs::write(&file, "[server]\nport = 1\n").unwrap();
        let load = || Config::load(None, Some(&file), [], &[]).unwrap();
        assert_eq!((load().dir, load().server.port), (PathBuf::from(DIR), 1));
        fs::write(dir.path().join("state.db"), "").unwrap();
        assert_eq!(load().dir, dir.path());
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("[server]\nprot = 1\n", vec![], "prot"),
            ("[server]\nport = \"x\"\n", vec![], "aihub.toml"),
            ("[server", vec![], "aihub.toml"),
            ("", vec![("AIHUB_SERVER_PROT", "1")], "AIHUB_SERVER_PROT"),
            ("", vec![("AIHUB_PORT", "1")], "AIHUB_PORT"),
            ("", vec![("AIHUB_SERVER_PORT", "many")], "many"),
            ("[check]\nhour_utc = 24\n", vec![], "24 is not an hour"),
            ("[query]\nworkers = 1\n", vec![], "2 are the fewest"),
            ("[metrics]\ntoken = \"short\"\n", vec![], "16 characters"),
            ("[server]\ntrusted_proxies = [\"localhost\"]\n", vec![], "`localhost` is neither"),
            ("", vec![("AIHUB_SERVER_TRUSTED_PROXIES", "10.0.0.0/8,x")], "`x` is neither"),
        ];
        for (file, variables, part) in cases {
            let error = load(file, &variables, &[]).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
    }
}
