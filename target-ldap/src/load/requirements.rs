//! Checks what the settings require of the directory, before the first record: exit code 2 instead of a refusal for each
//! record.

pub(crate) mod bases;
mod references;

use ldap_directory::nearest::nearest;
use ldap_directory::{Directory, ServerUrl, Vendor};
use singer_common::plugin::settings::SettingsError;

use crate::config::TargetConfig;
use crate::rules::accounts::AccountLock;
use crate::rules::membership::MembershipRule;
use crate::rules::password::PasswordMode;
use crate::rules::rule::Rule;

/// OID of the Password Modify operation (RFC 3062 section 2).
const PASSWORD_MODIFY: &str = "1.3.6.1.4.1.4203.1.11.1";

/// Checks what needs no connection: a clear-text password must not be sent unencrypted.
///
/// # Errors
/// A rule would send one.
pub fn check_transport(config: &TargetConfig) -> Result<(), SettingsError> {
    for (stream, rule) in &config.rules {
        let Some(password) = rule.password.as_ref().filter(|p| p.mode.sends_clear_text()) else { continue };
        let at = format!("mapping_rules.{stream}.password.mode");
        if password.mode == PasswordMode::Exop
            && config.directory.servers.iter().any(|s| matches!(s, ServerUrl::Ldif(_)))
        {
            return Err(SettingsError::value(
                at,
                "exop: a file has no server that would set a password",
                "hash:ssha512, hash:argon2id or as_is",
            ));
        }
        // Active Directory refuses it on any other connection, even on loopback ([MS-ADTS] 3.1.1.3.1.5.1).
        let exposed = |s: &&ServerUrl| password.mode == PasswordMode::UnicodePwd || s.leaves_this_machine();
        if let Some(server) = config.directory.unencrypted_servers().find(exposed) {
            let problem = if password.mode == PasswordMode::UnicodePwd {
                format!(
                    "unicode_pwd: Active Directory takes passwords over TLS alone, and {} has none",
                    server.to_text()
                )
            } else {
                format!("exop: passwords would go to {} in clear text", server.to_text())
            };
            return Err(SettingsError::value(at, problem, "an ldaps:// URL, start_tls: true, or ldapi://"));
        }
    }
    Ok(())
}

/// Checks the names of classes and attributes in a rule.
fn check_names(path: &str, rule: &Rule, directory: &Directory) -> Result<(), SettingsError> {
    check_classes(&format!("{path}.object_classes"), rule, directory)?;
    references::check(&format!("{path}.references"), rule, directory)?;
    // Entries of Active Directory have auxiliary classes that they do not list.
    let hides_classes = directory.root_dse().vendor == Vendor::ActiveDirectory;
    rule.check_sources(path, |a, b| directory.schema().same_description(a, b))?;
    rule.check_grace_with(path, directory.schema(), directory.takes_unknown_attributes(), hides_classes)
}

/// Checks what depends on the server.
pub fn check(config: &TargetConfig, directory: &Directory) -> Result<(), SettingsError> {
    let vendor = directory.root_dse().vendor;
    let server = vendor.name();
    for (stream, rule) in &config.rules {
        let at = |part: &str| format!("mapping_rules.{stream}.{part}");
        check_names(&format!("mapping_rules.{stream}"), rule, directory)?;
        check_bases(&format!("mapping_rules.{stream}"), rule, directory)?;
        check_kind(&format!("mapping_rules.{stream}"), rule, directory)?;
        match rule.password.as_ref().map(|p| p.mode) {
            // Samba does not list its extensions.
            Some(PasswordMode::Exop)
                if vendor == Vendor::ActiveDirectory
                    || directory.root_dse().lacks_extension(PASSWORD_MODIFY) =>
            {
                return Err(SettingsError::value(
                    at("password.mode"),
                    format!(
                        "exop: {server} at {} does not offer the Password Modify operation (RFC 3062, {PASSWORD_MODIFY})",
                        directory.location()
                    ),
                    if vendor == Vendor::ActiveDirectory {
                        "unicode_pwd"
                    } else {
                        "hash:ssha512, hash:argon2id or as_is"
                    },
                ));
            }
            // With or without nsslapd-require-secure-binds: it returns confidentialityRequired once the entry is added.
            Some(PasswordMode::Exop)
                if vendor == Vendor::Ds389 && config.directory.unencrypted_servers().next().is_some() =>
            {
                return Err(SettingsError::value(
                    at("password.mode"),
                    format!("exop: {server} sets passwords over TLS alone, on loopback, too"),
                    "an ldaps:// URL, start_tls: true, or ldapi://",
                ));
            }
            Some(PasswordMode::UnicodePwd) if vendor != Vendor::ActiveDirectory => {
                return Err(SettingsError::value(
                    at("password.mode"),
                    format!(
                        "unicode_pwd: that is Active Directory's, and {} is {server}",
                        directory.location()
                    ),
                    "exop, hash:ssha512, hash:argon2id or as_is",
                ));
            }
            Some(PasswordMode::Ssha512 | PasswordMode::Argon2id | PasswordMode::AsIs)
                if vendor == Vendor::ActiveDirectory =>
            {
                return Err(SettingsError::value(
                    at("password.mode"),
                    "Active Directory takes no hashed passwords: they would be stored and never be asked for",
                    "unicode_pwd",
                ));
            }
            // It would use the whole value as the password itself.
            Some(PasswordMode::Argon2id) if vendor == Vendor::Ds389 => {
                return Err(SettingsError::value(
                    at("password.mode"),
                    format!("hash:argon2id: {server} does not know {{ARGON2}}"),
                    "exop, hash:ssha512 or as_is",
                ));
            }
            _ => {}
        }
        let Some(accounts) = &rule.accounts else { continue };
        if accounts.enabled.is_some() && AccountLock::of(vendor, directory.schema()).is_none() {
            return Err(SettingsError::value(
                at("accounts.enabled"),
                format!("{server} has no attribute for it"),
                "Active Directory (userAccountControl), 389 Directory Server (nsAccountLock) or OpenLDAP with the ppolicy overlay (pwdAccountLockedTime); for others a mapped attribute",
            ));
        }
        if accounts.must_change_password.is_some() && vendor != Vendor::ActiveDirectory {
            return Err(SettingsError::value(
                at("accounts.must_change_password"),
                format!("that is Active Directory's pwdLastSet, and {server} has none"),
                "the setting to be removed",
            ));
        }
    }
    if config.assert_unchanged && !directory.takes_assertions() {
        return Err(SettingsError::value(
            "assert_unchanged",
            format!(
                "{server} at {} does not offer the assertion control (RFC 4528, 1.3.6.1.1.12)",
                directory.location()
            ),
            "false",
        ));
    }
    if config.preserve_uuid && !directory.takes_relaxed_rules() {
        return Err(SettingsError::value(
            "preserve_uuid",
            format!(
                "{server} at {} does not let a client give an entry its entryUUID (relax rules control, 1.3.6.1.4.1.4203.666.5.12)",
                directory.location()
            ),
            "false",
        ));
    }
    Ok(())
}

