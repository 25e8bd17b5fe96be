//! `target-ldap init`: a configuration and first rules, made by questions, or proposed from a file of messages.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ldap_directory::ldif::LdifFormat;
use ldap_directory::{Access, Directory, Vendor};
use serde_json::{Map, Value, json};
use singer_common::plugin::init::{Init, InitArgs, InitError, Terminal};
use singer_common::plugin::settings::SettingsError;
use singer_common::singer::message::{Message, SchemaMessage};
use singer_common::singer::reader::LineReader;

use crate::config::TargetConfig;
use crate::settings::TABLE;

mod proposal;
mod words;

use proposal::{Content, Place, Proposal};

/// The flags of `target-ldap init`.
#[derive(Debug, Clone, clap::Args)]
pub struct TargetInitArgs {
    /// Those of both executables
    #[command(flatten)]
    pub common: InitArgs,
    /// Propose a mapping rule for each stream of a file of Singer messages, from its SCHEMA
    #[arg(long, value_name = "PATH")]
    pub input: Option<PathBuf>,
}

/// Asks, tries the connection, and writes the configuration. `sources`: the files of `--config`.
pub async fn run(args: &TargetInitArgs, sources: &[String]) -> anyhow::Result<ExitCode> {
    // A wrong file is reported before the first question.
    let streams = args.input.as_deref().map(streams).transpose()?;
    let access = Access::Write(LdifFormat::Content);
    let mut init = Init::begin("target-ldap", TABLE, &args.common, sources, access)?;
    let directory = init.connect().await?;
    let base = init.base(&directory, "default_base_dn").await?;
    let rules = match &streams {
        Some(streams) => rules(streams, &directory, &base, &init.terminal).await,
        None => first_rule(&base, &init.terminal).await,
    };
    directory.close().await;
    let rules = rules?;
    let count = rules.len();
    if count > 0 {
        init.settings.insert("mapping_rules".into(), Value::Object(rules));
    }
    if streams.is_some() {
        // The rules are tested as a run tests them.
        TargetConfig::from_settings(&init.values()?, &mut Vec::new())?;
        init.terminal.say("");
        let question = format!("Write the configuration with {count} rule(s)?");
        if !init.terminal.confirm(&question, true).await? {
            init.terminal.say("Nothing was written.");
            return Ok(ExitCode::SUCCESS);
        }
    }
    let written = init.write(Vec::new()).await?;
    let flags = written.flags();
    let dry_run = match &args.input {
        Some(path) => format!("target-ldap {flags} --input {} --dry-run", path.display()),
        None => format!("… | target-ldap {flags} --dry-run"),
    };
    written.next(&[
        (format!("target-ldap {flags} --test"), "connects, and looks whether everything needed is there"),
        (dry_run, "what would be changed; nothing is written"),
    ]);
    Ok(ExitCode::SUCCESS)
}

/// Asks for the first rule.
async fn first_rule(base: &str, terminal: &Terminal) -> Result<Map<String, Value>, InitError> {
    terminal.say("\nThe first rule: how the records of one stream become people. Streams without a rule whose records have\n`dn` and `objectClass`, as tap-ldap's have, are mirrored as they are; Enter alone makes no rule.");
    let stream = terminal.ask("Stream", "").await?;
    let mut rules = Map::new();
    if !stream.is_empty() {
        let key = terminal.ask("Property that names a person (user name or number)", "id").await?;
        let name = terminal.ask("Property with the full name", "name").await?;
        let below = terminal.ask("Where people go", &format!("ou=people,{base}")).await?;
        let rule = json!({
            "dn_template": format!("uid={{{key}}},{below}"),
            "object_classes": ["person", "organizationalPerson", "inetOrgPerson"],
            "attribute_mapping": {key.clone(): "uid", name.clone(): "cn"},
            "values": {"sn": format!("{{{name}}}")},
            "on_delete": "ignore",
        });
        rules.insert(stream, rule);
    }
    Ok(rules)
}

/// Proposes a rule for each stream, and returns those that are accepted.
async fn rules(
    streams: &[SchemaMessage],
    directory: &Directory,
    base: &str,
    terminal: &Terminal,
) -> Result<Map<String, Value>, InitError> {
    let is_active_directory = directory.root_dse().vendor == Vendor::ActiveDirectory;
    let mut rules = Map::new();
    for stream in streams {
        let name = &stream.stream;
        let content = proposal::content(stream);
        let (what, container) = match content {
            Content::People => ("people", "ou=people"),
            Content::Groups => ("groups", "ou=groups"),
            Content::Entries => {
                terminal.say(&format!("\nStream `{name}`: no rule needed. Its records have `dn` and `objectClass`, and are mirrored as they are."));
                continue;
            }
            Content::Unknown => {
                terminal.say(&format!("\nStream `{name}`: no rule proposed. Its properties look neither like people nor like groups. Write a rule by hand: without one, a run fails at this stream."));
                continue;
            }
        };
        terminal.say(&format!("\nStream `{name}`: its records look like {what}."));
        let container = if is_active_directory { "CN=Users" } else { container };
        let below = terminal.ask("  DN above the entries", &format!("{container},{base}")).await?;
        let place = Place { schema: directory.schema(), is_active_directory, below: &below };
        let proposal = proposal::propose(stream, content, place);
        show(&proposal, terminal);
        if terminal.confirm(&format!("  Use this rule for `{name}`?"), true).await? {
            rules.insert(name.clone(), proposal.rule);
        }
    }
    Ok(rules)
}

fn show(proposal: &Proposal, terminal: &Terminal) {
    for mapped in &proposal.mapped {
        let guess = if mapped.is_guess { "   (guessed from the name: check it)" } else { "" };
        terminal.say(&format!("    {:<24} -> {}{guess}", mapped.property, mapped.attribute));
    }
    for (property, why) in &proposal.unmapped {
        terminal.say(&format!("    {property:<24} not mapped: {why}"));
    }
    for part in ["dn_template", "match", "values"] {
        if let Some(value) = proposal.rule.get(part) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            terminal.say(&format!("    {part}: {text}"));
        }
    }
    for note in &proposal.notes {
        terminal.say(&format!("    Note: {note}."));
    }
}

/// Returns the SCHEMA of each stream of a file, the last one of each.
fn streams(path: &Path) -> Result<Vec<SchemaMessage>, SettingsError> {
    let wrong = |problem: &str| {
        let problem = format!("{}: {problem}", path.display());
        SettingsError::value("--input", problem, "a file of Singer messages, as a tap prints them")
    };
    let mut reader = LineReader::new(File::open(path).map_err(|e| wrong(&e.to_string()))?);
    let mut streams: Vec<SchemaMessage> = Vec::new();
    while let Some((number, line)) = reader.next_line().map_err(|e| wrong(&e.to_string()))? {
        let message = Message::parse(line).map_err(|e| wrong(&format!("line {number}: {e}")))?;
        let Message::Schema(schema) = message else { continue };
        match streams.iter_mut().find(|known| known.stream == schema.stream) {
            Some(known) => *known = schema,
            None => streams.push(schema),
        }
    }
    if streams.is_empty() { Err(wrong("it has no SCHEMA message")) } else { Ok(streams) }
}
