//! The table of settings, and its uses: parsing, warnings, `--about`, the README.
//!
//! Sources, in ascending priority: defaults, `FLEXT_*` variables, then each `--config` in the order given.
//! A `--config` is a JSON file, or `ENV` for variables with the executable's own prefix, including those in the file `.env`.
//! Later sources override earlier ones key by key.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::operations::facts::Warning;

mod config_file;
mod dotenv;
mod group;
mod kind;
mod shared;

pub use group::Group;
pub use kind::Kind;
pub use shared::SHARED;

use config_file::read_object;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The key in a config file. In upper case after the prefix, it is the variable of `--config ENV`.
    pub name: &'static str,
    /// Other names of the setting.
    pub aliases: &'static [&'static str],
    /// The type of its value.
    pub kind: Kind,
    /// The default as JSON, empty for none.
    pub default: &'static str,
    /// The value is shown neither by `--about` nor in a message.
    pub secret: bool,
    /// The `FLEXT_*` variable of the setting, empty for none.
    pub flext: &'static str,
    /// The heading of the setting in the documentation; `None` only until [`Setting::of`].
    pub group: Option<Group>,
    /// Whether the short definition for Meltano has the setting: a new user needs it.
    pub basic: bool,
    /// Whether the setting holds a run back. A misspelled one is an error, not a warning: the run would go on without it.
    pub holds_back: bool,
    /// One or two sentences: meaning, unit, scope.
    pub description: &'static str,
}

impl Setting {
    /// Returns a row with neither default nor aliases, not secret.
    pub const fn new(name: &'static str, kind: Kind, description: &'static str) -> Self {
        Self {
            name,
            aliases: &[],
            kind,
            default: "",
            secret: false,
            flext: "",
            group: None,
            basic: false,
            holds_back: false,
            description,
        }
    }

    /// Returns the row in a group.
    #[must_use]
    pub const fn of(mut self, group: Group) -> Self {
        self.group = Some(group);
        self
    }

    /// Returns the row, marked as one that a new user needs.
    #[must_use]
    pub const fn basic(mut self) -> Self {
        self.basic = true;
        self
    }

    /// Returns the row, marked as one that holds a run back.
    #[must_use]
    pub const fn holds_back(mut self) -> Self {
        self.holds_back = true;
        self
    }

    /// Returns the row with a default, as JSON.
    #[must_use]
    pub const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    /// Returns the row with a `FLEXT_*` variable.
    #[must_use]
    pub const fn flext(mut self, variable: &'static str) -> Self {
        self.flext = variable;
        self
    }

    /// Returns the row with other names.
    #[must_use]
    pub const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Returns the row, marked as secret.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

pub use ldap_directory::nearest::{nearest, nearest_of_many};

pub use crate::operations::settings_error::{SettingsError, check_keys, typed};

/// The file in the working directory whose variables `--config ENV` reads, too.
const DOTENV: &str = ".env";

/// The settings of an executable: the shared ones and its own.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// The prefix of the variables that `--config ENV` reads: `TAP_LDAP`.
    pub prefix: &'static str,
    /// The settings only this executable has.
    pub own: &'static [Setting],
    /// The groups of shared settings that this executable does not have.
    pub without: &'static [Group],
}

/// A resolved configuration: the values with defaults, and warnings for the user.
#[derive(Debug)]
pub struct Resolved {
    /// The values by setting name. Settings that are neither given nor have a default are missing.
    pub values: Map<String, Value>,
    /// Warnings to be logged.
    pub warnings: Vec<Warning>,
}

impl Table {
    /// Returns all rows, the shared ones first.
    pub fn settings(&self) -> impl Iterator<Item = &'static Setting> + '_ {
        let has = |s: &&Setting| !s.group.is_some_and(|group| self.without.contains(&group));
        SHARED.iter().filter(has).chain(self.own.iter())
    }

