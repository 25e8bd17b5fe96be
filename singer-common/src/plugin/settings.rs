//! The table of settings, and its uses: parsing, warnings, `--about`, the README.
//!
//! Sources, in ascending priority: defaults, `FLEXT_*` variables, then each `--config` in the order given.
//! A `--config` is a JSON file, or `ENV` for variables with the executable's own prefix, including those in the file `.env`.
//! Later sources override earlier ones key by key.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::operations::facts::Warning;
use ldap_directory::json;
use ldap_directory::schema::syntax::truth;

mod dotenv;
mod shared;
pub use shared::SHARED;

/// The type of a setting's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A text, or a list of texts.
    TextOrList,
    /// A list of texts.
    TextList,
    /// An integer, or a text that stands for one.
    IntegerOrText,
    /// `true` or `false`.
    Boolean,
    /// An integer within inclusive bounds.
    Integer {
        /// The least value.
        min: i64,
        /// The greatest value.
        max: i64,
    },
    /// One of a fixed set of texts.
    Choice(&'static [&'static str]),
    /// A list of objects.
    ObjectList,
    /// An object.
    Object,
}

impl Kind {
    /// Returns the expected value, for messages.
    fn expectation(self) -> String {
        match self {
            Kind::Text => "a text".into(),
            Kind::TextOrList => "a text or a list of texts".into(),
            Kind::TextList => "a list of texts, for example [\"uid\", \"cn\"]".into(),
            Kind::IntegerOrText => "a whole number or a text".into(),
            Kind::Boolean => "true or false".into(),
            Kind::Integer { min, max: i64::MAX } => format!("a whole number of at least {min}"),
            Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Choice(names) => format!("one of {}", names.join(", ")),
            Kind::ObjectList => "a list of objects, for example [{\"name\": \"people\"}]".into(),
            Kind::Object => "an object".into(),
        }
    }

    fn accepts(self, value: &Value) -> bool {
        let texts = |v: &Value| v.as_array().is_some_and(|a| a.iter().all(Value::is_string));
        match self {
            Kind::Text => value.is_string(),
            Kind::TextOrList => value.is_string() || texts(value),
            Kind::TextList => texts(value),
            Kind::IntegerOrText => value.is_i64() || value.is_string(),
            Kind::Boolean => value.is_boolean(),
            Kind::Integer { min, max } => value.as_i64().is_some_and(|n| (min..=max).contains(&n)),
            Kind::Choice(names) => value.as_str().is_some_and(|s| names.contains(&s)),
            Kind::ObjectList => value.as_array().is_some_and(|a| a.iter().all(Value::is_object)),
            Kind::Object => value.is_object(),
        }
    }

    /// Converts a variable's text: texts stay as they are, other types are parsed as JSON (as Meltano exports them).
    fn value_of_variable(self, text: &str) -> Value {
        let parsed = || serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        match self {
            Kind::Text | Kind::Choice(_) => Value::String(text.to_owned()),
            Kind::Boolean => truth(text).map_or_else(|| Value::String(text.to_owned()), Value::Bool),
            Kind::TextOrList if !text.trim_start().starts_with('[') => Value::String(text.to_owned()),
            Kind::TextList if !text.trim_start().starts_with('[') => {
                Value::Array(text.split(',').map(|t| Value::String(t.trim().to_owned())).collect())
            }
            _ => parsed(),
        }
    }

