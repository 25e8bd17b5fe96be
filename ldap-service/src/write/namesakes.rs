//! People with the same common name on Active Directory, whose RDN it is: the second one gets the user name into it.

use ldap_directory::Directory;
use ldap_directory::schema::Schema;
use serde_json::{Map, Value};

use super::rules::KindRule;
use super::{WriteError, refusal};

/// The most characters of a common name (ub-common-name, and Active Directory's rangeUpper).
const MOST: usize = 64;

fn find<'r>(record: &'r Map<String, Value>, name: &str, schema: &Schema) -> Option<(&'r String, &'r str)> {
    let found = record.iter().find(|(property, _)| schema.same_description(property, name));
    found.and_then(|(property, value)| Some((property, value.as_str()?)))
}

/// Returns the common name that a record gets, for that in the record belongs to another entry: `Ada Lovelace (ada2)`. `current` is the
/// DN of an existing entry, which has the user name if the record has not.
///
/// # Errors
/// The entry cannot be read.
pub(super) async fn other_name(
    rule: &KindRule,
    record: &Map<String, Value>,
    directory: &Directory,
    current: Option<&str>,
) -> Result<Option<String>, WriteError> {
    let schema = directory.schema();
    let Some((_, common)) = find(record, "cn", schema) else { return Ok(None) };
    let user = match (find(record, &rule.naming, schema), current) {
        (Some((_, user)), _) => Some(user.to_owned()),
        (None, Some(dn)) => {
            let entry = directory.read(dn, &[&rule.naming]).await;
            let entry = entry.map_err(|e| refusal::of_directory(&e, schema))?;
            entry.and_then(|entry| entry.first_text(&rule.naming).map(str::to_owned))
        }
        (None, None) => None,
    };
    Ok(user.and_then(|user| with_user(common, &user)))
}

/// Returns both names in one; the common name is cut off where both are too long. `None`: the user name alone is too long.
fn with_user(common: &str, user: &str) -> Option<String> {
    let end = format!(" ({user})");
    // What a client has read here, and sends back.
    let common = common.strip_suffix(&end).unwrap_or(common);
    let room = MOST.checked_sub(end.chars().count()).filter(|room| *room > 0)?;
    let begin: String = common.chars().take(room).collect();
    Some(format!("{}{end}", begin.trim_end()))
}

/// Sets the common name of a record.
pub(super) fn rename(record: &mut Map<String, Value>, name: String, schema: &Schema) {
    let property =
        find(record, "cn", schema).map_or_else(|| "cn".to_owned(), |(property, _)| property.clone());
    record.insert(property, name.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_are_in_it_and_it_is_not_too_long() {
        assert_eq!(with_user("Ada Lovelace", "ada2").as_deref(), Some("Ada Lovelace (ada2)"));
        assert_eq!(with_user("Ada Lovelace (ada2)", "ada2").as_deref(), Some("Ada Lovelace (ada2)"));
        let long = with_user(&"é".repeat(70), "ada2").unwrap();
        assert_eq!((long.chars().count(), long.ends_with("é (ada2)")), (MOST, true));
        assert_eq!(with_user("Ada", &"a".repeat(60)).map(|name| name.chars().count()), Some(64));
        assert_eq!(with_user("Ada", &"a".repeat(61)), None);
    }
}