    /// Returns the groups that have settings, in their order, each with its settings in the order of the table.
    pub fn groups(&self) -> impl Iterator<Item = (Group, Vec<&'static Setting>)> + '_ {
        Group::ALL.iter().filter_map(move |group| {
            let settings: Vec<_> = self.settings().filter(|s| s.group == Some(*group)).collect();
            (!settings.is_empty()).then_some((*group, settings))
        })
    }

    /// Returns the row of a setting, by its name or another name of it.
    pub fn find(&self, key: &str) -> Option<&'static Setting> {
        self.settings().find(|s| s.name == key || s.aliases.contains(&key))
    }

    /// Reads the configuration from `sources` (paths, or `ENV`) and the environment's `variables`.
    pub fn resolve(
        &self,
        sources: &[String],
        variables: &BTreeMap<String, String>,
    ) -> Result<Resolved, SettingsError> {
        let mut values = Map::new();
        let mut warnings = Vec::new();
        for setting in self.settings() {
            if let Ok(default) = serde_json::from_str(setting.default) {
                values.insert(setting.name.to_owned(), default);
            }
        }
        for setting in self.settings().filter(|s| !s.flext.is_empty()) {
            if let Some(text) = variables.get(setting.flext).filter(|t| !t.is_empty()) {
                let value = setting.kind.value_of_variable(text);
                Self::check(setting, setting.flext, &value)?;
                values.insert(setting.name.to_owned(), value);
            }
        }
        for source in sources {
            let layer = if source == "ENV" {
                let mut all = self.variables_of_file(Path::new(DOTENV))?;
                // The environment overrides the file.
                all.extend(variables.iter().map(|(name, value)| (name.clone(), value.clone())));
                self.layer_of_variables(&all, &mut warnings)
            } else {
                read_object(Path::new(source))?
            };
            self.apply(layer, &mut values, &mut warnings)?;
        }
        Ok(Resolved { values, warnings })
    }

    /// Returns this executable's own variables in a file of `NAME=value` lines; none if the file does not exist.
    fn variables_of_file(&self, path: &Path) -> Result<BTreeMap<String, String>, SettingsError> {
        let bad = |reason: String| SettingsError::File { path: path.display().to_string(), reason };
        let text = match crate::operations::file::read_text(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(e) => return Err(bad(e.to_string())),
        };
        let variables = dotenv::parse(&text)
            .map_err(|line| bad(format!("line {line} is not NAME=value, or a quotation mark is missing")))?;
        let prefix = format!("{}_", self.prefix);
        Ok(variables.into_iter().filter(|(name, _)| name.starts_with(&prefix)).collect())
    }

    fn layer_of_variables(
        &self,
        variables: &BTreeMap<String, String>,
        warnings: &mut Vec<Warning>,
    ) -> Map<String, Value> {
        let mut layer = Map::new();
        let prefix = format!("{}_", self.prefix);
        for (variable, text) in variables {
            let Some(key) = variable.strip_prefix(&prefix) else { continue };
            let key = key.to_ascii_lowercase();
            match self.find(&key) {
                Some(setting) => {
                    layer.insert(key, setting.kind.value_of_variable(text));
                }
                // Meltano exports variables of its own with this prefix; they are not misspelled settings.
                None if key.starts_with('_') => {}
                None => {
                    layer.insert(key, Value::String(text.clone()));
                }
            }
        }
        if layer.is_empty() {
            let text = format!("--config ENV: no variable begins with {prefix}");
            warnings.push(Warning::of_setting("--config", text));
        }
        layer
    }

