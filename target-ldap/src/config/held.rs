//! `plan_file`, `on_held` and `first_run`: what a run leaves that is held back.

use std::path::PathBuf;

use serde_json::{Map, Value};
use singer_common::operations::facts::Warning;
use singer_common::plugin::settings::SettingsError;

/// The name of the setting.
pub const PLAN_FILE: &str = "plan_file";
/// The name of the setting.
pub const ON_HELD: &str = "on_held";

/// The name of the setting.
pub const FIRST_RUN: &str = "first_run";

/// A command that is run when a run is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldCommand {
    /// A line for the shell.
    Shell(String),
    /// A program and its arguments.
    Program(String, Vec<String>),
}

/// What a held run leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldSettings {
    /// The file for the plan.
    pub plan_file: Option<PathBuf>,
    /// The command that is run then.
    pub on_held: Option<HeldCommand>,
    /// Whether the first run with a plan file is carried out, whatever it would do.
    pub applies_first_run: bool,
}

impl HeldSettings {
    /// Parses the settings. `has_limits`: whether anything can hold a run back. Warnings are for the log.
    ///
    /// # Errors
    /// A value is empty.
    pub fn parse(
        values: &Map<String, Value>,
        has_limits: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<HeldSettings, SettingsError> {
        let given = |name: &str| values.get(name).filter(|value| !value.is_null());
        let plan_file = match given(PLAN_FILE).and_then(Value::as_str) {
            Some("") => return Err(SettingsError::value(PLAN_FILE, "an empty text", "the path of a file")),
            path => path.map(PathBuf::from),
        };
        let on_held = given(ON_HELD).map(command).transpose()?;
        let applies_first_run = given(FIRST_RUN).and_then(Value::as_str) == Some("apply");
        let mut unused = |name: &str, why: &str| {
            warnings.push(Warning::of_setting(name, format!("{name} is not used: {why}")));
        };
        if on_held.is_some() && !has_limits && plan_file.is_none() {
            let why = "nothing can hold a run back (max_deletes, max_changes, limits, plan_file)";
            unused(ON_HELD, why);
        }
        if applies_first_run && plan_file.is_none() {
            unused(FIRST_RUN, "plan_file is not set, so no first run is held back");
        }
        Ok(HeldSettings { plan_file, on_held, applies_first_run })
    }
}

fn command(value: &Value) -> Result<HeldCommand, SettingsError> {
    let wrong = |problem: &str| {
        let expected = r#"a line for the shell, or a program and its arguments: ["notify", "--to", "it"]"#;
        SettingsError::value(ON_HELD, problem, expected)
    };
    match value {
        Value::String(line) if !line.trim().is_empty() => Ok(HeldCommand::Shell(line.clone())),
        Value::Array(words) => {
            let words: Option<Vec<String>> =
                words.iter().map(|word| word.as_str().map(str::to_owned)).collect();
            let mut words =
                words.ok_or_else(|| wrong("a list with something that is not a text"))?.into_iter();
            match words.next() {
                Some(program) if !program.is_empty() => Ok(HeldCommand::Program(program, words.collect())),
                _ => Err(wrong("no program")),
            }
        }
        _ => Err(wrong("no command")),
    }
}
