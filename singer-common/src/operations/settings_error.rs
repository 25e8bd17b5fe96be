//! Errors of settings, and checks for settings with parts.

use ldap_directory::nearest::nearest;
use serde_json::{Map, Value};

use crate::operations::error::{Class, Classified};
use crate::operations::facts::{Facts, did_you_mean};

/// An invalid configuration. Every message names the setting, the problem, and the expected value.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A config file could not be read.
    #[error("--config {path}: {reason}; expected a JSON file, or ENV for environment variables")]
    File {
        /// The path as given.
        path: String,
        /// The message of the system or the JSON parser.
        reason: String,
    },
    /// A value of the wrong type, or settings that contradict each other.
    #[error("setting `{setting}`: {problem}{}; expected {expected}", hint(.nearest.as_deref(), .expected))]
    Value {
        /// The setting's name, with a path if it has parts.
        setting: String,
        /// The problem.
        problem: String,
        /// The expected value.
        expected: String,
        /// The known name nearest to the wrong one.
        nearest: Option<String>,
        /// The stream concerned.
        stream: Option<String>,
    },
}

/// Returns a hint at the nearest name, unless the expectation contains it.
fn hint(nearest: Option<&str>, expected: &str) -> String {
    did_you_mean(nearest.filter(|name| !expected.contains(&format!("`{name}`"))))
}

impl Classified for SettingsError {
    fn class(&self) -> Class {
        Class::Config
    }

    fn facts(&self) -> Facts {
        match self {
            SettingsError::File { .. } => Facts::of_setting("--config"),
            SettingsError::Value { setting, nearest, stream, .. } => {
                Facts { nearest: nearest.clone(), stream: stream.clone(), ..Facts::of_setting(setting) }
            }
        }
    }
}

impl SettingsError {
    /// Returns an error about one setting.
    pub fn value(
        setting: impl Into<String>,
        problem: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        SettingsError::Value {
            setting: setting.into(),
            problem: problem.into(),
            expected: expected.into(),
            nearest: None,
            stream: None,
        }
    }

    /// Returns the error with its stream. The text already names the stream or one of its settings.
    #[must_use]
    pub fn in_stream(mut self, name: &str) -> Self {
        if let SettingsError::Value { stream, .. } = &mut self {
            *stream = Some(name.to_owned());
        }
        self
    }

    /// Returns the error with the known name nearest to the wrong one.
    #[must_use]
    pub fn near(mut self, name: Option<impl Into<String>>) -> Self {
        if let SettingsError::Value { nearest, .. } = &mut self {
            *nearest = name.map(Into::into);
        }
        self
    }
}

/// Rejects unknown keys of an object in a setting: a misspelled key would be ignored.
///
/// # Errors
/// The first unknown key, with the nearest known one.
pub fn check_keys(setting: &str, object: &Map<String, Value>, known: &[&str]) -> Result<(), SettingsError> {
    let Some(key) = object.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let error = SettingsError::value(
        format!("{setting}.{key}"),
        "there is no such part",
        format!("one of {}", known.join(", ")),
    );
    Err(error.near(nearest(key, known.iter().copied())))
}

/// Deserializes resolved values (or a part of them) into a typed configuration.
///
/// # Errors
/// The path of the first invalid part, its value and the expected one; for a fixed set of words, the nearest.
pub fn typed<T: serde::de::DeserializeOwned>(setting: &str, value: Value) -> Result<T, SettingsError> {
    serde_path_to_error::deserialize(value).map_err(|e| {
        let within = e.path().to_string();
        // A name in parentheses stands for a group of settings: its parts are top-level settings.
        let path = match (setting.starts_with('('), within.as_str()) {
            (_, "." | "") => setting.to_owned(),
            (true, within) => within.to_owned(),
            (false, within) if within.starts_with('[') => format!("{setting}{within}"),
            (false, within) => format!("{setting}.{within}"),
        };
        wrong_part(path, &e.into_inner().to_string())
    })
}

/// Converts serde's message into a message of this project.
fn wrong_part(path: String, said: &str) -> SettingsError {
    let (problem, expected) =
        said.split_once(", expected ").unwrap_or((said, "what the table of settings says"));
    let quoted =
        |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let near = match quoted(problem).first() {
        Some(word) if problem.starts_with("unknown variant") => {
            let known = quoted(expected);
            let in_it = || known.iter().find(|known| word.to_lowercase().contains(known.as_str()));
            // A word like `subtree` may also be a part of other words.
            nearest(word, known.iter().map(String::as_str))
                .or_else(|| in_it().map(String::as_str))
                .map(str::to_owned)
        }
        _ => None,
    };
    let problem = match problem.split_once(": ") {
        // The text itself is not shown: it may be a misplaced secret.
        Some(("invalid type", got)) if got.starts_with("string ") => "got a text".to_owned(),
        Some(("invalid type", got)) => format!("got {got}"),
        Some(("invalid length", _)) => "got a list".to_owned(),
        _ if problem.starts_with("data did not match any variant") => {
            "it is none of the forms that there are".to_owned()
        }
        _ => problem.replacen("unknown variant ", "got ", 1),
    };
    let expected = match expected {
        "a sequence" => "a list, for example [\"uid\", \"cn\"]",
        "a map" => "an object, in braces",
        "a string" => "a text",
        made if made.starts_with("struct ") => "an object, in braces",
        other => other,
    };
    SettingsError::value(path, problem, expected).near(near)
}