    fn apply(
        &self,
        layer: Map<String, Value>,
        values: &mut Map<String, Value>,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), SettingsError> {
        let mut given: BTreeMap<&str, (String, Value)> = BTreeMap::new();
        for (key, value) in layer {
            // Meltano drops unset keys, other callers pass null: both mean "not set".
            if value.is_null() {
                continue;
            }
            if let Some(setting) = self.find(&key) {
                let value = setting.kind.value_of_text(value);
                Self::check(setting, &key, &value)?;
                // If two names of one setting differ in value, neither has priority.
                if let Some((other, theirs)) = given.insert(setting.name, (key.clone(), value.clone()))
                    && theirs != value
                {
                    let problem =
                        format!("`{other}` is another name of it, and is given, too, with another value");
                    return Err(SettingsError::value(key, problem, format!("`{}` alone", setting.name)));
                }
                values.insert(setting.name.to_owned(), value);
            } else {
                let known: Vec<&str> = self
                    .settings()
                    .flat_map(|s| [s.name].into_iter().chain(s.aliases.iter().copied()))
                    .collect();
                let near = nearest(&key, known.iter().copied());
                if let Some(near) =
                    near.filter(|near| self.find(near).is_some_and(|setting| setting.holds_back))
                {
                    let problem = "unknown, and close to a setting that holds a run back";
                    return Err(SettingsError::value(key, problem, format!("`{near}`")).near(Some(near)));
                }
                warnings.push(unknown_key("", &key, known.into_iter()));
            }
        }
        Ok(())
    }

    fn check(setting: &Setting, key: &str, value: &Value) -> Result<(), SettingsError> {
        if setting.kind.accepts(value) {
            return Ok(());
        }
        let problem = match (setting.kind, value) {
            // The text is not shown: it may be a part of a secret.
            (Kind::Object | Kind::ObjectList, Value::String(text)) => {
                let begins = text.trim_start().starts_with(['{', '[']);
                let fault = serde_json::from_str::<serde::de::IgnoredAny>(text).err().filter(|_| begins);
                let fault = fault.map(|e| format!(" that is no JSON: {e}")).unwrap_or_default();
                format!("a text{fault}")
            }
            _ if setting.secret => type_name(value).to_owned(),
            _ => describe(value),
        };
        let near = match (setting.kind, value) {
            (Kind::Choice(names), Value::String(text)) => nearest(text, names.iter().copied()),
            _ => None,
        };
        Err(SettingsError::value(key, format!("got {problem}"), setting.kind.expectation()).near(near))
    }
}

/// Returns the warning about an unknown key, with the nearest known name.
pub fn unknown_key<'a>(path: &str, key: &str, known: impl Iterator<Item = &'a str>) -> Warning {
    let near = nearest(key, known).map(|name| format!("{path}{name}"));
    let setting = format!("{path}{key}");
    let text = format!("unknown setting `{setting}` is ignored");
    Warning::of_setting(setting, text).near(key, near)
}

