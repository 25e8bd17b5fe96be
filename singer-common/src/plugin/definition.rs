//! The definition of a plugin for Meltano Hub, from its table of settings:
//! <https://docs.meltano.com/reference/plugin-definition-syntax/>

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::plugin::about::About;
use crate::plugin::settings::{Kind, Setting};

/// The parts of a definition that `--about` does not have.
#[derive(Debug, Clone, Copy)]
pub struct Plugin {
    /// The owner of this variant of the plugin.
    pub variant: &'static str,
    /// The name for people.
    pub label: &'static str,
    /// The Hub's term for such plugins: `extractors`, `loaders`.
    pub kind: &'static str,
    /// Search terms.
    pub keywords: &'static [&'static str],
    /// Groups of settings: one group must be complete.
    pub required: &'static [&'static [&'static str]],
    /// Tasks other than a run, for `meltano invoke NAME:COMMAND`.
    pub commands: &'static [PluginCommand],
}

/// A task of `meltano invoke NAME:COMMAND`.
/// Meltano passes the settings to it in variables only, without `--config FILE`.
#[derive(Debug, Clone, Copy)]
pub struct PluginCommand {
    /// The name after the colon.
    pub name: &'static str,
    /// The arguments of the executable.
    pub args: &'static str,
    /// Its effect, in a sentence.
    pub description: &'static str,
}

/// Words in names of settings that are written in capitals.
const CAPITALS: &[&str] = &["ca", "dn", "id", "ldif", "otlp", "ssl", "tls", "url", "uuid"];

/// Returns all files of a plugin below `meltano/`, each with its path and content: the definition, the short definition, and the
/// lock file of the sample project. `command` regenerates them.
pub fn files(about: &About, plugin: &Plugin, command: &str) -> [(String, String); 3] {
    let (folder, variant) = (format!("{}/{}", plugin.kind, about.name), plugin.variant);
    let full = format!("{variant}.yml");
    [
        (format!("{folder}/{full}"), yaml(about, plugin, command)),
        (format!("{folder}/short.yml"), short_yaml(about, plugin, &full, command)),
        (format!("project/plugins/{}/{}--{variant}.lock", plugin.kind, about.name), lock(about, plugin)),
    ]
}

/// Returns the definition as YAML. `command` regenerates the file.
fn yaml(about: &About, plugin: &Plugin, command: &str) -> String {
    let mut out = format!("# Generated from the table of settings: `{command}` writes it anew.\n");
    let Value::Object(definition) = definition(about, plugin) else { return out };
    for (key, value) in definition {
        match value {
            Value::Array(items) => {
                let _ = writeln!(out, "{key}:");
                for item in items {
                    list_item(&item, &mut out);
                }
            }
            value => {
                let _ = writeln!(out, "{key}: {value}");
            }
        }
    }
    out
}

/// Returns the definition as a Meltano project's lock file: `plugins/extractors/tap-ldap--variant.lock`.
fn lock(about: &About, plugin: &Plugin) -> String {
    let mut lock = Map::new();
    lock.insert("plugin_type".into(), plugin.kind.into());
    if let Value::Object(definition) = definition(about, plugin) {
        // These keys are for the hub's pages only.
        lock.extend(
            definition.into_iter().filter(|(key, _)| key != "maintenance_status" && key != "quality"),
        );
    }
    format!("{:#}\n", Value::Object(lock))
}

/// Returns a short definition as YAML, for `meltano add --from-ref`: Meltano copies it into `meltano.yml`.
/// It has the settings that a new user needs, without defaults: the executable has them. `full` is the file with all settings.
fn short_yaml(about: &About, plugin: &Plugin, full: &str, command: &str) -> String {
    let mut out = format!(
        "# Generated from the table of settings: `{command}` writes it anew.\n# The settings that a new user needs; all of them are in {full}.\n"
    );
    let Value::Object(definition) = definition(about, plugin) else { return out };
    // Before the first release there is nothing to install: Meltano then takes the executable from the PATH.
    let is_known = |key: &&str| *key != "pip_url" || published(env!("CARGO_PKG_REPOSITORY")).is_some();
    let keys = ["name", "namespace", "variant", "label", "pip_url", "executable", "capabilities", "commands"];
    for key in keys.into_iter().filter(is_known) {
        if let Some(value) = definition.get(key) {
            let _ = writeln!(out, "{key}: {value}");
        }
    }
    out.push_str("settings:\n");
    for row in about.table.settings().filter(|s| s.basic) {
        let Value::Object(mut fields) = setting(row) else { continue };
        fields.retain(|key, _| ["name", "kind", "options", "sensitive"].contains(&key.as_str()));
        fields.insert("description".into(), first_sentence(row.description).into());
        let _ = writeln!(out, "- {}", Value::Object(fields));
    }
    out
}

