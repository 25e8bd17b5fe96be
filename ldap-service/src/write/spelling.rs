//! The octets of texts: what is written is what the client sent, and names have no control characters.

use ldap_directory::dn::Dn;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use target_ldap::map::wanted::{Wanted, WantedEntry};
use target_ldap::rules::policy::Compare;

use super::rules::KindRule;
use super::{ResourceKind, WriteError, WriteErrorKind};

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
        if schema.same_description(&rule.naming, &attribute.description)
            && let Some(found) = attribute.values.iter().find_map(|value| hidden(value))
        {
            // Joiners belong to the spelling of some languages.
            let is_joiner = matches!(found, '\u{200c}' | '\u{200d}');
            if rule.kind == ResourceKind::Users || !is_joiner {
                return Err(hidden_in(&attribute.description, found));
            }
        }
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

/// Returns a character of a name that nobody sees (Default_Ignorable_Code_Point of Unicode, marks of direction, and blanks of any kind at an
/// end): with it, a name looks like another one.
pub(super) fn hidden(value: &[u8]) -> Option<char> {
    let is_hidden = |c: &char| {
        matches!(*c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
    };
    let text = std::str::from_utf8(value).ok()?;
    let ends = [text.chars().next(), text.chars().next_back()];
    text.chars().find(is_hidden).or_else(|| ends.into_iter().flatten().find(|c| c.is_whitespace()))
}

/// Returns the error of a name with such a character.
pub(super) fn hidden_in(attribute: &str, found: char) -> WriteError {
    let detail = format!(
        "the character U+{:04X} is not allowed there in `{attribute}`: nobody sees it, and the name looks like another one",
        u32::from(found)
    );
    WriteError::new(WriteErrorKind::Invalid, detail).of_attribute(attribute)
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
    fn characters_that_nobody_sees_are_known() {
        for c in
            ['\u{200b}', '\u{200d}', '\u{202e}', '\u{2066}', '\u{ad}', '\u{feff}', '\u{e0041}', '\u{3164}']
        {
            assert_eq!(hidden(format!("ada{c}").as_bytes()), Some(c), "{c:?}");
        }
        for (name, found) in
            [("ada ", ' '), (" ada", ' '), ("ada\u{a0}", '\u{a0}'), ("\u{3000}ada", '\u{3000}')]
        {
            assert_eq!(hidden(name.as_bytes()), Some(found), "{name:?}");
        }
        for name in ["ada", "Zoë", "東京", "o'neill", "a b", "ada@example.com", "ſ"] {
            assert_eq!(hidden(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn control_characters_are_refused_and_line_breaks_in_names() {
        for c in ['\0', '\u{1}', '\u{1b}', '\u{7f}', '\u{80}', '\u{85}', '\u{9f}'] {
            assert!(is_refused(c, true) && is_refused(c, false), "{c:?}");
        }
        for c in ['\n', '\r', '\t', '\u{2028}', '\u{2029}'] {
            assert!(is_refused(c, true) && !is_refused(c, false), "{c:?}");
        }
        // Also the marks of direction, and blanks of any kind: `hidden` is about those of login names.
        for c in [' ', 'é', '東', '\u{202e}', '\u{a0}', '\u{ad}', '\u{fffd}'] {
            assert!(!is_refused(c, true), "{c:?}");
        }
    }
}
