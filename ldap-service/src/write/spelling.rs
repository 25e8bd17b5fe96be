//! The octets of texts: what is written is what the client sent, and names have no control characters.

use ldap_directory::dn::Dn;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use target_ldap::map::wanted::{Wanted, WantedEntry};
use target_ldap::rules::policy::Compare;

use super::rules::KindRule;
use super::{WriteError, WriteErrorKind};

/// Attributes that people and programs see as names: in headers, lists, and terminals.
const NAMES: [&str; 4] = ["uid", "cn", "displayName", "mail"];

fn is_text(attribute: &Wanted, schema: &Schema) -> bool {
    let kind = ValueKind::of(schema, &attribute.description);
    let is_class = schema.same_description(&attribute.description, "objectClass");
    matches!(kind, ValueKind::Text | ValueKind::PossiblyEmptyText) && !is_class
}

/// Compares texts octet by octet, unless the rule's `compare` names the attribute: `McDonald` replaces `mcdonald`, which is equal by the
/// EQUALITY rule.
pub(super) fn keep(wanted: &mut WantedEntry, rule: &KindRule, schema: &Schema) {
    let is_named =
        |a: &Wanted| rule.rule.compare.iter().any(|(name, _)| schema.same_description(name, &a.description));
    for attribute in &mut wanted.attributes {
        if is_text(attribute, schema) && !is_named(attribute) {
            attribute.compare = Compare::Exact;
        }
    }
}

/// Checks that no text has control characters (C0, DEL, C1). Line breaks and tabs are allowed where the attribute is no name. An entry
/// that keeps its name (`keeps_name`) may have any there: such an account can still be disabled.
///
/// # Errors
/// One has: [`WriteErrorKind::Invalid`] with the attribute.
pub(super) fn check(
    wanted: &WantedEntry,
    rule: &KindRule,
    keeps_name: bool,
    schema: &Schema,
) -> Result<(), WriteError> {
    let rdn = Dn::parse(&wanted.dn).ok().and_then(|dn| dn.rdns.into_iter().next());
    let naming: Vec<&str> = rdn.iter().flat_map(|rdn| &rdn.avas).map(|ava| ava.attribute.as_str()).collect();
    let logins = rule.logins.iter().map(String::as_str);
    let names: Vec<&str> =
        NAMES.into_iter().chain([rule.naming.as_str()]).chain(logins).chain(naming.clone()).collect();
    let is_kept =
        |a: &Wanted| keeps_name && naming.iter().any(|n| schema.same_description(n, &a.description));
    for attribute in wanted.attributes.iter().filter(|a| is_text(a, schema) && !is_kept(a)) {
        let is_name = names.iter().any(|name| schema.same_description(name, &attribute.description));
        let texts = attribute.values.iter().filter_map(|value| std::str::from_utf8(value).ok());
        if let Some(found) = texts.flat_map(str::chars).find(|c| is_refused(*c, is_name)) {
            let name = &attribute.description;
            let detail =
                format!("the control character U+{:04X} is not allowed in `{name}`", u32::from(found));
            return Err(WriteError::new(WriteErrorKind::Invalid, detail).of_attribute(name));
        }
    }
    Ok(())
}

fn is_refused(c: char, is_name: bool) -> bool {
    match c {
        // Also the separators of lines and paragraphs.
        '\t' | '\n' | '\r' | '\u{2028}' | '\u{2029}' => is_name,
        _ => c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_refused_and_line_breaks_in_names() {
        for c in ['\0', '\u{1}', '\u{1b}', '\u{7f}', '\u{80}', '\u{85}', '\u{9f}'] {
            assert!(is_refused(c, true) && is_refused(c, false), "{c:?}");
        }
        for c in ['\n', '\r', '\t', '\u{2028}', '\u{2029}'] {
            assert!(is_refused(c, true) && !is_refused(c, false), "{c:?}");
        }
        // Also the marks of direction, and blanks of any kind.
        for c in [' ', 'é', '東', '\u{202e}', '\u{a0}', '\u{ad}', '\u{fffd}'] {
            assert!(!is_refused(c, true), "{c:?}");
        }
    }
}
