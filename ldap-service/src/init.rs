//! `ldap-service init`: a first configuration, made by questions.

use std::process::ExitCode;

use ldap_directory::{Access, Vendor};
use serde_json::json;
use singer_common::plugin::init::{Init, InitArgs};

use crate::settings::TABLE;

/// Asks, tries the connection, and writes the configuration. `sources`: the files of `--config`.
///
/// # Errors
/// The directory cannot be used, or nothing can be asked or written.
pub async fn run(args: &InitArgs, sources: &[String]) -> anyhow::Result<ExitCode> {
    // The name that the guide and the packages have.
    let args = InitArgs {
        output: Some(args.output.clone().unwrap_or_else(|| "service.json".into())),
        ..args.clone()
    };
    let mut init = Init::begin("ldap-service", TABLE, &args, sources, Access::Read)?;
    let directory = init.connect().await?;
    let base = directory.root_dse().default_base().unwrap_or_default().to_owned();
    let is_active_directory = directory.root_dse().vendor == Vendor::ActiveDirectory;
    directory.close().await;
    let (users, groups, login) = if is_active_directory {
        (format!("CN=Users,{base}"), format!("CN=Users,{base}"), "sAMAccountName")
    } else {
        (format!("ou=people,{base}"), format!("ou=groups,{base}"), "uid")
    };
    let users = init.terminal.ask("Where the users are", &users).await?;
    let groups = init.terminal.ask("Where the groups are", &groups).await?;
    init.settings.insert("users".into(), json!({"base_dn": users, "login_attributes": [login]}));
    init.settings.insert("groups".into(), json!({"base_dn": groups}));
    let written = init.write(Vec::new()).await?;
    let flags = written.flags();
    written.next(&[
        (format!("ldap-service {flags} --test"), "connects, and looks whether everything needed is there"),
        (format!("ldap-service {flags}"), "serves; then look at http://127.0.0.1:8389/docs"),
    ]);
    Ok(ExitCode::SUCCESS)
}
