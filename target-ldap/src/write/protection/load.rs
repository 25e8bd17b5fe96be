//! From the settings to a [`Protection`], with warnings of what protects nothing.

use std::sync::Arc;

use ldap_directory::dn::DnKey;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Coverage;
use ldap_directory::{AuthMethod, Directory, KnownNames, Undefined, UnknownName, Vendor};
use singer_common::operations::facts::Warning;
use singer_common::plugin::settings::SettingsError;

use super::admins::administrative;
use super::bound::{self, Bound};
use super::matched::{FilterRule, MatchedEntries};
use super::{NamedRule, Protection, RuleKind};
use crate::config::protection::ProtectionSettings;

impl Protection {
    /// Builds the protection of a directory from the settings, and logs warnings of DNs and filters that match no entry. `bases`: entries
    /// that are never changed, because the configuration names them as bases; the setting and the DN.
    ///
    /// # Errors
    /// [`SettingsError`]: a name in the filter is unknown. [`DirectoryError`](ldap_directory::DirectoryError): the directory does not answer.
    pub async fn load(
        directory: &Directory,
        auth: &AuthMethod,
        settings: &ProtectionSettings,
        bases: &[(String, String)],
    ) -> anyhow::Result<Arc<Protection>> {
        let (protection, warnings) = Self::find(directory, auth, settings, bases).await?;
        warnings.iter().for_each(Warning::log);
        Ok(Arc::new(protection))
    }

    /// As [`Self::load`], with the warnings in place of lines in the log.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn find(
        directory: &Directory,
        auth: &AuthMethod,
        settings: &ProtectionSettings,
        bases: &[(String, String)],
    ) -> anyhow::Result<(Protection, Vec<Warning>)> {
        let mut rules = Vec::new();
        let mut warnings = Vec::new();
        match bound::find(directory, auth).await? {
            Bound::Entry(dn) => {
                let is_seen = matches!(directory.read(&dn, &["1.1"]).await, Ok(Some(_)));
                let kind = if is_seen { RuleKind::Own } else { RuleKind::OwnName };
                add(&mut rules, directory, "bind_dn", &dn, kind)?;
            }
            Bound::Nobody => {}
            Bound::Unknown => warnings.push(Warning::of_setting(
                "bind_dn",
                "the server does not say which entry this program is bound as, so that entry is not protected: name it in `protect.dns`",
            )),
        }
        for (setting, dn) in bases {
            add(&mut rules, directory, setting, dn, RuleKind::Base)?;
        }
        let named = [
            ("protect.dns", &settings.dns, RuleKind::Entry),
            ("protect.below", &settings.below, RuleKind::Below),
        ];
        for (setting, dns, kind) in named {
            for dn in dns {
                add(&mut rules, directory, &settings.name(setting), dn, kind)?;
            }
        }
        let mut write_base = Vec::new();
        let at = settings.name("write_base");
        for dn in settings.write_base.iter().flatten() {
            let key = key(directory, &at, dn)?;
            write_base.push((key, dn.clone()));
            add(&mut rules, directory, &at, dn, RuleKind::WriteBase)?;
        }
        let mut filters = Vec::new();
        if let Some(filter) = &settings.filter {
            let setting = settings.name("protect.filter");
            check_names(&setting, filter, directory, &mut warnings)?;
            let filter = Arc::new(filter.clone());
            filters.push(FilterRule { setting, filter, asks_rights: true, is_administrative: false });
        }
        if settings.defaults && directory.root_dse().vendor == Vendor::ActiveDirectory {
            let filter = Arc::new(administrative(directory).await?);
            let setting = settings.name("protect_defaults");
            filters.push(FilterRule { setting, filter, asks_rights: false, is_administrative: true });
        }
        let searched = if write_base.is_empty() { contexts(directory) } else { write_base.clone() };
        let matched = (!filters.is_empty()).then(|| MatchedEntries::new(filters, searched));
        let write_base = settings.write_base.as_ref().map(|_| (write_base, at));
        let protection = Protection { rules, write_base, matched, ..Protection::default() };
        protection.warn_of_missing(directory, settings, &mut warnings).await;
        protection.warn_of_bases(bases, directory, &mut warnings);
        Ok((protection, warnings))
    }

    /// Warns of DNs and filters that match no entry.
    async fn warn_of_missing(
        &self,
        directory: &Directory,
        settings: &ProtectionSettings,
        warnings: &mut Vec<Warning>,
    ) {
        let is_of_changes = directory.ldif_rules().is_some() && !directory.is_written_at_once();
        if is_of_changes {
            let text = format!(
                "ldif_format is `changes`, and such a file does not have the entries that `{}` is about: only DNs are compared",
                settings.name("protect.filter")
            );
            let warning = Warning::of_setting(settings.name("protect.filter"), text);
            warnings.extend(settings.filter.as_ref().map(|_| warning));
            return;
        }
        for rule in &self.rules {
            let what = match rule.kind {
                RuleKind::Entry | RuleKind::Below => "so nothing is protected there yet",
                RuleKind::WriteBase => "so nothing can be written there unless it is created",
                RuleKind::Own | RuleKind::OwnName | RuleKind::Base => continue,
            };
            // What the user may not read may exist.
            if matches!(directory.begins_at(&rule.dn).await, Ok(false)) {
                let (setting, dn) = (&rule.setting, &rule.dn);
                let text = format!(
                    "setting `{setting}`: there is no entry `{dn}`, {what}: correct the setting, or create the entry"
                );
                let near = directory.nearest_name(dn).await;
                let mut warning = Warning::of_setting(setting.clone(), text).near(dn, near);
                warning.facts.dn = Some(dn.clone());
                warnings.push(warning);
            }
        }
        let setting = settings.name("protect.filter");
        let Some(matched) = &self.matched else { return };
        for filter in matched.idle(directory, &setting).await {
            let text = format!(
                "setting `{setting}`: no entry matches {filter}, so it protects none: correct the filter, or let the user of `bind_dn` read its attributes"
            );
            warnings.push(Warning::of_setting(setting.clone(), text));
        }
    }

    /// Warns of bases in which `write_base` allows no change.
    fn warn_of_bases(&self, bases: &[(String, String)], directory: &Directory, warnings: &mut Vec<Warning>) {
        let Some((allowed, at)) = &self.write_base else { return };
        for (setting, dn) in bases {
            let Ok(base) = DnKey::parse(dn, directory.schema()) else { continue };
            if !allowed.iter().any(|(key, _)| key.is_within(&base) || base.is_within(key)) {
                let text = format!(
                    "setting `{setting}`: `{dn}` has nothing in common with `{at}`: no change is allowed there"
                );
                let mut warning = Warning::of_setting(setting.clone(), text);
                warning.facts.dn = Some(dn.clone());
                warnings.push(warning);
            }
        }
    }
}

