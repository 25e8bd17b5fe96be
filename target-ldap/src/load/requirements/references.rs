//! Checks what `references` require of the directory: a misspelt name finds nothing, which is no error to any server.

use ldap_directory::dn::DnKey;
use ldap_directory::entry::base_type;
use ldap_directory::schema::Coverage;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{Directory, KnownNames, Vendor};
use singer_common::plugin::settings::SettingsError;

use crate::rules::references::ReferenceRule;
use crate::rules::rule::Rule;

/// Two values for each placeholder: the parts that do not differ are the rule's own text.
const FILLED: [&str; 2] = ["x", "y"];

/// Checks the references of a rule. `at`: the name of the setting.
pub(super) fn check(at: &str, rule: &Rule, directory: &Directory) -> Result<(), SettingsError> {
    for reference in &rule.references {
        check_one(&format!("{at}.{}", reference.attribute), reference, directory)?;
    }
    Ok(())
}

fn check_one(at: &str, reference: &ReferenceRule, directory: &Directory) -> Result<(), SettingsError> {
    let schema = directory.schema();
    let ReferenceRule { attribute, find, base, .. } = reference;
    // An entry of a file may be anywhere, also above all that it has now.
    if let Some(base) = base
        && directory.root_dse().vendor != Vendor::Ldif
        && let Ok(key) = DnKey::parse(base, schema)
        && directory.root_dse().is_outside(&key, schema)
    {
        let contexts = directory.root_dse().naming_contexts.join("`, `");
        let problem = format!("`{base}` lies in no naming context of the server");
        return Err(SettingsError::value(format!("{at}.base"), problem, format!("a DN below `{contexts}`")));
    }
    // A server that publishes no schema may know any name, and a file takes any.
    if schema.coverage() != Coverage::Whole || directory.takes_unknown_attributes() {
        return Ok(());
    }
    let known = KnownNames::new(directory);
    if let Err(unknown) = known.attribute(base_type(attribute)) {
        let problem = format!("the server's schema has no attribute `{attribute}`");
        let expected = "an attribute whose values are DNs, for example manager";
        return Err(SettingsError::value(at, problem, expected).near(unknown.near.first()));
    }
    if !ValueKind::of(schema, attribute).is_name() {
        let problem = format!("the values of `{attribute}` are no DNs");
        let expected = "an attribute whose values are DNs, for example manager";
        return Err(SettingsError::value(at, problem, expected));
    }
    let [first, second] =
        FILLED.map(|with| find.filled(with).map(|filter| known.unknown_in(&filter)).unwrap_or_default());
    if let Some(unknown) = first.into_iter().find(|unknown| second.contains(unknown)) {
        let problem = format!("the server's schema has no {} `{}`", unknown.what, unknown.name);
        let near = unknown.near.first().cloned();
        let expected = format!("an {} that the directory knows", unknown.what);
        return Err(SettingsError::value(format!("{at}.find"), problem, expected).near(near));
    }
    Ok(())
}
