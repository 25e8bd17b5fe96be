//! Structured fields of errors and warnings in the log. The text of a message may change; programs read the fields.

use std::fmt;
use std::sync::OnceLock;

/// The subject of an error or a warning.
/// Each known part is a field of its log line under `--log-format json`, with the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The setting, with a path into it (`schemas[0].filter`), or the flag (`--catalog`).
    pub setting: Option<String>,
    /// The stream.
    pub stream: Option<String>,
    /// The record, by its key: `employee_id=1061`.
    pub record: Option<String>,
    /// The line of the input, from 1.
    pub line: Option<u64>,
    /// The entry, or the base of the search.
    pub dn: Option<String>,
    /// The attribute.
    pub attribute: Option<String>,
    /// The server or the file.
    pub server: Option<String>,
    /// LDAP's result code (RFC 4511 section 4.1.9), if a server returned one.
    pub code: Option<u32>,
    /// The unknown name.
    pub name: Option<String>,
    /// The known name nearest to the unknown one.
    pub nearest: Option<String>,
}

impl Facts {
    /// Returns the facts of a setting.
    pub fn of_setting(setting: impl Into<String>) -> Self {
        Self { setting: Some(setting.into()), ..Self::default() }
    }

    /// Fills in missing facts from `others`, which belong to an error further down the chain.
    #[must_use]
    pub fn or(self, others: Facts) -> Self {
        Self {
            setting: self.setting.or(others.setting),
            stream: self.stream.or(others.stream),
            record: self.record.or(others.record),
            line: self.line.or(others.line),
            dn: self.dn.or(others.dn),
            attribute: self.attribute.or(others.attribute),
            server: self.server.or(others.server),
            code: self.code.or(others.code),
            name: self.name.or(others.name),
            nearest: self.nearest.or(others.nearest),
        }
    }

    /// Returns the place of the setting's description, such as `docs/reference/tap-ldap.md#page_size`.
    /// For a misspelled name it is that of the nearest setting. A flag has none.
    pub fn reference(&self) -> Option<String> {
        reference(self.setting.as_deref()?, self.nearest.as_deref())
    }

    /// Logs an error with these facts.
    pub fn error(&self, text: &str) {
        let Facts { setting, stream, record, line, dn, attribute, server, code, name, nearest } = self;
        tracing::error!(setting, stream, record, line, dn, attribute, server, code, name, nearest, "{text}");
    }

    /// Logs information with these facts.
    pub fn info(&self, text: &str) {
        let Facts { setting, stream, record, line, dn, attribute, server, code, name, nearest } = self;
        tracing::info!(setting, stream, record, line, dn, attribute, server, code, name, nearest, "{text}");
    }

    /// Logs a warning with these facts.
    pub fn warn(&self, text: &str) {
        let Facts { setting, stream, record, line, dn, attribute, server, code, name, nearest } = self;
        tracing::warn!(setting, stream, record, line, dn, attribute, server, code, name, nearest, "{text}");
    }
}

/// Finds the place of a setting's description.
type FindReference = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// One per process, as the executable's table of settings.
static REFERENCES: OnceLock<FindReference> = OnceLock::new();

/// Returns the place of a setting's description. `setting` may be a path into it, and `nearest` is the known name.
pub(crate) fn reference(setting: &str, nearest: Option<&str>) -> Option<String> {
    let find = REFERENCES.get()?;
    let top = setting.split(['.', '[']).next().unwrap_or_default();
    // The nearest name of a part (`filter`) is not the name of a setting.
    let nearest = nearest.filter(|_| top == setting && !setting.starts_with('-'));
    find(top).or_else(|| find(nearest?))
}

/// Sets how the descriptions of settings are found, by the name of a setting. Only the first call has an effect.
pub(crate) fn find_references(find: impl Fn(&str) -> Option<String> + Send + Sync + 'static) {
    // A second call (in tests) leaves the first one in place.
    let _ = REFERENCES.set(Box::new(find));
}

/// A warning to be logged later, with its facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Warning {
    /// For people.
    pub text: String,
    /// For programs.
    pub facts: Facts,
}

impl Warning {
    /// Returns a warning about a setting.
    pub fn of_setting(setting: impl Into<String>, text: impl Into<String>) -> Self {
        Self { text: text.into(), facts: Facts::of_setting(setting) }
    }

    /// Returns the warning about an unknown name, with the nearest known one, which the text mentions, too.
    #[must_use]
    pub fn near(mut self, name: &str, nearest: Option<impl Into<String>>) -> Self {
        self.facts.name = Some(name.to_owned());
        self.facts.nearest = nearest.map(Into::into);
        self.text.push_str(&did_you_mean(self.facts.nearest.as_deref()));
        self
    }

    /// Returns the warning with its stream.
    #[must_use]
    pub fn in_stream(mut self, stream: &str) -> Self {
        self.facts.stream = Some(stream.to_owned());
        self
    }

    /// Logs the warning.
    pub fn log(&self) {
        self.facts.warn(&self.text);
    }
}

impl<T: Into<String>> From<T> for Warning {
    fn from(text: T) -> Self {
        Self { text: text.into(), facts: Facts::default() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Returns the end of a message about an unknown name: `` ; did you mean `mail`? ``, or an empty text.
pub fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}
