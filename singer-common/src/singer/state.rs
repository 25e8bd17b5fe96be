//! Singer STATE: the positions of a tap. Pure: no clock, no I/O.

use serde_json::{Map, Value};

use crate::operations::error::{Class, Classified};
use crate::operations::facts::Facts;

/// The tap's STATE value: bookmarks by `tap_stream_id`, and the stream in progress.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// One bookmark for each `tap_stream_id`.
    pub bookmarks: Map<String, Value>,
    /// The stream to begin with, if the last run did not complete it.
    pub currently_syncing: Option<String>,
}

/// A state file that is not valid.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file is not JSON.
    #[error(
        "the state is not JSON ({0}); pass the last STATE that the loader printed (without a loader, the tap), or leave --state out for a full run"
    )]
    NotJson(#[from] serde_json::Error),
    /// The JSON does not have the shape of a state.
    #[error(
        "the state's {0}; pass the last STATE that the loader printed (without a loader, the tap), or leave --state out for a full run"
    )]
    Shape(&'static str),
    /// A bookmark is not valid.
    #[error(
        "the state's bookmark of `{stream}` {problem}; pass the last STATE value this tap printed, or take the bookmark out to read the stream anew"
    )]
    Bookmark {
        /// The stream's id.
        stream: String,
        /// The problem.
        problem: String,
    },
    /// The state contains no stream of the catalog.
    #[error(
        "the state knows none of the catalog's streams (it has `{0}`): it is another tap's or another directory's; pass the last STATE value this tap printed, or leave --state out for a full run"
    )]
    Foreign(String),
}

impl Classified for StateError {
    fn class(&self) -> Class {
        Class::Config
    }

    fn facts(&self) -> Facts {
        Facts::of_setting("--state")
    }
}

/// The key of the stream in progress.
const CURRENTLY_SYNCING: &str = "currently_syncing";

impl State {
    /// Parses a state: the bare value, or the whole message (`{"type": "STATE", "value": …}`).
    /// An empty text is an empty state, which Meltano passes in its first run.
    pub fn parse(text: &str) -> Result<State, StateError> {
        if text.trim().is_empty() {
            return Ok(State::default());
        }
        let mut value: Value = serde_json::from_str(text)?;
        if value.get("type").and_then(Value::as_str) == Some("STATE") {
            value = value.get_mut("value").map(Value::take).unwrap_or_default();
        }
        let Value::Object(mut object) = value else {
            return Err(StateError::Shape("value is not an object"));
        };
        let bookmarks = match object.remove("bookmarks") {
            None | Some(Value::Null) if object.keys().all(|key| key == CURRENTLY_SYNCING) => Map::new(),
            None | Some(Value::Null) => {
                return Err(StateError::Shape("value has no `bookmarks`, and other properties instead"));
            }
            Some(Value::Object(bookmarks)) => bookmarks,
            Some(_) => return Err(StateError::Shape("`bookmarks` is not an object")),
        };
        let currently_syncing = match object.remove(CURRENTLY_SYNCING) {
            None | Some(Value::Null) => None,
            Some(Value::String(stream)) => Some(stream),
            Some(_) => return Err(StateError::Shape("`currently_syncing` is not a text")),
        };
        Ok(State { bookmarks, currently_syncing })
    }

    /// Returns the value of a STATE message.
    pub fn to_value(&self) -> Value {
        let mut object = Map::new();
        object.insert("bookmarks".into(), Value::Object(self.bookmarks.clone()));
        if let Some(stream) = &self.currently_syncing {
            object.insert(CURRENTLY_SYNCING.into(), Value::String(stream.clone()));
        }
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_accepts_value_and_message() {
        let bare = r#"{"bookmarks": {"a": {"version": 1}}, "currently_syncing": "b"}"#;
        let state = State::parse(bare).unwrap();
        let wrapped = State::parse(&format!(r#"{{"type":"STATE","value":{bare}}}"#)).unwrap();
        assert_eq!(state, wrapped);
        assert_eq!(state.currently_syncing.as_deref(), Some("b"));
        assert_eq!(State::parse(&state.to_value().to_string()).unwrap(), state);
        assert_eq!(State::parse("{}").unwrap(), State::default());
        assert_eq!(State::parse("").unwrap(), State::default());
    }

    #[test]
    fn state_errors_are_configuration_errors() {
        for text in [
            "{\"a\": 1}",
            "{\"singer_state\": {\"bookmarks\": {}}}",
            "[1]",
            "{\"bookmarks\": 3}",
            "{\"currently_syncing\": {}}",
            "{\"bookmarks\":",
        ] {
            let error = State::parse(text).unwrap_err();
            assert_eq!(error.class(), Class::Config, "{text}");
            assert!(error.to_string().contains("--state"), "{error}");
        }
    }
}