    /// Returns the JSON schema of the type, as `--about` prints it. Null is the same as not set.
    pub fn json_schema(self) -> Value {
        use serde_json::json;
        match self {
            Kind::Text => json!({"type": ["string", "null"]}),
            Kind::TextOrList => json!({"type": ["string", "array", "null"], "items": {"type": "string"}}),
            Kind::TextList => json!({"type": ["array", "null"], "items": {"type": "string"}}),
            Kind::IntegerOrText => json!({"type": ["integer", "string", "null"]}),
            Kind::Boolean => json!({"type": ["boolean", "null"]}),
            Kind::Integer { min, max: i64::MAX } => json!({"type": ["integer", "null"], "minimum": min}),
            Kind::Integer { min, max } => {
                json!({"type": ["integer", "null"], "minimum": min, "maximum": max})
            }
            Kind::Choice(names) => json!({"type": ["string", "null"], "enum": names}),
            Kind::ObjectList => json!({"type": ["array", "null"], "items": {"type": "object"}}),
            Kind::Object => json!({"type": ["object", "null"]}),
        }
    }
}

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
    /// One or two sentences: meaning, unit, scope.
    pub description: &'static str,
}

impl Setting {
    /// Returns a row with neither default nor aliases, not secret.
    pub const fn new(name: &'static str, kind: Kind, description: &'static str) -> Self {
        Self { name, aliases: &[], kind, default: "", secret: false, flext: "", description }
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
        SHARED.iter().chain(self.own.iter())
    }

    fn find(&self, key: &str) -> Option<&'static Setting> {
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
                let known =
                    self.settings().flat_map(|s| [s.name].into_iter().chain(s.aliases.iter().copied()));
                warnings.push(unknown_key("", &key, known));
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

fn read_object(path: &Path) -> Result<Map<String, Value>, SettingsError> {
    let fail = |reason: String| SettingsError::File { path: path.display().to_string(), reason };
    let text = crate::operations::file::read_text(path).map_err(|e| fail(e.to_string()))?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => match json::twice(&text) {
            None => Ok(object),
            Some(setting) => {
                let problem = format!("it stands twice in {}, and one would be lost", path.display());
                Err(SettingsError::value(setting, problem, "each name once"))
            }
        },
        Ok(_) => Err(fail("the file holds no JSON object".into())),
        // serde_json's messages contain line and column, and never quote the text.
        Err(e) if looks_like_yaml(&text) => {
            Err(fail(format!("not JSON but YAML, as it seems ({e}); Meltano takes YAML, in its meltano.yml")))
        }
        Err(e) => Err(fail(format!("not JSON: {e}"))),
    }
}

/// Whether a text begins like YAML: `name: value`, or a list of such lines.
fn looks_like_yaml(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines.find(|line| *line != "---").unwrap_or_default();
    let name = first.strip_prefix("- ").unwrap_or(first).split_once(':').map(|(name, _)| name);
    name.is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TABLE: Table = Table {
        prefix: "TAP_LDAP",
        own: &[Setting::new("schemas", Kind::ObjectList, "d").alias(&["streams"])],
    };

    fn file(value: &Value) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, value.to_string()).unwrap();
        (dir, path.display().to_string())
    }

    #[test]
    fn later_sources_win_key_by_key() {
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
    fn a_misspelt_key_is_named_with_the_nearest_known_one() {
        let (_dir, path) = file(&json!({"bind_pasword": "x"}));
        let warnings = TABLE.resolve(&[path], &BTreeMap::new()).unwrap().warnings;
        assert_eq!(warnings[0].facts.nearest.as_deref(), Some("bind_password"));
        assert_eq!(warnings[0].facts.setting.as_deref(), Some("bind_pasword"));
    }

    #[test]
    fn a_wrong_value_names_the_setting_and_what_would_be_right_but_no_secret() {
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
    fn a_file_of_variables_gives_only_those_of_the_executable() {
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
    fn every_row_of_the_table_is_sound() {
        let mut names = std::collections::BTreeSet::new();
        for setting in TABLE.settings() {
            assert!(names.insert(setting.name), "{} twice", setting.name);
            assert!(!setting.description.is_empty());
            if !setting.default.is_empty() {
                let default: Value = serde_json::from_str(setting.default).unwrap();
                assert!(setting.kind.accepts(&default), "{}: its default is not of its kind", setting.name);
            }
        }
    }
}
