//! Names in a stream that the destination's schema does not know: reported by name and number, before the server refuses them.

use std::collections::BTreeMap;

use ldap_directory::schema::Schema;

use crate::map::wanted::WantedEntry;

/// Object classes of records that the destination does not know, by stream.
#[derive(Debug, Default)]
pub struct UnknownClasses {
    seen: BTreeMap<String, BTreeMap<String, u64>>,
}

impl UnknownClasses {
    /// Checks an entry that a record asks for.
    pub fn check(&mut self, stream: &str, wanted: &WantedEntry, schema: &Schema) {
        let classes = wanted.attributes.iter().filter(|a| a.description.eq_ignore_ascii_case("objectClass"));
        for value in classes.flat_map(|a| &a.values) {
            let Ok(name) = std::str::from_utf8(value) else { continue };
            if schema.object_class(name).is_none() {
                let counts = self.seen.entry(stream.to_owned()).or_default();
                *counts.entry(name.to_owned()).or_default() += 1;
            }
        }
    }

    /// Returns a line for each stream, for the log.
    pub fn report(&self) -> impl Iterator<Item = (&str, String)> {
        self.seen.iter().map(|(stream, counts)| {
            let names: Vec<String> =
                counts.iter().map(|(name, count)| format!("`{name}` ({count} record(s))")).collect();
            let text = format!(
                "stream `{stream}`: the destination's schema does not know the object class {}",
                names.join(", ")
            );
            (stream.as_str(), text)
        })
    }
}

/// Returns the warning for a stream, before its first record: the attributes that the destination does not know.
pub fn unknown_attributes(stream: &str, names: &[&str], consequence: &str) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let count = names.len();
    let names: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    let what = if count == 1 { "attribute".to_owned() } else { format!("{count} attributes") };
    Some(format!(
        "stream `{stream}`: the destination's schema does not know the {what} {}; {consequence}",
        names.join(", ")
    ))
}