/// Returns a value for messages: short, and at most one line.
fn describe(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 {
        format!("{} {text}", type_name(value))
    } else {
        type_name(value).to_owned()
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "the boolean",
        Value::Number(_) => "the number",
        Value::String(_) => "the text",
        Value::Array(_) => "the list",
        Value::Object(_) => "the object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TABLE: Table = Table {
        prefix: "TAP_LDAP",
        own: &[Setting::new("schemas", Kind::ObjectList, "d").of(Group::Streams).alias(&["streams"])],
        without: &[],
    };

    fn file(value: &Value) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, value.to_string()).unwrap();
        (dir, path.display().to_string())
    }

    #[test]
    fn settings_of_later_sources_override_key_by_key() {
        let variables: BTreeMap<String, String> = [
            ("FLEXT_LDAP_HOST", "flext.example"),
            ("FLEXT_LDAP_PORT", "1389"),
            ("TAP_LDAP_PAGE_SIZE", "7"),
            ("TAP_LDAP_START_TLS", "true"),
            ("TAP_LDAP_SERVER_URL", r#"["ldap://a", "ldap://b"]"#),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        let (_dir, path) =
            file(&json!({"host": "file.example", "page_size": 5, "bind_dn": null, "streams": []}));
        let resolved = TABLE.resolve(&[path, "ENV".into()], &variables).unwrap().values;
        assert_eq!(resolved["host"], "file.example");
        assert_eq!(resolved["port"], 1389);
        assert_eq!(resolved["page_size"], 7);
        assert_eq!(resolved["start_tls"], true);
        assert_eq!(resolved["server_url"], json!(["ldap://a", "ldap://b"]));
        assert_eq!(resolved["schemas"], json!([]));
        assert_eq!(resolved["connect_timeout_seconds"], 10);
        assert!(!resolved.contains_key("bind_dn"));
    }

    #[test]
    fn settings_name_the_nearest_key_for_a_misspelled_one() {
        let (_dir, path) = file(&json!({"bind_pasword": "x"}));
        let warnings = TABLE.resolve(&[path], &BTreeMap::new()).unwrap().warnings;
        assert_eq!(warnings[0].facts.nearest.as_deref(), Some("bind_password"));
        assert_eq!(warnings[0].facts.setting.as_deref(), Some("bind_pasword"));
    }

    /// Meltano passes a setting that its definition lacks as a text.
    #[test]
    fn settings_accept_texts_that_are_numbers_booleans_or_json() {
        let (_dir, path) = file(
            &json!({"page_size": "7", "start_tls": "true", "schemas": "[{\"name\": \"p\"}]", "bind_dn": "7"}),
        );
        let values = TABLE.resolve(&[path], &BTreeMap::new()).unwrap().values;
        assert_eq!((&values["page_size"], &values["start_tls"]), (&json!(7), &json!(true)));
        assert_eq!((&values["schemas"], &values["bind_dn"]), (&json!([{"name": "p"}]), &json!("7")));
        for wrong in [
            json!({"page_size": "-1"}),
            json!({"page_size": "1.5"}),
            json!({"start_tls": "maybe"}),
            json!({"referral_hosts": "a, b"}),
            json!({"schemas": "{}"}),
        ] {
            let (_dir, path) = file(&wrong);
            assert!(TABLE.resolve(&[path], &BTreeMap::new()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_name_the_expected_value_but_no_secret() {
        let (_dir, path) = file(&json!({"page_size": "many"}));
        let error = TABLE.resolve(&[path], &BTreeMap::new()).unwrap_err().to_string();
        assert_eq!(
            error,
            "setting `page_size`: got the text \"many\"; expected a whole number from 0 to 2147483647"
        );
        let (_dir, path) = file(&json!({"bind_password": 4711}));
        let error = TABLE.resolve(&[path], &BTreeMap::new()).unwrap_err().to_string();
        assert!(!error.contains("4711") && error.contains("bind_password"), "{error}");
    }

    #[test]
    fn dotenv_variables_need_the_executables_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            TABLE.variables_of_file(&path)
        };
        let variables =
            read("# a comment\nTAP_LDAP_PORT=9\nOTHER=x\nexport TAP_LDAP_BIND_PASSWORD='a b'\n").unwrap();
        assert_eq!(
            variables.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
            ["TAP_LDAP_BIND_PASSWORD=a b", "TAP_LDAP_PORT=9"]
        );
        let error = read("A=1\nTAP_LDAP_BIND_PASSWORD='pass\n").unwrap_err().to_string();
        assert!(error.contains("line 2 is not NAME=value") && !error.contains("pass\n"), "{error}");
        assert!(!error.contains("'pass"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(TABLE.variables_of_file(&path).unwrap().is_empty());
    }

    #[test]
    fn settings_table_is_consistent() {
        let mut names = std::collections::BTreeSet::new();
        for setting in TABLE.settings() {
            assert!(names.insert(setting.name), "{} twice", setting.name);
            assert!(!setting.description.is_empty());
            assert!(setting.group.is_some(), "{} has no group", setting.name);
            if !setting.default.is_empty() {
                let default: Value = serde_json::from_str(setting.default).unwrap();
                assert!(setting.kind.accepts(&default), "{}: its default is not of its kind", setting.name);
            }
        }
    }
}