fn key(directory: &Directory, setting: &str, dn: &str) -> Result<DnKey, SettingsError> {
    DnKey::parse(dn, directory.schema())
        .map_err(|e| SettingsError::value(setting, format!("`{dn}`: {e}"), "a DN"))
}

fn add(
    rules: &mut Vec<NamedRule>,
    directory: &Directory,
    setting: &str,
    dn: &str,
    kind: RuleKind,
) -> Result<(), SettingsError> {
    let key = key(directory, setting, dn)?;
    rules.push(NamedRule { key, dn: dn.to_owned(), setting: setting.to_owned(), kind });
    Ok(())
}

/// Returns the topmost entries of a directory.
fn contexts(directory: &Directory) -> Vec<(DnKey, String)> {
    if directory.ldif_rules().is_some() {
        return vec![(DnKey::root(), String::new())];
    }
    let contexts = directory.root_dse().naming_contexts.iter();
    contexts.filter_map(|dn| Some((DnKey::parse(dn, directory.schema()).ok()?, dn.clone()))).collect()
}

/// Checks the names in the filter, as those in the filters of rules are: an unknown one would protect nothing.
fn check_names(
    setting: &str,
    filter: &Filter,
    directory: &Directory,
    warnings: &mut Vec<Warning>,
) -> Result<(), SettingsError> {
    let coverage = directory.schema().coverage();
    let is_file = directory.takes_unknown_attributes();
    // A server that publishes no schema may know any name.
    if coverage == Coverage::BuiltIn && !is_file {
        return Ok(());
    }
    let known = KnownNames::new(directory);
    for Undefined { comparison, problem, expected, .. } in known.undefined_in(filter) {
        let text = format!(
            "setting `{setting}`: no entry passes the comparison {comparison}, nor what negates it: {problem} (RFC 4511 section 4.5.1.7); expected: {expected}"
        );
        warnings.push(Warning::of_setting(setting, text));
    }
    for unknown in known.unknown_in(filter) {
        let near = unknown.either();
        let UnknownName { what, name, near: all } = &unknown;
        let problem = if is_file {
            format!("{what} `{name}` is neither in the standard schema nor in an entry of the file")
        } else {
            format!("the server's schema has no {what} `{name}`")
        };
        if coverage == Coverage::Part {
            let text = format!("setting `{setting}`: {problem}, as far as it can be read");
            warnings.push(Warning::of_setting(setting, text).near(name, all.first()));
            continue;
        }
        let expected = near.unwrap_or_else(|| format!("an {what} that the directory knows"));
        return Err(SettingsError::value(setting, problem, expected).near(all.first()));
    }
    Ok(())
}
