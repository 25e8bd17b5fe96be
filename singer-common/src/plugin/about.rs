//! `--about`: name, capabilities and settings of an executable, from its table of settings.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::plugin::settings::{Setting, Table};

/// The formats of `--about`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum AboutFormat {
    /// For people.
    #[default]
    Text,
    /// For Meltano, in the shape of the Singer SDK.
    Json,
    /// For a README.
    Markdown,
}

/// An executable's own description.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// `tap-ldap`.
    pub name: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// The package's version.
    pub version: &'static str,
    /// Capabilities, by their names on Meltano Hub.
    pub capabilities: &'static [&'static str],
    /// The settings.
    pub table: Table,
}

impl About {
    /// Returns the output of `--about`, without a line feed at its end.
    pub fn render(&self, format: AboutFormat) -> String {
        match format {
            AboutFormat::Text => self.text(),
            AboutFormat::Json => format!("{:#}", self.json()),
            AboutFormat::Markdown => self.markdown(),
        }
    }

    /// Returns the JSON schema of the settings.
    fn settings_schema(&self) -> Value {
        let properties: Map<String, Value> =
            self.table.settings().map(|s| (s.name.to_owned(), setting_schema(s))).collect();
        json!({
            "type": "object",
            "properties": properties,
            "required": [],
            "$schema": "https://json-schema.org/draft/2020-12/schema",
        })
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "description": self.description,
            "version": self.version,
            "sdk_version": null,
            "supported_python_versions": null,
            "capabilities": self.capabilities,
            "settings": self.settings_schema(),
        })
    }

    fn text(&self) -> String {
        let mut out = format!(
            "Name: {}\nDescription: {}\nVersion: {}\nCapabilities:\n{}\nSettings:",
            self.name,
            self.description,
            self.version,
            self.capabilities.iter().map(|c| format!("  - {c}")).collect::<Vec<_>>().join("\n")
        );
        for s in self.table.settings() {
            let _ = write!(
                out,
                "\n  - Name: {}\n    Type: {}\n    Environment Variable: {}_{}",
                s.name,
                s.kind.json_schema()["type"],
                self.table.prefix,
                s.name.to_uppercase()
            );
            if !s.default.is_empty() {
                let _ = write!(out, "\n    Default: {}", s.default);
            }
            let _ = write!(out, "\n    Description: {}", s.description);
        }
        out
    }

    fn markdown(&self) -> String {
        let mut out = format!(
            "# `{}`\n\n{}\n\nVersion {}.\n\n## Capabilities\n\n{}\n\n## Settings\n\n",
            self.name,
            self.description,
            self.version,
            self.capabilities.iter().map(|c| format!("- `{c}`")).collect::<Vec<_>>().join("\n")
        );
        for (n, (group, settings)) in self.table.groups().enumerate() {
            let space = if n == 0 { "" } else { "\n\n" };
            let _ = write!(out, "{space}### {}\n\n{}", group.title(), settings_table(&settings));
        }
        out
    }
}

/// Returns a Markdown table of settings. Each row has an anchor with the name of its setting.
fn settings_table(settings: &[&Setting]) -> String {
    let mut out = String::from("| setting | default | meaning |\n|---|---|---|");
    for s in settings {
        let default = if s.default.is_empty() { "–".to_owned() } else { format!("`{}`", s.default) };
        let names: Vec<String> = [s.name].iter().chain(s.aliases).map(|n| format!("`{n}`")).collect();
        let (name, names, meaning) = (s.name, names.join(", "), s.description.replace('|', "\\|"));
        let _ = write!(out, "\n| <a id=\"{name}\"></a>{names} | {default} | {meaning} |");
    }
    out
}

fn setting_schema(setting: &Setting) -> Value {
    let mut schema = setting.kind.json_schema();
    if let Value::Object(object) = &mut schema {
        object.insert("description".into(), setting.description.into());
        if let Ok(default) = serde_json::from_str::<Value>(setting.default) {
            object.insert("default".into(), default);
        }
        if setting.secret {
            object.insert("secret".into(), true.into());
            object.insert("writeOnly".into(), true.into());
        }
    }
    schema
}
