//! The bases that settings name: one that does not exist protects nothing, and nothing is found below it.
//!
//! Each is read once, before the first record. A run may create a base, so a missing one alone is a warning. If an entry with a similar name
//! exists, the name is most likely misspelled: where a run would then change what is protected, or create what exists already, that is an
//! error.

use ldap_directory::client::probe::{Grade, Step};
use ldap_directory::dn::{DnKey, split};
use ldap_directory::nearest::is_misspelling;
use ldap_directory::{Directory, Vendor};
use singer_common::operations::facts::Warning;
use singer_common::plugin::doctor::Report;
use singer_common::plugin::settings::SettingsError;

use crate::config::TargetConfig;
use crate::rules::rule::Rule;

/// What a run does if a base does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consequence {
    /// Entries are changed or deleted that the setting protects. [`Protection`](crate::write::protection::Protection) warns of it.
    Unprotected,
    /// Nothing is found below it: entries, numbers and names are created that exist already.
    NotFound,
    /// Nothing is found below it, of which a run warns at its end, when the base may have been created.
    NotInScope,
    /// Deleted entries cannot be moved there: an error of each.
    NotMoved,
}

/// A base, and the setting that names it.
struct NamedBase<'c> {
    setting: String,
    dn: &'c str,
    consequence: Consequence,
}

/// What is wrong with a base.
enum Finding {
    Error(SettingsError),
    Warning(Warning),
}

/// Checks that the bases exist which the settings name, and logs the warnings.
///
/// # Errors
/// Fails for a base that does not exist, if it is similar to the name of an existing entry, and the run would protect or find nothing there.
pub(crate) async fn check(config: &TargetConfig, directory: &Directory) -> Result<(), SettingsError> {
    for base in named(config) {
        match find(base, directory).await {
            Some(Finding::Error(error)) => return Err(error),
            Some(Finding::Warning(warning)) => warning.log(),
            None => {}
        }
    }
    Ok(())
}

/// Adds the same to the report of `doctor`.
pub(crate) async fn report(config: &TargetConfig, directory: &Directory, report: &mut Report) {
    for base in named(config) {
        report.steps.extend(find(base, directory).await.map(|found| match found {
            Finding::Error(error) => Step::new("settings", Grade::Failed, error.to_string()),
            Finding::Warning(warning) => Step::new("settings", Grade::Warning, warning.text),
        }));
    }
}

/// Returns what is wrong with a base.
async fn find(base: NamedBase<'_>, directory: &Directory) -> Option<Finding> {
    // A file of changes has no entries.
    let is_of_changes = directory.ldif_rules().is_some() && !directory.is_written_at_once();
    // What the user may not read may exist.
    if is_of_changes || !matches!(directory.begins_at(base.dn).await, Ok(false)) {
        return None;
    }
    let NamedBase { setting, dn, consequence } = base;
    let near = directory.nearest_name(dn).await;
    let is_misspelled = near.as_deref().is_some_and(|near| is_misspelled(directory, dn, near));
    let problem = format!("there is no entry `{dn}`, or the bound user may not see it");
    let then = match consequence {
        Consequence::Unprotected | Consequence::NotFound | Consequence::NotInScope if is_misspelled => {
            let expected = "the DN of an existing entry: correct it, or create the entry before the run";
            return Some(Finding::Error(SettingsError::value(setting, problem, expected).near(near)));
        }
        Consequence::Unprotected | Consequence::NotInScope => return None,
        // An entry of a file may be anywhere, and a new file has none.
        Consequence::NotFound if directory.root_dse().vendor == Vendor::Ldif => return None,
        Consequence::NotFound => "so nothing is found there",
        Consequence::NotMoved => "so no deleted entry can be moved there unless it is created",
    };
    let text = format!("setting `{setting}`: {problem}, {then}");
    let mut warning = Warning::of_setting(setting, text).near(dn, near);
    warning.facts.dn = Some(dn.to_owned());
    Some(Finding::Warning(warning))
}

/// Returns whether a DN without an entry is most likely a misspelling of an existing one. On a server, a DN outside of all naming contexts
/// is: no run can create it.
fn is_misspelled(directory: &Directory, dn: &str, near: &str) -> bool {
    let (root, schema) = (directory.root_dse(), directory.schema());
    if DnKey::parse(dn, schema).is_ok_and(|key| root.is_outside(&key, schema)) {
        return root.vendor != Vendor::Ldif;
    }
    let (Ok(names), Ok(near)) = (split(dn), split(near)) else { return false };
    // The name beside the existing one: those below it do not exist either.
    let beside = names.len().checked_sub(near.len()).and_then(|at| names.get(at));
    let value = |rdn: &&str| rdn.split_once('=').map(|(_, value)| value.to_owned());
    match (beside.and_then(value), near.first().and_then(value)) {
        (Some(name), Some(known)) => is_misspelling(&name, &known),
        _ => false,
    }
}

/// Returns the bases that the settings name.
fn named(config: &TargetConfig) -> Vec<NamedBase<'_>> {
    let mut bases = Vec::new();
    let protection = &config.protection;
    for (part, dns) in [("protect.dns", &protection.dns), ("protect.below", &protection.below)] {
        bases.extend(dns.iter().map(|dn| NamedBase {
            setting: protection.name(part),
            dn,
            consequence: Consequence::Unprotected,
        }));
    }
    for (stream, rule) in &config.rules {
        let path = format!("mapping_rules.{stream}");
        bases.extend(of_rule(&path, rule));
    }
    bases
}

/// Returns the bases of a rule. `path`: the name of its setting.
fn of_rule<'r>(path: &str, rule: &'r Rule) -> Vec<NamedBase<'r>> {
    let base = |part: String, dn: &'r str, consequence| NamedBase {
        setting: format!("{path}.{part}"),
        dn,
        consequence,
    };
    // Without a filter, entries are found by their DNs.
    let finds_in_scope = rule.matching.is_some() || rule.membership.is_some();
    let scope = rule.scope_base.as_deref().filter(|_| finds_in_scope);
    let mut bases: Vec<_> =
        scope.map(|dn| base("scope_base".to_owned(), dn, Consequence::NotInScope)).into_iter().collect();
    for one in &rule.references {
        let part = format!("references.{}.base", one.attribute);
        bases.extend(one.base.as_deref().map(|dn| base(part, dn, Consequence::NotFound)));
    }
    for one in &rule.generated {
        let part = format!("{}.base", one.setting());
        bases.extend(one.base.as_deref().map(|dn| base(part, dn, Consequence::NotFound)));
    }
    let place = rule.on_delete.move_to();
    bases.extend(place.map(|dn| base("on_delete.move_to".to_owned(), dn, Consequence::NotMoved)));
    bases
}