/// Returns the first sentence of a text, without its full stop.
fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.')
}

/// JSON is valid YAML: short items are written as JSON.
fn list_item(item: &Value, out: &mut String) {
    let Value::Object(fields) = item else {
        let _ = writeln!(out, "- {item}");
        return;
    };
    let mut indent = "- ";
    for (key, value) in fields {
        let _ = writeln!(out, "{indent}{key}: {value}");
        indent = "  ";
    }
}

/// Returns the definition.
fn definition(about: &About, plugin: &Plugin) -> Value {
    let settings: Vec<Value> = about.table.settings().map(setting).collect();
    let mut definition = json!({
        "name": about.name,
        "namespace": about.name.replace('-', "_"),
        "variant": plugin.variant,
        "label": plugin.label,
        "description": about.description,
        "pip_url": about.name,
        "executable": about.name,
        "keywords": plugin.keywords,
        "maintenance_status": "beta",
        "quality": "unknown",
        "capabilities": about.capabilities,
        "commands": commands(plugin),
        "settings_group_validation": plugin.required,
        "settings": settings,
    });
    // Where the Hub has it: meltano/README.md.
    definition["logo_url"] = format!("/assets/logos/{}/ldap.svg", plugin.kind).into();
    definition["domain_url"] = "https://www.rfc-editor.org/info/rfc4511".into();
    if let Some(repository) = published(env!("CARGO_PKG_REPOSITORY")) {
        definition["repo"] = repository.into();
    }
    definition
}

/// Returns the address of the repository, or `None` while Cargo.toml has a placeholder for it.
fn published(repository: &str) -> Option<&str> {
    (!repository.is_empty() && !repository.contains(".invalid")).then_some(repository)
}

fn commands(plugin: &Plugin) -> Value {
    let row = |c: &PluginCommand| (c.name.to_owned(), json!({"args": c.args, "description": c.description}));
    Value::Object(plugin.commands.iter().map(row).collect())
}

fn setting(setting: &Setting) -> Value {
    let mut row = Map::new();
    row.insert("name".into(), setting.name.into());
    row.insert("label".into(), label(setting.name).into());
    row.insert("kind".into(), kind(setting.kind).into());
    if !setting.aliases.is_empty() {
        row.insert("aliases".into(), setting.aliases.into());
    }
    if let Kind::Choice(names) = setting.kind {
        let options: Vec<Value> =
            names.iter().map(|name| json!({"label": label(name), "value": name})).collect();
        row.insert("options".into(), options.into());
    }
    let mut description = setting.description.to_owned();
    if let Ok(default) = serde_json::from_str::<Value>(setting.default) {
        if setting.flext.is_empty() {
            row.insert("value".into(), default);
        } else {
            // Meltano would pass the default as if it were set, which would override the variable.
            let _ = write!(description, " Default: `{default}`, or the environment's `{}`.", setting.flext);
        }
    }
    if setting.secret {
        row.insert("sensitive".into(), true.into());
    }
    row.insert("description".into(), description.into());
    Value::Object(row)
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::TextOrList | Kind::IntegerOrText => "string",
        Kind::TextList | Kind::ObjectList => "array",
        Kind::Boolean => "boolean",
        Kind::Integer { .. } => "integer",
        Kind::Choice(_) => "options",
        Kind::Object => "object",
    }
}

/// Returns the label of a setting: `bind_dn` is "Bind DN".
fn label(name: &str) -> String {
    let word = |word: &str| {
        if CAPITALS.contains(&word) {
            return word.to_uppercase();
        }
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
    };
    name.split('_').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definition_has_no_placeholder_for_the_repository() {
        assert_eq!(published("https://repository.invalid/x"), None);
        assert_eq!(published(""), None);
        assert_eq!(published("https://git.example.com/x"), Some("https://git.example.com/x"));
    }

    #[test]
    fn definition_labels() {
        assert_eq!(label("bind_dn"), "Bind DN");
        assert_eq!(label("tls_ca_file"), "TLS CA File");
        assert_eq!(label("ou"), "Ou");
    }

    #[test]
    fn short_definition_has_first_sentences() {
        assert_eq!(first_sentence("The directory: `ldif:a.ldif`. More."), "The directory: `ldif:a.ldif`");
        assert_eq!(first_sentence("The bind DN."), "The bind DN");
    }

    #[test]
    fn definition_has_no_value_for_a_default_with_a_variable() {
        let row = Setting::new("port", Kind::Integer { min: 1, max: 9 }, "The port.").or("3");
        assert_eq!(setting(&row)["value"], 3);
        let row = row.flext("FLEXT_LDAP_PORT");
        let row = setting(&row);
        assert!(row.get("value").is_none(), "{row}");
        assert!(row["description"].as_str().unwrap().contains("FLEXT_LDAP_PORT"), "{row}");
    }
}
