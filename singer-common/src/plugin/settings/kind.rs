//! Types of settings.

use serde_json::Value;

use ldap_directory::schema::syntax::truth;

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
    pub(super) fn expectation(self) -> String {
        match self {
            Kind::Text => "a text".into(),
            Kind::TextOrList => "a text or a list of texts".into(),
            Kind::TextList => "a list of texts, for example [\"uid\", \"cn\"]".into(),
            Kind::IntegerOrText => "a whole number or a text".into(),
            Kind::Boolean => "true or false".into(),
            Kind::Integer { min, max: i64::MAX } => format!("a whole number of at least {min}"),
            Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Choice(names) => format!("one of {}", names.join(", ")),
            Kind::ObjectList => "a list of objects, for example [{\"name\": \"a-name\"}]".into(),
            Kind::Object => "an object".into(),
        }
    }

    /// Whether a value is of this type.
    pub(super) fn accepts(self, value: &Value) -> bool {
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
    pub(super) fn value_of_variable(self, text: &str) -> Value {
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

    /// Converts a config file's text that stands for another type (as Meltano passes settings that its definition lacks).
    /// Other values stay as they are.
    pub(super) fn value_of_text(self, value: Value) -> Value {
        let Value::String(text) = &value else { return value };
        let is_json = text.trim_start().starts_with(['[', '{']);
        let may_be_text = matches!(self, Kind::Boolean | Kind::Integer { .. }) || is_json;
        if self.accepts(&value) || !may_be_text {
            return value;
        }
        let parsed = self.value_of_variable(text);
        if self.accepts(&parsed) { parsed } else { value }
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
