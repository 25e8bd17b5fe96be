//! `target-ldap init`: a configuration and a first rule, made by questions.

use std::process::ExitCode;

use ldap_directory::Access;
use ldap_directory::ldif::LdifFormat;
use serde_json::json;
use singer_common::plugin::init::{Init, InitArgs};

use crate::settings::TABLE;

/// Asks, tries the connection, and writes the configuration. `sources`: the files of `--config`.
pub async fn run(args: &InitArgs, sources: &[String]) -> anyhow::Result<ExitCode> {
    let access = Access::Write(LdifFormat::Content);
    let mut init = Init::begin("target-ldap", TABLE, args, sources, access)?;
    let directory = init.connect().await?;
    let base = init.base(&directory, "default_base_dn").await?;
    directory.close().await;
    init.terminal.say("\nThe first rule: how the records of one stream become people. Streams without a rule whose records have\n`dn` and `objectClass`, as tap-ldap's have, are mirrored as they are; Enter alone makes no rule.");
    let stream = init.terminal.ask("Stream", "").await?;
    if !stream.is_empty() {
        let key = init.terminal.ask("Property that names a person (user name or number)", "id").await?;
        let name = init.terminal.ask("Property with the full name", "name").await?;
        let below = init.terminal.ask("Where people go", &format!("ou=people,{base}")).await?;
        let rule = json!({
            "dn_template": format!("uid={{{key}}},{below}"),
            "object_classes": ["person", "organizationalPerson", "inetOrgPerson"],
            "attribute_mapping": {key.clone(): "uid", name.clone(): "cn"},
            "values": {"sn": format!("{{{name}}}")},
            "on_delete": "ignore",
        });
        init.settings.insert("mapping_rules".into(), json!({stream: rule}));
    }
    let written = init.write(Vec::new()).await?;
    let flags = written.flags();
    written.next(&[
        (format!("target-ldap {flags} --test"), "connects, and looks whether everything needed is there"),
        (format!("… | target-ldap {flags} --dry-run"), "what would be changed; nothing is written"),
    ]);
    Ok(ExitCode::SUCCESS)
}