/// OpenLDAP enables a disabled account that gets a password, and each kind of server marks a disabled account in its own way. Where the kind is
/// not known, no password is set.
fn check_kind(path: &str, rule: &Rule, directory: &Directory) -> Result<(), SettingsError> {
    let mapped = || rule.attribute_mapping.iter().flatten().flat_map(|(_, attributes)| attributes);
    let part = if rule.password.is_some() {
        "password"
    } else if mapped().any(|name| name.eq_ignore_ascii_case("userPassword")) {
        "attribute_mapping"
    } else {
        return Ok(());
    };
    let is_known = !matches!(directory, Directory::Ldap(_))
        || !directory.root_dse().is_of_unknown_kind(directory.schema());
    if is_known {
        return Ok(());
    }
    Err(SettingsError::value(
        format!("{path}.{part}"),
        format!(
            "the user of bind_dn may read neither the root DSE nor the schema of {}, so which kind of server it is is not known: a password may enable a disabled account",
            directory.location()
        ),
        "the right to read the root DSE, or the schema",
    ))
}

/// Entries are searched below the naming context. A server that does not show it would be searched nowhere, and nobody be found.
fn check_bases(path: &str, rule: &Rule, directory: &Directory) -> Result<(), SettingsError> {
    let root = directory.root_dse();
    if root.vendor == Vendor::Ldif || !root.naming_contexts.is_empty() || root.default_base().is_some() {
        return Ok(());
    }
    let filters = || rule.membership.iter().flat_map(MembershipRule::filters).map(|(part, _)| part);
    let searches_scope = rule.matching.is_some() || filters().any(|part| part == "membership.group");
    let of_scope = (searches_scope && rule.scope_base.is_none()).then(|| "scope_base".to_owned());
    // Members have no base of their own.
    let of_scope =
        of_scope.or_else(|| filters().find(|part| *part == "membership.member").map(str::to_owned));
    let chosen = rule.generated.iter().find(|one| one.base.is_none());
    let found = rule.references.iter().find(|one| one.base.is_none());
    let part = of_scope
        .or_else(|| chosen.map(|one| format!("{}.base", one.setting())))
        .or_else(|| found.map(|one| format!("references.{}.base", one.attribute)));
    part.map_or(Ok(()), |part| {
        let problem = format!(
            "not set, and {} shows no naming context to search in (the bound user may not read namingContexts of the root DSE)",
            directory.location()
        );
        Err(SettingsError::value(format!("{path}.{part}"), problem, "the DN below which the entries are; or the right to read namingContexts"))
    })
}

/// A server refuses every entry with an unknown object class. A file accepts any.
fn check_classes(setting: &str, rule: &Rule, directory: &Directory) -> Result<(), SettingsError> {
    let schema = directory.schema();
    if directory.takes_unknown_attributes() || schema.is_assumed() || schema.object_classes().is_empty() {
        return Ok(());
    }
    let Some(unknown) = rule.object_classes.iter().find(|class| schema.object_class(class).is_none()) else {
        return Ok(());
    };
    let known = schema.object_classes().iter().flat_map(|class| &class.names).map(String::as_str);
    let problem = format!("the schema of {} has no object class `{unknown}`", directory.location());
    let error = SettingsError::value(setting, problem, "classes that the destination knows");
    Err(error.near(nearest(unknown, known)))
}
